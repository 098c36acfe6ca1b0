"""The end of a session (specification 3.2): who ends it, why, and what becomes of what is under way.

One side closes it, the connection breaks, a bound or timeout is passed: the first reason counts. Requests that wait
fail at once, what is queued is written or dropped, and `lost` comes last and once.
Not here: sending and asking (`session`), and who is told (the endpoint).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from msgtrans.codec import type_and_id
from msgtrans.errors import SessionClosedError
from msgtrans.events import CloseReason
from msgtrans.inbound import Inbound
from msgtrans.info import SessionState
from msgtrans.link import GoneLink
from msgtrans.packet import REQUEST

if TYPE_CHECKING:
    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.link import Link

LINGER: Final = 1.0  # seconds a graceful close waits, with everything written, for the peer to close its side too
_OPEN: Final = SessionState.OPEN


class Closing(Inbound):
    """Base of `Session`, never used alone."""

    __slots__ = (
        "_closed",
        "_closed_at",
        "_outlived",
        "_peer_ended",
        "_peer_finished",
        "_timer",
        "close_error",
        "close_reason",
    )

    def __init__(
        self, session_id: int, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int
    ) -> None:
        super().__init__(session_id, link, endpoint, loop, first_message_id)
        self.close_reason: CloseReason | None = None
        self.close_error: TransportError | None = None
        self._closed_at: float | None = None
        self._outlived = False  # the connection is gone, and what came last is still handed on
        self._peer_finished = False  # it has sent all it ever will
        self._peer_ended = False  # that is why the session ends
        self._timer: asyncio.TimerHandle | None = None  # of our requests
        self._closed: asyncio.Event | None = None

    # For users

    async def close(
        self,
        *,
        graceful: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - part of it is for the peer, which a caller's could not tell
    ) -> None:
        """End the session; returns when it is closed. Requests of ours that wait for answers fail at once.

        Graceful: handlers that run finish, everything queued is written and the peer gets time to read it, within
        `graceful_timeout` (plus one second for a peer that does not close its side), or `timeout` seconds in all; what
        is not written then is dropped, and the reason is FORCED. Not graceful: all that is dropped at once.
        """
        if self._state is _OPEN and graceful:
            await self._close_gracefully(timeout=timeout)
        elif not graceful:
            self.abort()
        await self.wait_closed()

    def abort(self) -> None:
        """Drop the connection at once; `Closed` follows in a later turn of the loop.

        With reason FORCED, unless the session was closing already and nothing is lost by it.
        """
        self._end(CloseReason.FORCED)
        if self.close_reason is CloseReason.NORMAL and (self._outbound() or self._tasks):
            self.close_reason = CloseReason.FORCED
        self._discard_queued()
        if self._outlived:
            self.close_reason = CloseReason.FORCED
            self._hold_no_more()
            self._loop.call_soon(self._finish)
        self._link.abort()

    async def wait_closed(self) -> None:
        """Wait until the session is closed, by whomever."""
        if self._state is not SessionState.CLOSED:
            if self._closed is None:
                self._closed = asyncio.Event()
            await self._closed.wait()

    # For endpoint and link

    def peer_finished(self, error: TransportError | None = None) -> bool:
        """The peer will send no more. Returns whether the link must stay open, because answers are on their way.

        error: what it said about why, for `close_error`.
        """
        self._peer_finished = True
        if self._held and self._state is _OPEN:
            self.close_error = error
            return True  # what it sent last comes first
        if self._tasks and not self._written:
            if self._state is _OPEN:
                self._endpoint.spawn(self._close_gracefully(error))
            return True
        self._end(CloseReason.NORMAL, error)
        self._flush_all()
        self._limit_closing()
        return False

    def fail(self, error: TransportError) -> None:
        """The peer broke the protocol: as `dismiss`, and counted."""
        if self._state is _OPEN:
            self._endpoint.counters.protocol_errors += 1
        self._catch_up()
        self.dismiss(error)

    def dismiss(self, error: TransportError) -> None:
        """End the session with reason ERROR: what is queued is still written, within `graceful_timeout`."""
        if self._state is SessionState.CLOSED:
            return
        self._end(CloseReason.ERROR, error)
        self._flush_all()
        self._limit_closing()
        self._written = True
        self._link.close()

    def lost(self, error: TransportError | None) -> None:
        """The connection is gone, for `error` or as intended."""
        if self._held and self._peer_finished and error is None and self._state is _OPEN:
            self._outlive()
            return
        self._catch_up()
        self._peer_finished |= self._state is _OPEN
        self._end(CloseReason.ERROR if error else CloseReason.NORMAL, error)
        self._drop_outbound()
        self._link = GoneLink(self._link)
        self._finish()

    def _outlive(self) -> None:
        """The peer ended it in good order, and what it sent last waits for room: that is handed on before `Closed`.

        Inside TLS its end comes with what it sent; on TCP it waits unread behind that.
        """
        self._leave_open(CloseReason.NORMAL, self.close_error)
        self._written = self._outlived = True
        self._drop_outbound()
        self._link = GoneLink(self._link)

    def _emptied(self) -> None:
        """Nothing is held any more: an end that waited for that goes on."""
        if self._outlived:
            self._hold_no_more()
            self._finish()
        elif self._peer_finished and self._state is _OPEN and not self.peer_finished(self.close_error):
            self._link.close()

    def _finish(self) -> None:
        self._outlived = False
        self._state = SessionState.CLOSED
        self._closed_at = time.time()
        self._endpoint.session_closed(self)  # type: ignore[arg-type]  # only Session derives from this
        if self._closed is not None:
            self._closed.set()
        if not self._tasks:
            self._endpoint.session_finished(self)  # type: ignore[arg-type]  # as above

    @property
    def busy(self) -> bool:
        """For the endpoint: whether what came waits for room, or is being handled."""
        return bool(self._held or self._tasks)

    @property
    def holding(self) -> bool:
        """For the link: whether packets wait for room."""
        return bool(self._held)

    def running_handlers(self) -> list[asyncio.Task[None]]:
        """For an endpoint that stops: the handlers that still run."""
        return list(self._tasks or ())

    # Its end

    async def _close_gracefully(self, error: TransportError | None = None, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as `close`
        within = self._config.graceful_timeout if timeout is None else timeout
        until = self._loop.time() + within
        inside_tls = self._link.get_extra_info("ssl_object") is not None
        self._end(CloseReason.NORMAL, error)
        self._link.resume_reading()  # to see the peer's end; what else it sends is discarded
        me = asyncio.current_task()
        try:
            async with asyncio.timeout(within):
                while others := {task for task in self._tasks or () if task is not me}:
                    await asyncio.wait(others)
                await self._drained()
            self._written = True
            if self._peer_finished:
                self._link.close()
                return
            self._link.finish()
            left = max(0.0, until - self._loop.time())
            if not inside_tls:  # whose transport may have more to write than it says
                left = LINGER if timeout is None else min(LINGER, left)
            async with asyncio.timeout(left):
                await self.wait_closed()
        except TimeoutError:
            if not self._written:
                self.close_reason = CloseReason.FORCED
            self._link.abort()  # it was told to close, if it could write everything
        except asyncio.CancelledError:
            self.abort()
            raise

    def _give_up(self, error: TransportError) -> None:
        self._end(CloseReason.TIMEOUT, error)
        self._link.abort()

    def time_out(self, error: TransportError) -> None:
        """For the endpoint: drop a session that took too long over something."""
        self._give_up(error)

    def _end(self, reason: CloseReason, error: TransportError | None = None) -> None:
        """Leave OPEN, once: the first reason counts. Requests fail, sends in line are queued, held packets dropped."""
        if self._state is not _OPEN:
            return
        self._leave_open(reason, error)
        self._hold_no_more()

    def _leave_open(self, reason: CloseReason, error: TransportError | None) -> None:
        self._state = SessionState.CLOSING
        self.close_reason, self.close_error = reason, error
        self._peer_ended = self._peer_finished
        self._fail_requests()
        self._clear_line()
        self._endpoint.session_ending(self)  # type: ignore[arg-type]  # as above
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail_requests(self) -> None:
        """No answer can come any more: requests that have not left do not leave, and all callers learn which it was."""
        pending = self._pending
        if not len(pending):
            return
        here = {key for key in map(type_and_id, self._queued()) if key[0] == REQUEST and key[1] in pending}
        if here:
            self._keep_queued(lambda frame: type_and_id(frame) not in here)
        unwritten = [waiter for _, message_id in here if (waiter := pending.pop(message_id)) is not None]
        for waiter in pending.drain():
            if self._stands_in_line(waiter):
                unwritten.append(waiter)
            elif not waiter.done():
                waiter.set_exception(self._closed_error(written=True))
        for waiter in unwritten:
            if not waiter.done():
                waiter.set_exception(self._closed_error())

    def _limit_closing(self) -> None:
        """The link closes when everything is written; a peer that does not read must not delay that for ever."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._ending = True
        self._stall_timer = self._loop.call_later(self._config.graceful_timeout, self.abort)

    def _closed_error(self, *, written: bool = False) -> SessionClosedError:
        advice, retriable = "; connect again", None
        if self.close_error is not None:
            reason = f"{self.close_reason}: {self.close_error}"
            if not self.close_error.retriable:
                advice, retriable = "", False
        elif self._peer_ended and self.close_reason == CloseReason.NORMAL:
            reason = f"{self.close_reason}: the peer ended it"
        else:
            reason = str(self.close_reason)
        return SessionClosedError(
            f"session {self.id} is {self._state.value} ({reason}){advice}", retriable=retriable, written=written
        )
