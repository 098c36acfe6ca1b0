"""Judges a world while it runs and when it has settled. What the laws are: `laws`.

It looks at what the nodes really are, which no caller sees, but never changes anything.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.inspection import Inspection
from artemis.management import OperationRecord, Target
from artemis.registry import Change, Dot, Origin, Record, Stamp
from artemis.registry.records import ZERO, merge
from artemis.testing.simulation.engine.process import EngineProcess
from artemis.testing.simulation.laws import BrokenLaw
from artemis.testing.simulation.plan import BEAT, EPOCH, HOLD, SKEW, TICK
from artemis.testing.simulation.process import Process
from artemis.testing.simulation.telling import record_at, told_record

if TYPE_CHECKING:
    from artemis.testing.simulation.clients import Client
    from artemis.testing.simulation.world import World

SHARE = 0.25
"""The share of the living that a node may give up within one TTL."""

DELAY = 5
"""Milliseconds in which a node says what it has accepted."""

ENGINE_DELAY = 40
"""The same with an engine: there a node says what it has accepted otherwise than that it has accepted something, and
the word that it had accepted nothing yet may be under way for as long."""

TOLD = 1_500
"""Milliseconds after which a node has surely told its peers whom it has heard: a beat, a tick, and the way."""

Key = tuple[str, str]


class Judge:
    """Watches all processes of a world; `broken` is the first law that did not hold."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.broken: BrokenLaw | None = None
        #: What a vector and base mean: the first node that was seen with them, and a hash of what it showed.
        self._meanings: dict[object, tuple[str, int, dict[Key, bytes]]] = {}
        #: When each process gave up living instances with normal and with longer leases, in the world's time.
        self._given_up: dict[tuple[Process, bool], dict[str, int]] = {}

        #: The latest removal that a process has known of an instance.
        self._tombstones: dict[tuple[Process, str], Stamp] = {}
        self._vectors: dict[Process, dict[Origin, int]] = {}
        self._inspections: dict[str, Inspection] = {}
        self._delay = DELAY if world.servers is None else ENGINE_DELAY

    def broke(self, law: int, text: str) -> None:
        """Note that a law does not hold; the first one counts."""
        if self.broken is None:
            self.broken = BrokenLaw(law, text)

    def check(self) -> None:
        """Raise BrokenLaw if one does not hold."""
        if self.broken is not None:
            raise self.broken

    # -- while it runs

    def watch(self, process: Process) -> None:
        """Look at every change that a process makes or takes in."""
        process.node.registry.on_change(partial(self._changed, process))

    def accepted(self, client: Client, process: Process) -> None:
        """A node has answered that an instance is registered: it shows it."""
        lease = process.node.registry.find(client.service, client.name)
        if (lease is None or not lease.live) and not client.shaky:
            self.broke(
                3,
                f"{process.member.name} accepted {client.name}, shows {told_record(record_at(process, client.key))}",
            )

    def look(self, process: Process) -> None:
        """What a node shows follows from its vector and base, whichever node it is, and whenever."""
        self._bounded_now(process)
        registry = process.node.registry
        before = self._vectors.get(process, {})
        self._vectors[process] = dict(registry.vector)
        for origin, seq in before.items():
            if registry.vector.get(origin, 0) < seq and origin.epoch >= registry.base.get(origin.node, 0):
                self.broke(6, f"the vector of {process.member.name} goes back: {before} to {registry.vector}")
        if process.settling or registry.ahead or registry.pending:
            return  # a repair under way, or one that broke off, has brought more than the vector says
        vector = frozenset((origin, seq) for origin, seq in registry.vector.items() if seq)
        position = vector, frozenset(registry.base.items())
        view = views(process)
        name, at, other = self._meanings.setdefault(position, (process.member.name, self._world.schedule.now, view))
        if view != other:
            wrong = sorted(key for key in {*view, *other} if view.get(key) != other.get(key))
            self.broke(
                10,
                f"{process.member.name} differs from {name} at {at} with the same vector about {wrong}: "
                f"{[told_record(record_at(process, key)) for key in wrong]}, there {[other.get(key) for key in wrong]}",
            )

    def answered(self, process: Process, service: str) -> None:
        """What a node has answered is no older than it says, as far as those go that it does not take for down."""
        world = self._world
        age = process.node.age(process.member.now)
        for client in world.clients.values():
            latest = client.latest
            if latest is None or client.service != service or latest.at + age + self._delay >= world.schedule.now:
                continue
            writer = latest.process
            if writer is process or writer.member.process is not writer or not process.counts_on(writer):
                continue
            if not world.between.is_idle(writer.member.name, process.member.name):
                continue  # what is under way counts for no age
            record = record_at(process, client.key)
            if client.lives:
                lacking = record is None or record.version < latest.version
            else:  # who has swept its end shows it no more, and that is all that can be told
                lacking = record is not None and record.live and record.version < latest.version
            if lacking:
                self.broke(
                    12,
                    f"{process.member.name} says that it is {age} ms old, but lacks what {writer.member.name} accepted "
                    f"at {latest.at} of {client.name}: {told_record(record)}",
                )

    def _bounded_now(self, process: Process) -> None:
        node = process.node
        failures = (
            node.registry.counters.listener_failures, node.catalog.listener_failures, node.catalog.filter_failures,
            node.stream.counters.door_failures,
        )  # fmt: skip
        if any(failures):
            self.broke(11, f"{process.member.name} swallowed failures: {failures}")
        if len(node.log) > self._world.plan.log_entries:
            self.broke(7, f"{process.member.name} remembers {len(node.log)} changes")

    def _changed(self, process: Process, change: Change) -> None:
        record, world = change.record, self._world
        _, service, name = record.key
        client = world.clients[name]
        if record.removed:
            self._tombstones[process, name] = max(record.version, self._tombstones.get((process, name), ZERO))
        elif (
            change.visible is not None
            and client.state == "gone"
            and world.plan.outlives
            and record.version <= self._tombstones.get((process, name), ZERO)
        ):
            self.broke(2, f"{process.member.name} shows {name} again, which it knew removed: {told_record(record)}")
        if change.visible is not None:
            world.stats["shown"] += change.previous is None
            if client.state == "gone" and not client.java and record.version > client.version and not client.shaky:
                self.broke(
                    2, f"{process.member.name} shows {name}, unregistered as {client.version}: {told_record(record)}"
                )
            return
        if change.previous is None:
            return
        accepted = client.accepted
        promised = accepted is not None and accepted.process is process and not client.shaky
        if client.java and record.removed:
            promised = False  # it knows no version, so a node that lacks its removal takes its heartbeats all the same
        if record.expired[0] > (EPOCH + world.schedule.now + 2 * SKEW) * 1000:
            promised = False  # given up by a node whose clock had jumped ahead: its next heartbeat brings it back
        if promised and accepted is not None and world.schedule.now - accepted.at < client.ttl - TICK:
            self.broke(3, f"{name} vanished from {process.member.name} it heartbeats to: {told_record(record)}")
        lease = process.node.registry.find(service, name)
        if change.origin == process.node.registry.origin and not record.removed and lease is not None:
            if process.sweeping and not process.node.gives_up:  # else it only says again what a peer said
                self.broke(3, f"{process.member.name} gave up {name} although its own clock is the wrong one")
            self._gave_up(process, client, lease.heard)

    def _gave_up(self, process: Process, client: Client, heard: int) -> None:
        """Count it unless self-preservation has held it as long as it may."""
        now, accepted = self._world.schedule.now, client.accepted
        if accepted is None or now - accepted.at >= 2 * BEAT:
            return
        self._world.stats["false expiries"] += 1
        silence = process.member.now - heard
        self._world.log(process.member.name, "gives up", client.name, "not heard for", silence, "ms")
        told, teller = now - accepted.at, accepted.process.member
        steady = self._world.between.is_steady(teller.name, process.member.name, accepted.at)
        if teller.process is accepted.process and told >= TOLD and steady and teller is not process.member:
            self.broke(
                3, f"{process.member.name} gave up {client.name}, which {teller.name} heard {told} ms ago and told of"
            )
        if silence > client.ttl + HOLD:
            return
        recent = self._given_up.setdefault((process, client.legacy), {})
        recent[client.name] = now
        count = sum(now - at < client.ttl for at in recent.values())
        if count > max(4, SHARE * sum(each.legacy == client.legacy for each in self._world.clients.values())):
            self.broke(4, f"{process.member.name} gave up {count} living instances within one TTL: {sorted(recent)}")

    # -- when it has settled

    def settled(self) -> None:
        """Everyone shows exactly what is registered and alive, with the content of its last word."""
        world = self._world
        processes = [member.process for member in world.members.values() if member.process is not None]
        shown = {process.member.name: views(process) for process in processes}
        for client in world.clients.values():
            holders = [name for name, view in shown.items() if client.key in view]
            hidden = world.operators.hidden(client)
            if client.state == "up" and len(holders) < len(shown) and hidden is False:
                self.broke(3, f"{client.name} heartbeats to {client.at} but is live only on {holders}")
            if client.state != "up" and holders:
                records = [told_record(record_at(process, client.key)) for process in processes]
                self.broke(2, f"{client.name} is {client.state} but live on {holders}: {records}")
            if hidden and holders and world.plan.departure > world.plan.lifetime:
                self.broke(13, f"{client.name} is pulled out but shown by {holders}")
        first = processes[0]
        for process in processes:
            view, other = shown[process.member.name], shown[first.member.name]
            wrong = sorted(key for key in {*view, *other} if view.get(key) != other.get(key))
            if wrong:
                pairs = [(told_record(record_at(process, key)), told_record(record_at(first, key))) for key in wrong]
                self.broke(1, f"{process.member.name} and {first.member.name} differ about {wrong}: {pairs}")
            ours, theirs = recorded(process), recorded(first)
            if ours != theirs:
                self.broke(1, f"{process.member.name} and {first.member.name} differ in operations: {ours}, {theirs}")
        for client in world.clients.values():
            content = shown[first.member.name].get(client.key)
            seen = content is not None or world.operators.hidden(client) is False
            if client.state == "up" and seen and content != client.shown:
                self.broke(8, f"{client.name} registered content {client.content}, everyone shows {content!r}")

    def compare(self) -> None:
        """Let every node compare itself with the engine."""
        for member in self._world.members.values():
            process = member.process
            if isinstance(process, EngineProcess):
                self._inspections[member.name] = process.replica.inspect(member.now)
                process.pump()

    def compared(self) -> None:
        """The engine has what every node knows, and nothing else."""
        for name, inspection in self._inspections.items():
            if not inspection.complete or inspection.count:
                found = [(each.service, each.instance, each.here, each.there) for each in inspection.found]
                self.broke(1, f"{name} and the engine differ: {inspection.failed} {found}")

    def bounded(self) -> None:
        """A lifetime after the last fault nothing is left of what was."""
        names = set(self._world.members)
        for member in self._world.members.values():
            process = member.process
            if process is None:
                continue
            registry = process.node.registry
            ghosts = [told_record(record) for record in registry.records() if not record.live]
            if ghosts or registry.dead:
                self.broke(7, f"{member.name} keeps dead records {ghosts}")
            if process.node.operations.remembered:
                self.broke(
                    7, f"{member.name} remembers {process.node.operations.remembered} operations that have ended"
                )
            origins = set(registry.vector)
            if len({origin.node for origin in origins}) < len(origins) or process.unfinished:
                self.broke(7, f"{member.name} keeps vector {registry.vector}, held {process.unfinished}")
            if {origin.node for origin in origins} - names and self._world.plan.departure == self._world.plan.lifetime:
                self.broke(7, f"{member.name} keeps origins of unknown nodes: {registry.vector}")
            forgotten = [r for r in registry.records() if any(dot.origin not in origins for dot in r.dots)]
            if forgotten:
                self.broke(
                    7, f"{member.name} keeps dots of forgotten epochs: {[told_record(each) for each in forgotten]}"
                )


def check_merge(seed: int) -> None:
    """Judge on random triples from a small domain that merge is a join. Raises BrokenLaw."""
    rnd = random.Random(seed)  # noqa: S311 - a simulation is to be repeated

    def stamp() -> Stamp:
        return rnd.randint(0, 2), rnd.choice("ab")

    def record() -> Record:
        dots = tuple(Dot(Origin(node, 1), rnd.randint(1, 3)) for node in "ab" if rnd.random() < 0.6)
        content = rnd.choice((b"", b"x", b"y"))
        return Record(("r", "s", "i"), stamp(), rnd.random() < 0.4, content, stamp(), stamp(), stamp(), dots)

    for _ in range(10):
        a, b, c = record(), record(), record()
        if _fields(merge(a, b)) != _fields(merge(b, a)):
            raise BrokenLaw(5, f"not commutative: {a} {b}")
        if _fields(merge(merge(a, b), c)) != _fields(merge(a, merge(b, c))) or _fields(merge(a, a)) != _fields(a):
            raise BrokenLaw(5, f"not associative or idempotent: {a} {b} {c}")


def views(process: Process) -> dict[Key, bytes]:
    """Return what a node shows: service and instance id to JSON."""
    catalog = process.node.catalog
    return {
        (service, name): content
        for service in sorted(process.node.registry.services)
        for name, content in catalog.instances(service)
    }


def recorded(process: Process) -> dict[Target, list[OperationRecord]]:
    """Return which operations a node shows to operators: by target, as it is spelt, in the order of recording."""
    operations = process.node.operations
    entries = [*operations.instance_entries(), *operations.server_entries()]
    return {entry.target: list(entry.records.values()) for entry in entries}


def _fields(record: Record) -> tuple[object, ...]:
    return msgspec.structs.astuple(record)
