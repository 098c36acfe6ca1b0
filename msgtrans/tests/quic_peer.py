"""A QUIC connection without a session, for what no client of ours would do.

It is the library's state machine, driven by hand: `send` and `read` speak of packets as bytes, in frames on stream 0;
`quic` is there for all else. As our clients do, it sends the first byte of its first frame ahead, with `hello`.
Not here: what is tested.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING

from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIMIT = 30.0  # seconds after which a wait in a test has failed
ACKNOWLEDGEMENT = 120  # bytes of a datagram that hardly holds anything else


class RawQuicPeer:
    """A client. closed: how the connection ended, None while it has not. streams: what came on each, ended: which did.

    Stands in for the raw peers of the other carriers, whose `transport` and `writer` it has as far as tests use them.
    """

    framed = True

    def __init__(self, host: str, port: int, configuration: QuicConfiguration) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = (host, port)
        self.quic = QuicConnection(configuration=configuration)
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, port))
        self.transport = self.writer = self
        self.established = False
        self.closed: events.ConnectionTerminated | None = None
        self.streams: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.seen: list[events.QuicEvent] = []
        self.unread = bytearray()  # of packets
        self._framed = 0  # bytes of stream 0 that are in there
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._reading = False
        self._deaf = False
        self._hello = False
        self.reader = _UntilTheEnd(self)

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, host: str, port: int, authority_file: str | None = None, *, hello: bool = True, **options: object
    ) -> AsyncIterator[RawQuicPeer]:
        """Connected while the block runs. options: of the library's configuration."""
        configuration = QuicConfiguration(server_name="localhost", **options)
        configuration.cafile = authority_file
        if authority_file is None:
            configuration.verify_mode = ssl.CERT_NONE
        peer = cls(host, port, configuration)
        try:
            await peer.open(hello=hello)
            yield peer
        finally:
            peer.abort()

    async def open(self, *, hello: bool = True) -> None:
        """Do the handshake."""
        self._reading = True
        self.loop.add_reader(self.socket.fileno(), self._readable)
        self.quic.connect(self.address, monotonic())
        self.transmit()
        await self.until(lambda: self.established or self.closed)
        assert self.established, self.closed
        if hello:
            self.send_stream(0, b"\0")
            self._hello = True

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that came to make a condition hold."""
        async with asyncio.timeout(LIMIT):
            while not condition():
                self._news.clear()
                await self._news.wait()

    # Packets on stream 0

    def wire(self, packets: bytes) -> bytes:
        """Each packet behind its length, and what is none behind its own."""
        from carriers import split

        return b"".join(len(part).to_bytes(4) + part for part in split(packets))

    def send(self, packets: bytes) -> None:
        self.send_wire(self.wire(packets))

    def send_wire(self, data: bytes) -> None:
        if self._hello and data:
            assert data.startswith(b"\0")
            self._hello, data = False, data[1:]
        self.send_stream(0, data)

    def send_stream(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes on a stream."""
        if self.closed is None:
            self.quic.send_stream_data(stream_id, data, end)
            self.transmit()

    async def read(self, size: int) -> bytes:
        """So many bytes of packets."""
        await self.until(lambda: len(self.unread) >= size or self.closed)
        assert len(self.unread) >= size, f"the server closed the connection: {self.closed}"
        data = bytes(self.unread[:size])
        del self.unread[:size]
        return data

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes."""
        await self.until(lambda: self.closed)
        return bytes(self.unread)

    async def drain(self) -> None:
        """Wait until the other side has everything."""
        await self.until(lambda: not (self.quic.get_send_buffer_size() or self.quic._core.bytes_in_flight))

    # Its end

    def finish(self) -> None:
        """Say that nothing more will be sent, as our clients do: everything that was sent has arrived before."""
        if self.quic.get_send_buffer_size() or self.quic._core.bytes_in_flight:
            self.loop.call_later(0.001, self.finish)
        else:
            self.close(0)

    def vanish(self) -> None:
        """End the stream in the middle of whatever it carried."""
        self.send_stream(0, b"", end=True)

    def reset(self) -> None:
        """End the connection for a reason of the transport."""
        self.close(1, frame_type=0)

    def close(self, code: int, reason: str = "", *, frame_type: int | None = None) -> None:
        """Close the connection with that code, an application's unless a frame is named."""
        if self.closed is None:
            self.quic.close(error_code=code, frame_type=frame_type, reason_phrase=reason)
            self.transmit()
            self.closed = events.ConnectionTerminated(code, frame_type, reason)
            self._news.set()

    def abort(self) -> None:
        """Drop the connection, and tell the other side."""
        self.close(1, "dropped")
        self.disappear()

    def disappear(self) -> None:
        """Be gone without a word."""
        self.closed = self.closed or events.ConnectionTerminated(0, None, "gone")
        self._news.set()
        if self._reading:
            self._reading = False
            self.loop.remove_reader(self.socket.fileno())
        self.socket.close()
        if self._timer is not None:
            self._timer.cancel()

    # Datagrams

    def pause_reading(self) -> None:
        """Lose every datagram that can have more in it than acknowledgements: what is sent can go on leaving."""
        self._deaf = True

    def resume_reading(self) -> None:
        self._deaf = False

    def transmit(self) -> None:
        """Send what is due, and set the timer."""
        now = monotonic()
        for data, _ in self.quic.datagrams_to_send(now):
            try:
                self.socket.send(data)
            except OSError:  # lost, as datagrams are
                continue
        at = self.quic.get_timer()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = self.loop.call_later(max(at - now, 0.001), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.socket.fileno() < 0:
            return
        self.quic.handle_timer(monotonic())
        self._take_events()
        self.transmit()

    def _readable(self) -> None:
        datagrams = []
        for _ in range(64):
            try:
                datagrams.append(self.socket.recv(9216))
            except OSError:
                break
        if self._deaf:
            datagrams = [data for data in datagrams if len(data) <= ACKNOWLEDGEMENT]
        if datagrams:
            self.quic.receive_many_datagrams(datagrams, self.address, monotonic())
            self._take_events()
            self.transmit()

    def _take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self.streams.setdefault(event.stream_id, bytearray()).extend(event.data)
                if event.end_stream:
                    self.ended.add(event.stream_id)
            elif isinstance(event, events.HandshakeCompleted):
                self.established = True
            else:
                self.seen.append(event)
        frames = self.streams.get(0, b"")
        while len(frames) - self._framed >= 4:
            stop = self._framed + 4 + int.from_bytes(frames[self._framed : self._framed + 4])
            if stop > len(frames):
                break
            self.unread += frames[self._framed + 4 : stop]
            self._framed = stop
        if self._framed > 1 << 16:
            del frames[: self._framed]
            self._framed = 0
        if self.closed is None:
            self.closed = self.quic._close_event
        self._news.set()


def first_flight() -> bytes:
    """The datagram that begins a connection, of a client that says nothing more."""
    quic = QuicConnection(configuration=QuicConfiguration(server_name="localhost"))
    quic.connect(("127.0.0.1", 1), monotonic())
    return quic.datagrams_to_send(monotonic())[0][0]


class _UntilTheEnd:
    """What `RawPeer.read_to_end` reads from: nothing, once the connection is over."""

    def __init__(self, peer: RawQuicPeer) -> None:
        self.peer = peer

    async def read(self, size: int) -> bytes:
        await self.peer.until(lambda: self.peer.closed)
        return b""
