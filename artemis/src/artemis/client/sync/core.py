"""One async client, open in a loop thread: what a sync client has at work, one per process that uses it.

It also ends what is left open: when the interpreter ends, and never in a forked child, where the parent's is kept
untouched (`artemis.client.forks`).
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import multiprocessing.process
import multiprocessing.util
from typing import TYPE_CHECKING, Final, TypeVar

from artemis.client.errors import ArtemisError, ClosedError
from artemis.client.forks import keep_for_ever, note_closed, note_open
from artemis.client.sync.loop import PATIENCE, LoopThread
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from artemis.client.client import ArtemisClient

T = TypeVar("T")

END_MARGIN: Final = 2.0
"""Seconds that closing may take longer than ``close_timeout``, before the end of the program is not held up more."""

logger = logging.getLogger("artemis.client")

_cores: set[Core] = set()


class Core:
    """Owned by a sync client; thread-safe. ``client`` belongs to the loop thread."""

    def __init__(self, client: ArtemisClient, close_timeout: float) -> None:
        self.client = client
        self.inherited = False
        """Whether this is a forked child and the core is its parent's."""
        self.patience = close_timeout + END_MARGIN
        """Seconds after which the end of the program is not held up any more."""
        self._thread = LoopThread("artemis client")
        self._leaving: asyncio.Future[None] | None = None

    @property
    def in_use(self) -> bool:
        """Whether it is open, and of this process."""
        return self in _cores

    def open(self) -> None:
        """Start the thread, and open the client in it."""
        _close_at_exit()
        note_open(self)
        _cores.add(self)
        try:
            self._thread.start()
            self.run(self.client.__aenter__)
        except BaseException:
            self._let_go()
            raise

    def run(self, make: Callable[[], Awaitable[T]], timeout: float | None = None) -> T:
        """Await something in the loop, see `LoopThread.run`; in a child of a fork raise ``ClosedError``."""
        if self.inherited:
            raise ClosedError(forked=True)
        return self._thread.run(make, timeout)

    def call(self, make: Callable[[], T]) -> T:
        """Call something in the loop, and return or raise what comes of it."""

        async def called() -> T:
            return make()

        return self.run(called)

    def soon_run(self, make: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run something in the loop and do not wait; nothing happens if that has ended or is the parent's."""
        self.soon(lambda: self._thread.spawn(make))

    def soon(self, call: Callable[[], object]) -> None:
        """Call something in the loop and do not wait; nothing happens if that has ended or is the parent's."""
        if not self.inherited:
            try:
                self._thread.soon(call)
            except ClosedError:
                return  # what was to be ended has ended

    def close(self, timeout: float | None = None) -> None:
        """Close the client, end the thread and wait for it; ``TimeoutError`` after ``timeout`` seconds.

        In any case the thread ends. Does nothing in a child of a fork, and nothing the second time. Without ``timeout``
        it waits as long as everything that it does may take at most; what still holds up the loop then is a fault.
        """
        if not self.in_use:
            return
        if timeout is None:
            timeout = self.patience + PATIENCE
        try:
            with contextlib.suppress(ClosedError):  # another thread was quicker
                self.run(self._leave, timeout)
        finally:
            self._let_go()
            self._thread.join(timeout)

    def close_soon(self) -> None:
        """Close the client and end the thread, without waiting; callable from any thread and from finalisers."""
        if not self.in_use:
            return

        async def leave() -> None:
            try:
                await self._leave()
            finally:
                self._let_go()

        self.soon_run(leave)

    def after_fork(self) -> None:
        """Be the parent's from now on."""
        self.inherited = True
        _cores.discard(self)
        keep_for_ever(self)

    async def _leave(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.ensure_future(self.client.__aexit__(None, None, None))
        # Several may want it, as who drops a client and the end of the program; it is done once.
        await asyncio.shield(self._leaving)

    def _let_go(self) -> None:
        _cores.discard(self)
        note_closed(self)
        self._thread.stop()


def _close_at_exit() -> None:
    if not _cores:
        atexit.unregister(_close_all)
        atexit.register(_close_all)
        if multiprocessing.process.parent_process() is not None:
            # Children of multiprocessing leave without running what atexit holds; this they do run.
            multiprocessing.util.Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for core in list(_cores):
        try:
            core.close(core.patience)
        except (ArtemisError, TimeoutError) as error:
            extra = fields("close-failed", error=error)
            logger.warning(
                "a client was left open and could not be closed at the end of the program: %s", error, extra=extra
            )
