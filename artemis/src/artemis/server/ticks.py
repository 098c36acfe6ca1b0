"""How time passes in a node: ten times a second, and what is due is done without holding anybody up.

What is to happen now and then is called from here. Not here: what happens (`Node.tick`, `Clustering.tick`,
`Doors.tick`), and work that is done once (`turns`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.server.clock import now_ms, wall_ms
from artemis.server.node_log import NodeLog
from artemis.server.pauses import Pauses

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.clustering import Clustering
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.persistence import Persistence
    from artemis.server.retirement import Retirement

#: Seconds between two ticks of the node.
_TICK = 0.1
#: Leases that expire in one turn of the loop, about 3 ms, and turns that may then pass until all are told of them.
_TICK_LIMIT = 200
_TELLING_TURNS = 4


class Ticks:
    """Owned by the assembly, on its event loop: `start`, which ticks at once, then `stop`, each once.

    `cluster` and `persistence` are None for a node without others and without a data directory.
    """

    def __init__(
        self,
        node: Node,
        doors: Doors,
        cluster: Clustering | None,
        persistence: Persistence | None,
        retirement: Retirement,
        log: FilteringBoundLogger,
    ) -> None:
        self._node, self._doors, self._cluster, self._persistence, self._log = node, doors, cluster, persistence, log
        self._retirement = retirement
        self._loop = asyncio.get_running_loop()
        self._pauses = Pauses(now_ms())
        self._told = NodeLog(node, log)
        self._kept_operations = node.operations.revision
        self._next_second = 0.0
        self._timer: asyncio.Handle | None = None

    @property
    def pauses(self) -> int:
        """How often the node stood still."""
        return self._pauses.count

    def start(self) -> None:
        """Tick from now on."""
        self._tick()

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        """Let time pass in everything; when much is due, it is done over several turns of the loop."""
        now = now_ms()
        self._notice_pause(now)
        try:
            more = self._node.tick(now, wall_ms(), _TICK_LIMIT)
        except Exception as error:  # noqa: BLE001 - a node whose clock stops would keep every dead lease for ever
            more = False
            self._log.error("tick failed", error=repr(error), exc_info=True)
        if self._cluster is not None:
            self._cluster.tick()
        self._retirement.tick(now_ms())
        if self._loop.time() >= self._next_second:
            self._next_second = self._loop.time() + 1.0
            self._doors.tick()
            self._told.tick()
            self._keep_operations()
        loop = self._loop
        self._timer = loop.call_soon(self._go_on, _TELLING_TURNS) if more else loop.call_later(_TICK, self._tick)

    def _go_on(self, turns: int) -> None:
        """Go on with what is due. Subscribers are told first: whoever reads promptly shall not fall behind."""
        if turns and self._doors.telling:
            self._timer = self._loop.call_soon(self._go_on, turns - 1)
        else:
            self._tick()

    def _notice_pause(self, now: int) -> None:
        timings = self._node.registry.timings
        pause = self._pauses.note(now, min(timings.ttl, timings.legacy_ttl))
        if pause:
            self._node.pardon(now)
            self._log.warning("node stood still", milliseconds=pause, consequence="every lease gets a fresh TTL")

    def _keep_operations(self) -> None:
        """What operators decided is in a snapshot soon, whatever the interval."""
        if self._persistence is not None and self._node.operations.revision != self._kept_operations:
            self._kept_operations = self._node.operations.revision
            self._persistence.soon()
