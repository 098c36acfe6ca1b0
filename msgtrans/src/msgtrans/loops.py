"""The event loop of programs that leave the choice to this package: uvloop where it is installed.

Not here: any choice for programs that run a loop of their own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def fastest() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the fastest loop there is; None for that of asyncio."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(work: Coroutine[object, object, T]) -> T:
    """Run `work` to its end on the fastest loop there is."""
    with asyncio.Runner(loop_factory=fastest()) as runner:
        return runner.run(_typed(work))


async def _typed(work: Coroutine[object, object, T]) -> T:
    return await work
