"""The transports on which the same tests run: TCP and WebSocket, plain and inside TLS, and QUIC; with raw peers.

Not here: what is tested, and the raw peer of QUIC (`quic_peer`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import zlib
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from quic_peer import RawQuicPeer, first_flight

from msgtrans import TransportClient, TransportServer
from msgtrans.config import (
    NO_RETRY,
    QuicClientConfig,
    QuicServerConfig,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    WebSocketClientConfig,
    WebSocketServerConfig,
)
from msgtrans.tls import client_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from msgtrans.config import Address, SessionConfig

LIMIT = 30.0  # seconds after which a wait in a test has failed
TCP, TLS, WS, WSS, QUIC = ("tcp", "tls", "ws", "wss", "quic")
CARRIERS = (TCP, TLS, WS, WSS, QUIC)
LOOPS = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)  # of processes that tests start
SERVERS = {WS: WebSocketServerConfig, WSS: WebSocketServerConfig, QUIC: QuicServerConfig}
FRAME = 16 << 20  # bytes that a frame may have by default


class Certificates:
    """PEM files: a server's certificate for 127.0.0.1, ::1 and localhost, and the authority that signed it."""

    def __init__(self, folder: Path) -> None:
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.server_file, self.authority_file = str(folder / "server.pem"), str(folder / "authority.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(self.server_file)
        authority.cert_pem.write_to_path(self.authority_file)


class RawPeer:
    """A connection without a session, for bytes that no client of ours would send.

    `send` and `read` speak of packets as bytes, whatever frames the transport puts around them; `wire` says what these
    are, and `send_wire` sends bytes as they are.
    """

    framed = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.transport = writer.transport

    async def open(self, host: str) -> None:
        """Do what the transport needs before the first packet."""

    def wire(self, packets: bytes) -> bytes:
        """The bytes that carry these packets."""
        return packets

    def send(self, packets: bytes) -> None:
        self.writer.write(self.wire(packets))

    def send_wire(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, size: int) -> bytes:
        """So many bytes of packets."""
        return await asyncio.wait_for(self.reader.readexactly(size), LIMIT)

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes; a reset counts as an end."""
        data = b""
        with suppress(ConnectionResetError):
            while part := await asyncio.wait_for(self.reader.read(1 << 16), LIMIT):
                data += part
        return data

    def finish(self) -> None:
        """Say that nothing more will be sent, as politely as the transport can."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def vanish(self) -> None:
        """End the stream in the middle of whatever it carried, without a reset."""
        with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as connection:
            connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def abort(self) -> None:
        self.transport.abort()


class RawWebSocketPeer(RawPeer):
    """The same as a WebSocket client that masks its frames and answers nothing by itself."""

    framed = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.unread = bytearray()  # of packets
        self.closed: bytes | None = None  # what the server's Close frame said

    async def open(self, host: str) -> None:
        self.writer.write(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), LIMIT)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head

    def wire(self, packets: bytes) -> bytes:
        """A message for each whole packet, and one for what is none; in frames of at most 16 MiB."""
        frames = []
        for packet in split(packets):
            parts = [packet[at : at + FRAME] for at in range(0, len(packet), FRAME)]
            frames += [
                frame(0 if number else 2, part, last=number == len(parts) - 1) for number, part in enumerate(parts)
            ]
        return b"".join(frames)

    async def read(self, size: int) -> bytes:
        while len(self.unread) < size:
            message = await self._message()
            assert message is not None, "the server closed the connection"
            self.unread += message
        data = bytes(self.unread[:size])
        del self.unread[:size]
        return data

    async def read_to_end(self) -> bytes:
        with suppress(ConnectionResetError):
            while (message := await self._message()) is not None:
                self.unread += message
        return bytes(self.unread)

    def finish(self) -> None:
        self.writer.write(frame(8, struct.pack(">H", 1000)))

    async def next_frame(self) -> tuple[int, bool, bytes]:
        """Opcode, whether it is the last of its message, and payload; opcode -1 at the end of the stream."""
        try:
            first, size = await asyncio.wait_for(self.reader.readexactly(2), LIMIT)
            if size >= 126:
                wide = await asyncio.wait_for(self.reader.readexactly(2 if size == 126 else 8), LIMIT)
                size = int.from_bytes(wide)
            return first & 15, bool(first & 128), await asyncio.wait_for(self.reader.readexactly(size), LIMIT)
        except asyncio.IncompleteReadError:
            return -1, True, b""

    async def _message(self) -> bytes | None:
        while True:
            opcode, _, data = await self.next_frame()
            if opcode == 8:
                self.closed = data
                self.writer.write(frame(8, data))
            elif opcode < 0:
                return None
            elif opcode in {0, 2}:
                return data


def frame(opcode: int, data: bytes, *, last: bool = True, mask: bytes | None = None) -> bytes:
    """A frame as a client sends it; its mask is made of what it holds, so that frames can name test cases."""
    mask = zlib.crc32(bytes((opcode,)) + data).to_bytes(4) if mask is None else mask
    size = len(data)
    head = bytes((opcode | (128 if last else 0),))
    if size < 126:
        head += bytes((128 | size,))
    elif size < 1 << 16:
        head += struct.pack(">BH", 128 | 126, size)
    else:
        head += struct.pack(">BQ", 128 | 127, size)
    whole = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(data) ^ int.from_bytes(whole)).to_bytes(size)


def split(packets: bytes) -> list[bytes]:
    """Whole packets, and last what is none."""
    parts, at = [], 0
    while len(packets) - at >= 16 and packets[at] == 1:
        stop = at + 16 + int.from_bytes(packets[at + 8 : at + 10]) + int.from_bytes(packets[at + 10 : at + 14])
        if stop > len(packets):
            break
        parts.append(packets[at:stop])
        at = stop
    return [*parts, packets[at:]] if at < len(packets) else parts


class Carrier:
    """One transport: servers that listen on it, clients and raw peers that connect by it."""

    def __init__(self, name: str, certificates: Certificates | None) -> None:
        self.name = name
        self.certificates = certificates
        self.upgrades = name in {WS, WSS}
        self.framed = self.upgrades or name == QUIC  # each packet is told apart from the next before it is looked at
        self.tls = certificates and TlsClientConfig(ca_file=certificates.authority_file)

    def listener(self, **options: object) -> TcpServerConfig | WebSocketServerConfig | QuicServerConfig:
        """Options of a listener on a free port of this machine."""
        kind = SERVERS.get(self.name, TcpServerConfig)
        tls = self.certificates and TlsServerConfig(certificate_file=self.certificates.server_file)
        return kind(**{"bind_address": "127.0.0.1:0", "tls": tls} | options)

    def server(self, session: SessionConfig | None = None, **options: object) -> TransportServer:
        """A server with one such listener."""
        return TransportServer(listen=[self.listener()], session=session, **options)

    def address(self, server: TransportServer) -> Address:
        return server.addresses[0]

    def target(
        self, server: TransportServer, **options: object
    ) -> TcpClientConfig | WebSocketClientConfig | QuicClientConfig:
        """Options of a connection to that server, tried once."""
        common = {"tls": self.tls, "retry_config": NO_RETRY} | options
        if self.name == QUIC:
            return QuicClientConfig(target_address=str(self.address(server)), **common)
        if self.framed:
            return WebSocketClientConfig(target_url=f"{self.name}://{self.address(server)}/", **common)
        return TcpClientConfig(target_address=str(self.address(server)), **common)

    def client(
        self, server: TransportServer, session: SessionConfig | None = None, **options: object
    ) -> TransportClient:
        """A client of that server."""
        return TransportClient(self.target(server), session=session, **options)

    def many(self, count: int) -> int:
        """So many, or a tenth of it where each costs ten times as much."""
        return count // 10 if self.name == QUIC else count

    async def connect_and_say(self, server: TransportServer, said: bytes) -> asyncio.BaseTransport:
        """Say something instead of a handshake, or nothing, and return what to abort."""
        loop = asyncio.get_running_loop()
        if self.name == QUIC:
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=self.address(server)
            )
            transport.sendto(said or first_flight())
            return transport
        transport, _ = await loop.create_connection(asyncio.Protocol, *self.address(server))
        transport.write(said)
        return transport

    @asynccontextmanager
    async def raw(self, server: TransportServer | int, *, opened: bool = True) -> AsyncIterator[RawPeer]:
        """A raw connection to a server or port; not `opened`, its handshake is still to be done (that of TLS is)."""
        host, port = ("127.0.0.1", server) if isinstance(server, int) else self.address(server)
        if self.name == QUIC:
            async with RawQuicPeer.connected(host, port, self.certificates.authority_file) as quic_peer:
                yield quic_peer
            return
        context = None if self.tls is None else client_context(self.tls)
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            peer = (RawWebSocketPeer if self.framed else RawPeer)(reader, writer)
            if opened:
                await asyncio.wait_for(peer.open(f"{host}:{port}"), LIMIT)
            yield peer
        finally:
            writer.transport.abort()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
