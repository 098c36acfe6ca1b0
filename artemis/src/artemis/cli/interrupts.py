"""Runs several works side by side until one ends or the process is told to stop. Imports nothing but the event loop."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def until_interrupted(*works: Coroutine[None, None, None], seconds: float | None = None) -> None:
    """Run ``works`` until one of them ends, Ctrl-C or SIGTERM comes, or ``seconds`` have passed; then cancel the rest.

    Returns when all have ended, and raises what the first one raised. Further signals change nothing while the rest
    ends (tools like timeout(1) send two at once), so works have to end in bounded time when they are cancelled.
    Must run in the main thread.
    """
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    with _calling(interrupted.set, loop):
        tasks = [loop.create_task(work) for work in (*works, _wait(interrupted))]
        try:
            done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    for task in (*done, *tasks):
        if not task.cancelled():
            task.result()


@contextmanager
def _calling(react: Callable[[], None], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Call ``react`` in the loop for each signal, in the way that the platform's loop offers."""
    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, react)
    except NotImplementedError:  # Windows
        former = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(react)) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        return
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
