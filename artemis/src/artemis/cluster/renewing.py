"""Signs of life: whom a node has heard, told to all peers in batches, and what they tell of theirs (design 4.1).

Not here: what a renewal does to a lease (`artemis.registry.merging`), and handles themselves (`handles`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from artemis.cluster.epochs import Epochs
from artemis.cluster.handles import NAMES_AT_ONCE, Handles, PeerHandles, packed, unpacked
from artemis.cluster.messages import Renewals, Unnamed, latest_epoch, latest_stamp
from artemis.cluster.outbox import Outbox
from artemis.registry import Origin, Registry
from artemis.registry.records import ZERO

_EARLY = 5_000
"""Renewals after which a beat comes before its time, so that one beat costs no more than some milliseconds."""


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
        # What had been renewed when the last beat was told, and the own number that it told.
        self._told = registry.renewed
        self._reported = registry.vector[registry.origin]

    @property
    def early(self) -> bool:
        """Whether so much has been renewed that a beat should not wait for its time."""
        return self._registry.renewed - self._told > _EARLY

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
        self._told = self._registry.renewed
        if not self._outbox.connected:
            self._beaten = now
            return
        registry, handles = self._registry, self.handles
        handles.compact()
        stamp, leases = registry.heard_since(self._beaten, now)
        self._beaten = now
        self._outbox.counters.renewals_sent += len(leases)
        origin = registry.origin
        reached = self._reported = registry.vector[origin]
        for names, numbers in [*handles.batches(leases)] or [([], b"")]:
            message = Renewals(
                origin.node, origin.epoch, stamp, self._wall, reached, handles.generation, names, numbers
            )
            self._outbox.send(None, message)

    def on_renewals(self, peer: str, message: Renewals, now: int) -> None:
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
        known.learn(message.names)
        if not message.handles:
            registry.hear((), message.stamp, now)  # its clock may be ahead of ours [stamps]
            return
        leases, nameless, lacking = known.leases(unpacked(message.handles), registry)
        self._outbox.counters.renewals_received += len(leases)
        registry.hear(leases, message.stamp, now)
        if nameless:
            self._outbox.counters.nameless += len(nameless)
            if peer in self._outbox.connected:
                self._outbox.send(peer, Unnamed(message.generation, packed(nameless[:NAMES_AT_ONCE])))
        if lacking:
            self._want(peer)

    def on_unnamed(self, peer: str, message: Unnamed) -> None:
        handles = self.handles
        names = handles.names(unpacked(message.handles)) if message.generation == handles.generation else []
        if names:
            node, epoch = self._registry.origin.node, self._registry.origin.epoch
            answer = Renewals(node, epoch, ZERO, self._wall, self._reported, handles.generation, names, b"")
            self._outbox.send(peer, answer)
