"""A node among nodes of the Java product: its Java peers, tied to the node and to its start (spec 6.4, 7).

Not here: the peers (`artemis.cluster.java`), and what they send, which are operations like others
(`handlers.replication`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.cluster.java.peers import JavaPeers

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.server.config import ServeConfig
    from artemis.server.node import Node

COPYING = "it waits for a first copy from a Java peer"

_LOOK = 0.05


class Mixed:
    """The Java side of one node. Owned by the assembly, on its event loop: `start`, then `stop`, each once.

    `copied_from` returns the node of its own kind that the node has copied from when it joined, empty for none: then
    there is nothing that a Java peer could add, as each of those tells every node everything. `copy`: whether the node
    copies at all before it serves.
    """

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        *,
        copied_from: Callable[[], str],
        copy: bool,
        now: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> None:
        self._node = node
        self._copied_from = copied_from
        self._patience = config.join_timeout
        self._log = log
        self.peers = JavaPeers(
            config.java_urls, node.registry, config.zone, offered=config.offer_java_peers, now=now, log=log
        )
        self._copying: asyncio.Task[None] | None = None
        node.java = self.peers
        self._listen()
        if copy:
            node.copy_first(COPYING)

    def start(self) -> None:
        """Look for the peers, and copy before the node serves."""
        self.peers.start()
        if self._node.availability.copying is not None:
            self._copying = asyncio.create_task(self._copy())

    async def stop(self) -> None:
        """Leave the peers alone."""
        self._node.asked = None
        if self._copying is not None:
            self._copying.cancel()
            await asyncio.gather(self._copying, return_exceptions=True)
        await self.peers.stop()

    def reconfigure(self, config: ServeConfig) -> None:
        """Take over other peers."""
        self.peers.configure(config.java_urls, offered=config.offer_java_peers)
        self._listen()

    def _listen(self) -> None:
        """Hear what clients ask only while there is somebody to tell."""
        self._node.asked = self.peers if self.peers.urls else None

    async def _copy(self) -> None:
        try:
            while self._node.availability.waiting is not None:  # noqa: ASYNC110 - pure, it tells nobody
                await asyncio.sleep(_LOOK)
            if not self._copied_from():
                self._log.info("node is told by Java peers", reason=await self.peers.copy_first(self._patience))
        except Exception:  # noqa: BLE001 - whatever it was, a node that never serves helps nobody
            self._log.exception("first copy from a Java peer failed", consequence="it serves what it has")
        self._node.copy_first(None)
