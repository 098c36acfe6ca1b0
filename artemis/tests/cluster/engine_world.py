"""A small world for tests of the engine's core: nodes around a bucket in memory, which tests cut off by hand."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

from artemis.cluster import ClusterTimings
from artemis.cluster.engine.port import (
    AskLast,
    Command,
    Get,
    Position,
    Purge,
    Put,
    Read,
    Scan,
    Tell,
    Told,
    decode_told,
    encode_told,
)
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.operations import ReplicatedOperations
from artemis.management import InstanceTarget, OperationRecord
from artemis.model import Instance
from artemis.registry import NodeTimings, Origin
from artemis.registry.restore import read_snapshot
from artemis.server.node import Node, NodeIdentity
from artemis.testing.simulation.bucket import Bucket

WALL = 1_700_000_000_000
TIMINGS = NodeTimings(ttl=8_000, legacy_ttl=30_000, heartbeat=2_000, hold=24_000, grace=4_000, lifetime=60_000)


def instance(name: str, service: str = "s", **fields: object) -> Instance:
    """Return a valid instance of region r."""
    values: dict[str, object] = {"region_id": "r", "service_id": service, "instance_id": name, "url": "http://x"}
    return Instance(**(values | fields))


class Member:
    """One life of a node, and its carrier: what it is to do waits in `queue`. `reading` is how far it was brought."""

    def __init__(
        self, name: str, epoch: int, world: World, saved: bytes | None = None, position: Position | None = None
    ) -> None:
        self.name, self.epoch = name, epoch
        self.queue: deque[Command] = deque()
        self.reading: int | None = None
        self.told_at = 0
        self.cut = True
        wall = WALL + world.now
        identity = NodeIdentity(node_id=name, epoch=epoch, region="r", zone="z", url=f"http://{name}")
        read = None if saved is None else read_snapshot(saved, region="r", node=name, epoch=epoch)
        self.node = Node(identity, timings=TIMINGS, saved=read, now=world.now, wall=wall)
        self.registry = self.node.registry
        operators = ReplicatedOperations(self.node.pullouts, self.registry)
        self.replica = EngineReplica(
            self.registry, operators, ClusterTimings(), position=position, now=world.now, wall=wall
        )

    def shows(self) -> dict[str, bytes]:
        """Return what callers see of all services."""
        return {
            f"{service}/{name}": content
            for service in sorted(self.registry.services)
            for name, content in self.node.catalog.instances(service)
        }


class World:
    """Some nodes, one clock, and a bucket. With `rnd` outcomes are late and unknown, and told messages lost. `tried`
    are the keys that were to be put, in order."""

    def __init__(self, names: Iterable[str] = ("a", "b"), *, most: int = 1_000_000, seed: int | None = None) -> None:
        self.now = 1_000
        self.bucket = Bucket("bucket 1", most)
        self.most = most
        self.rnd = None if seed is None else random.Random(seed)  # noqa: S311 - it is to be repeated
        self.members: dict[str, Member] = {}
        self.late: list[tuple[Bucket, Put]] = []
        self.purged = 0
        self.tried: list[str] = []
        for name in names:
            self.add(name)

    @property
    def puts(self) -> int:
        """Count the puts that were tried."""
        return len(self.tried)

    def __getitem__(self, name: str) -> Member:
        """Return a node."""
        return self.members[name]

    def add(self, name: str, epoch: int = 1, saved: bytes | None = None, position: Position | None = None) -> Member:
        """Add a node, or another life of one, and let it reach the bucket."""
        member = self.members[name] = Member(name, epoch, self, saved, position)
        for each in self.members.values():
            each.replica.set_members(self.members)
        self.join(name)
        return member

    def save(self, name: str) -> tuple[bytes, Position | None]:
        """Return a snapshot of a node, and how far it has read."""
        member = self.members[name]
        position = member.replica.position
        return b"".join(member.node.cut(self.now, WALL + self.now).chunks()), position

    def cut(self, *names: str) -> None:
        """Let nodes reach the bucket and the others no longer."""
        for name in names:
            member = self.members[name]
            for command in member.queue:
                if isinstance(command, Put) and self.rnd is not None and self.rnd.random() < 0.5:
                    self.late.append((self.bucket, command))
            member.cut, member.reading = True, None
            member.queue.clear()
            member.replica.lost("it was cut off", self.now)

    def join(self, *names: str) -> None:
        """Let nodes reach the bucket again."""
        for name in names:
            member = self.members[name]
            if member.cut:
                member.cut = False
                member.queue.clear()
                member.replica.opened(self.bucket.opening(self.now), self.now)

    def remake(self) -> None:
        """Put an empty bucket in the place of this one."""
        names = [name for name, member in self.members.items() if not member.cut]
        self.cut(*names)
        self.bucket = Bucket(f"{self.bucket.identity}'", self.most)
        self.join(*names)

    def settle(self) -> None:
        """Carry out commands until nobody has anything to do."""
        busy = True
        while busy:
            busy = False
            for member in list(self.members.values()):
                while self.step(member):
                    busy = True

    def step(self, member: Member) -> bool:
        """Carry out what a node wants by now, and bring it what there is; whether there was anything."""
        member.replica.flush(self.now)
        commands = member.replica.take()
        if member.cut:
            return False
        member.queue.extend(commands)
        count = len(member.queue)
        for _ in range(count if self.rnd is None else self.rnd.randint(0, count)):
            self._carry(member, member.queue.popleft())
        return self._bring(member) or bool(count)

    def run(self, duration: int, beats: Iterable[tuple[str, str]] = (), step: int = 100) -> None:
        """Let time pass; `beats` are the pairs of node and instance that heartbeat every two seconds."""
        end = self.now + duration
        while self.now < end:
            self.now += step
            self._later()
            for node, name in beats:
                if self.now % 2_000 < step:
                    self.beat(node, name)
            for member in self.members.values():
                while member.node.tick(self.now, WALL + self.now):
                    pass
                member.replica.tick(self.now, WALL + self.now)
            if self.rnd is None:
                self.settle()
            else:
                for _ in range(3):
                    for member in list(self.members.values()):
                        self.step(member)

    def beat(self, node: str, name: str) -> None:
        """Let an instance heartbeat, and register when it must."""
        registry = self.members[node].registry
        if registry.heartbeat(instance(name), self.now, (0, "")) is None:
            registry.register(instance(name), self.now)

    def pull_out(self, node: str, name: str) -> None:
        """Let an operator pull an instance out."""
        target = InstanceTarget("r", "s", name)
        self.members[node].node.pullouts.operate(target, OperationRecord("pulloutinstance", "o", None), self.now)

    def pull_in(self, node: str, name: str) -> None:
        """Let an operator pull an instance in."""
        self.members[node].node.pullouts.complete(InstanceTarget("r", "s", name), "pulloutinstance", self.now)

    def alike(self) -> bool:
        """Tell whether all nodes know and show the same, and know that they know it; when they forget lives that are
        over is their own business."""
        living = {member.registry.origin for member in self.members.values()}
        states = [
            (
                member.shows(),
                {origin: seq for origin, seq in member.registry.vector.items() if seq and origin in living},
                member.replica.digest,
            )
            for member in self.members.values()
        ]
        return all(state == states[0] for state in states)

    def lives(self) -> bool:
        """Tell whether all nodes know as much of the lives that are over and not forgotten by any."""
        forgotten = {origin for member in self.members.values() for origin in self._forgotten(member)}
        vectors = [
            {origin: seq for origin, seq in member.registry.vector.items() if seq and origin not in forgotten}
            for member in self.members.values()
        ]
        return all(vector == vectors[0] for vector in vectors)

    def _forgotten(self, member: Member) -> set[Origin]:
        base = member.registry.base
        known = {origin for each in self.members.values() for origin in each.registry.vector}
        return {origin for origin in known if origin.epoch < base.get(origin.node, 0)}

    def quiet(self) -> bool:
        """Tell whether nothing is to be put."""
        return not any(member.replica.dirty for member in self.members.values())

    def _later(self) -> None:
        """Let puts happen whose outcome nobody waits for any more."""
        late, self.late = self.late, []
        for bucket, put in late:
            if self.rnd is not None and self.rnd.random() < 0.3:
                bucket.put(put, self.now)
            else:
                self.late.append((bucket, put))
        self.late = self.late[-20:]

    def _carry(self, member: Member, command: Command) -> None:
        replica, now = member.replica, self.now
        match command:
            case Read(after):
                member.reading = after
            case Put():
                self._put(member, command)
            case Get(key):
                if self.rnd is None or self.rnd.random() < 0.9:
                    replica.got(key, self.bucket.get(key, now), now)
            case Purge():
                self.bucket.purge(command)
                self.purged += 1
            case AskLast():
                if self.rnd is None or self.rnd.random() < 0.9:
                    replica.last(self.bucket.last, now)
            case Scan(number):
                for entry in self.bucket.entries():
                    replica.scanned(number, entry, now)
                replica.scan_over(number, self.bucket.last, now)
            case Tell(node, message):
                self._tell(member, node, message)

    def _put(self, member: Member, put: Put) -> None:
        replica, now = member.replica, self.now
        self.tried.append(put.key)
        if self.rnd is not None and self.rnd.random() < 0.05:
            if self.rnd.random() < 0.5:
                self.bucket.put(put, now)
            else:
                self.late.append((self.bucket, put))
            replica.unknown(put.number, now)
            return
        outcome = self.bucket.put(put, now)
        if outcome == "conflict":
            replica.conflicted(put.number, now)
        elif outcome == "full":
            replica.refused(put.number, True, "maximum messages exceeded", now)
        else:
            if self.rnd is not None and self.rnd.random() < 0.5:
                self._bring(member)  # the entry overtakes the outcome
            replica.stored(put.number, outcome, now)

    def _tell(self, member: Member, node: str | None, message: Told) -> None:
        read = decode_told(encode_told(message))
        for other in self.members.values():
            if other is not member and not other.cut and node in (None, other.name):
                for _ in range(1 if self.rnd is None else self.rnd.choice((0, 1, 1, 1, 2))):
                    other.replica.receive(member.name, read, self.now)

    def _bring(self, member: Member) -> bool:
        brought = False
        while member.reading is not None and (self.rnd is None or self.rnd.random() < 0.9):
            entry = self.bucket.after(member.reading, self.now)
            if entry is None:
                if member.told_at != self.now:  # an idle heartbeat
                    member.told_at = self.now
                    member.replica.at(self.bucket.last, self.now)
                return brought
            member.reading = entry.sequence
            member.replica.entry(entry, self.now)
            brought = True
        return brought
