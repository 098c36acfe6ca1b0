"""What a pool of buffers is worth: beside bytearray(), in the decoder, and on real connections.

Each measurement of decoder and connections runs in a process of its own, because glibc decides by what a process has
freed before whether memory goes back to the system; "after 16 MiB" is a process that has freed a block of that size.
The kinds alternate; figures are medians. Time is processor time: of the decoder's thread, or of the server's process.

    python benchmarks/msgtrans_buffers.py [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from msgtrans import (
    BufferClass,
    BufferPool,
    CodecOptions,
    Context,
    Optimizations,
    Packet,
    PacketDecoder,
    SessionConfig,
    TransportClient,
    TransportServer,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1 << 10, 1 << 20
SIZES = (32 * KIB, 64 * KIB, 100 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB)
CODEC = CodecOptions(max_payload_size=16 * MIB)
READ = 64 * KIB
HELD = 16  # buffers in use at once


def raw() -> dict[str, dict[int, float]]:
    """Nanoseconds for a buffer that is taken and given back, one at a time and 16 in use at once, by class."""
    pool = BufferPool()

    def time_of(work: Callable[[], object], buffers: int) -> float:
        rounds = []
        for _ in range(7):
            start = time.thread_time_ns()
            for _ in range(2000):
                work()
            rounds.append((time.thread_time_ns() - start) / 2000 / buffers)
        return median(rounds)

    def rows(size: int) -> dict[str, float]:
        def many() -> None:
            for buffer in [pool.get(size) for _ in range(HELD)]:
                pool.release(buffer)

        return {
            "bytearray": time_of(lambda: bytearray(size), 1),
            "pool": time_of(lambda: pool.release(pool.get(size)), 1),
            f"{HELD} bytearrays": time_of(lambda: [bytearray(size) for _ in range(HELD)], HELD),
            f"{HELD} of the pool": time_of(many, HELD),
        }

    by_class = {kind.value: rows(kind) for kind in BufferClass}
    return {name: {size: found[name] for size, found in by_class.items()} for name in by_class[BufferClass.SMALL]}


def decode(size: int, *, pooled: bool, primed: bool) -> float:
    """Microseconds of the decoder for a packet of `size` bytes, read 64 KiB at a time into one buffer."""
    if primed:
        bytearray(16 * MIB)
    wire = encode(Packet(0, 1, bytes(size)), CODEC)
    buffer = memoryview(bytearray(READ))
    reads = [min(READ, len(wire) - at) for at in range(0, len(wire), READ)]
    decoder = PacketDecoder(CODEC, buffers=BufferPool() if pooled else None)
    times = max(4, 16 * MIB // size)
    rounds = []
    for _ in range(7):
        start = time.thread_time_ns()
        for _ in range(times):
            buffer[: reads[0]] = wire[: reads[0]]
            for length in reads:
                found = decoder.feed(buffer[:length])
            assert len(found) == 1
        rounds.append((time.thread_time_ns() - start) / times / 1000)
    return median(rounds)


async def serve(*, pooled: bool) -> None:
    """Count messages; answer requests with the processor time of this process, until killed."""
    config = SessionConfig(codec=CODEC, optimizations=Optimizations(buffer_pool=pooled))
    server = TransportServer(tcp="127.0.0.1:0", session=config)

    @server.on_message
    def count(context: Context) -> None:
        assert context.payload

    @server.on_request
    def answer(context: Context) -> bytes:  # noqa: ARG001 - nothing to look at
        return b"%d" % time.process_time_ns()

    await server.start()
    print(server.tcp_address.port, flush=True)
    await server.serve_forever()


async def send(port: int, size: int) -> float:
    """Microseconds of the server's processor for a message of `size` bytes."""
    payload, times = bytes(size), max(8, 64 * MIB // size)
    async with TransportClient(f"tcp://127.0.0.1:{port}", session=SessionConfig(codec=CODEC)) as client:
        await client.send(payload)
        before = int((await client.request(b"?", timeout=60)).payload)
        for _ in range(times):
            await client.send(payload)
        after = int((await client.request(b"?", timeout=60)).payload)
    return (after - before) / times / 1000


def measure_decoder(size: int, *, pooled: bool, primed: bool) -> float:
    """`decode` in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--decode",
        str(size),
        "--pool",
        str(int(pooled)),
        "--primed",
        str(int(primed)),
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measure_server(size: int, *, pooled: bool) -> float:
    """`send` to a server in a process of its own."""
    command = [sys.executable, __file__, "--serve", "--pool", str(int(pooled))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            return uvloop.run(send(int(server.stdout.readline()), size))
        finally:
            server.kill()


def measure(rounds: int) -> dict[str, dict[int, float]]:
    """Medians of everything that takes processes, by what was measured and size."""
    kinds: dict[str, Callable[[int], float]] = {
        "decoder": lambda size: measure_decoder(size, pooled=False, primed=False),
        "decoder, pool": lambda size: measure_decoder(size, pooled=True, primed=False),
        "decoder after 16 MiB": lambda size: measure_decoder(size, pooled=False, primed=True),
        "decoder after 16 MiB, pool": lambda size: measure_decoder(size, pooled=True, primed=True),
        "server": lambda size: measure_server(size, pooled=False),
        "server, pool": lambda size: measure_server(size, pooled=True),
    }
    seen: dict[str, dict[int, list[float]]] = {kind: {size: [] for size in SIZES} for kind in kinds}
    for _ in range(rounds):
        for size in SIZES:
            for kind, work in kinds.items():
                seen[kind][size].append(work(size))
    return {kind: {size: median(found) for size, found in sizes.items()} for kind, sizes in seen.items()}


def show(title: str, found: dict[str, dict[int, float]]) -> None:
    """A line for each kind, a column for each size."""
    sizes = next(iter(found.values()))
    width = max(map(len, found))
    print(title)
    print(f"{'':{width}}", *(f"{f'{size // KIB} KiB':>10}" for size in sizes))
    for kind, values in found.items():
        print(f"{kind:{width}}", *(f"{value:10,.0f}" for value in values.values()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--decode", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pool", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--primed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decode:
        print(decode(arguments.decode, pooled=bool(arguments.pool), primed=bool(arguments.primed)))
        return
    if arguments.serve:
        uvloop.run(serve(pooled=bool(arguments.pool)))
        return
    alone, together = raw(), measure(arguments.rounds)
    if arguments.json:
        print(json.dumps({"raw_ns": alone, "packet_us": together}))
        return
    show("nanoseconds for a buffer, taken and given back", alone)
    show("microseconds of the processor for a packet", together)


if __name__ == "__main__":
    main()
