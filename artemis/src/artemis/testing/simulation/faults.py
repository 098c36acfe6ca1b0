"""What befalls the world: crashes, restarts, clocks that are set, nodes that come and go.

Not here: what befalls that which is between nodes (`mesh.faults`, `engine.faults`), and lost and late messages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from artemis.testing.simulation.member import Member
from artemis.testing.simulation.plan import SKEW

if TYPE_CHECKING:
    from artemis.testing.simulation.world import World


class Faults:
    """Lets something happen every few seconds, as long as the world has faults."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._weights: dict[Callable[[], None], int] = {
            **self.between(),
            self.crash: 30,
            self.restart_well: 6,
            self.set_clock: 6,
            self.jump_clock: 15 if world.plan.jumps else 0,
            self.pause: 15 if world.plan.pauses else 0,
            self.join: 10 if world.plan.churn else 0,
            self.leave: 10 if world.plan.churn else 0,
            self.replace: 8 if world.plan.churn else 0,
        }

    def between(self) -> dict[Callable[[], None], int]:
        """Return what may befall that which is between nodes, and how often."""
        return {}

    def next(self) -> None:
        """Let one fault happen, and the next one later."""
        world = self._world
        if not world.faults:
            return
        fault = world.rnd.choices([*self._weights], [*self._weights.values()])[0]
        fault()
        world.schedule.after(world.rnd.randint(1_000, 9_000), self.next)

    def end(self) -> None:
        """Let everything be well from now on."""
        world = self._world
        world.faults = False
        world.between.heal()
        world.cut = set()
        for member in world.members.values():
            member.paused = False
            member.offset = world.rnd.randint(-SKEW, SKEW) if abs(member.offset) > SKEW else member.offset
            member.told(world.urls())
            if member.process is None:
                member.start(member.snapshots[-1] if member.snapshots else None)
        world.log("faults end")

    # -- machines

    def crash(self) -> None:
        """A process ends at once; it comes back with its snapshot, an old one, or nothing."""
        member = self._victim()
        if member is None:
            return
        world, rnd = self._world, self._world.rnd
        world.stats["crashes"] += 1
        world.log(member.name, "crashes")
        member.stop()
        if rnd.random() < 0.4:
            member.lose_disk()
        self._later(member, rnd.choice((300, 3_000, 12_000, 30_000)), old=rnd.random() < 0.2)

    def restart_well(self) -> None:
        """A node is stopped in the orderly way and started again."""
        member = self._victim()
        if member is None or member.up is None:
            return
        world = self._world
        world.log(member.name, "is stopped")
        self._farewell(member, leaving=False)
        member.save(final=True)
        member.stop()
        self._later(member, world.rnd.choice((300, 3_000)), old=False)

    def pause(self) -> None:
        """A process stands still, and goes on as if nothing had been."""
        member = self._victim()
        if member is None:
            return
        world = self._world
        member.paused = True
        world.log(member.name, "stands still")
        world.schedule.after(world.rnd.choice((1_500, 5_000, 15_000)), partial(self._resume, member))

    def _resume(self, member: Member) -> None:
        if member.paused:
            member.paused = False
            self._world.log(member.name, "goes on")

    def set_clock(self) -> None:
        """A wall clock is set, within what is allowed."""
        member = self._world.rnd.choice([*self._world.members.values()])
        if abs(member.offset) <= SKEW:
            member.offset = self._world.rnd.randint(-SKEW, SKEW)
            self._world.log("the clock of", member.name, "is set to", member.offset)

    def jump_clock(self) -> None:
        """A wall clock jumps beyond what is allowed, and is set right later."""
        world, rnd = self._world, self._world.rnd
        member = rnd.choice([*world.members.values()])
        member.offset = rnd.choice((-3_600_000, -20_000, 20_000, 3_600_000))
        world.log("the clock of", member.name, "jumps to", member.offset)
        world.schedule.after(rnd.choice((2_000, 10_000, 25_000)), partial(self._set_right, member))

    def _set_right(self, member: Member) -> None:
        if self._world.faults:
            member.offset = self._world.rnd.randint(-SKEW, SKEW)
            self._world.log("the clock of", member.name, "is right again")

    # -- members

    def join(self) -> None:
        """A node that nobody has heard of joins."""
        if len(self._world.members) < 8:
            self._world.join(None)

    def leave(self) -> None:
        """A node leaves for good, with a farewell or without."""
        member = self._victim()
        if member is not None and len(self._world.members) > 2:
            self._depart(member)

    def replace(self) -> None:
        """A node goes and another one comes under its URL."""
        member = self._victim()
        if member is not None:
            self._depart(member)
            self._world.join(member.url)

    def _depart(self, member: Member) -> None:
        world = self._world
        world.log(member.name, "leaves")
        if world.rnd.random() < 0.7:
            self._farewell(member, leaving=True)
        member.stop()
        world.part(member)

    def _farewell(self, member: Member, *, leaving: bool) -> None:
        if member.up is not None:
            member.up.node.drain(member.now)
            member.up.farewell(leaving=leaving)

    def _victim(self) -> Member | None:
        """Return one of those that run, unless it is the last."""
        up = [member for member in self._world.members.values() if member.process is not None]
        return self._world.rnd.choice(up) if len(up) > 1 else None

    def _later(self, member: Member, delay: int, *, old: bool) -> None:
        self._world.schedule.after(delay, partial(self._restart, member, old))

    def _restart(self, member: Member, old: bool) -> None:
        if member.process is None and member.name in self._world.members:
            member.start(member.snapshots[0 if old else -1] if member.snapshots else None)
