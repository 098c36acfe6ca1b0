"""Which puts were done, and are to be read at the numbers that they took before they count as being in the bucket.

Whoever answers a put may keep another bucket under that name by now, and numbers do not tell; so a put is confirmed by
what is read there. Not here: what else is known of a place that is to be put (`writing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush

from artemis.cluster.engine.dirty import NONE, Dirty
from artemis.cluster.engine.places import Place


class Confirming:
    """Owned by a `Writing`, whose places `dirty` are; `position` is up to where all of the bucket was read."""

    def __init__(self, dirty: Mapping[Place, Dirty]) -> None:
        self.position = 0
        self._dirty = dirty
        self._landed: list[tuple[int, Place]] = []

    def expect(self, place: Place, sequence: int, value: int) -> None:
        """Let a place wait until it is read at a number, with `value` as a hash of what is to be there, 0 for
        unknown."""
        dirty = self._dirty[place]
        dirty.landed, dirty.value = sequence, value
        dirty.waits = False
        heappush(self._landed, (sequence, place))

    def differs(self, place: Place, revision: int, value: bytes) -> bool:
        """Tell whether what was put is to be read at this number, and something else is there."""
        dirty = self._dirty.get(place)
        return dirty is not None and dirty.landed == revision and dirty.value != hash(value)

    def read(self, place: Place, revision: int) -> Dirty | None:
        """Confirm a place of which an entry was read, if that is what was put; return what is left to be put of it."""
        dirty = self._dirty.get(place)
        if dirty is None or dirty.landed != revision:
            return None
        dirty.landed = 0
        dirty.first, dirty.then = dirty.then, NONE
        return dirty

    def reached(self, position: int) -> Iterator[tuple[int, Place, Dirty]]:
        """Yield what was to be read by now and was not, with its number: it is in another bucket, or was purged."""
        self.position = position
        while self._landed and self._landed[0][0] <= position:
            sequence, place = heappop(self._landed)
            dirty = self._dirty.get(place)
            if dirty is not None and dirty.landed == sequence:
                yield sequence, place, dirty

    def anew(self) -> Iterator[tuple[Place, Dirty]]:
        """Yield all that waits, as the bucket is another one."""
        landed, self._landed, self.position = self._landed, [], 0
        for _, place in landed:
            dirty = self._dirty.get(place)
            if dirty is not None and dirty.landed:
                yield place, dirty
