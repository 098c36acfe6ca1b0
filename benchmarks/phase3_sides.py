"""The two sides of `phase3.py`, as programs: a server, and a client that does the work it is told.

    python benchmarks/phase3_sides.py serve MODE      tells its port, and serves until its input ends
    python benchmarks/phase3_sides.py ask MODE PORT   for each line {"work", "seconds"} tells what it did, as JSON

MODE is `batched`, or `unbatched`: every packet leaves in a write of its own, at once, on both sides.
Not here: what the figures are compared with.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import uvloop

from msgtrans import (
    ConnectionPool,
    Context,
    Optimizations,
    SessionConfig,
    SmartPoolConfig,
    TransportClient,
    TransportServer,
)

MODES = {
    "batched": SessionConfig(),
    "unbatched": SessionConfig(optimizations=Optimizations(batching=False, coalescing=False)),
}
PAYLOAD = b"x" * 32
CONNECTIONS, TASKS, CONNECTING = 8, 64, 8
COUNT = 1  # the biz_type of a request for the number of messages
AT_A_TIME = range(100)  # messages between two looks at the clock


class Done(NamedTuple):
    """Operations; the latency of each in seconds, where there is one."""

    operations: int
    latencies: list[float]


class Work:
    """What a client can do for a while: `await work.NAME(seconds)`."""

    def __init__(self, client: TransportClient, sender: TransportClient, pool: ConnectionPool) -> None:
        self.client, self.sender, self.pool = client, sender, pool
        self.sent = 0

    async def borrow(self, seconds: float) -> Done:
        """Take a connection of the pool and give it back."""
        done, stop = 0, time.perf_counter() + seconds
        while not done or time.perf_counter() < stop:
            for _ in AT_A_TIME:
                async with self.pool.acquire():
                    pass
            done += len(AT_A_TIME)
        return Done(done, [])

    async def pooled(self, seconds: float) -> Done:
        """Take a connection of the pool, send a request on it, give it back: more tasks than connections."""

        async def one() -> None:
            async with self.pool.acquire() as client:
                await client.request(PAYLOAD)

        return await repeat(one, TASKS, seconds)

    async def connected(self, seconds: float) -> Done:
        """Open a connection for each request."""

        async def one() -> None:
            async with TransportClient(self.client.uri) as client:
                await client.request(PAYLOAD)

        return await repeat(one, CONNECTING, seconds)

    async def requests(self, seconds: float) -> Done:
        """Requests side by side on one connection."""

        async def one() -> None:
            await self.client.request(PAYLOAD)

        return await repeat(one, TASKS, seconds)

    async def packets(self, seconds: float) -> Done:
        """One-way messages, until the server's handler has seen the last."""
        before, stop = self.sent, time.perf_counter() + seconds
        while self.sent == before or time.perf_counter() < stop:
            for _ in AT_A_TIME:
                await self.sender.send(PAYLOAD)
            self.sent += len(AT_A_TIME)
            await asyncio.sleep(0)  # so that what else this process does gets its turn
        if (seen := int((await self.sender.request(b"", biz_type=COUNT)).payload)) != self.sent:
            raise SystemExit(f"{seen} of {self.sent} messages arrived")
        return Done(self.sent - before, [])

    async def everything(self, seconds: float) -> Done:
        """Requests through the pool and one-way messages at the same time."""
        requests, packets = await asyncio.gather(self.pooled(seconds), self.packets(seconds))
        return Done(requests.operations + packets.operations, requests.latencies)


async def repeat(one: Callable[[], Awaitable[None]], tasks: int, seconds: float) -> Done:
    """Do it again and again in so many tasks."""
    latencies, stop = [], time.perf_counter() + seconds

    async def again() -> None:
        now = time.perf_counter()
        while True:  # once at least, also when the machine gave this process no time before `stop`
            before = now
            await one()
            now = time.perf_counter()
            latencies.append(now - before)
            if now >= stop:
                return

    await asyncio.gather(*(again() for _ in range(tasks)))
    return Done(len(latencies), latencies)


async def serve(mode: str) -> None:
    """Answer requests with their payload, count messages."""
    server = TransportServer(tcp="127.0.0.1:0", session=MODES[mode])
    seen = 0

    @server.on_message
    def count(ctx: Context) -> None:  # noqa: ARG001 - messages carry nothing to look at
        nonlocal seen
        seen += 1

    @server.on_request
    def answer(ctx: Context) -> bytes:
        return b"%d" % seen if ctx.biz_type == COUNT else ctx.payload

    async with server:
        print(server.addresses[0].port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def ask(mode: str, port: str) -> None:
    """Do what each line says."""
    uri, session = f"tcp://127.0.0.1:{port}", MODES[mode]
    size = SmartPoolConfig(initial_size=CONNECTIONS, max_size=CONNECTIONS, min_connections=CONNECTIONS)
    async with AsyncExitStack() as opened:
        client, sender = [await opened.enter_async_context(TransportClient(uri, session=session)) for _ in range(2)]
        pool = await opened.enter_async_context(ConnectionPool(uri, config=size, session=session))
        work = Work(client, sender, pool)
        print("connected", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            computed, start = time.process_time(), time.perf_counter()
            done = await getattr(work, told["work"])(told["seconds"])
            took, computed = time.perf_counter() - start, time.process_time() - computed
            spent = sorted(done.latencies) or [0.0]
            figures = {
                "operations": done.operations,
                "per_second": done.operations / took,
                "p50_us": spent[len(spent) // 2] * 1e6,
                "p99_us": spent[len(spent) * 99 // 100] * 1e6,
                "client_cpu_us": computed / done.operations * 1e6,
            }
            print(json.dumps(figures), flush=True)


def main() -> None:
    """Be the side that the command line says."""
    match sys.argv[1:]:
        case ["serve", mode] if mode in MODES:
            uvloop.run(serve(mode))
        case ["ask", mode, port] if mode in MODES:
            uvloop.run(ask(mode, port))
        case _:
            raise SystemExit(f"{sys.argv[0]} serve {'|'.join(MODES)} | ask {'|'.join(MODES)} PORT")


if __name__ == "__main__":
    main()
