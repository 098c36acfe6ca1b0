"""What a change log is made of: its entries, and what it says somebody missed.

Not here: how they come about and what is made of them; see `log`.
"""

import msgspec

from artemis.model.cursors import Origin
from artemis.push.changes import SeenChange
from artemis.push.touches import Touched


class Entry(msgspec.Struct, gc=False, eq=False):
    """One transition of the catalog. `seen` is a hash of what callers saw before, 0 for nothing; `at` the wall clock in
    ms. `before` is what they saw, as long as the entry is fresh. An empty `instance` is a reload of the service.
    """

    version: int
    service: str
    instance: str
    seen: int
    at: int
    before: bytes | None


class Missed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What somebody missed: with `full` everything that is shown now, else one change per instance, oldest first.

    `entries` says how many transitions they stand for.
    """

    full: bool
    changes: list[SeenChange]
    entries: int = 0


class LogCounters(msgspec.Struct, gc=False):
    """What happened to the log since the start; every counter only grows."""

    entries: int = 0
    evicted: int = 0
    resumed: int = 0
    full_syncs: int = 0


class ServiceHistory:
    """The entries of one service, oldest first, and the latest one that was forgotten, of it or maybe of it."""

    __slots__ = ("entries", "floor")

    def __init__(self, floor: Entry | None) -> None:
        self.entries: list[Entry] = []
        self.floor = floor


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What the node knew when its catalog had a version."""

    version: int
    vector: dict[Origin, int]
    base: dict[str, int]


Start = int | Touched
"""From where on somebody is told: a version of the catalog, or what was touched since a cursor of another node."""


def digest(content: bytes) -> int:
    """Return a keyed hash of what callers see, never 0."""
    return hash(content) or 1
