"""What a bucket lacked when it was read as a whole, until it is there, or the bucket turns out to have had it all.

A node that knows more than a bucket puts it there; but where the markers say later that all changes of a record were in
the bucket, somebody knew its end, and has forgotten it. Pure. Not here: what follows from that (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from artemis.cluster.engine.places import Place
from artemis.registry import Dot, Origin, Reach


class Unseen:
    """The places of one bucket that were not in it. Owned by a reader."""

    __slots__ = ("_places", "_waiting")

    def __init__(self) -> None:
        self._places: set[Place] = set()
        # Each of them stands under one of its changes that the bucket has not had.
        self._waiting: dict[Origin, list[tuple[int, Place]]] = {}

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._places)

    def add(self, place: Place, dots: tuple[Dot, ...], theirs: Reach) -> None:
        """Note that a place is not there; `theirs` is what the bucket has had, as far as it says."""
        if self._wait(place, dots, theirs):
            self._places.add(place)

    def came(self, place: Place) -> None:
        """Note that a place is there."""
        self._places.discard(place)

    def covered(self, theirs: Reach, dots: Callable[[Place], tuple[Dot, ...] | None]) -> Iterator[Place]:
        """Yield, once, those of which the bucket has had all by now; `dots` tells the changes of a place, None if there
        is nothing there any more."""
        for origin, waiting in list(self._waiting.items()):
            over = origin.epoch < theirs.base.get(origin.node, 0)
            reached = theirs.vector.get(origin, 0)
            while waiting and (over or waiting[0][0] <= reached):
                place = heappop(waiting)[1]
                known = dots(place) if place in self._places else None
                if known is None:
                    self._places.discard(place)
                elif not self._wait(place, known, theirs):
                    self._places.discard(place)
                    yield place
            if not waiting:
                self._waiting.pop(origin, None)

    def _wait(self, place: Place, dots: tuple[Dot, ...], theirs: Reach) -> bool:
        for dot in dots:
            if dot.seq > theirs.vector.get(dot.origin, 0) and dot.origin.epoch >= theirs.base.get(dot.origin.node, 0):
                heappush(self._waiting.setdefault(dot.origin, []), (dot.seq, place))
                return True
        return False
