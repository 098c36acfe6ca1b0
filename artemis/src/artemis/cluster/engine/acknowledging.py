"""What siblings, the workers of one machine, acknowledge to each other where an engine carries the records: up to which
number of the bucket each shows all that is there.

So who wrote at one is answered when his change is in the bucket and all of them have read so far. Pure. Not here: how
it travels (`artemis.server.workers.among_engine`), and who waits for it (`artemis.server.workers.barrier`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from zlib import crc32

from artemis.cluster.acknowledging import Acknowledging

if TYPE_CHECKING:
    from artemis.cluster.engine.replica import EngineReplica
    from artemis.cluster.messages import Message
    from artemis.cluster.outbox import Outbox
    from artemis.registry import Origin, Registry

_MOST = 4_096
"""Moments that are remembered; who asks for one before them waits for the next that is."""


class EngineAcknowledging(Acknowledging):
    """The acknowledgements of one worker. `turned` is to be called when something may be put or shown that was not."""

    def __init__(self, registry: Registry, outbox: Outbox, replica: EngineReplica) -> None:
        super().__init__(registry, outbox)
        self._replica = replica
        # Own changes up to a number that are in the bucket up to a number of that, oldest first.
        self._put: deque[tuple[int, int]] = deque(maxlen=_MOST)
        self._begun = (registry.origin.epoch, "")
        self._last = (0, 0)

    def turned(self) -> bool:
        """Note how far this worker is; tells whether siblings are to hear of it."""
        shown = self._replica.shown
        if shown is None:
            return False
        bucket, position = shown
        begun = self._registry.origin.epoch, bucket
        if begun != self._begun:
            self._begun = begun
            self._put.clear()
        reached, sequence = self._replica.put
        if reached > (self._put[-1][0] if self._put else 0):
            self._put.append((reached, sequence))
            self.heard()
        last, self._last = self._last, (crc32(bucket.encode()), position)
        return self._last != last

    def receive(self, peer: str, message: Message) -> None:
        """Take note of what a message of a peer says, and forget the moments that all siblings are beyond."""
        super().receive(peer, message)
        bucket = self._last[0]
        least = min((position if known == bucket else 0 for known, position in self._reached.values()), default=0)
        while len(self._put) > 1 and self._put[0][1] <= least and self._put[1][1] <= least:
            self._put.popleft()

    def lacking(self, seq: int, ignored: Iterable[str] = ()) -> list[str]:
        """Return the siblings that serve and do not show the own changes up to `seq`. While there is no bucket to work
        with nobody can, and nobody is waited for."""
        if self._replica.trouble:
            return []
        bucket = self._last[0]
        needed = next((sequence for reached, sequence in self._put if reached >= seq), None)
        return [
            sibling
            for sibling, (known, position) in self._reached.items()
            if sibling not in ignored and (needed is None or known != bucket or position < needed)
        ]

    def _shown(self, origin: Origin, vector: Mapping[Origin, int]) -> tuple[int, int]:  # noqa: ARG002 - as the base has
        """Return what is acknowledged to a sibling: how far this worker has read the bucket."""
        return self._last
