"""One-way messages by the session's own `send`, by `PacketBatches` and by `SessionPipelines`, over TCP.

What sending through a queue, or through tasks with queues, costs beside doing without. Server and client are a process
each; the clock stops when a request behind the last message is answered. Rounds go through all ways in turn; medians.

    python benchmarks/msgtrans_batches.py [--rounds 5] [--messages 50000] [--size 32] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from msgtrans import Packet, Session, TransportClient, TransportServer
from msgtrans.flow.batching import PacketBatches
from msgtrans.flow.pipelines import SessionPipelines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def serve() -> None:
    """Count messages by letting them come, until killed."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_message(lambda _: None)
    server.on_request(lambda context: context.payload)
    await server.start()
    print(server.tcp_address.port, flush=True)
    await server.serve_forever()


async def by_send(session: Session, packets: list[Packet]) -> None:
    """The session's own words."""
    for packet in packets:
        await session.send(packet.payload)


async def by_batches(session: Session, packets: list[Packet]) -> None:
    """A queue, and 32 in each write."""
    batches = PacketBatches(session)
    at = 0
    while at < len(packets) or len(batches):
        at += batches.batch_write(packets[at : at + 32])
        if not batches.process_batch():
            await asyncio.sleep(0)


async def by_pipelines(session: Session, packets: list[Packet]) -> None:
    """A queue and a task."""
    pipelines = SessionPipelines(session)
    pipelines.start()
    for packet in packets:
        await pipelines.send(packet)
    while (await pipelines.health_check()).queued:  # noqa: ASYNC110 - the last messages are a matter of turns
        await asyncio.sleep(0)


WAYS: dict[str, Callable[[Session, list[Packet]], Awaitable[None]]] = {
    "await session.send()": by_send,
    "PacketBatches, 32": by_batches,
    "SessionPipelines, 32": by_pipelines,
}


async def measure(port: int, rounds: int, count: int, size: int) -> dict[str, list[float]]:
    """Messages per second of each way and round."""
    packets = [Packet(0, 0, b"x" * size)] * count
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, send in WAYS.items():
            async with TransportClient(f"tcp://127.0.0.1:{port}") as client:
                start = time.perf_counter()
                await send(client.session, packets)
                await client.request(b"", timeout=60)
                rates[way].append(count / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=50_000, help="of each round")
    parser.add_argument("--size", type=int, default=32, help="bytes of payload")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            rates = uvloop.run(measure(port, arguments.rounds, arguments.messages, arguments.size))
        finally:
            server.kill()
    found = {way: median(each) for way, each in rates.items()}
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"one-way messages of {arguments.size} bytes, uvloop, medians of {arguments.rounds} rounds")
    for way, rate in found.items():
        print(f"{way:24}{rate:12,.0f} per second{rate / found['await session.send()']:8.2f}")


if __name__ == "__main__":
    main()
