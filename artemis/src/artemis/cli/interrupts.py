"""Runs several works side by side until one ends or the process is told to stop. Imports nothing but the event loop."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def until_interrupted(*works: Coroutine[None, None, None], seconds: float | None = None) -> None:
    """Run ``works`` until one of them ends, Ctrl-C or SIGTERM comes, or ``seconds`` have passed; then cancel the rest.

    Returns when all have ended, and raises what the first one raised. Further signals change nothing while the rest
    ends (tools like timeout(1) send two at once), so works have to end in bounded time when they are cancelled.
    """
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupted.set)
    tasks = [loop.create_task(work) for work in (*works, _wait(interrupted))]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    for task in (*done, *tasks):
        if not task.cancelled():
            task.result()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
