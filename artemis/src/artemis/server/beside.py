"""Blocking calls beside the event loop, of which no end of the process waits.

The default executor's threads are joined when a process ends, so one that hangs in a file system would keep a node
from ending. Not for what is asked for often: each call has a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def beside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in a daemon thread and return or raise what it does.

    When the caller is cancelled the call goes on, and nobody hears what becomes of it.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # T may be None itself

    def call() -> None:
        result, failure = None, None
        try:
            result = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised where the call was awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends, nobody waits
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=call, name="artemis-beside", daemon=True).start()
    return await outcome
