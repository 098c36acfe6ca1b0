"""pyzmq's asyncio sockets: a ROUTER echoes, a DEALER asks with an id in a frame of its own; one connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import zmq
import zmq.asyncio

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def echo(router: zmq.asyncio.Socket) -> None:
    """Send every message back."""
    while True:
        await router.send_multipart(await router.recv_multipart())


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    router = zmq.asyncio.Context.instance().socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    task = asyncio.create_task(echo(router))
    yield Listening(port)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    router.close(0)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """One socket."""
    dealer = zmq.asyncio.Context.instance().socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{port}")
    loop, asked, last = asyncio.get_running_loop(), dict[bytes, asyncio.Future[bytes]](), 0

    async def read() -> None:
        while True:
            number, payload = await dealer.recv_multipart()
            asked.pop(number).set_result(payload)

    async def request(payload: bytes) -> bytes:
        nonlocal last
        last += 1
        number = last.to_bytes(4, "big")
        answer = asked[number] = loop.create_future()
        await dealer.send_multipart([number, payload])
        return await answer

    task = asyncio.create_task(read())
    yield [request] * MOST_IN_FLIGHT
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    dealer.close(0)


if __name__ == "__main__":
    run(Program(serve, connect))
