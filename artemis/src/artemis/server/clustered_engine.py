"""A node around an engine: its replica, what carries that to the bucket, and the others, tied to the node and to time.

Not here: what is put and read (`artemis.cluster.engine`), how the engine is reached (`artemis.cluster.nats`), who is a
member (`membership`), and a node in a mesh (`clustered`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from artemis.cluster.configured import ENGINE
from artemis.cluster.engine.announcing import MOST_NODES, Announcing, reasons
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.engine.standing import EngineStanding, replica_state
from artemis.cluster.engine.starting import ReadingStart
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.nats.bucket import BucketOptions
from artemis.cluster.nats.carrier import Carrier, EngineOptions
from artemis.cluster.nats.login import Login, LoginError
from artemis.cluster.operations import ReplicatedOperations
from artemis.cluster.timings import ClusterTimings
from artemis.cluster.trial import spoken_versions
from artemis.server.cluster_control import ClusterControl
from artemis.server.cluster_files import ClusterFileError, check_authorities
from artemis.server.cluster_options import LOGINS
from artemis.server.clustering import PATIENCE, max_skew
from artemis.server.engine_comparing import EngineComparing
from artemis.server.membership import Membership

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.engine.port import Position
    from artemis.cluster.mesh.wire import Refusal
    from artemis.management import Decision
    from artemis.registry import Change
    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node


_ENGINE = "the engine"
"""Stands for the engine among the clocks that are compared."""


_SILENT = 1_300
"""Milliseconds in which nothing comes from the engine after which it may hang."""

_JUDGED = 5_000
"""Milliseconds within which a connection to an engine that hangs ends."""


class _EngineMembership(Membership):
    """The others, which are heard over the engine."""

    def turned_away(self, where: str, reason: Refusal) -> None:
        """A node is none of ours."""
        self._log.warning("node refused", url=where, code=str(reason.code), reason=reason.text)


class ClusteredEngine:
    """The cluster's side of one node (a `Clustering`).

    Raises `ClusterFileError` when made with a file that cannot be used.
    """

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        *,
        position: Position | None,
        now: Callable[[], int],
        wall: Callable[[], int],
        leave: Callable[[str], None],
        end: Callable[[str], None],
        log: FilteringBoundLogger,
    ) -> None:
        servers = config.engine_servers
        if servers is None:
            raise ValueError("there is no engine among the options")
        identity, ca_file = node.identity, config.cluster_ca_file
        if ca_file is not None:
            check_authorities(ca_file)
        login = _login(config, log)
        versions = spoken_versions(os.environ)
        beat = round(config.beat * 1000)
        self._node, self._now, self._wall = node, now, wall
        self._source = f"{ENGINE}{config.cluster}"
        self._connected = False
        self._why = ""
        self._apart: list[str] = []
        self._log = log
        self.replica = EngineReplica(
            node.registry,
            ReplicatedOperations(node.pullouts, node.registry),
            ClusterTimings(beat=beat),
            url=identity.url,
            zone=identity.zone,
            position=position,
            now=now(),
            wall=wall(),
        )
        self._start = ReadingStart(
            round(config.join_timeout * 1000),
            now(),
            synced=lambda: self.replica.synced,
            read=lambda: self.replica.counters.rows_received,
            connected=lambda: self.carrier.connected,
            why=lambda: self._trouble,
            taken=lambda: self.announcing.taken,
        )
        self.membership = _EngineMembership(
            config, node, self.replica, self._start, listing=(), most=MOST_NODES, now=now, wall=wall, log=log
        )
        party = Party(
            cluster=config.cluster_name,
            region=config.region,
            zone=config.zone,
            node=identity.node_id,
            epoch=identity.epoch,
            url=identity.url,
        )
        self.announcing = Announcing(
            party,
            self.membership,
            beat=beat,
            patience=_patience(config),
            max_skew=lambda: max_skew(node),
            versions=versions,
        )
        self.carrier = Carrier(
            self.replica,
            EngineOptions(
                servers=servers,
                bucket=BucketOptions(
                    cluster=config.cluster_name,
                    region=config.region,
                    max_entries=config.cluster_max_entries,
                    replicas=config.cluster_replicas,
                ),
                login=login,
                ca_file=None if ca_file is None else str(ca_file),
            ),
            node=identity.node_id,
            epoch=identity.epoch,
            heard=self._heard,
            admits=self.announcing.admits,
            barred=lambda: self.announcing.barred,
            position=position,
            now=now,
            wall=wall,
            log=log,
        )
        node.control = ClusterControl(
            config.cluster_name,
            self.membership.members,
            self.replica,
            EngineComparing(self.replica, str(config.cluster)),
            state=lambda: replica_state(self.replica),
            links=lambda: self.announcing.states(now()),
            counters=self._counters,
            refused=lambda: self.announcing.refused,
            leave=leave,
            versions=versions,
            engine=self._standing,
            pending=self._pending,
        )
        node.registry.on_change(self._changed)
        node.pullouts.on_decision(self._decided)
        node.registry.on_jump(lambda *_: node.stream.catching_up.changed())
        node.stream.catching_up.patience = PATIENCE
        self.membership.links = self.announcing.links
        self.membership.receiving = lambda peer: peer in self.announcing.links()
        self.membership.deaf = self._hears_nobody
        self.membership.resumed = self.announcing.resumed
        self.membership.reached = lambda: self.replica.reached
        self.membership.end = end

    @property
    def position(self) -> Position | None:
        """How far the bucket is read at this moment."""
        return self.replica.position

    @property
    def copied_from(self) -> str:
        """The engine, if there was something in it when the node joined."""
        return self._start.source

    @property
    def told(self) -> bool:
        """Whether it was said to all what the node says of itself now."""
        return self.announcing.told(self._node.standing)

    def enter(self, doors: Doors) -> None:
        """Nothing comes through the doors: nodes are told by the engine."""

    def start(self) -> None:
        """Begin to reach for the engine."""
        self.carrier.start()
        self.membership.tick()

    def reconfigure(self, config: ServeConfig) -> None:
        """Take over what can change while the node runs: what is thought of silent nodes."""
        self.announcing.patience = _patience(config)
        self.membership.reconfigure(config)

    def tick(self) -> None:
        """Let time pass."""
        self.membership.notice_pause()
        self.carrier.tick()
        self._announce()
        self._look_at_clock()
        if self._trouble != self._why:
            self._why = self._trouble
            self.membership.troubled(self._source, self._why)
        self.membership.tick()

    async def stop(self, *, leaving: bool = False) -> None:
        """Put what there is, say farewell and leave the engine."""
        if leaving:
            self.replica.leave()
        self._announce()
        await self.carrier.stop(self.announcing.farewell(leaving=leaving))

    # -- its own

    @property
    def _trouble(self) -> str:
        """Why there is no working with the engine now, empty if there is."""
        return "" if self.carrier.state.open else self.carrier.why

    def _announce(self) -> None:
        """Say what this node is, and what it was asked."""
        carrier, replica, announcing = self.carrier, self.replica, self.announcing
        if carrier.connected and not self._connected:
            announcing.hello()
        self._connected = carrier.connected
        announcing.tick(self._node.standing, replica.digest, replica.position, self._now(), self._wall())
        apart = announcing.apart()
        for sentence in apart:
            if sentence not in self._apart:
                self._log.warning("node uses another bucket", reason=sentence)
        self._apart = apart
        self._say()

    def _look_at_clock(self) -> None:
        """Compare clocks with the engine too: two nodes that differ are three then, and can tell whose is wrong."""
        now, wall = self._now(), self._wall()
        shown = self.carrier.clock(now)
        if shown is not None:
            least, doubt = shown
            self.membership.members.clocks.measure(_ENGINE, least + doubt // 2 - wall, (doubt + 1) // 2, now, wall)

    def _say(self) -> None:
        for node, data in self.announcing.take():
            self.carrier.say(data, node)

    def _heard(self, node: str, epoch: int, data: bytes) -> None:
        self.announcing.heard(node, epoch, data, self._now(), self._wall())
        self._say()

    def _hears_nobody(self) -> bool:
        """Tell whether it is the engine that is silent, and not the others."""
        return not self.carrier.connected or _SILENT <= self.carrier.quiet < _JUDGED

    def _standing(self) -> EngineStanding:
        carrier = self.carrier
        return EngineStanding(
            servers=self._source.removeprefix(ENGINE),
            server=carrier.server,
            state=str(carrier.state),
            why=carrier.why,
            numbers=self.replica.state(),
            refused=(*reasons(self.announcing.refusals), *self._apart),
        )

    def _pending(self) -> int:
        state = self.replica.state()
        return state.dirty + state.flying

    def _counters(self) -> dict[str, int]:
        carried = {f"engine_{name}": count for name, count in self.carrier.counters.items()}
        return {**carried, **self.announcing.counters}

    def _changed(self, _: Change) -> None:
        self.carrier.soon()
        self._node.stream.catching_up.changed()

    def _decided(self, seq: int, decision: Decision) -> None:  # noqa: ARG002
        self.carrier.soon()


def _patience(config: ServeConfig) -> int:
    return round(config.suspicion * 1000)


def _login(config: ServeConfig, log: FilteringBoundLogger) -> Login:
    """Return who the node is to the engine, and say when others can read that. Raises ClusterFileError."""
    try:
        login = Login(
            password=config.cluster_password_file,
            token=config.cluster_token_file,
            credentials=config.cluster_credentials_file,
        )
        login.read()
        for file in login.exposed():
            log.warning("login of the engine readable by others", file=str(file), advice="chmod 600 it")
    except LoginError as error:
        given = (name for name in LOGINS if getattr(config, name) is not None)
        raise ClusterFileError(f"--{next(given, 'cluster').replace('_', '-')}: {error}") from error
    return login
