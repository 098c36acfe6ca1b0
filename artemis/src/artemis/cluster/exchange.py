"""Exchanges: a node shows a peer the sums of what it knows and is sent all that differs (design 4.1 "Repair").

An answer is sent in parts that its asker pulls. Which buckets differ, and the vector, are of the moment when it began;
its rows are those of the moment when each is sent, so they hold what the vector says and maybe more. The parts are
merged as they come; the vector comes over with the last one, and only then is it the asker's [dots]. A node asks one
peer at a time, and takes nothing that answers an earlier question [bound_reply].
Not here: when to ask whom, and links (`replica`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from artemis.cluster.digests import BUCKETS, Digests
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import (
    InstanceRow,
    OperationRow,
    Part,
    Repair,
    Row,
    dots_of,
    instance_row,
    latest_epoch,
    latest_stamp,
    record_of,
)
from artemis.cluster.operators import OperatorState
from artemis.model import Instance
from artemis.registry import Dot, Lease, Origin, Reach, Record, Registry, Stamp
from artemis.registry.records import without_forgotten
from artemis.registry.store import current

ROWS = 200
"""Rows of one message."""

BYTES = 1_048_576
"""Bytes of contents beyond which a message takes no further row."""


class Question(msgspec.Struct):
    """What this node has asked a peer: which part of the answer is due, since when, and what came so far.

    `before` is this node's base when the answer began, `seen` the leases that the peer has too, `left` the buckets in
    which something may be that it lacks, None before all of its rows are there. `begun` is when it was asked,
    `repaired` how many records had been repaired until then. With an `inspection` nothing is merged.
    """

    peer: str
    request: int
    since: int
    index: int = 0
    theirs: Reach = Reach({}, {})
    before: Mapping[str, int] = {}
    floor: Mapping[Origin, int] = {}
    buckets: list[int] = []
    seen: set[Lease] = msgspec.field(default_factory=set)
    operations: list[OperationRow] = msgspec.field(default_factory=list)
    left: list[int] | None = None
    rows: int = 0
    begun: int = 0
    repaired: int = 0
    restated: int = 0
    inspection: Inspection | None = None


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an exchange: `at` monotonic ms it was over, after `took`.

    `buckets` differed, `rows` records came of them, of which `repaired` were news here; `restated` are those that this
    node makes changes of its own, as the peer had swept them. Without `completed` it broke off, and the rest is 0.
    """

    at: int
    took: int
    completed: bool
    buckets: int = 0
    rows: int = 0
    repaired: int = 0
    restated: int = 0


class Answer:
    """An answer to a peer's question, in messages of so many `rows` at most."""

    def __init__(
        self,
        registry: Registry,
        digests: Digests,
        operators: OperatorState | None,
        request: int,
        buckets: list[int],
        rows: int,
        now: int,
    ) -> None:
        self.request = request
        self.since = now
        self.index = 0
        self._registry = registry
        self._digests = digests
        self._operators = operators
        self._most = rows
        self._buckets = buckets
        self._base, self._unnamed = dict(registry.base), dict(registry.unnamed)
        self._vector = parts_of(registry.vector)
        self._floor = parts_of(registry.floor)
        self._messages = self._parts()

    def next(self, index: int, now: int) -> Repair | None:
        """Return the part `index`; None unless it is the next one, and when the answer is of no use any more.

        That is so when epochs were forgotten since it began, as records do not name them now.
        """
        registry = self._registry
        if index != self.index or registry.base != self._base or registry.unnamed != self._unnamed:
            return None
        self.index += 1
        self.since = now
        return next(self._messages, None)

    def _parts(self) -> Iterator[Repair]:
        rows: list[Row] = []
        size = index = 0
        for row in self._rows():
            if len(rows) == self._most or size > BYTES:
                yield self._part(index, rows, last=False)
                rows, size, index = [], 0, index + 1
            rows.append(row)
            if isinstance(row, InstanceRow):
                size += len(row.content)
        yield self._part(index, rows, last=True)

    def _rows(self) -> Iterator[Row]:
        if self._operators is not None:
            yield from self._operators.rows(bucket - BUCKETS for bucket in self._buckets if bucket >= BUCKETS)
        for bucket in self._buckets:
            for lease in list(self._digests.leases([bucket])):
                record = without_forgotten(current(lease), self._base)
                yield instance_row(record, max(0, self.since - lease.heard), with_dots=True)

    def _part(self, index: int, rows: list[Row], *, last: bool) -> Repair:
        if index:
            return Repair(self.request, index, last, rows)
        base, unnamed = list(self._base.items()), list(self._unnamed.items())
        return Repair(self.request, 0, last, rows, self._buckets, self._vector, base, self._floor, unnamed)


def differing(digests: Digests, operators: OperatorState | None, theirs: bytes) -> list[int]:
    """Return the buckets in which a node with the sums `theirs` knows something else; no digest may be missing.

    Those of operator state come behind those of instances.
    """
    found = digests.differing(theirs)
    if operators is not None:
        rest = theirs[8 * BUCKETS :]
        for bucket, own in enumerate(operators.sums()):
            if int.from_bytes(rest[8 * bucket : 8 * bucket + 8], "little") != own:
                found.append(BUCKETS + bucket)
    return found


def sums(digests: Digests, operators: OperatorState | None) -> bytes:
    """Return the sums of all buckets; no digest may be missing."""
    behind = () if operators is None else operators.sums()
    return digests.sums() + b"".join(number.to_bytes(8, "little") for number in behind)


def begin(question: Question, repair: Repair, registry: Registry, now: int) -> int:
    """Take in the state that the first part of an answer comes with; return how much of it is of no time.

    That is left out: an epoch that nobody can follow with a later one would shut its node out for ever.
    """
    latest = latest_epoch(registry.wall(now))
    vector, floor = (
        {Origin(node, epoch): seq for node, epoch, seq in parts if epoch <= latest}
        for parts in (repair.vector, repair.floor)
    )
    base, unnamed = (
        {node: epoch for node, epoch in epochs if epoch <= latest} for epochs in (repair.base, repair.unnamed)
    )
    question.theirs = Reach(vector, base, unnamed)
    question.floor = floor
    question.buckets = repair.buckets
    question.before = dict(registry.base)
    named = len(repair.vector) + len(repair.floor) + len(repair.base) + len(repair.unnamed)
    return named - len(vector) - len(floor) - len(base) - len(unnamed)


def absorb(
    question: Question, rows: Sequence[Row], registry: Registry, operators: OperatorState | None, now: int
) -> int:
    """Merge some rows of an answer; return how many of them are no records."""
    question.rows += len(rows)
    strange = 0
    records = Records(registry.region, latest_stamp(registry.wall(now)))
    for row in rows:
        if isinstance(row, InstanceRow):
            try:
                record = records.of(row)
            except StrangeRow:
                strange += 1
                continue
            lease = registry.absorb(record, row.age, question.theirs, question.before, now)
            if lease is not None:
                question.seen.add(lease)
        elif is_of_no_time(row, records.latest):
            strange += 1
        elif operators is not None:
            operators.absorb(row, dots_of(row.dots), question.theirs, question.before, now)
            question.operations.append(row)
    return strange


def lacking(question: Question, registry: Registry, digests: Digests, effort: int) -> list[Lease]:
    """Return some more of what the peer does not have though it knew it, after the last row.

    `question.left` are the buckets still to be gone through; about `effort` leases are looked at, fewer if many are.
    """
    found: list[Lease] = []
    while question.left and effort > 0:
        leases = list(digests.leases([question.left.pop()]))
        ours = [lease for lease in leases if lease not in question.seen]
        died = registry.lacking(ours, question.theirs)
        effort -= 1 + len(leases) // 5 + len(ours) + 20 * len(died)
        found += died
    return found


class StrangeRow(ValueError):  # noqa: N818 - what it is
    """A row can be read, but is no record that a node would make; the text says why."""


class Records:
    """Makes the records of the rows of one message, which share what is alike. For a region in lower case."""

    __slots__ = ("_origins", "_region", "_stamps", "latest")

    def __init__(self, region: str, latest: int) -> None:
        self.latest = latest
        self._region = region
        self._stamps: dict[Stamp, Stamp] = {}
        self._origins: dict[tuple[str, int], Origin] = {}

    def of(self, row: InstanceRow, dot: Dot | None = None) -> Record:
        """Return the record of a row, with this dot or with its own. Raises StrangeRow."""
        _check(row, self.latest)
        dots = (dot,) if dot is not None else tuple(sorted(map(self._dot, row.dots)))
        record = record_of(row, self._region, dots)
        stamp = self._stamp
        return msgspec.structs.replace(
            record,
            version=stamp(record.version),
            renewed=stamp(record.renewed),
            expired=stamp(record.expired),
            asserted=stamp(record.asserted),
        )

    def _dot(self, part: Part) -> Dot:
        node, epoch, seq = part
        origin = self._origins.get((node, epoch))
        if origin is None:
            origin = self._origins[node, epoch] = Origin(sys.intern(node), epoch)
        return Dot(origin, seq)

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


def parts_of(vector: Mapping[Origin, int]) -> list[Part]:
    """Return a vector as it travels."""
    return [(origin.node, origin.epoch, seq) for origin, seq in vector.items()]
