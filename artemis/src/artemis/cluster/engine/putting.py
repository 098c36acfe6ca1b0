"""What a node puts into the bucket: its changes, what it says of itself, and what of the dead is to disappear.

Whatever changes here marks a place as dirty; what is known of a place when its turn comes is what is put. Not here:
which places are dirty and what became of their puts (`writing`), and what is read (`reading`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from artemis.cluster.engine.dirty import NONE, Number
from artemis.cluster.engine.entries import MAX_VALUE, MemberRow, Value, encode_entry
from artemis.cluster.engine.keys import instance_key, member_key, operation_key
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.places import Place, is_decision, is_member, operation_place
from artemis.cluster.engine.port import Command, Get, Purge, Put, Stored, Tell
from artemis.cluster.engine.saying import Saying
from artemis.cluster.engine.sweeping import Sweeping
from artemis.cluster.engine.writing import Writing
from artemis.cluster.messages import OperationRow, instance_row
from artemis.registry import Change, Dot, Lease, Origin, Reach, Record, Registry
from artemis.registry.records import merge
from artemis.registry.store import current

_STORED = 20
"""Milliseconds between two markers at least."""

_RANK = 1_000
"""Milliseconds that each further member waits with what all of them could put."""

_MOST_RANKS = 5

_SAID = 16
"""Own entries that are known again when they are read, although nobody told that they were put."""


class Putting:
    """What one node puts. Owned by its replica, which gives it each change and each outcome; what is to be done for it
    goes to `do`.

    `rank` says which member in the order of a lease this node is, `first` whether it is the first of all. `orphans` are
    records that were swept here before they were put, `kept` the decisions that are to be put, whether they are still
    known here or not. `now` is the moment of the last call.
    """

    def __init__(
        self,
        registry: Registry,
        operators: EngineOperators | None,
        saying: Saying,
        *,
        rank: Callable[[Lease], int],
        first: Callable[[], bool],
        do: Callable[[Command], None],
        now: int,
    ) -> None:
        self.writing = Writing(self._clean)
        self.sweeping = Sweeping()
        self.orphans: dict[Place, Record] = {}
        self.kept: dict[Place, OperationRow] = {}
        self.now = now
        self._registry = registry
        self._operators = operators
        self._saying = saying
        self._rank, self._first, self._do = rank, first, do
        self._next_stored = now
        self._told = 0
        # What is under way, and a hash of it.
        self._values: dict[int, tuple[Value, int]] = {}
        # What this node has put about itself lately, whatever became of it.
        self._said: deque[MemberRow] = deque(maxlen=_SAID)
        # What the keys mean that are being brought.
        self._places: dict[str, Place] = {}

    # -- what happens here

    def changed(self, change: Change) -> None:
        """Note a change; others than this node's own are in the bucket."""
        if change.origin is self._registry.origin:
            self.writing.changed(change.record.key, (change.origin.epoch, change.seq))

    def decided(self, seq: int, row: OperationRow) -> None:
        """Note a decision that was made at this node, as its change `seq`."""
        origin, place = self._registry.origin, operation_place(row)
        self.kept[place] = msgspec.structs.replace(row, dots=[(origin.node, origin.epoch, seq)])
        self.writing.changed(place, (origin.epoch, seq))

    def forgotten(self, row: OperationRow) -> None:
        """Note that a decision was forgotten; one that may not be in the bucket yet still goes there."""
        place = operation_place(row)
        dots = tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in row.dots)
        if self._lacking(place, dots):
            self.kept[place] = row
            return
        revision = self.writing.forget(place)
        if revision > 0:
            self.sweeping.add(place, revision, dots, 0 if self._first() else 1, self.now)

    def gone(self, lease: Lease) -> None:
        """Note that the registry forgot a lease; what of it may not be in the bucket yet still goes there."""
        place = lease.record.key
        if self._lacking(place, lease.record.dots):
            known = self.orphans.get(place)
            self.orphans[place] = lease.record if known is None else merge(known, lease.record)
            return
        revision = self.writing.forget(place)
        if revision > 0:
            self.sweeping.add(place, revision, lease.record.dots, self._rank(lease), self.now)

    def lacks(self, place: Place, number: Number) -> None:
        """Note that a bucket that was read as a whole lacks a place; the members put it one after the other, as all of
        them may find that."""
        lease = self._registry.find(*place[1:]) if len(place) == len(("region", "service", "instance")) else None
        rank = int(not self._first()) if lease is None else min(self._rank(lease), _MOST_RANKS)
        self.writing.changed(place, number, wait=rank * _RANK)

    @property
    def untold(self) -> bool:
        """Whether there are changes that are being put, or of which the others were not told."""
        reached = self._saying.stored.get(self._registry.origin.epoch, 0)
        return self.writing.under_way or reached > self._told

    def dots(self, place: Place) -> tuple[Dot, ...] | None:
        """Return the changes that made what is live here of a place, None if nothing is."""
        if is_decision(place):
            row = None if self._operators is None else self._operators.row(*place[1:])
            if row is None or row.removed:
                return None
            return tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in row.dots)
        lease = None if is_member(place) else self._registry.find(*place[1:])
        return None if lease is None or not lease.live else lease.record.dots

    def died(self, place: Place, theirs: Reach) -> None:
        """Note that a bucket at `theirs` has had all of a place, and has it no more: somebody knew its end."""
        if is_decision(place):
            row = None if self._operators is None else self._operators.row(*place[1:])
            if row is not None and self._operators is not None:
                self._operators.end(row, self.now)
            return
        lease = self._registry.find(*place[1:])
        if lease is not None and self._registry.lacking([lease], theirs):
            self._registry.restate(lease, self.now)

    # -- the bucket

    def anew(self) -> None:
        """Note that the bucket is another one, of which nothing is known."""
        self.writing.anew()
        self.sweeping.clear()
        self._values.clear()
        self._told = 0

    def lost(self) -> None:
        """Note that outcomes of puts are told no more."""
        self.writing.lost()
        self._values.clear()

    def lives_later(self) -> None:
        """Note that this node has begun another life."""
        self._told = 0

    def say_anew(self, below: int) -> None:
        """Make changes of lives of this node before `below`, which others have forgotten, changes of this life, as far
        as the bucket may lack them: nobody would know any more that what they show is new."""
        for place in self.writing.before(below):
            if is_decision(place):
                if self._operators is not None:
                    self._operators.restate(place[1], place[2], place[3], place[4], self.now)
            elif (lease := self._registry.find(*place[1:])) is not None:
                self._registry.restate(lease, self.now)

    def puts(self, row: MemberRow) -> bool:
        """Tell whether this life of the node itself has put this about itself, or does."""
        return row in self._said

    def stored(self, number: int, sequence: int) -> None:
        """A put was done."""
        value, data = self._values.pop(number, (None, 0))
        place = self.writing.stored(number, sequence, self.now, data)
        if place is not None and isinstance(value, MemberRow):
            self._saying.said = value

    def conflicted(self, number: int) -> None:
        """A put was not done, as the entry is another one."""
        self._values.pop(number, None)
        self.writing.conflicted(number, self.now)

    def refused(self, number: int, *, full: bool) -> None:
        """A put was refused."""
        self._values.pop(number, None)
        self.writing.refused(number, self.now, full=full)

    def unknown(self, number: int) -> None:
        """Nobody knows what became of a put."""
        self._values.pop(number, None)
        self.writing.unknown(number, self.now)

    def place_of(self, key: str) -> Place | None:
        """Return what a key means whose entry was asked for, once."""
        return self._places.pop(key, None)

    def got(self, place: Place, revision: int, lain: int) -> None:
        """An entry that was asked for has come and is merged; 0 for none."""
        self.sweeping.looked(place, revision, self._registry.timings.lifetime - lain, self.now)
        if place in self.writing:
            self.writing.got(place, revision)

    # -- what is to be done

    def put(self) -> None:
        """Put what is dirty."""
        if not self.writing:
            return
        now, own = self.now, self._saying.place
        for place in self.writing.gets(now):
            self._get(place)
        for number, place, revision in self.writing.puts(now, only=None if self._saying.open else own):
            value = self._value(place)
            data = b"" if value is None else encode_entry(value)
            if value is None:
                self.writing.drop(place)
            elif len(data) > MAX_VALUE:
                self.writing.refused(number, now, full=False)
            else:
                if isinstance(value, MemberRow):
                    self._saying.began(now)
                    self._said.append(value)
                self._values[number] = value, hash(data)
                self._do(Put(number, key_of_place(place), data, revision))

    def mark(self) -> None:
        """Find out up to which number all own changes are in the bucket, and tell it when it is more than before."""
        if self.now < self._next_stored:
            return
        registry, stored = self._registry, self._saying.stored
        node = registry.origin.node
        first: Number = self.writing.first() or (registry.origin.epoch + 1, 0)
        for origin, seq in registry.vector.items():
            if origin.node == node and origin.epoch <= first[0]:
                reached = seq if origin.epoch < first[0] else first[1] - 1
                stored[origin.epoch] = max(reached, stored.get(origin.epoch, 0))
        if stored.get(registry.origin.epoch, 0) > self._told:
            self._next_stored = self.now + _STORED
            self.tell_stored()

    def tell_stored(self) -> None:
        """Say up to which number all own changes are in the bucket."""
        origin = self._registry.origin
        reached = self._saying.stored.get(origin.epoch, 0)
        if reached:
            self._told = reached
            self._do(Tell(None, Stored(origin.node, origin.epoch, reached, self.writing.sequence, self._saying.bucket)))

    def sweep(self) -> None:
        """Let entries of the dead disappear that nobody needs any more."""
        said = self._saying.said
        if said is None or not self.sweeping:
            return
        # Who has never read the removal is to find in the bucket that all is there, and nothing of what was removed.
        reached, floor = self._saying.reached(), dict[Origin, int]()
        for node, epoch, seq in said.floor:
            origin = Origin(node, epoch)
            floor[origin] = min(seq, reached.get(origin, 0))
        for place, revision in self.sweeping.due(floor, dict(said.base), self.now):
            if revision:
                self._do(Purge(key_of_place(place), revision))
            else:
                self._get(place)

    # -- inside

    def _clean(self, place: Place) -> None:
        """What is known of a place is in the bucket: what was kept for that alone may go."""
        self.kept.pop(place, None)
        orphan = self.orphans.pop(place, None)
        if orphan is not None and self._registry.find(*place[1:]) is None:
            self.sweeping.add(place, self.writing.forget(place), orphan.dots, 0, self.now)

    def _lacking(self, place: Place, dots: tuple[Dot, ...]) -> bool:
        """Tell whether a place is to be put: it is dirty, or a former life may not have put it (then it is by now)."""
        number = self._saying.first_lacking(dots)
        if number != NONE and place not in self.writing:
            self.writing.changed(place, number)
        return place in self.writing

    def _get(self, place: Place) -> None:
        key = key_of_place(place)
        self._places[key] = place
        self._do(Get(key))

    def _value(self, place: Place) -> Value | None:
        if is_member(place):
            return self._saying.row
        if is_decision(place):
            row = None if self._operators is None else self._operators.row(*place[1:])
            return row or self.kept.get(place)
        lease = self._registry.find(*place[1:])
        orphan = self.orphans.get(place)
        if lease is None:
            return None if orphan is None else instance_row(orphan, 0, with_dots=True)
        record: Record = current(lease)
        if orphan is not None:
            record = merge(record, orphan)
        return instance_row(record, max(0, self.now - lease.heard), with_dots=True)


def key_of_place(place: Place) -> str:
    """Return the key of a place."""
    if is_decision(place):
        return operation_key(*place[1:])
    return member_key(place[1]) if is_member(place) else instance_key(*place[1:])
