"""The event loop of the commands: uvloop where it is installed. Not here: any choice for programs that import us."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """Run `work` to its end on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_typed(work))


async def _typed(work: Coroutine[object, object, T]) -> T:
    return await work
