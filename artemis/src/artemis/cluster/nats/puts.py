"""Which puts are under way, and what becomes of those that nobody answers.

As many as fit into a window are sent without waiting for each other. One without an answer is repeated with the same
name, so that the engine does it once; for that it remembers names for a while, and after that nobody knows what became
of it. Pure; not here: sending.
"""

from __future__ import annotations

from collections import deque

import msgspec

from artemis.cluster.engine.port import Put
from artemis.cluster.nats.identity import DUPLICATES

WINDOW = 512
"""Puts under way at most; on one machine, more of them were no faster."""


class PutTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. A put is repeated when no answer came for `answer`, and given up `forgotten` after it was first
    sent, well before the engine forgets its name."""

    answer: int = 1_000
    forgotten: int = int(DUPLICATES * 1_000) // 2


class _Flight(msgspec.Struct, gc=False):
    put: Put
    first: int
    sent: int


class Puts:
    """The puts of one stretch of work with a bucket. `waiting` and `under_way` are counts; `repeated` only grows."""

    def __init__(self, window: int = WINDOW, timings: PutTimings | None = None) -> None:
        self._window = window
        self._timings = timings or PutTimings()
        self._waiting: deque[Put] = deque()
        self._flights: dict[int, _Flight] = {}
        self._unheard: int | None = None
        self.repeated = 0

    @property
    def waiting(self) -> int:
        """Return how many wait for room in the window."""
        return len(self._waiting)

    @property
    def under_way(self) -> int:
        """Return how many have no answer yet."""
        return len(self._flights)

    def add(self, put: Put) -> None:
        """A put is to be done."""
        self._waiting.append(put)

    def take(self, now: int) -> list[Put]:
        """Return what to send now: new ones as far as the window goes, in order."""
        room = min(self._window - len(self._flights), len(self._waiting))
        if room <= 0:
            return []
        if not self._flights:
            self._unheard = now
        taken = [self._waiting.popleft() for _ in range(room)]
        for put in taken:
            self._flights[put.number] = _Flight(put, now, now)
        return taken

    def answered(self, number: int, now: int) -> Put | None:
        """An answer came; None for one to a put that has its outcome already."""
        flight = self._flights.pop(number, None)
        self._unheard = now if self._flights else None
        return None if flight is None else flight.put

    def again(self, now: int) -> list[Put]:
        """Return those to send once more, with the same name."""
        due = [each for each in self._flights.values() if now - each.sent >= self._timings.answer]
        for each in due:
            each.sent = now
        self.repeated += len(due)
        return [each.put for each in due]

    def forgotten(self, now: int) -> list[int]:
        """Give up those of which nobody will know any more what became of them."""
        old = [number for number, each in self._flights.items() if now - each.first >= self._timings.forgotten]
        for number in old:
            del self._flights[number]
        return old

    def unheard(self, now: int) -> int:
        """Return for how long answers have been waited for and none came."""
        return 0 if self._unheard is None else now - self._unheard
