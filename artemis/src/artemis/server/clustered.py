"""A node among others: its replica and its links, tied to the node, to its doors and to time.

Not here: what is replicated and when (`artemis.cluster.replica`), how links work (`artemis.cluster.mesh`), and who is a
member. A node without peers has none of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cluster.addresses import peer_url
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.mesh.mesh import Mesh, MeshListener
from artemis.cluster.mesh.pauses import MeshTimings
from artemis.cluster.replica import Replica
from artemis.cluster.timings import ClusterTimings
from artemis.server.cluster_secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.mesh.handshake import Peer
    from artemis.registry import Change
    from artemis.server.config import ServeConfig
    from artemis.server.node import Node

#: The part of the TTL by which wall clocks may be apart (design 4.1).
_SKEW_PART = 8


class _Everybody(MeshListener):
    """Makes a member of everybody who was ever met."""

    def __init__(self, me: str, replica: Replica) -> None:
        self._known = {me}
        self._replica = replica

    def met(self, peer: Peer, dialled: PeerUrl | None) -> str:  # noqa: ARG002 - either way
        """Count a node among the members."""
        self._known.add(peer.party.node)
        self._replica.set_members(self._known)
        return ""


class Clustered:
    """The cluster's side of one node. Owned by the assembly, on its event loop: `start`, then `stop`, each once.

    `tick` is called about every 100 ms. Raises `ClusterSecretError` when made with a secret that cannot be read.
    """

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        *,
        now: Callable[[], int],
        wall: Callable[[], int],
        log: FilteringBoundLogger,
        listener: MeshListener | None = None,
    ) -> None:
        identity = node.identity
        secret_file, ca_file = config.cluster_secret_file, config.cluster_ca_file
        self._node = node
        self._own = peer_url(identity.url)
        beat = round(config.beat * 1000)
        self.replica = Replica(node.registry, None, ClusterTimings(beat=beat), now=now(), wall=wall())
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
            secret=b"" if secret_file is None else read_secret(secret_file),
            ca_file=None if ca_file is None else str(ca_file),
            max_skew=self._max_skew,
            standing=lambda: node.standing,
            now=now,
            wall=wall,
            log=log,
            listener=listener or _Everybody(identity.node_id, self.replica),
            timings=MeshTimings(ping=config.beat),
        )
        node.registry.on_change(self._changed)
        self._peers: tuple[PeerUrl, ...] = config.peer_urls

    def start(self) -> None:
        """Begin to dial the configured peers."""
        self.mesh.set_peers([url for url in self._peers if url.place != self._own.place])

    def tick(self) -> None:
        """Let time pass."""
        self.mesh.tick()

    async def stop(self, *, leaving: bool = False) -> None:
        """Say farewell, deliver what is pending, and leave all links; takes a few seconds at most."""
        await self.mesh.stop(leaving=leaving)

    def _changed(self, _: Change) -> None:
        self.mesh.soon()

    def _max_skew(self) -> int:
        timings = self._node.registry.timings
        return min(timings.ttl, timings.legacy_ttl) // _SKEW_PART
