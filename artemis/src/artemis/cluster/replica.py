"""One node's part in replication: what it tells its peers, and what it makes of what they tell (design 4.1).

Pure: messages and milliseconds come in, and what is to be sent waits to be taken. Whoever owns a replica carries its
messages over links (`mesh`), or through a simulated world.
Not here: how records merge (`artemis.registry.merging`), who is a member, links.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import xor

import msgspec

from artemis.cluster import exchange
from artemis.cluster.acknowledging import Acknowledging
from artemis.cluster.changing import Changing
from artemis.cluster.digests import Digests
from artemis.cluster.epochs import Epochs, superfluous
from artemis.cluster.exchange import ROWS, Exchanged, Question
from artemis.cluster.exchanging import Exchanges
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import Changes, Digest, Message, More, Renewals, Repair, Unnamed
from artemis.cluster.operators import OperatorState
from artemis.cluster.outbox import Outbox, ReplicaCounters
from artemis.cluster.ranks import Ranks
from artemis.cluster.renewing import Renewing
from artemis.cluster.timings import ClusterTimings
from artemis.registry import Registry

_TRIMMED = 2_000
"""Instances whose forgotten epochs go in one tick."""


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
    `acknowledging` is between the workers of one machine. `heard` says when a message of each peer came last, `current`
    when one that named no change which this node lacks, `compared` when an exchange with it was completed last,
    `exchanged` what became of the last one, `synced` whether any was completed since the start.
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
        self.heard: dict[str, int] = {}
        self.synced = False
        self._registry = registry
        self._operators = operators
        self._timings = timings
        self._node = registry.origin.node
        self._outbox = Outbox()
        self._ranks = Ranks(self._node)
        self._epochs = Epochs()
        self._next_beat = now
        self._renewing = Renewing(registry, self._outbox, self._epochs, self.want, now=now, wall=wall)
        leases = (lease for service in registry.services.values() for lease in service.leases.values())
        self._digests = Digests(leases, self._renewing.handles.forget)
        self._digests.refresh(self._digests.dirty)
        self._changing = Changing(registry, operators, self._outbox, self._digests, self.want, rows=rows)
        self.acknowledging = Acknowledging(registry, self._outbox)
        self._exchanges = Exchanges(
            registry,
            self._digests,
            operators,
            self._outbox,
            timings,
            begun=self._begun,
            done=self._done,
            rows=rows,
            now=now,
        )
        self.counters = self._outbox.counters
        self.current = self._renewing.current
        self.compared = self._exchanges.compared
        self.exchanged = self._exchanges.exchanged
        registry.mark(self._digests)
        registry.rank_by(self._ranks.of)

    @property
    def partners(self) -> Collection[str] | None:
        """The peers that exchanges are begun with, None for all."""
        return self._exchanges.partners

    @partners.setter
    def partners(self, partners: Collection[str] | None) -> None:
        self._exchanges.partners = partners

    # -- peers

    def set_members(self, members: Collection[str]) -> None:
        """Count with these members of the cluster, own id included: they share the work of giving up silent leases."""
        self._ranks.set_members(members)
        peers = {*members, *self._outbox.connected}
        for peer in [peer for peer in self.heard if peer not in peers]:
            del self.heard[peer]
        self._renewing.keep(peers)
        self._exchanges.keep(peers)

    def connect(self, peer: str, now: int) -> None:  # noqa: ARG002
        """From now on messages for `peer` are delivered."""
        self._outbox.connected[peer] = None
        self.want(peer)

    def want(self, peer: str) -> None:
        """Begin an exchange with a peer as soon as it can be."""
        self._exchanges.want(peer)

    def inspect(self, peer: str, now: int) -> Inspection:
        """Compare with a peer as soon as it can be, and merge nothing; what is found is in the inspection.

        There is one for each peer at a time: while one is not done, it is the one that is returned.
        """
        return self._exchanges.inspect(peer, now)

    def disconnect(self, peer: str) -> None:
        """Messages for `peer` are delivered no longer."""
        self._outbox.connected.pop(peer, None)
        self._exchanges.disconnect(peer)
        self.acknowledging.part(peer)

    def overflowed(self, peer: str) -> None:
        """Count that messages for `peer` were dropped; it will notice the gap and ask. What no exchange brings it is
        told again."""
        self.counters.overflows += 1
        self.acknowledging.tell_again(peer)

    @property
    def exchanging(self) -> bool:
        """Whether an answer to this node's question is under way."""
        return self._exchanges.with_peer is not None

    @property
    def came(self) -> int | None:
        """When the latest part of an answer under way came, None before the first."""
        return self._exchanges.came

    @property
    def held(self) -> int:
        """Count the changes that wait for others before them."""
        return self._changing.held.count

    @property
    def digest(self) -> int | None:
        """One number of 64 bits over all that this node knows, the same at all that know the same; None while digests
        are still to be made."""
        sums = exchange.sums(self._digests, self._operators)
        return None if self._digests.dirty else reduce(xor, memoryview(sums).cast("Q"), 0)

    def state(self) -> ReplicaState:
        """Return the numbers of this moment."""
        exchanges, renewing = self._exchanges, self._renewing
        peers = {
            peer: PeerState(
                heard=self.heard.get(peer),
                connected=peer in self._outbox.connected,
                lag=renewing.lag(peer),
                exchanged=exchanges.exchanged.get(peer),
            )
            for peer in {*self._outbox.connected, *self.heard}
        }
        return ReplicaState(
            synced=self.synced,
            peers=peers,
            exchanging=exchanges.with_peer,
            differing=exchanges.differing,
            held=self._changing.held.count,
            held_dropped=self._changing.held.dropped,
            handles=len(renewing.handles),
            counters=msgspec.structs.replace(self.counters),
        )

    # -- what is to be sent

    def take(self) -> list[tuple[str | None, Message]]:
        """Return what is to be sent, in order; to every connected peer where no peer is named."""
        return self._outbox.take()

    def flush(self, now: int) -> None:
        """Tell the peers of the own changes since the last time; almost free when there are none."""
        self._changing.flush(now)
        self.acknowledging.flush()

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due; call it about every 100 ms."""
        self.flush(now)
        if now >= self._next_beat or self._renewing.early:
            self._next_beat = now + self._timings.beat
            self._renewing.beat(now, wall)
            self._forget_epochs(now)
            self._changing.held.expire(now - 2 * self._timings.patience)
        else:
            self._renewing.go_on(now)
        self._changing.tick(now)
        self._registry.trim(_TRIMMED)
        self._exchanges.tick(now)
        self.flush(now)

    # -- what peers say

    def receive(self, peer: str, message: Message, now: int) -> None:
        """Take in a message of a peer."""
        self.heard[peer] = now
        self.acknowledging.receive(peer, message)
        match message:
            case Changes():
                self._changing.on_changes(peer, message, now)
            case Renewals():
                self._renewing.on_renewals(peer, message, now)
            case Unnamed():
                self._renewing.on_unnamed(peer, message)
            case Digest():
                self._exchanges.on_digest(peer, message, now)
            case Repair():
                self._exchanges.on_repair(peer, message, now)
            case More():
                self._exchanges.on_more(peer, message, now)
            case _:
                pass

    # -- exchanges

    def _begun(self, question: Question, now: int) -> None:
        self._meet_myself(question, now)
        self._registry.expect(question.theirs)

    def _done(self, now: int) -> None:
        self.synced = True
        self._changing.drop_forgotten()
        self._changing.release(now)

    # -- epochs

    def _forget_epochs(self, now: int) -> None:
        registry = self._registry
        members = {*self._ranks.members, *self._outbox.connected}
        beyond = [*registry.ahead, *self._changing.held.origins]
        lifetime, departure = registry.timings.lifetime, self._timings.departure
        due = self._epochs.due(registry.vector, beyond, members, lifetime=lifetime, departure=departure, now=now)
        registry.drop_epochs(due)
        self._changing.drop_forgotten()
        for table in (registry.base, registry.unnamed):
            for node in superfluous(table, members):
                del table[node]

    def _meet_myself(self, question: Question, now: int) -> None:
        """Begin a new epoch if a peer knows a later one of this node, or more of this one, or has forgotten it.

        That is so after a start without the epoch of the life before, and after an absence longer than a lifetime.
        """
        theirs, origin = question.theirs, self._registry.origin
        own = (origin.epoch, self._registry.vector[origin])
        later = [
            known.epoch + 1
            for known, seq in theirs.vector.items()
            if known.node == origin.node and (known.epoch, seq) > own
        ]
        epoch = max([theirs.base.get(origin.node, 0), *later])
        if epoch > origin.epoch:
            self._changing.begin_epoch(epoch, now)
