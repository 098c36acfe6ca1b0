"""What other nodes bring: their changes, their renewals, and what an exchange repairs (design 4.1).

The words in brackets are the names of the rules in the design. Not here: messages, gaps and their order, which are the
business of `artemis.cluster`. Time comes in as milliseconds of a monotonic clock.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from artemis.registry.leases import Lease
from artemis.registry.records import Origin, Record, Stamp, covered, merge, without_forgotten
from artemis.registry.settings import NodeLimits, NodeTimings
from artemis.registry.store import RecordStore, current, is_legacy_content

Vector = Mapping[Origin, int]
"""The last sequence number of every origin."""

JumpListener = Callable[[Vector, Vector], None]
"""Called with the vector before and after."""


class Reach(msgspec.Struct, frozen=True):
    """How much a node knew at one moment: its vector, and the epochs of each node below which it has everything.

    Its records name no changes of epochs below `unnamed` either, where that is beyond the base.
    """

    vector: Vector
    base: Mapping[str, int]
    unnamed: Mapping[str, int] = {}

    @property
    def forgotten(self) -> Mapping[str, int]:
        """Return the epochs of each node below which its records name no changes."""
        return {**self.base, **self.unnamed} if self.unnamed else self.base


class MergingStore(RecordStore):
    """A store that takes in what other nodes know."""

    def __init__(
        self,
        origin: Origin,
        region: str,
        *,
        timings: NodeTimings | None = None,
        limits: NodeLimits | None = None,
        now: int,
        wall: int,
    ) -> None:
        super().__init__(origin, region, timings=timings, limits=limits, now=now, wall=wall)
        self._jumps: list[JumpListener] = []
        self._untrimmed: list[str] = []
        self._new = True
        # Own changes of this run in lives before this one.
        self._before = 0

    def position(self) -> tuple[Vector, Vector]:
        """Return up to where what callers see is complete, and beyond that what it may depend on too, by origin.

        The same objects as `vector` and `ahead` while nothing is `pending`.
        """
        if not self.pending:
            return self.vector, self.ahead
        vector, ahead = dict(self.vector), dict(self.ahead)
        for origin, first in self.pending.items():
            if first <= vector.get(origin, 0):
                ahead[origin] = max(vector[origin], ahead.get(origin, 0))
                vector[origin] = first - 1
        return vector, ahead

    def on_jump(self, listener: JumpListener) -> None:
        """Call `listener` whenever the vector has risen otherwise than by a change: at the end of a repair."""
        self._jumps.append(listener)

    # -- changes of other nodes

    def apply(self, origin: Origin, seq: int, record: Record, age: int, now: int) -> bool:
        """Merge the record of another origin's change; False, and nothing happens, unless `seq` is that origin's next.

        `age` is how many milliseconds ago, on the sender's monotonic clock, its latest renewal was accepted. When the
        merge leaves a record live although the changes say it expired, a change of our own follows at once: the renewal
        is asserted if it is younger than the TTL, else given up too [assertion, aged]. The limit on instances does not
        apply: another node has accepted this one. A lease that was heard long ago joins at the end of the order, so it
        may go up to `age` later than its TTL, never earlier.
        """
        if not self.advance(origin, seq):
            return False
        self._clock.observe(max(record.version, record.renewed))
        lease, merged = self._join(record, age, now)
        if merged.version > record.version:
            self.counters.overtaken += 1
        self._replace(lease, merged, origin, seq, now, legacy=is_legacy_content(merged.content))
        if merged.live and merged.asserted <= merged.expired:
            self._restate(lease, merged, now)
        return True

    def advance(self, origin: Origin, seq: int) -> bool:
        """Note another origin's change that is no record's; False, and nothing happens, unless `seq` is its next."""
        if seq != self.vector.get(origin, 0) + 1:
            return False
        self.vector[origin] = seq
        if self.ahead and self.ahead.get(origin, 0) <= seq:
            self.ahead.pop(origin, None)
        return True

    # -- renewals

    def hear(self, leases: Iterable[Lease], stamp: Stamp, now: int) -> list[Lease]:
        """Renew leases that another node heard, all at its `stamp`; return those that are to be brought back.

        That is an expired one if the stamp is later than all that was given up; a removed one stays away.
        """
        self._clock.observe(stamp)
        normal: list[Lease] = []
        legacy: list[Lease] = []
        expired: list[Lease] = []
        for lease in leases:
            if lease.renewed >= stamp:
                continue
            if lease.live:
                (legacy if lease.legacy else normal).append(lease)
            elif not lease.record.removed and stamp > lease.record.expired:
                expired.append(lease)
        self._normal.hear_told(normal, now, stamp)
        if legacy:
            self._legacy.hear_told(legacy, now, stamp)
        return expired

    def bring_back(self, lease: Lease, stamp: Stamp, now: int) -> None:
        """Bring an expired lease back, by a change of our own, that another node has heard since it was given up.

        Nothing happens when it is live, removed or forgotten by now, or given up again.
        """
        record = lease.record
        if lease.live or record.removed or stamp <= record.expired or self._find(*record.key[1:]) is not lease:
            return
        lease.heard = now
        self._table(lease).renewals += 1
        self._commit(lease, record.version, record.content, (stamp, record.expired, stamp), now)

    @property
    def heard(self) -> int:
        """Count what this node itself has heard since the start: the renewals of all leases, and its own changes."""
        tables = (self._normal, self._legacy)
        return sum(table.renewals - table.elsewhere for table in tables) + self._before + self.vector[self.origin]

    def heard_here(self, most: int) -> list[Lease]:
        """Return leases with those among them that this node itself has heard last, so many of each class.

        A number by which `heard` has grown is one that finds all that were heard meanwhile. Which those are `restamp`
        tells, of some at a time.
        """
        return [*self._legacy.heard_here(most), *self._normal.heard_here(most)]

    def restamp(self, leases: Iterable[Lease], moment: int, now: int) -> tuple[Stamp, list[Lease]]:
        """Return those of some leases that are live, were heard at `moment` or later, and by no other node later still,
        all renewed at one new stamp.
        """
        node = self.origin.node
        leases = [lease for lease in leases if lease.heard >= moment and lease.live and lease.renewed[1] == node]
        stamp = self._clock.next(now)
        for lease in leases:
            lease.renewed = stamp
        return stamp, leases

    # -- repair

    def absorb(self, record: Record, age: int, theirs: Reach, before: Mapping[str, int], now: int) -> Lease | None:
        """Merge a record that a repair brings, as its sender had it when it was at `theirs`; None if it stays away.

        `before` is the base of this node when the answer began to come. What this node knew and swept stays away
        [covered]. A change that callers see is told as one of the record's dots beyond the vector. If there is none, or
        if the merge makes another record than the sender's out of what the sender knew, it becomes a change of our own
        [own_dot], and so does a renewal that voids an expiry [assertion, aged]. A node that has not taken in any answer
        yet copies records that name no changes as they are: cursors of before its base has risen cost a full sync.
        """
        _, service, name = record.key
        mine = self._find(service, name)
        if mine is None and (
            covered(record.dots, theirs.forgotten, self.vector, before)
            # A dead one may have come here before its vector did, in an answer that broke off, and been swept.
            or (not record.live and covered(record.dots, {}, self.floor, self.base))
        ):
            return None
        record = without_forgotten(record, self.base)
        shown = mine.record.content if mine is not None and mine.live else None
        known = None if mine is None else mine.record.dots
        self._clock.observe(max(record.version, record.renewed))
        lease, merged = self._join(record, age, now)
        seen = merged.visible
        beyond = [dot for dot in record.dots if dot.seq > self.vector.get(dot.origin, 0)]
        forgotten = None if beyond or not self._new else self._forgotten_there(theirs)
        news_here = seen != shown and not beyond and forgotten is None
        news_there = (
            known is not None and seen != record.visible and covered(known, self.forgotten, theirs.vector, theirs.base)
        )
        if (merged.live and merged.asserted <= merged.expired) or news_here or news_there:
            self.counters.repaired += 1
            self._restate(lease, merged, now)
        elif mine is None or not _same(merged, lease.record):
            self.counters.repaired += 1
            for dot in beyond:
                self.ahead[dot.origin] = max(dot.seq, self.ahead.get(dot.origin, 0))
            origin, seq = (beyond[0].origin, beyond[0].seq) if beyond else (forgotten, 1)
            self._replace(lease, merged, origin, seq, now, legacy=is_legacy_content(merged.content))
        elif merged.renewed > lease.renewed:
            lease.renewed = merged.renewed
            if lease.live:
                self._table(lease).place(lease, now)
        return lease

    def _forgotten_there(self, theirs: Reach) -> Origin | None:
        """Return a life that the sender has forgotten and this node has not: one that records may be of."""
        base = self.base
        lives = (Origin(node, epoch - 1) for node, epoch in theirs.forgotten.items() if epoch > base.get(node, 0))
        return next(lives, None)

    def lacking(self, leases: Iterable[Lease], theirs: Reach) -> list[Lease]:
        """Return which of these leases died at a node that does not have them: live here, but known there [covered]."""
        vector, base, forgotten = theirs.vector, theirs.base, self.forgotten
        return [lease for lease in leases if lease.live and covered(lease.record.dots, forgotten, vector, base)]

    def restate(self, lease: Lease, now: int) -> None:
        """Make what this node knows of a lease a change of its own: one not heard within its TTL is given up."""
        self._restate(lease, current(lease), now)

    def rise(self, theirs: Reach, floor: Vector) -> None:
        """Know as much as a node whose answer has been taken in completely: the end of a repair [dots, floor]."""
        self._new = False
        before = dict(self.vector)
        vector = self.vector
        for origin, seq in theirs.vector.items():
            if origin != self.origin and self._counts(origin) and seq > vector.get(origin, -1):
                vector[origin] = seq
        for origin, seq in floor.items():
            if self._counts(origin):
                self.floor[origin] = max(seq, self.floor.get(origin, 0))
        self.ahead = {origin: seq for origin, seq in self.ahead.items() if seq > vector.get(origin, 0)}
        if vector != before:
            for listener in self._jumps:
                listener(before, vector)

    # -- epochs

    @property
    def forgotten(self) -> Mapping[str, int]:
        """Return the epochs of each node below which records here name no changes."""
        return {**self.base, **self.unnamed} if self.unnamed else self.base

    def expect(self, theirs: Reach) -> None:
        """Note that records of a node at `theirs` are about to come, which name no changes of epochs it has forgotten.

        Only with the last of them this node has everything below. One that is lacking until then, as the rest of the
        answer never came, must not be taken for one that was swept here.
        """
        for node, epoch in theirs.forgotten.items():
            known = min(epoch, self.origin.epoch) if node == self.origin.node else epoch
            if known > self.forgotten.get(node, 0):
                self.unnamed[node] = known

    def drop_epochs(self, newer: Mapping[str, int]) -> None:
        """Forget all epochs of some nodes below the given ones [base]. What records say of them goes with `trim`."""
        newer = {
            node: epoch if node != self.origin.node else min(epoch, self.origin.epoch)  # it lives, whatever others say
            for node, epoch in newer.items()
            if epoch > self.base.get(node, 0)
        }
        if not newer:
            return
        self.base.update(newer)
        self.unnamed = {node: epoch for node, epoch in self.unnamed.items() if epoch > self.base.get(node, 0)}
        for table in (self.vector, self.floor, self.ahead):
            for origin in [origin for origin in table if not self._counts(origin)]:
                del table[origin]
        self._untrimmed = list(self._services)

    def begin_epoch(self, epoch: int) -> None:
        """Begin a new life of this node without a restart, later than the present one; its next change is the first."""
        self._before += self.vector[self.origin]
        self.origin = Origin(self.origin.node, epoch)
        self.vector[self.origin] = 0

    def trim(self, limit: int) -> bool:
        """Let go of forgotten epochs in the records of about `limit` instances; return whether more is to do."""
        while self._untrimmed and limit > 0:
            entry = self._services.get(self._untrimmed.pop())
            for lease in () if entry is None else entry.leases.values():
                limit -= 1
                kept = without_forgotten(lease.record, self.base)
                if kept is not lease.record:
                    for witness in self._witnesses:
                        witness(lease)
                    lease.record = kept
        return bool(self._untrimmed)

    def _counts(self, origin: Origin) -> bool:
        return origin.epoch >= self.base.get(origin.node, 0)

    # -- joining

    def _join(self, record: Record, age: int, now: int) -> tuple[Lease, Record]:
        """Return the lease of a record, with its latest hearing, and what the record makes of it."""
        age = min(age, _LONG_AGO)
        _, service, name = record.key
        lease = self._find(service, name)
        if lease is None:  # as with nearly all of a first copy
            return self._adopt(service, name, now - age, legacy=False), record
        mine = current(lease)
        merged = merge(mine, record)
        if merged.renewed > mine.renewed:
            lease.heard = max(lease.heard, now - age)
        return lease, merged

    def _restate(self, lease: Lease, record: Record, now: int) -> None:
        """Make a record a change of our own: a live one is asserted if heard within its TTL, else given up [aged]."""
        legacy = is_legacy_content(record.content)
        expired, asserted = record.expired, record.asserted
        if record.live:
            if now - lease.heard < (self._legacy if legacy else self._normal).ttl:
                asserted = record.renewed
            else:
                expired = record.renewed
        content = None if record.removed else record.content
        self._commit(lease, record.version, content, (record.renewed, expired, asserted), now, legacy=legacy)


_LONG_AGO = 86_400_000
"""Milliseconds beyond which it makes no difference how long ago a lease was heard."""


def _same(a: Record, b: Record) -> bool:
    """Tell whether two records of one key differ in their latest renewal at most."""
    return (a.version, a.removed, a.content, a.expired, a.asserted, a.dots) == (
        b.version,
        b.removed,
        b.content,
        b.expired,
        b.asserted,
        b.dots,
    )
