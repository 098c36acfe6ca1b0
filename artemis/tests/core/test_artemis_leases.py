"""The lease table: silence, expiry, self-preservation (design 4.1 "Who expires", spec 4.5, defect 3)."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artemis.registry import Lease, NodeLimits, NodeTimings, Record
from artemis.registry.leases import LeaseTable
from artemis.registry.records import ZERO

TTL, WINDOW, HOLD = 20_000, 15_000, 60_000


def new_lease(name: str, now: int) -> Lease:
    record = Record(("r", "s", name), (1, "n"), False, b"", (1, "n"), ZERO, (1, "n"), ())
    return Lease(record, (1, "n"), now, live=True, legacy=False)


def names(leases: list[Lease]) -> list[str]:
    return [lease.record.key[2] for lease in leases]


@pytest.fixture
def fill() -> Callable[[int], tuple[LeaseTable, list[Lease]]]:
    """Return a maker of a table with so many leases, all heard at 0."""

    def make(count: int) -> tuple[LeaseTable, list[Lease]]:
        table = LeaseTable(TTL, WINDOW, HOLD, now=0)
        leases = [new_lease(str(number), 0) for number in range(count)]
        for lease in leases:
            table.add(lease)
        return table, leases

    return make


def hear(table: LeaseTable, leases: list[Lease], now: int) -> None:
    table.hear_all(leases, now, (now, "n"))


def test_a_lease_expires_after_its_ttl_and_not_before(fill):
    """A silent lease is kept through TTL milliseconds and expires with the next."""
    table, _ = fill(1)
    assert ([], False) == table.tick(TTL, 10)
    expired, more = table.tick(TTL + 1, 10)
    assert (["0"], False, 0) == (names(expired), more, len(table))


def test_a_heartbeat_brings_a_silent_lease_back(fill):
    """A lease that has gone silent but not expired is renewed like any other."""
    table, leases = fill(2)
    table.tick(WINDOW + 1, 10)
    assert 0 == table.status().heard
    table.hear(leases[0], WINDOW + 2, (2, "n"))
    assert 1 == table.status().heard
    hear(table, leases[1:], WINDOW + 3)
    assert (2, (WINDOW + 3, "n")) == (table.status().heard, leases[1].renewed)


def test_expiry_is_bounded_per_tick_and_goes_on_in_the_next(fill):
    """A tick handles at most `limit` leases of each kind and says that more is due."""
    table, _ = fill(4)
    seen, calls, more = [], 0, True
    while more:
        expired, more = table.tick(TTL + 1, 1)
        assert len(expired) <= 1
        seen += names(expired)
        calls += 1
    assert (["0", "1", "2", "3"], 7) == (seen, calls)


def test_a_few_leases_are_never_preserved(fill):
    """Four leases that go silent together all expire after the TTL."""
    table, _ = fill(4)
    assert "fewer than 5 live leases are never held" == table.status().reason
    assert 4 == len(table.tick(TTL + 1, 10)[0])


def test_self_preservation_holds_and_ends_by_itself(fill):
    """After a mass silence each lease is kept for the hold, counted per lease, then expires (defect 3)."""
    table, leases = fill(100)
    hear(table, leases[40:], TTL)
    assert ([], False) == table.tick(TTL + 1, 1_000)
    status = table.status()
    assert (True, TTL + 1, 100, 60) == (status.active, status.since, status.live, status.heard)
    assert (
        "40 of 100 leases were not heard within 15000 ms, more than 15 %: each is kept 60000 ms longer" == status.reason
    )
    hear(table, leases[40:], TTL + HOLD)
    assert ([], False) == table.tick(TTL + HOLD, 1_000)
    expired, _ = table.tick(TTL + HOLD + 1, 1_000)
    assert [str(number) for number in range(40)] == names(expired)
    table.tick(TTL + HOLD + 2, 1_000)
    assert (False, 60, 60) == (table.status().active, table.status().live, table.status().heard)
    assert "60 of 60 leases were heard within 15000 ms" == table.status().reason


def test_leaving_self_preservation_gives_every_lease_a_fresh_ttl(fill):
    """When enough are heard again, those still silent get a whole TTL from that moment."""
    table, leases = fill(10)
    hear(table, leases[:4], TTL)
    table.tick(TTL + 1, 100)
    assert table.status().active
    hear(table, leases[:9], 40_000)
    assert ([], False) == table.tick(40_001, 100)
    assert (False, 9) == (table.status().active, table.status().heard)
    told = f"9 of 10 leases were heard within {WINDOW} ms; 1 that fell silent got a fresh TTL of {TTL} ms"
    assert told == table.status().reason
    hear(table, leases[:9], 60_000)
    assert ([], False) == table.tick(60_001, 100)
    assert 9 == table.status().heard
    assert (["9"], False) == (names(table.tick(60_002, 100)[0]), False)


def test_a_pardoned_lease_can_be_renewed_and_discarded(fill):
    """Leases that were pardoned when self-preservation ended are leases like any other."""
    table, leases = fill(20)
    hear(table, leases[:10], TTL)
    table.tick(TTL + 1, 100)
    hear(table, leases[:18], 30_000)
    table.tick(30_001, 100)
    table.hear(leases[18], 31_000, (31, "n"))
    table.discard(leases[19])
    table.discard(leases[19])
    assert (19, 19) == (len(table), table.status().heard)


def test_self_preservation_can_be_switched_off(fill):
    """Switched off, silent leases expire after their TTL however many they are."""
    table, _ = fill(100)
    table.enabled = False
    assert "switched off" == table.status().reason
    assert 100 == len(table.tick(TTL + 1, 1_000)[0])


def test_switching_off_while_active_pardons_first(fill):
    """Switching off ends self-preservation as usual: with a fresh TTL for everyone."""
    table, _ = fill(100)
    table.tick(TTL + 1, 1_000)
    table.enabled = False
    state = table.status()
    assert (False, False, 0, 100) == (state.enabled, state.active, state.heard, state.live)
    assert f"switched off; 100 that fell silent got a fresh TTL of {TTL} ms" == state.reason
    assert ([], False) == table.tick(TTL + 2, 1_000)
    after = table.status()
    assert (state.active, state.heard, state.reason) == (after.active, after.heard, after.reason)
    assert ([], False) == table.tick(2 * TTL + 2, 1_000)
    assert 100 == len(table.tick(2 * TTL + 3, 1_000)[0])


class Oracle:
    """The same rules in the plainest form: everyone is looked at in every tick."""

    def __init__(self, grace: int = 0) -> None:
        self.grace = grace
        self.heard: dict[str, int] = {}
        self.fresh_from = 0
        self.active = False

    def tick(self, now: int) -> list[str]:
        silence = {name: now - max(heard, self.fresh_from) for name, heard in self.heard.items()}
        within = sum(silent <= WINDOW for silent in silence.values())
        active = len(silence) >= 5 and within * 100 < 85 * len(silence)
        if self.active and not active:
            self.fresh_from = now
        self.active = active
        wait = TTL + (HOLD if active else 0)
        expired = [
            name for name in silence if now - max(self.heard[name], self.fresh_from) > wait + rank_of(name) * self.grace
        ]
        for name in expired:
            del self.heard[name]
        return expired


def rank_of(name: str) -> int:
    """The rank of this node for a lease: any rule will do, as long as it is always the same."""
    return int(name) % 3


STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 500, 5_000, 9_999, WINDOW, TTL, HOLD]),
        st.sets(st.integers(0, 11), max_size=12),
        st.integers(1, 3),
    ),
    max_size=25,
)


@settings(max_examples=300)
@given(STEPS, st.sampled_from([0, 3_000, 10_000]))
def test_the_table_agrees_with_looking_at_everyone(steps: list[tuple[int, set[int], int]], grace: int):
    """Whatever is heard when, and however small the ticks, the table expires exactly what the plain rules expire."""
    table, oracle, leases, now = LeaseTable(TTL, WINDOW, HOLD, now=0, grace=grace), Oracle(grace), {}, 0
    table.rank = lambda lease: rank_of(lease.record.key[2])
    for wait, heard, limit in steps:
        for number in sorted(heard):
            name = str(number)
            oracle.heard[name] = now
            if name in leases:
                table.hear(leases[name], now, (now, "n"))
            else:
                leases[name] = new_lease(name, now)
                table.add(leases[name])
        now += wait
        expired, more = table.tick(now, limit)
        while more:
            rest, more = table.tick(now, limit)
            expired += rest
        assert sorted(oracle.tick(now)) == sorted(names(expired))
        for name in names(expired):
            del leases[name]
        assert (oracle.active, len(oracle.heard)) == (table.status().active, len(table))


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from([0, 700, 4_000])), max_size=30))
def test_who_was_heard_here_since_the_last_time(steps: list[tuple[int, int, int]]):
    """Asked again and again for as many as were heard, the table names each lease that was heard here since, once, and
    none that others told of last."""
    table, leases, here, now, last, count = LeaseTable(TTL, WINDOW, HOLD, now=0), {}, set(), 0, 0, 0
    for number, what, wait in steps:
        now += wait
        lease = leases.get(number)
        if what == 0:
            expected = {each for each in here if leases[each].heard >= last}
            found = [int(name) for name in names(table.heard_here(table.renewals - table.elsewhere - count))]
            assert (len(set(found)), True) == (len(found), set(found) <= here)
            assert expected == {each for each in found if leases[each].heard >= last}
            last, count = now + 1, table.renewals - table.elsewhere
            now += 1
        elif lease is None:
            leases[number] = lease = new_lease(str(number), now - wait)
            table.place(lease, now)
        elif what == 1:
            table.place(lease, now)
            here.discard(number)
        elif what == 2:
            table.hear(lease, now, (now, "n"))
            here.add(number)
        elif what == 3:
            table.hear_told([lease], now, (now, "m"))
            here.discard(number)
        else:
            for expired in table.tick(now, 100)[0]:
                del leases[int(expired.record.key[2])]
                here.discard(int(expired.record.key[2]))
        assert len(leases) == len(table)


def test_leases_expire_in_the_order_of_hearing_whoever_heard_them(fill):
    """Those heard here and those that others told of are one order."""
    table, leases = fill(4)
    for moment, lease in enumerate(leases, 1):
        (table.hear_told if moment % 2 else table.hear_all)([lease], moment, (moment, "n"))
    expired, more = table.tick(TTL + 100, 2)
    while more:
        rest, more = table.tick(TTL + 100, 2)
        expired += rest
    assert ["0", "1", "2", "3"] == names(expired)


def test_a_lease_whose_turn_comes_later_now_waits_longer(fill):
    """When the members change, a silent lease is not given up before its new turn."""
    table, _ = fill(1)
    table.grace = 4_000
    table.tick(TTL, 10)
    table.rank = lambda _: 2
    assert ([], False) == table.tick(TTL + 1, 10)
    assert ([], False) == table.tick(TTL + 8_000, 10)
    assert ["0"] == names(table.tick(TTL + 8_001, 10)[0])


def test_a_lease_that_was_heard_long_ago_is_silent_at_once():
    """A copied lease goes on from its age: it counts as silent and expires with those of its age."""
    table = LeaseTable(TTL, WINDOW, HOLD, now=0)
    old, new = new_lease("old", 50_000 - WINDOW - 1), new_lease("new", 49_000)
    table.place(old, 50_000)
    table.place(new, 50_000)
    assert (2, 1) == (table.status().live, table.status().heard)
    assert (True, False) == (table.state(old).silent, table.state(new).silent)
    assert ["old"] == names(table.tick(50_000 + TTL - WINDOW, 10)[0])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"heartbeat": 0}, "heartbeat must be at least 1 ms"),
        ({"ttl": 9_999}, "ttl must be at least two heartbeats"),
        ({"legacy_ttl": 9_999}, "legacy_ttl must be at least two heartbeats"),
        ({"hold": -1}, "hold must not be negative"),
        ({"grace": 0}, "grace must be at least 1 ms"),
        ({"lifetime": 90_000}, "lifetime must be longer"),
    ],
)
def test_timings_that_cannot_work_are_refused(values: dict[str, int], match: str):
    """Timings are checked against each other."""
    with pytest.raises(ValueError, match=match):
        NodeTimings(**values)


@pytest.mark.parametrize("name", NodeLimits.__struct_fields__)
def test_limits_leave_room_for_something(name: str):
    """No limit may be zero."""
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        NodeLimits(**{name: 0})
