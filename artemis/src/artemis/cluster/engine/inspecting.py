"""Comparing what a node knows with what the bucket has, by reading all of it once more; nothing is merged.

Entries that change meanwhile are not compared: the other reading, which goes on, brings them. Not here: how differences
are told (`artemis.cluster.inspection`), and repair (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable

from artemis.cluster.digests import BUCKETS
from artemis.cluster.engine.entries import BadEntry, MemberRow, decode_entry
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.places import operation_place, place_of
from artemis.cluster.engine.port import Command, Entry, Scan
from artemis.cluster.engine.writing import Writing
from artemis.cluster.inspection import MOST_ROWS, Inspection
from artemis.cluster.messages import InstanceRow, OperationRow
from artemis.registry import Lease, Reach, Registry

PEER = "engine"
"""What the other side of such an inspection is called."""

_PATIENCE = 30_000
"""Milliseconds without anything that comes, after which it is given up."""

_EFFORT = 20_000
"""Leases that are looked at in one tick, ten for each that is told."""


class Inspecting:
    """The inspection of one node. Owned by its replica; `theirs` says what the bucket has had."""

    def __init__(
        self,
        registry: Registry,
        operators: EngineOperators | None,
        writing: Writing,
        *,
        theirs: Callable[[], Reach],
        do: Callable[[Command], None],
    ) -> None:
        self._registry, self._operators, self._writing = registry, operators, writing
        self._theirs, self._do = theirs, do
        self._number = 0
        self._inspection: Inspection | None = None
        self._seen: set[Lease] = set()
        self._came = 0
        # The last number of the bucket when it began, and when all up to that had come; None before.
        self._last: int | None = None
        self._over = 0

    @property
    def waiting(self) -> bool:
        """Whether only the other reading has to come as far before it can end."""
        return self._inspection is not None and self._last is not None and not self._inspection.ending

    def begin(self, trouble: str, now: int) -> Inspection:
        """Begin to compare, unless that is under way; `trouble` says why there is no bucket, empty if there is one."""
        if self._inspection is not None:
            return self._inspection
        inspection = Inspection(PEER, now)
        if trouble:
            inspection.fail(f"there is no engine to compare with: {trouble}", now)
            return inspection
        self._number += 1
        self._inspection, self._came, self._last = inspection, now, None
        operations = range(BUCKETS, BUCKETS + len(self._operators.sums())) if self._operators is not None else ()
        inspection.begin([*range(BUCKETS), *operations], self._theirs(), self._operators)
        self._do(Scan(self._number))
        return inspection

    def lost(self, now: int) -> None:
        """There is no bucket any more."""
        if self._inspection is not None and not self._inspection.ending:
            self._fail("the engine was lost before all was compared", now)

    def scanned(self, number: int, entry: Entry, now: int) -> None:
        """An entry has come."""
        inspection = self._inspection
        if inspection is None or number != self._number or self._last is not None:
            return
        self._came = now
        try:
            value = decode_entry(entry.key, entry.value)
        except BadEntry:
            return
        if isinstance(value, MemberRow):
            return
        lease = self._registry.find(value.service, value.instance) if isinstance(value, InstanceRow) else None
        if lease is not None:
            self._seen.add(lease)
        if self._changed(value, entry.sequence) or (lease is None and self._swept(value)):
            inspection.skip(value)
        elif inspection.count < MOST_ROWS:
            inspection.compare([value], {}, self._registry)

    def over(self, number: int, last: int, now: int) -> None:
        """All has come that there was up to the last number."""
        if self._inspection is not None and number == self._number and self._last is None:
            self._last, self._over = last, now

    def compared(self, begun: int) -> None:
        """All is known here that the bucket had at a moment."""
        inspection, last = self._inspection, self._last
        if inspection is None or last is None or inspection.ending or begun < self._over:
            return
        revisions, seen = self._writing.revisions, self._seen
        left = [
            lease
            for service in self._registry.services.values()
            for lease in service.leases.values()
            if lease not in seen and revisions.get(lease.record.key, 0) <= last
        ]
        if self._operators is not None:
            for row in self._operators.rows(range(len(self._operators.sums()))):
                if revisions.get(operation_place(row), 0) > last:
                    inspection.skip(row)
        inspection.end(left, complete=inspection.count < MOST_ROWS)

    def tick(self, now: int) -> None:
        """Let time pass."""
        inspection = self._inspection
        if inspection is None:
            return
        if inspection.ending:
            inspection.finish(self._registry, _EFFORT, now)
        elif now - max(self._came, self._over) > _PATIENCE:
            self._fail(f"nothing came of the engine for {_PATIENCE // 1000} s", now)
        if inspection.done:
            self._forget()

    def _fail(self, why: str, now: int) -> None:
        if self._inspection is not None:
            self._inspection.fail(why, now)
            self._forget()

    def _forget(self) -> None:
        self._inspection, self._seen = None, set()

    def _changed(self, value: InstanceRow | OperationRow, sequence: int) -> bool:
        """Tell whether a later entry of the same place was read already."""
        return self._writing.revisions.get(place_of(value, self._registry.region), 0) > sequence

    def _swept(self, value: InstanceRow | OperationRow) -> bool:
        """Tell whether a dead entry is one that this node has let go of."""
        if isinstance(value, OperationRow):
            return (
                value.removed
                and self._operators is not None
                and self._operators.row(*operation_place(value)[1:]) is None
            )
        return value.removed or value.renewed <= value.expired
