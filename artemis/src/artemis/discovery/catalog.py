"""The catalog: the view of every service, made at the first request and kept until the service changes (design 2.4).

Not here: permissions and the outcome of requests (`artemis.server.node`), and deltas between versions.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

import msgspec

from artemis.discovery.views import DiscoveryFilter, IdleFilter, ServiceDraft, ServiceView
from artemis.registry import Change, Origin, Registry

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Transition(msgspec.Struct, frozen=True, gc=False, eq=False):
    """One sequenced change of what callers see (design 4.1): of one instance, or of a service as a whole.

    `service` and `instance` are ids in lower case; `instance` is empty when the whole service is to be looked up again,
    and both contents are None then. `before` and `after` are the JSON that callers saw and see now, None for nothing;
    they differ. `version` is that of the catalog from then on. `altered`: not by a change of the instance's record.
    """

    origin: Origin
    seq: int
    version: int
    service: str
    instance: str
    before: bytes | None
    after: bytes | None
    altered: bool = False


TransitionListener = Callable[[Transition], None]


class Catalog:
    """What callers see of a registry. Owned by a node and its event loop; answers stay as they are when it changes.

    `version` starts at the wall clock's milliseconds and grows with each change that callers can see (spec 5.2).
    `filters` run in order over every service, known or not (spec 5.1).
    """

    def __init__(self, registry: Registry, *, filters: Iterable[DiscoveryFilter] = (), wall: int) -> None:
        self.version = wall
        self.filter_failures = 0
        self.listener_failures = 0
        self.filters = tuple(filters)
        self._idlers = tuple(cast("IdleFilter", step) for step in self.filters if hasattr(step, "idle"))
        self._registry = registry
        self._views: dict[str, ServiceView] = {}
        self._listeners: list[TransitionListener] = []
        registry.on_change(self._changed)

    def on_transition(self, listener: TransitionListener) -> None:
        """Call `listener` with every transition from now on, in order, while it happens.

        It must not call back into the registry's operations. One that raises is logged and counted.
        """
        self._listeners.append(listener)

    def shown(self, service: str, instance: str, content: bytes | None) -> bytes | None:
        """Return the content that callers see of one instance, None when a filter hides it. Ids in lower case."""
        if content is None or self._idle:
            return content
        draft = self._filtered(service, service, ((instance, content),))
        return next((shown for name, shown in draft.instances if name == instance), None)

    def visible(self, service: str, instances: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
        """Return what callers see of some instances of a service, pairs of id and JSON. Ids in lower case."""
        return self._filtered(service, service, instances).instances if instances and not self._idle else instances

    def current(self, service: str, instances: Iterable[str]) -> dict[str, bytes]:
        """Return what callers see now of some instances of a service, by id; nothing of others. Ids in lower case."""
        entry = self._registry.services.get(service)
        if entry is None or not entry.live:
            return {}
        leases = [(name, entry.leases.get(name)) for name in sorted(instances)]
        live = tuple((name, lease.record.content) for name, lease in leases if lease is not None and lease.live)
        return dict(self._filtered(service, service, live).instances if live and not self._idle else live)

    def instances(self, service: str) -> tuple[tuple[str, bytes], ...]:
        """Return what callers see of a service, id in lower case: pairs of instance id in lower case and JSON."""
        draft = self._draft(service)
        return () if draft is None else draft.instances

    def spelling(self, service: str) -> str:
        """Return how a service is spelt to callers, an unknown one in lower case as it came."""
        view = self._views.get(service)
        if view is not None:
            return view.service_id
        known = self._registry.services.get(service)
        if known is None or not known.live:
            return service
        name = min(name for name, lease in known.leases.items() if lease.live)
        return _SPELLING.decode(known.leases[name].record.content).service_id

    def alter(
        self,
        instances: Iterable[tuple[str, str]],
        change: Callable[[], T],
        told_as: tuple[Origin, int] | None = None,
    ) -> T:
        """Let `change` alter what a filter decides by, and tell what callers see differently from then on.

        `instances` are the pairs of service and instance id, in lower case, that it can make a difference for. It is
        told as the change `told_as`, which has been numbered before and is of one instance at most; without it each
        instance is a change of this node's own.
        """
        before = [
            (service, name, content, self.shown(service, name, content))
            for service, name, content in ((service, name, self._live(service, name)) for service, name in instances)
        ]
        result = change()
        for service, name, content, seen in before:
            after = self.shown(service, name, content)
            if seen != after:
                origin, seq = told_as or (self._registry.origin, self._registry.sequence())
                self._tell(origin, seq, service, name, seen, after, altered=True)
        return result

    def reload(self, service: str) -> None:
        """Tell that a service, its id in lower case, is to be looked up again as a whole, such as for new rules."""
        self._tell(self._registry.origin, self._registry.sequence(), service, "", None, None, altered=True)

    def view(self, service_id: str) -> ServiceView:
        """Return the view of a service, whatever the letter case of its id; an unknown one is shown empty."""
        key = service_id.lower()
        return self._views.get(key) or self._known(key) or ServiceView(self._filtered(key, service_id, ()))

    def views(self) -> Iterator[ServiceView]:
        """Yield the services that have instances for callers to see, in the order of their ids in lower case.

        The catalog may change while this runs: each view is consistent in itself, services that vanish are left out.
        """
        for key in sorted(key for key, service in self._registry.services.items() if service.live):
            view = self._views.get(key) or self._known(key)
            if view is not None and view.instance_count:
                yield view

    @property
    def cached_views(self) -> int:
        """Count the views that are kept."""
        return len(self._views)

    @property
    def _idle(self) -> bool:
        """Whether callers see what is registered: no filter changes anything."""
        if len(self._idlers) < len(self.filters):
            return False
        for step in self._idlers:  # noqa: SIM110 - a generator would cost more than the filters
            if not step.idle:
                return False
        return True

    def _known(self, key: str) -> ServiceView | None:
        draft = self._draft(key)
        if draft is None:
            return None
        view = self._views[key] = ServiceView(draft)
        return view

    def _draft(self, key: str) -> ServiceDraft | None:
        service = self._registry.services.get(key)
        if service is None or not service.live:
            return None
        instances = tuple(sorted((name, lease.record.content) for name, lease in service.leases.items() if lease.live))
        # All nodes show the same spelling: that of the smallest instance id.
        spelling = _SPELLING.decode(instances[0][1]).service_id
        return self._filtered(key, spelling, instances)

    def _filtered(self, key: str, service_id: str, instances: tuple[tuple[str, bytes], ...]) -> ServiceDraft:
        draft = ServiceDraft(key=key, service_id=service_id, instances=instances)
        for step in self.filters:
            try:
                draft = step.apply(draft)
            except Exception:
                self.filter_failures += 1
                logger.exception("discovery filter failed and is skipped: filter=%s service=%s", step.name, key)
        return draft

    def _live(self, service: str, name: str) -> bytes | None:
        entry = self._registry.services.get(service)
        lease = None if entry is None else entry.leases.get(name)
        return lease.record.content if lease is not None and lease.live else None

    def _changed(self, change: Change) -> None:
        before, after = change.previous, change.visible
        if before == after:
            return
        _, service, name = change.record.key
        if not self._idle:
            before, after = self.shown(service, name, before), self.shown(service, name, after)
        if before != after:
            self._tell(change.origin, change.seq, service, name, before, after)
        else:
            # What a filter adds, such as groups, may still depend on instances that it hides.
            self._views.pop(service, None)

    def _tell(
        self,
        origin: Origin,
        seq: int,
        service: str,
        name: str,
        before: bytes | None,
        after: bytes | None,
        *,
        altered: bool = False,
    ) -> None:
        self.version += 1
        self._views.pop(service, None)
        transition = Transition(origin, seq, self.version, service, name, before, after, altered)
        for listener in self._listeners:
            try:
                listener(transition)
            except Exception:
                self.listener_failures += 1
                logger.exception("transition listener failed: service=%s instance=%s", service, name)


class _Spelling(msgspec.Struct, rename="camel", gc=False):
    service_id: str


_SPELLING = msgspec.json.Decoder(_Spelling)
