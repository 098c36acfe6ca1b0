"""The world of one seed: nodes, what is between them, clients, subscribers, faults and the judge, in virtual time.

Everything follows from the seed, so that a run can be repeated. Not here: many seeds (`campaign`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol
from zlib import crc32

from artemis.cluster import Message
from artemis.testing.simulation.clients import Client
from artemis.testing.simulation.engine.faults import EngineFaults
from artemis.testing.simulation.engine.process import EngineProcess
from artemis.testing.simulation.engine.servers import Servers
from artemis.testing.simulation.engine.spoiling import EngineSpoil
from artemis.testing.simulation.faults import Faults
from artemis.testing.simulation.judge import Judge, check_merge
from artemis.testing.simulation.laws import BrokenLaw
from artemis.testing.simulation.member import Member, Snapshot
from artemis.testing.simulation.mesh.faults import MeshFaults
from artemis.testing.simulation.mesh.network import Network
from artemis.testing.simulation.mesh.process import MeshProcess
from artemis.testing.simulation.mesh.spoiling import Spoil
from artemis.testing.simulation.operators import Operators
from artemis.testing.simulation.plan import BEAT, CALM_TICK, CHAOS, SKEW, TICK, Plan
from artemis.testing.simulation.process import Process
from artemis.testing.simulation.schedule import Schedule
from artemis.testing.simulation.subscribers import Poller, Watcher
from artemis.testing.simulation.telling import told_message

Tell = Callable[[str], None]


COMPARING = 5_000
"""Milliseconds in which a node compares itself with an engine."""


class Between(Protocol):
    """What is between nodes."""

    def added(self, member: Member) -> None:
        """A machine is there that was not before."""

    def stopped(self, member: Member) -> None:
        """A process has ended."""

    def heal(self) -> None:
        """Let everything work."""

    def is_idle(self, source: str, target: str) -> bool:
        """Tell whether nothing is on its way from one node to another, and something would get there."""

    def is_steady(self, source: str, target: str, since: int) -> bool:
        """Tell whether all that one node has said to another since a moment has arrived."""


class World:
    """One run. `rnd` decides what the plan has left open; `tell` is given the lines of the trace, None for none;
    `spoil` takes a rule away of a mesh, `spoil_engine` one of nodes around an engine, which there is if `engine`.
    `between` is what is between nodes: `network`, or `servers`.
    """

    def __init__(
        self,
        plan: Plan,
        rnd: random.Random,
        tell: Tell | None = None,
        *,
        engine: bool = False,
        spoil: Spoil | None = None,
        spoil_engine: EngineSpoil | None = None,
    ) -> None:
        self.plan = plan
        self.spoil = spoil
        self.spoil_engine = spoil_engine
        self.rnd = rnd
        self.schedule = Schedule()
        self.stats: Counter[str] = Counter()
        self.faults = True
        #: How often nodes tick, in milliseconds; seldom when nothing happens any more.
        self.tick = TICK
        #: Pairs of a client and a node that do not reach each other.
        self.cut: set[tuple[str, str]] = set()
        self.members: dict[str, Member] = {}
        self.clients: dict[str, Client] = {}
        self.servers = Servers(self) if engine else None
        self._network = Network(self)
        self.between: Between = self.servers or self._network
        self.judge = Judge(self)
        self.operators = Operators(self)
        #: What was said and done so far, as a number: the same for two runs that were the same.
        self.fingerprint = 0
        self._tell = tell
        self._named = 0
        self._faults: Faults = MeshFaults(self, self._network) if self.servers is None else EngineFaults(self)

    def run(self) -> None:
        """Let it all happen. Raises BrokenLaw."""
        self.log("plan:", self.plan)
        check_merge(self.plan.seed)
        self._begin()
        check = self.judge.check
        self.schedule.run(CHAOS, check)
        self._faults.end()
        self.tick = CALM_TICK
        calm = CHAOS + self.plan.settle
        self.schedule.run(calm, check)
        self.judge.settled()
        self.schedule.run(calm + self.plan.lifetime + 6_000, check)
        self.judge.settled()
        self.judge.bounded()
        check()
        if self.servers is not None:
            self.judge.compare()
            self.schedule.run(self.schedule.now + COMPARING, check)
            self.judge.compared()
            check()

    @property
    def traced(self) -> bool:
        """Whether somebody reads what happens."""
        return self._tell is not None

    def process_of(self, member: Member, snapshot: Snapshot | None) -> Process:
        """Make the process of a node that starts."""
        saved, position = (None, None) if snapshot is None else snapshot
        if self.servers is None:
            return MeshProcess(member, self._network, saved)
        return EngineProcess(member, self.servers, saved, position)

    def process(self, name: str) -> Process | None:
        """Return the process of a node that runs."""
        member = self.members.get(name)
        return None if member is None else member.up

    def serving(self) -> list[str]:
        """Return the nodes that clients know."""
        return [*self.members]

    def urls(self) -> list[str]:
        """Return the addresses of all nodes that there are."""
        return [member.url for member in self.members.values()]

    def join(self, url: str | None) -> None:
        """Let a new node join, under a URL of its own or one that was another's; the others learn of it by and by."""
        member = self._add(url)
        member.listed = self.urls()
        member.start(None)
        self._spread()

    def part(self, member: Member) -> None:
        """Let a node be no member any more; the others learn of it by and by."""
        del self.members[member.name]
        self._spread()

    def log(self, *words: object) -> None:
        """Note what happens, for the trace."""
        if self._tell is not None:
            self._tell(f"{self.schedule.now / 1000:9.3f} {' '.join(map(str, words))}")

    def note(self, source: str, target: str, data: bytes, message: Message | None) -> None:
        """Note a message that has arrived, or bytes that are none."""
        self.fingerprint = crc32(data, crc32(f"{self.schedule.now}{source}{target}".encode(), self.fingerprint))
        told = None if self._tell is None or message is None else told_message(message)
        if told is not None:
            self.log(source, ">", target, told)

    def _begin(self) -> None:
        rnd, plan = self.rnd, self.plan
        for _ in range(plan.nodes):
            self._add(None)
        for member in self.members.values():
            member.listed = self.urls()
            member.start(None)
        for number in range(plan.clients):
            java, legacy = rnd.random() < plan.java, rnd.random() < plan.legacy
            client = Client(self, number, java=java, legacy=legacy)
            self.clients[client.name] = client
            self.schedule.after(rnd.randint(0, BEAT), client.beat)
        for number in range(3):
            service = f"s{rnd.randrange(plan.services)}"
            self.schedule.after(rnd.randint(0, 2_000), Poller(self, service).poll)
            self.schedule.after(rnd.randint(0, 2_000), Watcher(self, service, lazy=number == 2).watch)
        self.schedule.after(5_000, self._faults.next)
        if plan.operators:
            self.schedule.after(rnd.randint(3_000, 10_000), self.operators.decide)
        if plan.mass_death is not None:
            self.schedule.after(plan.mass_death, self._mass_death)

    def _add(self, url: str | None) -> Member:
        name = f"n{self._named}"
        self._named += 1
        member = Member(self, name, url or f"http://{name}:8080", self.rnd.randint(-SKEW, SKEW))
        self.members[name] = member
        self.between.added(member)
        return member

    def _spread(self) -> None:
        for member in self.members.values():
            self.schedule.after(self.rnd.randint(0, 3_000), partial(self._learn, member))

    def _learn(self, member: Member) -> None:
        member.told(self.urls())

    def _mass_death(self) -> None:
        if self.faults:
            self.log("mass death")
            for client in self.clients.values():
                if client.state == "up" and self.rnd.random() < 0.35:
                    client.die()


__all__ = ["BrokenLaw", "Tell", "World"]
