"""Lives of nodes that are over: when their numbers may be forgotten (design 4.1 "Sweeping", [base]).

An epoch is closed when a later one of its node is known, and leaves the vector a lifetime after that. It is closed too
when its node is no member any longer; but such a node may only be cut off, and those beside it may have changes of its
that nobody here has seen, so it is forgotten much later, unless many have left since, or part of what it did has come
and the rest does not. A node that was away for longer and comes back begins a new epoch (`replica`).
Not here: the forgetting (`artemis.registry.merging`).
"""

from collections.abc import Collection, Iterable, Mapping

from artemis.registry import Origin

DEPARTED = 16
"""Nodes that have left that are remembered for longer than a lifetime: in the vector, and again as many in the base.

In the base they are those of the latest epochs, so that all nodes keep the same."""


class Epochs:
    """Which epochs are closed since when. Owned by a replica; `now` is monotonic milliseconds."""

    __slots__ = ("_closed", "_latest", "_stuck")

    def __init__(self) -> None:
        self._closed: dict[Origin, int] = {}
        self._stuck: dict[Origin, int] = {}
        # The latest epoch of each node that sends renewals.
        self._latest: dict[str, int] = {}

    def seen(self, node: str, epoch: int) -> None:
        """Note that a node lives in this epoch."""
        if epoch > self._latest.get(node, 0):
            self._latest[node] = epoch

    def due(
        self,
        vector: Iterable[Origin],
        beyond: Iterable[Origin],
        members: Collection[str],
        *,
        lifetime: int,
        departure: int,
        now: int,
    ) -> dict[str, int]:
        """Return, for each node with epochs that are over for long enough, below which epoch to forget.

        `vector` are the origins that it names, `beyond` those of what has come beyond it or waits. `lifetime` is for
        epochs that a later one has followed and for what is stuck beyond the vector, `departure` for the last nodes
        that have left, if it is longer.
        """
        self._stuck = {origin: self._stuck.get(origin, now) for origin in beyond}
        origins = sorted({*vector, *self._stuck})
        self._latest = {node: epoch for node, epoch in self._latest.items() if node in members}
        latest = dict(self._latest)
        for origin in origins:
            latest[origin.node] = max(origin.epoch, latest.get(origin.node, 0))
        closed = {
            origin: self._closed.get(origin, now)
            for origin in origins
            if origin.epoch < latest[origin.node] or origin.node not in members
        }
        self._closed = closed
        left = [origin for origin in closed if origin.epoch == latest[origin.node]]
        kept = set(sorted(left, key=lambda origin: (closed[origin], origin))[-DEPARTED:])
        due: dict[str, int] = {}
        for origin, since in closed.items():
            stuck = now - self._stuck.get(origin, now) > lifetime
            if stuck or now - since > (max(departure, lifetime) if origin in kept else lifetime):
                due[origin.node] = max(origin.epoch + 1, due.get(origin.node, 0))
        return due


def superfluous(base: Mapping[str, int], members: Collection[str]) -> list[str]:
    """Return the nodes that have left and whose bases need not be kept any longer."""
    departed = sorted((epoch, node) for node, epoch in base.items() if node not in members)
    return [node for _, node in departed[:-DEPARTED]]
