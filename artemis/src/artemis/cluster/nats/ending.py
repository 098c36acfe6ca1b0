"""How tasks that use nats-py are ended: it takes some cancellations for its own and goes on, so one is not enough.

Not here: what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


async def end(tasks: Iterable[asyncio.Task[None]], *, pause: float = 0.25) -> None:
    """Cancel tasks until each has ended, again after each `pause` seconds; what they end with is not looked at."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=pause)
