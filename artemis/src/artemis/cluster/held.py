"""Changes that came before the ones they follow: they wait until the gap is closed [in_order].

Bounded: what does not fit is dropped and counted, and an exchange repairs it. Not here: closing the gap (`replica`).
"""

from collections.abc import Sequence

from artemis.cluster.messages import Row
from artemis.registry import Origin

MAX_HELD = 10_000
"""Changes of all origins together that wait."""

Waiting = tuple[Row | None, int]
"""A row, and when it came, in monotonic milliseconds."""


class HeldChanges:
    """The changes that wait, by origin and number. Owned by a replica.

    `dropped` counts those that did not fit or waited in vain.
    """

    __slots__ = ("_origins", "count", "dropped")

    def __init__(self) -> None:
        self._origins: dict[Origin, dict[int, Waiting]] = {}
        self.count = 0
        self.dropped = 0

    @property
    def origins(self) -> list[Origin]:
        """Return the origins of which changes wait."""
        return list(self._origins)

    def hold(self, origin: Origin, first: int, rows: Sequence[Row | None], now: int) -> None:
        """Let rows wait that are numbered from `first`."""
        waiting = self._origins.setdefault(origin, {})
        for seq, row in enumerate(rows, first):
            if seq in waiting:
                continue
            if self.count >= MAX_HELD:
                self.dropped += 1
                continue
            waiting[seq] = row, now
            self.count += 1
        if not waiting:
            del self._origins[origin]

    def take(self, origin: Origin, seq: int) -> Waiting | None:
        """Return the change of this number, which waits no longer; None when it is not there."""
        waiting = self._origins.get(origin)
        found = None if waiting is None else waiting.pop(seq, None)
        if found is not None:
            self.count -= 1
            if not waiting:
                del self._origins[origin]
        return found

    def reached(self, origin: Origin, seq: int) -> None:
        """Drop what is known by now: everything of an origin up to `seq`."""
        waiting = self._origins.get(origin)
        if waiting is None:
            return
        for known in [number for number in waiting if number <= seq]:
            del waiting[known]
            self.count -= 1
        if not waiting:
            del self._origins[origin]

    def expire(self, before: int) -> None:
        """Drop what came before a moment: if anybody has what is missing, an exchange brings both."""
        for origin, waiting in list(self._origins.items()):
            for seq in [seq for seq, (_, came) in waiting.items() if came < before]:
                del waiting[seq]
                self.count -= 1
                self.dropped += 1
            if not waiting:
                del self._origins[origin]

    def drop(self, origin: Origin) -> None:
        """Drop everything of an origin."""
        self.count -= len(self._origins.pop(origin, ()))
