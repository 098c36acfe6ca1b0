"""How much of a pool was in use, over all the time that it exists.

Not here: who has which connection (`pool.shelf`), and how much to grow (`pool.expansion`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgtrans.pool.stats import PoolDetailedStatus

if TYPE_CHECKING:
    from msgtrans.config import SmartPoolConfig
    from msgtrans.pool.expansion import Growth


class Usage:
    """Counts the seconds in which connections were open, and those in which they were used."""

    def __init__(self, config: SmartPoolConfig, growth: Growth) -> None:
        self._config, self._growth = config, growth
        self._seen_at: float | None = None  # until when the two below are counted
        self._open_seconds = self._used_seconds = 0.0

    def account(self, now: float, total: int, in_use: int) -> None:
        """Before a count changes: what the time since the last change was used for. total, in_use: before it."""
        spent = now - self._seen_at if self._seen_at is not None else 0.0
        self._seen_at = now
        self._open_seconds += spent * total
        self._used_seconds += spent * in_use

    def status(self, now: float, total: int, in_use: int, wanted: int) -> PoolDetailedStatus:
        """The size of the pool, and how that came."""
        self.account(now, total, in_use)
        growth, metrics = self._growth, self._growth.metrics(now)
        return PoolDetailedStatus(
            current_size=total,
            wanted_size=wanted,
            max_size=self._config.max_size,
            utilization=in_use / total if total else 0.0,
            avg_utilization=self._used_seconds / self._open_seconds if self._open_seconds else 0.0,
            expansion_count=growth.expansions,
            shrink_count=growth.shrinks,
            current_expansion_factor=growth.factor,
            avg_expansion_factor=metrics.avg_expansion_factor,
            expansion_frequency=metrics.expansion_frequency,
            shrink_frequency=metrics.shrink_frequency,
        )
