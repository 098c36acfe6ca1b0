"""Waiting for what nodes in other processes say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE = 45.0
"""Seconds after which a test fails; far more than anything takes."""


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - another process tells nobody
            await asyncio.sleep(0.05)
