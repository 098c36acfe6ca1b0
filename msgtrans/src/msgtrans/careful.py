"""Sessions with peers that can take little at a time (specification 2.1, 8.1 to 8.3).

Such a peer loses a connection when more events than it has room for wait in it. What we send is paced; and of requests,
whose answers tell how far it is, only some are at the peer at once, the others wait here.
Not here: which peers need that (`config.profiles`), and the pauses (`paced`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from msgtrans.codec import encode_fields
from msgtrans.errors import LocalProtocolError, ResourceError, TransportTimeoutError
from msgtrans.info import SessionState
from msgtrans.paced import PacedLink
from msgtrans.packet import HEADER_SIZE, unpack_header
from msgtrans.requests import rounded
from msgtrans.session import Session

if TYPE_CHECKING:
    from msgtrans.config import SessionConfig
    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.link import Link
    from msgtrans.packet import Packet

_OPEN: Final = SessionState.OPEN
LEAST: Final = 0.001  # seconds that are left to a request whose turn comes last


def new_session(
    session_id: int, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int
) -> Session:
    """The session of a new connection, of the kind that its config asks for."""
    kind = CarefulSession if asks_for_care(link.config) else Session
    return kind(session_id, link, endpoint, loop, first_message_id)


def asks_for_care(config: SessionConfig) -> bool:
    """Whether a session with that config is a careful one."""
    codec = config.codec
    return bool(
        config.pacing is not None
        or config.max_unanswered is not None
        or codec.max_packet_size is not None
        or codec.refused_flags
        or not codec.compress
    )


class CarefulSession(Session):
    """A session that spares its peer."""

    __slots__ = ("_asking", "_paced", "_turns")

    def __init__(
        self, session_id: int, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int
    ) -> None:
        self._paced: PacedLink | None = None
        pacing = link.config.pacing
        if pacing is not None:
            link = self._paced = PacedLink(link, pacing, self, loop)
        super().__init__(session_id, link, endpoint, loop, first_message_id)
        self._asking = 0  # requests that are at the peer, or on their way
        self._turns: OrderedDict[asyncio.Future[None], None] = OrderedDict()  # those that wait to be

    @property
    def pending_requests(self) -> int:
        """Requests of ours that wait for answers, or to be sent."""
        return len(self._pending) + len(self._turns)

    # Requests

    async def request(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Session.request`
        message_id: int | None = None,
    ) -> Packet:
        """As `Session.request`; waits, within its timeout, while `max_unanswered` are under way."""
        most = self._config.max_unanswered
        if most is not None and self._state is _OPEN and (self._asking >= most or self._turns):
            timeout = await self._turn(timeout)
        else:
            self._asking += 1
        try:
            return await super().request(
                payload,
                biz_type=biz_type,
                ext_header=ext_header,
                flags=flags,
                compression=compression,
                timeout=timeout,
                message_id=message_id,
            )
        finally:
            self._next_turn()

    async def _turn(self, timeout: float | None) -> float:  # noqa: ASYNC109 - as `request`
        """Wait for one's turn; the seconds that are left of the timeout."""
        waiting, limit = self.pending_requests, self._config.max_pending_requests
        if waiting >= limit:
            raise ResourceError("pending requests", waiting, limit)
        seconds = self._pending.timeout if timeout is None else rounded(timeout)
        until = self._loop.time() + seconds
        turn: asyncio.Future[None] = self._loop.create_future()
        self._turns[turn] = None
        try:
            async with asyncio.timeout_at(until):
                await turn
        except BaseException as error:
            self._turns.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._next_turn()  # it came too late
            if type(error) is TimeoutError:
                self._endpoint.counters.request_timeouts += 1
                raise TransportTimeoutError("request", seconds) from error
            raise
        return max(until - self._loop.time(), LEAST)

    def _next_turn(self) -> None:
        """A request has come to its end: the next may go."""
        while self._turns:
            turn, _ = self._turns.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        self._asking -= 1

    def _fail_requests(self) -> None:
        turns, self._turns = self._turns, OrderedDict()
        for turn in turns:
            if not turn.done():
                turn.set_exception(self._closed_error())
        super()._fail_requests()

    # Packets that others have encoded

    def offer_frame(self, frame: bytes, *, later: bool = False) -> bool:
        """As ever; what the peer must not see, or could not read, is dropped, and counted."""
        try:
            frame = self._fit(frame)
        except LocalProtocolError:
            self._count_dropped_outbound(1)
            return False
        return super().offer_frame(frame, later=later)

    async def forward(self, frame: bytes, *, command: bool = False) -> None:
        """As ever. Raises LocalProtocolError for what the peer must not see, or could not read."""
        await super().forward(self._fit(frame), command=command)

    def _fit(self, frame: bytes) -> bytes:
        """`frame`, if it is within this session's limits; its payload is what it was, compressed or not."""
        marker, kind, biz_type, message_id, ext_size, _, flags = unpack_header(frame)
        body = HEADER_SIZE + ext_size
        codec = self._config.codec
        if marker & 0xFF and not codec.compress:
            raise LocalProtocolError("a packet that is compressed must not be sent to this peer")
        fit = encode_fields(kind, message_id, frame[body:], biz_type, frame[HEADER_SIZE:body], flags, 0, codec)
        return frame if marker & 0xFF else fit

    # Pauses

    def pause_writing(self) -> None:
        """The link could not pass on everything at once."""
        if self._paced is not None:
            self._paced.pause_writing()
        else:
            super().pause_writing()

    def resume_writing(self) -> None:
        """The link has passed on everything."""
        if self._paced is not None:
            self._paced.resume_writing()
        else:
            super().resume_writing()

    def writing_paused(self) -> None:
        """Packets wait for their time."""
        super().pause_writing()

    def writing_resumed(self) -> None:
        """They have left."""
        super().resume_writing()

    def lost(self, error: TransportError | None) -> None:
        """The connection is gone, and what waits with it."""
        if self._paced is not None:
            self._paced.clear()
        super().lost(error)
