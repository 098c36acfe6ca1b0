"""The tasks that one client runs beside its callers: started once each, all ended when the client closes."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from random import Random
from typing import TYPE_CHECKING, Final

from artemis.client.errors import ClosedError
from artemis.client.events import LoopFailed
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RESTART_PAUSE: Final = 1.0
"""Seconds after which a task that failed begins again, twice as long each time in a row, a random part of it less."""
RESTART_LIMIT: Final = 30.0
"""The longest such pause; a task that ran for longer than this counts as one that works."""

logger = logging.getLogger("artemis.client")


class Background:
    """Owns tasks by name. One that fails, by a mistake of whoever wrote it, is logged, told of and begun again.

    ``publish`` gets a `LoopFailed` each time; ``pause`` is the first pause, in seconds, see `RESTART_PAUSE`.
    """

    def __init__(
        self,
        publish: Callable[[LoopFailed], None] = lambda _: None,
        *,
        random: Random | None = None,
        pause: float = RESTART_PAUSE,
    ) -> None:
        self._publish = publish
        self._random = random or Random()  # noqa: S311 - spreads load; keeps no secret
        self._pause = pause
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

    def check_open(self) -> None:
        """Raise ``ClosedError`` when the client is not open."""
        if not self._open:
            raise ClosedError(forked=self._forked)

    def ensure(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start ``run`` unless a task of that name is running; ``ClosedError`` when the client is not open."""
        self.check_open()
        if name not in self._tasks:
            # In a context of its own: what runs for long is no part of the request that happened to be first.
            task = asyncio.get_running_loop().create_task(
                self._keep(name, run), name=f"artemis client {name}", context=Context()
            )
            self._tasks[name] = task
            task.add_done_callback(lambda _: self._tasks.pop(name, None))

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

    async def _keep(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run it until it has ended as it should; a loop that stays dead would be a lease that nobody renews."""
        clock = asyncio.get_running_loop().time
        task = asyncio.current_task()
        pause = self._pause
        while True:
            began = clock()
            try:
                await run()
            except asyncio.CancelledError as cancelled:
                if not self._open or (task is not None and task.cancelling()):
                    raise
                error: BaseException = cancelled  # of something that it waited for, and did not expect
            except Exception as failure:  # noqa: BLE001 - whatever it is, the loop has to go on
                error = failure
            else:
                return
            if not self._open:
                return
            if clock() - began > RESTART_LIMIT:
                pause = self._pause
            delay = pause * self._random.uniform(0.5, 1.0)
            pause = min(RESTART_LIMIT, pause * 2)
            extra = fields("loop-failed", error=error)
            logger.error(
                "%s failed, which is a mistake in the SDK; it begins again in %.1f s",
                name,
                delay,
                exc_info=error,
                extra=extra,
            )
            self._publish(LoopFailed(name, error))
            await asyncio.sleep(delay)
