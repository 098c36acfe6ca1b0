"""How long requests of our own wait for their answers: requests that note when they were asked.

A session that is not timed has plain `PendingRequests`, so it pays nothing for this.
Not here: who wants to know (`watching`), and clocks: the clock is an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from msgtrans.monitor.latency import Latencies, LatencyHistogram
from msgtrans.requests import PendingRequests

if TYPE_CHECKING:
    from collections.abc import Callable

W = TypeVar("W")


class TimedRequests(PendingRequests[W]):
    """Takes the place of `requests`, those that wait included, and times what is asked from now on.

    together: counts the answers of all sessions. clock: seconds. Only answers count: what is cancelled, times out, or
    fails with its session does not.
    """

    __slots__ = ("_asked_at", "_clock", "_own", "_together")

    def __init__(self, requests: PendingRequests[W], together: LatencyHistogram, clock: Callable[[], float]) -> None:
        self.take_over(requests)
        self._together = together
        self._clock = clock
        self._own: LatencyHistogram | None = None  # made with the first answer: most sessions of a server never ask
        self._asked_at: dict[int, float] = {}

    @property
    def answered(self) -> bool:
        """Whether there were answers."""
        return self._own is not None

    @property
    def latencies(self) -> Latencies:
        """Of the answers that came so far."""
        return self._own.read() if self._own is not None else Latencies()

    def add(
        self, waiter: W, now: float, timeout: float | None = None, message_id: int | None = None
    ) -> tuple[int, float]:
        """As `PendingRequests.add`."""
        found = super().add(waiter, now, timeout, message_id)
        self._asked_at[found[0]] = self._clock()
        return found

    def answer(self, message_id: int) -> W | None:
        """As `PendingRequests.answer`."""
        asked_at = self._asked_at.get(message_id)
        waiter = self.pop(message_id)
        if waiter is not None and asked_at is not None:
            if self._own is None:
                self._own = LatencyHistogram()
            seconds = self._clock() - asked_at
            self._own.record(seconds)
            self._together.record(seconds)
        return waiter

    def pop(self, message_id: int) -> W | None:
        """As `PendingRequests.pop`."""
        self._asked_at.pop(message_id, None)
        return super().pop(message_id)

    def drain(self) -> list[W]:
        """As `PendingRequests.drain`."""
        self._asked_at.clear()
        return super().drain()
