"""One life of a node around an engine, put together as the assembly does it. Not here: what carries its commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cluster import ClusterTimings
from artemis.cluster.engine.announcing import MOST_NODES, Announcing
from artemis.cluster.engine.port import Position
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.engine.starting import ReadingStart
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.operations import ReplicatedOperations
from artemis.server.membership import Membership
from artemis.testing.simulation.engine.carrier import Carrier
from artemis.testing.simulation.plan import JOIN, REGION, TTL
from artemis.testing.simulation.process import ZONE, Process, config_of, log_of

if TYPE_CHECKING:
    from artemis.testing.simulation.engine.servers import Servers
    from artemis.testing.simulation.member import Member

_BEAT = 1_000


class EngineProcess(Process):
    """A node that runs: its `Node`, `EngineReplica`, `Announcing` and `Membership`."""

    def __init__(self, member: Member, servers: Servers, saved: bytes | None, position: Position | None) -> None:
        super().__init__(member, saved)
        self.servers = servers
        plan, now = member.world.plan, member.now
        config = config_of(plan)
        self.replica = EngineReplica(
            self.node.registry,
            ReplicatedOperations(self.node.pullouts, self.node.registry),
            ClusterTimings(departure=plan.departure),
            url=member.url,
            zone=ZONE,
            position=position,
            now=now,
            wall=member.wall,
        )
        start = ReadingStart(
            JOIN,
            now,
            synced=lambda: self.replica.synced,
            read=lambda: self.replica.counters.rows_received,
            connected=lambda: self.carrier.connected,
            why=lambda: self.carrier.why,
            taken=lambda: self.announcing.taken,
        )
        self.membership = Membership(
            config,
            self.node,
            self.replica,
            start,
            listing=(),
            most=MOST_NODES,
            now=lambda: member.now,
            wall=lambda: member.wall,
            log=log_of(member),
        )
        party = Party(cluster="c", region=REGION, zone=ZONE, node=member.name, epoch=self.epoch, url=member.url)
        patience = round(config.suspicion * 1000)
        self.announcing = Announcing(party, self.membership, beat=_BEAT, patience=patience, max_skew=lambda: TTL // 8)
        self.carrier = Carrier(self)
        self.membership.links = self.announcing.links
        self.membership.receiving = lambda other: other in self.announcing.links()
        self.membership.deaf = lambda: not self.carrier.connected
        self.membership.resumed = self.announcing.resumed
        self.membership.reached = lambda: self.replica.reached
        self.membership.end = self._must_end
        self._connected = False

    @property
    def settling(self) -> bool:
        """Whether a pass over the bucket is under way, or was broken off."""
        return self.replica.passing

    @property
    def unfinished(self) -> int:
        """Count what is still to be put."""
        return self.replica.dirty

    @property
    def position(self) -> Position | None:
        """How far it has read the bucket."""
        return self.replica.position

    def knows_since(self, node: str) -> int:
        """Return since when it has taken in what another node says, in the world's time."""
        now, world = self.member.now, self.member.world
        found = [state.connected_for for state in self.announcing.states(now) if state.node == node and state.connected]
        return world.schedule.now - found[0] if found else world.schedule.now

    def go_on(self) -> None:
        """Let time pass for what it has with others."""
        self.membership.notice_pause()
        self.carrier.tick()
        self.replica.tick(self.member.now, self.member.wall)
        carrier = self.carrier
        if carrier.connected and not self._connected:
            self.announcing.hello()
        self._connected = carrier.connected
        self.announcing.tick(
            self.node.standing,
            self.replica.digest,
            self.replica.position,
            self.member.now,
            self.member.wall,
        )
        self._say()
        self.membership.tick()

    def pump(self) -> None:
        """Have done what the replica wants."""
        self.replica.flush(self.member.now)
        for command in self.replica.take():
            self.carrier.carry(command)

    def announced(self, node: str, epoch: int, data: bytes) -> None:
        """Take in what a node says of itself, or asks."""
        self.announcing.heard(node, epoch, data, self.member.now, self.member.wall)
        self._say()

    def farewell(self, *, leaving: bool) -> None:
        """Say that it ends."""
        if leaving:
            self.replica.leave()
        self.pump()
        self.carrier.say(self.announcing.farewell(leaving=leaving), None)

    def _say(self) -> None:
        for node, data in self.announcing.take():
            self.carrier.say(data, node)

    def _must_end(self, why: str) -> None:
        raise AssertionError(f"{self.member.name} would end: {why}")
