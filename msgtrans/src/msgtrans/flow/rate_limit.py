"""How many may come now: a token bucket with a quota per window (specification 4.1, RateLimiterConfig).

Plain arithmetic; time comes in as an argument, in seconds of any clock, and never runs backwards here.
Not here: what happens to those that come too early (`throttle`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from msgtrans.config import RateLimit

ROUNDING: Final = 1e-9  # of tokens and seconds: sums of floats must not make anyone wait once more


class TokenBucket:
    """Starts full. In any `t` seconds at most `burst_size + t * requests_per_second` come through, and in each window
    of `window_size`, counted from the first look, at most `window_size * requests_per_second`.
    """

    __slots__ = ("_at", "_burst", "_left", "_quota", "_rate", "_tokens", "_window", "_window_at")

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._rate = limit.requests_per_second
        self._burst = float(limit.burst_size)
        self._window = limit.window_size
        self._quota = limit.requests_per_second * limit.window_size
        self._tokens = self._burst
        self._left = self._quota
        self._at = self._window_at = now

    def ready(self, now: float) -> bool:
        """Whether one may come."""
        self._advance(now)
        return self._tokens >= 1 - ROUNDING and self._left >= 1 - ROUNDING

    def take(self, now: float) -> bool:
        """Let one through, if one may come; whether it did."""
        if not self.ready(now):
            return False
        self._tokens -= 1
        self._left -= 1
        return True

    def available(self, now: float) -> int:
        """How many may come at once."""
        self._advance(now)
        return int(min(self._tokens, self._left) + ROUNDING)

    def wait(self, now: float) -> float:
        """Seconds until one may come, 0 if one may now."""
        if self.ready(now):
            return 0.0
        wait = (1 - self._tokens) / self._rate
        if self._left < 1 - ROUNDING:
            wait = max(wait, self._window_at + self._window - self._at)
        return max(wait, 0.0)

    def _advance(self, now: float) -> None:
        passed = now - self._at
        if passed > 0:
            self._at = now
            self._tokens = min(self._burst, self._tokens + passed * self._rate)
            windows = (now - self._window_at + ROUNDING) // self._window
            if windows >= 1:
                self._window_at += windows * self._window
                self._left = self._quota
