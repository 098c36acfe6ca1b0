"""What a worker has with its siblings, whichever way the machine's records travel: a listener of its own where these
are linked, answers that wait for them, switches that hold for all, and a start that is over when all serve.

Not here: what travels on the links (`artemis.cluster.acknowledging`), and who is on them (`among`, `among_engine`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.server.workers.barrier import Barrier
from artemis.server.workers.link_door import LinkDoor
from artemis.server.workers.switches import share_switches

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from artemis.cluster.acknowledging import Acknowledging
    from artemis.cluster.mesh.mesh import Mesh
    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.workers.place import Place
    from msgtrans import ServerTls

TOGETHER = 2_000
"""Milliseconds that a worker that serves waits at most for its siblings to do so as well, before it counts as ready."""


class Siblings:
    """Owned by the cluster's side of a worker: `open`, then `close`, each once; `tick` about every 100 ms.

    `mesh` has the links with them, `heard` says when something of each came last, in monotonic milliseconds.
    """

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        place: Place,
        mesh: Mesh,
        acknowledging: Acknowledging,
        heard: Mapping[str, int],
        now: Callable[[], int],
    ) -> None:
        self._node, self._mesh, self._acknowledging, self._now = node, mesh, acknowledging, now
        self._others = len(place.siblings)
        self._barrier = Barrier(
            node.registry, heard, acknowledging, beat=config.beat, patience=config.workers_wait, now=now
        )
        self._door = LinkDoor(mesh.reception, place.mesh)
        self._opening: asyncio.Task[None] | None = None
        self._opened_at = 0
        share_switches(node, acknowledging, mesh.soon, now)
        node.unready = "it waits for the other workers to serve"

    def enter(self, doors: Doors) -> None:
        """Have the doors hold answers."""
        doors.hold_answers(self._barrier)

    def open(self, far: Sequence[socket.socket] = (), tls: ServerTls | None = None) -> None:
        """Let siblings in, and at the listeners in `far` whoever has the secret, inside `tls` unless that is None."""
        self._opening = asyncio.create_task(self._door.start(far, tls))

    def tick(self) -> None:
        """Say that this worker serves, and be ready when the others do, as callers come to any of them."""
        node, acknowledging = self._node, self._acknowledging
        if not node.unready or not node.serves_discovery:
            return
        now = self._now()
        if not acknowledging.opened:
            acknowledging.opened = True
            self._opened_at = now
            self._mesh.soon()
        if len(acknowledging.serving) >= self._others or now - self._opened_at > TOGETHER:
            node.unready = ""

    async def close(self) -> None:
        """Let go what waits, and let nobody in any more."""
        self._barrier.close()
        if self._opening is not None:
            await self._opening
        await self._door.stop()
