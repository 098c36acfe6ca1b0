"""What is known of a place that is to be put, of a put under way, and of what became of all puts.

Data only. Not here: what is done with it (`writing`, `confirming`, `turns`).
"""

from __future__ import annotations

import msgspec

from artemis.cluster.engine.places import Place

Number = tuple[int, int]
"""A change of this node: epoch and sequence number."""

NONE: Number = (0, 0)


class Dirty(msgspec.Struct):
    """A place that is to be put, or to be read. `first` is the first own change that was not read in its entry, `then`
    the first that was made after the last put began, `covered` whether an entry was read that says all, `owed` whether
    it counts as such (`Writing.owed`). `flight` is the number of the put under way, 0 for none, `landed` the number of
    the bucket at which the last one is to be read, 0 for none, and `value` a hash of what is to be there, 0 for
    unknown; `again` says that it is to be put once more all the same. `getting` is since when its entry is being
    brought, `tried` how often in vain. It `waits` for another node that may put it first.
    """

    first: Number = NONE
    then: Number = NONE
    covered: bool = False
    owed: bool = False
    flight: int = 0
    landed: int = 0
    value: int = 0
    again: bool = False
    getting: int | None = None
    tried: int = 0
    waits: bool = False

    def withdraw(self) -> None:
        """Wait no longer for it to be read: all own changes that it has are to be put."""
        self.landed = self.value = 0
        if self.first == NONE or NONE < self.then < self.first:
            self.first = self.then
        self.then = NONE


class Flight(msgspec.Struct, frozen=True):
    """A put under way. It takes a number above `known`, which was one of the bucket before."""

    place: Place
    revision: int
    known: int


class WriteCounters(msgspec.Struct, gc=False):
    """What happened since the start; every counter only grows."""

    put: int = 0
    stored: int = 0
    conflicts: int = 0
    unknown: int = 0
    refused: int = 0
    brought: int = 0
    missed: int = 0
