"""Records and their merge: what a registry knows about an instance, in a form that any two nodes can join (design 4.1).

Not here: leases and clocks (`leases`), the operations of clients (`registry`), and how changes travel.
"""

from collections.abc import Mapping

import msgspec

from artemis.model.cursors import Origin

__all__ = [
    "ZERO",
    "Change",
    "Dot",
    "Key",
    "Origin",
    "Record",
    "Stamp",
    "covered",
    "join_dots",
    "merge",
    "remembered",
    "without_forgotten",
]

Stamp = tuple[int, str]
"""A hybrid clock value (microseconds of the wall clock, never going back) and the id of the node that gave it."""

Key = tuple[str, str, str]
"""Region, service and instance id in lower case. A tuple, because joined text lets different triples collide."""

ZERO: Stamp = (0, "")
"""Before every stamp."""


class Dot(msgspec.Struct, frozen=True, order=True, gc=False):
    """The last sequence number of an origin that touched a record. A struct is smaller than a tuple, and the garbage
    collector need not visit it.
    """

    origin: Origin
    seq: int


class Record(msgspec.Struct, frozen=True, gc=False, eq=False):
    """All that is replicated about one instance. Immutable; equality is identity, compare fields to compare content.

    `content` is the canonical JSON of the instance, empty for a tombstone. `renewed` is the latest renewal and its
    owner, `expired` the latest renewal that someone gave up on, `asserted` the latest that travelled in a change.
    `dots` is sorted by origin and names each origin once.
    """

    key: Key
    version: Stamp
    removed: bool
    content: bytes
    renewed: Stamp
    expired: Stamp
    asserted: Stamp
    dots: tuple[Dot, ...]

    @property
    def live(self) -> bool:
        """Tell whether callers see the instance: registered and not given up on."""
        return not self.removed and self.renewed > self.expired

    @property
    def visible(self) -> bytes | None:
        """Return the content that callers see, None when they see nothing."""
        return self.content if self.live else None


class Change(msgspec.Struct, frozen=True, gc=False, eq=False):
    """A sequenced change of this or another origin, as it was taken in (design 4.1 "Changes and cursors").

    `record` is the record after the change; that of an own change carries the change's dot as its only one.
    `previous` and `visible` are the contents that callers saw before and see now, None for nothing. They are equal when
    a change makes no difference to callers.
    """

    origin: Origin
    seq: int
    record: Record
    previous: bytes | None
    visible: bytes | None


def merge(a: Record, b: Record) -> Record:
    """Return the join of two records of one key: commutative, associative, idempotent (design 4.1 "Records").

    Version, removal and content go together by the larger triple; renewals, expiries, assertions and each dot go by
    maximum, also across versions.
    """
    win = b if (b.version, b.removed, b.content) > (a.version, a.removed, a.content) else a
    return Record(
        a.key,
        win.version,
        win.removed,
        win.content,
        max(a.renewed, b.renewed),
        max(a.expired, b.expired),
        max(a.asserted, b.asserted),
        a.dots if a.dots == b.dots else join_dots(a.dots, b.dots),
    )


def join_dots(a: tuple[Dot, ...], b: tuple[Dot, ...]) -> tuple[Dot, ...]:
    """Return the last number of each origin that either names, in order."""
    joined = {dot.origin: dot for dot in a}
    for dot in b:
        joined[dot.origin] = max(dot, joined.get(dot.origin, dot))
    return tuple(sorted(joined.values()))


def covered(
    dots: tuple[Dot, ...], forgotten: Mapping[str, int], vector: Mapping[Origin, int], base: Mapping[str, int]
) -> bool:
    """Tell whether a node at `vector` and `base` has seen all changes that made a record.

    `forgotten` is the base of the node that holds the record: dots below it are no longer written in it, so whoever has
    not forgotten as much may lack them.
    """
    for dot in dots:
        origin = dot.origin
        if dot.seq > vector.get(origin, 0) and origin.epoch >= base.get(origin.node, 0):
            return False
    return all(base.get(node, 0) >= epoch for node, epoch in forgotten.items())


def without_forgotten(record: Record, base: Mapping[str, int]) -> Record:
    """Return a record without the dots of epochs below `base`; the same object if it has none."""
    kept = remembered(record.dots, base)
    return record if kept is record.dots else msgspec.structs.replace(record, dots=kept)


def remembered(dots: tuple[Dot, ...], base: Mapping[str, int]) -> tuple[Dot, ...]:
    """Return those of some dots that are not of epochs below `base`; the same object if all are."""
    if not base or all(dot.origin.epoch >= base.get(dot.origin.node, 0) for dot in dots):
        return dots
    return tuple(dot for dot in dots if dot.origin.epoch >= base.get(dot.origin.node, 0))
