"""What the engine costs: a node in this process with its real carrier, others that only read, and a nats-server.

Changes come at a steady rate, each in a turn of its own, first with one node, then with several; each of the others is
a process of its own. Not here: doors and what nodes cost without a cluster (`scaling_costs`).
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog
import uvloop
from scaling_cores import REGION, TIMINGS, ZONE, instance
from scaling_nodes import EngineServer, Traffic, cpu, engine_server, memory

from artemis.cluster import ClusterTimings
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.nats.bucket import BucketOptions
from artemis.cluster.nats.carrier import Carrier, EngineOptions
from artemis.cluster.nats.servers import parse_servers
from artemis.cluster.operations import ReplicatedOperations
from artemis.model import RegistryRequest
from artemis.server.node import Node, NodeIdentity

NAMES = ("a", "b", "c", "d")
"""The first one is changed, the others only read."""


def now() -> int:
    """Return monotonic milliseconds."""
    return int(time.monotonic() * 1_000)


def wall() -> int:
    """Return the wall clock in milliseconds."""
    return int(time.time() * 1_000)


class EngineNode:
    """A node with its replica and what carries that, for which time passes; without a server only the node."""

    def __init__(self, name: str, url: str) -> None:
        identity = NodeIdentity(node_id=name, epoch=wall(), region=REGION, zone=ZONE, url=f"http://{name}")
        self.node = Node(identity, timings=TIMINGS, now=now(), wall=wall())
        self.node.tick(now(), wall())
        self.heard = 0
        self.carrier: Carrier | None = None
        self._ticking = asyncio.create_task(self._tick())
        if not url:
            return
        operators = ReplicatedOperations(self.node.pullouts, self.node.registry)
        self.replica = EngineReplica(self.node.registry, operators, ClusterTimings(), now=now(), wall=wall())
        self.replica.set_members(NAMES)
        bucket = BucketOptions(cluster="costs", region=REGION, max_entries=10_000_000)
        self.carrier = Carrier(
            self.replica,
            EngineOptions(servers=parse_servers(url), bucket=bucket),
            node=name,
            epoch=identity.epoch,
            heard=self._hear,
            now=now,
            wall=wall,
            log=structlog.get_logger(),
        )
        self.node.registry.on_change(lambda _: self.carrier.soon() if self.carrier is not None else None)
        self.carrier.start()

    def register(self, number: int, services: int, mark: int) -> None:
        """Register an instance."""
        request = RegistryRequest(instances=[instance(number, services, mark)])
        assert not self.node.register(request, now()).failed_instances

    async def until_quiet(self) -> None:
        """Wait until everything is read and put."""
        async with asyncio.timeout(120):
            while not self.replica.synced or self.replica.dirty:  # noqa: ASYNC110 - a replica tells nobody
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it."""
        self._ticking.cancel()
        await asyncio.wait([self._ticking])
        if self.carrier is not None:
            await self.carrier.stop()

    def _hear(self, *_: object) -> None:
        self.heard += 1

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            while self.node.tick(now(), wall()):
                pass
            if self.carrier is not None:
                self.carrier.tick()


class Reader:
    """A node that only reads, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, name: str, url: str) -> Reader:
        """Start it, and wait until it has read everything."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, name, url, stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"read\n"
        return cls(process)

    def cpu(self) -> float:
        """Seconds of a processor so far."""
        return cpu(self._process.pid)

    async def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def read(name: str, url: str) -> None:
    """Be a reader until the standard input ends."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    node = EngineNode(name, url)
    await node.until_quiet()
    print("read", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await node.stop()


class Seen(msgspec.Struct, frozen=True):
    """What was used in a second: here, by each reader, by the server, and what that sent and received."""

    processor: float
    reader: float
    server: float
    bytes: Traffic


async def steady(
    server: EngineServer, readers: Sequence[Reader], seconds: float, rate: float, do: Callable[[int], None]
) -> Seen:
    """Do something so often a second, and see what it takes."""
    here, there, traffic, began = time.process_time(), cpu(server.pid), server.traffic(), time.perf_counter()
    beside, done = sum(reader.cpu() for reader in readers), 0
    while (passed := time.perf_counter() - began) < seconds:
        if done < passed * rate:
            do(done)
            done += 1
        await asyncio.sleep(max(0.0, began + done / rate - time.perf_counter()))
    took = time.perf_counter() - began
    return Seen(
        processor=(time.process_time() - here) / took,
        reader=(sum(reader.cpu() for reader in readers) - beside) / took / max(1, len(readers)),
        server=(cpu(server.pid) - there) / took,
        bytes=server.traffic().since(traffic, took),
    )


class Seens(msgspec.Struct, frozen=True):
    """At rest and while changes come."""

    rest: Seen
    changes: Seen

    def processor(self, rate: float) -> float:
        """Microseconds of a change here."""
        return (self.changes.processor - self.rest.processor) / rate * 1e6

    def reader(self, rate: float) -> float:
        """Microseconds of a change at each reader."""
        return (self.changes.reader - self.rest.reader) / rate * 1e6

    def server(self, rate: float) -> float:
        """Microseconds of a change at the server."""
        return (self.changes.server - self.rest.server) / rate * 1e6

    def bytes(self, rate: float) -> Traffic:
        """Bytes of a change."""
        now, before = self.changes.bytes, self.rest.bytes
        return Traffic(sent=(now.sent - before.sent) / rate, received=(now.received - before.received) / rate)


async def engine(instances: int, seconds: float, rate: float, wake: float) -> dict[str, float]:
    """Measure it; `rate` is that of changes, `wake` what it costs to be woken."""
    services = instances // 10
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

    async def changing(server: EngineServer, node: EngineNode, *readers: Reader) -> Seens:
        rest = await steady(server, readers, seconds, rate, _nothing)
        changes = await steady(
            server, readers, seconds, rate, lambda number: node.register(number * 7 % instances, services, number)
        )
        return Seens(rest, changes)

    async with engine_server() as server:
        bare = EngineNode("a", "")
        none = await changing(server, bare)
        await bare.stop()
        a = EngineNode("a", server.server.url)
        await a.until_quiet()
        empty, disk = memory(server.pid), server.stored()
        first = await Reader.start("b", server.server.url)
        unread = first.cpu()
        await first.stop()
        for number in range(instances):
            a.register(number, services, 0)
            if not number % 100:
                await asyncio.sleep(0)
        await a.until_quiet()
        await asyncio.sleep(1.0)
        found = {"server_memory": (memory(server.pid) - empty) / instances}
        found["server_disk"] = (server.stored() - disk) / instances
        gc.collect()
        gc.freeze()
        one = await changing(server, a)
        await a.until_quiet()
        readers = [await Reader.start(name, server.server.url) for name in NAMES[1:]]
        found["copy_entry"] = (sum(reader.cpu() for reader in readers) / len(readers) - unread) / instances * 1e6
        await asyncio.sleep(1.0)
        several = await changing(server, a, *readers)
        await a.until_quiet()
        assert a.carrier is not None
        say = a.carrier.say
        beats = Seens(several.rest, await steady(server, readers, seconds, rate, lambda _: say(b"x" * 40)))
        for node in (*readers, a):
            await node.stop()
    return found | costs(none, one, several, beats, len(readers), rate, wake)


def costs(
    none: Seens, one: Seens, several: Seens, beats: Seens, readers: int, rate: float, wake: float
) -> dict[str, float]:
    """Return what follows of a node without the engine, of one with it, of several of which all but one only read, and
    of these when one tells something: that comes to all, also back to who said it."""
    waits = 1 - several.changes.reader
    told, told_bytes = beats.reader(rate) - wake * waits, beats.bytes(rate).received
    markers = min(50.0, rate) / rate
    told_at_all = beats.processor(rate) * markers
    # Of a put the answer wakes a node, and then its entry.
    put = one.processor(rate) - none.processor(rate) - told_at_all - 2 * wake * (1 - one.changes.processor)
    server_told = beats.server(rate) / (readers + 1)
    server_entry = max(0.0, (several.server(rate) - one.server(rate)) / readers - markers * server_told)
    return {
        "told": max(0.0, told),
        "told_bytes": told_bytes,
        "engine_rest": max(0.0, one.rest.processor - none.rest.processor) * 1e6,
        "member_rest": max(0.0, several.rest.processor - one.rest.processor) / readers * 1e6,
        "put": put,
        "put_bytes": one.bytes(rate).received - markers * told_bytes,
        "entry": several.reader(rate) - wake * waits - markers * beats.reader(rate),
        "entry_bytes": (several.bytes(rate).sent - one.bytes(rate).sent) / readers - markers * told_bytes,
        "server_told": server_told,
        "server_rest": several.rest.server / (readers + 1) * 1e6,
        "server_entry": server_entry,
        "server_put": max(0.0, one.server(rate) - server_entry - markers * server_told),
    }


def _nothing(_: int) -> None:
    """Only time passes."""


if __name__ == "__main__":
    uvloop.run(read(*sys.argv[1:]))
