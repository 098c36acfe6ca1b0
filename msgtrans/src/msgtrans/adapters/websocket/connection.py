"""An open WebSocket connection (specification 2.2): from frames to its session, and how it closes.

Not here: the upgrade that comes before (`upgrade`), and the rules of frames and messages (`frames`, `messages`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgtrans.adapters.stream import StreamConnection
from msgtrans.adapters.websocket import frames
from msgtrans.adapters.websocket.handshake import http_request, not_admitted, refuse
from msgtrans.adapters.websocket.messages import MessageDecoder
from msgtrans.adapters.words import printable
from msgtrans.errors import ResourceError, SessionClosedError, TransportTimeoutError
from msgtrans.events import CloseReason

if TYPE_CHECKING:
    import asyncio

    from msgtrans.adapters.websocket.handshake import Refused
    from msgtrans.adapters.websocket.messages import PeerClose
    from msgtrans.adapters.websocket.terms import WebSocketTerms
    from msgtrans.link import HttpRequest
    from msgtrans.session import Session

GATHERED: Final = 256 * 1024  # bytes up to which frames are joined to one write
ORDINARY: Final = {1000, 1001, frames.NO_CODE}  # close codes that say nothing but goodbye
REASON_LIMIT: Final = 123  # bytes
FULL: Final = refuse(503, "As many connections as may be are open; try again later.")


class Opening:
    """What a session is told to do while it is admitted: nothing may be sent ahead of the response.

    frames: written meanwhile. finishing, closing: whether it is to end behind them.
    """

    __slots__ = ("closing", "finishing", "frames")

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.finishing = False
        self.closing = False


class WebSocketConnection(StreamConnection):
    """One connection after its upgrade: the protocol of its transport, and the link of its session.

    Made by upgrades, which have counted it among the connections of its terms. head: of the request that it began with,
    empty on a client; subprotocol: the one chosen then.
    """

    __slots__ = (
        "_blocked",
        "_close_sent",
        "_head",
        "_heard",
        "_opening",
        "_peer_ended",
        "_pinged",
        "_pong",
        "_quiet_since",
        "_secure",
        "_subprotocol",
    )

    _terms: WebSocketTerms
    _decoder: MessageDecoder

    def __init__(self, terms: WebSocketTerms, head: bytes = b"", subprotocol: str | None = None) -> None:
        super().__init__(
            terms,
            nodelay=terms.nodelay,
            keepalive=terms.keepalive,
            notsent_lowat=terms.notsent_lowat,
            decoder=MessageDecoder(terms.readers, terms.limits),
        )
        self._head = head
        self._subprotocol = subprotocol
        self._opening: Opening | None = None
        self._close_sent = False
        self._peer_ended = False  # it has said that nothing more comes, or there is no more
        self._blocked = False  # the system has not taken all yet
        self._pong: bytes | None = None  # to be sent when it has
        self._heard = 0  # bytes, when it was looked at
        self._quiet_since = 0.0
        self._pinged = False
        self._secure = False

    def open(self, transport: asyncio.BaseTransport, response: bytes, early: bytes) -> Refused | None:
        """Take over a transport: get a session, send `response`, go on with what was read behind the upgrade.

        What middleware and connect handlers send in there follows the response. Returns what to answer instead when
        there is no session, or it is refused before it has sent anything; nothing is sent then, the caller closes.
        """
        self._attach(transport)
        self._secure = transport.get_extra_info("ssl_object") is not None
        self._counted = True
        opening = self._opening = Opening()
        self._session = session = self._terms.host.admit(self)
        self._opening = None
        if session is None:
            return FULL
        if self._transport.is_closing():  # dropped in there
            return None
        if session.close_error is not None and session.close_reason is CloseReason.ERROR and not opening.frames:
            return not_admitted(session.close_error)
        self._answer(session, response, opening)
        if self._terms.pulse is not None:
            self._quiet_since = self._terms.loop.time()
            self._terms.pulse.watch(self)
        if early:
            session.bytes_received += len(early)
            self._decoder.hold(early)
            if not self._paused:
                self._feed_soon()
        return None

    def _answer(self, session: Session, response: bytes, opening: Opening) -> None:
        """Send `response`, and do what was to be done meanwhile."""
        session.bytes_sent += sum(map(len, opening.frames))
        data = b"".join((response, *opening.frames))
        if data:
            self._transport.write(data)
        if opening.closing:
            self.close()
        elif opening.finishing:
            self.finish()

    # What the event loop calls

    def eof_received(self) -> bool:
        """The peer sends no more: with or without a Close frame before, that is a normal end between messages."""
        self._peer_ended = True
        if self._close_sent:
            return False
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._terms.pulse is not None:
            self._terms.pulse.forget(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The system takes no more at the moment."""
        self._blocked = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """The system has taken everything."""
        self._blocked = False
        super().resume_writing()
        pong, self._pong = self._pong, None
        if pong is not None:
            self._answer_ping(pong)

    # What the session calls

    @property
    def protocol(self) -> str:
        """The transport's name: that of the connection, whoever listens."""
        return "wss" if self._secure else "ws"

    @property
    def http_request(self) -> HttpRequest | None:
        """The request that opened the connection, on a server."""
        return http_request(self._head, self._subprotocol) if self._head else None

    def write(self, packets: list[bytes]) -> None:
        """Send packets, each in a message of its own; nothing after the Close frame."""
        if self._close_sent:
            return
        parts = self._terms.writer.frames(packets)
        if len(packets) == 1 and len(packets[0]) > GATHERED and self._opening is None:
            if self._session is not None:
                self._session.bytes_sent += sum(map(len, parts))
            for part in parts:  # `writelines` of Python 3.12.0 to 3.12.8 does not tell when it cannot write all
                self._transport.write(part)
            return
        data = b"".join(parts)
        if self._session is not None:
            self._session.bytes_sent += len(data)
        self._write(data)

    def finish(self) -> None:
        """Send a Close frame after what is queued; go on reading until the peer's comes."""
        if self._opening is not None:
            self._opening.finishing = True
        elif not self._transport.is_closing():
            self._send_close(frames.NORMAL)

    def close(self) -> None:
        """Close once everything is written, with a Close frame.

        A peer that did something wrong gets to read why: closing at once would reset the connection while it sends.
        The session limits how long that may take. One that has gone without a Close frame gets none.
        """
        if self._opening is not None:
            self._opening.closing = True
            return
        gone = self._peer_ended and self._decoder.peer_close is None
        if not (self._close_sent or gone or self._transport.is_closing()):
            self._send_close(*self._farewell())
            if not self._peer_ended and self._transport.can_write_eof():
                try:
                    self._transport.write_eof()
                except OSError:  # the peer has reset the connection, and asyncio has not read that yet
                    self._transport.abort()
                return
            if not self._peer_ended and self._decoder.error is None:  # inside TLS, only its Close frame can tell
                self.resume_reading()
                return
        self._transport.close()

    # What the pulse calls

    def beat(self, now: float, interval: float, timeout: float) -> None:
        """Ping a silent peer, give up on one that stays silent. While we do not read or it does not, others judge."""
        session = self._session
        if session is None or not session.is_open:
            return
        heard = session.bytes_received
        if self._blocked or (heard != self._heard and not self._paused):
            self._heard, self._quiet_since, self._pinged = heard, now, False
        elif self._paused:
            self._heard, self._pinged = heard, False
            if now - self._quiet_since >= interval:
                self._quiet_since = now
                self._send_control(frames.PONG, b"")  # the peer's pings wait behind what we do not read
        elif self._pinged:
            if now - self._quiet_since >= timeout:
                self._terms.host.counters.ping_timeouts += 1
                session.time_out(TransportTimeoutError("waiting for a silent peer to answer a ping", timeout))
        elif now - self._quiet_since >= interval:
            self._quiet_since, self._pinged = now, True
            self._send_control(frames.PING, b"")

    # Its own

    def _halted(self, session: Session) -> None:
        """There is more than packets."""
        decoder = self._decoder
        ping, decoder.ping = decoder.ping, None
        if ping is not None:
            self._answer_ping(ping)
        super()._halted(session)
        if decoder.peer_close is not None and not self._peer_ended:
            self._peer_closed(session, decoder.peer_close)

    def _answer_ping(self, payload: bytes) -> None:
        """Only the last of many needs an answer: towards a peer that does not read, one waits at most."""
        if self._blocked:
            self._pong = payload
        elif not (self._close_sent or self._transport.is_closing()):
            self._send_control(frames.PONG, payload)

    def _peer_closed(self, session: Session, peer_close: PeerClose) -> None:
        """Answer a Close frame; before that, answers that are on their way."""
        self._peer_ended = True
        if self._close_sent:
            self._transport.close()
            return
        error = None
        if peer_close.code not in ORDINARY:
            reason = f": {printable(peer_close.reason)}" if peer_close.reason else ""
            error = SessionClosedError(
                f"the peer closed the connection with code {peer_close.code}{reason}",
                retriable=peer_close.code != frames.POLICY,
            )
        if not session.peer_finished(error):
            self.close()

    def _farewell(self) -> tuple[int, str]:
        """Code and reason of our Close frame: what the peer did wrong, or why else the session ends."""
        decoder, session = self._decoder, self._session
        if decoder.error is not None:
            return decoder.close_code, str(decoder.error)
        error = session.close_error if session is not None else None
        if error is None or session is None or session.close_reason is not CloseReason.ERROR:
            return frames.NORMAL, ""
        ours = isinstance(error, ResourceError) or error.refusal is False
        return frames.OUR_FAULT if ours else frames.POLICY, str(error)

    def _send_close(self, code: int, reason: str = "") -> None:
        text = reason.encode()[:REASON_LIMIT].decode("utf-8", "ignore").encode()
        self._send_control(frames.CLOSE, code.to_bytes(2, "big") + text)
        self._close_sent = True

    def _send_control(self, opcode: int, payload: bytes) -> None:
        data = self._terms.writer.control(opcode, payload)
        if self._session is not None:
            self._session.bytes_sent += len(data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        if self._opening is not None:
            self._opening.frames.append(data)
        else:
            self._transport.write(data)
