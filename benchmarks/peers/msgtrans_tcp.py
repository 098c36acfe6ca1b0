"""MsgTrans over TCP, with the words that its README gives to users and nothing else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgtrans import Context, TransportClient, TransportServer
from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    server = TransportServer(tcp="127.0.0.1:0")

    @server.on_request
    def echo(ctx: Context) -> bytes:
        return ctx.payload

    async with server:
        yield Listening(server.addresses[0].port)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """One connection."""
    async with TransportClient(f"tcp://127.0.0.1:{port}") as client:

        async def request(payload: bytes) -> bytes:
            return (await client.request(payload)).payload

        yield [request] * MOST_IN_FLIGHT


if __name__ == "__main__":
    run(Program(serve, connect))
