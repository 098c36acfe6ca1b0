"""Virtual time: what happens when. Not here: what happens."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Call = Callable[[], None]


class Schedule:
    """Events in the order of their time, those of one moment in the order in which they were made.

    `now` is in milliseconds since the world began, and moves only while `run` is at work.
    """

    __slots__ = ("_count", "_events", "now")

    def __init__(self) -> None:
        self.now = 0
        self._count = 0
        self._events: list[tuple[int, int, Call]] = []

    def after(self, delay: int, call: Call) -> None:
        """Let something happen in `delay` milliseconds."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, call))

    def run(self, until: int, between: Call) -> None:
        """Let happen what is due up to a moment, and call `between` after each event."""
        while self._events and self._events[0][0] <= until:
            self.now, _, call = heapq.heappop(self._events)
            call()
            between()
        self.now = until
