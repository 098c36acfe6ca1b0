"""What a node is to put into the bucket, until it is there: dirty places, puts under way, and what became of them.

A place is dirty while the node knows more of it than its entry says; what it knows then is what is put, so that many
changes of one place need one put. A put counts only on the entry that the node has merged (`revisions`), else it is
brought first. An own change counts as being in the bucket when it was read there: whoever answers a put, or brings a
single entry, may keep another bucket under that name by now, and numbers do not tell. So a place with such a change
stays dirty until its entry comes. Not here: what is put (`putting`), and reading (`reading`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import islice

import msgspec

from artemis.cluster.engine.places import Place

Number = tuple[int, int]
"""A change of this node: epoch and sequence number."""

NONE: Number = (0, 0)

WINDOW = 512
"""Puts under way at once."""

GETS = 64
"""Entries that are brought at once."""

_LATER = 200
"""Milliseconds until something that did not work is tried again; twice as long each time, up to _LATEST."""

_LATEST = 5_000

_PROBE = 1_000
"""Milliseconds between two new keys that are tried while the bucket is full."""

PACE = 50
"""Milliseconds between two puts of one place at least: what changes more often is put with what it is then."""


class Dirty(msgspec.Struct):
    """A place that is to be put, or to be read. `first` is the first own change that was not read in its entry, `then`
    the first that was made after the last put began, `covered` whether an entry was read that says all, `owed` whether
    it counts as such (`Writing.owed`). `flight` is the number of the put under way, 0 for none, `landed` the number of
    the bucket at which the last one is to be read, 0 for none, and `value` a hash of what is to be there, 0 for
    unknown; `again` says that it is to be put once more all the same. `getting` is since when its entry is being
    brought, `tried` how often in vain. It `waits` for another node that may put it first.
    """

    first: Number = NONE
    then: Number = NONE
    covered: bool = False
    owed: bool = False
    flight: int = 0
    landed: int = 0
    value: int = 0
    again: bool = False
    getting: int | None = None
    tried: int = 0
    waits: bool = False


class Flight(msgspec.Struct, frozen=True):
    """A put under way. It takes a number above `known`, which was one of the bucket before."""

    place: Place
    revision: int
    known: int


class WriteCounters(msgspec.Struct, gc=False):
    """What happened since the start; every counter only grows."""

    put: int = 0
    stored: int = 0
    conflicts: int = 0
    unknown: int = 0
    refused: int = 0
    brought: int = 0
    missed: int = 0


class Writing:
    """The dirty places of one node, oldest change first. Owned by its replica.

    `revisions` are the sequence numbers of the entries that were merged; while they are not `complete`, a place without
    one may have an entry all the same. `sequence` is the highest of those that own puts have taken, `known` of those
    that were heard of. `owed` counts the places that the bucket is known to lack since it was begun to be read as a
    whole, and `owing` says that this goes on. `clean` is called with every place that is dirty no longer.
    """

    def __init__(self, clean: Callable[[Place], None] = lambda _: None) -> None:
        self.counters = WriteCounters()
        self.revisions: dict[Place, int] = {}
        self.complete = False
        self.full = False
        self.owing = False
        self.owed = 0
        self.sequence = self.known = 0
        self._dirty: dict[Place, Dirty] = {}
        self._ready: dict[Place, None] = {}
        self._later: list[tuple[int, int, Place]] = []
        # New ones that did not fit.
        self._outside: dict[Place, None] = {}
        self._probe = 0
        self._flights: dict[int, Flight] = {}
        self._count = 0
        self._getting: dict[Place, None] = {}
        self._firsts: list[tuple[Number, Place]] = []
        # Where what was put is to be read, and up to where all is read.
        self._landed: list[tuple[int, Place]] = []
        self._position = 0
        self._is_clean = clean
        # When places were put last, as long as they may not be put again.
        self._put_at: OrderedDict[Place, int] = OrderedDict()
        self._now = 0

    def __len__(self) -> int:
        """Count the dirty places."""
        return len(self._dirty)

    def __contains__(self, place: Place) -> bool:
        """Tell whether a place is dirty."""
        return place in self._dirty

    @property
    def flying(self) -> int:
        """Count the puts under way."""
        return len(self._flights)

    @property
    def under_way(self) -> bool:
        """Whether places are to be put, or were put and are to be read, for which nothing else has to happen before."""
        return any(not dirty.waits and place not in self._outside for place, dirty in self._dirty.items())

    # -- what is to be put

    def changed(self, place: Place, number: Number = NONE, *, wait: int = 0) -> None:
        """Note that this node knows more of a place than its entry says: a change of its own, if it has a number.

        For `wait` milliseconds another node may put it first, unless it changes meanwhile.
        """
        dirty = self._dirty.get(place)
        if dirty is not None and dirty.landed and NONE < number <= dirty.first:
            return  # it is in what was put
        if dirty is None:
            dirty = self._dirty[place] = Dirty(waits=wait > 0)
            if wait:
                self._put_off(place, self._now + wait)
            else:
                self._pace(place)
        elif dirty.waits and not wait:
            dirty.waits = False
            self._pace(place)
        elif dirty.landed and not dirty.again:
            dirty.again = True
            self._pace(place)
        dirty.covered = False
        if self.owing and not dirty.owed:
            dirty.owed = True
            self.owed += 1
        if number == NONE:
            return
        if dirty.flight or dirty.landed:
            if dirty.then == NONE or number < dirty.then:
                dirty.then = number
                heappush(self._firsts, (number, place))
        elif dirty.first == NONE or number < dirty.first:
            dirty.first = number
            heappush(self._firsts, (number, place))

    def first(self) -> Number | None:
        """Return the first change of this node that may not be in the bucket yet; None if all are."""
        firsts = self._firsts
        while firsts:
            number, place = firsts[0]
            dirty = self._dirty.get(place)
            if dirty is not None and number in (dirty.first, dirty.then):
                return number
            heappop(firsts)
        return None

    def before(self, epoch: int) -> list[Place]:
        """Return the places with own changes of lives before this epoch that were not read in their entries."""
        return [
            place
            for place, dirty in self._dirty.items()
            if any(NONE < number < (epoch, 0) for number in (dirty.first, dirty.then))
        ]

    def agreed(self, place: Place, revision: int, *, read: bool) -> None:
        """Note that a place has an entry that says all that this node knows of it, which was read or only asked for."""
        self.revisions[place] = max(revision, self.revisions.get(place, 0))
        dirty = self._dirty.get(place)
        if dirty is None:
            return
        if read or (dirty.first == NONE and dirty.then == NONE):
            self.sequence = max(revision, self.sequence)
            if dirty.flight:
                dirty.covered = True
            else:
                self._clean(place)
        elif not dirty.flight and revision > self._position:
            dirty.getting = None
            self._land_at(place, revision, 0)

    def differs(self, place: Place, revision: int, number: Number) -> None:
        """Note that a place has an entry that lacks some of what this node knows of it: own changes from `number` on,
        if it is one."""
        self.revisions[place] = revision
        dirty = self._dirty.get(place)
        if dirty is not None and dirty.landed and revision >= dirty.landed:
            self._take_off(dirty)
            self._pace(place)
        self.changed(place, number)

    def awaits(self, place: Place, revision: int, value: bytes) -> bool:
        """Tell whether what was put is to be read at this number, and something else is there."""
        dirty = self._dirty.get(place)
        return dirty is not None and dirty.landed == revision and dirty.value != hash(value)

    def read(self, place: Place, revision: int) -> None:
        """Note that an entry that is known was read: if it is what was put, that is there."""
        dirty = self._dirty.get(place)
        if dirty is None or dirty.landed != revision:
            return
        self.sequence = max(revision, self.sequence)
        dirty.landed = 0
        dirty.first, dirty.then = dirty.then, NONE
        if not dirty.again:
            self._clean(place)

    def reached(self, position: int) -> None:
        """Note that all is read up to a number: what was to be read by then is in another bucket, or was purged."""
        self._position = position
        while self._landed and self._landed[0][0] <= position:
            sequence, place = heappop(self._landed)
            dirty = self._dirty.get(place)
            if dirty is None or dirty.landed != sequence:
                continue
            self.counters.missed += 1
            again = dirty.again
            self._take_off(dirty)
            if not dirty.flight and self.revisions.get(place, 0) <= sequence:
                self.revisions[place] = -1
            if not again:
                self._again(place, self._now)

    def forget(self, place: Place) -> int:
        """Forget a place that is not dirty; return the revision that it had, 0 for none."""
        return self.revisions.pop(place, 0)

    # -- what is to be done

    def gets(self, now: int) -> Iterator[Place]:
        """Yield the places whose entries are to be brought now."""
        self._wake(now)
        for place in list(islice(self._ready, 2 * WINDOW)):
            if len(self._getting) >= GETS:
                return
            if self._known(place) is None:
                del self._ready[place]
                self._dirty[place].getting = now
                self._getting[place] = None
                self.counters.brought += 1
                yield place

    def puts(self, now: int, *, only: Place | None = None, most: int = WINDOW) -> Iterator[tuple[int, Place, int]]:
        """Yield what is to be put now: number, place and revision; nothing but one place if it is given."""
        self._wake(now)
        ready = list(islice(self._ready, 2 * most)) if only is None else [only] if only in self._ready else []
        for place in ready:
            if len(self._flights) >= most:
                return
            revision = self._known(place)
            if revision is None:
                continue
            del self._ready[place]
            self._count += 1
            dirty = self._dirty[place]
            self._take_off(dirty)
            number = dirty.flight = self._count
            self._put_at[place] = now
            dirty.covered = dirty.again = False
            self._flights[number] = Flight(place, revision, self.known)
            self.counters.put += 1
            yield number, place, revision

    def drop(self, place: Place) -> None:
        """Let a place be dirty no longer: there is nothing to put."""
        dirty = self._dirty.get(place)
        if dirty is not None:
            self._flights.pop(dirty.flight, None)
            self._clean(place)

    # -- what became of it

    def stored(self, number: int, sequence: int, now: int, value: int = 0) -> Place | None:
        """Note that a put was done, `value` is a hash of it; return its place, None for one that is not known any more,
        or was done in another bucket, whose numbers are lower."""
        flight = self._flights.get(number)
        if flight is None:
            return None
        if sequence <= flight.known:
            self.unknown(number, now)
            return None
        del self._flights[number]
        place, dirty = flight.place, self._dirty[flight.place]
        self.counters.stored += 1
        self.known = max(sequence, self.known)
        self.revisions[place] = max(sequence, self.revisions.get(place, 0))
        if not flight.revision and self.full:
            self._fits()
        dirty.flight, dirty.tried = 0, 0
        # What was merged meanwhile came as an entry, with a later revision.
        dirty.again = dirty.then != NONE or self.revisions[place] != sequence
        if dirty.covered or (dirty.first == NONE and not dirty.again):
            self._clean(place)
            return place
        if dirty.first != NONE:
            self._land_at(place, sequence, value)
        if dirty.again:
            self._pace(place)
        return place

    def conflicted(self, number: int, now: int) -> None:
        """Note that a put was not done, as the entry is another one."""
        flight = self._land(number)
        if flight is None:
            return
        self.counters.conflicts += 1
        if self.revisions.get(flight.place, 0) == flight.revision:
            # It has not come yet, or was purged, which nobody is told.
            self.revisions[flight.place] = -1
        self._again(flight.place, now, at_once=self._known(flight.place) is not None)

    def unknown(self, number: int, now: int) -> None:
        """Note that nobody knows what became of a put."""
        flight = self._land(number)
        if flight is None:
            return
        self.counters.unknown += 1
        if self.revisions.get(flight.place, 0) == flight.revision:
            self.revisions[flight.place] = -1
        self._again(flight.place, now)

    def refused(self, number: int, now: int, *, full: bool) -> None:
        """Note that a put was refused; while the bucket is full, new ones wait, and one is tried now and then."""
        flight = self._land(number)
        if flight is None:
            return
        self.counters.refused += 1
        if full and not flight.revision:
            self.full = True
            self._outside[flight.place] = None
            self._probe = now + _PROBE
        else:
            self._again(flight.place, now)

    def got(self, place: Place, revision: int) -> None:
        """Note that the entry of a place was brought and merged, 0 for none."""
        self._getting.pop(place, None)
        dirty = self._dirty.get(place)
        if self.revisions.get(place, -1) < revision or revision == 0:
            self.revisions[place] = revision
        if dirty is not None and dirty.getting is not None:
            dirty.getting = None
            self._ready[place] = None

    def lost(self) -> None:
        """Note that outcomes of puts are told no more."""
        for number in list(self._flights):
            flight = self._land(number)
            if flight is not None and flight.place in self._dirty:
                if self.revisions.get(flight.place, 0) == flight.revision:
                    self.revisions[flight.place] = -1
                self._ready[flight.place] = None
        for place in list(self._getting):
            self._give_up_getting(place)

    def anew(self) -> None:
        """Note that the bucket is another one, of which nothing is known."""
        self.lost()
        for _, place in self._landed:
            dirty = self._dirty.get(place)
            if dirty is not None and dirty.landed:
                again = dirty.again
                self._take_off(dirty)
                if not again:
                    self._ready[place] = None
        self._landed.clear()
        self._position = 0
        self.revisions.clear()
        self.complete = False
        self.sequence = self.known = 0
        if self.full:
            self._fits()

    def owe(self) -> None:
        """Count from now on what the bucket lacks, until `owing` is over."""
        self.owing, self.owed = True, len(self._dirty)
        for dirty in self._dirty.values():
            dirty.owed = True

    def doubt(self, but: Place) -> None:
        """Count on no entry but one any more until it is read again."""
        known = self.revisions.get(but)
        self.revisions.clear()
        if known is not None:
            self.revisions[but] = known
        self.complete = False

    def tick(self, now: int) -> None:
        """Give up what does not come."""
        self._now = now
        for place in list(self._getting):
            dirty = self._dirty.get(place)
            if dirty is None or dirty.getting is None:
                del self._getting[place]
            elif now - dirty.getting > _LATEST:
                self._give_up_getting(place)

    # -- inside

    def _known(self, place: Place) -> int | None:
        revision = self.revisions.get(place)
        if revision is None:
            return 0 if self.complete else None
        return None if revision < 0 else revision

    def _land(self, number: int) -> Flight | None:
        """Take a put that was not done, or nobody knows, out of those under way; None if its place is clean by that."""
        flight = self._flights.pop(number, None)
        if flight is None:
            return None
        dirty = self._dirty[flight.place]
        dirty.flight = 0
        if dirty.first == NONE:
            dirty.first = dirty.then
        dirty.then = NONE
        if dirty.covered:
            self._clean(flight.place)
            return None
        return flight

    def _land_at(self, place: Place, sequence: int, value: int) -> None:
        """Let a place wait until it is read at a number."""
        dirty = self._dirty[place]
        dirty.landed, dirty.value = sequence, value
        heappush(self._landed, (sequence, place))
        dirty.waits = False
        if not dirty.again:
            self._ready.pop(place, None)
            self._getting.pop(place, None)

    def _take_off(self, dirty: Dirty) -> None:
        """Wait no longer for a place to be read: all that it has is to be put."""
        dirty.landed = dirty.value = 0
        if dirty.first == NONE or NONE < dirty.then < dirty.first:
            dirty.first = dirty.then
        dirty.then = NONE

    def _again(self, place: Place, now: int, *, at_once: bool = False) -> None:
        dirty = self._dirty[place]
        dirty.tried += 1
        if at_once and dirty.tried == 1:
            self._ready[place] = None
            return
        self._put_off(place, now + min(_LATEST, _LATER << min(dirty.tried - 1, 5)))

    def _put_off(self, place: Place, until: int) -> None:
        self._count += 1
        heappush(self._later, (until, self._count, place))

    def _pace(self, place: Place) -> None:
        """Let a place be put, but not too soon after it was put last."""
        at = self._put_at.get(place)
        if at is None or self._now - at >= PACE:
            self._ready[place] = None
        else:
            self._put_off(place, at + PACE)

    def _wake(self, now: int) -> None:
        self._now, put_at = now, self._put_at
        while put_at and now - next(iter(put_at.values())) >= PACE:
            put_at.popitem(last=False)
        while self._later and self._later[0][0] <= now:
            place = heappop(self._later)[2]
            dirty = self._dirty.get(place)
            if dirty is None or dirty.flight or (dirty.landed and not dirty.again):
                continue
            if dirty.getting is None and place not in self._outside:
                dirty.waits = False
                self._ready[place] = None
        if self._outside and now >= self._probe:
            place = next(iter(self._outside))
            del self._outside[place]
            self._probe = now + _PROBE
            if place in self._dirty:
                self._ready[place] = None

    def _fits(self) -> None:
        self.full = False
        self._ready.update(self._outside)
        self._outside.clear()

    def _give_up_getting(self, place: Place) -> None:
        del self._getting[place]
        dirty = self._dirty.get(place)
        if dirty is not None:
            dirty.getting = None
            self._ready[place] = None

    def _clean(self, place: Place) -> None:
        dirty = self._dirty.pop(place, None)
        if dirty is not None and dirty.owed:
            self.owed -= 1
        self._ready.pop(place, None)
        self._outside.pop(place, None)
        self._getting.pop(place, None)
        self._is_clean(place)
