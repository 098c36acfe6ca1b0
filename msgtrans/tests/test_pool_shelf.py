"""Who has which connection of a pool: every decision, with connections and a clock of the test's own."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from msgtrans.config import SmartPoolConfig
from msgtrans.errors import ConfigurationError, ResourceError
from msgtrans.pool.events import (
    ConnectionAcquired,
    ConnectionCreated,
    ConnectionReleased,
    ConnectionRemoved,
    PoolExpanded,
    PoolShrunk,
)
from msgtrans.pool.shelf import Shelf
from msgtrans.pool.stats import MemberState

SMALL = SmartPoolConfig(initial_size=2, max_size=8, min_connections=1, expansion_cooldown=0, shrink_cooldown=0)


class Line:
    """A connection that is open until the test says otherwise."""

    uri = "tcp://10.0.0.1:1"

    def __init__(self) -> None:
        self.is_connected = True


class Caller:
    """Somebody in line. got: the connection, in the end."""

    def __init__(self) -> None:
        self.gone = False
        self.got: Line | None = None

    def done(self) -> bool:
        return self.gone or self.got is not None


def shelf(
    config: SmartPoolConfig = SMALL,
    *,
    idle_timeout: float = math.inf,
    max_lifetime: float = math.inf,
    max_waiting: int = 10,
    chance: float = 0.0,
) -> Shelf[Line, Caller]:
    return Shelf(
        config,
        idle_timeout=idle_timeout,
        max_lifetime=max_lifetime,
        max_waiting=max_waiting,
        chance=lambda: chance,
    )


def started(
    config: SmartPoolConfig = SMALL, *, idle_timeout: float = math.inf, max_lifetime: float = math.inf
) -> Shelf[Line, Caller]:
    pool = shelf(config, idle_timeout=idle_timeout, max_lifetime=max_lifetime)
    pool.begin()
    fill(pool, 0)
    return pool


def fill(pool: Shelf[Line, Caller], now: float) -> int:
    """Make what is missing, and serve; how many there were."""
    missing = pool.missing()
    for _ in range(missing):
        pool.add(Line(), now)
    serve(pool, now)
    return missing


def serve(pool: Shelf[Line, Caller], now: float) -> None:
    for caller, member in pool.serve(now):
        caller.got = member.client


def taken(pool: Shelf[Line, Caller], now: float = 0) -> Line:
    member = pool.take(now)
    assert member is not None
    return member.client


def reasons(pool: Shelf[Line, Caller]) -> list[str]:
    """Why those left that left since the last look."""
    leaving, pool.leaving = pool.leaving, []
    return [member.reason for member in leaving]


@pytest.mark.parametrize(("warm", "size"), [(True, 2), (False, 1)])
def test_begins_with_initial_or_minimal_size(warm: bool, size: int) -> None:
    """With warm-up all of initial_size are wanted at once, without only min_connections."""
    pool = shelf(SMALL.replace(enable_warmup=warm))
    pool.begin()
    assert size == pool.missing()


def test_min_connections_are_at_most_initial_size() -> None:
    """A small pool keeps no more than it begins with, whatever min_connections is by default."""
    assert 3 == shelf(SmartPoolConfig(initial_size=3)).floor


def test_the_longest_idle_goes_first() -> None:
    """Connections are handed out in the order in which they were given back."""
    pool = started(SMALL.replace(initial_size=3))
    first, second, third = taken(pool), taken(pool), taken(pool)
    for line in (second, first, third):
        pool.give_back(line, 1)
    assert [second, first, third] == [taken(pool, 2) for _ in range(3)]


def test_giving_back_twice_is_refused() -> None:
    """Case 25: a second return raises and changes nothing, as does one of a connection of another pool."""
    pool = started()
    line = taken(pool)
    pool.give_back(line, 1)
    for other in (line, Line()):
        with pytest.raises(ConfigurationError, match="given back already"):
            pool.give_back(other, 1)
    assert (1, 1, 2, 0) == (pool.gets, pool.returns, pool.available, pool.in_use)


def test_who_comes_first_is_served_first() -> None:
    """Callers get connections in the order in which they came; nobody who comes later takes one away."""
    pool = started(SMALL.replace(max_size=2))
    lines = [taken(pool), taken(pool)]
    callers = [Caller() for _ in range(3)]
    for caller in callers:
        pool.line.join(caller)
    assert None is pool.take(5)
    callers[1].gone = True
    pool.give_back(lines[0], 7)
    assert None is pool.take(7)  # it is for the first in line
    pool.give_back(lines[1], 8)
    serve(pool, 8)
    assert [lines[0], None, lines[1]] == [caller.got for caller in callers]
    assert 0 == len(pool.line)


def test_the_line_is_bounded() -> None:
    """Beyond max_waiting a caller is refused, and counted."""
    pool = shelf(max_waiting=2)
    keys = [pool.line.join(Caller()) for _ in range(2)]
    with pytest.raises(ResourceError, match=": 2, and the limit is 2"):
        pool.line.join(Caller())
    pool.line.leave(keys[0])
    pool.line.join(Caller())
    assert (2, 1) == (len(pool.line), pool.line.refused)


def test_broken_connections_are_never_handed_out() -> None:
    """A connection found closed leaves, when one is taken as well as when one is served, and is missing then."""
    pool = started(SMALL.replace(initial_size=3))
    lines = [taken(pool) for _ in range(3)]
    for line in lines:
        pool.give_back(line, 0)
    lines[0].is_connected = False
    assert lines[1] is taken(pool, 1)
    lines[2].is_connected = False
    assert None is pool.take(1)
    assert (["broken", "broken"], 2) == (reasons(pool), pool.missing())
    caller = Caller()
    pool.line.join(caller)
    lines[1].is_connected = False
    pool.give_back(lines[1], 2)
    pool.add(lines[1], 2)  # it broke as soon as it was made
    serve(pool, 2)
    assert (["broken", "broken"], None, 3) == (reasons(pool), caller.got, pool.missing())
    fill(pool, 3)
    assert caller.got is not None


def test_nothing_shrinks_while_somebody_waits() -> None:
    """However few are in use, connections stay while a caller is in line."""
    pool = started()
    pool.create(2)
    fill(pool, 0)
    key = pool.line.join(Caller())
    assert (False, 4) == (pool.shrink(0), pool.total)
    pool.line.leave(key)
    assert (True, 3) == (pool.shrink(0), pool.total)


def test_what_breaks_in_use_leaves_when_given_back() -> None:
    """A connection that ends while somebody has it stays theirs until they give it back, and is replaced then."""
    pool = started()
    line = taken(pool)
    pool.lost(next(member for member in pool._members.values() if member.client is line), 1)
    assert ([], 0, MemberState.ERROR) == (reasons(pool), pool.missing(), pool.members()[0].state)
    pool.give_back(line, 2)
    assert (["broken"], 1) == (reasons(pool), pool.missing())


def test_those_up_to_the_initial_size_are_made_when_wanted() -> None:
    """Without warm-up callers have connections made up to initial_size, which is no expansion."""
    pool = shelf(SMALL.replace(initial_size=3, enable_warmup=False, min_connections=0))
    pool.begin()
    for wanted in (1, 2, 3, 3):
        pool.line.join(Caller())
        pool.grow(0)
        assert wanted == pool.missing()
    assert 0 == pool.growth.expansions


def test_pools_grow_and_shrink_with_their_use() -> None:
    """Case 25: 100, 200, 300, 360, 396, then max_size; given back, it shrinks by 0.8 to initial_size; events tell."""
    pool = started(SmartPoolConfig(max_size=400, expansion_cooldown=0, shrink_cooldown=0))
    events = pool.events.open()
    sizes, lines = [pool.total], []
    while (member := pool.take(0)) is not None:
        lines.append(member.client)
        if pool.should_grow(0):
            pool.grow(0)
            fill(pool, 0)
            sizes.append(pool.total)
    assert ([100, 200, 300, 360, 396, 400], 400) == (sizes, len(lines))
    for line in lines:
        pool.give_back(line, 1)
    while pool.shrink(2):
        pass
    steps = [(event.from_size, event.to_size) for event in events._queue if isinstance(event, PoolShrunk)]
    assert [(400, 320), (320, 256), (256, 204), (204, 163), (163, 130), (130, 104), (104, 100)] == steps
    assert (100, len(steps), 2.0) == (pool.total, pool.growth.shrinks, pool.growth.factor)


def test_shrinking_takes_idle_connections_only() -> None:
    """Those in use stay, and the pool is as large as it then is; what is missing is wanted no more."""
    pool = started(SMALL.replace(max_size=20, shrink_threshold=0.5, expansion_threshold=0.9))
    pool.create(8)
    fill(pool, 0)
    lines = [taken(pool) for _ in range(5)]
    pool.shrink(0)
    assert (8, 5, ["shrink"] * 2) == (pool.total, pool.in_use, reasons(pool))
    assert (8, 0) == (pool.goal, pool.missing())
    assert all(line.is_connected for line in lines)


def test_nothing_grows_while_connections_are_missing() -> None:
    """The next expansion waits until the last one is made."""
    pool = started()
    taken(pool)
    taken(pool)
    pool.grow(0)
    assert (4, 2) == (pool.goal, pool.missing())
    pool.making = 2
    pool.grow(0)
    assert (4, 0) == (pool.goal, pool.missing())


def test_create_and_force_end_at_max_size() -> None:
    """Commands beyond max_size are refused with the numbers."""
    pool = started()
    with pytest.raises(ResourceError, match=": 9, and the limit is 8"):
        pool.create(7)
    pool.create(5)
    assert (7, PoolExpanded(7, 8)) == (pool.goal, pool.force_expand(0))
    with pytest.raises(ResourceError, match=": 9, and the limit is 8"):
        pool.force_expand(0)


def test_removed_connections_leave_when_nobody_has_them() -> None:
    """One that is idle leaves at once, one in use when it is given back, and only once; unknown ids are refused."""
    pool = started(SMALL.replace(initial_size=3))
    line = taken(pool)
    pool.remove(1, 0)
    pool.remove(0, 0)
    pool.remove(0, 0)
    assert ((2, 1, 1), ["removed"]) == ((pool.total, pool.in_use, pool.goal), reasons(pool))
    pool.give_back(line, 1)
    assert ((1, 0), ["removed"]) == ((pool.total, pool.missing()), reasons(pool))
    with pytest.raises(ConfigurationError, match="no connection of this pool"):
        pool.remove(0, 0)
    pool.remove(2, 0)
    assert 1 == pool.missing()  # min_connections


def test_idle_connections_leave_down_to_the_minimum() -> None:
    """Unused for idle_timeout, connections leave until min_connections are left; used ones begin again."""
    pool = started(SMALL.replace(initial_size=3), idle_timeout=10)
    pool.give_back(taken(pool), 5)
    pool.sweep(9.9)
    assert [] == reasons(pool)
    pool.sweep(10)
    assert (["idle", "idle"], 1) == (reasons(pool), pool.total)
    pool.sweep(100)
    assert ([], 1, 1) == (reasons(pool), pool.total, pool.missing())  # the last one is to be replaced
    pool.add(Line(), 100)
    assert (["idle"], 1, 0) == (reasons(pool), pool.total, pool.missing())


def test_connections_at_the_minimum_are_replaced_one_after_the_other() -> None:
    """Unused for nine tenths of idle_timeout or more, by chance, each gets a successor before it leaves."""
    pool = shelf(SmartPoolConfig(initial_size=3, max_size=5, min_connections=3), idle_timeout=100, chance=0.5)
    pool.begin()
    fill(pool, 0)
    old = {member.client for member in pool._idle}
    pool.sweep(94.9)
    assert (0, 95) == (pool.missing(), pool.look_at)
    for left in (2, 1, 0):
        pool.sweep(95)
        assert (1, 3) == (pool.missing(), pool.total)
        pool.sweep(95)
        assert (1, []) == (pool.missing(), reasons(pool))
        pool.add(Line(), 95)
        assert (["idle"], left, 3) == (reasons(pool), len(old & {member.client for member in pool._idle}), pool.total)
        assert (95 if left else math.inf) == pool.look_at or not left
    pool.sweep(95)
    assert (0, 190) == (pool.missing(), pool.look_at)


def test_a_full_pool_replaces_by_leaving_first() -> None:
    """Where there are as many as there may be, the one that was idle for too long leaves, then one is made."""
    pool = shelf(SmartPoolConfig(initial_size=2, max_size=2, min_connections=2), idle_timeout=100)
    pool.begin()
    fill(pool, 0)
    pool.sweep(100)
    assert (["idle"], 1, 1) == (reasons(pool), pool.missing(), pool.total)
    pool.sweep(100)
    assert ([], 1) == (reasons(pool), pool.missing())
    fill(pool, 100)
    pool.sweep(100)
    assert (["idle"], 1) == (reasons(pool), pool.missing())


def test_what_is_used_while_it_is_replaced_leaves_when_it_is_given_back() -> None:
    """A successor that is there takes the place of its predecessor, also if somebody has that meanwhile."""
    pool = started(SMALL.replace(initial_size=1), idle_timeout=100)
    pool.sweep(100)
    line = taken(pool, 100)
    pool.add(Line(), 101)
    assert ([], 2) == (reasons(pool), pool.total)
    pool.give_back(line, 102)
    assert (["idle"], 1, 0) == (reasons(pool), pool.total, pool.missing())


def test_what_its_peer_may_end_soon_is_used_only_when_there_is_nothing_else() -> None:
    """Idle for longer than idle_timeout, a connection is handed out after those that are not."""
    pool = started(SMALL.replace(min_connections=2), idle_timeout=100)
    first, second = taken(pool), taken(pool)
    pool.give_back(first, 0)
    pool.give_back(second, 50)
    assert [second, first] == [taken(pool, 120), taken(pool, 120)]


def test_old_connections_are_replaced() -> None:
    """After max_lifetime, less up to a tenth, a connection leaves: at once, when given back, or when it is taken."""
    pool = shelf(SMALL.replace(initial_size=3), max_lifetime=100, chance=0.5)
    pool.begin()
    fill(pool, 0)
    used = taken(pool)
    pool.sweep(94)
    assert [] == reasons(pool)
    pool.give_back(taken(pool, 94), 95)
    assert None is pool.take(95)
    pool.give_back(used, 95)
    assert (["old"] * 3, 3) == (reasons(pool), pool.missing())


def test_checks_take_connections_out_of_use() -> None:
    """What was not used for the interval is checked, some at a time; only what is healthy comes back."""
    pool = started(SMALL.replace(initial_size=4))
    pool.give_back(taken(pool), 20)
    assert [] == pool.to_check(29, 30, 9)
    first, second = pool.to_check(30, 30, 2)
    assert [] == pool.to_check(30, 30, 2)
    assert (2, 2, 4) == (pool.checking, pool.available, pool.total)
    pool.checked(first, 31, healthy=True)
    pool.checked(second, 31, healthy=False)
    assert (["unhealthy"], 3, 1) == (reasons(pool), pool.available, pool.missing())
    (third,) = pool.to_check(49, 30, 2)
    third.client.is_connected = False
    pool.checked(third, 50, healthy=True)
    assert (["broken"], 2) == (reasons(pool), pool.available)


def test_a_removed_connection_does_not_come_back_from_its_check() -> None:
    """What was removed, or whose pool closed, while it was checked leaves."""
    pool = started(SMALL.replace(initial_size=3))
    first, second = pool.to_check(30, 30, 2)
    pool.remove(first.id, 30)
    pool.checked(first, 31, healthy=True)
    assert ["removed"] == reasons(pool)
    pool.clear(32)
    pool.checked(second, 33, healthy=True)
    assert (["closed", "closed"], 0, 0) == (reasons(pool), pool.total, pool.missing())


def test_utilization_is_that_of_the_connections() -> None:
    """It is 0 of none; the average weighs each moment by how many connections there were."""
    pool = shelf()
    assert (0.0, 0.0) == (pool.utilization, pool.detailed_status(5).avg_utilization)
    pool.begin()
    fill(pool, 10)
    line = taken(pool, 20)
    assert 0.5 == pool.utilization
    pool.give_back(line, 30)
    status = pool.detailed_status(40)
    assert (10 / 60, 2, 2, 8) == (status.avg_utilization, status.current_size, status.wanted_size, status.max_size)


class PoolMachine(RuleBasedStateMachine):
    """A pool in the hands of callers who come, go, break connections and wait."""

    @initialize(
        initial=st.integers(1, 4),
        more=st.integers(0, 8),
        least=st.integers(0, 4),
        warm=st.booleans(),
        cooldown=st.sampled_from([0, 15]),
        lifetime=st.sampled_from([math.inf, 60.0]),
    )
    def start(self, initial: int, more: int, least: int, warm: bool, cooldown: float, lifetime: float) -> None:
        self.config = SmartPoolConfig(
            initial_size=initial,
            max_size=initial + more,
            min_connections=least,
            enable_warmup=warm,
            expansion_cooldown=cooldown,
            shrink_cooldown=cooldown,
        )
        self.now = 0.0
        self.pool = shelf(self.config, idle_timeout=25, max_lifetime=lifetime, max_waiting=4)
        self.events = self.pool.events.open()
        self.held: list[Line] = []
        self.lines: list[Line] = []
        self.callers: list[tuple[Caller, int]] = []
        self.checks: list = []
        self.waited = self.seen = 0.0
        self.told: Counter[type] = Counter()
        self.open: set[int] = set()
        self.out: set[int] = set()
        self.pool.begin()

    def serve(self) -> None:
        """Hand out what is there, in order."""
        order = [caller for caller, _ in self.callers if not caller.done()]
        served = []
        for caller, member in self.pool.serve(self.now):
            assert member.client.is_connected
            assert not caller.done()
            caller.got = member.client
            served.append(caller)
            self.held.append(member.client)
        assert order[: len(served)] == served
        self.callers = [(caller, key) for caller, key in self.callers if caller.got is None]

    @rule()
    def acquire(self) -> None:
        member = self.pool.take(self.now)
        if member is not None:
            assert member.client.is_connected
            assert self.now < member.ends_at
            assert member.client not in self.held
            assert not [caller for caller, _ in self.callers if not caller.gone]
            self.held.append(member.client)
        else:
            caller = Caller()
            try:
                self.callers.append((caller, self.pool.line.join(caller)))
            except ResourceError:
                assert 4 == len(self.pool.line)
        self.pool.grow(self.now)
        self.serve()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        line = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.pool.give_back(line, self.now)
        with pytest.raises(ConfigurationError):
            self.pool.give_back(line, self.now)
        self.serve()

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller, key = self.callers.pop(data.draw(st.integers(0, len(self.callers) - 1)))
        caller.gone = True
        if data.draw(st.booleans()):
            self.pool.line.leave(key)

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(0, self.pool.missing()))):
            line = Line()
            self.lines.append(line)
            self.pool.add(line, self.now)
        self.serve()

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        line = data.draw(st.sampled_from(self.lines))
        line.is_connected = False
        if data.draw(st.booleans()):
            for member in list(self.pool._members.values()):
                if member.client is line:
                    self.pool.lost(member, self.now)

    @rule(pause=st.floats(0, 40))
    def advance(self, pause: float) -> None:
        self.now += pause
        self.pool.sweep(self.now)
        self.pool.shrink(self.now)
        self.pool.grow(self.now)
        self.serve()

    @rule()
    def check(self) -> None:
        self.checks += self.pool.to_check(self.now, 10, 2)

    @precondition(lambda self: self.checks)
    @rule(healthy=st.booleans())
    def checked(self, healthy: bool) -> None:
        self.pool.checked(self.checks.pop(0), self.now, healthy=healthy)
        self.serve()

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.open:
            self.pool.remove(data.draw(st.sampled_from(sorted(self.open))), self.now)

    @rule()
    def force(self) -> None:
        if self.pool.goal < self.config.max_size:
            self.pool.force_expand(self.now)

    @rule()
    def close_and_begin_again(self) -> None:
        for caller in self.pool.line.clear():
            caller.gone = True
        self.callers = []
        assert set(self.held) == set(self.pool.clear(self.now))
        self.checks = []
        assert self.pool.total == self.pool.in_use
        self.pool.begin()

    @invariant()
    def totals_add_up(self) -> None:
        pool = self.pool
        while self.events._queue:
            self.hear(self.events._queue.popleft())
        assert pool.total == pool.in_use + pool.available + pool.checking
        assert pool.total == pool.creations - pool.removals == len(pool.members()) == len(self.open)
        assert pool.in_use == pool.gets - pool.returns == len(self.held) == len(self.out)
        assert (pool.gets, pool.returns) == (self.told[ConnectionAcquired], self.told[ConnectionReleased])
        assert (pool.creations, pool.removals) == (self.told[ConnectionCreated], self.told[ConnectionRemoved])
        assert pool.growth.expansions == self.told[PoolExpanded]
        assert pool.growth.shrinks == self.told[PoolShrunk]
        assert pool.floor <= pool.goal <= self.config.max_size
        assert 0 <= pool.utilization <= 1
        assert 0 <= pool.detailed_status(self.now).avg_utilization <= 1
        assert pool.removals == len(pool.leaving)
        assert len(pool.line) <= 4

    def hear(self, event: object) -> None:
        """Every event fits what was told before."""
        self.told[type(event)] += 1
        match event:
            case ConnectionCreated(id=number):
                assert number == self.told[ConnectionCreated] - 1
                self.open.add(number)
            case ConnectionAcquired(id=number):
                assert number in self.open - self.out
                self.out.add(number)
            case ConnectionReleased(id=number):
                self.out.remove(number)
            case ConnectionRemoved(id=number):
                assert number not in self.out
                self.open.remove(number)


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
