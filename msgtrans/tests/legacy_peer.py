"""A peer that behaves as the Rust crate 1.0.0 does over TCP and WebSocket, defects included (specification 2, 8).

- 8.1: on TCP it reads 8192 bytes at a time, takes the first packet of a read and drops the rest; what is cut short ends
  the connection as if the peer had closed it.
- 8.2: what comes and what it sends are events on a bus with 16 places on TCP and 1024 on WebSocket; a dispatcher that
  falls behind ends for good, without a sign, and with it all handling, its close included.
- 8.3: what comes before somebody listens to the bus is lost.
- 8.4: one handshake that fails ends the listener.
- 2.2: it answers no Close frame, and sends its own without a status code; no path, no subprotocol, no pings.

It answers requests with their payload and biz_type 0. Where the original is slow by chance, this one is by design:
`step` seconds per event, `deaf` seconds until somebody listens.
Not here: QUIC, and what is tested.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from msgtrans import CodecOptions, Packet, RemoteProtocolError, decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

READ = 8192
LENIENT = CodecOptions(frame_policy="lenient")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Bus:
    """A broadcast channel with one receiver, and the task that is this receiver: its dispatcher."""

    def __init__(self, places: int, step: float, handle: Callable[[Packet | None], None]) -> None:
        self.alive = True
        self._places, self._step, self._handle = places, step, handle
        self._events: deque[tuple[str, Packet | None]] = deque()
        self._subscribed = self._lagged = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def subscribe(self) -> None:
        """From now on events are kept."""
        self._subscribed = True

    def publish(self, kind: str, packet: Packet | None = None) -> None:
        """kind: "received", "sent" or "closed"."""
        if not self._subscribed:
            return
        self._lagged |= len(self._events) >= self._places
        self._events.append((kind, packet))
        if self._timer is None and self.alive:
            self._timer = self._loop.call_later(self._step, self._dispatch)

    def _dispatch(self) -> None:
        self._timer = None
        if self._lagged:
            self.alive = False
            return
        kind, packet = self._events.popleft()
        if kind != "sent":
            self._handle(packet)
        if self._events and self._timer is None:
            self._timer = self._loop.call_later(self._step, self._dispatch)


class LegacyPeer(asyncio.BufferedProtocol):
    """One connection over TCP, of a server or a client.

    heard: what reached its handlers, in order. answers: to its own requests. saw_close: whether they heard of the end.
    lost: packets read that nobody listened for. cut: whether a packet that did not come in one read ended it.
    """

    places = 16

    def __init__(self, *, deaf: float = 0.0, step: float = 0.0) -> None:
        self.heard: list[Packet] = []
        self.answers: list[Packet] = []
        self.reads: list[int] = []
        self.saw_close = self.gone = self.cut = False
        self.deaf = deaf
        self.bus = Bus(self.places, step, self._handle)
        self._buffer = bytearray(READ)
        self.transport: asyncio.Transport

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._listen_later()

    def _listen_later(self) -> None:
        if self.deaf:
            asyncio.get_running_loop().call_later(self.deaf, self.bus.subscribe)
        else:
            self.bus.subscribe()

    def get_buffer(self, sizehint: int) -> bytearray:
        self._buffer = bytearray(READ)  # a fresh one for each read: nothing is kept
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.reads.append(nbytes)
        self.read(bytes(self._buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self.bus.publish("closed")

    # What it does

    def read(self, data: bytes) -> None:
        """Take the first packet of a read."""
        try:
            packet = decode(data, LENIENT)
        except RemoteProtocolError:
            self.cut = True
            self.transport.close()
            return
        self.bus.publish("received", packet)

    def send(self, packet: Packet) -> None:
        """Write one packet; that is an event too."""
        self.transport.write(self.wire(encode(packet)))
        self.bus.publish("sent", packet)

    def wire(self, packet: bytes) -> bytes:
        return packet

    def disconnect(self) -> None:
        """Drop the socket."""
        self.transport.close()

    def _handle(self, packet: Packet | None) -> None:
        if packet is None:
            self.saw_close = True
        elif packet.packet_type == 2:
            self.answers.append(packet)
        else:
            self.heard.append(packet)
            if packet.packet_type == 1:
                self.send(Packet(2, packet.message_id, packet.payload))


class LegacyWebSocketPeer(LegacyPeer):
    """One connection over WebSocket: of a server, or of a client to `host`.

    head: the other side's half of the handshake. on_failure: called when the handshake is none.
    """

    places = 1024

    def __init__(
        self,
        *,
        deaf: float = 0.0,
        step: float = 0.0,
        host: str | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(deaf=deaf, step=step)
        self.head = b""
        self._host, self._on_failure = host, on_failure
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._host is not None:
            self.transport.write(
                b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
                % (self._host.encode(), base64.b64encode(os.urandom(16)))
            )

    def read(self, data: bytes) -> None:
        """Here it keeps what is cut short, as the library under it does."""
        self._rest += data
        if not self.head:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return
            self.head, self._rest = head, rest
            if not self._shake_hands():
                return
        while (frame := self._next_frame()) is not None and not self.transport.is_closing():
            self._take(*frame)

    def _shake_hands(self) -> bool:
        if self._host is None:
            lines = dict(line.split(b": ", 1) for line in self.head.split(b"\r\n")[1:])
            key = {name.lower(): value for name, value in lines.items()}.get(b"sec-websocket-key")
            if key is None:
                self.transport.close()
                if self._on_failure is not None:
                    self._on_failure()
                return False
            accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
            )
        elif not self.head.startswith(b"HTTP/1.1 101") or b"sec-websocket-protocol" in self.head.lower():
            self.transport.close()  # a subprotocol that was not asked for is refused
            return False
        self._listen_later()
        return True

    def _next_frame(self) -> tuple[int, bytes] | None:
        data = self._rest
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        mask = b"\0\0\0\0"
        if data[1] & 0x80:
            mask, at = data[at : at + 4], at + 4
        if len(data) < at + size:
            return None
        self._rest = data[at + size :]
        return data[0] & 0x0F, masked(data[at : at + size], mask)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self.transport.close()  # without a Close frame of its own
        elif opcode == PING:
            self.transport.write(self.frame(PONG, payload))
        elif opcode in {TEXT, BINARY}:
            try:
                packet = decode(payload, LENIENT) if opcode == BINARY else Packet(0, 0, payload)
            except RemoteProtocolError:
                packet = Packet(0, 0, payload)
            self.bus.publish("received", packet)

    def wire(self, packet: bytes) -> bytes:
        return self.frame(BINARY, packet)

    def frame(self, opcode: int, payload: bytes) -> bytes:
        """One frame, masked by a client."""
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        if size > 0xFFFF:
            length = b"\x7f" + size.to_bytes(8, "big")
        if self._host is None:
            return bytes([0x80 | opcode]) + length + payload
        mask = b"\1\2\3\4"
        return bytes([0x80 | opcode, length[0] | 0x80]) + length[1:] + mask + masked(payload, mask)

    def disconnect(self) -> None:
        """A Close frame without a code, and the socket is dropped."""
        self.transport.write(self.frame(CLOSE, b""))
        self.transport.close()


class LegacyServer:
    """A listener of such peers. address: "host:port"; peers: in the order in which they came."""

    def __init__(self, kind: type[LegacyPeer], **options: float) -> None:
        self.peers: list[LegacyPeer] = []
        self.address = ""
        self._kind, self._options = kind, options
        self._listener: asyncio.Server

    async def start(self) -> None:
        self._listener = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    def _accept(self) -> LegacyPeer:
        if issubclass(self._kind, LegacyWebSocketPeer):
            peer: LegacyPeer = self._kind(on_failure=self.stop, **self._options)
        else:
            peer = self._kind(**self._options)
        self.peers.append(peer)
        return peer

    def stop(self) -> None:
        """Accept nobody any more."""
        self._listener.close()


@asynccontextmanager
async def legacy_server(kind: type[LegacyPeer] = LegacyPeer, **options: float) -> AsyncIterator[LegacyServer]:
    """A server of such peers while the block runs. options: `deaf` and `step`."""
    server = LegacyServer(kind, **options)
    await server.start()
    try:
        yield server
    finally:
        server.stop()
        for peer in server.peers:
            peer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def legacy_client(kind: type[LegacyPeer], host: str, port: int, **options: float) -> AsyncIterator[LegacyPeer]:
    """Such a peer, connected to a server while the block runs."""

    def make() -> LegacyPeer:
        if issubclass(kind, LegacyWebSocketPeer):
            return kind(host=f"{host}:{port}", **options)
        return kind(**options)

    transport, peer = await asyncio.get_running_loop().create_connection(make, host, port)
    try:
        yield peer
    finally:
        transport.abort()
        await asyncio.sleep(0)


def masked(data: bytes, mask: bytes) -> bytes:
    """The same bytes, masked or unmasked."""
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
