"""How often leases are renewed: a sliding window over a counter that only grows (spec 1.6, 4.5).

Not here: the decision to hold silent leases, which does not depend on these numbers (`leases`). The counter is sampled
once a second while time passes, so that a renewal costs one addition.
"""

from collections import deque

import msgspec

WINDOW_SECONDS = 10
"""Length of the window over which renewals are counted (spec 4.5, `time-window`)."""

PEAK_LIFETIME = 600_000
"""Milliseconds after which the largest count gives way to the current one (spec 4.5, `max-count-reset-interval`)."""


class RenewalRate(msgspec.Struct, frozen=True, kw_only=True):
    """Renewals of one class of leases: within the last window, the most seen, and when that was (monotonic ms)."""

    count: int
    most: int
    most_at: int


class RenewalWindow:
    """Counts what a growing total gained within the last ten seconds. Owned by a lease table.

    The largest count is forgotten after ten minutes whatever the state of self-preservation, so that a fleet that
    shrinks is not compared with its past for ever (defect 3).
    """

    __slots__ = ("_most", "_most_at", "_samples", "_second")

    def __init__(self, now: int) -> None:
        self._second = now // 1000
        # The totals at the starts of the last seconds, the current one included.
        self._samples: deque[int] = deque([0], maxlen=WINDOW_SECONDS)
        self._most = 0
        self._most_at = now

    def sample(self, now: int, total: int) -> None:
        """Note the total; call it as time passes, at least once a second. Seconds without a call count nothing."""
        passed = now // 1000 - self._second
        if passed <= 0:
            return
        count = total - self._samples[0]
        if count > self._most or now - self._most_at > PEAK_LIFETIME:
            self._most, self._most_at = count, now
        self._second += passed
        self._samples.extend([total] * min(passed, WINDOW_SECONDS))

    def rate(self, total: int) -> RenewalRate:
        """Return the numbers for the total of this moment."""
        return RenewalRate(count=total - self._samples[0], most=self._most, most_at=self._most_at)
