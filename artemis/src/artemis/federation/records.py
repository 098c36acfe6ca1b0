"""What a copy holds: records of another region that nobody here renews and that no time ends.

Not here: what is put into them and when (`copy`).
"""

from __future__ import annotations

from artemis.registry import Registry

REMEMBERED = 60_000
"""Milliseconds that what went is remembered, with the content seen last."""


class CopiedRecords(Registry):
    """A registry without leases: what is registered stays until it is removed. Owned by a copy."""

    def tick(self, now: int, wall: int, limit: int) -> bool:
        """Forget what went long ago, at most `limit` records; return whether more is due now."""
        self._clock.adjust(now, wall)
        for _ in range(limit):
            if not self._long_gone(now):
                return False
            self._sweep()
        return self._long_gone(now)

    def _long_gone(self, now: int) -> bool:
        return bool(self._dead) and next(iter(self._dead.values())) < now - REMEMBERED
