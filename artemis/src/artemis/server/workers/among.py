"""A worker among its siblings: a node of a mesh, on loopback and where there are other machines with these too. All
workers together are one node to everybody else.

Not here: the mesh (`artemis.server.clustered`), and what a worker has beside other nodes of one (`siblings`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.server.clustered import Clustered
from artemis.server.workers.siblings import Siblings

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.workers.place import Place
    from msgtrans import ServerTls


class AmongSiblings(Clustered):
    """The cluster's side of one worker (a `Clustering`)."""

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        place: Place,
        *,
        now: Callable[[], int],
        wall: Callable[[], int],
        leave: Callable[[str], None],
        end: Callable[[str], None],
        log: FilteringBoundLogger,
    ) -> None:
        super().__init__(config, node, now=now, wall=wall, leave=leave, end=end, log=log, place=place)
        acknowledging = self.replica.acknowledging
        self._siblings = Siblings(config, node, place, self.mesh, acknowledging, self.replica.heard, now)
        self._links = place.links
        self._tls: ServerTls | None = None
        self.membership.met_sibling = acknowledging.meet
        self.membership.lost_sibling = acknowledging.part

    def enter(self, doors: Doors) -> None:
        """Have the doors hold answers. Nobody links by them; nodes of other machines hear there where they can."""
        self._siblings.enter(doors)
        if self._links is not None:
            doors.receive(self.mesh.front)
            self._tls = doors.tls if self._links.secure else None

    def start(self) -> None:
        """Let siblings in, and other machines, and look for them."""
        self._siblings.open(() if self._links is None else self._links.bound, self._tls)
        super().start()

    def tick(self) -> None:
        """Let time pass."""
        super().tick()
        self._siblings.tick()

    async def stop(self, *, leaving: bool = False) -> None:
        """Tell siblings what there is to tell, and leave them."""
        await super().stop(leaving=leaving)
        await self._siblings.close()
