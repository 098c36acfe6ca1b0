"""Entries of the dead that are to disappear from the bucket: slowly, as each costs the engine much (design 4.1).

A record that a node has let go of is gone for good once the floor is in the bucket below which no cursor can be served:
then the first of the members in the order of the record purges its entry, the others later if it is still there. Who
comes back soon enough reads on where he was; so an entry also lies there for a lifetime, however long ago its record
died: whether it does is looked at first.
Not here: when a node lets go of a record (`artemis.registry`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

import msgspec

from artemis.cluster.engine.places import Place
from artemis.registry import Dot, Origin

MOST = 100_000
"""Entries that are remembered; the others disappear when somebody reads the whole bucket."""

PURGES = 5
"""Entries that are purged in a second at most."""

PATIENCE = 30_000
"""Milliseconds that each further member waits."""


class Swept(msgspec.Struct):
    """A dead entry: its `revision`, the changes that it names, and when this node is to look at it, or to purge it if
    it was `seen` there, old enough."""

    revision: int
    dots: tuple[Dot, ...]
    due: int
    seen: bool = False


class Sweeping:
    """Owned by a replica. `dropped` counts entries that there was no room for."""

    def __init__(self) -> None:
        self.dropped = 0
        self._swept: OrderedDict[Place, Swept] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        """Count the entries that are remembered."""
        return len(self._swept)

    def __contains__(self, place: Place) -> bool:
        """Tell whether the entry of a place is to be purged."""
        return place in self._swept

    def add(self, place: Place, revision: int, dots: tuple[Dot, ...], rank: int, now: int) -> None:
        """Remember an entry of which this node is the one in this rank to purge it."""
        if len(self._swept) >= MOST and place not in self._swept:
            self.dropped += 1
            return
        self._swept[place] = Swept(revision, dots, now + PATIENCE * rank)

    def forget(self, place: Place) -> None:
        """Let an entry be: something lives there again, or it is gone."""
        self._swept.pop(place, None)

    def clear(self) -> None:
        """Forget all, as the bucket is another one."""
        self._swept.clear()

    def looked(self, place: Place, revision: int, lacking: int, now: int) -> None:
        """Note which entry is there, 0 for none, and for how many milliseconds more it has to lie there."""
        swept = self._swept.get(place)
        if swept is None:
            return
        if revision == 0 or revision > swept.revision:
            del self._swept[place]
        else:
            swept.seen, swept.due = lacking <= 0, now + max(0, lacking)

    def due(self, floor: Mapping[Origin, int], base: Mapping[str, int], now: int) -> Iterator[tuple[Place, int]]:
        """Yield what is to be done now: a place to look at, with 0, or one to purge, with its revision.

        `floor` and `base` are those that are in the bucket.
        """
        if now < self._next:
            return
        for place, swept in list(self._swept.items())[: 20 * PURGES]:
            if swept.due > now or not all(_is_below(dot, floor, base) for dot in swept.dots):
                self._swept.move_to_end(place)
                continue
            self._next = now + 1_000 // PURGES
            if swept.seen:
                del self._swept[place]
                yield place, swept.revision
            else:
                swept.due = now + PATIENCE
                yield place, 0
            return


def _is_below(dot: Dot, floor: Mapping[Origin, int], base: Mapping[str, int]) -> bool:
    return dot.seq <= floor.get(dot.origin, 0) or dot.origin.epoch < base.get(dot.origin.node, 0)
