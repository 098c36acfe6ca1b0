"""A thread for what may block: functions of the loop run in it one after another, and nothing else waits for them.

Not for work that has to be done at the end of the program: the thread ends with it, in the middle if need be.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class NoThread(Exception):  # noqa: N818 - an outcome that never leaves the SDK, not an error for its users
    """The system has no thread to give now; nothing was run."""


class Worker:
    """One thread, started at the first need; owned by a loop. Whoever waits for a function may be cancelled."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run a function in the thread, after those before it; return or raise what it does, `SystemExit` included.

        Raises `NoThread` if there is none and none can be started.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Callable[[], Result]] = loop.create_future()

        def job() -> None:
            outcome: Callable[[], Result]
            try:
                outcome = partial(_same, work())
            except BaseException as error:  # noqa: BLE001 - also one that ends threads: this one has more to do
                outcome = partial(_raise, error)
            # The loop may be closed by now; then nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, done, outcome)

        if self._thread is None:
            # A daemon: a function that never returns must not keep the program from ending.
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise NoThread(str(error)) from error
            self._thread = thread
        self._jobs.put(job)
        return (await done)()

    def close(self) -> None:
        """End the thread after what was handed in; does not wait."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _settle(done: asyncio.Future[Callable[[], Result]], outcome: Callable[[], Result]) -> None:
    if not done.done():
        done.set_result(outcome)


def _same(result: Result) -> Result:
    return result


def _raise(error: BaseException) -> NoReturn:
    raise error
