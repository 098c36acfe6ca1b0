"""What a client decides about one service: the route, the group, the instance, and who is left out for a while.

`ServiceChoices` owns what all balancers of one service share. It is compiled anew when the service is shown with other
instances or rules, so that a choice touches few things. Synchronous, under one lock, so that any thread may call it.
A signal handler, or a finaliser that the collector runs, may call it too while its own thread is inside: ends of
requests wait in a queue until whoever is inside is done, and a choice is made with nothing that is being changed.
Not here: how an instance is chosen within a group (`strategies`), what a rule means (`routes`), where views come from.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple, Protocol

from artemis.client.balancing.members import Lot, Member
from artemis.client.balancing.routes import Names, routes_of
from artemis.client.balancing.strategies import learn_latency, smooth_turn
from artemis.client.events import OutlierEjected, OutlierReturned
from artemis.client.forks import note_open
from artemis.client.names import Key, instance_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from random import Random

    from artemis.client.balancing.outliers import OutlierRule
    from artemis.client.balancing.routes import Route, RouteGroup
    from artemis.client.balancing.strategies import Pick
    from artemis.model import Instance, RouteRule

NEVER = math.inf
SPREAD = 64
"""The turns of groups start at one of so many points of their cycle, so that callers do not all begin with one."""


class Shown(Protocol):
    """A service as it is shown; the same objects mean the same content."""

    @property
    def instances(self) -> tuple[Instance, ...] | None: ...
    @property
    def route_rules(self) -> tuple[RouteRule, ...]: ...
    @property
    def logic_instances(self) -> tuple[Instance, ...]: ...


class _Compiled:
    """A route with its groups in tiers, nearest first; one tier unless the route says ``close-by-visit``."""

    __slots__ = ("lots", "tiers", "weightless")

    def __init__(self, tiers: tuple[tuple[Lot, ...], ...], *, weightless: bool) -> None:
        self.tiers = tiers
        self.weightless = weightless
        """It has groups with instances, but the weight of all of them is 0."""
        self.lots: tuple[Lot, ...] = ()

    def settle(self) -> None:
        """Decide who is able: the first tier of which at most half are left out; all of the last if there is none."""
        for tier in self.tiers:
            members = {member for lot in tier for member in lot.members}
            resting = {member for member in members if member.resting_until is not None}
            crowded = 2 * len(resting) > len(members)
            if crowded and tier is not self.tiers[-1]:
                continue
            for lot in tier:
                left = lot.members if crowded or not resting else (m for m in lot.members if m not in resting)
                lot.narrow(tuple(left))
            # A group that has nobody left hands its share to the others, as one without instances does.
            self.lots = tuple(lot for lot in tier if lot.able)
            return


class _Known(NamedTuple):
    """The members before a change: by key, and by the address in memory of the instance that they hold."""

    by_key: dict[Key, Member]
    by_instance: dict[int, Member]


class _End(NamedTuple):
    """How a request ended, of a member or, if only the caller knows it, of an instance that is shown like this."""

    whose: Member | Instance
    shown: Shown | None
    ok: bool | None
    seconds: float | None
    began: bool


class ServiceChoices:
    """The choices of one client among the instances of one service.

    ``here`` says in which region and zone the client is; ``tell`` takes events; ``random`` and ``clock`` (seconds)
    decide everything else, so that equal ones choose equally. Any thread may call any method.
    """

    def __init__(
        self,
        service_id: str,
        *,
        here: tuple[str | None, str | None],
        outliers: OutlierRule,
        random: Random,
        clock: Callable[[], float],
        tell: Callable[[OutlierEjected | OutlierReturned], None],
    ) -> None:
        self.service_id = service_id
        self.clock = clock
        self._here = (_word(here[0]), _word(here[1]))
        self._outliers = outliers
        self._random = random
        self._tell = tell
        self._ends: deque[_End] = deque()
        self._lock = RLock()
        self._busy = False
        """Somebody is inside; whoever holds the lock and sees this has interrupted himself."""
        note_open(self)  # by itself: balancers keep it when the client has closed
        self._instances: tuple[Instance, ...] | None = None
        self._rules: tuple[RouteRule, ...] = ()
        self._logic: tuple[Instance, ...] = ()
        self._names = Names()
        self._members: dict[Key, Member] = {}
        self._lots: dict[tuple[str, int], tuple[Lot, ...]] = {}
        self._routes: dict[str, _Compiled] = {}
        self._resting: list[Member] = []
        self._next_return = NEVER

    def choose(
        self, shown: Shown, routes: Sequence[str], pick: Pick, key: bytes, avoid: Collection[Instance], *, begin: bool
    ) -> Member | None:
        """Choose for one request by the first of ``routes`` that leads anywhere; None if none does.

        ``begin`` counts the request as under way; hand its end to ``ended`` then.
        """
        back: Sequence[Member] = ()
        with self._lock:
            if self._busy:
                return self._apart().choose(shown, routes, pick, key, avoid, begin=begin)
            try:
                self._busy = True
                if (
                    shown.instances is not self._instances
                    or shown.route_rules is not self._rules
                    or shown.logic_instances is not self._logic
                ):
                    self._compile(shown)
                if self._resting:
                    back = self._let_return()
                member = None
                for route in routes:
                    compiled = self._routes.get(route)
                    if compiled is not None and compiled.lots:
                        member = self._among(compiled, pick, key, avoid)
                        if begin:
                            member.outstanding += 1
                        break
            finally:
                self._busy = False
        if self._ends:
            self._take_in()
        if back:
            self._tell_of(back)
        return member

    def why_none(self, route: str) -> str:
        """Say why ``choose`` found nothing by this route, the service being shown with instances."""
        compiled = self._routes.get(route)
        if compiled is None:
            return f"it has no route rule {route}"
        count = len(self._instances or ())
        if compiled.weightless:
            return f"its route rule {route} gives the weight 0 to every group that has any of its {count} instances"
        return f"no group of its route rule {route} has any of its {count} instances"

    def ended(self, member: Member, *, ok: bool | None, seconds: float | None, began: bool) -> None:
        """Take in how a request ended: well, badly, or (None) in a way that says nothing about the instance.

        Never waits: if another thread is inside, that one takes it in.
        """
        self._ends.append(_End(member, None, ok, seconds, began))
        self._take_in()

    def reported(self, instance: Instance, shown: Shown | None, *, ok: bool, seconds: float | None) -> None:
        """Take in how a request ended that was not begun here; nothing happens if the instance is in no route."""
        self._ends.append(_End(instance, shown, ok, seconds, began=False))
        self._take_in()

    def outliers(self) -> tuple[Instance, ...]:
        """Return the instances that rest now."""
        back: Sequence[Member] = ()
        with self._lock:
            if not self._busy:
                try:
                    self._busy = True
                    back = self._let_return()
                finally:
                    self._busy = False
            resting = tuple(member.instance for member in self._resting)
        if self._ends:
            self._take_in()
        self._tell_of(back)
        return resting

    def after_fork(self) -> None:
        """Forget the parent's choices, in the child of a fork: a thread that is not here may have been inside."""
        self._lock = RLock()
        self._busy = False
        self._ends = deque()
        self._instances = None
        self._members, self._lots, self._routes, self._resting = {}, {}, {}, []
        self._next_return = NEVER
        note_open(self)  # this process may fork again

    def _apart(self) -> ServiceChoices:
        """Return choices that share nothing with these, for one choice in the middle of another one."""
        return ServiceChoices(
            self.service_id,
            here=self._here,
            outliers=self._outliers,
            random=self._random,
            clock=self.clock,
            tell=self._tell,
        )

    def _take_in(self) -> None:
        # Whoever is inside looks here after leaving, so what is put in meanwhile is taken in by somebody.
        while self._ends and self._lock.acquire(blocking=False):
            told: list[OutlierEjected | None] = []
            try:
                if self._busy:
                    return
                try:
                    self._busy = True
                    while self._ends:
                        told.append(self._end(self._ends.popleft()))
                finally:
                    self._busy = False
            finally:
                self._lock.release()
            for event in told:
                if event is not None:
                    self._tell(event)

    def _end(self, end: _End) -> OutlierEjected | None:
        if isinstance(end.whose, Member):
            member: Member | None = end.whose
        else:
            if self._instances is None and end.shown is not None:
                self._compile(end.shown)
            member = self._members.get(instance_key(end.whose))
        if member is None:
            return None
        if end.began:
            member.outstanding -= 1
        return None if end.ok is None else self._learn(member, ok=end.ok, seconds=end.seconds)

    def _learn(self, member: Member, *, ok: bool, seconds: float | None) -> OutlierEjected | None:
        now = self.clock()
        if ok and seconds is not None:
            learn_latency(member, seconds, now)
        rest = self._outliers.note(member, ok=ok, now=now)
        # One that is not shown any more is none of ours: it starts anew when it comes back.
        if rest is None or self._members.get(member.key) is not member:
            return None
        self._resting.append(member)
        self._settle()
        return OutlierEjected(self.service_id, member.instance, member.failures, rest)

    def _let_return(self) -> Sequence[Member]:
        if not self._resting or (now := self.clock()) < self._next_return:
            return ()
        back = [member for member in self._resting if _until(member) <= now]
        for member in back:
            member.resting_until = None
        self._resting = [member for member in self._resting if member.resting_until is not None]
        self._settle()
        return back

    def _tell_of(self, back: Iterable[Member]) -> None:
        for member in back:
            self._tell(OutlierReturned(self.service_id, member.instance))

    def _settle(self) -> None:
        self._next_return = min((_until(member) for member in self._resting), default=NEVER)
        for compiled in self._routes.values():
            compiled.settle()

    def _among(self, compiled: _Compiled, pick: Pick, key: bytes, avoid: Collection[Instance]) -> Member:
        lots = compiled.lots
        lot = lots[0] if len(lots) == 1 else smooth_turn(lots)
        member = pick(lot, lot.able, self._random, self.clock, key)
        if avoid:
            avoided = {instance_key(instance) for instance in avoid}
            # Usually it is another one than those that just failed; everybody is looked at only if it is not.
            if member.key in avoided:
                other = _around(compiled, avoided)
                if other is not None:
                    member = pick(*other, self._random, self.clock, key)
        return member

    def _compile(self, shown: Shown) -> None:
        # Whoever interrupts this, as Ctrl-C does, leaves it to the next one to begin anew.
        self._instances = None
        before, self._members = self._members, {}
        known = _Known(before, {id(member.instance): member for member in before.values()})
        lots, self._lots = self._lots, {}
        self._routes = {}
        for route_id, route in routes_of(
            shown.route_rules, shown.instances or (), shown.logic_instances, self._names
        ).items():
            weighted = [group for group in route.groups if group.weight]
            tiers: list[tuple[Lot, ...]] = []
            for groups in _nearer(route, weighted, self._here):
                tier = self._dealt(lots.get((route_id, len(tiers)), ()), groups, known)
                self._lots[route_id, len(tiers)] = tier
                tiers.append(tier)
            self._routes[route_id] = _Compiled(tuple(tiers), weightless=bool(route.groups) and not weighted)
        self._resting = [member for member in self._resting if self._members.get(member.key) is member]
        self._settle()
        self._instances, self._rules, self._logic = shown.instances, shown.route_rules, shown.logic_instances

    def _dealt(self, old: tuple[Lot, ...], groups: Sequence[RouteGroup], known: _Known) -> tuple[Lot, ...]:
        """Return the groups with their members; who had which turn stays as long as the groups and weights do."""
        lots = old
        if [(lot.key, lot.weight) for lot in old] != [(group.key, group.weight) for group in groups]:
            lots = tuple(Lot(group.key, group.weight, self._random.randrange(1 << 30)) for group in groups)
            cycle = sum(lot.weight for lot in lots) // math.gcd(*(lot.weight for lot in lots))
            for _ in range(self._random.randrange(min(cycle, SPREAD))):
                smooth_turn(lots)
        for lot, group in zip(lots, groups, strict=True):
            lot.members = tuple(self._member(instance, known) for instance in group.instances)
        return lots

    def _member(self, instance: Instance, known: _Known) -> Member:
        member = known.by_instance.get(id(instance))
        if member is None or member.instance is not instance:
            key = instance_key(instance)
            member = self._members.get(key) or known.by_key.get(key) or Member(instance, key)
            member.instance = instance
        self._members[member.key] = member
        return member


def _nearer(route: Route, groups: Sequence[RouteGroup], here: tuple[str, str]) -> list[list[RouteGroup]]:
    """Return the groups with instances, for ``close-by-visit`` first narrowed to the own zone and to the own region."""
    tiers: list[list[RouteGroup]] = []
    if route.strategy == "close-by-visit":
        region, zone = here
        for near in (lambda one: _place(one) == (region, zone), lambda one: _place(one)[0] == region):
            tier = [replace(group, instances=own) for group in groups if (own := tuple(filter(near, group.instances)))]
            if tier and tier not in tiers:
                tiers.append(tier)
    if groups and list(groups) not in tiers:
        tiers.append(list(groups))
    return tiers


def _place(instance: Instance) -> tuple[str, str]:
    return _word(instance.region_id), _word(instance.zone_id)


def _word(text: str | None) -> str:
    return (text or "").strip().lower()


def _around(compiled: _Compiled, avoided: set[Key]) -> tuple[Lot, Sequence[Member]] | None:
    """Find a group with somebody who is not to be avoided; those who are able first, then nearer ones."""
    for stage in _stages(compiled):
        left = {lot: able for lot, members in stage if (able := tuple(m for m in members if m.key not in avoided))}
        if left:
            lot = smooth_turn(list(left))
            return lot, left[lot]
    return None


def _stages(compiled: _Compiled) -> Iterator[list[tuple[Lot, Sequence[Member]]]]:
    yield [(lot, lot.able) for lot in compiled.lots]
    for tier in compiled.tiers:
        yield [(lot, _rested(lot.members)) for lot in tier]
    for tier in compiled.tiers:
        yield [(lot, lot.members) for lot in tier]


def _until(member: Member) -> float:
    return member.resting_until or 0.0


def _rested(members: Sequence[Member]) -> tuple[Member, ...]:
    return tuple(member for member in members if member.resting_until is None)
