"""aiohttp over WebSocket: an echo of binary messages without compression; a connection for each that is under way."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back."""
    response = web.WebSocketResponse(compress=False)
    await response.prepare(request)
    async for message in response:
        await response.send_bytes(message.data)
    return response


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Listening(runner.addresses[0][1])
    await runner.cleanup()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """A connection for each."""

    def asking(connection: aiohttp.ClientWebSocketResponse) -> Request:
        async def request(payload: bytes) -> bytes:
            await connection.send_bytes(payload)
            return await connection.receive_bytes()

        return request

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MOST_IN_FLIGHT)) as session:
        url = f"http://127.0.0.1:{port}/"
        opened = [await session.ws_connect(url) for _ in range(MOST_IN_FLIGHT)]
        yield [asking(connection) for connection in opened]
        for connection in opened:
            await connection.close()


if __name__ == "__main__":
    run(Program(serve, connect))
