"""A node with its doors on a port of its own, in the test's event loop, and a raw connection to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import structlog
from doors import Wire
from ws import Socket, dialled

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.http.limits import HttpLimits
from artemis.server.websocket.limits import WebSocketLimits


@asynccontextmanager
async def serving(
    limits: HttpLimits | None = None, websocket_limits: WebSocketLimits | None = None, **options: object
) -> AsyncIterator[NodeServer]:
    """A node server with these options, region r1, zone z1; peers get little time to say goodbye."""
    config = ServeConfig(**{"port": 0, "region": "r1", "zone": "z1", **options})
    hasty = WebSocketLimits(close_timeout=0.2, drain=0.1)
    server = NodeServer(config, structlog.get_logger(), limits=limits, websocket_limits=websocket_limits or hasty)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def start() -> Callable[..., object]:
    """`async with start(**options) as server`."""
    return serving


@pytest.fixture
async def server() -> AsyncIterator[NodeServer]:
    """A node server with the default options."""
    async with serving() as running:
        yield running


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[NodeServer], object]]:
    """`wire = await connect(server)`; closed at the end of the test."""
    wires: list[Wire] = []

    async def open_wire(server: NodeServer) -> Wire:
        wire = Wire(*await asyncio.open_connection(*server.address))
        wires.append(wire)
        return wire

    yield open_wire
    for wire in wires:
        wire.writer.close()
        try:
            await wire.writer.wait_closed()
        except OSError:
            continue


@pytest.fixture
async def wire(server: NodeServer, connect: Callable[..., object]) -> Wire:
    """A raw connection to `server`."""
    return await connect(server)  # type: ignore[no-any-return, misc]


@pytest.fixture
async def dial() -> AsyncIterator[Callable[..., object]]:
    """`socket = await dial(server, path)`: a WebSocket session; closed at the end of the test."""
    sockets: list[Socket] = []

    async def open_socket(server: NodeServer, path: str, *fields: str, early: bytes = b"") -> Socket:
        sockets.append(await dialled(server, path, *fields, early=early))
        return sockets[-1]

    yield open_socket
    for socket in sockets:
        socket.writer.transport.abort()
        try:
            await socket.writer.wait_closed()
        except OSError:
            continue
