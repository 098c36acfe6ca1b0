"""Requests per second of one and of several worker processes, and how evenly connections are spread over them.

Servers and their load share the processors of this machine, so with as many workers as processors the load has none of
its own: what is measured is that more workers carry more, not what a server with its load elsewhere would reach.
Rounds alternate between the servers; medians are printed. Then how many of new connections each worker gets, in a burst
and one after the other, with a listening socket for each worker and with one for all.

    python benchmarks/msgtrans_workers.py [--rounds 5] [--seconds 1] [--workers 2] [--loads 2] [--connections 400]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from msgtrans import Context, TcpServerConfig, TransportClient, TransportServer, WorkersConfig
from msgtrans.middleware import StatisticsMiddleware, fetch_statistics

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_FLIGHT = 64  # on each connection
CONNECTIONS = 8  # of each load


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=2, help="of the larger server")
    parser.add_argument("--loads", type=int, default=2, help="processes that ask")
    parser.add_argument("--connections", type=int, default=400, help="to spread")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, metavar=("WORKERS", "KIND"), help=argparse.SUPPRESS)
    parser.add_argument("--ask", metavar="URI", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(int(arguments.serve[0]), reuse_port=arguments.serve[1] == "apart")
    elif arguments.ask:
        print(uvloop.run(ask(arguments.ask, arguments.seconds)))
    else:
        rates, spread = measure(arguments)
        if arguments.json:
            print(json.dumps({"per_second": rates, "spread": spread}))
        else:
            show(arguments, rates, spread)


def serve(workers: int, *, reuse_port: bool) -> None:
    """Serve until told to stop; pinned workers stay on a processor each."""
    server = TransportServer(
        tcp=TcpServerConfig(bind_address="127.0.0.1:0", max_connections=20_000),
        max_connections=20_000,
        workers=WorkersConfig(count=workers, reuse_port=reuse_port),
        middleware=[StatisticsMiddleware()],
    )

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    if os.environ.get("PINNED"):
        server.on_worker_start(lambda worker: os.sched_setaffinity(0, {worker.index % (os.cpu_count() or 1)}))
    server.run(ready=lambda uris: print(uris[0], flush=True))


async def ask(uri: str, seconds: float) -> float:
    """Requests per second of one load."""
    clients = [TransportClient(uri) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(client.connect() for client in clients))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)  # all loads begin together
    count, stop = 0, time.perf_counter() + seconds

    async def keep(client: TransportClient) -> None:
        nonlocal count
        while time.perf_counter() < stop:
            await client.request(b"x" * 32)
            count += 1

    await asyncio.gather(*(keep(client) for client in clients for _ in range(IN_FLIGHT)))
    await asyncio.gather(*(client.close() for client in clients))
    return count / seconds


async def visit(uri: str, count: int, *, burst: bool) -> list[int]:
    """How many of `count` connections each worker got."""
    async with TransportClient(uri) as asking:
        before = [worker.counters.connections_total for worker in (await fetch_statistics(asking)).workers]
        clients = [TransportClient(uri) for _ in range(count)]
        if burst:
            await asyncio.gather(*(client.connect() for client in clients))
        else:
            for client in clients:
                await client.connect()
        await asyncio.gather(*(client.request(b"") for client in clients))
        await asyncio.sleep(0.6)  # statistics are given again for half a second
        after = [worker.counters.connections_total for worker in (await fetch_statistics(asking)).workers]
        await asyncio.gather(*(client.close() for client in clients))
    return [now - then for now, then in zip(after, before, strict=True)]


def start(*words: str, **variables: str) -> subprocess.Popen[str]:
    """This program, in another role."""
    return subprocess.Popen(
        [sys.executable, __file__, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


def load(uri: str, arguments: argparse.Namespace) -> float:
    """Requests per second of all loads together."""
    loads = [start("--ask", uri, "--seconds", str(arguments.seconds)) for _ in range(arguments.loads)]
    for process in loads:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in loads:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in loads)


def kinds(arguments: argparse.Namespace) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, arguments and environment of each server."""
    many = str(arguments.workers)
    yield "1 worker", ["1", "apart"], {}
    yield f"{many} workers, a socket each", [many, "apart"], {}
    yield f"{many} workers, one socket", [many, "shared"], {}
    yield f"{many} workers, pinned to processors", [many, "apart"], {"PINNED": "1"}


def measure(arguments: argparse.Namespace) -> tuple[dict[str, float], dict[str, dict[str, list[int]]]]:
    """Medians of the rates, and who got how many connections, by kind of server."""
    servers = {name: start("--serve", *words, **variables) for name, words, variables in kinds(arguments)}
    try:
        uris = {name: str(server.stdout and server.stdout.readline()).strip() for name, server in servers.items()}
        rounds = [{name: load(uri, arguments) for name, uri in uris.items()} for _ in range(arguments.rounds)]
        spread = {
            name: {
                "burst": uvloop.run(visit(uri, arguments.connections, burst=True)),
                "in turn": uvloop.run(visit(uri, arguments.connections, burst=False)),
            }
            for name, uri in uris.items()
            if not name.startswith("1 ") and "pinned" not in name
        }
    finally:
        for server in servers.values():
            server.terminate()
            server.communicate()
    return {name: median(found[name] for found in rounds) for name in uris}, spread


def show(arguments: argparse.Namespace, rates: dict[str, float], spread: dict[str, dict[str, list[int]]]) -> None:
    """A table."""
    print(
        f"{arguments.loads} loads of {CONNECTIONS} connections, {IN_FLIGHT} requests of 32 bytes in flight on each, "
        f"{os.cpu_count()} processors for servers and loads, medians of {arguments.rounds} rounds"
    )
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        print(f"{name:36} {rate:10,.0f} requests/s   {rate / first:5.2f}")
    for name, found in spread.items():
        for how, counts in found.items():
            print(f"{name:36} {arguments.connections} connections {how}: {' '.join(map(str, counts))}")


if __name__ == "__main__":
    main()
