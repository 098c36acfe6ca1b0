"""One node's part in replication: what it tells its peers, and what it makes of what they tell (design 4.1).

Pure: messages and milliseconds come in, and what is to be sent waits to be taken. Whoever owns a replica carries its
messages over links (`mesh`), or through a simulated world.
Not here: how records merge (`artemis.registry.merging`), who is a member, links.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from operator import xor

import msgspec

from artemis.cluster import exchange
from artemis.cluster.digests import BUCKETS, Digests
from artemis.cluster.epochs import Epochs, superfluous
from artemis.cluster.exchange import BYTES, ROWS, Answer, Exchanged, Question, Records
from artemis.cluster.handles import NAMES_AT_ONCE, Handles, PeerHandles, packed, unpacked
from artemis.cluster.held import HeldChanges
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import (
    Changes,
    Digest,
    InstanceRow,
    Message,
    More,
    OperationRow,
    Renewals,
    Repair,
    Row,
    Unnamed,
    instance_row,
)
from artemis.cluster.operators import OperatorState
from artemis.cluster.ranks import Ranks
from artemis.cluster.timings import ClusterTimings
from artemis.registry import Change, Dot, Origin, Record, Registry
from artemis.registry.records import ZERO

_DIGESTS = 1_000
"""Digests made at once, about 5 ms."""

_EARLY = 5_000
"""Renewals after which a beat comes before its time, so that one beat costs no more than some milliseconds."""

_TRIMMED = 2_000
_LOOKED_AT = 8_000
"""Leases that the end of an exchange looks at in one go."""


class ReplicaCounters(msgspec.Struct, gc=False):
    """What happened since the start; every counter only grows. Rows are those of instances and operations."""

    changes_sent: int = 0
    changes_applied: int = 0
    changes_known: int = 0
    renewals_sent: int = 0
    renewals_received: int = 0
    nameless: int = 0
    exchanges: int = 0
    exchanges_given_up: int = 0
    rows_sent: int = 0
    rows_received: int = 0
    restated: int = 0
    answers: int = 0
    inspections: int = 0
    overflows: int = 0
    strange: int = 0


class PeerState(msgspec.Struct, frozen=True, kw_only=True):
    """How this node stands with one peer: when it was heard (monotonic ms, None if never) and by how many of its own
    changes this node is behind it, as of its last sign of life. `exchanged` is the last exchange that this node began
    with it, None if there was none.
    """

    heard: int | None
    connected: bool
    lag: int
    exchanged: Exchanged | None


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers of one moment. `differing` is the number of buckets that differed in the last exchange."""

    synced: bool
    peers: dict[str, PeerState]
    exchanging: str | None
    differing: int
    held: int
    held_dropped: int
    handles: int
    counters: ReplicaCounters


class Replica:
    """Replicates one registry, and `operators` if there are any. Owned by the assembly; nothing here waits.

    Peers are named by node id. `now` is milliseconds of the registry's monotonic clock, `wall` of the wall clock. One
    message has `rows` rows at most.
    `heard` says when a message of each peer came last, `current` when one that named no change which this node lacks,
    `compared` when an exchange with it was completed last, `exchanged` what became of the last one, `synced` whether
    any was completed since the start. `partners` are the
    peers that it begins exchanges with, None for all.
    Whatever `decode_message` lets through may come in; what makes no sense is counted as `strange`.
    """

    def __init__(
        self,
        registry: Registry,
        operators: OperatorState | None,
        timings: ClusterTimings,
        *,
        rows: int = ROWS,
        now: int,
        wall: int,
    ) -> None:
        self.counters = ReplicaCounters()
        self._rows = rows
        self.heard: dict[str, int] = {}
        self.current: dict[str, int] = {}
        self.compared: dict[str, int] = {}
        self.exchanged: dict[str, Exchanged] = {}
        self.synced = False
        self.partners: Collection[str] | None = None
        self._registry = registry
        self._operators = operators
        self._timings = timings
        self._node = registry.origin.node
        self._now, self._wall = now, wall
        self._outbox: list[tuple[str | None, Message]] = []
        self._connected: dict[str, None] = {}
        self._ranks = Ranks(self._node)
        self._held = HeldChanges()
        self._epochs = Epochs()
        # Own changes since the last flush, in order, and the last number that was flushed.
        self._changes: list[tuple[int, Record | OperationRow]] = []
        self._flushed = registry.vector[registry.origin]
        self._handles = Handles()
        self._peer_handles: dict[str, PeerHandles] = {}
        self._reached: dict[str, tuple[Origin, int]] = {}
        self._beaten = now
        self._told = registry.renewed
        self._next_beat = now
        # Whom to ask first, because something of theirs is missing; then in turn.
        self._wanted: dict[str, None] = {}
        self._inspections: dict[str, Inspection] = {}
        self._question: Question | None = None
        self._request = (registry.origin.epoch % 2**40) << 20
        self._next_exchange = now + timings.exchange
        self._turn = 0
        # Questions of peers that wait, and since when.
        self._asked: dict[str, tuple[Digest, int]] = {}
        self._answers: dict[str, Answer] = {}
        self._differing = 0
        leases = (lease for service in registry.services.values() for lease in service.leases.values())
        self._digests = Digests(leases, self._handles.forget)
        self._digests.refresh(self._digests.dirty)
        registry.mark(self._digests)
        registry.rank_by(self._ranks.of)
        registry.on_change(self._changed)
        if operators is not None:
            operators.on_decision(self._decided)

    # -- peers

    def set_members(self, members: Collection[str]) -> None:
        """Count with these members of the cluster, own id included: they share the work of giving up silent leases."""
        self._ranks.set_members(members)
        tables = (self.heard, self.current, self.compared, self.exchanged, self._peer_handles, self._reached)
        for table in tables:
            for peer in [peer for peer in table if peer not in members and peer not in self._connected]:
                del table[peer]

    def connect(self, peer: str, now: int) -> None:  # noqa: ARG002
        """From now on messages for `peer` are delivered."""
        self._connected[peer] = None
        self._wanted[peer] = None

    def want(self, peer: str) -> None:
        """Begin an exchange with a peer as soon as it can be."""
        self._wanted[peer] = None

    def inspect(self, peer: str, now: int) -> Inspection:
        """Compare with a peer as soon as it can be, and merge nothing; what is found is in the inspection.

        There is one for each peer at a time: while one is not done, it is the one that is returned.
        """
        waiting = self._inspections.get(peer)
        question = self._question
        if waiting is None and question is not None and question.peer == peer:
            waiting = question.inspection
        if waiting is not None:
            return waiting
        inspection = Inspection(peer, now)
        if peer in self._connected:
            self._inspections[peer] = inspection
        else:
            inspection.fail("there is no link to it", now)
        return inspection

    def disconnect(self, peer: str) -> None:
        """Messages for `peer` are delivered no longer."""
        self._connected.pop(peer, None)
        self._wanted.pop(peer, None)
        self._asked.pop(peer, None)
        self._answers.pop(peer, None)
        inspection = self._inspections.pop(peer, None)
        if inspection is not None:
            inspection.fail("the link to it ended", self._now)
        if self._question is not None and self._question.peer == peer:
            self._give_up(self._now, "the link to it ended")

    def overflowed(self, peer: str) -> None:  # noqa: ARG002
        """Count that messages for `peer` were dropped; it will notice the gap and ask."""
        self.counters.overflows += 1

    @property
    def exchanging(self) -> bool:
        """Whether an answer to this node's question is under way."""
        return self._question is not None

    @property
    def held(self) -> int:
        """Count the changes that wait for others before them."""
        return self._held.count

    @property
    def digest(self) -> int | None:
        """One number of 64 bits over all that this node knows, the same at all that know the same; None while digests
        are still to be made."""
        sums = exchange.sums(self._digests, self._operators)
        return None if self._digests.dirty else reduce(xor, memoryview(sums).cast("Q"), 0)

    def state(self) -> ReplicaState:
        """Return the numbers of this moment."""
        vector = self._registry.vector
        peers = {}
        for peer in {*self._connected, *self.heard}:
            origin, reached = self._reached.get(peer, (self._registry.origin, 0))
            lag = max(0, reached - vector.get(origin, 0))
            peers[peer] = PeerState(
                heard=self.heard.get(peer),
                connected=peer in self._connected,
                lag=lag,
                exchanged=self.exchanged.get(peer),
            )
        return ReplicaState(
            synced=self.synced,
            peers=peers,
            exchanging=None if self._question is None else self._question.peer,
            differing=self._differing,
            held=self._held.count,
            held_dropped=self._held.dropped,
            handles=len(self._handles),
            counters=msgspec.structs.replace(self.counters),
        )

    # -- what is to be sent

    def take(self) -> list[tuple[str | None, Message]]:
        """Return what is to be sent, in order; to every connected peer where no peer is named."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def flush(self, now: int) -> None:
        """Tell the peers of the own changes since the last time; almost free when there are none."""
        registry = self._registry
        last = registry.vector[registry.origin]
        if last == self._flushed:
            return
        first, self._flushed = self._flushed + 1, last
        changes, self._changes = self._changes, []
        if not self._connected:
            return
        for message in self._messages(first, last, changes, now):
            self._outbox.append((None, message))
            self.counters.changes_sent += len(message.rows)
        self._digests.refresh(len(changes))

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due; call it about every 100 ms."""
        self._now, self._wall = now, wall
        self.flush(now)
        registry = self._registry
        if now >= self._next_beat or registry.renewed - self._told > _EARLY:
            self._next_beat = now + self._timings.beat
            self._told = registry.renewed
            self._beat(now)
            self._forget_epochs(now)
            self._held.expire(now - 2 * self._timings.patience)
        registry.trim(_TRIMMED)
        clean = self._digests.refresh(_DIGESTS)
        self._answer_all(now)
        self._answers = {
            peer: answer for peer, answer in self._answers.items() if now - answer.since <= self._timings.patience
        }
        question = self._question
        if question is not None and question.left is not None:
            self._finish(question, now)
        elif question is not None and question.inspection is not None and question.inspection.ending:
            self._end_inspection(question.inspection, now)
        elif question is not None and now - question.since > self._timings.patience:
            self._give_up(now, f"it did not answer for {self._timings.patience / 1000:g} s")
        if self._question is None and clean:
            self._ask(now)
        self.flush(now)

    # -- what peers say

    def receive(self, peer: str, message: Message, now: int) -> None:
        """Take in a message of a peer."""
        self.heard[peer] = now
        match message:
            case Changes():
                self._on_changes(peer, message, now)
            case Renewals():
                self._on_renewals(peer, message, now)
            case Unnamed():
                self._on_unnamed(peer, message)
            case Digest():
                self._asked[peer] = message, now
                self._answer_all(now)
            case Repair():
                self._on_repair(peer, message, now)
            case More():
                self._on_more(peer, message, now)
            case _:
                pass

    # -- changes

    def _changed(self, change: Change) -> None:
        if change.origin is self._registry.origin:
            self._changes.append((change.seq, change.record))

    def _decided(self, seq: int, row: OperationRow) -> None:
        self._changes.append((seq, row))

    def _messages(
        self, first: int, last: int, changes: list[tuple[int, Record | OperationRow]], now: int
    ) -> Iterator[Changes]:
        """Yield the numbers from `first` to `last`; those without a change changed no record."""
        origin, found = self._registry.origin, dict(changes)
        rows: list[Row | None] = []
        size = 0
        for seq in range(first, last + 1):
            if len(rows) == self._rows or size > BYTES:
                yield Changes(origin.node, origin.epoch, first, rows)
                first, rows, size = seq, [], 0
            change = found.get(seq)
            if isinstance(change, Record):
                size += len(change.content)
                rows.append(instance_row(change, self._age(change, now), with_dots=False))
            else:
                rows.append(change)
        yield Changes(origin.node, origin.epoch, first, rows)

    def _age(self, record: Record, now: int) -> int:
        _, service, instance = record.key
        lease = self._registry.find(service, instance)
        return 0 if lease is None else max(0, now - lease.heard)

    def _on_changes(self, peer: str, message: Changes, now: int) -> None:
        origin = Origin(message.node, message.epoch)
        if message.node == self._node or message.first < 1:
            self.counters.strange += 1
            return
        registry = self._registry
        if message.epoch < registry.base.get(message.node, 0):
            return
        known = registry.vector.get(origin, 0)
        rows, first = message.rows, message.first
        if first <= known:
            self.counters.changes_known += min(len(rows), known + 1 - first)
            rows, first = rows[known + 1 - first :], known + 1
        if not rows:
            return
        if first > known + 1:
            self._held.hold(origin, first, rows, now)
            self._wanted[peer] = None
            return
        records = Records(registry.region)
        for seq, row in enumerate(rows, first):
            self._apply(origin, seq, row, 0, records, now)
        self._digests.refresh(len(rows))
        self._release(now)

    def _apply(self, origin: Origin, seq: int, row: Row | None, waited: int, records: Records, now: int) -> None:
        """Apply the next change of an origin."""
        registry = self._registry
        self.counters.changes_applied += 1
        if isinstance(row, InstanceRow):
            registry.apply(origin, seq, records.of(row, Dot(origin, seq)), row.age + waited, now)
            return
        registry.advance(origin, seq)
        if row is not None and self._operators is not None:
            self._operators.apply(origin, seq, row, now)

    def _release(self, now: int) -> None:
        """Apply what waited for the changes that have come by now."""
        vector, held = self._registry.vector, self._held
        for origin in held.origins:
            held.reached(origin, vector.get(origin, 0))
            records = Records(self._registry.region)
            seq = vector.get(origin, 0) + 1
            while (waiting := held.take(origin, seq)) is not None:
                row, came = waiting
                self._apply(origin, seq, row, now - came, records, now)
                seq += 1

    # -- renewals

    def _beat(self, now: int) -> None:
        """Tell the peers whom this node has heard since the last time, and that it lives."""
        if not self._connected:
            self._beaten = now
            return
        registry, handles = self._registry, self._handles
        handles.compact()
        stamp, leases = registry.heard_since(self._beaten, now)
        self._beaten = now
        self.counters.renewals_sent += len(leases)
        origin = registry.origin
        reached = registry.vector[origin]
        for names, numbers in [*handles.batches(leases)] or [([], b"")]:
            message = Renewals(
                origin.node, origin.epoch, stamp, self._wall, reached, handles.generation, names, numbers
            )
            self._outbox.append((None, message))

    def _on_renewals(self, peer: str, message: Renewals, now: int) -> None:
        if message.node != peer or message.node == self._node:
            self.counters.strange += 1
            return
        registry = self._registry
        origin = Origin(message.node, message.epoch)
        self._epochs.seen(message.node, message.epoch)
        if message.epoch < registry.base.get(message.node, 0):
            return
        if message.reached > registry.vector.get(origin, 0):
            self._wanted[peer] = None
        else:
            self.current[peer] = now
        if message.reached >= self._reached.get(peer, (origin, 0))[1] or self._reached[peer][0] != origin:
            self._reached[peer] = origin, message.reached
        life = (message.epoch, message.generation)
        known = self._peer_handles.get(peer)
        if known is None or known.life < life:
            known = self._peer_handles[peer] = PeerHandles(life)
        elif known.life > life:
            return
        known.learn(message.names)
        if not message.handles:
            registry.hear((), message.stamp, now)  # its clock may be ahead of ours [stamps]
            return
        leases, nameless, lacking = known.leases(unpacked(message.handles), registry)
        self.counters.renewals_received += len(leases)
        registry.hear(leases, message.stamp, now)
        if nameless:
            self.counters.nameless += len(nameless)
            if peer in self._connected:
                self._outbox.append((peer, Unnamed(message.generation, packed(nameless[:NAMES_AT_ONCE]))))
        if lacking:
            self._wanted[peer] = None

    def _on_unnamed(self, peer: str, message: Unnamed) -> None:
        handles = self._handles
        names = handles.names(unpacked(message.handles)) if message.generation == handles.generation else []
        if names:
            node, epoch = self._registry.origin.node, self._registry.origin.epoch
            answer = Renewals(node, epoch, ZERO, self._wall, self._flushed, handles.generation, names, b"")
            self._outbox.append((peer, answer))

    # -- exchanges

    def _ask(self, now: int) -> None:
        """Begin an exchange with whom something is missing of, else, when it is time, with the next peer."""
        if self._inspections:
            self._look(now)
            return
        allowed = [peer for peer in self._connected if self.partners is None or peer in self.partners]
        peer = next((wanted for wanted in self._wanted if wanted in allowed), None)
        if peer is None:
            if now < self._next_exchange or not allowed:
                return
            self._turn += 1
            peers = sorted(allowed)
            peer = peers[self._turn % len(peers)]
        self._wanted.pop(peer, None)
        self._next_exchange = now + self._timings.exchange
        self._put(peer, now)

    def _look(self, now: int) -> None:
        """Ask a peer for what differs, only to look at it."""
        peer, inspection = next(iter(self._inspections.items()))
        del self._inspections[peer]
        self._put(peer, now).inspection = inspection

    def _put(self, peer: str, now: int) -> Question:
        self._request += 1
        repaired = self._registry.counters.repaired
        question = self._question = Question(peer, self._request, now, begun=now, repaired=repaired)
        self._outbox.append((peer, Digest(self._request, exchange.sums(self._digests, self._operators))))
        return question

    def _give_up(self, now: int, why: str) -> None:
        """Wait for no answer any longer; what is missing shows again."""
        question, self._question = self._question, None
        if question is None:
            return
        if question.inspection is not None:
            question.inspection.fail(why, now)
            return
        self.exchanged[question.peer] = Exchanged(at=now, took=now - question.begun, completed=False)
        self.counters.exchanges_given_up += 1

    def _answer_all(self, now: int) -> None:
        """Answer those who have asked, as soon as a link to them is there and no digest is missing."""
        for peer, (digest, since) in list(self._asked.items()):
            if now - since > self._timings.patience:
                del self._asked[peer]
            elif peer in self._connected and self._digests.refresh(_DIGESTS):
                del self._asked[peer]
                self._answer(peer, digest, now)

    def _answer(self, peer: str, digest: Digest, now: int) -> None:
        """Send a peer the first part of all that differs; no digest may be missing."""
        self.counters.answers += 1
        buckets = exchange.differing(self._digests, self._operators, digest.sums)
        answer = Answer(self._registry, self._digests, self._operators, digest.request, buckets, self._rows, now)
        self._answers[peer] = answer
        self._send_part(peer, answer, 0, now)

    def _on_more(self, peer: str, message: More, now: int) -> None:
        answer = self._answers.get(peer)
        if answer is not None and answer.request == message.request:
            self._send_part(peer, answer, message.index, now)

    def _send_part(self, peer: str, answer: Answer, index: int, now: int) -> None:
        part = answer.next(index, now)
        if part is None:
            return
        self.counters.rows_sent += len(part.rows)
        self._outbox.append((peer, part))
        if part.last:
            del self._answers[peer]

    def _on_repair(self, peer: str, message: Repair, now: int) -> None:
        question = self._question
        if (
            question is None
            or (question.peer, question.request, question.index) != (peer, message.request, message.index)
            or question.left is not None
            or (question.inspection is not None and question.inspection.ending)
        ):
            return  # it answers an earlier question, or comes twice
        registry = self._registry
        question.since = now
        if question.inspection is not None:
            self._inspected(question, question.inspection, message, now)
            return
        if message.index == 0:
            exchange.begin(question, message, registry)
            self._differing = len(message.buckets)
            self._meet_myself(question, now)
            self._drop_epochs(question.theirs.base)
        self.counters.rows_received += len(message.rows)
        exchange.absorb(question, message.rows, registry, self._operators, now)
        self._digests.refresh(len(message.rows))
        if message.last:
            question.left = list(question.buckets)
            self._finish(question, now)
        else:
            question.index += 1
            self._outbox.append((peer, More(question.request, question.index)))

    def _inspected(self, question: Question, inspection: Inspection, message: Repair, now: int) -> None:
        """Look at a part of an answer."""
        registry = self._registry
        if message.index == 0:
            exchange.begin(question, message, registry)
            inspection.begin(question.buckets, question.theirs, self._operators)
        inspection.compare(message.rows, registry)
        if message.last or inspection.enough:
            inspection.end(complete=message.last)
            self._end_inspection(inspection, now)
        else:
            question.index += 1
            self._outbox.append((question.peer, More(question.request, question.index)))

    def _end_inspection(self, inspection: Inspection, now: int) -> None:
        """After the last row: go on with what the peer has not."""
        inspection.finish(self._registry, self._digests, _LOOKED_AT, now)
        if inspection.done:
            self._question = None
            self.counters.inspections += 1

    def _finish(self, question: Question, now: int) -> None:
        """After the last row: say what died at the peer unknown to us, some at a time, and know as much as it did."""
        registry = self._registry
        for lease in exchange.lacking(question, registry, self._digests, _LOOKED_AT):
            registry.restate(lease, now)
            self.counters.restated += 1
            question.restated += 1
        if question.left:
            return
        if self._operators is not None:
            buckets = [bucket - BUCKETS for bucket in question.buckets if bucket >= BUCKETS]
            self._operators.lacking(buckets, question.operations, question.theirs, now)
        registry.rise(question.theirs, question.floor)
        self._question = None
        self.synced = True
        self.compared[question.peer] = now
        self.exchanged[question.peer] = Exchanged(
            at=now,
            took=now - question.begun,
            completed=True,
            buckets=len(question.buckets),
            rows=question.rows,
            repaired=registry.counters.repaired - question.repaired,
            restated=question.restated,
        )
        self.counters.exchanges += 1
        self._release(now)

    # -- epochs

    def _forget_epochs(self, now: int) -> None:
        registry = self._registry
        members = {*self._ranks.members, *self._connected}
        origins = [*registry.vector, *registry.ahead, *self._held.origins]
        self._drop_epochs(self._epochs.due(origins, members, registry.timings.lifetime, now))
        for node in superfluous(registry.base, members):
            del registry.base[node]

    def _drop_epochs(self, base: Mapping[str, int]) -> None:
        registry = self._registry
        registry.drop_epochs(base)
        for origin in self._held.origins:
            if origin.epoch < registry.base.get(origin.node, 0):
                self._held.drop(origin)

    def _meet_myself(self, question: Question, now: int) -> None:
        """Begin a new epoch if a peer knows a later one of this node, or has forgotten this one.

        That is so after a start without the epoch of the life before, and after an absence longer than a lifetime.
        """
        theirs, origin = question.theirs, self._registry.origin
        later = [known.epoch + 1 for known in theirs.vector if known.node == origin.node and known.epoch > origin.epoch]
        epoch = max([theirs.base.get(origin.node, 0), *later])
        if epoch > origin.epoch:
            self.flush(now)
            self._registry.begin_epoch(epoch)
            self._flushed = 0
