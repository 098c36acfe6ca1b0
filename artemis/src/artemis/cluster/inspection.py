"""Looking at how two nodes differ without changing either: an answer that is compared instead of merged.

An inspection takes the place of an exchange: the peer sends the records that differ, as they are when they are sent,
and each is compared with what is here. Only so much is looked at, and only so much is told of it.
Not here: asking and links (`replica`), and repair (`exchange`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from artemis.cluster.digests import BUCKETS
from artemis.cluster.messages import InstanceRow, OperationRow, Part, Row
from artemis.cluster.operators import OperatorState
from artemis.registry import Lease, Origin, Reach, Record, Registry, Stamp
from artemis.registry.records import ZERO

MOST_ROWS = 20_000
"""Records of the other node that are looked at, at most: about a second of work of both, in pieces."""

MOST_TOLD = 1_000
"""Differences that are kept; all are counted."""

MOST_SERVICES = 1_000
"""Services whose differences are counted each."""

State = Literal["absent", "live", "expired", "removed"]
Why = Literal["coming", "going", "both", "neither"]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one of two nodes knows of a key. `written` is the stamp of its content or removal, None if it is absent.

    An operation is `live` until it is completed, then `removed`.
    """

    state: State
    written: Stamp | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A key that two nodes know differently; `operation` is empty for an instance. Ids are in lower case.

    `visible`: callers see the difference. `why`: a change of it is `coming` to this node, or `going` to the other one,
    or `both`; `neither` is what only an exchange repairs.
    """

    service: str
    instance: str
    operation: str
    here: Side
    there: Side
    visible: bool
    why: Why


_ABSENT = Side(state="absent")


class Inspection:
    """Compares what a peer sends with what is here. Owned by the replica that asks; `done` when there is an end.

    `since` and `ended` are monotonic milliseconds. `failed` says why it came to nothing, empty otherwise; `complete`
    that all was looked at. `found` are the first differences, `count` of them there are, `visible` of these callers
    see; `why` counts them by reason, `services` by service. `rows` records of the peer were looked at, of `buckets`.
    """

    def __init__(self, peer: str, now: int) -> None:
        self.peer = peer
        self.since = now
        self.ended: int | None = None
        self.failed = ""
        self.complete = False
        self.buckets = self.rows = self.count = self.visible = 0
        self.found: list[Difference] = []
        self.why: Counter[str] = Counter()
        self.services: Counter[str] = Counter()
        self._theirs = Reach({}, {})
        self._left: list[Lease] | None = None
        self._operations: dict[tuple[str, str, str, str], OperationRow] = {}

    @property
    def done(self) -> bool:
        """Whether nothing more will be found."""
        return self.ended is not None

    def begin(self, buckets: Sequence[int], theirs: Reach, operators: OperatorState | None) -> None:
        """Take in what the answer begins with."""
        self.buckets = len(buckets)
        self._theirs = theirs
        if operators is not None:
            rows = operators.rows(bucket - BUCKETS for bucket in buckets if bucket >= BUCKETS)
            self._operations = {_key(row): row for row in rows}

    def compare(self, rows: Sequence[Row], ours: dict[Lease, None], registry: Registry) -> None:
        """Compare some rows of the answer, and take their leases out of those that the peer may not have."""
        self.rows += len(rows)
        for row in rows:
            if isinstance(row, OperationRow):
                mine = self._operations.pop(_key(row), None)
                if mine is None or (mine.version, mine.removed) != (row.version, row.removed):
                    self._differs_in_operation(mine, row, registry)
                continue
            lease = registry.find(row.service, row.instance)
            record = None if lease is None else lease.record
            if lease is not None:
                ours.pop(lease, None)
            if record is None or not _alike(record, row):
                self._differs(row.service, row.instance, record, row, registry)

    def skip(self, row: Row) -> None:
        """Count a row that is not compared, as what is here is of a later moment."""
        self.rows += 1
        if isinstance(row, OperationRow):
            self._operations.pop(_key(row), None)

    @property
    def enough(self) -> bool:
        """Whether as much was looked at as may be."""
        return self.rows >= MOST_ROWS

    def end(self, ours: Iterable[Lease], *, complete: bool) -> None:
        """There are no more rows, and the peer has none of `ours`; `complete` says that all were compared."""
        self.complete = complete
        self._left = list(ours)

    @property
    def ending(self) -> bool:
        """Whether only what the peer has not is still to be added, by `finish`."""
        return self._left is not None and not self.done

    def finish(self, registry: Registry, effort: int, now: int) -> None:
        """Add some of what the peer has not, looking at about `effort` leases."""
        left = self._left or []
        while left and effort > 0 and self.count < MOST_ROWS:
            effort -= 10
            lease = left.pop()
            _, service, instance = lease.record.key
            if registry.find(service, instance) is lease:
                self._differs(service, instance, lease.record, None, registry)
        if left and self.count < MOST_ROWS:
            return
        if self.complete:
            for row in self._operations.values():
                self._differs_in_operation(row, None, registry)
        self.complete = self.complete and not left
        self._close(now)

    def fail(self, why: str, now: int) -> None:
        """Come to nothing."""
        self.failed = why
        self._close(now)

    def _close(self, now: int) -> None:
        self.ended, self._left = now, None
        self._operations = {}

    def _differs(
        self, service: str, instance: str, mine: Record | None, theirs: InstanceRow | None, registry: Registry
    ) -> None:
        here = _ABSENT if mine is None else _side(mine.version, mine.removed, mine.live)
        live = theirs is not None and not theirs.removed and theirs.renewed > theirs.expired
        there = _ABSENT if theirs is None else _side(theirs.version, theirs.removed, live)
        shown_here = mine.visible if mine is not None else None
        shown_there = theirs.content if theirs is not None and live else None
        dots = [] if mine is None else [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in mine.dots]
        why = self._why(dots, [] if theirs is None else theirs.dots, registry)
        self._note(service, instance, "", (here, there), shown_here != shown_there, why)

    def _differs_in_operation(self, mine: OperationRow | None, theirs: OperationRow | None, registry: Registry) -> None:
        row = mine or theirs
        assert row is not None  # noqa: S101 - one of them is there
        here, there = (
            _ABSENT if each is None else _side(each.version, each.removed, not each.removed) for each in (mine, theirs)
        )
        why = self._why([] if mine is None else mine.dots, [] if theirs is None else theirs.dots, registry)
        visible = (here.state == "live") != (there.state == "live")
        self._note(row.service, row.target, row.operation, (here, there), visible, why)

    def _note(
        self, service: str, instance: str, operation: str, sides: tuple[Side, Side], visible: bool, why: Why
    ) -> None:
        self.count += 1
        self.visible += visible
        self.why[why] += 1
        if service in self.services or len(self.services) < MOST_SERVICES:
            self.services[service] += 1
        if len(self.found) < MOST_TOLD:
            here, there = sides
            self.found.append(
                Difference(
                    service=service,
                    instance=instance,
                    operation=operation,
                    here=here,
                    there=there,
                    visible=visible,
                    why=why,
                )
            )

    def _why(self, mine: Iterable[Part], theirs: Iterable[Part], registry: Registry) -> Why:
        coming = _beyond(theirs, registry.vector, registry.base)
        going = _beyond(mine, self._theirs.vector, self._theirs.base)
        return "both" if coming and going else "coming" if coming else "going" if going else "neither"


def _beyond(dots: Iterable[Part], vector: Mapping[Origin, int], base: Mapping[str, int]) -> bool:
    """Whether one of these dots is a change that a node with this vector and base has not heard of."""
    return any(epoch >= base.get(node, 0) and seq > vector.get(Origin(node, epoch), 0) for node, epoch, seq in dots)


def _alike(record: Record, row: InstanceRow) -> bool:
    return (record.version, record.removed, record.content, record.expired, record.asserted) == (
        row.version,
        row.removed,
        row.content,
        row.expired,
        row.asserted,
    )


def _side(version: Stamp, removed: bool, live: bool) -> Side:
    state: State = "removed" if removed else "live" if live else "expired"
    return Side(state=state, written=None if version == ZERO else version)


def _key(row: OperationRow) -> tuple[str, str, str, str]:
    return row.region.lower(), row.service.lower(), row.target.lower(), row.operation.lower()
