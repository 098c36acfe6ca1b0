"""What a pool of buffers is worth: beside bytearray(), in the decoder, and on real connections.

The decoder uses it from 128 to 192 KiB; `--unbounded` lets it use it above as well, to see why it does not. "keeping"
is a process whose allocator gives back less: MALLOC_MMAP_THRESHOLD_ is 4 MiB, MALLOC_TRIM_THRESHOLD_ 16 MiB.

Each measurement of decoder and connections runs in a process of its own, because glibc decides by what a process has
freed before whether memory goes back to the system; "after 16 MiB" is a process that has freed a block of that size.
The kinds alternate; figures are medians. Time is processor time: of the decoder's thread, or of the server's process.

    python benchmarks/msgtrans_buffers.py [--rounds 5] [--unbounded] [--json]
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
    codec,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KIB, MIB = 1 << 10, 1 << 20
SIZES = (100 * KIB, 136 * KIB, 160 * KIB, 190 * KIB, 256 * KIB, MIB)
STEPS = tuple(size * KIB for size in (136, 160, 192, 224, 256, 384, 512, 1024))
KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(4 * MIB), "MALLOC_TRIM_THRESHOLD_": str(16 * MIB)}
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


async def echo(size: int, in_flight: int, *, pooled: bool) -> float:
    """Microseconds of the processor for a request and an answer as large, client and server in this process."""
    config = SessionConfig(codec=CODEC, optimizations=Optimizations(buffer_pool=pooled))
    server = TransportServer(tcp="127.0.0.1:0", session=config)
    server.on_request(lambda context: context.payload)
    payload, times = bytes(size), max(12, 48 * MIB // size) // in_flight + 1
    async with server, TransportClient(server.uris[0], session=config) as client:

        async def ask() -> None:
            for _ in range(times):
                await client.request(payload)

        await client.request(payload)
        before = time.process_time_ns()
        await asyncio.gather(*(ask() for _ in range(in_flight)))
        return (time.process_time_ns() - before) / times / in_flight / 1000


def measure_echo(size: int, in_flight: int, *, pooled: bool, keeping: bool, unbounded: bool) -> float:
    """`echo` in a process of its own."""
    command = [sys.executable, __file__, "--echo", str(size), str(in_flight), "--pool", str(int(pooled))]
    if unbounded:
        command.append("--unbounded")
    environment = os.environ | (KEEPING if keeping else {})
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def measure_requests(rounds: int, *, unbounded: bool) -> dict[str, dict[int, float]]:
    """Medians of `echo` by what was measured and size, and of the ratios without to with the pool, both orders."""
    seen: dict[str, dict[int, list[float]]] = {}
    for turn in range(rounds):
        for size in STEPS:
            for in_flight in (1, 4):
                for keeping in (False, True):
                    kind = f"{in_flight} in flight{', keeping' if keeping else ''}"
                    found = {
                        pooled: measure_echo(size, in_flight, pooled=pooled, keeping=keeping, unbounded=unbounded)
                        for pooled in ((False, True) if turn % 2 else (True, False))
                    }
                    for name, value in (
                        (kind, found[False]),
                        (f"{kind}, pool", found[True]),
                        (f"{kind}, % of with the pool", 100 * found[False] / found[True]),
                    ):
                        seen.setdefault(name, {}).setdefault(size, []).append(value)
    return {kind: {size: median(values) for size, values in sizes.items()} for kind, sizes in seen.items()}


def measure(rounds: int) -> dict[str, dict[int, float]]:
    """Medians of decoder and server, by what was measured and size."""
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
    parser.add_argument("--unbounded", action="store_true", help="pool buffers for packets above 192 KiB as well")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--echo", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--decode", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pool", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--primed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.unbounded:
        codec.MOST_ASSEMBLED = sys.maxsize
    if arguments.echo:
        print(uvloop.run(echo(*arguments.echo, pooled=bool(arguments.pool))))
        return
    if arguments.decode:
        print(decode(arguments.decode, pooled=bool(arguments.pool), primed=bool(arguments.primed)))
        return
    if arguments.serve:
        uvloop.run(serve(pooled=bool(arguments.pool)))
        return
    asked = measure_requests(arguments.rounds, unbounded=arguments.unbounded)
    if arguments.unbounded:
        show("microseconds of the processor for a request and its answer, both this large", asked)
        return
    alone, together = raw(), measure(arguments.rounds)
    if arguments.json:
        print(json.dumps({"raw_ns": alone, "packet_us": together, "request_us": asked}))
        return
    show("microseconds of the processor for a request and its answer, both this large", asked)
    show("nanoseconds for a buffer, taken and given back", alone)
    show("microseconds of the processor for a packet", together)


if __name__ == "__main__":
    main()
