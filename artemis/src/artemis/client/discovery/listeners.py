"""Listeners: functions that are called with every change of a service, in order, one call at a time for each.

What a change is and how several become one is decided in `changes`; for iterating see `watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from artemis.client.discovery.changes import Backlog, InstanceChange
from artemis.client.discovery.services import ServiceView
from artemis.client.discovery.worker import NoThread, Worker
from artemis.client.events import ListenerFailed
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from artemis.client.discovery.changes import Touched
    from artemis.client.discovery.services import Followed
    from artemis.client.discovery.watch import Audience
    from artemis.client.events import EventFeed

logger = logging.getLogger("artemis.client")

Callback = Callable[[InstanceChange, ServiceView], Awaitable[None] | None]
"""Called with a change and the whole service as it is now; a plain function or a coroutine function."""

PATIENCE = 1.0
"""Seconds that closing a client waits for listeners that are running."""

NO_THREAD = 1.0
"""Seconds after which a plain function is called for which the system had no thread."""


class Listener:
    """One listener of one service; made by ``client.listen``, and kept by the client until it is closed.

    Its first calls tell of the instances that are there already, each as ``new``. Of the changes that come while it is
    running, those of one instance become one. `close` ends it; so does closing the client, and leaving
    ``with client.listen(...):``, or ``async with``, which is the same.
    """

    def __init__(self, entry: Followed, callback: Callback, end: Callable[[Listener], None]) -> None:
        self._entry = entry
        self._end = end
        self._loop = asyncio.get_running_loop()
        self.callback = callback
        self.closed = False
        """Whether no further call will begin."""
        self.failures: Counter[str] = Counter()
        """How often it raised, by the names of the exceptions."""
        self.wake = asyncio.Event()
        self.backlog = Backlog(entry.instances or ())
        self.wake.set()

    @property
    def service_id(self) -> str:
        """The service, as it was spelled when it was used first."""
        return self._entry.service_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Begin no further call; one that is running goes on to its end. Once more does nothing. Any thread may."""
        if not self.closed:
            self.closed = True
            # A loop that is closed has nothing left to end.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end, self)

    def note(self, touched: Iterable[Touched], wall: int) -> None:
        """Hear of changes; see `artemis.client.discovery.watch.Follower`."""
        self.backlog.add(touched, wall)
        self.wake.set()


class Listeners:
    """The listeners of one client: a task for each, and one thread for those that are plain functions."""

    def __init__(
        self, *, audience: Audience, feed: EventFeed, clock: Callable[[], float], wall: Callable[[], int]
    ) -> None:
        self._audience = audience
        self._feed = feed
        self._clock = clock
        self._wall = wall
        self._worker = Worker("artemis listeners")
        self._tasks: dict[Listener, asyncio.Task[None]] = {}
        self._running: set[Listener] = set()

    def add(self, entry: Followed, callback: Callback) -> Listener:
        """Call ``callback`` with what is there, and then with every change."""
        if not callable(callback):
            raise TypeError(f"a listener is a function of a change and a view, not {callback!r}")

        def end(listener: Listener) -> None:
            self._audience.leave(entry, listener)
            release()
            task = self._tasks.get(listener)
            if task is not None and listener not in self._running:
                task.cancel()

        listener = Listener(entry, callback, end)
        release = self._audience.join(entry, listener)
        task = asyncio.get_running_loop().create_task(self._serve(listener, entry), name="artemis client listener")
        self._tasks[listener] = task
        task.add_done_callback(lambda _: self._tasks.pop(listener, None))
        return listener

    async def close(self, closer: asyncio.Task[None] | None = None) -> None:
        """End all listeners; wait a moment for those that are running, and say so if that is not enough.

        The ``closer`` waits for this: if that is a listener, it goes on to its end.
        """
        tasks = [task for task in self._tasks.values() if task is not closer]
        for listener in list(self._tasks):
            listener.close()
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)
        for listener in self._running:
            if self._tasks.get(listener) is closer:
                continue
            logger.warning(
                "a listener of %s is still running after the client was closed",
                listener.service_id,
                extra=fields("listener-late", service_id=listener.service_id),
            )
        for task in tasks:
            task.cancel()
        self._worker.close()

    async def _serve(self, listener: Listener, entry: Followed) -> None:
        plain = not _is_coroutine_function(listener.callback)
        while not listener.closed:
            await listener.wake.wait()
            listener.wake.clear()
            for change in listener.backlog.take(self._wall()):
                view = entry.view(self._clock())
                if listener.closed or view is None:
                    break
                await self._call(listener, change, view, plain=plain)

    async def _call(self, listener: Listener, change: InstanceChange, view: ServiceView, *, plain: bool) -> None:
        self._running.add(listener)
        try:
            answer = await self._in_thread(listener, change, view) if plain else listener.callback(change, view)
            if answer is not None:
                await answer
        except Exception as error:  # noqa: BLE001 - whatever it is, the next change is told all the same
            self._failed(listener, error)
        finally:
            self._running.discard(listener)

    async def _in_thread(self, listener: Listener, change: InstanceChange, view: ServiceView) -> Awaitable[None] | None:
        while not listener.closed:
            try:
                return await self._run(listener, change, view)
            except NoThread as error:
                # It was not called, so the change waits for a thread.
                self._failed(listener, error)
                await asyncio.sleep(NO_THREAD)
        return None

    async def _run(self, listener: Listener, change: InstanceChange, view: ServiceView) -> Awaitable[None] | None:
        try:
            return await self._worker.run(lambda: listener.callback(change, view))
        except BaseException as error:
            # In a thread of ours `sys.exit()` ends nothing, and a failed assertion of a test is one like any other.
            task = asyncio.current_task()
            if isinstance(error, Exception) or (task is not None and task.cancelling()):
                raise
            self._failed(listener, error)
            return None

    def _failed(self, listener: Listener, error: BaseException) -> None:
        _log_failure(listener, error)
        self._feed.publish(ListenerFailed(listener.service_id, error))


def _log_failure(listener: Listener, error: BaseException) -> None:
    """Log the first failure of each kind with its traceback; of those that repeat, the tenth, hundredth and so on."""
    kind = type(error).__name__
    listener.failures[kind] += 1
    times = listener.failures[kind]
    extra = fields("listener-failed", service_id=listener.service_id, error=error, count=times)
    if times == 1:
        logger.error(
            "a listener of %s failed; it is told of the next change all the same",
            listener.service_id,
            exc_info=error,
            extra=extra,
        )
    elif times == 10 ** (len(str(times)) - 1):
        logger.error("a listener of %s failed %d times with %s", listener.service_id, times, kind, extra=extra)


def _is_coroutine_function(callback: Callback) -> bool:
    """Say whether calling it cannot block; an object may have a ``__call__`` that is one."""
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(type(callback).__call__)
