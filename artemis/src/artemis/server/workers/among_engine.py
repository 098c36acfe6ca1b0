"""A worker among its siblings where an engine carries the records: each is a member of the cluster around that, and all
together are one node to everybody else.

Siblings are linked on loopback besides, for what is theirs alone: how far each shows what is in the bucket, and what
operators have switched. Not here: the node around the engine (`artemis.server.clustered_engine`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.engine.acknowledging import EngineAcknowledging
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.mesh.listener import MeshListener
from artemis.cluster.mesh.mesh import Mesh
from artemis.cluster.outbox import Outbox
from artemis.server.clustered import NEAR
from artemis.server.clustered_engine import ClusteredEngine
from artemis.server.clustering import max_skew
from artemis.server.workers.siblings import Siblings

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.engine.port import Position
    from artemis.cluster.engine.replica import EngineReplica
    from artemis.cluster.mesh.handshake import Peer
    from artemis.cluster.messages import Message
    from artemis.cluster.standing import Standing
    from artemis.registry import Registry
    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.workers.place import Place


class _Linked(MeshListener):
    """What travels on the links of siblings (a mesh's `Linked`), and who is linked."""

    def __init__(self, registry: Registry, replica: EngineReplica, now: Callable[[], int]) -> None:
        self.heard: dict[str, int] = {}
        self._now = now
        self._outbox = Outbox()
        self.acknowledging = EngineAcknowledging(registry, self._outbox, replica)
        self.receiving: Callable[[str], bool] = lambda _: False

    def met(self, peer: Peer, dialled: PeerUrl | None) -> str:  # noqa: ARG002 - every link is one with a sibling
        """A sibling is linked."""
        self.acknowledging.meet(peer.party.node, peer.party.epoch)
        return ""

    def lost(self, peer: Peer) -> None:
        """A sibling can tell nothing any more."""
        if not self.receiving(peer.party.node):
            self.acknowledging.part(peer.party.node)

    def told(self, node: str, standing: Standing) -> None:  # noqa: ARG002 - of it the engine tells as well
        """A sibling gives a sign of life, also while it has nothing to acknowledge."""
        self.heard[node] = self._now()

    def connect(self, peer: str, now: int) -> None:  # noqa: ARG002 - the face of a mesh's replica
        """A sibling can be told something."""
        self._outbox.connected[peer] = None

    def disconnect(self, peer: str) -> None:
        """Nothing can be told to a sibling any more."""
        self._outbox.connected.pop(peer, None)
        self.acknowledging.part(peer)

    def receive(self, peer: str, message: Message, now: int) -> None:
        """A sibling says something."""
        self.heard[peer] = now
        self.acknowledging.receive(peer, message)

    def want(self, peer: str) -> None:
        """Siblings have no records for each other."""

    def overflowed(self, peer: str) -> None:
        """What was to be told is told anew."""
        self.acknowledging.tell_again(peer)

    def tick(self, now: int, wall: int) -> None:
        """Nothing is due at a time."""

    def flush(self, now: int) -> None:  # noqa: ARG002 - as above
        """Acknowledge what is shown."""
        self.acknowledging.flush()

    def take(self) -> list[tuple[str | None, Message]]:
        """Return what is to be told."""
        return self._outbox.take()


class AmongEngine(ClusteredEngine):
    """The cluster's side of one worker around an engine (a `Clustering`)."""

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        place: Place,
        *,
        position: Position | None,
        now: Callable[[], int],
        wall: Callable[[], int],
        leave: Callable[[str], None],
        end: Callable[[str], None],
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(config, node, position=position, now=now, wall=wall, leave=leave, end=end, log=log)
        identity = node.identity
        linked = _Linked(node.registry, self.replica, now)
        self._acknowledging = linked.acknowledging
        self._mesh = Mesh(
            Party(
                cluster=config.cluster_name,
                region=config.region,
                zone=config.zone,
                node=identity.node_id,
                epoch=identity.epoch,
                url=str(place.url),
            ),
            linked,
            secret=place.secret,
            ca_file=None,
            max_skew=lambda: max_skew(node),
            standing=lambda: node.standing,
            now=now,
            wall=wall,
            log=log,
            listener=linked,
            timings=msgspec.structs.replace(NEAR, ping=config.beat, silence=config.given_up / 2),
        )
        linked.receiving = self._mesh.reception.connections.__contains__
        self._siblings = Siblings(config, node, place, self._mesh, linked.acknowledging, linked.heard, now)
        self._dialled = place.siblings
        self.replica.turned = self._turned

    def enter(self, doors: Doors) -> None:
        """Have the doors hold answers."""
        self._siblings.enter(doors)

    def start(self) -> None:
        """Let siblings in, look for them, and reach for the engine."""
        self._siblings.open()
        self._mesh.set_peers(self._dialled)
        super().start()

    def tick(self) -> None:
        """Let time pass."""
        super().tick()
        self._mesh.tick()
        self._siblings.tick()

    async def stop(self, *, leaving: bool = False) -> None:
        """Put what there is, and leave engine and siblings."""
        await super().stop(leaving=leaving)
        await self._mesh.stop()
        await self._siblings.close()

    def _turned(self) -> None:
        if self._acknowledging.turned():
            self._mesh.soon()
