"""websockets: an echo of binary messages without compression; a connection for each request that is under way."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    async with listen(echo, "127.0.0.1", 0, compression=None) as server:
        yield Listening(next(iter(server.sockets)).getsockname()[1])


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """A connection for each."""

    def asking(connection: ClientConnection) -> Request:
        async def request(payload: bytes) -> bytes:
            await connection.send(payload)
            return await connection.recv(decode=False)

        return request

    async with AsyncExitStack() as all_of:
        url = f"ws://127.0.0.1:{port}/"
        opened = [
            await all_of.enter_async_context(open_websocket(url, compression=None)) for _ in range(MOST_IN_FLIGHT)
        ]
        yield [asking(connection) for connection in opened]


if __name__ == "__main__":
    run(Program(serve, connect))
