"""Takes in the entries of the bucket, as what another node of the mesh would say in its answer (design 4.1 "Engine").

What the bucket has is the truth at its number: a live entry is one that was swept here only where a node that had not
heard of its end was the first to fill another bucket.
Not here: in which order entries come (`progress`), and when they are complete (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from artemis.cluster.engine.dirty import NONE
from artemis.cluster.engine.entries import BadEntry, MemberRow, Value, decode_entry
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.places import Place, place_of
from artemis.cluster.engine.port import Entry
from artemis.cluster.engine.putting import Putting
from artemis.cluster.engine.saying import Saying
from artemis.cluster.engine.unseen import Unseen
from artemis.cluster.messages import InstanceRow, OperationRow, Part, latest_stamp
from artemis.cluster.outbox import ReplicaCounters
from artemis.cluster.reading import Bounds, Records, StrangeRow, is_of_no_time
from artemis.registry import Dot, Origin, Reach, Record, Registry
from artemis.registry.records import covered, merge, remembered, without_forgotten

_BUCKET = Reach({}, {}, {"": 1})
"""What is known of the sender of an entry: it may lack anything, and may have forgotten what nobody else has."""

_SHARED = 500
"""Entries that share what is alike in them."""

_MOST_EARLY = 10_000
"""Numbers of changes that came before those that precede them; beyond, markers tell."""


class Taking:
    """What one node makes of entries. Owned by its replica.

    `member` is given what nodes say of themselves, its sequence number and the time, `met` the epoch of a life of this
    node that knew more than this one and is no earlier. `theirs` says up to which number of each life of another node
    the bucket has had all changes. `seen` collects the places of a pass, None while nobody asks.
    """

    def __init__(
        self,
        registry: Registry,
        operators: EngineOperators | None,
        saying: Saying,
        putting: Putting,
        counters: ReplicaCounters,
        member: Callable[[MemberRow, int, int], None],
        met: Callable[[int], None],
        theirs: Callable[[], Mapping[Origin, int]],
    ) -> None:
        self._orphans, self._kept = putting.orphans, putting.kept
        self.seen: set[Place] | None = None
        self.unseen = Unseen()
        self._registry = registry
        self._operators = operators
        self._writing = putting.writing
        self._saying, self._sweeping = saying, putting.sweeping
        self._counters = counters
        self._member = member
        self._met = met
        self._theirs = theirs
        self._shared: tuple[Records, Bounds] | None = None
        self._left = 0
        self._early: dict[Origin, set[int]] = {}
        self._waiting = 0

    def take(self, entry: Entry, now: int, *, read: bool) -> Place | None:
        """Take in an entry that was read in its turn, or only asked for; return its place, None when it is none that
        can be used."""
        value = self._value(entry)
        if value is None:
            return None
        place = place_of(value, self._registry.region)
        writing = self._writing
        missed = read and writing.awaits(place, entry.sequence, entry.value)
        if missed or entry.sequence > writing.revisions.get(place, 0):  # else it was brought before, or is an own one
            self._sweeping.forget(place)
            if isinstance(value, MemberRow):
                self._member(value, entry.sequence, now)
            elif isinstance(value, InstanceRow):
                self._instance(place, value, entry, now, read=read)
            else:
                self._operation(place, value, entry, now, read=read)
        elif read:
            writing.read(place, entry.sequence)
        if self.unseen:
            self.unseen.came(place)
        if self.seen is not None:
            lease = self._registry.find(*place[1:]) if isinstance(value, InstanceRow) else None
            self.seen.add(place if lease is None else lease.record.key)
        return place

    def _value(self, entry: Entry) -> Value | None:
        try:
            return decode_entry(entry.key, entry.value)
        except BadEntry:
            self._counters.strange += 1
            return None

    def _records(self, now: int) -> tuple[Records, Bounds]:
        self._left -= 1
        if self._shared is None or self._left <= 0:
            registry = self._registry
            bounds = Bounds(registry.vector, {}, registry.ahead)
            latest = latest_stamp(registry.wall(now))
            self._shared, self._left = (Records(registry.region, latest, bounds), bounds), _SHARED
        return self._shared

    # -- instances

    def _instance(self, place: Place, row: InstanceRow, entry: Entry, now: int, *, read: bool) -> None:
        registry, writing = self._registry, self._writing
        records, bounds = self._records(now)
        refused = bounds.refused
        self._counters.rows_received += 1
        try:
            record = theirs = records.of(row)
        except StrangeRow:
            self._counters.strange += 1
            if place in writing:
                writing.revisions[place] = entry.sequence
            return
        self._counters.dots_refused += bounds.refused - refused
        orphan = self._orphans.get(place)
        if orphan is not None:
            record = merge(record, orphan)
        record = without_forgotten(record, registry.base)
        age = row.age + max(0, entry.lain)
        beyond = self._beyond(record.dots)
        only = beyond[0] if len(beyond) == 1 else None
        if only is not None and only.origin != registry.origin and self._is_next(only):
            self._counters.changes_applied += 1
            registry.apply(only.origin, only.seq, record, age, now)
            self._follow(only.origin)
        else:
            registry.absorb(record, age, _BUCKET, registry.base, now)
            self._note(beyond)
        lease = registry.find(row.service, row.instance)
        known = orphan if lease is None else lease.record
        if known is not None:
            place = known.key  # the same object, of which there may be a million
        if lease is not None and orphan is not None:
            del self._orphans[place]
        if known is None:
            self._sweeping.add(place, entry.sequence, record.dots, 0, now)
            writing.forget(place)
        else:
            lacking = self._lacking(theirs.dots, known.dots)
            self._judge(place, entry.sequence, lacking, alike=says_as_much(theirs, known), read=read)

    def _lacking(self, theirs: tuple[Dot, ...], known: tuple[Dot, ...]) -> list[Dot]:
        """Return the known changes that an entry neither names nor follows upon.

        Whoever changes what is in the bucket names that change alone, and puts it on top of an entry that it has
        merged; so an entry includes all changes of its place that the bucket has had before.
        """
        if theirs == known:
            return []
        had, saying, node = self._theirs(), self._saying, self._registry.origin.node
        return [
            dot
            for dot in remembered(known, self._registry.base)
            if dot not in theirs
            and (saying.first_lacking((dot,)) != NONE if dot.origin.node == node else dot.seq > had.get(dot.origin, 0))
        ]

    def _judge(self, place: Place, sequence: int, lacking: Sequence[Dot], *, alike: bool, read: bool) -> None:
        """Note what an entry says: all that is known if it is `alike` and lacks no change."""
        if alike and not lacking:
            self._writing.agreed(place, sequence, read=read)
        else:
            self._writing.differs(place, sequence, self._saying.first_lacking(lacking))

    def _beyond(self, dots: tuple[Dot, ...]) -> list[Dot]:
        """Return the changes that this node lacks."""
        registry = self._registry
        beyond = [dot for dot in remembered(dots, registry.base) if dot.seq > registry.vector.get(dot.origin, 0)]
        for dot in beyond:
            if dot.origin.node == registry.origin.node and dot.origin.epoch >= registry.origin.epoch:
                self._met(dot.origin.epoch)
        return beyond

    def _is_next(self, dot: Dot) -> bool:
        return dot.seq == self._registry.vector.get(dot.origin, 0) + 1

    def _note(self, dots: Sequence[Dot]) -> None:
        """Note changes that have come: the vector rises where none is missing before them."""
        for dot in dots:
            if dot.origin == self._registry.origin:
                continue
            if self._is_next(dot):
                self._registry.advance(dot.origin, dot.seq)
                self._follow(dot.origin)
            elif self._waiting < _MOST_EARLY and dot.seq > self._registry.vector.get(dot.origin, 0):
                early = self._early.setdefault(dot.origin, set())
                self._waiting -= len(early)
                early.add(dot.seq)
                self._waiting += len(early)

    def _follow(self, origin: Origin) -> None:
        """Let the vector rise over what came early."""
        early = self._early.get(origin)
        if early is None:
            return
        seq = self._registry.vector.get(origin, 0) + 1
        while seq in early:
            self._registry.advance(origin, seq)
            seq += 1
        self.risen(origin)

    def risen(self, origin: Origin) -> None:
        """Forget what came early of an origin as far as its vector has risen."""
        early = self._early.pop(origin, None)
        if early is None:
            return
        known = self._registry.vector.get(origin, 0)
        left = {seq for seq in early if seq > known}
        self._waiting -= len(early) - len(left)
        if left:
            self._early[origin] = left

    # -- decisions

    def _operation(self, place: Place, row: OperationRow, entry: Entry, now: int, *, read: bool) -> None:
        operators, writing = self._operators, self._writing
        records, bounds = self._records(now)
        refused = bounds.refused
        self._counters.rows_received += 1
        if operators is None or is_of_no_time(row, records.latest):
            self._counters.strange += operators is not None
            if place in writing:
                writing.revisions[place] = entry.sequence
            return
        dots = records.dots(row.dots)
        self._counters.dots_refused += bounds.refused - refused
        beyond = self._beyond(dots)
        known = operators.row(*place[1:])
        kept = self._kept.get(place) if known is None else None
        if kept is not None:  # it was forgotten here before it could be put
            kept = self._kept[place] = operators.joined(msgspec.structs.replace(row, dots=_parts(dots)), kept)
            operators.absorb(kept, records.dots(kept.dots), _BUCKET, self._registry.base, now)
        elif known is None and not row.removed and self._was_forgotten(dots):
            operators.end(row, now)  # who has put it again did not know that
        else:
            operators.absorb(row, dots, _BUCKET, self._registry.base, now)
        self._note(beyond)
        known = operators.row(*place[1:]) or kept
        if known is None:
            self._sweeping.add(place, entry.sequence, dots, 0, now)
            writing.forget(place)
        else:
            ours = tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in known.dots)
            lacking = self._lacking(dots, ours)
            self._judge(place, entry.sequence, lacking, alike=_decided(known) == _decided(row), read=read)

    def _was_forgotten(self, dots: tuple[Dot, ...]) -> bool:
        """Tell whether this node knew all changes of something that it does not know: then it ended [covered]. Those
        who put entries say before which changes they do not name; of a life that was forgotten nobody knows any more.
        """
        vector = self._registry.vector
        if any(dot.origin not in vector for dot in dots):
            return False
        base, unnamed, _ = self._saying.joined()
        return covered(dots, {**base, **unnamed}, vector, self._registry.base)


def says_as_much(entry: Record, known: Record) -> bool:
    """Tell whether an entry says what is known of a record that it was merged into, but for renewals and changes."""
    return (entry.version, entry.removed, entry.content, entry.expired, entry.asserted) == (
        known.version,
        known.removed,
        known.content,
        known.expired,
        known.asserted,
    )


def _parts(dots: Sequence[Dot]) -> list[Part]:
    return [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in dots]


def _decided(row: OperationRow) -> tuple[object, ...]:
    return row.version, row.removed, row.operator, row.token, row.since, row.operation
