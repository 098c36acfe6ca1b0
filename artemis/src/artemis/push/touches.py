"""Which changes have touched which service and instance, so that a cursor of any node can be answered (design 4.1).

What the holder of a cursor may see differently is every record with a dot beyond it, dead ones until they are swept,
and what operators have altered since. For each service the last number of every origin is kept, so that those that
nothing has touched cost next to nothing, and only the others are gone through.
Not here: how what was touched is told; see `log`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

import msgspec

from artemis.model.cursors import Cursor, Origin

if TYPE_CHECKING:
    from artemis.discovery import Transition
    from artemis.registry import Change, Dot, Lease, Registry

SLICE = 4_000
"""Leases looked at between two steps, about 2 ms."""

AT_ONCE = 4 * SLICE
"""Leases that are looked at in one go; what takes more is to be done in steps."""

_ROOM = 64


class Alterations(Protocol):
    """What hides and shows instances although their records stay the same, such as decisions of operators."""

    def touched_since(self, service: str, cursor: Cursor) -> Iterable[str]:
        """Return the instances of a service that may look different to the holder of a cursor. Ids in lower case.

        The cursor is one that this node could serve, so nothing that it lacks has been forgotten.
        """

    def services_since(self, cursor: Cursor) -> Iterable[str]:
        """Return the services, ids in lower case, of which `touched_since` may name an instance."""


class Touched(msgspec.Struct, frozen=True, eq=False):
    """What may look different to the holder of `cursor`: these instances by service, at `version` of the catalog; and
    whatever changes after that. Ids in lower case.
    """

    cursor: Cursor
    version: int
    instances: dict[str, list[str]]

    @property
    def count(self) -> int:
        """Count the instances."""
        return sum(map(len, self.instances.values()))


class Touches:
    """Notes what touches the services of a registry, from its beginning. Owned by the change log, which tells it.

    What is altered without a change of its record is noted for each instance as well; an empty instance stands for the
    whole service.
    """

    __slots__ = ("_altered", "_registry", "_services")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._services: dict[str, dict[Origin, int]] = {}
        self._altered: dict[str, dict[str, tuple[Origin, int]]] = {}
        for service in registry.services.values():
            for lease in service.leases.values():
                self._note(service.name, lease.record.dots)

    # -- what happens

    def changed(self, change: Change) -> None:
        """Note a change of a record."""
        record = change.record
        dots = record.dots
        numbers = self._services.get(record.key[1])
        if numbers is not None and len(dots) == 1 and dots[0].origin in numbers:
            dot = dots[0]
            numbers[dot.origin] = max(dot.seq, numbers[dot.origin])
        else:
            self._note(record.key[1], dots)

    def altered(self, transition: Transition) -> None:
        """Note what callers see differently although no record has changed."""
        service, origin, seq = transition.service, transition.origin, transition.seq
        self._altered.setdefault(service, {})[transition.instance] = origin, seq
        numbers = self._numbers(service)
        numbers[origin] = max(seq, numbers.get(origin, 0))

    def _note(self, service: str, dots: tuple[Dot, ...]) -> None:
        numbers = self._services.get(service)
        if numbers is None:
            numbers = self._numbers(service)
        for dot in dots:
            origin, seq = dot.origin, dot.seq
            known = numbers.get(origin)
            if known is None:
                self._forget_epochs(numbers)
                numbers[origin] = seq
            elif seq > known:
                numbers[origin] = seq

    def _numbers(self, service: str) -> dict[Origin, int]:
        numbers = self._services.get(service)
        if numbers is None:
            if len(self._services) > 2 * len(self._registry.services) + _ROOM:
                self._forget_services()
            numbers = self._services[service] = {}
        return numbers

    def _forget_epochs(self, numbers: dict[Origin, int]) -> None:
        base = self._registry.base
        for origin in [origin for origin in numbers if origin.epoch < base.get(origin.node, 0)]:
            del numbers[origin]

    def _forget_services(self) -> None:
        """Forget services without records: what was swept has raised the floor."""
        kept = self._registry.services
        self._services = {name: numbers for name, numbers in self._services.items() if name in kept}
        self._altered = {name: instances for name, instances in self._altered.items() if name in kept}

    # -- what was touched

    def cost(self, service: str, cursor: Cursor, alterations: Alterations | None) -> int:
        """Return how many leases have to be looked at; `service` in lower case, empty for all of them."""
        services = self._registry.services
        found = (services.get(name) for name in self._beyond(service, cursor, alterations))
        return sum(len(entry.leases) for entry in found if entry is not None)

    def steps(
        self, service: str, cursor: Cursor, alterations: Alterations | None
    ) -> Iterator[dict[str, list[str]] | None]:
        """Yield None between steps of the work, and at last the instances that were touched since a cursor, by service.

        They are those that were when this began; what changes meanwhile may be among them or not. A service that is to
        be looked up as a whole has the instance "".
        """
        found: dict[str, list[str]] = {}
        looked_at = 0
        # All of them as they are now: one that is swept meanwhile still says what touched it.
        leases = {name: self._leases(name) for name in self._beyond(service, cursor, alterations)}
        for name, its in leases.items():
            names = self._altered_since(name, cursor)
            for start in range(0, len(its), SLICE):
                part = its[start : start + SLICE]
                names.update(dict.fromkeys(_touched(part, cursor)))
                looked_at += len(part)
                if looked_at >= SLICE:
                    looked_at = 0
                    yield None
            if alterations is not None:
                names.update(dict.fromkeys(alterations.touched_since(name, cursor)))
            if names:
                found[name] = list(names)
        yield found

    def _beyond(self, service: str, cursor: Cursor, alterations: Alterations | None) -> list[str]:
        """Return the services that something beyond a cursor has touched."""
        altered = {} if alterations is None else dict.fromkeys(alterations.services_since(cursor))
        if service:
            numbers = self._services.get(service)
            return [service] if service in altered or (numbers is not None and _beyond(numbers, cursor)) else []
        return [
            *altered,
            *[name for name, numbers in self._services.items() if name not in altered and _beyond(numbers, cursor)],
        ]

    def _leases(self, service: str) -> list[Lease]:
        entry = self._registry.services.get(service)
        return [] if entry is None else list(entry.leases.values())

    def _altered_since(self, service: str, cursor: Cursor) -> dict[str, None]:
        altered = self._altered.get(service)
        if not altered:
            return {}
        return {name: None for name, (origin, seq) in altered.items() if not cursor.covers(origin, seq)}


def _beyond(numbers: dict[Origin, int], cursor: Cursor) -> bool:
    known, base = cursor.vector.get, cursor.base.get
    for origin, seq in numbers.items():  # noqa: SIM110 - a generator would cost more than the loop
        if seq > known(origin, 0) and origin.epoch >= base(origin.node, 0):
            return True
    return False


def _touched(leases: list[Lease], cursor: Cursor) -> list[str]:
    known, base = cursor.vector.get, cursor.base.get
    names = []
    for lease in leases:
        for dot in lease.record.dots:
            origin = dot.origin
            if dot.seq > known(origin, 0) and origin.epoch >= base(origin.node, 0):
                names.append(lease.record.key[2])
                break
    return names
