"""Bringing server operations into effect, some instances at a time (spec 8.4).

A registry has no table by address, and looking through 100 000 instances takes longer than an event loop may stall. So
a sweep goes through them in steps: an instance that it has passed is shown by the new state of its server, one that it
has not is shown by the old, and what changes for callers is told in the step that passes it.
Not here: which operations are recorded, and when steps are made (`pullouts`).
"""

from collections.abc import Mapping

import msgspec

from artemis.discovery import Catalog
from artemis.registry import Registry

STEP_COST = 2_000
"""Work of one step: an instance that is looked at counts 1, one that changes for callers 20. A few milliseconds."""

_CHANGED = 20


class Place(msgspec.Struct, rename="camel", gc=False):
    """What of an instance decides whether it is down: its id and the address of its machine."""

    instance_id: str | None = None
    ip: str | None = None


PLACE = msgspec.json.Decoder(Place)


def ip_of(content: bytes) -> str:
    """Return the ip of an instance's JSON in lower case, empty when it has none."""
    return (PLACE.decode(content).ip or "").lower()


class HiddenServers:
    """The servers that are in effect down, by id in lower case, and the sweep that is changing that, if any.

    Shared by the filter, which reads it, and by `PullOuts`, which changes it inside `Catalog.alter` only.
    """

    __slots__ = ("servers", "sweep")

    def __init__(self) -> None:
        self.servers: set[str] = set()
        self.sweep: Sweep | None = None

    def __bool__(self) -> bool:
        """Tell whether any instance may be hidden because of its server."""
        return bool(self.servers) or self.sweep is not None

    def hides(self, service: str, name: str, ip: str) -> bool:
        """Tell whether an instance is hidden because of its server; everything in lower case."""
        sweep = self.sweep
        if sweep is not None and (down := sweep.targets.get(ip)) is not None and sweep.has_passed(service, name):
            return down
        return ip in self.servers


class Sweep:
    """One pass over the live instances that brings `targets`, server id to whether it is down, into effect.

    Services of few instances are passed whole, several in a step; the instances of a large one in steps of its own.
    """

    __slots__ = ("_catalog", "_left", "_names", "_pending", "_registry", "_service", "_step_cost", "_todo", "targets")

    def __init__(
        self, targets: Mapping[str, bool], registry: Registry, catalog: Catalog, step_cost: int = STEP_COST
    ) -> None:
        self.targets = dict(targets)
        self._registry = registry
        self._catalog = catalog
        self._step_cost = step_cost
        # A service that comes up from now on has been passed, what joins one that is still to come has not.
        self._todo = list(registry.services)
        self._pending = set(self._todo)
        self._service = ""
        self._left: list[str] = []
        self._names: set[str] = set()

    def has_passed(self, service: str, name: str) -> bool:
        """Tell whether the new state counts for this instance."""
        return service not in self._pending and not (service == self._service and name in self._names)

    def step(self) -> bool:
        """Pass some more instances and tell what changes for callers; return whether more are left."""
        if not self._left and self._todo and self._is_large(self._todo[-1]):
            self._service = self._todo.pop()
            self._left = self._names_of(self._service)
            self._names = set(self._left)
            self._pending.discard(self._service)
            # Noting 100 000 names is a step of its own.
            return True
        if self._left:
            names, affected = self._some_instances()
            self._catalog.alter(affected, lambda: self._names.difference_update(names))
        else:
            services, affected = self._some_services()
            self._catalog.alter(affected, lambda: self._pending.difference_update(services))
        return bool(self._left or self._todo)

    def _some_instances(self) -> tuple[list[str], list[tuple[str, str]]]:
        names: list[str] = []
        affected: list[tuple[str, str]] = []
        while self._left and len(names) + _CHANGED * len(affected) < self._step_cost:
            names.append(name := self._left.pop())
            if self._is_ours(self._service, name):
                affected.append((self._service, name))
        return names, affected

    def _some_services(self) -> tuple[list[str], list[tuple[str, str]]]:
        services: list[str] = []
        affected: list[tuple[str, str]] = []
        cost = 0
        while self._todo and cost < self._step_cost and not self._is_large(self._todo[-1]):
            services.append(service := self._todo.pop())
            names = self._names_of(service)
            ours = [(service, name) for name in names if self._is_ours(service, name)]
            affected += ours
            cost += 1 + len(names) + _CHANGED * len(ours)
        return services, affected

    def _is_large(self, service: str) -> bool:
        entry = self._registry.services.get(service)
        return entry is not None and len(entry.leases) * _CHANGED > self._step_cost

    def _names_of(self, service: str) -> list[str]:
        entry = self._registry.services.get(service)
        return [] if entry is None else list(entry.leases)

    def _is_ours(self, service: str, name: str) -> bool:
        entry = self._registry.services.get(service)
        lease = None if entry is None else entry.leases.get(name)
        return lease is not None and lease.live and ip_of(lease.record.content) in self.targets
