"""aiohttp over HTTP/1.1: a POST whose body is the answer's; keep-alive, a connection for each that is under way."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def echo(request: web.Request) -> web.Response:
    """Answer."""
    return web.Response(body=await request.read())


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    application = web.Application()
    application.router.add_post("/", echo)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Listening(runner.addresses[0][1])
    await runner.cleanup()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """A pool of connections."""
    url = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MOST_IN_FLIGHT)) as session:

        async def request(payload: bytes) -> bytes:
            async with session.post(url, data=payload) as response:
                return await response.read()

        yield [request] * MOST_IN_FLIGHT


if __name__ == "__main__":
    run(Program(serve, connect))
