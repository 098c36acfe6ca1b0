"""One life of a node in a mesh, and what it has with others. Not here: links (`network`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cluster import ClusterTimings, Farewell, Message, Replica
from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.joining import Joining
from artemis.cluster.mesh.handshake import Party, Peer, Skew
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.operations import ReplicatedOperations
from artemis.cluster.starting import CopyingStart
from artemis.server.membership import Membership
from artemis.testing.simulation.plan import JOIN, REGION, TTL
from artemis.testing.simulation.process import ZONE, Process, config_of, log_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from artemis.testing.simulation.member import Member
    from artemis.testing.simulation.mesh.network import Network

ROUND_TRIP = 20
"""Milliseconds within which two nodes compare their clocks."""


class MeshProcess(Process):
    """A node that runs: its `Node`, `Replica` and `Membership`."""

    def __init__(self, member: Member, network: Network, saved: bytes | None) -> None:
        super().__init__(member, saved)
        plan = member.world.plan
        self.network = network
        # So few instances would never need a second message.
        self.replica = Replica(
            self.node.registry,
            ReplicatedOperations(self.node.pullouts, self.node.registry),
            ClusterTimings(departure=plan.departure),
            rows=plan.rows,
            now=member.now,
            wall=member.wall,
        )
        self.membership = Membership(
            config_of(plan),
            self.node,
            self.replica,
            CopyingStart(Joining(ZONE, JOIN, member.now), self.replica),
            listing=(),
            now=lambda: member.now,
            wall=lambda: member.wall,
            log=log_of(member),
        )
        self.membership.links = lambda: network.linked_from(member.name)
        self.membership.receiving = lambda other: network.is_linked(other, member.name)
        self.membership.dial = self._dial
        #: The addresses that it dials.
        self.dialled: Collection[tuple[str, int]] = ()
        self.listed(member.listed)

    @property
    def settling(self) -> bool:
        """Whether an answer is under way."""
        return self.replica.exchanging

    @property
    def unfinished(self) -> int:
        """Count the changes that wait for others before them."""
        return self.replica.held

    def go_on(self) -> None:
        """Let time pass for what it has with others."""
        self.replica.tick(self.member.now, self.member.wall)
        self.membership.tick()

    def receive(self, source: str, message: Message) -> None:
        """Take in what a peer says; what follows from it is sent at once."""
        if isinstance(message, Farewell):
            self.membership.farewell(source, message.epoch, message.leaving)
        else:
            self.replica.receive(source, message, self.member.now)
        self.pump()

    def pump(self) -> None:
        """Send what the replica wants to say."""
        self.replica.flush(self.member.now)
        for peer, message in self.replica.take():
            self.network.send(self.member, peer, message)

    def farewell(self, *, leaving: bool) -> None:
        """Say that it ends."""
        self.pump()
        self.network.send(self.member, None, Farewell(self.member.name, self.epoch, leaving))

    def listed(self, urls: Sequence[str]) -> None:
        """Read the list of nodes."""
        self.membership.listed("file", [peer_url(url) for url in urls])

    def seen_by(self, other: MeshProcess) -> Peer:
        """Return what another node learns of this one at a handshake."""
        party = Party(
            cluster="c", region=REGION, zone=ZONE, node=self.member.name, epoch=self.epoch, url=self.member.url
        )
        return Peer(party=party, protocol=1, skew=self.skew(other), rtt=ROUND_TRIP, listed=True)

    def skew(self, other: MeshProcess) -> Skew:
        """Return by how much this one's wall clock is ahead of another's."""
        return Skew(self.member.wall - other.member.wall, ROUND_TRIP)

    def meets(self, other: MeshProcess) -> bool:
        """Shake hands with a node that this one has dialled; whether there is a link now."""
        skew = other.skew(self)
        self.membership.measured(other.member.name, skew)
        other.membership.measured(self.member.name, self.skew(other))
        url = peer_url(other.member.url)
        if skew.least > TTL // 8:
            self.membership.trouble(url, Refusal(Code.CLOCK, "the clocks differ"))
            return False
        return not (other.membership.met(self.seen_by(other), None) or self.membership.met(other.seen_by(self), url))

    def tells(self, other: MeshProcess) -> None:
        """Say what this one serves, over a link that there is, and compare the clocks."""
        other.membership.told(self.member.name, self.node.standing)
        other.membership.measured(self.member.name, self.skew(other))
        self.membership.measured(other.member.name, other.skew(self))

    def _dial(self, urls: list[PeerUrl]) -> None:
        self.dialled = [url.place for url in urls]
