"""How long a request takes while data streams past it on the same connection, with and without HIGH_PRIORITY.

A server sends one-way messages as fast as `await send()` lets it; its client asks it one thing at a time beside, over
loopback and over a link of limited bandwidth: a proxy that reads so many bytes a second and keeps few. Client, server
and proxy are a process each. Rounds alternate between all ways; medians of the rounds are printed, and the data that
went by.

    python benchmarks/msgtrans_priority.py [--rounds 3] [--seconds 1.0] [--sizes 1024 65536] [--mbit 100] [--json]
        [--scheme ws]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from statistics import median
from typing import TypeAlias

import uvloop

from msgtrans import (
    Context,
    Flag,
    Optimizations,
    SessionClosedError,
    SessionConfig,
    TcpServerConfig,
    TransportClient,
    TransportServer,
    WebSocketServerConfig,
)

WAYS = {
    "no flag": (0, None, True),
    "no flag, unsent 16 KiB": (0, 16 * 1024, True),
    "flag": (Flag.HIGH_PRIORITY, None, True),
    "flag, unsent 128 KiB": (Flag.HIGH_PRIORITY, 128 * 1024, True),
    "flag, unsent 16 KiB": (Flag.HIGH_PRIORITY, 16 * 1024, True),
    "flag, unbatched": (Flag.HIGH_PRIORITY, None, False),
}
KEPT = 64 * 1024  # bytes the limited link keeps
Row: TypeAlias = tuple[float, float, float, float]


async def serve(scheme: str, size: int, lowat: int, batching: bool) -> None:
    """Answer requests, and send messages of `size` bytes to whoever says so, until killed."""
    kind = WebSocketServerConfig if scheme == "ws" else TcpServerConfig
    config = kind(bind_address="127.0.0.1:0", notsent_lowat=lowat or None)
    server = TransportServer(listen=config, session=SessionConfig(optimizations=Optimizations(batching=batching)))
    payload = bytes(size)
    server.on_request(lambda context: context.payload)

    @server.on_message
    async def stream(context: Context) -> None:
        until = time.perf_counter() + float(context.payload)
        with suppress(SessionClosedError):
            while time.perf_counter() < until:
                for _ in range(16):
                    await context.session.send(payload)
                await asyncio.sleep(0)

    await server.start()
    print(server.addresses[0].port, flush=True)
    await server.serve_forever()


async def limit(port: int, rate: float) -> None:
    """Pass connections on to `port`, `rate` bytes a second towards the client, keeping little; until killed."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        print(listening.getsockname()[1], flush=True)
        near, _ = await loop.sock_accept(listening)
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT // 2)  # the system doubles it
        far.setblocking(False)
        await loop.sock_connect(far, ("127.0.0.1", port))
        for connection in (near, far):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def upward() -> None:
            while data := await loop.sock_recv(near, 1 << 16):
                await loop.sock_sendall(far, data)

        async def downward() -> None:
            due = loop.time()
            while data := await loop.sock_recv(far, 16 * 1024):
                due = max(due, loop.time() - 0.002) + len(data) / rate
                await asyncio.sleep(due - loop.time())
                await loop.sock_sendall(near, data)

        with suppress(OSError):  # the client has gone
            await asyncio.gather(upward(), downward())


async def ask(scheme: str, port: int, flags: int, seconds: float) -> Row:
    """p50 and p99 in milliseconds, requests, and MiB of data per second, while the server streams."""
    went = 0
    spent: list[float] = []
    async with TransportClient(f"{scheme}://127.0.0.1:{port}") as client:

        @client.on_message
        def count(context: Context) -> None:
            nonlocal went
            went += len(context.payload)

        await client.send(b"%f" % seconds)
        await asyncio.sleep(seconds / 5)
        start, before = time.perf_counter(), went
        while (now := time.perf_counter()) - start < seconds * 0.75:
            await client.request(b"x" * 32, flags=flags, timeout=60)
            spent.append(time.perf_counter() - now)
        rate = (went - before) / (time.perf_counter() - start) / (1 << 20)
        await client.close(graceful=False)
    spent.sort()
    return spent[len(spent) // 2] * 1e3, spent[len(spent) * 99 // 100] * 1e3, float(len(spent)), rate


def start(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """A process of this program, and the port it serves."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def measure(scheme: str, way: str, size: int, mbit: float, seconds: float) -> Row:
    """One round of one way; over loopback where `mbit` is 0."""
    flags, lowat, batching = WAYS[way]
    server, port = start("--scheme", scheme, "--serve", str(size), str(lowat or 0), str(int(batching)))
    processes = [server]
    try:
        if mbit:
            proxy, port = start("--proxy", str(port), str(mbit * 1e6 / 8))
            processes.append(proxy)
        return uvloop.run(ask(scheme, port, int(flags), seconds))
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 64 * 1024], help="bytes of the messages")
    parser.add_argument("--mbit", type=float, default=100.0, help="per second, of the limited link")
    parser.add_argument("--scheme", choices=("tcp", "ws"), default="tcp", help="what carries it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=3, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--proxy", nargs=2, type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        size, lowat, batching = arguments.serve
        uvloop.run(serve(arguments.scheme, size, lowat, bool(batching)))
        return
    if arguments.proxy:
        asyncio.run(limit(int(arguments.proxy[0]), arguments.proxy[1]))
        return
    rows: dict[tuple[float, int, str], list[Row]] = {}
    for _ in range(arguments.rounds):
        for mbit in (0.0, arguments.mbit):
            for size in arguments.sizes:
                for way in WAYS:
                    rows.setdefault((mbit, size, way), []).append(
                        measure(arguments.scheme, way, size, mbit, arguments.seconds)
                    )
    found = {key: [median(column) for column in zip(*rounds, strict=True)] for key, rounds in rows.items()}
    if arguments.json:
        names = ("mbit", "size", "way", "p50_ms", "p99_ms", "requests", "mib_per_second")
        print(json.dumps([dict(zip(names, [*key, *row], strict=True)) for key, row in found.items()]))
        return
    print(f"a request of 32 bytes beside a stream, {arguments.scheme}, uvloop, medians of {arguments.rounds} rounds")
    print(f"{'link':>12} {'messages':>9}  {'':22} {'p50 ms':>9} {'p99 ms':>9} {'MiB/s':>8}")
    for (mbit, size, way), (p50, p99, _, rate) in found.items():
        print(f"{f'{mbit:g} Mbit/s' if mbit else 'loopback':>12} {size:9,}  {way:22} {p50:9.2f} {p99:9.2f} {rate:8.1f}")


if __name__ == "__main__":
    main()
