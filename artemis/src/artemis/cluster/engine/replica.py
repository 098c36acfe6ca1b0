"""One node's part in replication over a bucket: what its carrier calls, and what others ask (design 4.1).

The bucket is the one peer of every node: its entries are merged as they come, for ever, and markers say up to which
number of each origin all is there. What a node changes is in effect at once and put when it can be; without a bucket
everything goes on, and nothing is lost. It has the words of a mesh's `Replica` for those who watch over a node.
Pure. Not here: putting (`putting`), reading (`reading`), how records merge (`artemis.registry.merging`), and the
engine's protocol (`artemis.cluster.nats`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import reduce
from operator import xor

import msgspec

from artemis.cluster import exchange
from artemis.cluster.digests import Digests
from artemis.cluster.engine.dirty import WriteCounters
from artemis.cluster.engine.entries import MemberRow
from artemis.cluster.engine.inspecting import Inspecting
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.port import Command, Entry, Opening, Position, Stored, Tell, Told
from artemis.cluster.engine.putting import Putting
from artemis.cluster.engine.reading import Reading
from artemis.cluster.engine.saying import Saying
from artemis.cluster.epochs import Epochs, superfluous
from artemis.cluster.exchange import Exchanged
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import Renewals, Unnamed
from artemis.cluster.outbox import Outbox, ReplicaCounters
from artemis.cluster.ranks import Ranks
from artemis.cluster.renewing import Renewing
from artemis.cluster.timings import ClusterTimings
from artemis.registry import Lease, Registry

_EVERYBODY = ""
"""Stands for whoever listens to the engine: beats are told although nobody has been heard yet."""

_SILENT = 10
"""Beats after which nothing is told to a node alone any more."""

_TRIMMED = 2_000
"""Instances whose forgotten epochs go in one tick."""


class EngineState(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one moment. `trouble` is why there is no bucket to work with, empty while there is one; `dirty` places
    are to be put, `flying` of them are under way; `full` says that no new key fits."""

    synced: bool
    trouble: str
    full: bool
    position: int
    dirty: int
    flying: int
    to_purge: int
    remade: int
    handles: int
    counters: ReplicaCounters
    writes: WriteCounters


class EngineReplica:
    """Replicates one registry over a bucket, and `operators` if there are any: a `Core`. Owned by the assembly.

    `url` and `zone` are what the node says of itself in the bucket, `position` how far a former life, whose snapshot
    the registry was made of, had read it. `now` is milliseconds of the registry's monotonic clock, `wall` of the wall
    clock. Nodes are named by node id.
    `heard` says when something of each node came last, `current` when it named no change that this node lacks,
    `compared` when the bucket had been read up to a number that it was asked for, `synced` whether that was ever so.
    """

    def __init__(
        self,
        registry: Registry,
        operators: EngineOperators | None,
        timings: ClusterTimings,
        *,
        url: str = "",
        zone: str = "",
        position: Position | None = None,
        now: int,
        wall: int,
    ) -> None:
        self.heard: dict[str, int] = {}
        self.compared: dict[str, int] = {}
        self.exchanged: dict[str, Exchanged] = {}
        self.trouble = "it was not reached yet"
        #: Called when something may be put or shown that was not before.
        self.turned: Callable[[], None] = _idle
        self._registry = registry
        self._operators = operators
        self._timings = timings
        self._outbox = Outbox()
        self._outbox.connected[_EVERYBODY] = None
        self.counters = self._outbox.counters
        self._ranks = Ranks(registry.origin.node)
        self._epochs = Epochs()
        self._renewing = Renewing(registry, self._outbox, self._epochs, _nothing, now=now, wall=wall)
        self.current = self._renewing.current
        leases = (lease for service in registry.services.values() for lease in service.leases.values())
        self._digests = Digests(leases, self._renewing.handles.forget)
        self._digests.refresh(self._digests.dirty)
        self._commands: list[Command] = []
        self._saying = Saying(registry, url, zone)
        self._putting = Putting(
            registry, operators, self._saying, rank=self._ranks.of, first=self._first, do=self._commands.append, now=now
        )
        self._reading = Reading(
            registry,
            operators,
            self._saying,
            self._putting,
            self.counters,
            position=position,
            do=self._commands.append,
            compared=self._compared,
            now=now,
        )
        self._inspecting = Inspecting(
            registry,
            operators,
            self._putting.writing,
            theirs=lambda: self._reading.theirs,
            do=self._commands.append,
        )
        self._next_beat = now
        self._next_ask = now
        self._reached = now - (wall if position is None else max(0, wall - position.at))
        registry.mark(self)
        registry.rank_by(self._ranks.of)
        registry.on_change(self._putting.changed)
        if operators is not None:
            operators.on_decision(self._putting.decided)
            operators.on_forgotten(self._putting.forgotten)

    # -- what others ask

    @property
    def synced(self) -> bool:
        """Whether the whole bucket was read once."""
        return self._reading.synced

    @property
    def shown(self) -> tuple[str, int] | None:
        """The bucket, and up to which number all that is in it is shown here; None while that cannot be told."""
        reading, progress = self._reading, self._reading.progress
        if not (reading.open and reading.synced and progress.settled) or progress.asked is not None:
            return None
        return self._saying.bucket, progress.position

    @property
    def put(self) -> tuple[int, int]:
        """Up to which number all changes of this life are in the bucket, and up to which number of that they are."""
        origin, writing = self._registry.origin, self._putting.writing
        first = writing.first() or (origin.epoch, self._registry.vector[origin] + 1)
        return (first[1] - 1 if first[0] == origin.epoch else 0), writing.sequence

    @property
    def passing(self) -> bool:
        """Whether a pass over the bucket is under way, or broke off: more may be merged than the vector says."""
        return self._reading.passing

    @property
    def remade(self) -> int:
        """How often the bucket was another one than before."""
        return self._reading.remade

    @property
    def position(self) -> Position | None:
        """How far the bucket is read and merged; for whoever begins a snapshot at this moment. None before the first
        pass is over."""
        return self._reading.position

    @property
    def reached(self) -> int:
        """Until when all is known here that nodes have put, in monotonic milliseconds, also from before this machine
        began; when the wall clock began if nothing is known yet."""
        return self._reached

    @property
    def members(self) -> dict[str, MemberRow]:
        """What nodes say of themselves in the bucket."""
        return self._saying.rows

    @property
    def digest(self) -> int | None:
        """One number of 64 bits over all that this node knows, the same at all that know the same; None while digests
        are still to be made."""
        sums = exchange.sums(self._digests, self._operators)
        return None if self._digests.dirty else reduce(xor, memoryview(sums).cast("Q"), 0)

    @property
    def dirty(self) -> int:
        """Count the places that are to be put."""
        return len(self._putting.writing)

    @property
    def untold(self) -> bool:
        """Whether there are changes that are being put, or of which the others were not told: they are when they were
        read."""
        return self._putting.untold

    def state(self) -> EngineState:
        """Return the numbers of this moment."""
        writing = self._putting.writing
        return EngineState(
            synced=self.synced,
            trouble=self.trouble,
            full=writing.full,
            position=self._reading.progress.position,
            dirty=len(writing),
            flying=writing.flying,
            to_purge=len(self._putting.sweeping),
            remade=self.remade,
            handles=len(self._renewing.handles),
            counters=msgspec.structs.replace(self.counters),
            writes=msgspec.structs.replace(writing.counters),
        )

    def lag(self, node: str) -> int:
        """Return how many of a node's own changes are not known here, as of its last sign of life."""
        return self._renewing.lag(node)

    def set_members(self, members: Collection[str]) -> None:
        """Count with these members of the cluster, own id included: they share the work of giving up silent leases."""
        self._ranks.set_members(members)
        peers = {*members, *self._outbox.connected}
        for table in (self.heard, self.compared, self.exchanged):
            for peer in [peer for peer in table if peer not in peers]:
                del table[peer]
        self._renewing.keep(peers)

    def leave(self) -> None:
        """Say in the bucket that this node leaves the cluster for good."""
        self._saying.left = True
        self._putting.writing.changed(self._saying.place)

    def inspect(self, now: int) -> Inspection:
        """Compare with all that the bucket has, and merge nothing; what is found is in the inspection.

        There is one at a time: while it is not done, it is the one that is returned.
        """
        self.counters.inspections += 1
        return self._inspecting.begin(self.trouble, now)

    def reread(self, now: int) -> bool:
        """Read all of the bucket again, merge it, and put what it lacks; False if there is no bucket now.

        When it is over, `exchanged` says so of every node.
        """
        return self._reading.again(now)

    def changed(self, lease: Lease) -> None:
        """Note that a lease has another record (`Marks`)."""
        self._digests.changed(lease)

    def gone(self, lease: Lease) -> None:
        """Note that the registry forgot a lease (`Marks`)."""
        self._digests.gone(lease)
        self._putting.gone(lease)

    # -- the bucket

    def opened(self, opening: Opening, now: int) -> None:
        """There is a bucket to work with."""
        self._putting.now = now
        self.trouble = ""
        self._reading.opened(opening, now)

    def lost(self, why: str, now: int) -> None:
        """There is no bucket to work with for now."""
        self._putting.now = now
        self.trouble = why or "it is not there"
        self._inspecting.lost(now)
        self._reading.lost()

    def entry(self, entry: Entry, now: int) -> None:
        """The next entry of the bucket."""
        self._putting.now = now
        self._reading.entry(entry, now)

    def at(self, sequence: int, now: int) -> None:
        """There is no further entry up to a number."""
        self._putting.now = now
        self._reading.at(sequence)

    def doubted(self, now: int) -> None:
        """What was read may not be what the bucket has."""
        self._putting.now = now
        self._reading.again(now, anew=True)

    def last(self, sequence: int, now: int) -> None:
        """The last number of the bucket, which was asked for."""
        self._putting.now = now
        self._reading.progress.answered(sequence)

    def got(self, key: str, entry: Entry | None, now: int) -> None:
        """An entry that was asked for."""
        self._putting.now = now
        place = self._putting.place_of(key)
        if place is None:
            return
        if entry is not None:
            self._reading.got(entry, now)
        if entry is None:
            self._putting.got(place, 0, 0)
        else:
            self._putting.got(place, entry.sequence, entry.lain)

    def scanned(self, number: int, entry: Entry, now: int) -> None:
        """An entry to compare with."""
        self._inspecting.scanned(number, entry, now)

    def scan_over(self, number: int, last: int, now: int) -> None:
        """There are no more entries to compare with."""
        self._inspecting.over(number, last, now)
        self._next_ask = now

    def stored(self, number: int, sequence: int, now: int) -> None:
        """A put was done."""
        self._putting.now = now
        self._putting.stored(number, sequence)

    def conflicted(self, number: int, now: int) -> None:
        """A put was not done, as the entry is another one."""
        self._putting.now = now
        self._putting.conflicted(number)

    def refused(self, number: int, full: bool, why: str, now: int) -> None:  # noqa: ARG002 - told by who carries it
        """A put was refused."""
        self._putting.now = now
        self._putting.refused(number, full=full)

    def unknown(self, number: int, now: int) -> None:
        """Nobody knows what became of a put."""
        self._putting.now = now
        self._putting.unknown(number)

    # -- what nodes say

    def receive(self, node: str, message: Told, now: int) -> None:
        """Take in what another node says."""
        self._putting.now = now
        if node == self._registry.origin.node or not node:
            self.counters.strange += 1
            return
        self.heard[node] = now
        self._outbox.connected[node] = None
        match message:
            case Renewals():
                self._renewing.on_renewals(node, message, now)
            case Unnamed():
                self._renewing.on_unnamed(node, message)
            case Stored():
                self._reading.marker(node, message, now)

    # -- what is to be done

    def take(self) -> Sequence[Command]:
        """Return what is to be done, in order."""
        commands = self._commands.copy()
        self._commands.clear()
        self._reading.asked()
        for node, message in self._outbox.take():
            if isinstance(message, Renewals | Unnamed):
                commands.append(Tell(node or None, message))
        return commands

    def flush(self, now: int) -> None:
        """Put what has changed; almost free when nothing has."""
        self._putting.now = now
        if self._reading.open:
            self._reading.settle(now)
            self._putting.put()
            if self.synced and not self._reading.passing:
                self._putting.mark()
        self.turned()

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due."""
        self._putting.now = now
        if self._reading.open:
            self._putting.writing.tick(now)
            self._reading.tick(now)
            self._inspecting.tick(now)
            if now >= self._next_ask and self._reading.progress.asked is None:
                self._next_ask = now + self._timings.exchange
                self._reading.ask(now)
            if self._saying.due(now):
                self._putting.writing.changed(self._saying.place)
            if self.synced:
                self._reached = now
                self._putting.sweep()
        if now >= self._next_beat or self._renewing.early:
            self._next_beat = now + self._timings.beat
            self._renewing.beat(now, wall)
            self._forget_epochs(now)
            self._drop_silent(now)
            if self._reading.open:
                self._putting.tell_stored()
        else:
            self._renewing.go_on(now)
        self._registry.trim(_TRIMMED)
        self._digests.refresh(_TRIMMED)
        self.flush(now)

    # -- its own

    def _first(self) -> bool:
        return min(self._ranks.members) == self._registry.origin.node

    def _compared(self, begun: int, now: int) -> None:
        """Note that everything that was in the bucket at a moment is known here by now."""
        self._inspecting.compared(begun)
        for node in self.heard:
            self.compared[node] = now
            self.exchanged[node] = Exchanged(at=now, took=now - begun, completed=True)

    def _forget_epochs(self, now: int) -> None:
        registry = self._registry
        members = {*self._ranks.members, *self._outbox.connected}
        lifetime, departure = registry.timings.lifetime, self._timings.departure
        due = self._epochs.due(
            registry.vector, [*registry.ahead], members, lifetime=lifetime, departure=departure, now=now
        )
        first = self._putting.writing.first()
        if not self.synced or (first is not None and first[0] < due.get(registry.origin.node, 0)):
            due.pop(registry.origin.node, None)  # the bucket may lack some of it
        registry.drop_epochs(due)
        own = registry.base.get(registry.origin.node, 0)
        self._saying.stored = {epoch: seq for epoch, seq in self._saying.stored.items() if epoch >= own}
        for table in (registry.base, registry.unnamed):
            for node in superfluous(table, members):
                del table[node]

    def _drop_silent(self, now: int) -> None:
        """Tell nothing to a node alone that was not heard for long."""
        connected = self._outbox.connected
        for node in [node for node in connected if node != _EVERYBODY]:
            if now - self.heard.get(node, -1) > _SILENT * self._timings.beat:
                del connected[node]


def _nothing(_: str) -> None:
    """What a node lacks comes from the bucket; there is nobody to ask."""


def _idle() -> None:
    """A node that is alone on its machine has nobody to tell."""
