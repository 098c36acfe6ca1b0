"""The writing half of a session: frames are gathered, and leave in one write per turn of the loop.

After a read of a single packet, the first frame leaves at once: a peer that asks one thing at a time need not wait for
company that will not come. Whatever else the turn sends is gathered as always.
Above `high_water` bytes those who `send` wait in line, first come first served; they go on when the link has caught up.
Under another strategy than BLOCK nobody waits but requests.
A link that makes no progress for `write_timeout` is dropped.
Not here: what the frames mean.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from msgtrans.config import Backpressure
from msgtrans.errors import BackpressureError, TransportTimeoutError
from msgtrans.packet import ONE_WAY

if TYPE_CHECKING:
    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.link import Link
    from msgtrans.packet import Packet

TYPE_AT: Final = 2  # where an encoded packet tells its type
Waiter: TypeAlias = "asyncio.Future[Packet] | asyncio.Future[None]"


class Outbound(ABC):
    """Base of `Session`, never used alone."""

    __slots__ = (
        "_active_at",
        "_alone",
        "_config",
        "_congested",
        "_drain_waiter",
        "_dropped_outbound",
        "_ending",
        "_endpoint",
        "_flush_scheduled",
        "_high",
        "_kept_to",
        "_line",
        "_line_bytes",
        "_link",
        "_loop",
        "_out",
        "_out_bytes",
        "_stall_timer",
        "_write_paused",
        "_written",
        "bytes_sent",
        "packets_sent",
    )

    def __init__(self, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self.packets_sent = self.bytes_sent = 0
        self._link: Link = link
        self._endpoint = endpoint
        self._loop = loop
        self._active_at = loop.time()
        self._config = config = link.config
        self._high = config.high_water
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flush_scheduled = False
        self._alone = False  # the last read was a single packet: what it leads to will hardly have company
        self._congested = False  # more than high_water waits here
        self._kept_to = 0  # frames queued before this one are no one-way messages, while congested
        self._dropped_outbound = 0
        self._write_paused = False  # the link has not passed on all it was given; it gets no more until then
        # Made when first needed: most sessions are idle most of the time, and there are many.
        self._line: OrderedDict[Waiter, tuple[bytes, asyncio.Future[None] | None]] | None = None
        self._line_bytes = 0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ending = False  # that timer bounds the end of the session, whatever the link says
        self._written = False  # the link takes nothing more
        self._drain_waiter: asyncio.Future[None] | None = None

    # For the session

    def _append(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._out_bytes > self._high:
            self._congested = True
        if not self._flush_scheduled:
            if self._alone:
                self._alone = False
                self._flush()
            else:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Give the link everything, unless it is behind; it may pause writing meanwhile."""
        if self._out and not self._write_paused:
            self._active_at = self._loop.time()
        self._write_out()

    def _write_out(self) -> None:
        """As `_flush`, in the same turn as a read, which has noted the time already."""
        self._flush_scheduled = False
        out = self._out
        if out and not self._write_paused:
            self.packets_sent += len(out)
            # First: inside TLS, a link may call `resume_writing` from within `write`.
            self._out, self._out_bytes = [], 0
            self._link.write(out)
            if self._congested:
                self._ease()

    def _flush_all(self) -> None:
        """Give the link everything, however much it has, because it will close behind that."""
        behind, self._write_paused = self._write_paused, False
        self._flush()
        self._write_paused = self._write_paused or behind

    def _outbound(self) -> int:
        return self._out_bytes + self._link.buffered()

    # Beyond high_water

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
        out, at, dropped = self._out, self._kept_to, 0
        while self._out_bytes > self._high:
            while at < len(out) and out[at][TYPE_AT] != ONE_WAY:
                at += 1
            if at == len(out):
                break
            self._out_bytes -= len(out.pop(at))
            dropped += 1
        self._kept_to = at
        self._count_dropped_outbound(dropped)
        return self._out_bytes <= self._high

    def _count_dropped_outbound(self, messages: int) -> None:
        self._dropped_outbound += messages
        self._endpoint.counters.dropped_outbound += messages

    def _refuse_outbound(self, outbound: int, limit: int) -> NoReturn:
        self._endpoint.counters.backpressure_errors += 1
        raise BackpressureError("outbound bytes", outbound, limit)

    def _stand_in_line(self, frame: bytes, waiter: Waiter, sent: asyncio.Future[None] | None) -> None:
        """Queue `frame` until there is room; `sent` is told then. Who does not wait any more must leave the line."""
        if self._line is None:
            self._line = OrderedDict()
        self._line[waiter] = (frame, sent)
        self._line_bytes += len(frame)

    def _leave_line(self, waiter: Waiter) -> None:
        """Drop the frame of a waiter, unless it has gone already."""
        if self._line:
            frame, _ = self._line.pop(waiter, (b"", None))
            self._line_bytes -= len(frame)

    def _ease(self) -> None:
        """Let those in line go on, as far as there is room."""
        self._congested = False
        self._kept_to = 0
        while self._line and not self._congested:
            self._next_in_line(self._line)
        self._eased()

    def _clear_line(self) -> None:
        """The session is closing: what stands in line is queued now."""
        while self._line:
            self._next_in_line(self._line)

    def _next_in_line(self, line: OrderedDict[Waiter, tuple[bytes, asyncio.Future[None] | None]]) -> None:
        waiter, (frame, sent) = line.popitem(last=False)
        self._line_bytes -= len(frame)
        if not waiter.done():
            self._append(frame)
            if sent is not None:
                sent.set_result(None)

    async def _drained(self) -> None:
        """Wait until the system has taken everything."""
        self._flush_all()
        while self._write_paused:
            self._drain_waiter = self._loop.create_future()
            await self._drain_waiter

    def _keep_queued(self, frames: list[bytes]) -> None:
        """Queue `frames` instead of what is queued."""
        self._out[:] = frames
        self._out_bytes = sum(map(len, frames))

    def _drop_outbound(self) -> None:
        """The connection is gone."""
        self._out.clear()
        self._out_bytes = 0
        self._write_paused = self._congested = False
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        self._wake_drained()

    def _wake_drained(self) -> None:
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    # For the link

    def pause_writing(self) -> None:
        """The link could not pass on everything at once."""
        self._write_paused = True
        if self._stall_timer is None:
            self._watch_progress(None)

    def resume_writing(self) -> None:
        """The link has passed on everything."""
        self._write_paused = False
        if self._stall_timer is not None and not self._ending:
            self._stall_timer.cancel()
            self._stall_timer = None
        self._wake_drained()
        self._flush()

    def _watch_progress(self, before: int | None) -> None:
        written = self.bytes_sent - self._link.buffered()
        timeout = self._config.write_timeout
        if written == before:
            self._endpoint.counters.write_timeouts += 1
            self._give_up(TransportTimeoutError("writing to a peer that does not read", timeout))
        else:
            self._stall_timer = self._loop.call_later(timeout, self._watch_progress, written)

    # What the session adds

    @abstractmethod
    def _eased(self) -> None:
        """There is room again."""

    @abstractmethod
    def _give_up(self, error: TransportError) -> None:
        """The link makes no progress: drop it."""
