"""What each short way of a session brings: the same work with and without it, over TCP and WebSocket.

A server process for each switch of `Optimizations`, with that one off, and one with all on; a client of the same kind
to each, in this process. Rounds go through all of them in turn. Printed are the median of the rates with all on, and
how many times as much is done with a switch on as with it off: in a second, and in a second of processor time of client
and server together, which other work on the machine disturbs less. 1.00 means that a switch brings nothing there.

    python benchmarks/msgtrans_switches.py [--rounds 5] [--seconds 0.4] [--scheme tcp] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING

import msgspec
import uvloop

from msgtrans import (
    Context,
    Optimizations,
    SessionConfig,
    TcpServerConfig,
    TransportClient,
    TransportServer,
    WebSocketServerConfig,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ALL_ON = "all on"
SWITCHES = [field.name for field in msgspec.structs.fields(Optimizations)]
SMALL, LARGE = b"x" * 32, bytes(1 << 20)


def config(off: str) -> SessionConfig:
    """With everything on but `off`."""
    return SessionConfig(optimizations=Optimizations(**{name: name != off for name in SWITCHES}))


async def serve(off: str, scheme: str) -> None:
    """Echo requests, count messages, until killed."""
    kind = WebSocketServerConfig if scheme == "ws" else TcpServerConfig
    server = TransportServer(listen=[kind(bind_address="127.0.0.1:0")], session=config(off))
    server.on_request(lambda context: b"%f" % time.process_time() if context.biz_type else context.payload)

    @server.on_message
    def take(context: Context) -> None:
        """Nothing to do."""

    await server.start()
    print(server.uris[0], flush=True)
    await server.serve_forever()


async def requests(client: TransportClient, seconds: float, payload: bytes, in_flight: int) -> float:
    """Requests per second, so many under way."""
    start = time.perf_counter()
    stop, asked = start + seconds, 0

    async def ask() -> None:
        nonlocal asked
        while time.perf_counter() < stop:
            await client.request(payload)
            asked += 1

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return asked / (time.perf_counter() - start)


async def messages(client: TransportClient, seconds: float) -> float:
    """Messages per second; a request behind them tells when the last was taken."""
    start, sent = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        for _ in range(100):
            await client.send(SMALL)
        sent += 100
    await client.request(b"", timeout=60)
    return sent / (time.perf_counter() - start)


WORK: dict[str, Callable[[TransportClient, float], Awaitable[float]]] = {
    "requests of 32 bytes, 1 in flight": lambda client, seconds: requests(client, seconds, SMALL, 1),
    "requests of 32 bytes, 64 in flight": lambda client, seconds: requests(client, seconds, SMALL, 64),
    "one-way messages of 32 bytes": messages,
    "requests of 1 MiB, 4 in flight": lambda client, seconds: requests(client, seconds, LARGE, 4),
}


async def processor(client: TransportClient) -> float:
    """Seconds of processor time that both sides have taken."""
    return time.process_time() + float((await client.request(b"", biz_type=1)).payload)


async def run(client: TransportClient, work: str, seconds: float) -> tuple[float, float]:
    """How much is done in a second, and in a second of processor time."""
    start, taken = time.perf_counter(), await processor(client)
    rate = await WORK[work](client, seconds)
    return rate, rate * (time.perf_counter() - start) / (await processor(client) - taken)


async def measure(uris: dict[str, str], rounds: int, seconds: float) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """What `run` gives for each kind of work, by what is off."""
    rates: dict[str, dict[str, list[tuple[float, float]]]] = {work: {off: [] for off in uris} for work in WORK}
    async with AsyncExitStack() as stack:
        clients = {
            off: await stack.enter_async_context(TransportClient(uri, session=config(off))) for off, uri in uris.items()
        }
        order = list(clients)
        for _ in range(rounds):
            order.append(order.pop(0))  # nobody is always first
            for work in WORK:
                for off in order:
                    rates[work][off].append(await run(clients[off], work, seconds))
    return rates


def gain(on: list[tuple[float, float]], off: list[tuple[float, float]], column: int) -> float:
    """The median over the rounds of how many times as much was done: what disturbs the machine disturbs both."""
    return median(one[column] / other[column] for one, other in zip(on, off, strict=True))


def main() -> None:
    """Start the servers, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--scheme", choices=("tcp", "ws"), default="tcp")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=(ALL_ON, *SWITCHES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve, arguments.scheme))
        return
    servers, uris = [], {}
    try:
        for off in (ALL_ON, *SWITCHES):
            command = [sys.executable, __file__, "--serve", off, "--scheme", arguments.scheme]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            servers.append(server)
            assert server.stdout is not None
            uris[off] = server.stdout.readline().strip()
        rates = uvloop.run(measure(uris, arguments.rounds, arguments.seconds))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    found = {
        work: {
            "per_second": median(rate for rate, _ in rows[ALL_ON]),
            "in_time": {off: gain(rows[ALL_ON], rows[off], 0) for off in SWITCHES},
            "in_processor_time": {off: gain(rows[ALL_ON], rows[off], 1) for off in SWITCHES},
        }
        for work, rows in rates.items()
    }
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"with and without each short way, {arguments.scheme}, uvloop, medians of {arguments.rounds} rounds")
    print(f"{'':36}{'per second':>12}" + "".join(f"{off:>14}" for off in SWITCHES))
    for work, row in found.items():
        gains = (row["in_time"], row["in_processor_time"])
        print(f"{work:36}{row['per_second']:12,.0f}" + "".join(f"{gains[0][off]:14.2f}" for off in SWITCHES))
        print(f"{'  of processor time':48}" + "".join(f"{gains[1][off]:14.2f}" for off in SWITCHES))


if __name__ == "__main__":
    main()
