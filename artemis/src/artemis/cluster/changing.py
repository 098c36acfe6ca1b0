"""Changes: the own ones are told in order and at once, those of others are taken in in theirs [in_order] (design 4.1).

Not here: what a change does to a record (`artemis.registry.merging`), how those that came too early wait (`held`), and
what becomes of what never comes (`exchanging`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from artemis.cluster.digests import Digests
from artemis.cluster.exchange import BYTES
from artemis.cluster.held import HeldChanges
from artemis.cluster.messages import (
    MAX_ORIGINS,
    Changes,
    InstanceRow,
    OperationRow,
    Row,
    instance_row,
    latest_epoch,
    latest_stamp,
)
from artemis.cluster.operators import OperatorState
from artemis.cluster.outbox import Outbox
from artemis.cluster.reading import Records, StrangeRow, is_of_no_time
from artemis.registry import Change, Dot, Origin, Record, Registry

_RELEASED = 200
"""Changes that waited and are applied in one go: about 8 ms."""


class Changing:
    """The changes of one node and of its peers. Owned by a replica; `want` is called with a peer that knows more.

    One message has `rows` rows at most.
    """

    def __init__(
        self,
        registry: Registry,
        operators: OperatorState | None,
        outbox: Outbox,
        digests: Digests,
        want: Callable[[str], None],
        *,
        rows: int,
    ) -> None:
        self.held = HeldChanges()
        self._registry = registry
        self._operators = operators
        self._outbox = outbox
        self._digests = digests
        self._want = want
        self._rows = rows
        # Own changes since the last flush, in order, and the last number that was flushed.
        self._changes: list[tuple[int, Record | OperationRow]] = []
        self._flushed = registry.vector[registry.origin]
        # Whether some of those that wait could be applied by now.
        self._releasing = False
        registry.on_change(self._changed)
        if operators is not None:
            operators.on_decision(self._decided)

    # -- the own ones

    def flush(self, now: int) -> None:
        """Tell the peers of the own changes since the last time; almost free when there are none."""
        registry = self._registry
        last = registry.vector[registry.origin]
        if last == self._flushed:
            return
        first, self._flushed = self._flushed + 1, last
        changes, self._changes = self._changes, []
        if not self._outbox.connected:
            return
        for message in self._messages(first, last, changes, now):
            self._outbox.send(None, message)
            self._outbox.counters.changes_sent += len(message.rows)
        self._digests.refresh(len(changes))

    def begin_epoch(self, epoch: int, now: int) -> None:
        """Tell what is left of this life of the node, and begin a later one."""
        self.flush(now)
        self._registry.begin_epoch(epoch)
        self._flushed = 0

    def _changed(self, change: Change) -> None:
        if change.origin is self._registry.origin:
            self._changes.append((change.seq, change.record))

    def _decided(self, seq: int, row: OperationRow) -> None:
        self._changes.append((seq, row))

    def _messages(
        self, first: int, last: int, changes: list[tuple[int, Record | OperationRow]], now: int
    ) -> Iterator[Changes]:
        """Yield the numbers from `first` to `last`; those without a change changed no record."""
        origin, found = self._registry.origin, dict(changes)
        rows: list[Row | None] = []
        size = 0
        for seq in range(first, last + 1):
            if len(rows) == self._rows or size > BYTES:
                yield Changes(origin.node, origin.epoch, first, rows)
                first, rows, size = seq, [], 0
            change = found.get(seq)
            if isinstance(change, Record):
                size += len(change.content)
                rows.append(instance_row(change, self._age(change, now), with_dots=False))
            else:
                rows.append(change)
        yield Changes(origin.node, origin.epoch, first, rows)

    def _age(self, record: Record, now: int) -> int:
        _, service, instance = record.key
        lease = self._registry.find(service, instance)
        return 0 if lease is None else max(0, now - lease.heard)

    # -- those of others

    def on_changes(self, peer: str, message: Changes, now: int) -> None:
        """Take in changes of a peer, or what it passes on of others."""
        origin = Origin(message.node, message.epoch)
        registry, counters = self._registry, self._outbox.counters
        wall = registry.wall(now)
        if message.node == registry.origin.node or message.first < 1 or message.epoch > latest_epoch(wall):
            counters.strange += 1
            return
        if message.epoch < registry.base.get(message.node, 0):
            return
        known = registry.vector.get(origin, 0)
        if not known and len(registry.vector) + len(self.held.origins) >= MAX_ORIGINS // 2:
            # With more than that nobody could read our answers. Half of it is left to what comes by exchanges.
            counters.strange += 1
            return
        rows, first = message.rows, message.first
        if first <= known:
            counters.changes_known += min(len(rows), known + 1 - first)
            rows, first = rows[known + 1 - first :], known + 1
        if not rows:
            return
        if first > known + 1:
            self.held.hold(origin, first, rows, now)
            if not self._releasing:
                self._want(peer)
            return
        records = Records(registry.region, latest_stamp(wall))
        for seq, row in enumerate(rows, first):
            self._apply(origin, seq, row, 0, records, now)
        self._digests.refresh(len(rows))
        self.release(now)

    def _apply(self, origin: Origin, seq: int, row: Row | None, waited: int, records: Records, now: int) -> None:
        """Apply the next change of an origin."""
        registry, counters = self._registry, self._outbox.counters
        counters.changes_applied += 1
        if isinstance(row, InstanceRow):
            try:
                record = records.of(row, Dot(origin, seq))
            except StrangeRow:
                counters.strange += 1
                registry.advance(origin, seq)
            else:
                registry.apply(origin, seq, record, row.age + waited, now)
            return
        registry.advance(origin, seq)
        if row is not None and is_of_no_time(row, records.latest):
            counters.strange += 1
        elif row is not None and self._operators is not None:
            self._operators.apply(origin, seq, row, now)

    def release(self, now: int) -> None:
        """Apply what waited for the changes that have come by now, some of it at a time."""
        vector, held = self._registry.vector, self.held
        left = _RELEASED
        for origin in held.origins:
            held.reached(origin, vector.get(origin, 0))
            records = Records(self._registry.region, latest_stamp(self._registry.wall(now)))
            seq = vector.get(origin, 0) + 1
            while left and (waiting := held.take(origin, seq)) is not None:
                row, came = waiting
                self._apply(origin, seq, row, now - came, records, now)
                seq += 1
                left -= 1
        self._releasing = not left

    def tick(self, now: int) -> None:
        """Go on with what waited and could be applied by now."""
        if self._releasing:
            self.release(now)

    def drop_forgotten(self) -> None:
        """Let changes of forgotten epochs wait no longer."""
        base = self._registry.base
        for origin in self.held.origins:
            if origin.epoch < base.get(origin.node, 0):
                self.held.drop(origin)
