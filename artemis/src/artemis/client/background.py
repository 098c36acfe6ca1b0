"""The tasks that one client runs beside its callers: started once each, all ended when the client closes."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from artemis.client.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Background:
    """Owns tasks by name. One that ends with an error goes to the event loop's exception handler, never unseen."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._open = False
        self._forked = False

    def open(self) -> None:
        """Allow tasks."""
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether tasks may be started."""
        return self._open

    def ensure(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start ``run`` unless a task of that name is running; ``ClosedError`` when the client is not open."""
        if not self._open:
            raise ClosedError(forked=self._forked)
        if name not in self._tasks:
            # In a context of its own: what runs for long is no part of the request that happened to be first.
            task = asyncio.get_running_loop().create_task(run(), name=f"artemis client {name}", context=Context())
            self._tasks[name] = task
            task.add_done_callback(lambda done: self._ended(name, done))

    async def close(self) -> None:
        """Cancel every task and wait until all have ended."""
        self._open = False
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def after_fork(self) -> None:
        """Allow no tasks any more; those that are there are the parent's."""
        self._open, self._forked = False, True
        self._tasks.clear()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            task.get_loop().call_exception_handler(
                {"message": f"{task.get_name()} ended with an error", "exception": error, "task": task}
            )
