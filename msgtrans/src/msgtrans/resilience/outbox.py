"""What waits for a connection: messages to write, and requests that go by themselves then (specification 8.3).

Messages leave in the order in which they came, those first that were accepted and never written on a connection before.
Owned by a `ReconnectingClient`, of one loop: one timer for all deadlines, one task while there is something to write.
Not here: connections; it asks for one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from msgtrans.errors import ResourceError, SessionClosedError, TransportError, TransportTimeoutError
from msgtrans.flow.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.config import ReconnectingConfig
    from msgtrans.resilience.keeper import Keeper
    from msgtrans.resilience.stats import ReconnectingStats
    from msgtrans.session import Session


class Call(NamedTuple):
    """A call that waits. frame: the message to write, None for a request."""

    future: asyncio.Future[None]
    frame: bytes | None


class Outbox:
    """Bounded in calls and bytes; what was accepted already comes on top, and is bounded by what sessions queue.

    timeout: seconds, the default.
    """

    def __init__(self, config: ReconnectingConfig, timeout: float, keeper: Keeper, counters: ReconnectingStats) -> None:
        self._keeper = keeper
        self._counters = counters
        self._waiting: Waiting[Call] = Waiting(config.max_waiting, config.max_waiting_bytes, timeout)
        self._recovered: deque[bytes] = deque()  # messages that were accepted, and never written
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether messages are being written that came before any new one."""
        return self._task is not None

    async def wait(
        self,
        frame: bytes | None,
        size: int,
        timeout: float | None,  # noqa: ASYNC109 - one timer serves all
    ) -> None:
        """Wait until there is a connection, or `frame` is queued on one. Cancelled before, it is not written.

        size: bytes it takes. Raises ResourceError when there is no room, TransportTimeoutError, and what `fail` says.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        try:
            key = self._waiting.add(Call(future, frame), size, loop.time(), timeout)
        except ResourceError:
            self._counters.waiting_refused += 1
            raise
        self._arm()
        self.go_on()
        try:
            await future
        finally:
            self._waiting.remove(key)

    def recover(self, frames: list[bytes]) -> None:
        """Messages that were accepted, and never written on a connection that is lost: they come before all others."""
        self._counters.resubmitted_messages += len(frames)
        self._recovered.extendleft(reversed(frames))

    def go_on(self) -> None:
        """Begin to write, if there is a connection and something to write."""
        if self._task is None and (self._recovered or len(self._waiting)) and self._keeper.pick_any() is not None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def finish(self, seconds: float) -> None:
        """Stop writing; before that, allow `seconds` for what is here."""
        task = self._task
        if task is not None:
            if seconds > 0:
                await asyncio.wait([task], timeout=seconds)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def fail(self, why: Callable[[], TransportError]) -> None:
        """There will be no connection: drop and count what was accepted; calls fail with errors that `why` makes."""
        self._counters.dropped_messages += len(self._recovered)
        self._recovered.clear()
        while (call := self._waiting.first()) is not None:
            if not call.future.done():
                call.future.set_exception(why())
        self._arm()

    async def _write(self) -> None:
        try:
            while (self._recovered or len(self._waiting)) and (carrier := self._keeper.pick()) is not None:
                if self._recovered:
                    await self._forward(carrier.session, self._recovered.popleft(), None)
                elif (call := self._waiting.first()) is not None and not call.future.done():
                    if call.frame is None:
                        call.future.set_result(None)
                    else:
                        await self._forward(carrier.session, call.frame, call.future)
        finally:
            self._task = None

    async def _forward(self, session: Session, frame: bytes, future: asyncio.Future[None] | None) -> None:
        try:
            await session.forward(frame)
        except TransportError as error:  # this session takes smaller packets than the client allows, or is full
            if future is None:
                self._counters.dropped_messages += 1
            elif not future.done():
                future.set_exception(error)
        except asyncio.CancelledError:  # the client closes
            if future is None:
                self._counters.dropped_messages += 1
            elif not future.done():
                future.set_exception(SessionClosedError("the client was closed while the peer did not read"))
            raise
        else:
            if future is not None and not future.done():
                future.set_result(None)

    def _arm(self) -> None:
        deadline = self._waiting.next_deadline()
        if self._timer is not None:
            if deadline is not None and self._timer.when() <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._timer = None
        for call, timeout in self._waiting.expire(asyncio.get_running_loop().time()):
            if not call.future.done():
                self._counters.waiting_timeouts += 1
                call.future.set_exception(TransportTimeoutError("waiting for a connection", timeout))
        self._arm()
