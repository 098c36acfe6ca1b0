"""The end of a pass over the bucket: what this node has and the bucket lacks (design 4.1 "Engine").

Of a live record that the bucket has not, although it had all its changes, somebody knew the end, and it was purged:
this node says anew what it knows of it. What the bucket never had is put. Not here: the pass itself (`progress`).
"""

from __future__ import annotations

from collections.abc import Iterator

from artemis.cluster.engine.dirty import NONE, Number
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.places import Place, operation_place
from artemis.cluster.engine.saying import Saying
from artemis.registry import Dot, Lease, Origin, Reach, Registry
from artemis.registry.records import covered

_LOOKED_AT = 8_000
"""Leases that are looked at in one go."""


class Ending:
    """The end of one pass, which read everything if it is `whole`, else only what had changed. Owned by a replica."""

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole
        self._left: list[Lease] | None = None
        self._died: list[Lease] = []
        self._lacking: list[tuple[Place, Number]] = []

    def go_on(
        self,
        registry: Registry,
        operators: EngineOperators | None,
        seen: set[Place] | None,
        theirs: Reach,
        saying: Saying,
        now: int,
    ) -> bool:
        """Look at some more records; return whether all were looked at.

        `seen` are the places that the bucket has, `theirs` is what it has had, `saying` what of this node's.
        """
        if self._left is None:
            self._left = [lease for service in registry.services.values() for lease in service.leases.values()]
            if operators is not None:
                self._decisions(registry, operators, seen, theirs, saying, now)
        left = self._left
        for _ in range(min(_LOOKED_AT, len(left))):
            lease = left.pop()
            place = lease.record.key
            if registry.find(*place[1:]) is not lease:
                continue
            number = saying.first_lacking(lease.record.dots)
            if seen is None or place in seen:
                if number != NONE and seen is None:
                    self._lacking.append((place, number))
            elif registry.lacking([lease], theirs):
                self._died.append(lease)
            elif not covered(lease.record.dots, registry.forgotten, theirs.vector, theirs.base):
                self._lacking.append((place, number))
        return not left

    def died(self) -> list[Lease]:
        """Return which leases died elsewhere, once each."""
        died, self._died = self._died, []
        return died

    def lacking(self) -> Iterator[tuple[Place, Number]]:
        """Yield what the bucket never had, once each, and the first of the own changes that may lack there by that."""
        lacking, self._lacking = self._lacking, []
        yield from lacking

    def _decisions(
        self,
        registry: Registry,
        operators: EngineOperators,
        seen: set[Place] | None,
        theirs: Reach,
        saying: Saying,
        now: int,
    ) -> None:
        rows = list(operators.rows(range(len(operators.sums()))))
        if seen is not None:
            operators.lacking(
                range(len(operators.sums())), [row for row in rows if operation_place(row) in seen], theirs, now
            )
        for row in rows:
            place = operation_place(row)
            dots = tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in row.dots)
            number = saying.first_lacking(dots)
            if seen is None:
                if number != NONE:
                    self._lacking.append((place, number))
            elif place not in seen and not covered(dots, registry.forgotten, theirs.vector, theirs.base):
                self._lacking.append((place, number))
