"""Whether a node that failed may be chosen again: after a rest that doubles each time it fails in a row.

Pure: the time comes in. Not here: what counts as a failure (`artemis.client.calls.attempts`), nor the choice (`nodes`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """The circuit breaker of one node; seconds. Closed from the start, and again after any usable answer.

    A failure opens it for ``rest``, the next in a row for twice that, up to ``limit``. After the rest one failure is
    enough to open it again. Failures during a rest count only as the latest: many calls fail together on one node, and
    when nothing else is left, a resting node is asked all the same.
    """

    rest: float
    limit: float
    in_a_row: int = 0
    """Rests since the last usable answer."""
    failed_at: float = float("-inf")
    """When the latest failure was."""
    opened_until: float = float("-inf")
    """When the latest rest ends."""

    def resting(self, now: float) -> bool:
        """Whether the node is to be passed over."""
        return now < self.opened_until

    def failed(self, now: float) -> None:
        """Note a failure."""
        self.failed_at = now
        if not self.resting(now):
            # The exponent is bounded for the sake of years of failure; the limit is reached long before.
            self.opened_until = now + min(self.limit, self.rest * 2 ** min(self.in_a_row, 60))
            self.in_a_row += 1
