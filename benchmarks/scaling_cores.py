"""Cores of nodes in one process, without sockets: what they say to each other is carried as bytes, and counted.

Real nodes and replicas of both modes, with time that is given to them. Links are perfect, the bucket of the engine is
one in memory. Not here: what is done with the counts (`scaling_costs`, `scaling_checks`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from artemis.cluster import ClusterTimings, Replica, decode_message, encode_message
from artemis.cluster.engine.port import AskLast, Get, Purge, Put, Read, Tell, decode_told, encode_told
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.operations import ReplicatedOperations
from artemis.model import Instance, RegistryRequest
from artemis.registry import NodeTimings
from artemis.server.node import Node, NodeIdentity
from artemis.testing.simulation.bucket import Bucket

WALL = 1_700_000_000_000
TIMINGS = NodeTimings(ttl=600_000, heartbeat=5_000, lifetime=1_200_000)
REGION, ZONE = "local", "zone1"
TICK = 100


def instance(number: int, services: int, mark: int = 0) -> Instance:
    """Return an instance of about 330 bytes of JSON; another `mark` makes it differ."""
    ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return Instance(
        region_id=REGION,
        zone_id=ZONE,
        service_id=f"demo.service{number % services}",
        instance_id=f"host-{number}:8080",
        machine_name=f"host-{number}",
        ip=ip,
        port=8080,
        protocol="http",
        url=f"http://{ip}:8080/",
        health_check_url=f"http://{ip}:8080/health",
        status="up",
        metadata={"version": "1.4.2", "mark": f"{mark:08}"},
    )


class Core:
    """One node: `spent` are the seconds of a processor that it took for what."""

    def __init__(self, name: str, now: int) -> None:
        self.name = name
        identity = NodeIdentity(node_id=name, epoch=WALL, region=REGION, zone=ZONE, url=f"http://{name}:8080")
        self.node = Node(identity, timings=TIMINGS, now=now, wall=WALL + now)
        self.node.tick(now, WALL + now)
        self.operators = ReplicatedOperations(self.node.pullouts, self.node.registry)
        self.spent: Counter[str] = Counter()

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count what is used within."""
        began = time.thread_time_ns()
        yield
        self.spent[what] += time.thread_time_ns() - began

    def register(self, instances: Iterable[Instance], now: int) -> None:
        """Register as clients do."""
        with self.timed("register"):
            assert not self.node.register(RegistryRequest(instances=[*instances]), now).failed_instances

    def heartbeat(self, instances: Iterable[Instance], now: int) -> None:
        """Heartbeat as clients do."""
        with self.timed("heartbeat"):
            assert not self.node.heartbeat(RegistryRequest(instances=[*instances]), now).failed_instances


class MeshCore(Core):
    """A node of a mesh."""

    def __init__(self, name: str, now: int) -> None:
        super().__init__(name, now)
        self.replica = Replica(self.node.registry, self.operators, ClusterTimings(), now=now, wall=WALL + now)


class EngineCore(Core):
    """A node with the engine; `reading` is the number up to which it has read the bucket."""

    def __init__(self, name: str, now: int) -> None:
        super().__init__(name, now)
        self.replica = EngineReplica(self.node.registry, self.operators, ClusterTimings(), now=now, wall=WALL + now)
        self.reading: int | None = None


CoreT = TypeVar("CoreT", MeshCore, EngineCore)


class World(Generic[CoreT]):
    """Nodes, and time. `messages` and `bytes` are what they say, by what it is."""

    def __init__(self) -> None:
        self.now = 1_000
        self.cores: list[CoreT] = []
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def forget(self) -> None:
        """Begin to count anew."""
        self.messages.clear()
        self.bytes.clear()
        for core in self.cores:
            core.spent.clear()

    def tick(self) -> None:
        """Let a tenth of a second pass."""
        self.now += TICK
        for core in self.cores:
            while core.node.tick(self.now, WALL + self.now):
                pass
            with core.timed("told"):
                core.replica.tick(self.now, WALL + self.now)
        self.carry()

    def carry(self) -> None:
        """Carry what nodes say until nobody has anything to say."""
        raise NotImplementedError


class MeshWorld(World[MeshCore]):
    """Nodes of a mesh. `messages` and `bytes` are those of all links, by what they are."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.held = False
        for _ in range(count):
            self.add()

    def add(self) -> MeshCore:
        """Add a node, linked with all others."""
        new = MeshCore(f"node{len(self.cores)}", self.now)
        self.cores.append(new)
        names = [core.name for core in self.cores]
        for core in self.cores:
            core.replica.set_members(names)
            if core is not new:
                core.replica.connect(new.name, self.now)
                new.replica.connect(core.name, self.now)
        return new

    def carry(self) -> None:
        """Carry messages until nobody has anything to say."""
        by_name = {core.name: core for core in self.cores}
        busy = not self.held
        while busy:
            busy = False
            for source in self.cores:
                with source.timed("told"):
                    source.replica.flush(self.now)
                    said = [
                        (to, type(message).__name__, encode_message(message)) for to, message in source.replica.take()
                    ]
                for to, kind, data in said:
                    busy = True
                    targets = [by_name[to]] if to is not None else [core for core in self.cores if core is not source]
                    self.messages[kind] += len(targets)
                    self.bytes[kind] += len(targets) * len(data)
                    for target in targets:
                        with target.timed(f"taken {kind}"):
                            target.replica.receive(source.name, decode_message(data), self.now)


class EngineWorld(World[EngineCore]):
    """Nodes around a bucket in memory. `messages` and `bytes` are what goes to the bucket (`Put`), comes from it
    (`Entry`) and is said beside it, each arrival counted; requests without a value are not."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.bucket = Bucket("bucket")
        self.cores += [EngineCore(f"node{number}", self.now) for number in range(count)]
        for core in self.cores:
            core.replica.set_members([each.name for each in self.cores])
            core.replica.opened(self.bucket.opening(self.now), self.now)
        self.carry()

    def carry(self) -> None:
        """Do what nodes want until nobody wants anything."""
        busy = True
        while busy:
            busy = sum(self._step(core) for core in self.cores) > 0

    def _step(self, core: EngineCore) -> bool:
        with core.timed("told"):
            core.replica.flush(self.now)
            commands: Sequence[object] = core.replica.take()
        for command in commands:
            self._do(core, command)
        return self._bring(core) or bool(commands)

    def _do(self, core: EngineCore, command: object) -> None:
        replica, now = core.replica, self.now
        match command:
            case Read(after):
                core.reading = after
            case Put(number, _, value, _):
                self._count("Put", len(value))
                outcome = self.bucket.put(command, now)
                with core.timed("told"):
                    if isinstance(outcome, int):
                        replica.stored(number, outcome, now)
                    else:
                        replica.conflicted(number, now)
            case Get(key):
                replica.got(key, self.bucket.get(key, now), now)
            case Purge():
                self.bucket.purge(command)
            case AskLast():
                replica.last(self.bucket.last, now)
            case Tell(to, message):
                with core.timed("told"):
                    data = encode_told(message)
                for other in self.cores:
                    if other is not core and to in (None, other.name):
                        self._count(type(message).__name__, len(data))
                        with other.timed("taken"):
                            other.replica.receive(core.name, decode_told(data), now)

    def _bring(self, core: EngineCore) -> bool:
        brought = False
        while core.reading is not None and (entry := self.bucket.after(core.reading, self.now)) is not None:
            core.reading, brought = entry.sequence, True
            self._count("Entry", len(entry.value))
            with core.timed("taken"):
                core.replica.entry(entry, self.now)
        if core.reading is not None and core.reading < self.bucket.last:
            core.reading = self.bucket.last
        if brought and core.reading is not None:
            core.replica.at(core.reading, self.now)
        return brought

    def _count(self, kind: str, size: int) -> None:
        self.messages[kind] += 1
        self.bytes[kind] += size
