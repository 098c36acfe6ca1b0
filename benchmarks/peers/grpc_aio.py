"""grpc.aio: unary calls of raw bytes on one channel, no protobuf."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE, METHOD = "bench.Echo", "Echo"


async def echo(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answer."""
    return request


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Listening(port)
    await server.stop(None)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """One channel."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/{METHOD}")

        async def request(payload: bytes) -> bytes:
            return await call(payload)

        yield [request] * MOST_IN_FLIGHT


if __name__ == "__main__":
    run(Program(serve, connect))
