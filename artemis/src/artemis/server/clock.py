"""The two clocks of a node, for whoever binds something to them. What decides takes the time as an argument instead."""

from __future__ import annotations

import time


def now_ms() -> int:
    """The node's clock: monotonic milliseconds."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000
