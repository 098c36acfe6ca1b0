"""Leases: who was heard when, who goes silent, who expires, and self-preservation (design 4.1 "Who expires").

A table keeps its leases in the order in which they were last heard. A heartbeat moves a lease to the end; a tick looks
at the heads only, so it costs what goes silent or expires, not what exists (defects 3 and 5).

Not here: what an expiry means for a record (`registry`). Time comes in as milliseconds of a monotonic clock.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import islice

import msgspec

from artemis.registry.rates import RenewalRate, RenewalWindow
from artemis.registry.records import Record, Stamp

SHARE_PERCENT = 85
"""Fewer leases than this share heard within the window: self-preservation (design 4.1, spec 4.5). The default."""

SMALLEST_PRESERVED = 5
"""A table with fewer live leases is never preserved (design 4.1). The default."""


class Lease(msgspec.Struct, gc=False, eq=False):
    """What a node knows about one instance: the record as of its last change and, since then, who was heard when.

    Owned by the registry that made it; others may read it and compare `record` by identity to see whether the lease has
    changed: a renewal leaves the record, everything else replaces it. `digest` is for whoever compares registries, 0
    when he has not looked at the record yet.
    """

    record: Record
    renewed: Stamp
    heard: int
    live: bool
    legacy: bool
    digest: int = 0


class SelfPreservation(msgspec.Struct, frozen=True, kw_only=True):
    """State of self-preservation, with its numbers and reason (design 9). Times in ms, `since` monotonic."""

    enabled: bool
    active: bool
    since: int
    live: int
    heard: int
    window: int
    hold: int
    reason: str


class LeaseState(msgspec.Struct, frozen=True, kw_only=True):
    """What a table makes of a live lease. Times in ms; `due` is when it expires, monotonic, with `hold` if `held`.

    `silent`: not heard within the `window`; `held`: kept longer because self-preservation is active; `kept`: for as
    long as this node hears no other one, whatever `due` says, because another one heard it last.
    """

    ttl: int
    window: int
    hold: int
    silent: bool
    held: bool
    due: int
    kept: bool = False


class LeaseTable:
    """The live leases of one class, in the order in which they were heard. Owned by a registry; not for concurrent use.

    `ttl`, `window` and `hold` are milliseconds: a lease is silent when not heard for `window` and expires when not
    heard for `ttl`, plus `hold` while self-preservation is active. `rank` tells of a lease how many other members give
    it up before this node does, and each gives this node another `grace` to wait [ranks]. `renewals` counts all
    renewals since the start, `elsewhere` those of them that other nodes have told of.
    """

    __slots__ = (
        "_active",
        "_deaf",
        "_due_before",
        "_fresh",
        "_fresh_from",
        "_hears_since",
        "_pardoned",
        "_reprieved",
        "_silent",
        "_since",
        "_told",
        "_window",
        "elsewhere",
        "enabled",
        "grace",
        "hold",
        "least",
        "rank",
        "renewals",
        "share",
        "ttl",
        "window",
    )

    def __init__(self, ttl: int, window: int, hold: int, now: int, grace: int = 0) -> None:
        self.ttl = ttl
        self.window = window
        self.hold = hold
        self.grace = grace
        self.rank: Callable[[Lease], int] = _first
        self.enabled = True
        self.share = SHARE_PERCENT
        self.least = SMALLEST_PRESERVED
        self.renewals = self.elsewhere = 0
        self._window = RenewalWindow(now)
        self._fresh: OrderedDict[Lease, None] = OrderedDict()
        # Those that others have heard, so that what was heard here is found at the end of the order alone.
        self._told: OrderedDict[Lease, None] = OrderedDict()
        # One queue for each rank.
        self._silent: list[OrderedDict[Lease, None]] = [OrderedDict()]
        # Leases that were silent when self-preservation ended. All count as heard at that moment, and become the silent
        # ones again, in one step, when the window has passed without a heartbeat.
        self._pardoned: list[OrderedDict[Lease, None]] = [OrderedDict()]
        # Whether those were silent by the times that hold now, so that they are not told as heard.
        self._reprieved = False
        self._fresh_from = now
        self._deaf = False
        self._hears_since = now
        self._active = False
        self._since = now
        self._due_before: int | None = None

    def __len__(self) -> int:
        """Count the live leases."""
        return len(self._fresh) + len(self._told) + _count(self._silent) + _count(self._pardoned)

    def add(self, lease: Lease) -> None:
        """Take in a lease that was heard just now."""
        self._fresh[lease] = None

    def place(self, lease: Lease, now: int) -> None:
        """Put a lease, new or of this table, where it belongs after a renewal that was accepted some time ago."""
        self.discard(lease)
        horizon = now - self.window
        if lease.heard < horizon and self._fresh_from < horizon and not any(self._pardoned):
            self._queue(self.rank(lease))[lease] = None
        else:
            self._told[lease] = None

    def heard_here(self, most: int) -> list[Lease]:
        """Return leases with those among them that were heard here last, at most so many; it looks into none of them.

        Where they are most of all, it returns all, in no order: an ordered dictionary looks each key up that it gives
        in its order, which takes thirty times as long.
        """
        fresh = self._fresh
        return list(dict.keys(fresh) if 2 * most > len(fresh) else islice(reversed(fresh), most))

    def discard(self, lease: Lease) -> None:
        """Let go of a lease, wherever it stands."""
        if lease in self._fresh:
            del self._fresh[lease]
            return
        for part in (self._told, *self._silent, *self._pardoned):
            if lease in part:
                del part[lease]
                return

    def hear(self, lease: Lease, now: int, stamp: Stamp) -> None:
        """Renew one lease of this table."""
        self.renewals += 1
        lease.heard = now
        lease.renewed = stamp
        try:
            self._fresh.move_to_end(lease)
        except KeyError:
            self.discard(lease)
            self._fresh[lease] = None

    def hear_all(self, leases: Collection[Lease], now: int, stamp: Stamp) -> None:
        """Renew many leases of this table; the hot loop of heartbeats that are recognised."""
        self._hear_in(self._fresh, leases, now, stamp)

    def hear_told(self, leases: Collection[Lease], now: int, stamp: Stamp) -> None:
        """Renew many leases of this table that another node has heard."""
        self.elsewhere += len(leases)
        self._hear_in(self._told, leases, now, stamp)

    def _hear_in(self, queue: OrderedDict[Lease, None], leases: Collection[Lease], now: int, stamp: Stamp) -> None:
        """Renew leases and let them stand last in this queue, wherever they stood."""
        self.renewals += len(leases)
        move = queue.move_to_end
        for lease in leases:
            lease.heard = now
            lease.renewed = stamp
            try:
                move(lease)
            except KeyError:
                self.discard(lease)
                queue[lease] = None

    def retime(self, ttl: int, window: int, hold: int, grace: int = 0) -> None:
        """Use other times from the next tick on, for the leases that exist as well (spec 10.1: read at every check)."""
        self.ttl = ttl
        self.window = window
        self.hold = hold
        self.grace = grace
        # A verdict under way was reached with the former times.
        self._due_before = None

    def tick(self, now: int, limit: int) -> tuple[list[Lease], bool]:
        """Return the leases that expire now, at most `limit`, and whether more is due now.

        The returned leases have left the table. Nothing expires before everyone who has gone silent is counted, and one
        verdict on self-preservation holds for all that is due at that moment, however many ticks it takes.
        """
        self._window.sample(now, self.renewals)
        if self._due_before is None:
            if not self._silence(now, limit):
                return [], True
            self._judge(now)
            self._due_before = now - self.ttl - (self.hold if self._active else 0)
        expired: list[Lease] = []
        moved = 0
        for rank, queue in enumerate(self._silent):
            due_before = self._due_before - rank * self.grace
            if rank and (self._keeps or self._hears_since >= due_before):
                break
            while queue:
                lease = next(iter(queue))
                if max(lease.heard, self._fresh_from) >= due_before:
                    break
                if len(expired) + moved == limit:
                    return expired, True
                del queue[lease]
                turn = self.rank(lease)
                if turn > rank:  # the members have changed since it fell silent
                    self._queue(turn)[lease] = None
                    moved += 1
                else:
                    expired.append(lease)
        self._due_before = None
        return expired, False

    def state(self, lease: Lease) -> LeaseState:
        """Tell the state of one lease of this table as of the last tick."""
        silent = any(lease in queue for queue in self._silent)
        held = silent and self._active
        rank = self.rank(lease)
        heard = max(lease.heard, self._fresh_from, self._hears_since if rank else 0)
        due = heard + self.ttl + rank * self.grace + (self.hold if held else 0)
        kept = silent and rank > 0 and self._keeps
        return LeaseState(
            ttl=self.ttl, window=self.window, hold=self.hold, silent=silent, held=held, due=due, kept=kept
        )

    def rate(self, now: int) -> RenewalRate:
        """Return how many leases were renewed of late."""
        self._window.sample(now, self.renewals)
        return self._window.rate(self.renewals)

    def listen(self, hears: bool, now: int) -> None:
        """Say whether other nodes are heard. While they are not, what one of them heard last is not given up, unless
        self-preservation is switched off; from then on it has a fresh TTL."""
        if hears and self._deaf:
            self._hears_since = now
        self._deaf = not hears

    @property
    def _keeps(self) -> bool:
        """Whether only those are given up that were heard here last."""
        return self._deaf and self.enabled

    def pardon(self, now: int) -> None:
        """Give every lease a fresh TTL, as if all had been heard now."""
        self._fresh_from = now
        self._due_before = None
        if any(self._silent):
            self._silent, self._pardoned = self._pardoned, self._silent
            self._reprieved = True

    def heard_all_since(self, moment: int) -> bool:
        """Tell whether every lease was heard after `moment`."""
        parts = (self._fresh, self._told, *self._silent, *self._pardoned)
        return all(next(iter(part)).heard > moment for part in parts if part)

    def status(self) -> SelfPreservation:
        """Tell the state of self-preservation as of the last tick, with current numbers.

        Switched off it is not active at once, and whoever was silent has a fresh TTL, which the next tick begins.
        Those with a fresh TTL do not count as heard until they are.
        """
        live = len(self)
        active = self._active and self.enabled
        ending = self._active and not active
        reprieved = _count(self._pardoned) if self._reprieved else 0
        silent = reprieved + _count(self._silent)
        reprieved += _count(self._silent) if ending else 0
        reprieve = f"; {reprieved} that fell silent got a fresh TTL of {self.ttl} ms" if reprieved else ""
        if not self.enabled:
            reason = f"switched off{reprieve}"
        elif active:
            reason = (
                f"{silent} of {live} leases were not heard within {self.window} ms, more than {100 - self.share} %: "
                f"each is kept {self.hold} ms longer"
            )
        elif self._keeps:
            reason = f"no other node is heard, so what others heard last is kept; {silent} of {live} leases are silent"
        elif live < self.least:
            reason = f"fewer than {self.least} live leases are never held"
        else:
            reason = f"{live - silent} of {live} leases were heard within {self.window} ms{reprieve}"
        return SelfPreservation(
            enabled=self.enabled,
            active=active,
            since=self._since,
            live=live,
            heard=live - silent,
            window=self.window,
            hold=self.hold,
            reason=reason,
        )

    def _silence(self, now: int, limit: int) -> bool:
        """Move who was not heard within the window to the silent ones, at most `limit`; False when more are due."""
        horizon = now - self.window
        if self._fresh_from >= horizon:
            if any(self._silent):  # the window has grown: the pardon holds again
                self._silent, self._pardoned = self._pardoned, self._silent
            return True
        if any(self._pardoned):
            # Nobody can have gone silent since the pardon, so the pardoned are first in the order.
            self._silent, self._pardoned = self._pardoned, self._silent
            self._reprieved = False
        moved = 0
        fresh = self._fresh
        for silent in self._silent:
            while silent:  # who was heard within a window that has grown is silent no longer; first in the order
                lease = next(reversed(silent))
                if lease.heard < horizon:
                    break
                if moved == limit:
                    return False
                del silent[lease]
                fresh[lease] = None
                fresh.move_to_end(lease, last=False)
                moved += 1
        while part := self._earlier():
            lease = next(iter(part))
            if lease.heard >= horizon:
                break
            if moved == limit:
                return False
            del part[lease]
            self._queue(self.rank(lease))[lease] = None
            moved += 1
        return True

    def _earlier(self) -> OrderedDict[Lease, None]:
        """Return the one of the two orders whose first lease was heard before that of the other; empty if both are."""
        fresh, told = self._fresh, self._told
        if not told or (fresh and next(iter(fresh)).heard <= next(iter(told)).heard):
            return fresh
        return told

    def _queue(self, rank: int) -> OrderedDict[Lease, None]:
        """Return the queue of the silent leases of a rank."""
        while len(self._silent) <= rank:
            self._silent.append(OrderedDict())
        return self._silent[rank]

    def _judge(self, now: int) -> None:
        live = len(self)
        heard = live - _count(self._silent)
        active = self.enabled and live >= self.least and heard * 100 < self.share * live
        if active == self._active:
            return
        self._active = active
        self._since = now
        if not active:
            self.pardon(now)


def _first(_: Lease) -> int:
    """The rank of a node that has no peers: it gives up all leases itself."""
    return 0


def _count(queues: list[OrderedDict[Lease, None]]) -> int:
    return sum(map(len, queues))
