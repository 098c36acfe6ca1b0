"""Exchanges: a node shows a peer the sums of what it knows and is sent what differs (design 4.1 "Repair").

In the buckets that differ the asker tells of every record that it has by a digest of eight bytes, so that the records
of both that are alike stay where they are. An answer is sent in parts that its asker pulls. Which buckets differ, and
the vector, are of the moment when it began; its rows are those of the moment when each is sent, so they hold what the
vector says and maybe more. The parts are merged as they come; the vector comes over with the last one, and only then is
it the asker's [dots]. A node asks one peer at a time, and takes nothing that answers an earlier question [bound_reply].
Not here: when to ask whom, and links (`replica`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from artemis.cluster.digests import BUCKETS, Digests, by_bucket, packed_digests, unpacked_digests
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import (
    MAX_ORIGINS,
    InstanceRow,
    More,
    OperationRow,
    Part,
    Repair,
    Row,
    instance_row,
    latest_epoch,
    latest_stamp,
)
from artemis.cluster.operators import OperatorState
from artemis.cluster.outbox import ReplicaCounters
from artemis.cluster.reading import Bounds, Records, StrangeRow, is_of_no_time
from artemis.registry import Lease, Origin, Reach, Registry
from artemis.registry.records import without_forgotten
from artemis.registry.store import current

ROWS = 100
"""Rows of one message."""

BYTES = 524_288
"""Bytes of contents beyond which a message takes no further row."""

AHEAD = 16
"""Parts of an answer that are asked for at once, at most: with parts of 200 records, 15 000 records a second come over
a link of 100 ms there and back."""

PARTS = 2
"""Parts that are made or taken in in one go, a few milliseconds each, if they come in another order than their own; the
others wait for the next tick."""

_SLICE = 1_024
"""Digests of one message, about. In one turn of the loop a node tells of four times as many: a millisecond of work, or
up to fifteen if all of them are to be made anew, as after a mass expiry."""

_GONE_THROUGH = 2 * _SLICE
"""Digests of both sides that one part goes through, about, however few rows come of it."""

_TOLD_AHEAD = 32_768
"""Digests whose buckets the peer has not gone through yet, beyond which no further ones are told of."""

_MOST_OF_A_BUCKET = 16_384
"""Digests of one bucket that are told; records beyond are sent although they are alike. Seventeen million records."""

_MOST_TOLD = 65_536
"""Digests of an asker that are kept; one who tells of more is told nothing any more."""


class Question(msgspec.Struct):
    """What this node has asked a peer: which part of the answer is due, since when, and what came so far.

    `before` is this node's base when the answer began, `buckets` those that differ, `numbers` those of them that are of
    instances. Of the first `described` of these the peer was told, with so many digests of each as `weights` says, and
    `through` it has gone. `asked` is the last part that was asked for, `window` how many may be at once, `early` those
    that came before their turn, `idle` counts parts in a row that brought nothing.
    `ours` are the leases that the peer has not, or otherwise; `left` those of them that are still to be looked at, None
    before all rows are there. `begun` is when it was asked, `repaired` how many records had been repaired until then.
    With an `inspection` nothing is merged.
    """

    peer: str
    request: int
    since: int
    index: int = 0
    asked: int = 0
    window: int = 0
    idle: int = 0
    early: dict[int, Repair] = {}
    theirs: Reach = Reach({}, {})
    before: Mapping[str, int] = {}
    floor: Mapping[Origin, int] = {}
    buckets: list[int] = []
    numbers: list[int] = []
    described: int = 0
    weights: list[int] = []
    through: int = 0
    ours: dict[Lease, None] = {}
    operations: list[OperationRow] = []
    left: list[Lease] | None = None
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
    """An answer to a peer's question, in messages of so many `rows` at most. Owned by who answers.

    `since` is when it was asked for last, in monotonic milliseconds.
    """

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
        self._index = 0
        self._registry = registry
        self._digests = digests
        self._most = rows
        self._buckets = buckets
        self._numbers = [bucket for bucket in buckets if bucket < BUCKETS]
        self._through = 0
        # What the asker has in the buckets that come next.
        self._told: deque[set[int]] = deque()
        self._waiting = 0
        self._early: dict[int, More] = {}
        self._base, self._unnamed = dict(registry.base), dict(registry.unnamed)
        self._vector = parts_of(registry.vector)
        self._floor = parts_of(registry.floor)
        behind = [bucket - BUCKETS for bucket in buckets if bucket >= BUCKETS]
        self._rows: Iterator[Row] = iter(() if operators is None else operators.rows(behind))
        self._unknown: list[int] = []

    def begin(self) -> Repair:
        """Return the first part."""
        base, unnamed = list(self._base.items()), list(self._unnamed.items())
        part = self._part()
        return msgspec.structs.replace(
            part, buckets=self._buckets, vector=self._vector, base=base, floor=self._floor, unnamed=unnamed
        )

    def hear(self, more: More, now: int) -> None:
        """Note that a part is asked for."""
        self.since = now
        if self._index <= more.index < self._index + AHEAD:
            self._early[more.index] = more

    def parts(self) -> Iterator[Repair]:
        """Yield some of the parts that are asked for by now, in their order, also if the asking came in another.

        There are none any more when the answer is of no use, as epochs were forgotten since it began, which records do
        not name now; and when the asker tells more of what it has than an answer can keep.
        """
        registry = self._registry
        for _ in range(PARTS):
            more = self._early.pop(self._index, None)
            if more is None or self._waiting > _MOST_TOLD:
                return
            if registry.base != self._base or registry.unnamed != self._unnamed:
                return
            self._hear(more)
            yield self._part()

    def _hear(self, more: More) -> None:
        """Note what the asker has in the buckets that follow those that it told of before."""
        first = self._through + len(self._told)
        numbers = self._numbers[first : first + more.buckets]
        theirs = by_bucket(unpacked_digests(more.digests))
        for number in numbers:
            its = theirs.get(number, set())
            self._told.append(its)
            self._waiting += len(its)

    def _part(self) -> Repair:
        rows: list[Row] = []
        size, gone_through, last = 0, 0, False
        while len(rows) < self._most and size <= BYTES and gone_through < _GONE_THROUGH:
            row = next(self._rows, None)
            if row is not None:
                rows.append(row)
                size += _DOT * len(row.dots) + (len(row.content) if isinstance(row, InstanceRow) else 0)
            elif self._told:
                gone_through += self._open()
            else:
                last = self._through == len(self._numbers)
                break
        unknown, self._unknown = packed_digests(self._unknown), []
        part = Repair(self.request, self._index, last, rows, through=self._through, unknown=unknown)
        self._index += 1
        return part

    def _open(self) -> int:
        """Go on with the next bucket: find out who lacks what there; return how many digests both have of it."""
        theirs, number = self._told.popleft(), self._numbers[self._through]
        self._through += 1
        self._waiting -= len(theirs)
        mine = self._digests.bucket(number)
        self._unknown.extend(sorted(theirs.difference(mine)))
        self._rows = map(self._row, [lease for digest, lease in mine.items() if digest not in theirs])
        return len(mine) + len(theirs)

    def _row(self, lease: Lease) -> Row:
        record = without_forgotten(current(lease), self._base)
        return instance_row(record, max(0, self.since - lease.heard), with_dots=True)


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
    """Take in the state that the first part of an answer comes with; return how much of it is left out.

    That is what is of no time, as an epoch that nobody can follow with a later one would shut its node out for ever;
    and lives of nodes beyond those that an answer of this node could name.
    """
    latest = latest_epoch(registry.wall(now))
    vector, floor = (
        _readable(parts, latest, known)
        for parts, known in ((repair.vector, registry.vector), (repair.floor, registry.floor))
    )
    base, unnamed = (
        {node: epoch for node, epoch in epochs if epoch <= latest} for epochs in (repair.base, repair.unnamed)
    )
    question.theirs = Reach(vector, base, unnamed)
    question.floor = floor
    question.buckets = repair.buckets
    question.numbers = [bucket for bucket in repair.buckets if bucket < BUCKETS]
    question.before = dict(registry.base)
    named = len(repair.vector) + len(repair.floor) + len(repair.base) + len(repair.unnamed)
    return named - len(vector) - len(floor) - len(base) - len(unnamed)


def _readable(parts: Sequence[Part], latest: int, known: Mapping[Origin, int]) -> dict[Origin, int]:
    found: dict[Origin, int] = {}
    room = MAX_ORIGINS - len(known)
    for node, epoch, seq in parts:
        origin = Origin(node, epoch)
        if epoch > latest:
            continue
        if origin not in known and origin not in found:
            room -= 1
            if room < 0:
                continue
        found[origin] = seq
    return found


def ask(question: Question, digests: Digests) -> More:
    """Return the question for the next part, which tells what this node has in some of the buckets that follow."""
    question.asked += 1
    waiting = sum(question.weights[question.through :])
    found: list[int] = []
    count = 0
    while question.described < len(question.numbers) and waiting < _TOLD_AHEAD and len(found) < _SLICE:
        own = list(digests.bucket(question.numbers[question.described]))[:_MOST_OF_A_BUCKET]
        question.described += 1
        question.weights.append(len(own))
        waiting += len(own)
        found += own
        count += 1
    return More(question.request, question.asked, count, packed_digests(found))


def take(question: Question, repair: Repair, digests: Digests) -> None:
    """Note how far a part gets, and what this node has of which it says that its sender has not."""
    before, question.through = question.through, min(max(repair.through, question.through), question.described)
    buckets = question.numbers[before : question.through]
    question.idle = 0 if repair.rows or repair.last or buckets else question.idle + 1
    if buckets:  # which have all that is unknown: it is said with the bucket that it is of
        question.ours.update(dict.fromkeys(digests.find(unpacked_digests(repair.unknown), buckets)))


def absorb(
    question: Question,
    rows: Sequence[Row],
    registry: Registry,
    operators: OperatorState | None,
    counters: ReplicaCounters,
    now: int,
) -> None:
    """Merge some rows of an answer; those that are no records are counted as `strange`."""
    question.rows += len(rows)
    counters.rows_received += len(rows)
    bounds = Bounds(registry.vector, question.theirs.vector, registry.ahead)
    records = Records(registry.region, latest_stamp(registry.wall(now)), bounds)
    for row in rows:
        if isinstance(row, InstanceRow):
            try:
                record = records.of(row)
            except StrangeRow:
                counters.strange += 1
                continue
            lease = registry.absorb(record, row.age, question.theirs, question.before, now)
            if lease is not None:
                question.ours.pop(lease, None)
        elif is_of_no_time(row, records.latest):
            counters.strange += 1
        elif operators is not None:
            operators.absorb(row, records.dots(row.dots), question.theirs, question.before, now)
            question.operations.append(row)
    counters.dots_refused += bounds.refused


def lacking(question: Question, registry: Registry, effort: int) -> list[Lease]:
    """Return some more of what the peer does not have though it knew it, after the last row.

    `question.left` is still to be gone through; about `effort` leases are looked at, fewer if many are found.
    """
    found: list[Lease] = []
    left = question.left
    while left and effort > 0:
        died = registry.lacking(left[-_AT_ONCE:], question.theirs)
        del left[-_AT_ONCE:]
        effort -= _AT_ONCE + 20 * len(died)
        found += died
    return found


_AT_ONCE = 100

_DOT = 256
"""Bytes of contents that cost as much as a dot, about."""


def parts_of(vector: Mapping[Origin, int]) -> list[Part]:
    """Return a vector as it travels."""
    return [(origin.node, origin.epoch, seq) for origin, seq in vector.items()]
