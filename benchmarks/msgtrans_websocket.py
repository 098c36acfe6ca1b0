"""Requests per second and latency over WebSocket, client and server in a process each, beside a bare picows echo.

Both sides of msgtrans use its public API. The bare echo sends every message back from the callback of picows; its
client keeps a future per request, answered in order. Rounds alternate between the two; medians of the rounds are
printed.

    python benchmarks/msgtrans_websocket.py [--rounds 5] [--seconds 0.7] [--size 32] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from statistics import median
from typing import TYPE_CHECKING

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from msgtrans import Context, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KINDS = ("bare picows", "msgtrans")
IN_FLIGHT = (1, 64, 256)


class BareServer(WSListener):
    """Sends every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer."""
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())


class BareClient(WSListener):
    """A future for each request, answered in order."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin with nothing asked."""
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.asked: deque[asyncio.Future[bytes]] = deque()

    def on_ws_frame(self, _: WSTransport, frame: WSFrame) -> None:
        """Hand the answer to the one who asked."""
        self.asked.popleft().set_result(frame.get_payload_as_bytes())

    def request(self, payload: bytes) -> asyncio.Future[bytes]:
        """Ask."""
        future: asyncio.Future[bytes] = self.loop.create_future()
        self.asked.append(future)
        self.transport.send(WSMsgType.BINARY, payload)
        return future


async def serve(kind: str) -> None:
    """Serve until killed."""
    if kind == KINDS[0]:
        listener = await ws_create_server(lambda _: BareServer(), "127.0.0.1", 0)
        print(listener.sockets[0].getsockname()[1], flush=True)
        await listener.serve_forever()
    server = TransportServer(ws="127.0.0.1:0")

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    await server.start()
    print(server.ws_address.port, flush=True)
    await server.serve_forever()


async def load(
    request: Callable[[bytes], Awaitable[object]], in_flight: int, size: int, seconds: float
) -> tuple[float, float, float]:
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


async def measure(ports: dict[str, int], rounds: int, size: int, seconds: float) -> dict[str, dict[int, list[float]]]:
    """Medians for each kind and number in flight: rate, p50, p99."""
    seen: dict[str, dict[int, list[tuple[float, float, float]]]] = {
        kind: {in_flight: [] for in_flight in IN_FLIGHT} for kind in KINDS
    }
    transport, bare = await ws_connect(BareClient, f"ws://127.0.0.1:{ports[KINDS[0]]}/")
    assert isinstance(bare, BareClient)
    async with TransportClient(f"ws://127.0.0.1:{ports[KINDS[1]]}/") as client:
        for _ in range(rounds):
            for in_flight in IN_FLIGHT:
                seen[KINDS[0]][in_flight].append(await load(bare.request, in_flight, size, seconds))
                seen[KINDS[1]][in_flight].append(await load(client.request, in_flight, size, seconds))
    transport.disconnect()
    return {
        kind: {in_flight: [median(column) for column in zip(*rows, strict=True)] for in_flight, rows in cells.items()}
        for kind, cells in seen.items()
    }


def main() -> None:
    """Start both servers, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7, help="of each measurement")
    parser.add_argument("--size", type=int, default=32, help="bytes of payload")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve))
        return
    servers, ports = [], {}
    for kind in KINDS:
        server = subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout is not None
        ports[kind] = int(server.stdout.readline())
    try:
        found = uvloop.run(measure(ports, arguments.rounds, arguments.size, arguments.seconds))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    if arguments.json:
        columns = ("per_second", "p50_us", "p99_us")
        print(
            json.dumps(
                {
                    kind: {number: dict(zip(columns, row, strict=True)) for number, row in cells.items()}
                    for kind, cells in found.items()
                }
            )
        )
        return
    print(f"requests of {arguments.size} bytes over WebSocket, uvloop, medians of {arguments.rounds} rounds")
    print(f"{'in flight':>9}  {'':11} {'per second':>10} {'p50 us':>8} {'p99 us':>8}")
    for in_flight in IN_FLIGHT:
        for kind in KINDS:
            rate, p50, p99 = found[kind][in_flight]
            print(f"{in_flight:9}  {kind:11} {rate:10,.0f} {p50:8.1f} {p99:8.1f}")
        print(f"{'':9}  {'rate ratio':11} {found[KINDS[1]][in_flight][0] / found[KINDS[0]][in_flight][0]:10.2f}")


if __name__ == "__main__":
    main()
