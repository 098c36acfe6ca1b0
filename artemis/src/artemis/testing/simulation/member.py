"""One node of the simulated cluster: the real core, and what its machine adds: clocks, a disk, crashes, pauses.

Not here: how messages travel (`network`), and what befalls the machine (`faults`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from artemis.cluster import ClusterTimings, Message, Replica
from artemis.push import PushLimits
from artemis.registry import NodeTimings
from artemis.registry.restore import read_snapshot
from artemis.server.node import Node, NodeIdentity
from artemis.server.pauses import Pauses
from artemis.testing.simulation.plan import BEAT, GRACE, HOLD, LEGACY_TTL, REGION, TICK, TTL

if TYPE_CHECKING:
    from artemis.testing.simulation.world import World

JOIN = 3_000
"""Milliseconds that a node waits for a copy of its peers before it serves."""

KEPT = 4
"""Snapshots that a disk keeps, so that an old one can be put back."""


class Process:
    """One life of a node: the registry's `Node` and its `Replica`, as the assembly puts them together."""

    def __init__(self, member: Member, saved: bytes | None) -> None:
        world = member.world
        self.member = member
        now, wall = member.now, member.wall
        self.started = now
        timings = NodeTimings(
            ttl=TTL, legacy_ttl=LEGACY_TTL, heartbeat=BEAT, hold=HOLD, grace=GRACE, lifetime=world.plan.lifetime
        )
        identity = NodeIdentity(node_id=member.name, epoch=member.epoch, region=REGION, zone="z", url=member.url)
        read = None
        if saved is not None:
            read = read_snapshot(saved, region=REGION, node=member.name, epoch=member.epoch, previous=member.epoch - 1)
        self.node = Node(
            identity,
            timings=timings,
            push_limits=PushLimits(),
            max_changes=world.plan.log_entries,
            saved=read,
            now=now,
            wall=wall,
        )
        # So few instances would never need a second message.
        rows = world.plan.rows
        self.replica = Replica(self.node.registry, None, ClusterTimings(), rows=rows, now=now, wall=wall)
        self.pauses = Pauses(now)
        self.writing: Iterator[bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether it serves clients: it has a copy of its peers, or has waited for one long enough."""
        return self.node.serving and (self.replica.synced or self.member.now - self.started > JOIN)


class Member:
    """A machine that a node runs on, or does not: `process` is None then. `offset` is what its wall clock is off by."""

    def __init__(self, world: World, name: str, url: str, offset: int) -> None:
        self.world = world
        self.name = name
        self.url = url
        self.offset = offset
        self.epoch = 0
        self.process: Process | None = None
        self.snapshots: list[bytes] = []
        self.paused = False
        #: The members of the cluster, as far as this one was told: ids, its own included.
        self.known: list[str] = [name]
        #: Its clock is too far off: nobody talks to it, and it serves nobody.
        self.refused = False
        #: What its monotonic clock begins at; nobody may compare it with another.
        self._monotonic = world.rnd.randint(0, 10**9)

    @property
    def now(self) -> int:
        """The monotonic clock of the machine, in milliseconds."""
        return self.world.schedule.now + self._monotonic

    @property
    def wall(self) -> int:
        """Its wall clock, in milliseconds."""
        return 1_700_000_000_000 + self.world.schedule.now + self.offset

    @property
    def up(self) -> Process | None:
        """The process, if it runs and does not stand still."""
        return None if self.paused else self.process

    def start(self, saved: bytes | None) -> None:
        """Start the node, in a new life, with what a snapshot holds."""
        world = self.world
        self.epoch += 1
        self._monotonic = world.rnd.randint(0, 10**9)
        process = self.process = Process(self, saved)
        world.log(self.name, "starts, epoch", self.epoch, "empty" if saved is None else "with a snapshot")
        world.judge.watch(process)
        process.replica.set_members(self.known)
        world.schedule.after(world.rnd.randint(1, TICK), partial(self._tick, process))

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.process = None
        self.paused = False
        self.world.network.stopped(self)

    def told(self, members: Sequence[str]) -> None:
        """Learn who is a member of the cluster."""
        self.known = sorted({*members, self.name})
        if self.process is not None:
            self.process.replica.set_members(self.known)

    def receive(self, source: str, message: Message) -> None:
        """Take in what a peer says; what follows from it is sent at once."""
        process = self.up
        if process is not None:
            process.replica.receive(source, message, self.now)
            self.pump()

    def pump(self) -> None:
        """Send what the replica wants to say."""
        process = self.up
        if process is None:
            return
        process.replica.flush(self.now)
        for peer, message in process.replica.take():
            self.world.network.send(self, peer, message)

    def soon(self) -> None:
        """Send what has changed at the end of this turn of the loop; what is lost before that was never said."""
        process = self.process
        self.world.schedule.after(self.world.rnd.randint(0, 3), partial(self._flush, process))

    def save(self, *, final: bool = False) -> None:
        """Write a snapshot, at once or bit by bit while changes go on."""
        process = self.up
        if process is None or process.writing is not None:
            return
        chunks = process.node.cut(self.now, self.wall, final=final).chunks()
        if final or self.world.rnd.random() < 0.5:
            self._keep(b"".join(chunks))
            return
        process.writing = chunks
        begun = next(chunks)
        self.world.schedule.after(self.world.rnd.randint(10, 3_000), partial(self._written, process, begun))

    def _written(self, process: Process, begun: bytes) -> None:
        if self.process is process and process.writing is not None:
            self._keep(begun + b"".join(process.writing))
            process.writing = None

    def _keep(self, snapshot: bytes) -> None:
        self.snapshots = [*self.snapshots[1 - KEPT :], snapshot]

    def _flush(self, process: Process | None) -> None:
        if self.process is process:
            self.pump()

    def _tick(self, process: Process) -> None:
        if self.process is not process:
            return
        world = self.world
        if not self.paused:
            pause = process.pauses.note(self.now, TTL)
            if pause:
                process.node.pardon(self.now)
            while process.node.tick(self.now, self.wall):
                pass
            process.replica.tick(self.now, self.wall)
            self.pump()
            if world.rnd.random() < 0.3:
                world.judge.look(process)
            if world.faults and world.rnd.random() < 0.05:
                self.save()
        world.schedule.after(TICK if world.faults else 2 * TICK, partial(self._tick, process))
