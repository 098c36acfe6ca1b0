"""The catalog: the view of every service, made at the first request and kept until the service changes (design 2.4).

Not here: permissions and the outcome of requests (`artemis.server.node`), and deltas between versions.
"""

import logging
from collections.abc import Iterable, Iterator

import msgspec

from artemis.discovery.views import DiscoveryFilter, ServiceDraft, ServiceView
from artemis.registry import Change, Registry

logger = logging.getLogger(__name__)


class Catalog:
    """What callers see of a registry. Owned by a node and its event loop; answers stay as they are when it changes.

    `version` starts at the wall clock's milliseconds and grows with each change that callers can see (spec 5.2).
    `filters` run in order over every service, known or not (spec 5.1).
    """

    def __init__(self, registry: Registry, *, filters: Iterable[DiscoveryFilter] = (), wall: int) -> None:
        self.version = wall
        self.filter_failures = 0
        self._registry = registry
        self._filters = tuple(filters)
        self._views: dict[str, ServiceView] = {}
        registry.on_change(self._changed)

    def view(self, service_id: str) -> ServiceView:
        """Return the view of a service, whatever the letter case of its id; an unknown one is shown empty."""
        key = service_id.lower()
        return self._views.get(key) or self._known(key) or ServiceView(self._filtered(key, service_id, ()))

    def views(self) -> Iterator[ServiceView]:
        """Yield the services that have live instances, in the order of their ids in lower case.

        The catalog may change while this runs: each view is consistent in itself, services that vanish are left out.
        """
        for key in sorted(key for key, service in self._registry.services.items() if service.live):
            view = self._views.get(key) or self._known(key)
            if view is not None:
                yield view

    @property
    def cached_views(self) -> int:
        """Count the views that are kept."""
        return len(self._views)

    def _known(self, key: str) -> ServiceView | None:
        service = self._registry.services.get(key)
        if service is None or not service.live:
            return None
        instances = tuple(sorted((name, lease.record.content) for name, lease in service.leases.items() if lease.live))
        # All nodes show the same spelling: that of the smallest instance id.
        spelling = _SPELLING.decode(instances[0][1]).service_id
        view = self._views[key] = ServiceView(self._filtered(key, spelling, instances))
        return view

    def _filtered(self, key: str, service_id: str, instances: tuple[tuple[str, bytes], ...]) -> ServiceDraft:
        draft = ServiceDraft(key=key, service_id=service_id, instances=instances)
        for step in self._filters:
            try:
                draft = step(draft)
            except Exception:
                self.filter_failures += 1
                logger.exception("discovery filter failed and is skipped: service=%s", key)
        return draft

    def _changed(self, change: Change) -> None:
        if change.previous != change.visible:
            self.version += 1
            self._views.pop(change.record.key[1], None)


class _Spelling(msgspec.Struct, rename="camel", gc=False):
    service_id: str


_SPELLING = msgspec.json.Decoder(_Spelling)
