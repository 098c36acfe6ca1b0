"""The engine over NATS: entries put and read a second, and how long one takes from its put to another node.

One nats-server on this machine, one core that puts and one that reads, in this process; a core here only counts, so
what a node makes of entries comes on top. Without nats-server nothing is measured.

    python benchmarks/engine_nats.py [--entries 50000] [--changes 2000] [--rate 200] [--json]
"""

# ruff: noqa: ARG002 - a core is told more than is counted here
from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from artemis.cluster.engine.port import Command, Entry, Opening, Put, Read, Told
from artemis.cluster.nats.bucket import BucketOptions
from artemis.cluster.nats.carrier import Carrier, EngineOptions
from artemis.cluster.nats.servers import parse_servers
from artemis.testing.nats_servers import NatsServer, nats_server

SIZE = 300
"""Bytes of an entry."""


class Counting:
    """A core that counts, and notes when what came."""

    def __init__(self) -> None:
        self.stored_count = 0
        self.seen: dict[str, float] = {}
        self.open = asyncio.Event()
        self.changed = asyncio.Event()
        self.reads = True
        self.over = False
        self._commands: list[Command] = []
        self._number = 0

    def put(self, key: str) -> None:
        """Have a new entry put."""
        self._number += 1
        self._commands.append(Put(self._number, key, b"v" * SIZE, 0))

    def read(self) -> None:
        """Read all from the beginning."""
        self.seen.clear()
        self._commands.append(Read(0))

    def opened(self, opening: Opening, now: int) -> None:
        """Begin, as far as it is to."""
        if self.reads:
            self.read()
        self.open.set()

    def lost(self, why: str, now: int) -> None:
        """Give up, unless all is over: this is no figure."""
        if not self.over:
            raise SystemExit(f"the engine was lost: {why}")

    def entry(self, entry: Entry, now: int) -> None:
        """Note it."""
        self.seen[entry.key] = time.perf_counter()
        self.changed.set()

    def stored(self, number: int, sequence: int, now: int) -> None:
        """Count it."""
        self.stored_count += 1
        self.changed.set()

    def conflicted(self, number: int, now: int) -> None:
        """Give up: keys are new."""
        raise SystemExit("a put was in conflict")

    def refused(self, number: int, full: bool, why: str, now: int) -> None:
        """Give up."""
        raise SystemExit(f"a put was refused: {why}")

    def unknown(self, number: int, now: int) -> None:
        """Give up."""
        raise SystemExit("nobody knows what became of a put")

    def at(self, sequence: int, now: int) -> None:
        """Nothing is made of it; so it is with all that follow."""

    def last(self, sequence: int, now: int) -> None:
        """See `at`."""

    def got(self, key: str, entry: Entry | None, now: int) -> None:
        """See `at`."""

    def receive(self, node: str, message: Told, now: int) -> None:
        """See `at`."""

    def flush(self, now: int) -> None:
        """See `at`."""

    def tick(self, now: int, wall: int) -> None:
        """See `at`."""

    def take(self) -> Sequence[Command]:
        """Return what is to be done."""
        commands, self._commands = self._commands, []
        return commands


def carrier_of(core: Counting, node: str, url: str) -> Carrier:
    """Return what carries a core."""
    return Carrier(
        core,
        EngineOptions(
            servers=parse_servers(url), bucket=BucketOptions(cluster="bench", region="local", max_entries=10_000_000)
        ),
        node=node,
        epoch=1,
        heard=lambda *_: None,
        now=lambda: int(time.monotonic() * 1000),
        wall=lambda: int(time.time() * 1000),
        log=structlog.get_logger(),
    )


async def measure(url: str, entries: int, changes: int, rate: float) -> dict[str, float]:
    """Return entries a second, and milliseconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    writer, reader = Counting(), Counting()
    writer.reads = reader.reads = False
    carriers = carrier_of(writer, "writer", url), carrier_of(reader, "reader", url)
    for each in carriers:
        each.start()
    await writer.open.wait()
    await reader.open.wait()

    begun = time.perf_counter()
    for number in range(entries):
        writer.put(f"i.k{number}")
    carriers[0].turn()
    while writer.stored_count < entries:
        writer.changed.clear()
        await writer.changed.wait()
    puts = entries / (time.perf_counter() - begun)

    begun = time.perf_counter()
    reader.read()
    carriers[1].turn()
    while len(reader.seen) < entries:
        reader.changed.clear()
        await reader.changed.wait()
    reads = entries / (time.perf_counter() - begun)

    sent: dict[str, float] = {}
    begun = time.perf_counter()
    for number in range(changes):
        await asyncio.sleep(max(begun + number / rate - time.perf_counter(), 0))
        key = f"i.c{number}"
        sent[key] = time.perf_counter()
        writer.put(key)
        carriers[0].turn()
    while len(reader.seen) < entries + changes:
        reader.changed.clear()
        await reader.changed.wait()
    took = sorted((reader.seen[key] - at) * 1000 for key, at in sent.items())
    writer.over = reader.over = True
    for each in carriers:
        await each.stop()
    return {"puts": puts, "reads": reads, "p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=50_000)
    parser.add_argument("--changes", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if nats_server() is None:
        print("there is no nats-server; install it to measure this")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder) / "alone")
        server.start()
        try:
            found = asyncio.run(measure(server.url, arguments.entries, arguments.changes, arguments.rate))
        finally:
            server.kill()
    if arguments.json:
        print(json.dumps(found))
    else:
        print(f"{found['puts']:.0f} entries put a second, {found['reads']:.0f} read")
        print(f"from a put to another node: p50 {found['p50']:.2f} ms, p99 {found['p99']:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
