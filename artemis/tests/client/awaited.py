"""Waiting for events of a client, for tests: for the event itself, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds after which a test fails; far more than anything takes."""


async def first(events: AsyncIterator[object], kind: type[T], holds: Callable[[T], bool] = lambda _: True) -> T:
    """Return the first event of a kind for which something holds."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError(f"the events ended without {kind.__name__}")
