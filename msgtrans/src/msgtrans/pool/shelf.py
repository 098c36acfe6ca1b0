"""Who has which connection of a pool, who waits, and how many there are to be: every decision, and nothing else.

Its owner makes connections while `missing()` says so and calls `add`, hands out what `take` and `serve` give, and
closes what is in `leaving`. Time comes in as an argument and must not go backwards.
Not here: connecting, closing, futures, timers (`pool.connections`); how much to grow (`pool.expansion`).
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Generic

from msgtrans.errors import ConfigurationError, ResourceError
from msgtrans.pool.events import (
    ConnectionAcquired,
    ConnectionCreated,
    ConnectionReleased,
    ConnectionRemoved,
    PoolEventHub,
    PoolExpanded,
    PoolShrunk,
)
from msgtrans.pool.expansion import Growth
from msgtrans.pool.line import Line, WaiterT
from msgtrans.pool.members import ClientT, Member
from msgtrans.pool.stats import MemberState, PooledConnection
from msgtrans.pool.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from msgtrans.config import SmartPoolConfig
    from msgtrans.pool.stats import PoolDetailedStatus


class Shelf(Generic[ClientT, WaiterT]):
    """The connections of one pool. After close, those in use stay until they are given back.

    idle_timeout, max_lifetime: seconds, infinity for none. max_waiting: callers in line. chance: gives numbers evenly
    drawn from 0 up to 1. goal: how many connections there are to be now. making: how many are being made, kept by the
    owner. leaving: members that were removed, for the owner to close. line: who waits.
    """

    def __init__(
        self,
        config: SmartPoolConfig,
        *,
        idle_timeout: float,
        max_lifetime: float,
        max_waiting: int,
        chance: Callable[[], float],
    ) -> None:
        self.config = config
        self.growth = Growth(config)
        self.events = PoolEventHub()
        self.floor = min(config.min_connections, config.initial_size)
        self.goal = 0
        self.making = 0
        self.leaving: list[Member[ClientT]] = []
        self.gets = self.returns = self.creations = self.removals = 0
        self.line: Line[WaiterT] = Line(max_waiting)
        self.look_at = math.inf
        self._idle_timeout = idle_timeout
        self._max_lifetime = max_lifetime
        self._chance = chance
        self._members: dict[int, Member[ClientT]] = {}
        self._in_use: dict[ClientT, Member[ClientT]] = {}
        self._idle: deque[Member[ClientT]] = deque()
        self._checking: set[Member[ClientT]] = set()
        self._renewed: Member[ClientT] | None = None  # leaves when a new connection has taken its place
        self._more_due = False  # to be renewed after that
        self._usage = Usage(config, self.growth)

    # Counts

    @property
    def total(self) -> int:
        """Open connections, in use or not."""
        return len(self._members)

    @property
    def in_use(self) -> int:
        """Connections that somebody has."""
        return len(self._in_use)

    @property
    def available(self) -> int:
        """Connections that nobody has."""
        return len(self._idle)

    @property
    def checking(self) -> int:
        """Connections whose health is being checked."""
        return len(self._checking)

    @property
    def utilization(self) -> float:
        """The part of the connections that is in use, 0 of none."""
        return len(self._in_use) / len(self._members) if self._members else 0.0

    def missing(self) -> int:
        """How many connections to begin to make now."""
        return max(self.goal + (self._renewed is not None) - len(self._members) - self.making, 0)

    # Getting and giving back

    def take(self, now: float) -> Member[ClientT] | None:
        """A connection, None when there is none or others wait for one. Those found broken leave."""
        if self.line:
            return None
        while self._idle:
            member = self._longest_idle(now)
            if member.client.is_connected and now < member.ends_at:
                self._hand_out(member, now)
                return member
            self._leave(member, now, "broken" if now < member.ends_at else "old")
        return None

    def serve(self, now: float) -> Iterator[tuple[WaiterT, Member[ClientT]]]:
        """Whom to give which connection now, those first who came first."""
        while self.line and self._idle:
            member = self._longest_idle(now)
            if not member.client.is_connected:
                self._leave(member, now, "broken")
                continue
            waiter = self.line.next()
            if waiter.done():
                self._idle.appendleft(member)
                continue
            self._hand_out(member, now)
            yield waiter, member

    def give_back(self, client: ClientT, now: float) -> None:
        """Somebody is done with `client`. Raises ConfigurationError when nobody has it; call `serve` after."""
        member = self._in_use.get(client)
        if member is None:
            raise ConfigurationError(
                "client", "is not in use: it was given back already, or belongs to another pool; give back once"
            )
        self._usage.account(now, len(self._members), len(self._in_use))
        del self._in_use[client]
        self.returns += 1
        if self.events:
            self.events.emit(ConnectionReleased(member.id))
        if member.state is MemberState.ERROR:
            self._leave(member, now, member.reason)
        elif not client.is_connected:
            self._leave(member, now, "broken")
        elif now >= member.ends_at:
            self._leave(member, now, "old")
        else:
            member.idle_since = member.checked_at = now
            self._lay_down(member)
            if self.growth.has_plenty(len(self._members), len(self._in_use)):
                self.shrink(now)

    # Its size

    def begin(self) -> None:
        """There are to be connections."""
        self.goal = self.config.initial_size if self.config.enable_warmup else self.floor

    def grow(self, now: float) -> None:
        """Want more connections, if the present use is a reason and none is missing."""
        wanted = len(self.line) - self.making - self.missing()
        if wanted > 0 and self.goal < self.config.initial_size:
            self.goal = min(self.goal + wanted, self.config.initial_size)
        elif self.goal >= self.config.initial_size and len(self._members) >= self.goal:
            self._expand(now)

    def force_expand(self, now: float) -> PoolExpanded:
        """Expand whatever is in use, cool-down or not. Raises ResourceError at max_size."""
        return self._expand(now, force=True) or self._full(1)

    def create(self, count: int) -> None:
        """Want `count` more. Raises ResourceError when that is more than max_size."""
        if self.goal + count > self.config.max_size:
            self._full(count)
        self.goal += count

    def shrink(self, now: float) -> bool:
        """Have idle connections leave, if so few are in use, and the cool-down is over. Whether any left."""
        if self.line:
            return False
        size = len(self._members)
        surplus = size - self.growth.shrinkable_to(size, len(self._in_use), now)
        leaving = [self._idle.popleft() for _ in range(min(surplus, len(self._idle)))]
        for member in leaving:
            self._leave(member, now, "shrink")
        if leaving:
            self.goal = len(self._members)
            self.growth.shrunk(size, self.goal, now)
            self.events.emit(PoolShrunk(size, self.goal))
        return bool(leaving)

    def remove(self, member_id: int, now: float) -> None:
        """Have one leave, as soon as it is given back. Raises ConfigurationError for an unknown id."""
        member = self._members.get(member_id)
        if member is None:
            raise ConfigurationError("id", f"is {member_id!r}, and no connection of this pool has it; see connections")
        if member.state is not MemberState.ERROR:  # else it is leaving already
            self.goal = max(self.goal - 1, self.floor)
            self._discard(member, now, "removed")

    def may_want_more(self) -> bool:
        """Whether there are fewer connections than there may be."""
        return len(self._members) < self.config.max_size

    def should_grow(self, now: float) -> bool:
        """Whether `grow` is due, in the short way for those who got a connection without waiting."""
        growth = self.growth
        return growth.is_short(len(self._members), len(self._in_use)) and now >= growth.may_expand_at()

    def may_grow_at(self, now: float) -> float:
        """When `grow` may have an effect that it has not now; infinity for never by itself."""
        at = self.growth.may_expand_at()
        return at if at > now and self.growth.is_short(len(self._members), len(self._in_use)) else math.inf

    # What happens to connections

    def add(self, client: ClientT, now: float) -> Member[ClientT]:
        """A connection was made; call `serve` after."""
        self._usage.account(now, len(self._members), len(self._in_use))
        spread = 1 - self._chance() / 10  # those made together do not end together
        member = Member(self.creations, client, now, now + self._max_lifetime * spread, self._idle_timeout * spread)
        self.creations += 1
        self._members[member.id] = member
        self._lay_down(member)
        if self.events:
            self.events.emit(ConnectionCreated(member.id, client.uri))
        if self._more_due:
            self.look_at = now
        renewed, self._renewed = self._renewed, None
        if renewed is not None and len(self._members) > self.goal:
            self._discard(renewed, now, "idle")
        return member

    def lost(self, member: Member[ClientT], now: float) -> None:
        """A connection has ended. One that is in use leaves when it is given back."""
        if member.id in self._members:
            self._discard(member, now, "broken")

    def sweep(self, now: float) -> None:
        """Have those leave that are broken, too old, or idle for too long; call `grow` and make what is missing after.

        Those at the minimum are replaced a little before, one after the other: each leaves when a new one is there, or
        first where there are as many as there may be. look_at is when the next one is due.
        """
        self.look_at, self._more_due = math.inf, False
        for member in list(self._idle):
            spare = self.goal > self.floor
            due = min(member.idle_since + (self._idle_timeout if spare else member.renew_after), member.ends_at)
            if not member.client.is_connected:
                reason = "broken"
            elif now >= member.ends_at:
                reason = "old"
            elif now < due:
                self.look_at = min(self.look_at, due)
                continue
            elif spare:
                reason = "idle"
                self.goal -= 1
            elif self._begin_to_renew(member):
                reason = "idle"
            else:
                continue
            self._idle.remove(member)
            self._leave(member, now, reason)

    def to_check(self, now: float, interval: float, most: int) -> list[Member[ClientT]]:
        """Idle connections not used or checked for `interval` seconds, `most` at a time; they wait for `checked`."""
        due = [member for member in self._idle if now - member.checked_at >= interval]
        due = due[: max(most - len(self._checking), 0)]
        for member in due:
            self._idle.remove(member)
            member.state = MemberState.MAINTENANCE
            self._checking.add(member)
        return due

    def checked(self, member: Member[ClientT], now: float, *, healthy: bool) -> None:
        """A check is over; call `serve` after."""
        if member not in self._checking:
            return  # the pool was closed meanwhile
        self._checking.remove(member)
        member.checked_at = now
        if member.state is MemberState.ERROR:
            self._leave(member, now, member.reason)
        elif healthy and member.client.is_connected:
            self._lay_down(member)
        else:
            self._leave(member, now, "broken" if healthy else "unhealthy")

    def clear(self, now: float) -> list[ClientT]:
        """All are to leave, those in use as soon as they are given back. The latter's clients."""
        self.goal = 0
        self._renewed = None
        for member in list(self._members.values()):
            self._discard(member, now, "closed")
        for member in self._checking:
            self._leave(member, now, "closed")
        self._checking.clear()
        return [*self._in_use]

    # What it looks like

    def tell_open(self, tell: Callable[[ClientT, float], None]) -> None:
        """Call `tell` with each open connection, and since when it is open."""
        for member in self._members.values():
            if member.client.is_connected:
                tell(member.client, member.created_at)

    def members(self) -> list[PooledConnection]:
        """All connections, the oldest first."""
        return [
            PooledConnection(
                member.id, member.client.uri, member.state, member.created_at, member.idle_since, member.use_count
            )
            for member in self._members.values()
        ]

    def detailed_status(self, now: float) -> PoolDetailedStatus:
        """Its size, and how that came."""
        return self._usage.status(now, len(self._members), len(self._in_use), self.goal)

    # Its own

    def _longest_idle(self, now: float) -> Member[ClientT]:
        """Whose turn it is to be used; what its peer may be about to end only when there is nothing else."""
        first, last = self._idle[0], self._idle[-1]
        overdue = now - first.idle_since >= self._idle_timeout > now - last.idle_since
        return self._idle.pop() if overdue else self._idle.popleft()

    def _begin_to_renew(self, member: Member[ClientT]) -> bool:
        """Whether `member` is to leave at once, to be replaced; else another one has its turn, or is made first."""
        if self._renewed is not None or self.missing() or self.making:
            self._more_due = True
            return False
        if len(self._members) >= self.config.max_size:
            return True
        self._renewed = member
        return False

    def _hand_out(self, member: Member[ClientT], now: float) -> None:
        self._usage.account(now, len(self._members), len(self._in_use))
        member.state = MemberState.IN_USE
        member.use_count += 1
        self._in_use[member.client] = member
        self.gets += 1
        if self.events:
            self.events.emit(ConnectionAcquired(member.id))

    def _lay_down(self, member: Member[ClientT]) -> None:
        member.state = MemberState.AVAILABLE
        self._idle.append(member)

    def _discard(self, member: Member[ClientT], now: float, reason: str) -> None:
        """Have `member` leave, wherever it is."""
        if member.state is MemberState.AVAILABLE:
            self._idle.remove(member)
            self._leave(member, now, reason)
        else:
            member.state = MemberState.ERROR
            member.reason = member.reason or reason

    def _leave(self, member: Member[ClientT], now: float, reason: str) -> None:
        self._usage.account(now, len(self._members), len(self._in_use))
        member.state = MemberState.ERROR
        member.reason = reason
        del self._members[member.id]
        if member is self._renewed:
            self._renewed = None
        self.removals += 1
        self.leaving.append(member)
        if self.events:
            self.events.emit(ConnectionRemoved(member.id, reason))

    def _expand(self, now: float, *, force: bool = False) -> PoolExpanded | None:
        step = self.growth.expand(self.goal, len(self._in_use), now, force=force)
        if step is None:
            return None
        self.goal = step.to_size
        event = PoolExpanded(step.from_size, step.to_size)
        self.events.emit(event)
        return event

    def _full(self, count: int) -> PoolExpanded:
        raise ResourceError("connections of the pool", self.goal + count, self.config.max_size)
