"""The cluster's side of a node, whichever way its records travel: what the assembly knows of it, and which one is made.

`clustered` is a mesh of peers, `clustered_engine` an engine in their midst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.engine.port import Position
    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.workers.place import Place

SKEW_PART = 8
"""The part of the TTL by which wall clocks may be apart (design 4.1)."""

PATIENCE = 1_000
"""Milliseconds that callers wait at most for changes that they may know from another node and this one lacks: those are
on their way for a fraction of that, or the way is cut and they may be for long (design 4.1 "behind")."""


class Clustering(Protocol):
    """Owned by the assembly, on its event loop: `start`, then `stop`, each once; `tick` about every 100 ms."""

    @property
    def position(self) -> Position | None:
        """How far an engine's bucket is read at this moment, None where there is none."""

    @property
    def copied_from(self) -> str:
        """What the node has copied from when it joined, empty for nothing."""

    @property
    def told(self) -> bool:
        """Whether the others have been told what the node says of itself now."""

    def enter(self, doors: Doors) -> None:
        """Have the doors hand over what other nodes send."""

    def start(self) -> None:
        """Begin to look for the others."""

    def reconfigure(self, config: ServeConfig) -> None:
        """Take over what can change while the node runs."""

    def tick(self) -> None:
        """Let time pass."""

    async def stop(self, *, leaving: bool = False) -> None:
        """Deliver what is pending and say farewell; takes a few seconds at most."""


def clustering(
    config: ServeConfig,
    node: Node,
    *,
    position: Position | None,
    now: Callable[[], int],
    wall: Callable[[], int],
    leave: Callable[[str], None],
    end: Callable[[str], None],
    log: FilteringBoundLogger,
    place: Place | None = None,
) -> Clustering:
    """Make the cluster's side of a node; `position` is how far it had read its bucket when it saved what it knows.

    `place` is that of one worker of several. `leave` lets the node end because an operator, by name, wants it to leave
    for good, `end` because it has to, for a reason. Raises `ClusterFileError` when a file cannot be used.
    """
    if place is not None and config.engine_servers is not None:
        from artemis.server.workers.among_engine import AmongEngine

        return AmongEngine(config, node, place, position=position, now=now, wall=wall, leave=leave, end=end, log=log)
    if place is not None:
        from artemis.server.workers.among import AmongSiblings

        return AmongSiblings(config, node, place, now=now, wall=wall, leave=leave, end=end, log=log)
    if config.engine_servers is None:
        from artemis.server.clustered import Clustered

        return Clustered(config, node, now=now, wall=wall, leave=leave, end=end, log=log)
    from artemis.server.clustered_engine import ClusteredEngine

    return ClusteredEngine(config, node, position=position, now=now, wall=wall, leave=leave, end=end, log=log)


def max_skew(node: Node) -> int:
    """Return the milliseconds that the wall clocks of two nodes may be apart."""
    timings = node.registry.timings
    return min(timings.ttl, timings.legacy_ttl) // SKEW_PART
