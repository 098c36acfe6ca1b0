"""How long requests take, in a few fixed buckets. Not here: what is timed, and clocks."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDS: Final = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds in seconds; one bucket more is for what took longer."""


class Latencies(msgspec.Struct, frozen=True):
    """Requests by how long they took. counts: one for each of the bounds and one above; seconds: of all together."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Seconds, 0 without any."""
        return self.seconds / self.count if self.count else 0.0

    def percentile(self, part: float) -> float:
        """Seconds within which `part`, from 0 to 1, of them were done: the bound of the bucket, 0 without any.

        Of what is above the last bound, that bound is told.
        """
        rank = part * self.count
        seen = 0
        for bound, count in zip((*BOUNDS, BOUNDS[-1]), self.counts, strict=True):
            seen += count
            if seen and seen >= rank:
                return bound
        return 0.0

    def since(self, before: Latencies) -> Latencies:
        """What came after `before`."""
        return Latencies(
            tuple(max(0, now - then) for now, then in zip(self.counts, before.counts, strict=True)),
            max(0.0, self.seconds - before.seconds),
        )


class LatencyHistogram:
    """Counts them. Owned by one loop."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def record(self, seconds: float) -> None:
        """One request took so long."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def read(self) -> Latencies:
        """All so far."""
        return Latencies(tuple(self._counts), self._seconds)


def cumulative(counts: Sequence[int]) -> list[int]:
    """The counts of all buckets up to each, as Prometheus wants them."""
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums
