"""What the benchmarks of requests share: servers in processes of their own, rounds that alternate between them.

Not here: the servers and their clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Request: TypeAlias = Callable[[bytes], Awaitable[object]]

IN_FLIGHT = (1, 64, 256)


class Contest(NamedTuple):
    """Two or more kinds of server, the first of them bare.

    title: what is measured. file: the benchmark, which is started with `--serve KIND`. serve: serves a kind for ever,
    and prints its port first. connect: requests to all, by kind, given their ports.
    """

    title: str
    file: str
    kinds: tuple[str, ...]
    serve: Callable[[str], Awaitable[None]]
    connect: Callable[[dict[str, int]], AbstractAsyncContextManager[dict[str, Request]]]


def main(contest: Contest, description: str) -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each measurement")
    parser.add_argument("--size", type=int, default=32, help="bytes of payload")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=contest.kinds, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(_serve(contest, arguments.serve))
        return
    servers, ports = [], {}
    for kind in contest.kinds:
        server = subprocess.Popen([sys.executable, contest.file, "--serve", kind], stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout is not None
        ports[kind] = int(server.stdout.readline())
    try:
        found = uvloop.run(_measure(contest, ports, arguments.rounds, arguments.size, arguments.seconds))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    if arguments.json:
        columns = ("per_second", "p50_us", "p99_us")
        cells = {
            kind: {number: dict(zip(columns, row, strict=True)) for number, row in rows.items()}
            for kind, rows in found.items()
        }
        print(json.dumps(cells))
        return
    print(f"{contest.title}, {arguments.size} bytes, uvloop, medians of {arguments.rounds} rounds")
    _print(contest.kinds, found)


def _print(kinds: tuple[str, ...], found: dict[str, dict[int, list[float]]]) -> None:
    width = max(map(len, kinds)) + len("ratio of ") * (len(kinds) > 2)
    print(f"{'in flight':>9}  {'':{width}} {'per second':>10} {'p50 us':>8} {'p99 us':>8}")
    for in_flight in IN_FLIGHT:
        for kind in kinds:
            rate, p50, p99 = found[kind][in_flight]
            print(f"{in_flight:9}  {kind:{width}} {rate:10,.0f} {p50:8.1f} {p99:8.1f}")
        bare = found[kinds[0]][in_flight]
        for kind in kinds[1:]:
            ours, name = found[kind][in_flight], "ratio" if len(kinds) == 2 else f"ratio of {kind}"
            print(f"{'':9}  {name:{width}} {ours[0] / bare[0]:10.2f} {ours[1] / bare[1]:8.2f}")


async def _serve(contest: Contest, kind: str) -> None:
    await contest.serve(kind)


async def _measure(
    contest: Contest, ports: dict[str, int], rounds: int, size: int, seconds: float
) -> dict[str, dict[int, list[float]]]:
    """Medians for each kind and number in flight: rate, p50, p99."""
    seen: dict[str, dict[int, list[tuple[float, float, float]]]] = {
        kind: {in_flight: [] for in_flight in IN_FLIGHT} for kind in contest.kinds
    }
    async with contest.connect(ports) as requests:
        for _ in range(rounds):
            for in_flight in IN_FLIGHT:
                for kind in contest.kinds:
                    seen[kind][in_flight].append(await _load(requests[kind], in_flight, size, seconds))
    return {
        kind: {in_flight: [median(column) for column in zip(*rows, strict=True)] for in_flight, rows in cells.items()}
        for kind, cells in seen.items()
    }


async def _load(request: Request, in_flight: int, size: int, seconds: float) -> tuple[float, float, float]:
    """Keep `in_flight` requests under way; requests per second, p50 and p99 in microseconds."""
    payload, spent = b"x" * size, []
    start = time.perf_counter()
    stop = start + seconds

    async def ask() -> None:
        now = time.perf_counter()
        while now < stop:
            before = now
            await request(payload)
            now = time.perf_counter()
            spent.append(now - before)

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    took = time.perf_counter() - start
    spent.sort()
    return len(spent) / took, spent[len(spent) // 2] * 1e6, spent[len(spent) * 99 // 100] * 1e6
