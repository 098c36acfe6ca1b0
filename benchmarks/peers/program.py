"""What the programs of this folder have in common: the command line, the load, and what they tell of it.

    python -m peers.NAME serve      tells its port as JSON, and serves until its input ends
    python -m peers.NAME ask PORT   for each line {"in_flight", "size", "seconds"} tells what it measured, as JSON

Not here: any library, and who starts the programs (`msgtrans_peers.py`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import uvloop

Request = Callable[[bytes], Awaitable[bytes]]
MOST_IN_FLIGHT = 64
WARM_UP, BEFORE_EACH = 20, 3  # requests on each that come before a clock starts: after connecting, and later


class Listening(NamedTuple):
    """Where a server listens; children: ids of further processes that are part of it."""

    port: int
    children: tuple[int, ...] = ()


class Program(NamedTuple):
    """An echo over one library.

    serve: an echo server on 127.0.0.1 for the length of the block, on any port. connect: `MOST_IN_FLIGHT` requests that
    may be under way side by side, given the port: all on one connection where the library has that, else on one each.
    """

    serve: Callable[[], AbstractAsyncContextManager[Listening]]
    connect: Callable[[int], AbstractAsyncContextManager[list[Request]]]


def run(program: Program) -> None:
    """Do what the command line says, on uvloop."""
    match sys.argv[1:]:
        case ["serve"]:
            uvloop.run(_serve(program))
        case ["ask", port]:
            uvloop.run(_ask(program, int(port)))
        case _:
            raise SystemExit(f"{sys.argv[0]} serve | ask PORT")


async def _serve(program: Program) -> None:
    async with program.serve() as listening:
        print(json.dumps(listening._asdict()), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _ask(program: Program, port: int) -> None:
    async with program.connect(port) as requests:
        await warm_up(requests, b"\x00\x01\xfe\xff" * 8, WARM_UP)
        print("connected", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await load(requests, **json.loads(line))), flush=True)


async def warm_up(requests: list[Request], payload: bytes, times: int) -> None:
    """Ask each `times` times, all side by side, and compare every byte that comes back."""

    async def begin(request: Request) -> None:
        for _ in range(times):
            if bytes(await request(payload)) != payload:
                raise SystemExit("an answer with other bytes")

    await asyncio.gather(*map(begin, requests))


async def load(requests: list[Request], *, in_flight: int, size: int, seconds: float) -> dict[str, float]:
    """Keep `in_flight` requests of `size` bytes under way for `seconds`, and look at every answer's length.

    Gives how many were answered, with those before the clock started; requests per second; p50 and p99 in microseconds;
    and the processor time that this process took for each request, in microseconds.
    """
    payload, spent = b"x" * size, []
    stop = 0.0

    async def ask(request: Request) -> None:
        now = time.perf_counter()
        while True:  # once at least, also when the machine gave this process no time before `stop`
            before = now
            if len(await request(payload)) != size:
                raise SystemExit("an answer of another size")
            now = time.perf_counter()
            spent.append(now - before)
            if now >= stop:
                return

    chosen = requests[:in_flight]
    await warm_up(chosen, payload, BEFORE_EACH)
    computed, start = time.process_time(), time.perf_counter()
    stop = start + seconds
    await asyncio.gather(*map(ask, chosen))
    took, computed = time.perf_counter() - start, time.process_time() - computed
    spent.sort()
    return {
        "answers": len(spent) + BEFORE_EACH * len(chosen),
        "per_second": len(spent) / took,
        "p50_us": spent[len(spent) // 2] * 1e6,
        "p99_us": spent[len(spent) * 99 // 100] * 1e6,
        "client_cpu_us": computed / len(spent) * 1e6,
    }
