"""What befalls an engine, and the ways to it: cut off, split, down, another leader, slow, full, deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from artemis.testing.simulation.engine.process import EngineProcess
from artemis.testing.simulation.engine.servers import COUNT, Servers
from artemis.testing.simulation.faults import Faults

if TYPE_CHECKING:
    from artemis.testing.simulation.world import World

BACK = 0.5
"""Share of the times that all servers were down after which they have an earlier state, if there is one."""

LENGTHS = (3_000, 8_000, 18_000, 35_000)
"""Milliseconds that something lasts."""


class EngineFaults(Faults):
    """Faults of machines, of the engine, and of what is between."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        assert world.servers is not None  # noqa: S101 - they were just made
        self._servers: Servers = world.servers
        self._turn = 0
        # What befalls a bucket beside its servers changes nothing of what else a seed decides.
        self._beside = Random(f"beside {world.plan.seed}")  # noqa: S311 - it keeps no secret

    def between(self) -> dict[Callable[[], None], int]:
        """Return what befalls engines."""
        return {
            self.cut_off: 25,
            self.split: 20,
            self.all_down: 10,
            self.elect: 15,
            self.reset: 10,
            self.flapping: 8,
            self.slow: 8,
            self.full: 8,
            self.copy: 12,
            self.remake: 8,
            self.reread: 6,
        }

    # -- the way to it

    def cut_off(self) -> None:
        """Some nodes reach no server, or only some; some clients do not reach them either."""
        world, rnd = self._world, self._world.rnd
        names = [*world.members]
        side = {name for name in names if rnd.random() < 0.4} or {names[0]}
        servers = [*range(COUNT)] if rnd.random() < 0.7 else rnd.sample(range(COUNT), 2)
        self._begin()
        self._servers.cut = {(name, server) for name in side for server in servers}
        world.cut = {
            (client, name) for client in world.clients for name in names if rnd.random() < 0.25 and name in side
        }
        world.log("cut off from", servers, sorted(side))
        self._end_later()

    def flapping(self) -> None:
        """One node comes and goes several times."""
        world, rnd = self._world, self._world.rnd
        name = rnd.choice([*world.members])
        world.log("flapping", name)
        for turn in range(rnd.randint(2, 8)):
            start = turn * rnd.choice((1_500, 4_500))
            world.schedule.after(start, partial(self._reset, name))

    def reset(self) -> None:
        """Connections are reset."""
        for name in [*self._world.members]:
            if self._world.rnd.random() < 0.5:
                self._reset(name)

    def _reset(self, name: str) -> None:
        process = self._world.process(name)
        if self._world.faults and isinstance(process, EngineProcess):
            process.carrier.cut()

    # -- the engine

    def split(self) -> None:
        """The servers do not reach each other: one of them, or none, is without the others."""
        rnd = self._world.rnd
        servers = [*range(COUNT)]
        rnd.shuffle(servers)
        self._begin()
        alone = 1 if rnd.random() < 0.7 else COUNT
        self._servers.groups = [{server} for server in servers[:alone]] + [set(servers[alone:])]
        self._world.log("servers split", self._servers.groups)
        self._end_later()

    def all_down(self) -> None:
        """No server is there, and all come back with what they had, or with a copy of their disks."""
        self._begin()
        if self._beside.random() < BACK:
            self._servers.put_back(self._beside)
        self._servers.down = True
        self._world.log("all servers are down")
        self._end_later()

    def elect(self) -> None:
        """Another server leads."""
        self._world.log("another server leads")
        self._servers.elect(self._world.rnd.choice((200, 1_500, 4_000)))

    def slow(self) -> None:
        """Everything takes longer."""
        self._servers.slow = self._world.rnd.choice((50, 200, 900))
        self._world.log("the engine is slow:", self._servers.slow)
        self._world.schedule.after(self._world.rnd.choice(LENGTHS), self._hurry)

    def _hurry(self) -> None:
        self._servers.slow = 0

    def full(self) -> None:
        """No new keys fit."""
        bucket = self._servers.bucket
        bucket.most = len(bucket)
        self._world.log("the bucket is full")
        self._world.schedule.after(self._world.rnd.choice(LENGTHS), self._empty)

    def _empty(self) -> None:
        self._servers.bucket.most = 1_000_000

    def copy(self) -> None:
        """Somebody makes a copy of the bucket."""
        self._world.log("the bucket is copied")
        self._servers.copy()

    def remake(self) -> None:
        """The bucket is deleted, and another one is there."""
        old = self._world.rnd.random() < 0.5
        self._servers.remake(old=old)
        self._world.log("the bucket is another one,", "an old copy" if old else "empty")

    def reread(self) -> None:
        """An operator lets a node read all again."""
        process = self._world.process(self._world.rnd.choice([*self._world.members]))
        if isinstance(process, EngineProcess):
            self._world.log(process.member.name, "reads all again")
            process.replica.reread(process.member.now)
            process.pump()

    # -- how long

    def _begin(self) -> None:
        """Let what was before be over."""
        servers = self._servers
        servers.cut, servers.groups, servers.down = set(), [set(range(COUNT))], False
        servers.changed_at = self._world.schedule.now
        self._world.cut = set()
        self._turn += 1

    def _end_later(self) -> None:
        self._world.schedule.after(self._world.rnd.choice(LENGTHS), partial(self._end, self._turn))

    def _end(self, turn: int) -> None:
        if turn == self._turn and self._world.faults:
            self._begin()
            self._world.log("all reach the engine")
