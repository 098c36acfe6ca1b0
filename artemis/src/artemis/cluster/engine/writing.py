"""What a node is to put into the bucket, until it is there: dirty places, puts under way, and what became of them.

A place is dirty while the node knows more of it than its entry says; what it knows then is what is put, so that many
changes of one place need one put. A put counts only on the entry that the node has merged (`revisions`), else it is
brought first. An own change counts as being in the bucket when it was read there, so a place with such a change stays
dirty until its entry comes. Not here: whose turn it is (`turns`), which puts are to be read (`confirming`), what is put
(`putting`), and reading (`reading`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush

from artemis.cluster.engine.confirming import Confirming
from artemis.cluster.engine.dirty import NONE, Dirty, Flight, Number, WriteCounters
from artemis.cluster.engine.places import Place
from artemis.cluster.engine.turns import LATEST, Turns

WINDOW = 512
"""Puts under way at once."""

GETS = 64
"""Entries that are brought at once."""


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
        self.owing = False
        self.owed = 0
        self.sequence = self.known = 0
        self._dirty: dict[Place, Dirty] = {}
        self._turns = Turns(self._dirty)
        self._confirming = Confirming(self._dirty)
        self._flights: dict[int, Flight] = {}
        self._count = 0
        self._getting: dict[Place, None] = {}
        self._firsts: list[tuple[Number, Place]] = []
        self._is_clean = clean

    def __len__(self) -> int:
        """Count the dirty places."""
        return len(self._dirty)

    def __contains__(self, place: Place) -> bool:
        """Tell whether a place is dirty."""
        return place in self._dirty

    @property
    def full(self) -> bool:
        """Whether the bucket takes no new keys."""
        return self._turns.full

    @property
    def flying(self) -> int:
        """Count the puts under way."""
        return len(self._flights)

    @property
    def under_way(self) -> bool:
        """Whether places are to be put, or were put and are to be read, for which nothing else has to happen before."""
        outside = self._turns.is_outside
        return any(not dirty.waits and not outside(place) for place, dirty in self._dirty.items())

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
                self._turns.put_off(place, self._turns.now + wait)
            else:
                self._turns.soon(place)
        elif dirty.waits and not wait:
            dirty.waits = False
            self._turns.soon(place)
        elif dirty.landed and not dirty.again:
            dirty.again = True
            self._turns.soon(place)
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
        elif not dirty.flight and revision > self._confirming.position:
            dirty.getting = None
            self._confirm(place, revision, 0)

    def differs(self, place: Place, revision: int, number: Number) -> None:
        """Note that a place has an entry that lacks some of what this node knows of it: own changes from `number` on,
        if it is one."""
        self.revisions[place] = revision
        dirty = self._dirty.get(place)
        if dirty is not None and dirty.landed and revision >= dirty.landed:
            dirty.withdraw()
            self._turns.soon(place)
        self.changed(place, number)

    def awaits(self, place: Place, revision: int, value: bytes) -> bool:
        """Tell whether what was put is to be read at this number, and something else is there."""
        return self._confirming.differs(place, revision, value)

    def read(self, place: Place, revision: int) -> None:
        """Note that an entry that is known was read: if it is what was put, that is there."""
        dirty = self._confirming.read(place, revision)
        if dirty is None:
            return
        self.sequence = max(revision, self.sequence)
        if not dirty.again:
            self._clean(place)

    def reached(self, position: int) -> None:
        """Note that all is read up to a number: what was to be read by then is in another bucket, or was purged."""
        for sequence, place, dirty in self._confirming.reached(position):
            self.counters.missed += 1
            dirty.withdraw()
            if not dirty.flight and self.revisions.get(place, 0) <= sequence:
                self.revisions[place] = -1
            if not dirty.again:
                self._turns.again(place, self._turns.now)

    def forget(self, place: Place) -> int:
        """Forget a place that is not dirty; return the revision that it had, 0 for none."""
        return self.revisions.pop(place, 0)

    # -- what is to be done

    def gets(self, now: int) -> Iterator[Place]:
        """Yield the places whose entries are to be brought now."""
        self._turns.wake(now)
        for place in self._turns.first(2 * WINDOW):
            if len(self._getting) >= GETS:
                return
            if self._known(place) is None:
                self._turns.over(place)
                self._dirty[place].getting = now
                self._getting[place] = None
                self.counters.brought += 1
                yield place

    def puts(self, now: int, *, only: Place | None = None, most: int = WINDOW) -> Iterator[tuple[int, Place, int]]:
        """Yield what is to be put now: number, place and revision; nothing but one place if it is given."""
        turns = self._turns
        turns.wake(now)
        for place in turns.first(2 * most) if only is None else [only] if only in turns else []:
            if len(self._flights) >= most:
                return
            revision = self._known(place)
            if revision is None:
                continue
            turns.over(place)
            turns.was_put(place, now)
            self._count += 1
            dirty = self._dirty[place]
            dirty.withdraw()
            number = dirty.flight = self._count
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
            self._turns.fits()
        dirty.flight, dirty.tried = 0, 0
        # What was merged meanwhile came as an entry, with a later revision.
        dirty.again = dirty.then != NONE or self.revisions[place] != sequence
        if dirty.covered or (dirty.first == NONE and not dirty.again):
            self._clean(place)
            return place
        if dirty.first != NONE:
            self._confirm(place, sequence, value)
        if dirty.again:
            self._turns.soon(place)
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
        self._turns.again(flight.place, now, at_once=self._known(flight.place) is not None)

    def unknown(self, number: int, now: int) -> None:
        """Note that nobody knows what became of a put."""
        flight = self._land(number)
        if flight is None:
            return
        self.counters.unknown += 1
        if self.revisions.get(flight.place, 0) == flight.revision:
            self.revisions[flight.place] = -1
        self._turns.again(flight.place, now)

    def refused(self, number: int, now: int, *, full: bool) -> None:
        """Note that a put was refused; while the bucket is full, new ones wait, and one is tried now and then."""
        flight = self._land(number)
        if flight is None:
            return
        self.counters.refused += 1
        if full and not flight.revision:
            self._turns.crowded(flight.place, now)
        else:
            self._turns.again(flight.place, now)

    def got(self, place: Place, revision: int) -> None:
        """Note that the entry of a place was brought and merged, 0 for none."""
        self._getting.pop(place, None)
        dirty = self._dirty.get(place)
        if self.revisions.get(place, -1) < revision or revision == 0:
            self.revisions[place] = revision
        if dirty is not None and dirty.getting is not None:
            dirty.getting = None
            self._turns.at_once(place)

    def lost(self) -> None:
        """Note that outcomes of puts are told no more."""
        for number in list(self._flights):
            flight = self._land(number)
            if flight is not None and flight.place in self._dirty:
                if self.revisions.get(flight.place, 0) == flight.revision:
                    self.revisions[flight.place] = -1
                self._turns.at_once(flight.place)
        for place in list(self._getting):
            self._give_up_getting(place)

    def anew(self) -> None:
        """Note that the bucket is another one, of which nothing is known."""
        self.lost()
        for place, dirty in self._confirming.anew():
            dirty.withdraw()
            if not dirty.again:
                self._turns.at_once(place)
        self.revisions.clear()
        self.complete = False
        self.sequence = self.known = 0
        if self.full:
            self._turns.fits()

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
        self._turns.now = now
        for place in list(self._getting):
            dirty = self._dirty.get(place)
            if dirty is None or dirty.getting is None:
                del self._getting[place]
            elif now - dirty.getting > LATEST:
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

    def _confirm(self, place: Place, sequence: int, value: int) -> None:
        """Let a place wait until it is read at a number, which is all if nothing of it is to be put again."""
        self._confirming.expect(place, sequence, value)
        if not self._dirty[place].again:
            self._turns.over(place)
            self._getting.pop(place, None)

    def _give_up_getting(self, place: Place) -> None:
        del self._getting[place]
        dirty = self._dirty.get(place)
        if dirty is not None:
            dirty.getting = None
            self._turns.at_once(place)

    def _clean(self, place: Place) -> None:
        dirty = self._dirty.pop(place, None)
        if dirty is not None and dirty.owed:
            self.owed -= 1
        self._turns.forget(place)
        self._getting.pop(place, None)
        self._is_clean(place)
