"""A worker among its siblings: a node of a mesh, on loopback and where there are other machines with these too. All
workers together are one node to everybody else.

What it has beside other nodes of a mesh: a door of its own for links, answers that wait for siblings, and switches that
hold for all. Not here: the mesh (`artemis.server.clustered`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.server.clustered import Clustered
from artemis.server.workers.barrier import Barrier
from artemis.server.workers.link_door import LinkDoor
from artemis.server.workers.switches import share_switches

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.workers.place import Place
    from msgtrans import ServerTls

TOGETHER = 2_000
"""Milliseconds that a worker that serves waits at most for its siblings to do so as well, before it counts as ready."""


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
        self._others = len(place.siblings)
        self._acknowledging = self.replica.acknowledging
        self._barrier = Barrier(
            node.registry,
            self.replica.heard,
            self._acknowledging,
            beat=config.beat,
            patience=config.workers_wait,
            now=now,
        )
        self._door = LinkDoor(self.mesh.reception, place.mesh)
        self._links = place.links
        self._tls: ServerTls | None = None
        self._opening: asyncio.Task[None] | None = None
        self._opened_at = 0
        self.membership.met_sibling = self._acknowledging.meet
        self.membership.lost_sibling = self._acknowledging.part
        share_switches(node, self._acknowledging, self.mesh.soon, now)
        node.unready = "it waits for the other workers to serve"

    def enter(self, doors: Doors) -> None:
        """Have the doors hold answers. Nobody links by them; nodes of other machines hear there where they can."""
        doors.hold_answers(self._barrier)
        if self._links is not None:
            doors.receive(self.mesh.front)
            self._tls = doors.tls if self._links.secure else None

    def start(self) -> None:
        """Let siblings in, and other machines, and look for them."""
        far = () if self._links is None else self._links.bound
        self._opening = asyncio.create_task(self._door.start(far, self._tls))
        super().start()

    def tick(self) -> None:
        """Let time pass."""
        super().tick()
        if self._node.unready and self._node.serves_discovery:
            self._gather_siblings()

    async def stop(self, *, leaving: bool = False) -> None:
        """Tell siblings what there is to tell, and leave them."""
        await super().stop(leaving=leaving)
        self._barrier.close()
        if self._opening is not None:
            await self._opening
        await self._door.stop()

    def _gather_siblings(self) -> None:
        """Say that this worker serves, and be ready when the others do, as callers come to any of them."""
        now = self._now()
        if not self._acknowledging.opened:
            self._acknowledging.opened = True
            self._opened_at = now
            self.mesh.soon()
        if len(self._acknowledging.serving) >= self._others or now - self._opened_at > TOGETHER:
            self._node.unready = ""
