"""Three servers that keep a bucket together, as nodes see them: reached or not, with a quorum or without, slow, full.

What nodes say to each other goes through them as well, also where there is no bucket. Two of three keep the bucket; a
moment after another one leads nobody answers. Not here: what one node does with a connection (`carrier`).
"""

from __future__ import annotations

from copy import copy, deepcopy
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

from artemis.cluster.engine.port import MAX_TOLD, Entry, Opening, Purge, Put
from artemis.testing.simulation.bucket import Bucket, Outcome
from artemis.testing.simulation.plan import EPOCH, SKEW
from artemis.testing.simulation.telling import told_value

if TYPE_CHECKING:
    from artemis.testing.simulation.engine.carrier import Carrier, Connection
    from artemis.testing.simulation.member import Member
    from artemis.testing.simulation.world import World

COUNT = 3

KEPT = 3
"""Copies of the bucket that somebody has made, so that an old one can be put back."""

UNNOTICED = 20_000
"""Milliseconds after which an operator gives a bucket that was put back another identity, if no node has."""

Kind = Literal["told", "sign"]


class Servers:
    """All servers of a world. `cut` are the pairs of a node and a server that do not reach each other, `groups` the
    servers that do; `slow` is what everything takes longer, in ms."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.cut: set[tuple[str, int]] = set()
        self.groups: list[set[int]] = [set(range(COUNT))]
        self.down = False
        self.slow = 0
        self.silent_until = 0
        self.bucket = Bucket("bucket 0")
        #: When it was last changed who reaches whom.
        self.changed_at = 0
        self._made = 0
        self._copies: list[Bucket] = []
        # A bucket that was put back, as long as nobody has noticed, and how far it had been.
        self._back: tuple[Bucket, int] | None = None
        self._offset = world.rnd.randint(-SKEW, SKEW)
        self._carriers: dict[str, Carrier] = {}
        self._free: dict[tuple[str, str], int] = {}
        self._under_way: dict[tuple[str, str], int] = {}

    # -- what a world asks of whatever is between its nodes

    def added(self, member: Member) -> None:
        """A machine is there: it may reach all servers."""

    def stopped(self, member: Member) -> None:
        """A process has ended."""
        carrier = self._carriers.pop(member.name, None)
        if carrier is not None:
            carrier.end()

    def heal(self) -> None:
        """Let everything work."""
        self.cut, self.groups, self.down, self.slow, self.silent_until = set(), [set(range(COUNT))], False, 0, 0
        self.bucket.most = 1_000_000
        if self._back is not None:
            self._notice(self._back[0])
        self.changed_at = self.world.schedule.now

    def is_idle(self, source: str, target: str) -> bool:
        """Tell whether two nodes hear each other, and nothing is on its way from the one to the other."""
        receiver = self._carriers.get(target)
        if not self.world.plan.streams or source not in self._carriers or receiver is None:
            return False
        return not self._under_way.get((source, target)) and self.hear(source, target)

    def is_steady(self, source: str, target: str, since: int) -> bool:
        """Tell whether all that one node has told all others since a moment has arrived at another."""
        plan, sender, receiver = self.world.plan, self._carriers.get(source), self._carriers.get(target)
        if sender is None or receiver is None or plan.slow or plan.pauses or plan.jumps or self.changed_at >= since:
            return False
        return (
            self.is_idle(source, target)
            and all(each.connected_since is not None and each.connected_since < since for each in (sender, receiver))
            and receiver.process.knows_since(source) < since
        )

    # -- what is reached

    def attach(self, carrier: Carrier) -> None:
        """A process is there that wants to be told."""
        self._carriers[carrier.name] = carrier

    def reached(self, name: str) -> list[int]:
        """Return the servers that a node reaches."""
        return [] if self.down else [server for server in range(COUNT) if (name, server) not in self.cut]

    def keeps(self, server: int) -> bool:
        """Tell whether a server answers for the bucket."""
        quorum = any(server in group and len(group) > COUNT // 2 for group in self.groups)
        return quorum and not self.down and self.world.schedule.now >= self.silent_until

    def hear(self, source: str, target: str) -> bool:
        """Tell whether what one node says is heard by another, as their connections are now."""
        here, there = self._carriers[source].connection, self._carriers[target].connection
        if here is None or there is None or here.broken or there.broken:
            return False
        return any({here.server, there.server} <= group for group in self.groups)

    # -- the bucket

    @property
    def clock(self) -> int:
        """What the servers' clock shows, in milliseconds."""
        return EPOCH + self.world.schedule.now + self._offset

    def put(self, put: Put) -> Outcome | None:
        """Let an entry be put, and all who read know that there is one; None when nobody answers.

        A bucket that was put back takes nothing that would bring it as far as it had been, as numbers tell nobody then.
        """
        if self._back is not None and self._back[0] is self.bucket and self.bucket.last + 1 >= self._back[1]:
            return None
        spoil = self.world.spoil_engine
        outcome = self.bucket.put(put if spoil is None else spoil.arriving(put, self.bucket), self.clock)
        if isinstance(outcome, int):
            self.world.stats["puts"] += 1
            self.world.note("bucket", put.key, put.value, None)
            if self.world.traced:
                self.world.log(self.bucket.identity, outcome, "is", told_value(put.key, put.value))
            for carrier in list(self._carriers.values()):
                carrier.something()
        else:
            self.world.stats[f"puts: {outcome}"] += 1
        return outcome

    def purge(self, purge: Purge) -> None:
        """Let an entry disappear."""
        self.world.stats["purges"] += 1
        self.bucket.purge(purge)

    def get(self, key: str) -> Entry | None:
        """Return an entry."""
        return self.bucket.get(key, self.clock)

    def after(self, sequence: int) -> Entry | None:
        """Return the first entry above a number."""
        return self.bucket.after(sequence, self.clock)

    def opening(self) -> Opening:
        """Return what a node finds."""
        return self.bucket.opening(self.clock)

    # -- what befalls it

    def elect(self, silence: int) -> None:
        """Another server leads, after a moment; its clock is another one."""
        self.silent_until = self.world.schedule.now + silence
        self._offset = self.world.rnd.randint(-SKEW, SKEW)

    def copy(self) -> None:
        """Somebody makes a copy of the bucket."""
        self._copies = [*self._copies[1 - KEPT :], deepcopy(self.bucket)]

    def remake(self, *, old: bool) -> None:
        """The bucket is deleted, and an empty one is there, or an old copy; it has another identity."""
        self._made += 1
        bucket = deepcopy(self.world.rnd.choice(self._copies)) if old and self._copies else Bucket("")
        bucket.identity, bucket.most = f"bucket {self._made}", self.bucket.most
        self.bucket = bucket

    def put_back(self, chance: Random) -> bool:
        """The bucket is put back to an earlier state and keeps its identity; False if there is no copy of it."""
        copies = [each for each in self._copies if each.identity == self.bucket.identity]
        copies = [each for each in copies if each.last < self.bucket.last]
        if not copies or self._back is not None:
            return False
        bucket = deepcopy(chance.choice(copies))
        bucket.most = self.bucket.most
        self.world.stats["put back"] += 1
        self.world.log("the bucket is put back from", self.bucket.last, "to", bucket.last)
        self._back, self.bucket = (bucket, self.bucket.last), bucket
        self.world.schedule.after(UNNOTICED, partial(self._notice, bucket))
        return True

    def mark(self) -> None:
        """Somebody gives the bucket another identity."""
        self._made += 1
        self._back, self.bucket = None, copy(self.bucket)
        self.bucket.identity = f"bucket {self._made}"
        self.world.log("the bucket is now", self.bucket.identity)

    def _notice(self, bucket: Bucket) -> None:
        if self._back is not None and self._back[0] is bucket is self.bucket:
            self.mark()

    # -- what nodes say

    def say(self, source: Connection, target: str | None, kind: Kind, data: bytes) -> None:
        """Carry what a node says to one other, or to all."""
        assert len(data) <= MAX_TOLD, len(data)  # noqa: S101 - a carrier would drop it
        for name in list(self._carriers):
            if name != source.name and target in (None, name):
                self.world.stats["messages"] += 1
                self._send(source, name, kind, data)

    def _send(self, source: Connection, name: str, kind: Kind, data: bytes) -> None:
        world, rnd, plan = self.world, self.world.rnd, self.world.plan
        receiver = self._carriers[name].connection
        if receiver is None or not self.hear(source.name, name):
            return
        pair = source.name, name
        if plan.streams:
            self._free[pair] = max(world.schedule.now + rnd.randint(1, 30), self._free.get(pair, 0))
            self._carry(self._free[pair] - world.schedule.now, source, receiver, kind, data)
            return
        if world.faults and rnd.random() < plan.loss:
            return
        for _ in range(2 if world.faults and rnd.random() < 0.03 else 1):
            late = world.faults and rnd.random() < 0.03
            self._carry(rnd.randint(500, 6_000) if late else rnd.randint(3, 60), source, receiver, kind, data)

    def _carry(self, delay: int, source: Connection, receiver: Connection, kind: Kind, data: bytes) -> None:
        pair = source.name, receiver.name
        self._under_way[pair] = self._under_way.get(pair, 0) + 1
        self.world.schedule.after(delay, partial(self._arrive, source, receiver, kind, data))

    def _arrive(self, source: Connection, receiver: Connection, kind: Kind, data: bytes) -> None:
        self._under_way[source.name, receiver.name] -= 1
        carrier = self._carriers.get(receiver.name)
        if carrier is not None and carrier.connection is receiver and not receiver.broken:
            carrier.hear(source, kind, data)
