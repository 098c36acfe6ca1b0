"""What the tests of msgtrans share: both event loops, an echo server, a raw peer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import pytest

from msgtrans import Context, SessionConfig, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

try:
    import uvloop
except ImportError:
    uvloop = None

LIMIT = 10.0  # seconds after which a wait in a test has failed


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on both event loops."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if uvloop is not None:
        factories["uvloop"] = uvloop.new_event_loop
    return factories


class RawPeer:
    """A plain TCP connection, for bytes that no client of ours would send."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), LIMIT)

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes; a reset counts as an end."""
        data = b""
        try:
            while part := await asyncio.wait_for(self.reader.read(1 << 16), LIMIT):
                data += part
        except ConnectionResetError:
            pass
        return data

    def abort(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def raw_peer(port: int) -> AsyncIterator[RawPeer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawPeer(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
def connect_raw() -> Callable[[int], object]:
    """Open a raw connection to a port of this machine: `async with connect_raw(port) as peer`."""
    return raw_peer


class Until(Protocol):
    """Wait until a condition holds; fails after `LIMIT` seconds."""

    async def __call__(self, condition: Callable[[], object]) -> None: ...


@pytest.fixture
def until() -> Until:
    """`await until(lambda: ...)` lets the loop turn until the condition holds."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110 - conditions of all kinds, most without an event
                await asyncio.sleep(0)

    return wait


@pytest.fixture
async def server() -> AsyncIterator[TransportServer]:
    """A server that echoes requests, with default settings."""
    server = TransportServer(tcp="127.0.0.1:0")

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    async with server:
        yield server


@pytest.fixture
async def client(server: TransportServer) -> AsyncIterator[TransportClient]:
    """A client connected to `server`."""
    async with TransportClient(f"tcp://{server.tcp_address}") as client:
        yield client


@pytest.fixture
def hasty() -> SessionConfig:
    """Settings whose timeouts end a test soon."""
    return SessionConfig(graceful_timeout=0.3, write_timeout=0.2)
