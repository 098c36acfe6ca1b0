"""Noticing that this node itself stood still: suspended, stopped, migrated, or busy for longer than it should be.

Whoever was not heard in such a time may well have spoken. No I/O; not here: what follows from a pause, see
`Node.pardon`.
"""

from __future__ import annotations

LONGEST_PAUSE = 3_000
"""Milliseconds without a tick that are taken for a pause; less where leases are short."""


class Pauses:
    """Sees the gaps between ticks. `now` is monotonic milliseconds, also across a suspension or not: both are fine."""

    __slots__ = ("_last", "count")

    def __init__(self, now: int) -> None:
        self._last = now
        #: Pauses since the start.
        self.count = 0

    def note(self, now: int, shortest_ttl: int) -> int:
        """Note a tick; returns the length of the pause before it in milliseconds, 0 when there was none.

        A pause is longer than LONGEST_PAUSE or a quarter of the shortest TTL, which is what a client may be late.
        """
        gap = now - self._last
        self._last = now
        if gap <= min(LONGEST_PAUSE, shortest_ttl // 4):
            return 0
        self.count += 1
        return gap
