"""A raw WebSocket connection to a node: frames as they go over the wire, written by hand."""

import asyncio
import json
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from artemis.server.app import NodeServer
from artemis.server.websocket.limits import WebSocketLimits

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

HEARTBEAT = "/ws/registry/heartbeat"
CHANGES = "/ws/discovery/instance-change"
ALL_CHANGES = "/ws/discovery/all-instance-change"


class Dial(Protocol):
    """The fixture `dial`: opens a session that is closed at the end of the test."""

    async def __call__(self, server: NodeServer, path: str, *fields: str, early: bytes = b"") -> "Socket":
        """Open one; `early` is sent together with the request."""
        ...


class Start(Protocol):
    """The fixture `start`: a node with these options, which stops at the end of the block."""

    def __call__(
        self, *, websocket_limits: WebSocketLimits | None = None, **options: object
    ) -> AbstractAsyncContextManager[NodeServer]:
        """`async with start(...) as server`."""
        ...


class Socket:
    """A client of one connection that has been upgraded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = ""

    async def send(self, *payloads: bytes | str | object) -> None:
        """Send messages: bytes and texts as they are, everything else as JSON."""
        self.writer.write(b"".join(frame(TEXT, _bytes(payload)) for payload in payloads))
        await self.writer.drain()

    async def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Frames of a server are whole and not masked."""
        first, size = await self._read(2)
        assert first & 0x80
        assert size < 128
        if size == 126:
            size = int.from_bytes(await self._read(2))
        elif size == 127:
            size = int.from_bytes(await self._read(8))
        return first & 0x0F, await self._read(size)

    async def text(self) -> bytes:
        """The next message; nothing else may come before it."""
        opcode, payload = await self.frame()
        assert opcode == TEXT, (opcode, payload)
        return payload

    async def json(self) -> dict[str, object]:
        """The next message, which is a JSON object."""
        decoded: dict[str, object] = json.loads(await self.text())
        return decoded

    async def closing(self) -> tuple[int, str]:
        """The Close frame that comes next: code and reason."""
        opcode, payload = await self.frame()
        assert opcode == CLOSE, (opcode, payload)
        return int.from_bytes(payload[:2]), payload[2:].decode()

    async def ended(self) -> bytes:
        """What still comes until the connection ends."""
        try:
            return await asyncio.wait_for(self.reader.read(), 30)
        except ConnectionResetError:
            return b""

    def stop_reading(self) -> None:
        """Take nothing more from the system, so that its buffers fill."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def read_on(self) -> None:
        """Take what came meanwhile, and what comes."""
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()

    async def _read(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 30)


def frame(opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0, mask: bytes | None = None) -> bytes:
    """A frame of a client. `mask`: four bytes; empty for none."""
    mask = b"mask" if mask is None else mask
    size = len(payload)
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    bit = 0x80 if mask else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += struct.pack(">BH", bit | 126, size)
    else:
        head += struct.pack(">BQ", bit | 127, size)
    return head + mask + (masked(payload, mask) if mask else payload)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Apply a mask."""
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return (int.from_bytes(payload) ^ key).to_bytes(size)


def upgrade(path: str, *fields: str, version: int = 13, key: str = "AAAAAAAAAAAAAAAAAAAAAA==") -> bytes:
    """The bytes of a request for WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        "Connection: keep-alive, Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Version: {version}",
        f"Sec-WebSocket-Key: {key}",
        *fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def dialled(server: NodeServer, path: str, *fields: str, early: bytes = b"") -> Socket:
    """An upgraded connection; `early` is sent together with the request."""
    socket = Socket(*await asyncio.open_connection(*server.address))
    await socket.raw(upgrade(path, *fields) + early)
    socket.head = (await asyncio.wait_for(socket.reader.readuntil(b"\r\n\r\n"), 30)).decode()
    assert socket.head.startswith("HTTP/1.1 101 "), socket.head
    return socket


async def until(condition: Callable[[], bool]) -> None:
    """Give the event loop turns until something holds."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is state of the node, which nobody announces
            await asyncio.sleep(0.001)


def _bytes(payload: object) -> bytes:
    if isinstance(payload, bytes):
        return payload
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()
