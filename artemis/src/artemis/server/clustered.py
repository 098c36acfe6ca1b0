"""A node in a mesh: its replica and its links, tied to the node, to its doors and to time.

Not here: what is replicated and when (`artemis.cluster.replica`), how links work (`artemis.cluster.mesh`), who is a
member (`membership`), and a node around an engine (`clustered_engine`).
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.addresses import peer_url
from artemis.cluster.joining import Joining
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.mesh.mesh import Mesh
from artemis.cluster.mesh.pauses import MeshTimings
from artemis.cluster.messages import MACHINES
from artemis.cluster.operations import ReplicatedOperations
from artemis.cluster.replica import Replica
from artemis.cluster.starting import CopyingStart
from artemis.cluster.timings import ClusterTimings
from artemis.cluster.trial import spoken_versions
from artemis.server.admin import readable_by_others
from artemis.server.cluster_control import ClusterControl
from artemis.server.cluster_files import check_authorities, read_secret
from artemis.server.clustering import PATIENCE, max_skew
from artemis.server.comparing import PeerComparing
from artemis.server.membership import Membership
from artemis.server.peer_sources import follow_source, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.engine.port import Position
    from artemis.management import Decision
    from artemis.registry import Change
    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.workers.place import Place

#: What the list of nodes among the options is called.
_OPTIONS = "options"
#: What the other workers of the machine are called as a list of nodes.
_SIBLINGS = "the other workers"
#: Between workers of one machine: one that was started again is there in a moment, and costs nothing to look for.
NEAR = MeshTimings(first_pause=0.02, longest_pause=0.5)


class Clustered:
    """The cluster's side of one node (a `Clustering`).

    `place` is that of one worker of several, which has its siblings for peers, and those of the machine beside them:
    see `workers.among`.
    Raises `ClusterFileError` when made with a file that cannot be used.
    """

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        *,
        now: Callable[[], int],
        wall: Callable[[], int],
        leave: Callable[[str], None],
        end: Callable[[str], None],
        log: FilteringBoundLogger,
        place: Place | None = None,
    ) -> None:
        identity, versions = node.identity, spoken_versions(os.environ)
        secret_file, ca_file = config.cluster_secret_file, config.cluster_ca_file
        links = None if place is None else place.links
        secret = b""
        if place is not None:
            secret = place.secret
        elif secret_file is not None:
            secret = read_secret(secret_file)
        if links is not None:  # who does not know that there are others beside this process shall not link with it
            versions = versions._replace(oldest=max(versions.oldest, MACHINES))
        siblings = () if place is None else place.siblings
        if ca_file is not None:
            check_authorities(ca_file)
        if secret_file is not None and readable_by_others(secret_file):
            log.warning("cluster secret readable by others", file=str(secret_file), advice="chmod 600 it")
        self._node = node
        self._now, self._log = now, log
        # Alone, workers have nobody beside each other.
        self._lists = place is None or links is not None
        beat = round(config.beat * 1000)
        self.replica = Replica(
            node.registry,
            ReplicatedOperations(node.pullouts, node.registry),
            ClusterTimings(beat=beat),
            now=now(),
            wall=wall(),
        )
        self._sources = sources_of(config, peer_url(identity.url))
        listing = [source.label for source in self._sources]
        self._start = CopyingStart(
            Joining(identity.zone, round(config.join_timeout * 1000), now()),
            self.replica,
        )
        self.membership = Membership(
            config,
            node,
            self.replica,
            self._start,
            machine="" if place is None else place.life,
            siblings=siblings,
            listing=listing,
            now=now,
            wall=wall,
            log=log,
        )
        self.mesh = Mesh(
            Party(
                cluster=config.cluster_name,
                region=config.region,
                zone=config.zone,
                node=identity.node_id,
                epoch=identity.epoch,
                url=identity.url,
                link="" if links is None else links.url,
                machine="" if place is None else place.life,
            ),
            self.replica,
            secret=secret,
            ca_file=None if ca_file is None else str(ca_file),
            max_skew=lambda: max_skew(node),
            standing=lambda: node.standing,
            now=now,
            wall=wall,
            log=log,
            listener=self.membership,
            # A link that is dead is dialled again before its node is given up.
            timings=msgspec.structs.replace(MeshTimings(), ping=config.beat, silence=config.given_up / 2),
            versions=versions,
            near=siblings,
            near_timings=NEAR,
            processes=() if links is None else links.everywhere,
        )
        if config.clustered:  # workers alone are one node to operators
            node.control = ClusterControl(
                config.cluster_name,
                self.membership.members,
                self.replica,
                PeerComparing(self.membership.members, self.replica, self.mesh.peers),
                state=self.replica.state,
                links=self.mesh.peers,
                counters=lambda: self.mesh.all_counters,
                refused=lambda: self.mesh.refused,
                leave=leave,
                versions=versions,
            )
        node.registry.on_change(self._changed)
        node.pullouts.on_decision(self._decided)
        node.registry.on_jump(lambda *_: node.stream.catching_up.changed())
        node.stream.catching_up.patience = PATIENCE
        self.membership.links = lambda: self.mesh.links
        self.membership.receiving = self.mesh.reception.connections.__contains__
        self.membership.dial = self.mesh.set_peers
        self.membership.resumed = self.mesh.resumed
        self.membership.end = end
        if siblings:
            self.membership.listed(_SIBLINGS, siblings)
        self.membership.listed(_OPTIONS, config.peer_urls)
        self._following: list[asyncio.Task[None]] = []

    @property
    def position(self) -> Position | None:
        """A mesh has no bucket."""
        return None

    @property
    def copied_from(self) -> str:
        """The node that this one has copied from when it joined, empty for none."""
        return self._start.source

    @property
    def told(self) -> bool:
        """Whether the others that are linked have heard what the node says of itself now."""
        return self.mesh.all_told

    def enter(self, doors: Doors) -> None:
        """Have the doors hand over what peers send."""
        doors.receive(self.mesh.front)

    def start(self) -> None:
        """Begin to look for the others."""
        self._following = [
            asyncio.create_task(
                follow_source(source, self.membership.listed, self.membership.troubled, self._now, self._log)
            )
            for source in self._sources
        ]
        self.membership.tick()

    def reconfigure(self, config: ServeConfig) -> None:
        """Take over what can change while the node runs: the configured peers, and what is thought of silent ones."""
        self.membership.reconfigure(config)
        if self._lists:
            self.membership.listed(_OPTIONS, config.peer_urls)

    def tick(self) -> None:
        """Let time pass."""
        self.membership.notice_pause()
        self.membership.tick()
        self.mesh.tick()

    async def stop(self, *, leaving: bool = False) -> None:
        """Say farewell, deliver what is pending, and leave all links; takes a few seconds at most."""
        for task in self._following:
            task.cancel()
        await self.mesh.stop(leaving=leaving)

    def _changed(self, _: Change) -> None:
        self.mesh.soon()
        self._node.stream.catching_up.changed()

    def _decided(self, seq: int, decision: Decision) -> None:  # noqa: ARG002
        self.mesh.soon()
