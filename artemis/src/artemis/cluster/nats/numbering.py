"""Whether own puts are read at the numbers that they were answered with: where not, servers do not keep the same.

Each server counts the entries that it keeps, and one that keeps others than the one that leads has other numbers for
all that follow; then conditions of puts, which are numbers, mean something else there. Pure. Not here: what follows
from that (`session`).
"""

from __future__ import annotations

from collections import OrderedDict

MOST = 1_024
"""Puts that are remembered on either side, twice as many as can be under way."""


class Numbering:
    """What was answered and what was read of puts since a consumer began. Owned by a session."""

    def __init__(self) -> None:
        self._answered: OrderedDict[int, int] = OrderedDict()
        self._read: OrderedDict[int, int] = OrderedDict()

    def answered(self, put: int, sequence: int) -> bool | None:
        """Note what a put was answered; return whether it was read there, None while it was not read."""
        return _compare(put, sequence, self._answered, self._read)

    def read(self, put: int, sequence: int) -> bool | None:
        """Note where a put was read; return whether that is what it was answered, None while it was not answered."""
        return _compare(put, sequence, self._read, self._answered)


def _compare(put: int, sequence: int, here: OrderedDict[int, int], there: OrderedDict[int, int]) -> bool | None:
    known = there.pop(put, None)
    if known is not None:
        return known == sequence
    here[put] = sequence
    if len(here) > MOST:
        here.popitem(last=False)
    return None
