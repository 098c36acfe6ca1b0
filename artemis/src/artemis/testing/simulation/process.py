"""One life of a node: the real core, put together as the assembly does it, without doors and sockets.

Here is what is the same in every cluster. Not here: the machine that it runs on (`member`), and what it has with others
(`mesh.process`, `engine.process`).
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from artemis.cluster.engine.port import Position
from artemis.registry import NodeTimings
from artemis.registry.restore import read_snapshot
from artemis.server.config import ServeConfig
from artemis.server.membership import Membership
from artemis.server.node import Node, NodeIdentity
from artemis.server.pauses import Pauses
from artemis.testing.simulation.plan import BEAT, GRACE, HOLD, JOIN, LEGACY_TTL, REGION, TTL, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

    from artemis.testing.simulation.member import Member

ZONE = "z"
CATCHING_UP = 1_000
"""Milliseconds that a watcher waits for a node that is behind its cursor."""


class Process(ABC):
    """A node that runs: its `Node`, and its part in a cluster. Made by its machine, which lets time pass."""

    membership: Membership

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
        self.go_on()

    def listed(self, urls: Sequence[str]) -> None:  # noqa: B027 - around an engine there is none
        """Read the list of nodes, if there is one."""

    def counts_on(self, other: Process) -> bool:
        """Whether it takes another node for one that may have accepted something."""
        name, members = other.member.name, self.membership.members
        if name not in members.ids:
            return False
        view = members.view(name, self.member.now)
        return view.epoch == other.epoch and view.presence not in ("left", "gone") and view.standing.registry

    @property
    def position(self) -> Position | None:
        """How far it has read a bucket, None where there is none."""
        return None

    @property
    @abstractmethod
    def settling(self) -> bool:
        """Whether a repair is under way that has brought more than the vector says."""

    @property
    @abstractmethod
    def unfinished(self) -> int:
        """Count what waits for something that it needs, or to be given away."""

    @abstractmethod
    def go_on(self) -> None:
        """Let time pass for what it has with others."""

    @abstractmethod
    def pump(self) -> None:
        """Send what it wants to say."""

    @abstractmethod
    def farewell(self, *, leaving: bool) -> None:
        """Say that it ends, or that it leaves for good."""


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


def log_of(member: Member) -> FilteringBoundLogger:
    """Return the log of a node, which the trace shows."""

    def tell(_: WrappedLogger, __: str, event: EventDict) -> str:
        said = event.pop("event")
        member.world.log(member.name, "says:", said, *(f"{name}={value}" for name, value in event.items()))
        raise structlog.DropEvent

    wrapper = structlog.make_filtering_bound_logger(logging.INFO if member.world.traced else logging.CRITICAL)
    log: FilteringBoundLogger = structlog.wrap_logger(None, processors=[tell], wrapper_class=wrapper)
    return log
