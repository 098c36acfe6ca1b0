"""Requests per second of the Rust crate beside ours: its client to its server, ours to ours, and crossed.

Each side is a process; the rounds alternate between the pairings, and medians of the rounds are printed. The programs
made of the crate are those of `interop/`, optimised: `python interop/build.py --release 1.0.10 2.0` builds them.
Of 1.0.0 there are no figures: it loses packets that do not travel one at a time (specification 8.1).

    python benchmarks/interop_throughput.py [--versions 1.0.10 2.0] [--transports tcp ws quic] [--rounds 5]
                                            [--seconds 1.0] [--size 32] [--window 64] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from msgtrans import Context, TransportClient, TransportServer
from msgtrans.config import QuicClientConfig, TlsClientConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BUILT = Path(__file__).resolve().parents[1] / "build" / "interop"
PAIRS = (("rust", "rust"), ("python", "python"), ("python", "rust"), ("rust", "python"))  # client, server
FIRST_GUESS = 4000  # requests of the first round, from which the size of the others follows


def program(version: str) -> Path:
    """The optimised program of that version."""
    return BUILT / f"peer-{version}-release"


def free_port(transport: str) -> int:
    """A port that nobody uses; the crate cannot say which one the system chose."""
    with socket.socket(type=socket.SOCK_DGRAM if transport == "quic" else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def serve(transport: str, port: int) -> None:
    """A server of ours, until killed."""
    server = TransportServer(listen=[f"{transport}://127.0.0.1:{port}"])

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    await server.start()
    print(json.dumps({"event": "serving"}), flush=True)
    await server.serve_forever()


async def ask(uri: str, count: int, size: int, window: int) -> None:
    """A client of ours: so many requests, at most `window` of them in flight."""
    transport, _, address = uri.partition("://")
    target: str | QuicClientConfig = uri
    if transport == "quic":
        target = QuicClientConfig(target_address=address, tls=TlsClientConfig(verify=False))
    async with TransportClient(target) as client:
        left = iter(range(count))
        payload = bytes(size)

        async def work() -> None:
            for _ in left:
                assert (await client.request(payload)).payload == payload

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(window)))
        seconds = time.perf_counter() - start
    print(json.dumps({"event": "requests", "answered": count, "seconds": seconds}), flush=True)


@asynccontextmanager
async def server(kind: str, version: str, transport: str) -> AsyncIterator[str]:
    """A server of either kind in a process of its own; its URI."""
    port = free_port(transport)
    if kind == "rust":
        command = [str(program(version)), "serve", f"--{transport}", f"127.0.0.1:{port}"]
    else:
        command = [sys.executable, __file__, "--serve", transport, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(0.3)  # the crate says that it serves before it listens
        yield f"{transport}://127.0.0.1:{port}" + ("/" if transport == "ws" else "")
    finally:
        process.kill()
        await process.communicate()


async def measure(kind: str, version: str, uri: str, count: int, size: int, window: int) -> float:
    """Requests per second of a client of either kind."""
    if kind == "rust":
        command = [str(program(version)), "drive", uri, "requests"]
        command += ["--count", str(count), "--size", str(size), "--window", str(window)]
    else:
        command = [sys.executable, __file__, "--ask", uri, "--count", str(count), "--size", str(size)]
        command += ["--window", str(window)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said, _ = await process.communicate()
    lines = [json.loads(line) for line in said.splitlines()]
    result = next((line for line in lines if line["event"] == "requests"), None)
    if result is None or result["answered"] < count:
        raise SystemExit(f"{kind} client of {uri}: {lines}")
    return float(result["answered"] / result["seconds"])


async def compare(version: str, transport: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Medians of all pairings, by "client to server"."""
    rates: dict[str, list[float]] = {f"{client} to {other}": [] for client, other in PAIRS}
    counts = dict.fromkeys(rates, FIRST_GUESS)
    for number in range(arguments.rounds + 1):
        for client, other in PAIRS:
            name = f"{client} to {other}"
            async with server(other, version, transport) as uri:
                rate = await measure(client, version, uri, counts[name], arguments.size, arguments.window)
            counts[name] = max(500, int(rate * arguments.seconds))
            if number:  # the first round tells how many requests take the time that was asked for
                rates[name].append(rate)
    return {name: median(found) for name, found in rates.items()}


def legend(arguments: argparse.Namespace) -> str:
    """What the table compares, and the names of its columns."""
    pairs = "".join(f"{f'{client} to {other}':>18}" for client, other in PAIRS)
    return (
        f"Requests per second of one client on one connection: {arguments.size} bytes each way, {arguments.window} in "
        f"flight,\nmedians of {arguments.rounds} rounds of about {arguments.seconds:g} s, client and server a process "
        f"each, on {os.cpu_count()} processors.\n"
        "rust: the crate of that version, optimised, on all processors (tokio).\n"
        f"python: this library on one processor (uvloop, Python {platform.python_version()}), the same in all rows.\n"
        "Columns: client to server. Only QUIC is encrypted; there, all packets travel on one stream.\n\n"
        f"{'crate':8}{'transport':10}{pairs}"
    )


async def contest(arguments: argparse.Namespace) -> None:
    """Compare with each version on each transport, and print."""
    found = {}
    if not arguments.json:
        print(legend(arguments), flush=True)
    for version in arguments.versions:
        if not program(version).exists():
            print(f"{program(version).name} is not built: python interop/build.py --release {version}")
            continue
        for transport in arguments.transports:
            rates = found[f"{version} {transport}"] = await compare(version, transport, arguments)
            if not arguments.json:
                told = "".join(f"{rate:18,.0f}" for rate in rates.values())
                print(f"{version:8}{transport:10}{told}", flush=True)
    if arguments.json:
        print(json.dumps(found))


def main() -> None:
    """Serve, ask or compare, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", nargs="+", default=["1.0.10", "2.0"])
    parser.add_argument("--transports", nargs="+", default=["tcp", "ws", "quic"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--size", type=int, default=32, help="bytes of payload")
    parser.add_argument("--window", type=int, default=64, help="requests in flight")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve, arguments.port))
    elif arguments.ask:
        uvloop.run(ask(arguments.ask, arguments.count, arguments.size, arguments.window))
    else:
        asyncio.run(contest(arguments))


if __name__ == "__main__":
    main()
