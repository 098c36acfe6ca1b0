"""Light clients that wait to be told of a change, for `registry_push`: raw protocols that note when bytes came."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Sequence

Address = tuple[str, int]

#: Handshakes under way at the same time.
_TOGETHER = 200


class Watcher(asyncio.Protocol):
    """A connection that counts what it gets. `at` is when the latest bytes came, `lost` when it was closed.

    `until` is what the wanted bytes end with: what comes without it is the beginning of a longer answer.
    """

    def __init__(self, until: bytes) -> None:
        self.until = until
        self.at = 0.0
        self.taken = 0
        self.lost = False
        self.latest = b""
        self._waits: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.at = time.perf_counter()
        self.taken += len(data)
        self.latest = (self.latest + data)[-4096:]
        if self._waits is not None and self.until in data:
            self._waits.set_result(None)
            self._waits = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._waits is not None:
            self._waits.set_exception(exc or ConnectionError("closed by the node"))
            self._waits = None

    async def send(self, data: bytes) -> None:
        """Send, and wait for an answer."""
        told = self.told()
        self.transport.write(data)
        await told

    def told(self) -> asyncio.Future[None]:
        """Done with the next bytes that end in `until`."""
        self.latest = b""
        self._waits = asyncio.get_running_loop().create_future()
        return self._waits


def upgrade(path: str) -> bytes:
    """A WebSocket handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def text(message: object) -> bytes:
    """A masked text frame of less than 126 bytes; the mask is zero."""
    body = json.dumps(message).encode()
    return bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body


async def open_all(address: Address, paths: Sequence[str], first: Callable[[int], bytes | None]) -> list[Watcher]:
    """Open a WebSocket session for each path; `first` gives the message that session n begins with, if any.

    That of `/ws` is acknowledged, and waited for.
    """
    loop = asyncio.get_running_loop()

    async def one(number: int, path: str) -> Watcher:
        watcher = Watcher(b"\r\n\r\n")
        await loop.create_connection(lambda: watcher, *address)
        await watcher.send(upgrade(path))
        watcher.until = b"}"
        message = first(number)
        if message is not None and path == "/ws":
            await watcher.send(message)
        elif message is not None:
            watcher.transport.write(message)
        return watcher

    watchers: list[Watcher] = []
    for at in range(0, len(paths), _TOGETHER):
        chosen = list(enumerate(paths))[at : at + _TOGETHER]
        watchers += await asyncio.gather(*(one(number, path) for number, path in chosen))
    return watchers


async def open_polls(address: Address, count: int) -> list[Watcher]:
    """Open connections for long polls."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: Watcher(b"}"), *address))[1] for _ in range(count)]
