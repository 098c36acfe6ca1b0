"""A circuit breaker: leaves alone what keeps failing, and tries it again with care (specification 4.1).

    CLOSED --failure_threshold failures in a row--> OPEN
    OPEN --an attempt after the timeout, or one before that succeeds all the same--> HALF_OPEN
    HALF_OPEN --success_threshold successes--> CLOSED, --a failure--> OPEN

Not here: attempts, clocks; time comes in as an argument and must not go backwards.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgtrans.config import CircuitBreakerConfig


class BreakerState(StrEnum):
    """CLOSED: all is well. OPEN: no attempts. HALF_OPEN: a few attempts at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """The breaker of one address. Call `begin` when an attempt begins and `end` with its ticket when that is over.

    opened: how often it has opened.
    """

    __slots__ = ("_config", "_count", "_probes", "_state", "_until", "opened")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self._state = BreakerState.CLOSED
        self._count = 0  # failures in a row while closed, successes while half open
        self._probes = 0  # attempts under way that began while half open, this time
        self._until = -math.inf  # when it may be half open
        self.opened = 0

    @property
    def state(self) -> BreakerState:
        """OPEN turns to HALF_OPEN with the first attempt after the timeout, not before."""
        return self._state

    def ready_at(self, now: float) -> float:
        """When an attempt may begin: not after `now` for at once, infinity while it hangs on those under way."""
        match self._state:
            case BreakerState.CLOSED:
                return now
            case BreakerState.OPEN:
                return self._until
            case BreakerState.HALF_OPEN:
                return now if self._probes < self._config.half_open_probes else math.inf

    def begin(self, now: float) -> int:
        """An attempt begins, because `ready_at` allows it or there is nothing else to try; its ticket."""
        if self._state is BreakerState.OPEN and now >= self._until:
            self._half_open()
        if self._state is BreakerState.HALF_OPEN:
            self._probes += 1
        return self.opened

    def end(self, ticket: int, now: float, *, success: bool | None) -> None:
        """An attempt is over; None when it was given up. One that began before the breaker opened tells nothing new."""
        if ticket != self.opened:
            return
        if self._state is BreakerState.HALF_OPEN:
            self._probes = max(self._probes - 1, 0)
        elif self._state is BreakerState.OPEN and success:
            self._half_open()
        if success is not None:
            self.record(now, success=success)

    def record(self, now: float, *, success: bool) -> None:
        """Something else went well or failed there. While it is open nothing counts."""
        match self._state:
            case BreakerState.CLOSED if success:
                self._count = 0
            case BreakerState.CLOSED:
                self._count += 1
                if self._count >= self._config.failure_threshold:
                    self._open(now)
            case BreakerState.HALF_OPEN if success:
                self._count += 1
                if self._count >= self._config.success_threshold:
                    self._state, self._count = BreakerState.CLOSED, 0
            case BreakerState.HALF_OPEN:
                self._open(now)

    def _half_open(self) -> None:
        self._state, self._count, self._probes = BreakerState.HALF_OPEN, 0, 0

    def _open(self, now: float) -> None:
        self._state, self._count, self._probes = BreakerState.OPEN, 0, 0
        self._until = now + self._config.timeout
        self.opened += 1
