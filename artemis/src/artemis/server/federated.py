"""What a node that shows other regions has beside it: their copies, made from its options.

Not here: following them (`artemis.federation`), and what callers are shown of them (`node`, `regions`).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from artemis.federation.federation import Federation
from artemis.server.clock import now_ms, wall_ms
from msgtrans import TlsClientConfig

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.config import ServeConfig
    from artemis.server.node import Node


class Federated:
    """Owned by the assembly: `reconfigure` begins, and follows the options; `stop` ends it, once."""

    def __init__(self, config: ServeConfig, node: Node, log: FilteringBoundLogger) -> None:
        ca_file = config.federate_ca_file
        self.federation = Federation(
            node.registry.origin,
            tls=None if ca_file is None else TlsClientConfig(ca_file=str(ca_file)),
            now=now_ms,
            wall=wall_ms,
            random=Random(),  # noqa: S311 - spreads load; keeps no secret
            log=log,
        )
        node.regions.follow(self.federation)

    def reconfigure(self, config: ServeConfig) -> None:
        """Follow the regions that are named now."""
        self.federation.configure(config.federate, config.federate_max_instances)

    async def stop(self) -> None:
        """Follow nobody any more."""
        await self.federation.stop()
