"""What a node says of itself in the bucket, and what the others say of themselves there (design 4.1 "Engine").

Not here: what is known of them otherwise, by their signs of life (`artemis.cluster.members`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from artemis.cluster.engine.dirty import NONE, Number
from artemis.cluster.engine.entries import MemberRow
from artemis.cluster.engine.places import Place, member_place
from artemis.cluster.messages import MAX_ORIGINS, Part
from artemis.registry import Dot, Origin, Registry

OFTEN = 1_000
"""Milliseconds between two puts at least, while what changes of it matters to what this node puts otherwise."""

SELDOM = 5_000
"""Milliseconds between two puts for the sake of `stored` and `floor` alone: all others read each of them."""


class Saying:
    """What one node says of itself, and what it has read of all. Owned by its replica.

    `stored` is, for each of its lives, the number up to which all changes are in the bucket; `said` is what the bucket
    has of this node, None for nothing of this life. `complete` tells whether the bucket has all that is known here.
    """

    def __init__(self, registry: Registry, url: str, zone: str) -> None:
        self.place: Place = member_place(registry.origin.node)
        self.stored: dict[int, int] = {}
        self.said: MemberRow | None = None
        self.left = False
        self.complete: Callable[[], bool] = lambda: False
        #: The identity of the bucket.
        self.bucket = ""
        self.rows: dict[str, MemberRow] = {}
        self._registry = registry
        self._url, self._zone = url, zone
        self._told = -SELDOM

    @property
    def row(self) -> MemberRow:
        """What is to be said now."""
        registry = self._registry
        floor = [(origin.node, origin.epoch, seq) for origin, seq in registry.floor.items()]
        return MemberRow(
            registry.origin.node,
            registry.origin.epoch,
            self._url,
            self._zone,
            sorted(self.stored.items()),
            sorted(registry.base.items()),
            sorted(registry.unnamed.items()),
            sorted(floor),
            self.left,
            sorted(self._others()),
            self.bucket,
        )

    def _others(self) -> Iterator[Part]:
        if not self.complete():
            return
        for origin, seq in self._registry.vector.items():
            if origin.node != self._registry.origin.node and seq:
                row = self.rows.get(origin.node)
                if row is None or row.epoch > origin.epoch:
                    yield origin.node, origin.epoch, seq

    @property
    def open(self) -> bool:
        """Whether records may be put: the bucket knows the life that they name, and what they do not name any more."""
        said, registry = self.said, self._registry
        return (
            said is not None
            and said.epoch == registry.origin.epoch
            and dict(said.base) == registry.base
            and dict(said.unnamed) == registry.unnamed
        )

    def first_lacking(self, dots: Iterable[Dot]) -> Number:
        """Return the first own change that the bucket may lack if it lacks a record with these changes."""
        node, stored = self._registry.origin.node, self.stored
        since = self._registry.base.get(node, 0)
        found = [
            (dot.origin.epoch, stored.get(dot.origin.epoch, 0) + 1)
            for dot in dots
            if dot.origin.node == node and dot.origin.epoch >= since and dot.seq > stored.get(dot.origin.epoch, 0)
        ]
        return min(found, default=NONE)

    def due(self, now: int) -> bool:
        """Tell whether something new is to be put now."""
        if now - self._told < OFTEN:
            return False
        if not self.open or (self.said is not None and self.said.left != self.left):
            return True
        return now - self._told >= SELDOM and self.row != self.said

    def began(self, now: int) -> None:
        """Note that it is being put."""
        self._told = now

    def anew(self) -> None:
        """Forget all: the bucket is another one."""
        self.stored.clear()
        self.rows.clear()
        self.said = None

    def note(self, row: MemberRow) -> bool:
        """Note what a node says of itself; False if there are too many."""
        if row.node not in self.rows and len(self.rows) >= MAX_ORIGINS:
            return False
        self.rows[row.node] = row
        return True

    def reached(self) -> dict[Origin, int]:
        """Return up to which number all changes of each life are in the bucket, as far as that is said there."""
        reached: dict[Origin, int] = {}
        for row in (*self.rows.values(), *((self.said,) if self.said is not None else ())):
            if row.bucket != self.bucket:
                continue
            for node, epoch, seq in (*((row.node, epoch, seq) for epoch, seq in row.stored), *row.others):
                origin = Origin(node, epoch)
                reached[origin] = max(seq, reached.get(origin, 0))
        return reached

    def joined(self) -> tuple[Mapping[str, int], Mapping[str, int], Mapping[Origin, int]]:
        """Return base, unnamed epochs and floor of all nodes together."""
        base: dict[str, int] = {}
        unnamed: dict[str, int] = {}
        floor: dict[Origin, int] = {}
        for row in self.rows.values():
            for table, epochs in ((base, row.base), (unnamed, row.unnamed)):
                for node, epoch in epochs:
                    table[node] = max(epoch, table.get(node, 0))
            for node, epoch, seq in row.floor:
                origin = Origin(node, epoch)
                floor[origin] = max(seq, floor.get(origin, 0))
        return base, unnamed, floor
