"""One node's part in replication over a bucket: what it puts there, and what it makes of what it reads (design 4.1).

The bucket is the one peer of every node: its entries are merged as they come, for ever, and markers say up to which
number of each origin all is there. What a node changes is in effect at once and put when it can be; without a bucket
everything goes on, and nothing is lost. It has the words of a mesh's `Replica` for those who watch over a node.
Pure. Not here: how records merge (`artemis.registry.merging`), and the engine's protocol (`artemis.cluster.nats`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from operator import xor

import msgspec

from artemis.cluster import exchange
from artemis.cluster.digests import Digests
from artemis.cluster.engine.ending import Ending
from artemis.cluster.engine.entries import MAX_VALUE, MemberRow, Value, encode_entry
from artemis.cluster.engine.keys import instance_key, member_key, operation_key
from artemis.cluster.engine.marking import Markers
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.port import (
    AskLast,
    Command,
    Entry,
    Get,
    Opening,
    Position,
    Purge,
    Put,
    Read,
    Stored,
    Tell,
    Told,
)
from artemis.cluster.engine.progress import Progress
from artemis.cluster.engine.saying import Saying
from artemis.cluster.engine.sweeping import Sweeping
from artemis.cluster.engine.taking import Taking, operation_place
from artemis.cluster.engine.writing import Number, Place, WriteCounters, Writing
from artemis.cluster.epochs import Epochs, superfluous
from artemis.cluster.exchange import Exchanged
from artemis.cluster.messages import OperationRow, Renewals, Unnamed, instance_row, latest_epoch
from artemis.cluster.outbox import Outbox, ReplicaCounters
from artemis.cluster.ranks import Ranks
from artemis.cluster.renewing import Renewing
from artemis.cluster.timings import ClusterTimings
from artemis.registry import Change, Dot, Lease, Origin, Reach, Record, Registry
from artemis.registry.records import merge
from artemis.registry.store import current

_EVERYBODY = ""
"""Stands for whoever listens to the engine: beats are told although nobody has been heard yet."""

_STORED = 20
"""Milliseconds between two markers at least."""

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
        self.synced = False
        self.remade = 0
        self.trouble = "it was not reached yet"
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
        self._writing = Writing()
        self._sweeping = Sweeping()
        self._saying = Saying(registry, url, zone)
        self._taking = Taking(
            registry, operators, self._writing, self._sweeping, self.counters, self._member, self._live_later
        )
        self._progress = Progress()
        self._markers = Markers()
        self._ending: Ending | None = None
        self._commands: list[Command] = []
        self._position = position
        self._identity = "" if position is None else position.identity
        self._read_at = 0 if position is None else position.at
        self._engine: int | None = None
        self._reading = False
        self._now = now
        self._next_beat = now
        self._next_ask = now
        self._next_stored = now
        self._told = 0
        self._values: dict[int, Value] = {}
        self._decisions: dict[Place, OperationRow] = {}
        # Whether nodes have said something of themselves that is to be taken over.
        self._said_more = False
        # What the keys mean that are being brought.
        self._places: dict[str, Place] = {}
        # When the round began after which all was compared last.
        self._compared = now - 1
        registry.mark(self)
        registry.rank_by(self._ranks.of)
        registry.on_change(self._changed)
        if operators is not None:
            operators.on_decision(self._decided)
            operators.on_forgotten(self._forgotten)

    # -- what others ask

    @property
    def position(self) -> Position | None:
        """How far the bucket is read and merged; for whoever takes a snapshot at this moment. None before the first
        pass is over."""
        if not self.synced:
            return self._position
        if self._ending is not None and self._ending.whole:
            return None
        return Position(self._identity, self._progress.position, self._read_at)

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
        return len(self._writing)

    def state(self) -> EngineState:
        """Return the numbers of this moment."""
        writing = self._writing
        return EngineState(
            synced=self.synced,
            trouble=self.trouble,
            full=writing.full,
            position=self._progress.position,
            dirty=len(writing),
            flying=writing.flying,
            to_purge=len(self._sweeping),
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

    # -- what happens here

    def _changed(self, change: Change) -> None:
        if change.origin is self._registry.origin:
            self._writing.changed(change.record.key, (change.origin.epoch, change.seq))

    def _decided(self, seq: int, row: OperationRow) -> None:
        origin, place = self._registry.origin, operation_place(row)
        self._decisions[place] = msgspec.structs.replace(row, dots=[(origin.node, origin.epoch, seq)])
        self._writing.changed(place, (origin.epoch, seq))

    def _forgotten(self, row: OperationRow) -> None:
        """Note that a decision was forgotten; one that is not in the bucket yet still goes there."""
        place = operation_place(row)
        if place in self._writing:
            self._decisions[place] = row
            return
        revision = self._writing.forget(place)
        if revision > 0:
            dots = tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in row.dots)
            first = min(self._ranks.members) == self._registry.origin.node
            self._sweeping.add(place, revision, dots, 0 if first else 1, self._now)

    def changed(self, lease: Lease) -> None:
        """Note that a lease has another record (`Marks`)."""
        self._digests.changed(lease)

    def gone(self, lease: Lease) -> None:
        """Note that the registry forgot a lease (`Marks`); what of it is not in the bucket yet still goes there."""
        self._digests.gone(lease)
        place = lease.record.key
        if place in self._writing:
            known = self._taking.orphans.get(place)
            self._taking.orphans[place] = lease.record if known is None else merge(known, lease.record)
            return
        revision = self._writing.forget(place)
        if revision > 0:
            self._sweeping.add(place, revision, lease.record.dots, self._ranks.of(lease), self._now)

    # -- the bucket

    def opened(self, opening: Opening, now: int) -> None:
        """There is a bucket to work with."""
        self._now = now
        same = opening.identity == self._identity and opening.last >= self._progress_of_former().sequence
        fresh = opening.at - self._read_at < self._registry.timings.lifetime * 4 // 5
        broken_off = self._ending is not None and self._ending.whole
        resumes = same and fresh and not broken_off and (self.synced or self._position is not None)
        if not same:
            self._begin_anew(opening)
        else:
            self._writing.lost()
            self._values.clear()
        after = self._progress_of_former().sequence if resumes else 0
        self.trouble = ""
        self._position = None if not resumes else self._progress_of_former()
        self._taking.seen = None if resumes else set()
        self._reading = True
        self._writing.sequence = max(self._writing.sequence, opening.last)
        own = self._saying.place
        self._writing.revisions.setdefault(own, 0)
        for entry in opening.members:
            self._taking.take(entry, now)
        base, unnamed, _ = self._saying.joined()
        self._registry.expect(Reach({}, base, unnamed))
        self._ending = Ending(whole=not resumes)
        self._progress.begin(after, opening.last, now)
        self._registry.pardon(now)
        self._commands.append(Read(after))

    def _progress_of_former(self) -> Position:
        if self._position is not None and not self.synced:
            return self._position
        return Position(self._identity, self._progress.position, self._read_at)

    def _begin_anew(self, opening: Opening) -> None:
        """Know nothing of a bucket that is another one than before, or the first."""
        if self._identity:
            self.remade += 1
        self._identity, self._read_at, self._position = opening.identity, opening.at, None
        self._writing.anew()
        self._values.clear()
        self._sweeping.clear()
        self._saying.anew()
        self._markers = Markers()
        self._told = 0
        self._progress.position = 0

    def lost(self, why: str, now: int) -> None:
        """There is no bucket to work with for now."""
        self._now = now
        self.trouble = why or "it is not there"
        self._reading = False
        self._writing.lost()
        self._values.clear()

    def entry(self, entry: Entry, now: int) -> None:
        """The next entry of the bucket."""
        if not self._reading:
            return
        self._now = now
        self._engine = entry.at + entry.lain - now
        self._taking.take(entry, now)
        self._progress.read(entry.sequence)
        self._read_at = max(entry.at, self._read_at)

    def at(self, sequence: int, now: int) -> None:
        """There is no further entry up to a number."""
        if self._reading:
            self._now = now
            self._progress.at(sequence)

    def last(self, sequence: int, now: int) -> None:
        """The last number of the bucket, which was asked for."""
        self._now = now
        self._progress.answered(sequence)

    def got(self, key: str, entry: Entry | None, now: int) -> None:
        """An entry that was asked for."""
        self._now = now
        place = self._places.pop(key, None)
        if place is None:
            return
        if entry is not None:
            self._taking.take(entry, now)
        revision = 0 if entry is None else entry.sequence
        self._sweeping.looked(place, revision)
        if place in self._writing:
            self._writing.got(place, revision)

    def stored(self, number: int, sequence: int, now: int) -> None:
        """A put was done."""
        self._now = now
        value = self._values.pop(number, None)
        place = self._writing.stored(number, sequence)
        if place is None:
            return
        if isinstance(value, MemberRow):
            self._saying.said = value
            return
        if place in self._writing:
            return
        self._decisions.pop(place, None)
        orphan = self._taking.orphans.pop(place, None)
        if orphan is not None and self._registry.find(*place[1:]) is None:
            revision = self._writing.forget(place)
            self._sweeping.add(place, revision, orphan.dots, 0, now)

    def conflicted(self, number: int, now: int) -> None:
        """A put was not done, as the entry is another one."""
        self._values.pop(number, None)
        self._writing.conflicted(number, now)

    def refused(self, number: int, full: bool, why: str, now: int) -> None:  # noqa: ARG002 - told by who carries it
        """A put was refused."""
        self._values.pop(number, None)
        self._writing.refused(number, now, full=full)

    def unknown(self, number: int, now: int) -> None:
        """Nobody knows what became of a put."""
        self._values.pop(number, None)
        self._writing.unknown(number, now)

    # -- what nodes say

    def receive(self, node: str, message: Told, now: int) -> None:
        """Take in what another node says."""
        self._now = now
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
                self._marker(node, message, now)

    def _marker(self, node: str, message: Stored, now: int) -> None:
        if message.node != node or message.epoch > latest_epoch(self._registry.wall(now)):
            self.counters.strange += 1
        elif message.epoch >= self._registry.base.get(node, 0):
            self._markers.note(Origin(node, message.epoch), message.reached, message.sequence)

    def _member(self, row: MemberRow, sequence: int) -> None:
        """Take in what a node says of itself in the bucket."""
        registry = self._registry
        latest = latest_epoch(registry.wall(self._now))
        if row.epoch > latest or any(epoch > latest for _, epoch in (*row.base, *row.unnamed)):
            self.counters.strange += 1
            return
        if not self._saying.note(row):
            self.counters.strange += 1
            return
        self._said_more = True
        if row.node == registry.origin.node:
            self._meet_myself(row, sequence)
        for node, epoch, reached in (*((row.node, epoch, reached) for epoch, reached in row.stored), *row.others):
            origin = Origin(node, epoch)
            if registry.base.get(node, 0) <= epoch <= latest and origin != registry.origin:
                self._markers.note(origin, reached, sequence)

    def _meet_myself(self, row: MemberRow, sequence: int) -> None:
        """Go on where a former life of this node was, in an epoch later than all of its."""
        self._writing.revisions[self._saying.place] = sequence
        registry, saying = self._registry, self._saying
        if row in self._values.values():
            saying.said = row
            return
        for epoch, reached in row.stored:
            if epoch != registry.origin.epoch:
                saying.stored[epoch] = max(reached, saying.stored.get(epoch, 0))
        epoch = max(row.epoch, dict(row.base).get(row.node, 0) - 1)
        if epoch > registry.origin.epoch or (epoch == registry.origin.epoch and saying.said is None):
            self._live_later(epoch)

    def _live_later(self, epoch: int) -> None:
        """Begin a life of this node that is later than one of its that others know."""
        self._registry.begin_epoch(epoch + 1)
        self._told = 0

    # -- what is to be done

    def take(self) -> Sequence[Command]:
        """Return what is to be done, in order."""
        commands, self._commands = self._commands, []
        for node, message in self._outbox.take():
            if isinstance(message, Renewals | Unnamed):
                commands.append(Tell(node or None, message))
        return commands

    def flush(self, now: int) -> None:
        """Put what has changed; almost free when nothing has."""
        self._now = now
        if self._reading:
            self._settle(now)
            if self._writing:
                self._put(now)
            self._mark(now)

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due."""
        self._now = now
        if self._reading:
            self._writing.tick(now)
            if self._ending is not None:
                self._registry.pardon(now)
            if now >= self._next_ask and self._progress.asked is None:
                self._next_ask = now + self._timings.exchange
                self._ask(now)
            if self._saying.due(now):
                self._writing.changed(self._saying.place)
            self._sweep(now)
        if now >= self._next_beat or self._renewing.early:
            self._next_beat = now + self._timings.beat
            self._renewing.beat(now, wall)
            self._forget_epochs(now)
            self._drop_silent(now)
            self._tell_stored()
        else:
            self._renewing.go_on(now)
        self._registry.trim(_TRIMMED)
        self._digests.refresh(_TRIMMED)
        self.flush(now)

    def _ask(self, now: int) -> None:
        self._progress.ask(now)
        self._commands.append(AskLast())

    # -- putting

    def _put(self, now: int) -> None:
        own = self._saying.place
        for place in self._writing.gets(now):
            self._get(place)
        for number, place, revision in self._writing.puts(now, only=None if self._saying.open else own):
            value = self._value(place, now)
            data = b"" if value is None else encode_entry(value)
            if value is None:
                self._writing.drop(place)
            elif len(data) > MAX_VALUE:
                self._writing.refused(number, now, full=False)
            else:
                if place == own:
                    self._saying.began(now)
                self._values[number] = value
                self._commands.append(Put(number, key_of_place(place), data, revision))

    def _get(self, place: Place) -> None:
        key = key_of_place(place)
        self._places[key] = place
        self._commands.append(Get(key))

    def _value(self, place: Place, now: int) -> Value | None:
        if place == self._saying.place:
            return self._saying.row
        if len(place) == _DECISION:
            row = None if self._operators is None else self._operators.row(*place[1:])
            return row or self._decisions.get(place)
        lease = self._registry.find(*place[1:])
        orphan = self._taking.orphans.get(place)
        if lease is None:
            return None if orphan is None else instance_row(orphan, 0, with_dots=True)
        record: Record = current(lease)
        if orphan is not None:
            record = merge(record, orphan)
        return instance_row(record, max(0, now - lease.heard), with_dots=True)

    def _mark(self, now: int) -> None:
        """Find out up to which number all own changes are in the bucket, and tell it."""
        if self._ending is not None or not self.synced or now < self._next_stored:
            return
        registry, stored = self._registry, self._saying.stored
        node = registry.origin.node
        first: Number = self._writing.first() or (registry.origin.epoch + 1, 0)
        for origin, seq in registry.vector.items():
            if origin.node == node and origin.epoch <= first[0]:
                reached = seq if origin.epoch < first[0] else first[1] - 1
                stored[origin.epoch] = max(reached, stored.get(origin.epoch, 0))
        if stored.get(registry.origin.epoch, 0) > self._told:
            self._next_stored = now + _STORED
            self._tell_stored()

    def _tell_stored(self) -> None:
        origin = self._registry.origin
        reached = self._saying.stored.get(origin.epoch, 0)
        if self._reading and reached:
            self._told = reached
            self._commands.append(Tell(None, Stored(origin.node, origin.epoch, reached, self._writing.sequence)))

    def _sweep(self, now: int) -> None:
        said = self._saying.said
        if said is None or not self.synced:
            return
        floor = {Origin(node, epoch): seq for node, epoch, seq in said.floor}
        for place, revision in self._sweeping.due(floor, dict(said.base), now) if self._sweeping else ():
            if revision:
                self._commands.append(Purge(key_of_place(place), revision))
            else:
                self._get(place)

    # -- reading

    def _settle(self, now: int) -> None:
        """Know as much as the bucket says as far as it was read without a hole."""
        progress = self._progress
        if progress.due(now):
            self._ask(now)
        if not progress.settled or progress.asked is not None:
            return
        if self._engine is not None:
            self._read_at = max(self._read_at, now + self._engine)
        risen = self._markers.reach(progress.position)
        if self._ending is not None:
            if not self._finish(self._ending, now):
                return
        elif risen or self._said_more:
            self._rise()
        if self._compared < progress.begun:
            self._compared = progress.begun
            for node in self.heard:
                self.compared[node] = now
                self.exchanged[node] = Exchanged(at=now, took=now - progress.begun, completed=True)

    def _rise(self) -> None:
        registry, self._said_more = self._registry, False
        base, _, floor = self._saying.joined()
        registry.drop_epochs(base)
        self._markers.forget(registry.base)
        registry.rise(Reach(self._markers.vector, base), floor)
        for origin in self._markers.vector:
            self._taking.risen(origin)

    def _finish(self, ending: Ending, now: int) -> bool:
        """Find out what the bucket lacks, some at a time; return whether that is done."""
        base, unnamed, _ = self._saying.joined()
        theirs = Reach(self._markers.vector, base, unnamed)
        done = ending.go_on(self._registry, self._operators, self._taking.seen, theirs, self._saying.stored, now)
        for lease in ending.died():
            self._registry.restate(lease, now)
            self.counters.restated += 1
        for place, number in ending.lacking():
            self._writing.changed(place, number)
        if not done:
            return False
        self._rise()
        self._registry.pardon(now)
        self._writing.complete = self._writing.complete or ending.whole
        self._taking.seen = None
        self._ending = None
        self._position = None
        self.synced = True
        self.counters.exchanges += 1
        return True

    # -- epochs

    def _forget_epochs(self, now: int) -> None:
        registry = self._registry
        members = {*self._ranks.members, *self._outbox.connected}
        lifetime, departure = registry.timings.lifetime, self._timings.departure
        due = self._epochs.due(
            registry.vector, [*registry.ahead], members, lifetime=lifetime, departure=departure, now=now
        )
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


_DECISION = 5
"""Names of the place of a decision."""


def key_of_place(place: Place) -> str:
    """Return the key of a place."""
    if len(place) == _DECISION:
        return operation_key(*place[1:])
    return instance_key(*place[1:]) if len(place) > len(("m", "node")) else member_key(place[1])


def _nothing(_: str) -> None:
    """What a node lacks comes from the bucket; there is nobody to ask."""
