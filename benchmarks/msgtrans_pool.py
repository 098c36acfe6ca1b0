"""What a pool of connections costs and brings: against one connection for each request, and against one shared by all.

Servers in processes of their own, everything else in this one, all ways in turns within each round.

- borrowing: acquire and release, nobody waits; and 64 tasks that share 16 connections, which wait in line.
- requests: 64 in flight, 32 bytes, one server.
- beside long ones: the latency of small requests while 4 answers of 4 MiB are always under way.
- a peer that reads one packet at a time, as the Rust crate 1.0: 16 in flight, with `Pacing`.
- two servers that need 1 ms of processor time for a request: a connection to one of them, and a pool over both.

    python benchmarks/msgtrans_pool.py [--rounds 5] [--seconds 0.7] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import uvloop

from msgtrans import (
    ConnectionPool,
    Context,
    Pacing,
    SmartPoolConfig,
    TcpClientConfig,
    TransportClient,
    TransportServer,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Request: TypeAlias = Callable[[bytes], Awaitable[object]]

SIZE, IN_FLIGHT, LONG, LONG_ONES = 16, 64, 4 << 20, 4
CONFIG = SmartPoolConfig(initial_size=SIZE, max_size=SIZE)
SMALL = b"x" * 32


async def serve() -> None:
    """Echo; answer `b"long"` with much, and `b"work"` after a millisecond of work; until killed."""
    server = TransportServer(tcp="127.0.0.1:0")
    long = bytes(LONG)

    @server.on_request
    def answer(context: Context) -> bytes:
        if context.payload == b"long":
            return long
        if context.payload == b"work":
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
        return context.payload

    await server.start()
    print(server.tcp_address.port, flush=True)
    await server.serve_forever()


async def borrow_alone(pool: ConnectionPool, seconds: float) -> float:
    """Acquisitions per second of one task."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(100):
            async with pool.acquire():
                pass
        done += 100
    return done / (time.perf_counter() - start)


async def borrow_together(pool: ConnectionPool, seconds: float) -> float:
    """Acquisitions per second of tasks that wait for each other."""
    start = time.perf_counter()
    done = 0

    async def borrow() -> None:
        nonlocal done
        while time.perf_counter() - start < seconds:
            async with pool.acquire():
                await asyncio.sleep(0)
            done += 1

    await asyncio.gather(*(borrow() for _ in range(IN_FLIGHT)))
    return done / (time.perf_counter() - start)


async def load(request: Request, payload: bytes, in_flight: int, seconds: float) -> tuple[float, float, float]:
    """Keep `in_flight` requests under way: per second, p50 and p99 in microseconds."""
    spent: list[float] = []
    start = time.perf_counter()

    async def ask() -> None:
        now = start
        while not spent or now - start < seconds:
            before = time.perf_counter()
            await request(payload)
            now = time.perf_counter()
            spent.append(now - before)

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    rate = len(spent) / (time.perf_counter() - start)
    spent.sort()
    return rate, spent[len(spent) // 2] * 1e6, spent[len(spent) * 99 // 100] * 1e6


@asynccontextmanager
async def long_ones(request: Request) -> AsyncIterator[None]:
    """Keep some long answers under way."""

    enough = False

    async def ask() -> None:
        while not enough:
            await request(b"long")

    async with asyncio.TaskGroup() as group:
        for _ in range(LONG_ONES):
            group.create_task(ask())
        yield
        enough = True


async def measure(uris: list[str], rounds: int, seconds: float) -> dict[str, list[list[float]]]:
    """What every round found, by row."""
    found: dict[str, list[list[float]]] = {}

    def note(row: str, *figures: float) -> None:
        found.setdefault(row, []).append([*figures])

    async def anew(payload: bytes) -> object:
        async with TransportClient(uris[0]) as client:
            return await client.request(payload)

    slowly = TcpClientConfig(target_address=uris[0].removeprefix("tcp://"), pacing=Pacing())
    async with (
        ConnectionPool(slowly, config=CONFIG) as paced_pool,
        TransportClient(slowly) as paced,
        ConnectionPool(uris[0], config=CONFIG) as pool,
        ConnectionPool(uris, config=CONFIG) as wide,
        TransportClient(uris[0]) as shared,
    ):
        for _ in range(rounds):
            note("borrowing: alone", await borrow_alone(pool, seconds))
            note("borrowing: 64 tasks, 16 connections", await borrow_together(pool, seconds))
            note("requests: a connection each", *await load(anew, SMALL, IN_FLIGHT, seconds))
            note("requests: pool of 16", *await load(pool.request, SMALL, IN_FLIGHT, seconds))
            note("requests: one connection", *await load(shared.request, SMALL, IN_FLIGHT, seconds))
            async with long_ones(pool.request):
                note("beside long ones: pool of 16", *await load(pool.request, SMALL, 1, seconds))
            async with long_ones(shared.request):
                note("beside long ones: one connection", *await load(shared.request, SMALL, 1, seconds))
            note("one packet at a time: pool of 16", *await load(paced_pool.request, SMALL, SIZE, seconds))
            note("one packet at a time: one connection", *await load(paced.request, SMALL, SIZE, seconds))
            note("1 ms of work: pool of 16, two servers", *await load(wide.request, b"work", SIZE, seconds))
            note("1 ms of work: one connection", *await load(shared.request, b"work", SIZE, seconds))
    return found


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    command = [sys.executable, __file__, "--serve"]
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        uris = [f"tcp://127.0.0.1:{int(server.stdout.readline())}" for server in servers if server.stdout is not None]
        found = uvloop.run(measure(uris, arguments.rounds, arguments.seconds))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    rows = {row: [median(column) for column in zip(*rounds, strict=True)] for row, rounds in found.items()}
    columns = ("per_second", "p50_us", "p99_us")
    if arguments.json:
        print(json.dumps({row: dict(zip(columns, figures, strict=False)) for row, figures in rows.items()}))
        return
    print(f"uvloop, medians of {arguments.rounds} rounds")
    print(f"{'':40} {'per second':>10} {'p50 us':>9} {'p99 us':>9}")
    for row, (rate, *latencies) in rows.items():
        print(f"{row:40} {rate:10,.0f} {' '.join(f'{latency:9,.0f}' for latency in latencies)}")


if __name__ == "__main__":
    main()
