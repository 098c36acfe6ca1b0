"""Signs of life: whom a node has heard, told to all peers in batches, and what they tell of theirs (design 4.1).

Not here: what a renewal does to a lease (`artemis.registry.merging`), and handles themselves (`handles`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

from artemis.cluster.epochs import Epochs
from artemis.cluster.handles import NAMES_AT_ONCE, Handles, PeerHandles, packed, unpacked
from artemis.cluster.messages import Renewals, Unnamed, latest_epoch, latest_stamp
from artemis.cluster.outbox import Outbox
from artemis.registry import Lease, Origin, Registry, Stamp
from artemis.registry.records import ZERO

_EARLY = 5_000
"""Renewals after which a beat comes before its time, so that it has little to collect."""

_AT_ONCE = 10_000
"""Leases that are looked at and told in one go, about 8 ms; the rest waits for the next tick."""

_BEATS_WAITING = 4
"""Beats that wait to be told; what is heard beyond that is told when there is room, each lease once."""

_ASKED_AT_ONCE = 6_000
"""Handles of one message whose names are asked for."""

_RETURNS = 300
"""Expired leases that come back in one go, about 10 ms, as each is a change of this node's own."""

_MOST_RETURNING = 20_000
"""Expired leases that wait to come back; of more it will be heard again, or an exchange brings them."""


class Renewing:
    """The renewals of one node and of its peers. Owned by a replica; `want` is called with a peer that knows more.

    `current` says when a peer last named no change that this node lacks.
    """

    def __init__(
        self, registry: Registry, outbox: Outbox, epochs: Epochs, want: Callable[[str], None], *, now: int, wall: int
    ) -> None:
        self.current: dict[str, int] = {}
        self.handles = Handles()
        self._registry = registry
        self._outbox = outbox
        self._epochs = epochs
        self._want = want
        self._node = registry.origin.node
        self._wall = wall
        self._peer_handles: dict[str, PeerHandles] = {}
        self._reached: dict[str, tuple[Origin, int]] = {}
        self._beaten = now
        # What may have been heard until then and is still to be told, and since when.
        self._waiting: deque[tuple[int, list[Lease]]] = deque()
        self._returning: dict[Lease, Stamp] = {}
        # How much had been heard by then, and the own number that was told last.
        self._told = registry.heard
        self._reported = registry.vector[registry.origin]

    @property
    def early(self) -> bool:
        """Whether so much has been heard that a beat should not wait for its time."""
        return self._registry.heard - self._told > _EARLY and len(self._waiting) < _BEATS_WAITING

    def lag(self, peer: str) -> int:
        """Return how many of a peer's own changes are not known here, as of its last sign of life."""
        origin, reached = self._reached.get(peer, (self._registry.origin, 0))
        return max(0, reached - self._registry.vector.get(origin, 0))

    def keep(self, peers: Collection[str]) -> None:
        """Forget all peers but these."""
        for table in (self.current, self._peer_handles, self._reached):
            for peer in [peer for peer in table if peer not in peers]:
                del table[peer]

    def beat(self, now: int, wall: int) -> None:
        """Tell the peers whom this node has heard since the last time, and that it lives."""
        self._wall = wall
        registry = self._registry
        if not self._outbox.connected:
            self._waiting.clear()
            self._beaten, self._told = now, registry.heard
        elif len(self._waiting) < _BEATS_WAITING:
            heard = registry.heard
            self._waiting.append((self._beaten, registry.heard_here(heard - self._told)))
            self._beaten, self._told = now, heard
        self.go_on(now)

    def go_on(self, now: int) -> None:
        """Tell some of what beats were to tell, and bring some of those back that peers have heard."""
        if self._waiting:
            self._tell(now)
        if self._returning:
            self._bring_back(now)

    def _tell(self, now: int) -> None:
        """Send some of what is to be told, an empty message if there is nothing."""
        registry, handles = self._registry, self.handles
        moment, heard = self._waiting[0]
        stamp, leases = registry.restamp(heard[-_AT_ONCE:], moment, now)
        del heard[-_AT_ONCE:]
        if not heard:
            self._waiting.popleft()
        self._outbox.counters.renewals_sent += len(leases)
        handles.compact()
        origin = registry.origin
        reached = self._reported = registry.vector[origin]
        for names, numbers in [*handles.batches(leases)] or [([], b"")]:
            message = Renewals(
                origin.node, origin.epoch, stamp, self._wall, reached, handles.generation, names, numbers
            )
            self._outbox.send(None, message)

    def _bring_back(self, now: int) -> None:
        """Bring back some of the expired leases that peers have heard."""
        returning = self._returning
        for lease in [*islice(returning, _RETURNS)]:
            self._registry.bring_back(lease, returning.pop(lease), now)

    def on_renewals(self, peer: str, message: Renewals, now: int) -> None:
        """Take in whom a peer has heard."""
        registry = self._registry
        wall = registry.wall(now)
        of_no_time = message.stamp[0] > latest_stamp(wall) or message.epoch > latest_epoch(wall)
        if message.node != peer or message.node == self._node or of_no_time:
            self._outbox.counters.strange += 1
            return
        origin = Origin(message.node, message.epoch)
        self._epochs.seen(message.node, message.epoch)
        if message.epoch < registry.base.get(message.node, 0):
            return
        if message.reached > registry.vector.get(origin, 0):
            self._want(peer)
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
        self._outbox.counters.names_refused += known.learn(message.names)
        for stamp, handles in known.settle(message.names, now).items():
            self._hear_handles(peer, known, handles, stamp, now)
        # Also when there are none: its clock may be ahead of ours [stamps].
        nameless = self._hear_handles(peer, known, unpacked(message.handles), message.stamp, now)
        self._bring_back(now)
        if nameless:
            self._outbox.counters.nameless += len(nameless)
            if peer in self._outbox.connected:
                self._outbox.counters.names_refused += known.owe(nameless, message.stamp, now)
                for at in range(0, min(len(nameless), _ASKED_AT_ONCE), NAMES_AT_ONCE):
                    self._outbox.send(peer, Unnamed(message.generation, packed(nameless[at : at + NAMES_AT_ONCE])))

    def _hear_handles(self, peer: str, known: PeerHandles, handles: Sequence[int], stamp: Stamp, now: int) -> list[int]:
        """Renew what these handles of a peer mean; return those without names."""
        leases, nameless, lacking = known.leases(handles, self._registry)
        self._outbox.counters.renewals_received += len(leases)
        self._hear(leases, stamp, now)
        if lacking:
            self._want(peer)
        return nameless

    def _hear(self, leases: Iterable[Lease], stamp: Stamp, now: int) -> None:
        """Renew what a peer has heard; those that expired here are to come back, some at a time."""
        returning = self._returning
        for lease in self._registry.hear(leases, stamp, now):
            if lease in returning or len(returning) < _MOST_RETURNING:
                returning[lease] = max(stamp, returning.get(lease, stamp))
            else:
                self._outbox.counters.returns_dropped += 1

    def on_unnamed(self, peer: str, message: Unnamed) -> None:
        """Name handles to a peer that lacks their names."""
        handles = self.handles
        names = handles.names(unpacked(message.handles)) if message.generation == handles.generation else []
        if names:
            node, epoch = self._registry.origin.node, self._registry.origin.epoch
            answer = Renewals(node, epoch, ZERO, self._wall, self._reported, handles.generation, names, b"")
            self._outbox.send(peer, answer)
