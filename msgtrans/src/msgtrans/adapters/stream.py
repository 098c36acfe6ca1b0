"""Packets back to back on a byte stream (specification 2.1): TCP, TLS, Unix sockets, and what plug-ins bring.

Reads go into a buffer that all connections share: a read is handled to the end before the next begins, and what must
outlive it is copied. An idle connection therefore keeps no buffer at all.
Not here: that buffer (`buffers`), what sockets are told (`telling`), listening and connecting (`adapters.tcp`).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, cast

from msgtrans.adapters.buffers import READ_SIZE, buffer_pool, read_buffer
from msgtrans.adapters.telling import keep_alive, limit_unsent, transport_address
from msgtrans.codec import PacketDecoder
from msgtrans.errors import RemoteProtocolError, TransportConnectionError
from msgtrans.tls import refusal

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

    from msgtrans.config import Address, SessionConfig
    from msgtrans.errors import TransportError
    from msgtrans.link import HttpRequest
    from msgtrans.packet import Packet
    from msgtrans.session import Session
    from msgtrans.transport import Terms

TURN: Final = 1024  # packets of one read after which the other connections come first


class Decoder(Protocol):
    """Makes packets of what a connection reads: `codec.PacketDecoder`, whose docstring says what its members mean."""

    error: TransportError | None
    more: bool
    halted: bool
    bad_compression: int

    @property
    def partial(self) -> bool:
        """Whether the bytes fed so far end inside a packet."""
        ...

    @property
    def kept(self) -> int:
        """Bytes it keeps of what is not a whole packet yet."""
        ...

    def feed(self, data: bytes | memoryview) -> list[Packet]:
        """The packets that are now complete."""
        ...

    def release(self) -> None:
        """The connection is gone: keep nothing."""
        ...


class StreamConnection(asyncio.BufferedProtocol):
    """One connection that is a byte stream: the protocol of its transport, and the link of its session.

    Made per connection, by whoever listens or connects. terms: what it has in common with others. read_size: bytes
    taken from the system at once, at most 64 KiB. nodelay, keepalive, notsent_lowat: as in `TcpServerConfig`; a nodelay
    of True and None for the others leave the socket as it is. decoder: default one of packets back to back.
    """

    __slots__ = (
        "_counted",
        "_decoder",
        "_feeding",
        "_kept",
        "_paused",
        "_session",
        "_socket_options",
        "_terms",
        "_transport",
        "_view",
        "peer_address",
    )

    def __init__(
        self,
        terms: Terms,
        *,
        read_size: int = READ_SIZE,
        nodelay: bool = True,
        keepalive: int | None = None,
        notsent_lowat: int | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        self._terms = terms
        if decoder is None:
            buffers = buffer_pool(terms.loop) if terms.session.optimizations.buffer_pool else None
            decoder = PacketDecoder(terms.taken, buffers=buffers, recognition=terms.session.optimizations.recognition)
        self._decoder: Decoder = decoder
        # None where the socket stays as it is. One slot for all of them: idle connections are many.
        asked = (nodelay, keepalive, notsent_lowat)
        self._socket_options = None if asked == (True, None, None) else asked
        self._view = read_buffer(terms.loop, read_size)
        self._session: Session | None = None
        self._kept = 0  # bytes of an incomplete packet that the endpoint knows of
        self._transport: asyncio.Transport
        self._paused = False  # the session wants no packets
        self._feeding = False  # the decoder has more, and goes on in the next turn
        self._counted = False  # among the connections of its terms
        self.peer_address: Address | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and ask for a session."""
        self._attach(transport)
        self._counted = self._terms.take()
        if self._counted:
            self._session = self._terms.host.admit(self)
        if self._session is None:
            self._transport.abort()  # inside TLS, a peer could take half a minute to say goodbye

    def _attach(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # The session queues for itself. And at 0, uvloop writes at once instead of at the end of the loop's turn.
        # Inside TLS, 0 would mean "paused" even with nothing left to write: both loops compare with >= there.
        self._transport.set_write_buffer_limits(high=0 if transport.get_extra_info("ssl_object") is None else 1, low=0)
        self.peer_address = transport_address(transport, "peername")
        if self._socket_options is not None:
            self._set_options(*self._socket_options)

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
                if nbytes == len(self._view) or len(packets) > TURN:
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
        self._feed_rest(session)
        if self._decoder.partial and self._decoder.error is None:
            session.fail(RemoteProtocolError("the connection ended inside a packet"))
            return False
        # Inside TLS there is no half-closing: the transport closes whatever we say.
        return session.peer_finished() and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._counted:
            self._counted = False
            self._terms.give_back()
        session, self._session = self._session, None
        if session is not None:
            self._tell_kept(session, 0)
            error = None
            if exc is not None:
                error = TransportConnectionError(f"the connection to {self.peer_address} broke: {refusal(exc) or exc}")
                error.__cause__ = exc
            elif session.is_open:
                self._ended_unsaid(session)
            session.lost(error)
        self._decoder.release()
        # Transports inside TLS keep referring to us: a circle, and buffers that would wait for the garbage collector.
        self._transport = _GONE

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
    def protocol(self) -> str:
        """The transport's name."""
        return self._terms.protocol

    @property
    def config(self) -> SessionConfig:
        """What holds for the session."""
        return self._terms.session

    @property
    def http_request(self) -> HttpRequest | None:
        """None: there was none."""
        return None

    @property
    def inside_packet(self) -> bool:
        """Whether the decoder waits for the rest of a packet, rather than we for our turn."""
        return self._decoder.partial and not self._decoder.more

    @property
    def local_address(self) -> Address | None:
        """Our own end."""
        return transport_address(self._transport, "sockname")

    @property
    def kept(self) -> int:
        """Bytes of an incomplete packet."""
        return self._kept

    def get_extra_info(self, name: str) -> object:
        """What asyncio's transport knows by that name, as "ssl_object" or "socket"; None without it."""
        return self._transport.get_extra_info(name)

    def write(self, packets: list[bytes]) -> None:
        """Send packets, one behind the other in a single write."""
        data = packets[0] if len(packets) == 1 else b"".join(packets)
        if self._session is not None:
            self._session.bytes_sent += len(data)
        self._transport.write(data)

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
        """Send FIN after what is queued; inside TLS, close."""
        if not self._transport.is_closing():
            try:
                if self._transport.can_write_eof():
                    self._transport.write_eof()
                else:
                    self.close()
            except OSError:  # the peer has reset the connection, and asyncio has not read that yet
                self._transport.abort()

    def close(self) -> None:
        """Close once everything is written."""
        if not self._transport.is_closing():  # the second time, asyncio's TLS transport would let go of its connection
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Its own

    def _feed_rest(self, session: Session) -> None:
        """Nothing more comes: take what the decoder has left for later turns. Only inside TLS there can be any."""
        while self._decoder.more and self._decoder.error is None:
            packets = self._decoder.feed(b"")
            if packets:
                session.receive(packets)
        if self._decoder.halted:
            self._halted(session)

    def _ended_unsaid(self, session: Session) -> None:
        """Inside TLS, uvloop tells of no end of file when the peer did not close TLS first."""
        self._feed_rest(session)
        if self._decoder.partial and self._decoder.error is None:
            session.fail(RemoteProtocolError("the connection ended inside a packet"))
        elif session.is_open and session.holding:
            session.peer_finished()

    def _set_options(self, nodelay: bool, keepalive: int | None, notsent_lowat: int | None) -> None:
        with suppress(OSError):  # gone already, on systems that tell so here; connection_lost follows
            connection: TransportSocket = self._transport.get_extra_info("socket")
            if not nodelay:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            if keepalive is not None:
                keep_alive(connection, keepalive)
            if notsent_lowat is not None:
                limit_unsent(connection, notsent_lowat)

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
            self._terms.loop.call_soon(self._feed_more)

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


class _GoneTransport(asyncio.Transport):
    """The transport of a lost connection: does nothing."""

    def is_closing(self) -> bool:
        """It is."""
        return True

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def can_write_eof(self) -> bool:
        """There is nothing to end."""
        return False

    def write(self, data: object) -> None:
        """Nothing."""

    def pause_reading(self) -> None:
        """Nothing."""

    def resume_reading(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Nothing."""


_GONE: Final = _GoneTransport()
