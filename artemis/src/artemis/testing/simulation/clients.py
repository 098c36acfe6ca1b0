"""Instances and their clients: they register, send heartbeats, move, change, leave, die and come back.

An SDK hands back the version of its last answer. A Java client cannot, but its heartbeats carry the content; a node may
recognise them and renew without reading.
Not here: what is promised to them (`judge`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from artemis.model import Instance, RegistryRequest, encode_canonical
from artemis.model.responses import SUCCESS
from artemis.registry import RenewalPlan, Stamp
from artemis.registry.records import ZERO
from artemis.testing.simulation.member import Member
from artemis.testing.simulation.plan import BEAT, LEGACY_TTL, REGION, SKEW, TTL
from artemis.testing.simulation.process import Process

if TYPE_CHECKING:
    from artemis.testing.simulation.world import World

RETRY = 300
"""Milliseconds until a client asks another node."""

State = Literal["up", "leaving", "gone", "dead"]

NEVER = -(10**9)


class Accepted(NamedTuple):
    """Which life of which node accepted the last register or heartbeat, and when in the world's time."""

    process: Process
    at: int


class Latest(NamedTuple):
    """The latest write of a client that knows versions: by whom, as which version, when in the world's time."""

    process: Process
    version: Stamp
    at: int


class Written(NamedTuple):
    """A register or unregister whose stamp the client does not know: by which node, and when in the world's time."""

    node: str
    at: int


class Client:
    """An instance and its client. `shaky`: a write whose stamp it does not know may be later than its last one."""

    def __init__(self, world: World, number: int, *, java: bool, legacy: bool) -> None:
        self.world = world
        self.service = f"s{number % world.plan.services}"
        self.name = f"i{number}"
        #: Two instances share a machine.
        self.ip = f"10.0.0.{number // 2}"
        self.java = java
        self.legacy = legacy
        self.ttl = LEGACY_TTL if legacy else TTL
        self.content = 0
        self.state: State = "up"
        self.registered = False
        self.version: Stamp = ZERO
        self.accepted: Accepted | None = None
        self.latest: Latest | None = None
        self.shaky = False
        self.at = world.rnd.choice(world.serving())
        self._writes: list[Written] = []
        self._plan: tuple[Process, RenewalPlan] | None = None
        self._recognised = world.rnd.random() < 0.5

    @property
    def key(self) -> tuple[str, str]:
        """Service and instance id."""
        return self.service, self.name

    def instance(self, content: int) -> Instance:
        """Return the instance with a content that differs from all others."""
        metadata: dict[str, str | None] = {"content": str(content)}
        if self.legacy:
            metadata["java_registry"] = "true"
        return Instance(
            region_id=REGION,
            zone_id="z",
            service_id=self.service,
            instance_id=self.name,
            ip=self.ip,
            port=80,
            url="http://127.0.0.1/",
            metadata=metadata,
        )

    @property
    def lives(self) -> bool:
        """Whether it is there, so that no node may forget it."""
        return self.state in ("up", "leaving")

    @property
    def shown(self) -> bytes:
        """The content as all nodes are to show it in the end."""
        return encode_canonical(self.instance(self.content))

    # -- its life

    def beat(self) -> None:
        """Do what is next: a heartbeat, mostly."""
        world, rnd = self.world, self.world.rnd
        if self.state in ("gone", "dead"):
            return
        if world.faults and self.state == "up" and self.registered and self._turn_of_fate():
            return
        done = self._unregister() if self.state == "leaving" else self._renew()
        if self.state == "up" and not self.registered:
            done = self._register()
        if self.state != "gone":
            world.schedule.after(rnd.randint(BEAT * 8 // 10, BEAT) if done else RETRY, self.beat)

    def die(self) -> None:
        """End without a word."""
        self.state, self.accepted = "dead", None
        self.world.log(self.name, "dies")

    def _turn_of_fate(self) -> bool:
        """Let something happen to it; whether it is the end."""
        world, rnd = self.world, self.world.rnd
        dice = rnd.random()
        if dice < 0.02:
            self.state = "leaving"
        elif dice < 0.03:
            self.die()
            return True
        elif dice < 0.06:
            self.content, self.registered, self._plan = self.content + 1, False, None  # other bytes, another plan
        elif dice < 0.10:
            self.at = rnd.choice(world.serving())
        elif dice < 0.13:  # a copy of this heartbeat wanders about
            world.schedule.after(
                rnd.randint(0, 5_000),
                partial(self._wander, rnd.choice(world.serving()), self.instance(self.content), self.version),
            )
        return False

    def _come_back(self) -> None:
        world = self.world
        if world.faults and self.state == "gone":
            self.state, self.at = "up", world.rnd.choice(world.serving())
            world.log(self.name, "comes back")
            self.beat()

    def _wander(self, node: str, instance: Instance, version: Stamp) -> None:
        """Arrive late, as something that was sent long ago."""
        member = self._reached(node)
        if member is None or member.process is None:
            return
        if self.java:
            member.process.node.heartbeat(RegistryRequest(instances=[instance]), member.now)
            self._writes.append(Written(node, self.world.schedule.now))
        else:
            member.process.node.registry.heartbeat(instance, member.now, version)
        member.soon()

    # -- its requests

    def _register(self) -> bool:
        member, lost = self._ask()
        if member is None or member.process is None:
            return False
        instance = self.instance(self.content)
        node, now = member.process.node, member.now
        version = ZERO
        if self.java:
            answer = node.register(RegistryRequest(instances=[instance]), now)
            assert answer.response_status == SUCCESS, answer  # noqa: S101 - nothing is wrong with it
        else:
            version = node.registry.register(instance, now, self.version).record.version
            self.latest = Latest(member.process, version, self.world.schedule.now)
        self._wrote(member, known=not lost and not self.java)
        self._was_accepted(member)
        if lost:
            return False
        self.registered, self.version = True, version
        self.world.log(self.name, "registered at", member.name, version, "content", self.content)
        return True

    def _renew(self) -> bool:
        if not self.registered:
            return False
        member, lost = self._ask()
        if member is None or member.process is None:
            return False
        version = self._java_heartbeat(member) if self.java else self._sdk_heartbeat(member)
        if version is not None:
            self._was_accepted(member)
        if lost:
            return False
        if version is None:
            self.registered = False
            return False
        self.version = version
        return True

    def _sdk_heartbeat(self, member: Member) -> Stamp | None:
        assert member.process is not None  # noqa: S101 - it was reached
        lease = member.process.node.registry.heartbeat(self.instance(self.content), member.now, self.version)
        member.soon()
        return None if lease is None else lease.record.version

    def _java_heartbeat(self, member: Member) -> Stamp | None:
        assert member.process is not None  # noqa: S101 - it was reached
        process, now = member.process, member.now
        plan, self._plan = self._plan, None
        if plan is not None and plan[0] is process and process.node.renew(plan[1], now):
            self._plan = plan
            member.soon()
            return ZERO
        before = process.node.registry.counters.rewritten
        answer, made = process.node.heartbeat_plan(RegistryRequest(instances=[self.instance(self.content)]), now)
        if process.node.registry.counters.rewritten > before:
            self._wrote(member, known=False)
        if made is not None and self._recognised:
            self._plan = process, made
        member.soon()
        return ZERO if not answer.failed_instances else None

    def _unregister(self) -> bool:
        member, lost = self._ask()
        if member is None or member.process is None:
            return False
        instance = self.instance(self.content)
        node, now = member.process.node, member.now
        version = ZERO
        self.accepted = None
        if self.java:
            node.unregister(RegistryRequest(instances=[instance]), now)
        else:
            version = node.registry.unregister(instance, now, self.version).record.version
            self.latest = Latest(member.process, version, self.world.schedule.now)
        self._wrote(member, known=not lost and not self.java)
        member.soon()
        if lost:
            return False
        self.state, self.registered, self.version = "gone", False, version
        self.world.log(self.name, "unregistered at", member.name, version)
        rnd = self.world.rnd
        if rnd.random() < 0.6:
            self.world.schedule.after(rnd.choice((50, 2_000, 12_000)), self._come_back)
        return True

    def _reached(self, name: str) -> Member | None:
        member = self.world.members.get(name)
        if member is None or member.up is None or not member.up.writable:
            return None
        return None if (self.name, name) in self.world.cut else member

    def _ask(self) -> tuple[Member | None, bool]:
        """Return the node that answers, None when none does, and whether its answer will get lost."""
        world, rnd = self.world, self.world.rnd
        member = self._reached(self.at)
        if member is not None and not (world.faults and rnd.random() < 0.02):
            if not (world.faults and rnd.random() < 0.01):
                return member, False
            self.at = rnd.choice(world.serving())
            return member, True
        self.at = rnd.choice(world.serving())
        return None, False

    def _was_accepted(self, member: Member) -> None:
        assert member.process is not None  # noqa: S101 - it answered
        self.accepted = Accepted(member.process, self.world.schedule.now)
        self.world.judge.accepted(self, member.process)
        member.soon()

    def _wrote(self, member: Member, *, known: bool) -> None:
        """Remember a write whose stamp the client does not know; the clocks of two nodes differ by so much."""
        now, skew = self.world.schedule.now, 10**9 if self.world.plan.jumps else 2 * SKEW
        self._writes = [each for each in self._writes if now - each.at <= skew]
        self.shaky = any(each.node != member.name for each in self._writes)
        if not known:
            self._writes.append(Written(member.name, now))
