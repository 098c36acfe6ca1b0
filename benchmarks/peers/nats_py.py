"""nats-py: request and reply through a real nats-server; a responder echoes, each side on one connection."""

from __future__ import annotations

import asyncio
import re
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats

from peers.broker import nats_server
from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.msg import Msg

SUBJECT = "echo"


async def started(broker: asyncio.subprocess.Process) -> int:
    """The port that a nats-server tells in its log."""
    assert broker.stderr is not None
    async for line in broker.stderr:
        if found := re.search(rb"Listening for client connections on .*:(\d+)", line):
            return int(found[1])
    raise SystemExit("nats-server did not start")


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Run the broker and the responder."""
    if (command := nats_server()) is None:
        raise SystemExit("there is no nats-server")
    broker = await asyncio.create_subprocess_exec(command, "-a", "127.0.0.1", "-p", "-1", stderr=subprocess.PIPE)
    try:
        port = await started(broker)
        connection = await nats.connect(f"nats://127.0.0.1:{port}")

        async def echo(message: Msg) -> None:
            await connection.publish(message.reply, message.data)

        await connection.subscribe(SUBJECT, cb=echo)
        await connection.flush()
        yield Listening(port, (broker.pid,))
        await connection.close()
    finally:
        broker.kill()
        await broker.wait()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """One connection."""
    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def request(payload: bytes) -> bytes:
        return (await connection.request(SUBJECT, payload, timeout=10)).data

    yield [request] * MOST_IN_FLIGHT
    await connection.close()


if __name__ == "__main__":
    run(Program(serve, connect))
