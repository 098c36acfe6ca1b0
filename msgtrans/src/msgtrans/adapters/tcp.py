"""MsgTrans over TCP (specification 2.1): packets back to back on a stream.

Reads go into one buffer per event loop, which all its connections share: a read is handled to the end before the next
begins, and what must outlive it is copied. An idle connection therefore keeps no buffer at all.
Not here: listening and connecting (`server`, `client`), TLS.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from msgtrans.codec import PacketDecoder
from msgtrans.config import Address
from msgtrans.errors import RemoteProtocolError, TransportConnectionError

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Callable

    from msgtrans.codec import CodecOptions
    from msgtrans.session import Session

READ_SIZE: Final = 64 * 1024
TURN: Final = 1024  # packets of one read after which the other connections come first

_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


class TcpConnection(asyncio.BufferedProtocol):
    """One TCP connection: the protocol of its transport, and the link of its session.

    `accept` is called with it once connected, and returns its session, or None to turn it away. nodelay, keepalive: as
    in `TcpServerConfig`; a keepalive of None leaves the socket as it is.
    """

    __slots__ = (
        "_accept",
        "_decoder",
        "_feeding",
        "_keepalive",
        "_kept",
        "_loop",
        "_nodelay",
        "_paused",
        "_session",
        "_transport",
        "_view",
        "peer_address",
        "write",
    )

    protocol = "tcp"

    def __init__(
        self,
        accept: Callable[[TcpConnection], Session | None],
        loop: asyncio.AbstractEventLoop,
        codec: CodecOptions,
        *,
        nodelay: bool = True,
        keepalive: int | None = None,
    ) -> None:
        view = _read_buffers.get(loop)
        if view is None:
            view = _read_buffers[loop] = memoryview(bytearray(READ_SIZE))
        self._accept = accept
        self._loop = loop
        self._decoder = PacketDecoder(codec)
        self._nodelay = nodelay
        self._keepalive = keepalive
        self._view = view
        self._session: Session | None = None
        self._kept = 0  # bytes of an incomplete packet that the endpoint knows of
        self._transport: asyncio.Transport
        self._paused = False  # the session wants no packets
        self._feeding = False  # the decoder has more, and goes on in the next turn
        self.peer_address: Address | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and ask for a session."""
        self._transport = cast("asyncio.Transport", transport)
        self.write: Callable[[bytes], None] = self._transport.write
        # The session queues for itself. And at 0, uvloop writes at once instead of at the end of the loop's turn.
        self._transport.set_write_buffer_limits(high=0)
        self.peer_address = _address(transport.get_extra_info("peername"))
        if self._keepalive is not None or not self._nodelay:
            self._set_options(transport.get_extra_info("socket"))
        self._session = self._accept(self)
        if self._session is None:
            self._transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next read goes: the buffer of the loop."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Handle everything that one read delivered."""
        session = self._session
        if session is not None:
            session.bytes_received += nbytes
            packets = self._decoder.feed(self._view[:nbytes])
            if packets:
                session.receive(packets)
                # A peer that fills reads faster than we empty them would keep the loop to itself.
                if nbytes == READ_SIZE or len(packets) > TURN:
                    self._yield_turn()
            if self._decoder.halted:
                self._halted(session)
            if self._kept or self._decoder.partial:
                self._tell_kept(session, self._decoder.kept)

    def eof_received(self) -> bool:
        """The peer sends no more; True keeps our side open while answers are on their way."""
        session = self._session
        if session is None:
            return False
        if self._decoder.partial and self._decoder.error is None:
            session.fail(RemoteProtocolError("the connection ended inside a packet"))
            return False
        return session.peer_finished()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        session, self._session = self._session, None
        if session is not None:
            self._tell_kept(session, 0)
            error = None
            if exc is not None:
                error = TransportConnectionError(f"the connection to {self.peer_address} broke: {exc}")
                error.__cause__ = exc
            session.lost(error)

    def pause_writing(self) -> None:
        """The system takes no more at the moment."""
        if self._session is not None:
            self._session.pause_writing()

    def resume_writing(self) -> None:
        """The system has taken everything."""
        if self._session is not None:
            self._session.resume_writing()

    # What the session calls

    @property
    def inside_packet(self) -> bool:
        """Whether the decoder waits for the rest of a packet, rather than we for our turn."""
        return self._decoder.partial and not self._decoder.more

    @property
    def local_address(self) -> Address | None:
        """Our own end."""
        return _address(self._transport.get_extra_info("sockname"))

    def buffered(self) -> int:
        """Bytes the system has not taken yet."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._decoder.more:
                self._feed_soon()
            elif not self._transport.is_closing():
                self._transport.resume_reading()

    def finish(self) -> None:
        """Send FIN after what is queued."""
        if not self._transport.is_closing():
            try:
                self._transport.write_eof()
            except OSError:  # the peer has reset the connection, and asyncio has not read that yet
                self._transport.abort()

    def close(self) -> None:
        """Close once everything is written."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Its own

    def _set_options(self, connection: TransportSocket) -> None:
        with suppress(OSError):  # gone already, on systems that tell so here; connection_lost follows
            if not self._nodelay:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            if self._keepalive is not None:
                keep_alive(connection, self._keepalive)

    def _halted(self, session: Session) -> None:
        """The decoder did not go on as usual."""
        decoder = self._decoder
        decoder.halted = decoder.more
        if decoder.bad_compression:
            session.count_bad_compression(decoder.bad_compression)
            decoder.bad_compression = 0
        if decoder.error is not None:
            session.fail(decoder.error)
        elif decoder.more:
            self._yield_turn()

    def _tell_kept(self, session: Session, kept: int) -> None:
        """Count what is kept with that of all sessions."""
        more, self._kept = kept - self._kept, kept
        session.count_kept(more)

    def _yield_turn(self) -> None:
        """Go on in the next turn of the loop: uvloop reads up to 32 times in one while a peer fills every read."""
        if not self._transport.is_closing():
            self._transport.pause_reading()
        if not self._paused:
            self._feed_soon()

    def _feed_soon(self) -> None:
        if not self._feeding:
            self._feeding = True
            self._loop.call_soon(self._feed_more)

    def _feed_more(self) -> None:
        self._feeding = False
        session = self._session
        if session is None or self._paused:
            return
        packets = self._decoder.feed(b"")
        if packets:
            session.receive(packets)
        if self._decoder.halted:
            self._halted(session)
        self._tell_kept(session, self._decoder.kept)
        if not (self._decoder.more or self._paused or self._transport.is_closing()):
            self._transport.resume_reading()


def keep_alive(connection: socket.socket | TransportSocket, seconds: int) -> None:
    """Let the system probe a peer that has been silent for `seconds`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)


def _address(name: object) -> Address | None:
    match name:
        case (str(host), int(port), *_):
            return Address(host, port)
        case _:
            return None
