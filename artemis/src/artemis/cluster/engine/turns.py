"""When the turn of a place comes: at once, at its pace, a while after what did not work, or when there is room.

Not here: what is done then (`writing`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import islice

from artemis.cluster.engine.dirty import Dirty
from artemis.cluster.engine.places import Place

PACE = 50
"""Milliseconds between two puts of one place at least: what changes more often is put with what it is then."""

LATEST = 5_000
"""Milliseconds until something that did not work is tried again at most."""

_LATER = 200
"""Milliseconds until that is tried again for the first time; twice as long each time."""

_PROBE = 1_000
"""Milliseconds between two new keys that are tried while the bucket is full."""


class Turns:
    """Owned by a `Writing`, whose places `dirty` are; `now` is the moment of its last call, `full` whether the bucket
    takes no new keys."""

    def __init__(self, dirty: Mapping[Place, Dirty]) -> None:
        self.full = False
        self.now = 0
        self._dirty = dirty
        self._ready: dict[Place, None] = {}
        self._later: list[tuple[int, int, Place]] = []
        self._count = 0
        # New ones that did not fit.
        self._outside: dict[Place, None] = {}
        self._probe = 0
        # When places were put last, as long as they may not be put again.
        self._put_at: OrderedDict[Place, int] = OrderedDict()

    def __contains__(self, place: Place) -> bool:
        """Tell whether it is the turn of a place."""
        return place in self._ready

    def is_outside(self, place: Place) -> bool:
        """Tell whether a place waits for room."""
        return place in self._outside

    def first(self, most: int) -> list[Place]:
        """Return those whose turn it is, oldest first."""
        return list(islice(self._ready, most))

    def wake(self, now: int) -> None:
        """Let the turn come of those that have waited long enough."""
        self.now, put_at = now, self._put_at
        while put_at and now - next(iter(put_at.values())) >= PACE:
            put_at.popitem(last=False)
        while self._later and self._later[0][0] <= now:
            place = heappop(self._later)[2]
            dirty = self._dirty.get(place)
            if dirty is None or dirty.flight or (dirty.landed and not dirty.again):
                continue
            if dirty.getting is None and place not in self._outside:
                dirty.waits = False
                self._ready[place] = None
        if self._outside and now >= self._probe:
            place = next(iter(self._outside))
            del self._outside[place]
            self._probe = now + _PROBE
            if place in self._dirty:
                self._ready[place] = None

    def at_once(self, place: Place) -> None:
        """Let it be the turn of a place."""
        self._ready[place] = None

    def soon(self, place: Place) -> None:
        """Let a place be put, but not too soon after it was put last."""
        at = self._put_at.get(place)
        if at is None or self.now - at >= PACE:
            self._ready[place] = None
        else:
            self.put_off(place, at + PACE)

    def again(self, place: Place, now: int, *, at_once: bool = False) -> None:
        """Try a place again after something that did not work, the first time `at_once` if that may help."""
        dirty = self._dirty[place]
        dirty.tried += 1
        if at_once and dirty.tried == 1:
            self._ready[place] = None
            return
        self.put_off(place, now + min(LATEST, _LATER << min(dirty.tried - 1, 5)))

    def put_off(self, place: Place, until: int) -> None:
        """Let a place wait until a moment."""
        self._count += 1
        heappush(self._later, (until, self._count, place))

    def over(self, place: Place) -> None:
        """A place has had its turn, or needs none now."""
        self._ready.pop(place, None)

    def was_put(self, place: Place, now: int) -> None:
        """A place is being put."""
        self._put_at[place] = now

    def crowded(self, place: Place, now: int) -> None:
        """A new place did not fit: such ones wait, and one is tried now and then."""
        self.full = True
        self._outside[place] = None
        self._probe = now + _PROBE

    def fits(self) -> None:
        """There is room again."""
        self.full = False
        self._ready.update(self._outside)
        self._outside.clear()

    def forget(self, place: Place) -> None:
        """A place is dirty no longer."""
        self._ready.pop(place, None)
        self._outside.pop(place, None)
