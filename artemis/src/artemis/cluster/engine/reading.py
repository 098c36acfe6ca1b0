"""How a node reads its bucket: opening after opening, pass after pass, and what it knows when it has read so far.

Entries are merged as they come; the vector rises where markers say that all is there. Not here: what becomes of an
entry (`taking`), which numbers are missing (`progress`), and putting (`putting`).
"""

from __future__ import annotations

from collections.abc import Callable

from artemis.cluster.engine.ending import Ending
from artemis.cluster.engine.entries import MemberRow
from artemis.cluster.engine.marking import Markers
from artemis.cluster.engine.operators import EngineOperators
from artemis.cluster.engine.port import AskLast, Command, Entry, Opening, Position, Read, Stored
from artemis.cluster.engine.progress import Progress
from artemis.cluster.engine.putting import Putting
from artemis.cluster.engine.saying import Saying
from artemis.cluster.engine.taking import Taking
from artemis.cluster.engine.unseen import Unseen
from artemis.cluster.messages import latest_epoch
from artemis.cluster.outbox import ReplicaCounters
from artemis.registry import Origin, Reach, Registry

_LONGEST = 10
"""TTLs for which leases are pardoned because of a pass, or several that follow on each other, at most."""

_REST = 2
"""TTLs after that in which they are not."""


class Reading:
    """What one node reads. Owned by its replica. `position` is how far a former life had read.

    `open` says that there is a bucket, `synced` that all of it was read once, `remade` how often it was another one.
    `compared` is called when a pass is over, or a round of asking whether there is more, with when that began.
    """

    def __init__(
        self,
        registry: Registry,
        operators: EngineOperators | None,
        saying: Saying,
        putting: Putting,
        counters: ReplicaCounters,
        *,
        position: Position | None,
        do: Callable[[Command], None],
        compared: Callable[[int, int], None],
        now: int,
    ) -> None:
        self.open = False
        self.synced = False
        self.remade = 0
        self.progress = Progress()
        self._registry = registry
        self._operators = operators
        self._saying = saying
        self._putting = putting
        self._counters = counters
        self._do, self._compared = do, compared
        self._taking = Taking(
            registry, operators, saying, putting, counters, self._member, self._later, lambda: self._markers.vector
        )
        self._unseen = self._taking.unseen
        saying.complete = lambda: self.synced and not self.passing and not putting.writing.owed
        self._markers = Markers()
        self._ending: Ending | None = None
        self._position = position
        self._identity = "" if position is None else position.identity
        self._read_at = 0 if position is None else position.at
        self._engine: int | None = None
        # Whether nodes have said something of themselves that is to be taken over.
        self._said_more = False
        # Whether what is brought is still what was asked for before.
        self._stale = False
        # Since when leases are pardoned again and again, and when they were last.
        self._pardoning = now
        self._pardoned: int | None = None
        # When the round began after which all was compared last.
        self._round = now - 1

    @property
    def position(self) -> Position | None:
        """How far the bucket is read and merged; None before the first pass is over."""
        if not self.synced:
            return self._position
        if self._ending is not None and self._ending.whole:
            return None
        return Position(self._identity, self.progress.position, self._read_at)

    @property
    def passing(self) -> bool:
        """Whether a pass is under way, after which it is known what the bucket lacks."""
        return self._ending is not None

    @property
    def theirs(self) -> Reach:
        """What the bucket has had, as far as it was read."""
        base, unnamed, _ = self._saying.joined()
        return Reach(dict(self._markers.vector), base, unnamed)

    # -- the bucket

    def opened(self, opening: Opening, now: int) -> None:
        """There is a bucket to work with."""
        former = self._former()
        same = opening.identity == self._identity and opening.last >= former.sequence
        fresh = opening.at - self._read_at < self._registry.timings.lifetime * 4 // 5
        broken_off = self._ending is not None and self._ending.whole
        resumes = same and fresh and not broken_off and (self.synced or self._position is not None)
        if same:
            self._putting.lost()
        else:
            self._begin_anew(opening)
        self._saying.bucket = opening.identity
        after = self._former().sequence if resumes else 0
        self._position = None if not resumes else self._former()
        self.open = True
        writing = self._putting.writing
        writing.sequence = max(writing.sequence, opening.last)
        writing.known = max(writing.known, opening.last)
        writing.revisions.setdefault(self._saying.place, 0)
        self._pass(after, opening.last, now, whole=not resumes)
        for entry in opening.members:
            self._taking.take(entry, now, read=False)
        base, unnamed, _ = self._saying.joined()
        self._registry.expect(Reach({}, base, unnamed))

    def _pass(self, after: int, last: int, now: int, *, whole: bool) -> None:
        """Begin to read everything behind a number."""
        self._taking.seen = set() if whole else None
        if whole:
            self._putting.writing.owe()
        self._ending = Ending(whole=whole)
        self.progress.begin(after, last, now)
        self._pardon(now)
        self._do(Read(after))
        self._stale = True

    def asked(self) -> None:
        """Note that what comes from now on is what was asked for last."""
        self._stale = False

    def again(self, now: int, *, anew: bool = False) -> bool:
        """Read all again, as if nothing of it had been read; False if there is no bucket. What is being read as a whole
        goes on, unless that is to begin `anew`."""
        if self.open and (anew or self._ending is None or not self._ending.whole):
            self._putting.writing.doubt(self._saying.place)
            self._pass(0, self.progress.position, now, whole=True)
            self.ask(now)
        return self.open

    def _former(self) -> Position:
        if self._position is not None and not self.synced:
            return self._position
        return Position(self._identity, self.progress.position, self._read_at)

    def _begin_anew(self, opening: Opening) -> None:
        """Know nothing of a bucket that is another one than before, or the first."""
        if self._identity:
            self.remade += 1
        self._identity, self._read_at, self._position = opening.identity, opening.at, None
        self._putting.anew()
        self._saying.anew()
        self._markers = Markers()
        self._unseen = self._taking.unseen = Unseen()
        self.progress.position = 0

    def lost(self) -> None:
        """There is no bucket to work with for now."""
        self.open = False
        self._putting.lost()

    def entry(self, entry: Entry, now: int) -> None:
        """The next entry of the bucket."""
        if self.open and not self._stale:
            self._engine = entry.at + entry.lain - now
            self._taking.take(entry, now, read=True)
            self.progress.read(entry.sequence)
            self._putting.writing.known = max(self._putting.writing.known, entry.sequence)
            self._read_at = max(entry.at, self._read_at)

    def at(self, sequence: int) -> None:
        """There is no further entry up to a number."""
        if self.open and not self._stale:
            self.progress.at(sequence)

    def got(self, entry: Entry, now: int) -> None:
        """An entry that was asked for."""
        self._taking.take(entry, now, read=False)

    def ask(self, now: int) -> None:
        """Find out up to which number there is anything."""
        self.progress.ask(now)
        self._do(AskLast())

    # -- what nodes say

    def marker(self, node: str, message: Stored, now: int) -> None:
        """A node says up to where its changes are in the bucket."""
        if message.bucket != self._identity:
            return
        if message.node != node or message.epoch > latest_epoch(self._registry.wall(now)):
            self._counters.strange += 1
        elif message.epoch >= self._registry.base.get(node, 0):
            self._markers.note(Origin(node, message.epoch), message.reached, message.sequence)

    def _member(self, row: MemberRow, sequence: int, now: int) -> None:
        """Take in what a node says of itself in the bucket."""
        registry = self._registry
        latest = latest_epoch(registry.wall(now))
        if row.epoch > latest or any(epoch > latest for _, epoch in (*row.base, *row.unnamed)):
            self._counters.strange += 1
            if row.node == registry.origin.node:  # of a life with a clock that was ahead: nobody believes it
                self._putting.writing.revisions[self._saying.place] = sequence
            return
        if not self._saying.note(row):
            self._counters.strange += 1
            return
        self._said_more = True
        if row.node == registry.origin.node:
            self._meet_myself(row, sequence)
        if row.bucket != self._identity:
            return
        for node, epoch, reached in (*((row.node, epoch, reached) for epoch, reached in row.stored), *row.others):
            origin = Origin(node, epoch)
            if registry.base.get(node, 0) <= epoch <= latest and origin != registry.origin:
                self._markers.note(origin, reached, sequence)
            if node == registry.origin.node and registry.origin.epoch < epoch <= latest:
                self._later(epoch)  # others remember a later life than the own entry

    def _meet_myself(self, row: MemberRow, sequence: int) -> None:
        """Go on where a former life of this node was, in an epoch later than all of its."""
        self._putting.writing.revisions[self._saying.place] = sequence
        registry, saying = self._registry, self._saying
        if self._putting.puts(row):
            saying.said = row
            return
        for epoch, reached in row.stored if row.bucket == self._identity else ():
            if epoch != registry.origin.epoch:
                saying.stored[epoch] = max(reached, saying.stored.get(epoch, 0))
        epoch = max(row.epoch, dict(row.base).get(row.node, 0) - 1)
        if epoch > registry.origin.epoch or (epoch == registry.origin.epoch and saying.said is None):
            self._later(epoch)

    def _later(self, epoch: int) -> None:
        """Begin a life of this node that is later than one of its that others know."""
        self._registry.begin_epoch(epoch + 1)
        self._putting.lives_later()

    def _pardon(self, now: int) -> None:
        """Give every lease a fresh TTL, as renewals were told that did not come here; but not for ever, where the
        connection comes and goes."""
        timings = self._registry.timings
        ttl = max(timings.ttl, timings.legacy_ttl)
        if self._pardoned is None or now - self._pardoned > _REST * ttl:
            self._pardoning = now
        if now - self._pardoning <= _LONGEST * ttl:
            self._pardoned = now
            self._registry.pardon(now)

    # -- how far it is

    def tick(self, now: int) -> None:
        """Let time pass."""
        if self.open and self._ending is not None:
            self._pardon(now)

    def settle(self, now: int) -> None:
        """Know as much as the bucket says as far as it was read without a hole."""
        progress = self.progress
        if progress.due(now):
            self.ask(now)
        if not progress.settled or progress.asked is not None:
            return
        if self._engine is not None:
            self._read_at = max(self._read_at, now + self._engine)
        risen = self._markers.reach(progress.position)
        self._putting.writing.reached(progress.position)
        if self._ending is not None:
            if not self._finish(self._ending, now):
                return
        elif risen or self._said_more:
            self._rise()
        if self._round < progress.begun:
            self._round = progress.begun
            self._compared(progress.begun, now)

    def _rise(self) -> None:
        registry, self._said_more = self._registry, False
        base, _, floor = self._saying.joined()
        own = base.get(registry.origin.node, 0)
        if own > registry.origin.epoch:
            self._later(own - 1)  # others have forgotten this one
        if own > registry.base.get(registry.origin.node, 0):
            self._putting.say_anew(own)
        self._bury()
        registry.drop_epochs(base)
        self._markers.forget(registry.base)
        registry.rise(Reach(self._markers.vector, base), floor)
        for origin in self._markers.vector:
            self._taking.risen(origin)

    def _bury(self) -> None:
        """Give up, or say again, of what the bucket lacks, that all changes of which were there once."""
        if not self._unseen:
            return
        for place in self._unseen.covered(self.theirs, self._putting.dots):
            self._putting.died(place, self.theirs)
            self._counters.restated += 1

    def _finish(self, ending: Ending, now: int) -> bool:
        """Find out what the bucket lacks, some at a time; return whether that is done."""
        seen = self._taking.seen
        done = ending.go_on(self._registry, self._operators, seen, self.theirs, self._saying, now)
        for lease in ending.died():
            self._registry.restate(lease, now)
            self._counters.restated += 1
        writing = self._putting.writing
        for place, number in ending.lacking():
            self._putting.lacks(place, number)
            dots = self._putting.dots(place) if seen is not None else None
            if dots is not None:
                self._unseen.add(place, dots, self.theirs)
        if not done:
            return False
        self._rise()
        self._pardon(now)
        writing.complete = writing.complete or ending.whole
        # Others may have put changes of this node while it read.
        writing.sequence = max(writing.sequence, self.progress.position)
        writing.owing = False
        self._taking.seen = None
        self._ending = None
        self._position = None
        self.synced = True
        self._counters.exchanges += 1
        return True
