"""One life of a node: the real core, put together as the assembly does it, without doors and sockets.

Not here: the machine that it runs on (`member`), and links (`network`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from artemis.cluster import ClusterTimings, Replica
from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.joining import Joining
from artemis.cluster.mesh.handshake import Party, Peer, Skew
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.operations import ReplicatedOperations
from artemis.cluster.starting import CopyingStart
from artemis.registry import NodeTimings
from artemis.registry.restore import read_snapshot
from artemis.server.config import ServeConfig
from artemis.server.membership import Membership
from artemis.server.node import Node, NodeIdentity
from artemis.server.pauses import Pauses
from artemis.testing.simulation.plan import BEAT, GRACE, HOLD, JOIN, LEGACY_TTL, REGION, TTL, Plan

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

    from artemis.testing.simulation.member import Member

ZONE = "z"
CATCHING_UP = 1_000
"""Milliseconds that a watcher waits for a node that is behind its cursor."""

ROUND_TRIP = 20
"""Milliseconds within which two nodes compare their clocks."""


class Process:
    """A node that runs: its `Node`, `Replica` and `Membership`. Made by its machine, which lets time pass."""

    def __init__(self, member: Member, saved: bytes | None) -> None:
        plan = member.world.plan
        self.member = member
        self.epoch = member.epoch
        now, wall = member.now, member.wall
        timings = NodeTimings(
            ttl=TTL, legacy_ttl=LEGACY_TTL, heartbeat=BEAT, hold=HOLD, grace=GRACE, lifetime=plan.lifetime
        )
        identity = NodeIdentity(node_id=member.name, epoch=member.epoch, region=REGION, zone=ZONE, url=member.url)
        read = None
        if saved is not None:
            read = read_snapshot(saved, region=REGION, node=member.name, epoch=member.epoch, previous=member.previous)
        self.node = Node(identity, timings=timings, max_changes=plan.log_entries, saved=read, now=now, wall=wall)
        self.node.stream.catching_up.patience = CATCHING_UP
        if plan.slow_sweeps:
            self.node.pullouts.step_cost = 5
        # So few instances would never need a second message.
        self.replica = Replica(
            self.node.registry,
            ReplicatedOperations(self.node.pullouts, self.node.registry),
            ClusterTimings(departure=plan.departure),
            rows=plan.rows,
            now=now,
            wall=wall,
        )
        self.membership = Membership(
            config_of(plan),
            self.node,
            self.replica,
            CopyingStart(Joining(ZONE, JOIN, now), self.replica),
            listing=(),
            now=lambda: member.now,
            wall=lambda: member.wall,
            log=_log(member),
        )
        self.membership.links = lambda: member.world.network.linked_from(member.name)
        self.membership.receiving = lambda other: member.world.network.is_linked(other, member.name)
        self.membership.dial = self._dial
        #: The addresses that it dials.
        self.dialled: Collection[tuple[str, int]] = ()
        #: Whether it looks for leases that nobody hears any more.
        self.sweeping = False
        self.pauses = Pauses(now)
        self.writing: Iterator[bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether clients may read."""
        return self.node.serves_discovery

    @property
    def writable(self) -> bool:
        """Whether clients may write."""
        return self.node.serves_registry

    def tick(self) -> None:
        """Do what time has made due."""
        now, wall = self.member.now, self.member.wall
        pause = self.pauses.note(now, TTL)
        if pause:
            self.node.pardon(now)
        self.sweeping = True
        while self.node.tick(now, wall) and not self.member.world.plan.slow_sweeps:
            pass
        self.sweeping = False
        self.replica.tick(now, wall)
        self.membership.tick()

    def listed(self, urls: Sequence[str]) -> None:
        """Read the list of nodes."""
        self.membership.listed("file", [peer_url(url) for url in urls])

    def seen_by(self, other: Process) -> Peer:
        """Return what another node learns of this one at a handshake."""
        party = Party(
            cluster="c", region=REGION, zone=ZONE, node=self.member.name, epoch=self.epoch, url=self.member.url
        )
        return Peer(party=party, protocol=1, skew=self.skew(other), rtt=ROUND_TRIP, listed=True)

    def skew(self, other: Process) -> Skew:
        """Return by how much this one's wall clock is ahead of another's."""
        return Skew(self.member.wall - other.member.wall, ROUND_TRIP)

    def meets(self, other: Process) -> bool:
        """Shake hands with a node that this one has dialled; whether there is a link now."""
        skew = other.skew(self)
        self.membership.measured(other.member.name, skew)
        other.membership.measured(self.member.name, self.skew(other))
        url = peer_url(other.member.url)
        if skew.least > TTL // 8:
            self.membership.trouble(url, Refusal(Code.CLOCK, "the clocks differ"))
            return False
        return not (other.membership.met(self.seen_by(other), None) or self.membership.met(other.seen_by(self), url))

    def tells(self, other: Process) -> None:
        """Say what this one serves, over a link that there is, and compare the clocks."""
        other.membership.told(self.member.name, self.node.standing)
        other.membership.measured(self.member.name, self.skew(other))
        self.membership.measured(other.member.name, other.skew(self))

    def counts_on(self, other: Process) -> bool:
        """Whether it takes another node for one that may have accepted something."""
        name, members = other.member.name, self.membership.members
        if name not in members.ids:
            return False
        view = members.view(name, self.member.now)
        return view.epoch == other.epoch and view.presence not in ("left", "gone") and view.standing.registry

    def _dial(self, urls: list[PeerUrl]) -> None:
        self.dialled = [url.place for url in urls]


def config_of(plan: Plan) -> ServeConfig:
    """Return the options of all nodes, which no environment changes."""
    return ServeConfig.model_construct(
        lease_ttl=TTL / 1000,
        legacy_lease_ttl=LEGACY_TTL / 1000,
        tombstone_lifetime=plan.lifetime / 1000,
        join_timeout=JOIN / 1000,
        peer_beat=1.0,
        peer_grace=GRACE / 1000,
    )


def _log(member: Member) -> FilteringBoundLogger:
    """Return the log of a node, which the trace shows."""

    def tell(_: WrappedLogger, __: str, event: EventDict) -> str:
        said = event.pop("event")
        member.world.log(member.name, "says:", said, *(f"{name}={value}" for name, value in event.items()))
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger(logging.INFO if member.world.traced else logging.CRITICAL)
    log: FilteringBoundLogger = structlog.wrap_logger(None, processors=[tell], wrapper_class=wrapper)
    return log
