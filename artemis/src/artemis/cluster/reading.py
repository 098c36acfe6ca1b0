"""Reads rows of other nodes: makes records of them, and leaves out what no node would say that keeps to the rules.

What is refused here would break those who read records, or would stay for ever because nothing that follows could be
above it. Not here: how records merge (`artemis.registry.merging`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import msgspec

from artemis.cluster.messages import MAX_ORIGINS, InstanceRow, OperationRow, Part
from artemis.model import Instance
from artemis.registry import Dot, Origin, Record, Stamp

FAR = 1_000_000
"""Changes of one origin that may be beyond all that the sender of an answer and this node know of it.

Rows are as they are when they are sent, so they name changes that were made since the answer began; as many as that are
made in minutes.
"""


class StrangeRow(ValueError):  # noqa: N818 - what it is
    """A row can be read, but is no record that a node would make; the text says why."""


_ALL = 2**62


class Bounds:
    """Which numbers of changes are believed in the rows of an answer. Owned by whoever reads one message.

    `own` and `theirs` are the vectors of both sides, `ahead` what was named beyond the own one. A number far beyond
    both would be in records, and in cursors, until the life of its node is forgotten; it counts as the first that
    neither knows, which the next change of its node covers. Lives of nodes beyond those that an answer of this node
    could name are left out. `refused` counts what was said otherwise.
    """

    __slots__ = ("_ahead", "_own", "_room", "_theirs", "refused")

    def __init__(self, own: Mapping[Origin, int], theirs: Mapping[Origin, int], ahead: Mapping[Origin, int]) -> None:
        self._own = own
        self._theirs = theirs
        self._ahead = ahead
        self._room = MAX_ORIGINS - len(ahead)
        self.refused = 0

    def of(self, origin: Origin) -> tuple[int, int]:
        """Return the last number of an origin that is believed, and what takes the place of others, 0 if nothing does;
        ask once for each origin.
        """
        own = self._own.get(origin, 0)
        if origin not in self._ahead:
            self._room -= 1
            if self._room < 0:
                return own, 0
        known = max(own, self._theirs.get(origin, 0))
        return known + FAR, known + 1


class Records:
    """Makes the records of the rows of one message, which share what is alike. For a region in lower case.

    Without `bounds` every number is believed.
    """

    __slots__ = ("_bounds", "_origins", "_region", "_stamps", "latest")

    def __init__(self, region: str, latest: int, bounds: Bounds | None = None) -> None:
        self.latest = latest
        self._region = region
        self._bounds = bounds
        self._stamps: dict[Stamp, Stamp] = {}
        self._origins: dict[tuple[str, int], tuple[Origin, int, int]] = {}

    def of(self, row: InstanceRow, dot: Dot | None = None) -> Record:
        """Return the record of a row, with this dot or with its own. Raises StrangeRow."""
        _check(row, self.latest)
        stamp = self._stamp
        return Record(
            (self._region, row.service, row.instance),
            stamp(row.version),
            row.removed,
            row.content,
            stamp(row.renewed),
            stamp(row.expired),
            stamp(row.asserted),
            (dot,) if dot is not None else self.dots(row.dots),
        )

    def dots(self, parts: Sequence[Part]) -> tuple[Dot, ...]:
        """Return the dots that a row names, in their order, as far as they are believed."""
        found: list[Dot] = []
        for node, epoch, seq in parts:
            known = self._origins.get((node, epoch))
            if known is None:
                origin = Origin(sys.intern(node), epoch)
                latest, instead = (_ALL, 0) if self._bounds is None else self._bounds.of(origin)
                known = self._origins[node, epoch] = origin, latest, instead
            if seq <= known[1]:
                found.append(Dot(known[0], seq))
                continue
            if self._bounds is not None:
                self._bounds.refused += 1
            if known[2]:
                found.append(Dot(known[0], known[2]))
        if len(found) > 1:
            found.sort()
        return tuple(found)

    def _stamp(self, stamp: Stamp) -> Stamp:
        known = self._stamps.get(stamp)
        if known is None:
            known = self._stamps[stamp] = (stamp[0], sys.intern(stamp[1]))
        return known


def is_of_no_time(row: OperationRow, latest: int) -> bool:
    """Tell whether no node would decide anything with these stamps, or in these epochs."""
    return max(row.version[0], row.since[0]) > latest or _in_no_life(row.dots, latest)


def _in_no_life(dots: Sequence[Part], latest: int) -> bool:
    return any(1_000 * epoch > latest for _, epoch, _ in dots)


def _check(row: InstanceRow, latest: int) -> None:
    """Refuse what would break those who read records: no node sends it that keeps to the rules of this one."""
    if row.service != row.service.lower() or row.instance != row.instance.lower():
        raise StrangeRow("its ids are not in lower case")
    if max(row.version[0], row.renewed[0], row.expired[0], row.asserted[0]) > latest or _in_no_life(row.dots, latest):
        raise StrangeRow("its stamps are of no time")
    if row.removed:
        if row.content:
            raise StrangeRow("it is removed, but has content")
        return
    try:
        instance = _INSTANCE.decode(row.content)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StrangeRow(f"its content is no instance: {error}") from error
    names = instance.service_id, instance.instance_id
    if names != (row.service, row.instance) and tuple((name or "").lower() for name in names) != (
        row.service,
        row.instance,
    ):
        raise StrangeRow("its content is another instance")


_INSTANCE = msgspec.json.Decoder(Instance)
