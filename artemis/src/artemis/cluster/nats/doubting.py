"""How often all of a bucket is read anew because what its servers bring is in doubt, and whether none did better.

Which server brings it is chosen by chance. Pure. Not here: what is in doubt (`numbering`, `consumer`).
"""

from __future__ import annotations

MOST = 5
"""Readings in a row, after which the next ones come one in REST."""

REST = 60_000
"""Milliseconds; also those without a doubt after which all is well again."""


class Doubting:
    """Owned by a session; `now` is monotonic milliseconds."""

    def __init__(self) -> None:
        self._count = 0
        self._next = self._at = 0

    @property
    def lasting(self) -> bool:
        """Whether what every server brought that was asked is in doubt."""
        return self._count > MOST

    def doubt(self, now: int) -> bool:
        """Note that something is not as it should be; return whether all is to be read anew."""
        self._count, self._at = self._count + 1, now
        if self.lasting and now < self._next:
            return False
        self._next = now + REST
        return True

    def trust(self) -> None:
        """Note that something is as it should be that shows that all is."""
        self._count = 0

    def wait(self, now: int) -> None:
        """Note that nothing is in doubt at this moment."""
        if now - self._at >= REST:
            self._count = 0
