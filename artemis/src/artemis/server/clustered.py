"""A node among others: its replica and its links, tied to the node, to its doors and to time.

Not here: what is replicated and when (`artemis.cluster.replica`), how links work (`artemis.cluster.mesh`), and who is a
member. A node without peers has none of this.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from artemis.cluster.addresses import peer_url
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.mesh.mesh import Mesh
from artemis.cluster.mesh.pauses import MeshTimings
from artemis.cluster.operations import ReplicatedOperations
from artemis.cluster.replica import Replica
from artemis.cluster.timings import ClusterTimings
from artemis.cluster.trial import spoken_versions
from artemis.server.admin import readable_by_others
from artemis.server.cluster_control import ClusterControl
from artemis.server.cluster_files import check_authorities, read_secret
from artemis.server.membership import Membership
from artemis.server.peer_sources import follow_source, sources_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.management import Decision
    from artemis.registry import Change
    from artemis.server.config import ServeConfig
    from artemis.server.node import Node

#: What the list of nodes among the options is called.
_OPTIONS = "options"
#: The part of the TTL by which wall clocks may be apart (design 4.1).
_SKEW_PART = 8
#: Milliseconds that callers wait at most for changes that they may know from another node and this one lacks: those are
#: on their way for a fraction of that, or a link is down and they may be for long (design 4.1 "behind").
_PATIENCE = 1_000


class Clustered:
    """The cluster's side of one node. Owned by the assembly, on its event loop: `start`, then `stop`, each once.

    `tick` is called about every 100 ms. `leave` lets the node end because an operator, by name, wants it to leave for
    good, `end` because it has to, for a reason.
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
    ) -> None:
        identity, versions = node.identity, spoken_versions(os.environ)
        secret_file, ca_file = config.cluster_secret_file, config.cluster_ca_file
        secret = b"" if secret_file is None else read_secret(secret_file)
        if ca_file is not None:
            check_authorities(ca_file)
        if secret_file is not None and readable_by_others(secret_file):
            log.warning("cluster secret readable by others", file=str(secret_file), advice="chmod 600 it")
        self._node = node
        self._now, self._log = now, log
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
        self.membership = Membership(config, node, self.replica, listing=listing, now=now, wall=wall, log=log)
        self.mesh = Mesh(
            Party(
                cluster=config.cluster_name,
                region=config.region,
                zone=config.zone,
                node=identity.node_id,
                epoch=identity.epoch,
                url=identity.url,
            ),
            self.replica,
            secret=secret,
            ca_file=None if ca_file is None else str(ca_file),
            max_skew=self._max_skew,
            standing=lambda: node.standing,
            now=now,
            wall=wall,
            log=log,
            listener=self.membership,
            # A link that is dead is dialled again before its node is given up.
            timings=MeshTimings(ping=config.beat, silence=config.given_up / 2),
            versions=versions,
        )
        node.control = ClusterControl(
            config.cluster_name,
            self.membership.members,
            self.replica,
            links=self.mesh.peers,
            counters=lambda: {**self.mesh.counters, **self.mesh.reception.counters},
            refused=lambda: self.mesh.refused,
            leave=leave,
            versions=versions,
        )
        node.registry.on_change(self._changed)
        node.pullouts.on_decision(self._decided)
        node.registry.on_jump(lambda *_: node.stream.catching_up.changed())
        node.stream.catching_up.patience = _PATIENCE
        self.membership.links = lambda: self.mesh.links
        self.membership.receiving = self.mesh.reception.connections.__contains__
        self.membership.dial = self.mesh.set_peers
        self.membership.resumed = self.mesh.resumed
        self.membership.end = end
        self.membership.listed(_OPTIONS, config.peer_urls)
        self._following: list[asyncio.Task[None]] = []

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
        self.membership.listed(_OPTIONS, config.peer_urls)

    def tick(self) -> None:
        """Let time pass."""
        self.membership.notice_pause()
        self.mesh.tick()
        self.membership.tick()

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

    def _max_skew(self) -> int:
        timings = self._node.registry.timings
        return min(timings.ttl, timings.legacy_ttl) // _SKEW_PART
