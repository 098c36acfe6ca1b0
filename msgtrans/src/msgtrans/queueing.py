"""What happens above `high_water`: senders wait in line, first come first served, or the strategy acts.

They go on when the link has caught up. Under another strategy than BLOCK nobody waits but requests.
Not here: when the link has (`outbound`), and the same for commands (`commands`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from msgtrans.config import Backpressure
from msgtrans.errors import BackpressureError
from msgtrans.outbound import Outbound
from msgtrans.packet import ONE_WAY

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from msgtrans.endpoint import Endpoint
    from msgtrans.link import Link
    from msgtrans.packet import Packet

TYPE_AT: Final = 2  # where an encoded packet tells its type
Waiter: TypeAlias = "asyncio.Future[Packet] | asyncio.Future[None]"
Line: TypeAlias = "OrderedDict[Waiter, tuple[bytes, asyncio.Future[None] | None]]"


def drop_oldest(frames: list[bytes], at: int, excess: int) -> tuple[int, int, int]:
    """Take out the oldest one-way messages, of `excess` bytes or a little more, if there are as many.

    at: none before it is one. Gives such a place again, the bytes and the messages taken out.
    """
    size = messages = 0
    while size < excess:
        while at < len(frames) and frames[at][TYPE_AT] != ONE_WAY:
            at += 1
        stop = at
        while size < excess and stop < len(frames) and frames[stop][TYPE_AT] == ONE_WAY:
            size += len(frames[stop])
            stop += 1
        if stop == at:
            break
        del frames[at:stop]
        messages += stop - at
    return at, size, messages


class Queueing(Outbound):
    """Base of `Session`, never used alone."""

    __slots__ = ("_dropped_outbound", "_easing", "_line", "_line_bytes")

    def __init__(self, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(link, endpoint, loop)
        self._dropped_outbound = 0
        self._easing = False  # those in line are going on; what they append may be written meanwhile
        # Made when first needed: most sessions are idle most of the time, and there are many.
        self._line: Line | None = None
        self._line_bytes = 0

    def _may_queue(self) -> bool:
        """Whether a message that does not wait may be queued now, making room if the strategy says so.

        Raises BackpressureError at `max_outbound`, under REJECT at `high_water`. False: it is dropped, and counted.
        """
        if not self._congested:
            return True
        if self._config.outbound_strategy is not Backpressure.BLOCK:
            return self._make_way()
        outbound, limit = self._outbound(), self._config.max_outbound
        if outbound >= limit:
            self._refuse_outbound(outbound, limit)
        return True

    def _make_way(self) -> bool:
        """As `_may_queue`, above `high_water` and under a strategy that does not wait."""
        if not self._write_paused:
            self._flush()  # the link may take it all
            if not self._congested:
                return True
        strategy = self._config.outbound_strategy
        if strategy is Backpressure.REJECT:
            self._refuse_outbound(self._outbound(), self._high)
        if strategy is Backpressure.DROP_OLDEST and self._drop_queued():
            return True
        self._count_dropped_outbound(1)
        return False

    def _check_asking(self) -> None:
        """Requests wait in line above `high_water`; under REJECT, raise BackpressureError."""
        if self._config.outbound_strategy is Backpressure.REJECT:
            self._make_way()

    async def _queue_slowly(self, frame: bytes) -> None:
        """Queue a message above `high_water`: wait in line, or do as the strategy says."""
        if self._config.outbound_strategy is not Backpressure.BLOCK:
            if self._make_way():
                self._append(frame)
            return
        sent: asyncio.Future[None] = self._loop.create_future()
        self._stand_in_line(frame, sent, sent)
        try:
            await sent
        finally:
            self._leave_line(sent)

    def _drop_queued(self) -> bool:
        """Drop the oldest one-way messages until no more than `high_water` is queued; whether that was possible."""
        self._kept_to, size, dropped = drop_oldest(self._out, self._kept_to, self._out_bytes - self._high)
        self._out_bytes -= size
        self._count_dropped_outbound(dropped)
        return self._out_bytes <= self._high

    # The line

    def _count_dropped_outbound(self, messages: int) -> None:
        self._dropped_outbound += messages
        self._endpoint.counters.dropped_outbound += messages

    def _refuse_outbound(self, outbound: int, limit: int, what: str = "outbound bytes") -> NoReturn:
        self._endpoint.counters.backpressure_errors += 1
        raise BackpressureError(what, outbound, limit)

    def _stand_in_line(self, frame: bytes, waiter: Waiter, sent: asyncio.Future[None] | None) -> None:
        """Queue `frame` until there is room; `sent` is told then. Who does not wait any more must leave the line."""
        if self._line is None:
            self._line = OrderedDict()
        self._line[waiter] = (frame, sent)
        self._line_bytes += len(frame)

    def _stands_in_line(self, waiter: Waiter) -> bool:
        if self._line and waiter in self._line:
            return True
        return self._commands is not None and waiter in self._commands.line

    def _leave_line(self, waiter: Waiter) -> None:
        """Drop the frame of a waiter, unless it has gone already."""
        if self._line:
            frame, _ = self._line.pop(waiter, (b"", None))
            self._line_bytes -= len(frame)
        if self._commands is not None:
            frame, _ = self._commands.line.pop(waiter, (b"", None))
            self._line_bytes -= len(frame)

    def _ease(self) -> None:
        """Let those in line go on, as far as there is room."""
        self._congested = False
        self._kept_to = 0
        if self._easing:  # below; it goes on there
            return
        self._easing = True
        try:
            while self._line and not self._congested:
                self._next_in_line(self._line, self._append)
        finally:
            self._easing = False
        self._eased()

    def _clear_line(self) -> None:
        """The session is closing: what stands in line is queued now."""
        while self._commands is not None and self._commands.line:
            self._next_in_line(self._commands.line, self._append_command)
        while self._line:
            self._next_in_line(self._line, self._append)

    def _next_in_line(self, line: Line, append: Callable[[bytes], None]) -> None:
        waiter, (frame, sent) = line.popitem(last=False)
        self._line_bytes -= len(frame)
        if not waiter.done():
            append(frame)
            if sent is not None:
                sent.set_result(None)

    # What the session adds

    @abstractmethod
    def _append_command(self, frame: bytes) -> None:
        """Queue a command."""

    @abstractmethod
    def _eased(self) -> None:
        """There is room again."""
