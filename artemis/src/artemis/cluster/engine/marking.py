"""Markers: up to which number of each life of a node all its changes are in the bucket (design 4.1 "Engine").

A marker counts where the bucket was read up to the sequence number that it names. Not here: reading (`progress`), and
what a node says of its own (`writing`).
"""

from __future__ import annotations

from collections.abc import Mapping

from artemis.cluster.messages import MAX_ORIGINS
from artemis.registry import Origin

Marker = tuple[int, int]
"""A sequence number of the bucket, and the number of an origin that counts from there on."""


class Markers:
    """What was said of one bucket. Owned by a reader; `vector` is what counts by now."""

    __slots__ = ("_waiting", "refused", "vector")

    def __init__(self) -> None:
        self.vector: dict[Origin, int] = {}
        self.refused = 0
        # The first and the latest of each origin that does not count yet; more would be of little use.
        self._waiting: dict[Origin, list[Marker]] = {}

    @property
    def waiting(self) -> bool:
        """Whether any is there that does not count yet."""
        return bool(self._waiting)

    def note(self, origin: Origin, reached: int, sequence: int) -> None:
        """Note a marker; it may be an old one, or come twice."""
        if reached <= self.vector.get(origin, 0):
            return
        waiting = self._waiting.get(origin)
        if waiting is None:
            if len(self._waiting) + len(self.vector) >= MAX_ORIGINS:
                self.refused += 1
                return
            self._waiting[origin] = [(sequence, reached)]
        elif reached > waiting[-1][1]:
            waiting[1:] = [(sequence, reached)]

    def reach(self, position: int) -> bool:
        """Let those count that are reached; return whether any did. Everything up to `position` must be there."""
        risen = False
        for origin, waiting in list(self._waiting.items()):
            while waiting and waiting[0][0] <= position:
                self.vector[origin] = max(waiting.pop(0)[1], self.vector.get(origin, 0))
                risen = True
            if not waiting:
                del self._waiting[origin]
        return risen

    def forget(self, base: Mapping[str, int]) -> None:
        """Forget the epochs below `base`."""
        for table in (self.vector, self._waiting):
            for origin in [origin for origin in table if origin.epoch < base.get(origin.node, 0)]:
                del table[origin]
