"""An event loop in a thread of its own, and blocking calls into it from any other thread.

It knows nothing of registries; what runs in the loop is the business of `artemis.client.sync.core`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar

from artemis.client.done import Done
from artemis.client.errors import ClosedError
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE: Final = 5.0
"""Seconds that a caller who gives up waits until what it called for has ended."""

logger = logging.getLogger("artemis.client")


class _Outcome(Generic[T]):
    """What came of a call; written by the loop, read by the one who waits for it."""

    def __init__(self) -> None:
        self.ended = Done()
        self.error: BaseException | None = None
        self._found: list[T] = []

    def fail(self, error: BaseException) -> None:
        """End with an error, unless it has ended."""
        if not self.ended:
            self.error = error
            self.ended.set()

    def succeed(self, found: T) -> None:
        """End with a result, unless it has ended."""
        if not self.ended:
            self._found.append(found)
            self.ended.set()

    def result(self) -> T:
        """Return or raise it, once it has ended."""
        try:
            if self.error is not None:
                raise self.error
            return self._found[0]
        finally:
            del self  # the traceback of the error would hold it, and it the error


class LoopThread:
    """Runs one event loop in a daemon thread. `run` and `soon` may be called from any thread but that one.

    A signal handler may call them too, whatever it interrupted: the loop never waits for a thread that waits for it.
    """

    def __init__(self, name: str) -> None:
        # Forks are planned for with the loop of the standard library, whatever the application has set.
        self._loop = asyncio.SelectorEventLoop() if hasattr(os, "fork") else asyncio.new_event_loop()
        self._loop.set_default_executor(_Threads(thread_name_prefix=name))
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._calls: dict[_Outcome[Any], asyncio.Task[Any] | None] = {}
        self._spawned: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._ended = Done()

    def start(self) -> None:
        """Start the thread; ``RuntimeError`` if the system has none now, and then this is of no use any more."""
        try:
            self._thread.start()
        except BaseException:
            self._stopping = True
            self._loop.close()
            self._ended.set()
            raise

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def run(self, make: Callable[[], Awaitable[T]], timeout: float | None = None) -> T:
        """Await in the loop what ``make`` returns there, and return or raise what comes of it.

        Blocks the calling thread, and no other. After ``timeout`` seconds, and on an exception in the caller's thread
        as ``KeyboardInterrupt``, the call is cancelled and has ended before this raises. ``TimeoutError`` after
        ``timeout``, ``ClosedError`` when the loop has ended or ends meanwhile.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "a blocking call from a coroutine of this client would wait for itself; "
                "give the client a plain function as callback instead, it runs in a thread of its own"
            )
        outcome: _Outcome[T] = _Outcome()
        # Before the loop hears of it, so that a loop that ends meanwhile finds it and nobody waits for ever.
        self._calls[outcome] = None
        try:
            self.soon(self._begin, make, outcome)
            in_time = outcome.ended.wait(timeout)
        except ClosedError:
            self._calls.pop(outcome, None)
            raise
        except BaseException:
            if not outcome.ended:
                self._give_up(outcome)
            raise
        if not in_time:
            self._give_up(outcome)
            # It may have come just in time.
            if not outcome.ended or outcome.error is not None:
                raise TimeoutError(f"not done within {timeout:g} s")
        return outcome.result()

    def soon(self, call: Callable[P, object], *args: P.args, **_: P.kwargs) -> None:
        """Call something in the loop, and do not wait; ``ClosedError`` when the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            raise ClosedError from None

    def spawn(self, make: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a task that nobody waits for; to be called in the loop."""
        task = self._loop.create_task(make())
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def stop(self) -> None:
        """End the thread soon; calls that wait raise ``ClosedError``. Once more does nothing."""
        if not self._stopping:
            self._stopping = True
            self.soon(self._loop.stop)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, for at most ``timeout`` seconds; in the thread itself, return at once."""
        if threading.current_thread() is not self._thread and self._ended.wait(timeout):
            # It has nothing left to do; who interrupts this very line, to join it too, waits no longer than this.
            self._thread.join(1.0)

    def _give_up(self, outcome: _Outcome[Any]) -> None:
        self.soon(self._cancel, outcome)
        outcome.ended.wait(PATIENCE)

    def _begin(self, make: Callable[[], Awaitable[T]], outcome: _Outcome[T]) -> None:
        if self._stopping:
            return  # refused with the rest
        task = self._calls[outcome] = self._loop.create_task(_awaited(make))
        task.add_done_callback(lambda done: self._end(outcome, done))

    def _end(self, outcome: _Outcome[T], task: asyncio.Task[T]) -> None:
        self._calls.pop(outcome, None)
        error = ClosedError() if task.cancelled() else task.exception()
        if error is not None:
            outcome.fail(error)
        else:
            outcome.succeed(task.result())

    def _cancel(self, outcome: _Outcome[Any]) -> None:
        task = self._calls.get(outcome)
        if task is not None:
            task.cancel()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            while not self._stopping:
                self._run_once()
            self._loop.run_until_complete(_end_all())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()
            self._refuse_the_rest()
            self._ended.set()

    def _run_once(self) -> None:
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            # Raised by a callback of the user; a loop that ends would leave every caller waiting.
            extra = fields("exit-refused")
            logger.exception("a callback tried to end the program from the client's thread", extra=extra)

    def _refuse_the_rest(self) -> None:
        for outcome in list(self._calls):
            outcome.fail(ClosedError())


class _Threads(ThreadPoolExecutor):
    """Threads for what blocks; at the end of the interpreter, when no thread starts any more, the loop waits itself.

    Without this, a client that unregisters at the exit of the program could not resolve the name of the registry.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            outcome: Future[T] = Future()
            try:
                outcome.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for the outcome
                outcome.set_exception(error)
            return outcome


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)
    await asyncio.get_running_loop().shutdown_asyncgens()
