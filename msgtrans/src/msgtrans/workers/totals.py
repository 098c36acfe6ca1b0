"""Sums of the counters of a group of processes that come and go.

Not here: what is counted, and how it gets here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

N = TypeVar("N", int, float)


class Totals(Generic[N]):
    """The counters that ended processes leave, and sums with those that live.

    gauges: names of those that tell a state of now, as open connections: of a process that has ended nothing is left.
    """

    def __init__(self, gauges: Iterable[str] = ()) -> None:
        self._gauges = frozenset(gauges)
        self._left: dict[str, N] = {}

    def keep(self, counters: Mapping[str, N]) -> None:
        """A process has ended; these were its counters."""
        for name, value in counters.items():
            if name not in self._gauges:
                self._left[name] = self._left[name] + value if name in self._left else value

    def sum(self, living: Iterable[Mapping[str, N]]) -> dict[str, N]:
        """All together."""
        total = dict(self._left)
        for counters in living:
            for name, value in counters.items():
                total[name] = total[name] + value if name in total else value
        return total
