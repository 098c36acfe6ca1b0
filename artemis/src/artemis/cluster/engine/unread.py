"""Own puts that were answered and are still to be read: whoever answered may keep another bucket by now.

A change counts as being in the bucket when it is read there, at the number that was answered or a later one of the same
place. Pure. Not here: what is to be put again (`writing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush

from artemis.cluster.engine.places import Place

Number = tuple[int, int]
"""A change of this node: epoch and sequence number."""

NONE: Number = (0, 0)


class Unread:
    """The places of such puts, as they were answered. Owned by `Writing`."""

    __slots__ = ("_firsts", "_places")

    def __init__(self) -> None:
        self._places: dict[Place, tuple[Number, int]] = {}
        self._firsts: list[tuple[Number, Place]] = []

    def __len__(self) -> int:
        """Count the places."""
        return len(self._places)

    def __contains__(self, place: Place) -> bool:
        """Tell whether a place is one of them."""
        return place in self._places

    def add(self, place: Place, first: Number, sequence: int) -> None:
        """Note that own changes from `first` on are said to be in the entry of this number; NONE for no such change."""
        before = self._places.pop(place, None)
        if before is not None:
            first = before[0] if first == NONE else min(first, before[0])
        if first != NONE:
            self._places[place] = first, sequence
            if before is None or first != before[0]:
                heappush(self._firsts, (first, place))

    def first(self) -> Number | None:
        """Return the first own change in any of them, None if there is none."""
        firsts = self._firsts
        while firsts:
            number, place = firsts[0]
            if self._places.get(place, (NONE, 0))[0] == number:
                return number
            heappop(firsts)
        return None

    def awaited(self, place: Place, sequence: int) -> Number:
        """Return the own change that the entry of this number is to have at least, NONE for none."""
        first, answered = self._places.get(place, (NONE, 0))
        return first if answered == sequence else NONE

    def read(self, place: Place, sequence: int) -> None:
        """Note that an entry was read and taken in, or has what it is to have."""
        if place in self._places and self._places[place][1] <= sequence:
            del self._places[place]

    def passed(self, position: int) -> Iterator[tuple[Place, Number]]:
        """Yield, once, what did not come although all up to a number was read: place and first own change."""
        while self._places:
            place, (first, sequence) = next(iter(self._places.items()))
            if sequence > position:
                return
            del self._places[place]
            yield place, first

    def clear(self) -> None:
        """Forget all."""
        self._places.clear()
        self._firsts.clear()
