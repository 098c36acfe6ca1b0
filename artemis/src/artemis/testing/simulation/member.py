"""One node of the simulated cluster: the real core, and what its machine adds: clocks, a disk, crashes, pauses.

Not here: how messages travel (`mesh`, `engine`), and what befalls the machine (`faults`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from artemis.cluster.engine.port import Position
from artemis.testing.simulation.plan import EPOCH, TICK
from artemis.testing.simulation.process import Process

if TYPE_CHECKING:
    from artemis.testing.simulation.world import World

KEPT = 4
"""Snapshots that a disk keeps, so that an old one can be put back."""


class Snapshot(NamedTuple):
    """What a disk keeps of a node, and how far that had read a bucket when it began to write it."""

    saved: bytes
    position: Position | None


class Member:
    """A machine that a node runs on, or does not: `process` is None then. `offset` is what its wall clock is off by."""

    def __init__(self, world: World, name: str, url: str, offset: int) -> None:
        self.world = world
        self.name = name
        self.url = url
        self.offset = offset
        #: The epoch of the last life, and of the one before; 0 when the disk does not know it.
        self.epoch = self.previous = 0
        self.process: Process | None = None
        self.snapshots: list[Snapshot] = []
        self.paused = False
        #: The URLs of the nodes of the cluster, as far as this one was told.
        self.listed: list[str] = []
        #: What its monotonic clock begins at; nobody may compare it with another.
        self._monotonic = world.rnd.randint(0, 10**9)

    @property
    def now(self) -> int:
        """The monotonic clock of the machine, in milliseconds."""
        return self.world.schedule.now + self._monotonic

    @property
    def wall(self) -> int:
        """Its wall clock, in milliseconds."""
        return EPOCH + self.world.schedule.now + self.offset

    @property
    def up(self) -> Process | None:
        """The process, if it runs and does not stand still."""
        return None if self.paused else self.process

    def start(self, snapshot: Snapshot | None) -> None:
        """Start the node, in a new life, with what a snapshot holds."""
        world = self.world
        # As a node's identity: above the one on the disk, if that is there, and a wall clock, which may be wrong.
        self.previous = self.epoch
        self.epoch = max(self.epoch + 1, self.wall)
        self._monotonic = world.rnd.randint(0, 10**9)
        process = self.process = world.process_of(self, snapshot)
        world.log(self.name, "starts, epoch", self.epoch - EPOCH, "empty" if snapshot is None else "with a snapshot")
        world.judge.watch(process)
        world.schedule.after(world.rnd.randint(1, TICK), partial(self._tick, process))

    def lose_disk(self) -> None:
        """Forget everything, between two lives."""
        self.snapshots, self.epoch = [], 0

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.process = None
        self.paused = False
        self.world.between.stopped(self)

    def told(self, urls: Sequence[str]) -> None:
        """Learn which nodes there are."""
        self.listed = [*urls]
        if self.process is not None:
            self.process.listed(self.listed)

    def pump(self) -> None:
        """Send what the node wants to say."""
        process = self.up
        if process is not None:
            process.pump()

    def soon(self) -> None:
        """Send what has changed at the end of this turn of the loop; what is lost before that was never said."""
        process = self.process
        self.world.schedule.after(self.world.rnd.randint(0, 3), partial(self._flush, process))

    def save(self, *, final: bool = False) -> None:
        """Write a snapshot, at once or bit by bit while changes go on."""
        process = self.up
        if process is None or process.writing is not None:
            return
        position = process.position
        chunks = process.node.cut(self.now, self.wall, final=final).chunks()
        if final or self.world.rnd.random() < 0.5:
            self._keep(Snapshot(b"".join(chunks), position))
            return
        process.writing = chunks
        begun = next(chunks)
        self.world.schedule.after(self.world.rnd.randint(10, 3_000), partial(self._written, process, begun, position))

    def _written(self, process: Process, begun: bytes, position: Position | None) -> None:
        if self.process is process and process.writing is not None:
            self._keep(Snapshot(begun + b"".join(process.writing), position))
            process.writing = None

    def _keep(self, snapshot: Snapshot) -> None:
        self.snapshots = [*self.snapshots[1 - KEPT :], snapshot]

    def _flush(self, process: Process | None) -> None:
        if self.process is process:
            self.pump()

    def _tick(self, process: Process) -> None:
        if self.process is not process:
            return
        world = self.world
        if not self.paused:
            process.tick()
            self.pump()
            if world.rnd.random() < 0.3:
                world.judge.look(process)
            if world.faults and world.rnd.random() < 0.05:
                self.save()
        world.schedule.after(world.tick, partial(self._tick, process))
