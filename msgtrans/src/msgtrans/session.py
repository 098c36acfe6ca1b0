"""One connection between two peers, whatever carries it (specification 3): its public face.

A session knows packets, requests, handlers and bounds. It knows no sockets: a `Link` moves its bytes. All state belongs
to one event loop. It is made of layers, each in a module of its own: `outbound` is its writing half, `queueing` and
`commands` what waits to be written, `holding` what waits or is dropped on the way in, `inbound` its reading half,
`closing` its end, `forwarding` what others encoded.
Not here: framing (the link's decoder), and who is connected to whom (the endpoint).
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from typing import TYPE_CHECKING, Final

from msgtrans.codec import encode_fields
from msgtrans.commands import COMMAND
from msgtrans.errors import (
    TransportTimeoutError,
)
from msgtrans.events import CloseReason
from msgtrans.forwarding import Forwarding
from msgtrans.info import ConnectionInfo, SessionState
from msgtrans.link import HttpRequest, Link
from msgtrans.outbound import AHEAD
from msgtrans.packet import ONE_WAY, REQUEST, RESPONSE, Packet
from msgtrans.stats import SessionStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgtrans.config import Address, SessionConfig
    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.handlers import Context

_OPEN: Final = SessionState.OPEN


class Session(Forwarding):
    """One connection. Made by servers and clients, never by users.

    id: from 1 upward on a server, 1 on a client; never on the wire. data: a slot for the application's own state.
    identity: who the peer proved to be, set by middleware; None until then. in_broadcasts: whether broadcasts
    reach it; set it to False to leave it out.
    packets_sent, packets_received, bytes_sent, bytes_received: on the wire, all types.
    Sending and requesting may be done concurrently from any task of the loop, and cancelled.
    """

    __slots__ = (
        "__weakref__",
        "_established_at",
        "_secure",
        "_timer_at",
        "data",
        "identity",
    )

    def __init__(
        self, session_id: int, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int
    ) -> None:
        super().__init__(session_id, link, endpoint, loop, first_message_id)
        self.data: object | None = None
        self.identity: object | None = None
        self.in_broadcasts = True
        self._established_at = time.time()
        self._secure = link.get_extra_info("ssl_object") is not None
        self._timer_at = math.inf

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.protocol} {self.peer_address or ''} {self._state.value}>"

    # What users see

    @property
    def state(self) -> SessionState:
        """Where the session is in its life."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether it can send."""
        return self._state is _OPEN

    @property
    def congested(self) -> bool:
        """Whether `send` would wait, because the peer takes less than we give it."""
        return self._congested

    @property
    def pending_requests(self) -> int:
        """Requests of ours that wait for answers."""
        return len(self._pending)

    @property
    def endpoint(self) -> Endpoint:
        """The server or client it belongs to."""
        return self._endpoint

    @property
    def config(self) -> SessionConfig:
        """What holds for it."""
        return self._config

    @property
    def http_request(self) -> HttpRequest | None:
        """The request that opened a WebSocket connection, None for others; kept after closing."""
        return self._link.http_request

    @property
    def peer_certificate(self) -> Mapping[str, object] | None:
        """The peer's verified TLS certificate as `ssl.SSLSocket.getpeercert` gives it, None without one.

        While the session is open; copy what you need for later.
        """
        connection = self._link.get_extra_info("ssl_object")
        if isinstance(connection, ssl.SSLObject | ssl.SSLSocket):
            return connection.getpeercert() or None
        return None

    @property
    def protocol(self) -> str:
        """The transport's name, as in its URIs."""
        return self._link.protocol

    @property
    def peer_address(self) -> Address | None:
        """Where the peer is, if the transport knows; kept after closing."""
        return self._link.peer_address

    @property
    def local_address(self) -> Address | None:
        """Our own end, if the transport knows; kept after closing."""
        return self._link.local_address

    def info(self) -> ConnectionInfo:
        """What is known of the connection, also after it closed."""
        return ConnectionInfo(
            session_id=self.id,
            protocol=self.protocol,
            secure=self._secure,
            local_address=self.local_address,
            peer_address=self.peer_address,
            state=self._state,
            established_at=self._established_at,
            closed_at=self._closed_at,
            last_activity=time.time() - (self._loop.time() - self._active_at),
            packets_sent=self.packets_sent,
            packets_received=self.packets_received,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            identity=self.identity,
        )

    def stats(self) -> SessionStats:
        """The counters at this moment."""
        return SessionStats(
            self.packets_sent,
            self.packets_received,
            self.bytes_sent,
            self.bytes_received,
            len(self._pending),
            len(self._tasks or ()),
            self._outbound(),
            self._line_bytes,
            self._reading_paused,
            self._dropped_outbound,
            self._dropped_inbound,
        )

    async def send(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        message_id: int | None = None,
    ) -> int:
        """Send a one-way message and return its id. Waits while the peer takes less than we give it, or does as
        `outbound_strategy` says.

        Returning means queued in order, not received; under a strategy that drops, maybe dropped. Cancelled while
        waiting, it is not sent.
        Raises SessionClosedError, LocalProtocolError (limits, id in use), BackpressureError under REJECT.
        """
        if self._state is not _OPEN:
            raise self._closed_error()
        pending = self._pending
        message_id = pending.next_id() if message_id is None else pending.claim(message_id)
        frame = encode_fields(
            ONE_WAY, message_id, payload, biz_type, ext_header, flags, compression, self._config.codec
        )
        if flags and flags & COMMAND:
            await self._command(frame)
        elif self._congested:
            await self._queue_slowly(frame)
        else:
            self._append(frame)
        return message_id

    def send_nowait(
        self, payload: bytes, *, biz_type: int = 0, ext_header: bytes = b"", flags: int = 0, compression: int = 0
    ) -> int:
        """As `send`, without waiting and ahead of those that wait.

        Raises BackpressureError while `max_outbound` bytes or more are waiting to leave; under REJECT at `high_water`.
        Under a strategy that drops, it drops at `high_water` and does not raise.
        """
        if self._state is not _OPEN:
            raise self._closed_error()
        message_id = self._pending.next_id()
        frame = encode_fields(
            ONE_WAY, message_id, payload, biz_type, ext_header, flags, compression, self._config.codec
        )
        if flags and flags & COMMAND:
            if self._may_command():
                self._append_command(frame)
        elif self._may_queue():
            self._append(frame)
        return message_id

    async def request(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - one timer per session serves all requests
        message_id: int | None = None,
    ) -> Packet:
        """Send a request and return the response packet; many may be under way at once.

        timeout: seconds from now, waiting to send included; None means `request_timeout`.
        Raises TransportTimeoutError, SessionClosedError at once when the connection goes, LocalProtocolError (limits,
        id in use), ResourceError at `max_pending_requests`, BackpressureError under REJECT. Cancelled, it forgets the
        request; the answer is dropped.
        """
        if self._state is not _OPEN:
            raise self._closed_error()
        loop, pending = self._loop, self._pending
        waiter: asyncio.Future[Packet] = asyncio.Future(loop=loop)
        message_id, deadline = pending.add(waiter, loop.time(), timeout, message_id)
        try:
            frame = encode_fields(
                REQUEST, message_id, payload, biz_type, ext_header, flags, compression, self._config.codec
            )
            command = flags and flags & COMMAND
            if command:
                self._check_commanding()
            elif self._congested:
                self._check_asking()
        except BaseException:
            pending.pop(message_id)
            raise
        if deadline < self._timer_at:
            self._arm(deadline)
        if command:
            self._ask_command(frame, waiter)
        elif self._congested:
            self._stand_in_line(frame, waiter, None)
        else:
            self._append(frame)
            if len(self._out) >= AHEAD and self._batch_most > 1:
                self._flush()
        if self._held:
            self._balance_reading()
        try:
            return await waiter
        except asyncio.CancelledError:
            pending.pop(message_id)
            raise
        finally:
            if self._line or self._commands is not None:
                self._leave_line(waiter)
            del waiter, frame  # its exception has this call in its traceback: a cycle that would keep the frame alive

    def respond(
        self,
        context: Context,
        payload: bytes,
        *,
        ext_header: bytes = b"",
        biz_type: int | None = None,
        flags: int = 0,
        compression: int = 0,
    ) -> None:
        """Answer a request of this session; what `Context.respond` does, with the same errors."""
        if self._state is SessionState.CLOSED or self._written:
            raise self._closed_error()
        frame = encode_fields(
            RESPONSE,
            context.message_id,
            payload,
            context.biz_type if biz_type is None else biz_type,
            ext_header,
            flags,
            compression,
            self._config.codec,
        )
        context.unanswered = False
        if self._given is not None:
            self._given.answered(context)
            if self._held:
                self._loop.call_soon(self.go_on)
        self._append_answer(frame, flags | context.flags)

    # What endpoint and link call

    def count_bad_compression(self, packets: int) -> None:
        """For a link whose decoder handed payloads over as they came."""
        self._endpoint.counters.bad_compression += packets

    def count_kept(self, more: int) -> None:
        """For a link: it keeps `more` bytes of incomplete packets, or less; at too many of all, the endpoint acts."""
        endpoint = self._endpoint
        endpoint.kept += more
        if endpoint.sweeping.rests and (more > 0 or self._link.inside_packet):
            endpoint.sweeping.wake()
        if more > 0 and endpoint.kept > endpoint.max_kept:
            endpoint.make_room_for_packets()

    @property
    def kept(self) -> int:
        """For the endpoint: bytes of incomplete packets that the link keeps."""
        return self._link.kept

    def drop_incomplete(self, error: TransportError) -> None:
        """For the endpoint: end the session because of what it keeps."""
        self._end(CloseReason.ERROR, error)
        self._link.abort()

    @property
    def awaits_rest(self) -> bool:
        """For the endpoint: whether it is the peer's turn to send the rest of a packet."""
        return self._link.inside_packet and not self._reading_paused

    @property
    def active_at(self) -> float:
        """For the endpoint: when packets came or went last, by the clock of the loop."""
        return self._active_at

    # Timeouts of requests

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        for waiter, timeout in self._pending.expire(now):
            if not waiter.done():
                self._endpoint.counters.request_timeouts += 1
                waiter.set_exception(TransportTimeoutError("request", timeout))
                self._leave_line(waiter)
        self._timer, self._timer_at = None, math.inf
        deadline = self._pending.next_deadline()
        if deadline is not None:
            self._arm(max(deadline, now + 0.001))
