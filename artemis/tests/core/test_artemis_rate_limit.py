"""The rate limiter: windows, callers, the gate in front of the operations (spec 11)."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.model import RegistryResponse
from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.gate import Gate
from artemis.server.operations import OPERATIONS, Operation
from artemis.server.rate_limit import LIMITERS, Callers, RateLimits, Window, rate_limits

REGISTRY = "artemis.service.registry"


def operation(name: str) -> Operation:
    return next(each for each in OPERATIONS if each.name == name)


def test_a_limit_of_30_takes_30_and_refuses_the_31st():
    """What is above the limit is refused and not counted."""
    window = Window(0)
    assert [True] * 30 == [window.take(30, 0) for _ in range(30)]
    assert [False, False] == [window.take(30, 9_999), window.take(30, 9_999)]
    assert 30 == window.count(9_999)


def test_requests_leave_the_window_with_their_bucket():
    """A request of second 0 counts up to the end of second 9, whenever in its second it was made."""
    window = Window(0)
    window.take(1, 999)
    assert [False, True] == [window.take(1, 9_999), window.take(1, 10_000)]


def test_a_long_silence_empties_the_window():
    """However far time jumps, nothing of what is older than ten seconds is left."""
    window = Window(0)
    for second in range(10):
        window.take(100, second * 1_000)
    assert 10 == window.count(9_999)
    assert 0 == window.count(3_600_000)


@given(st.lists(st.tuples(st.integers(0, 3_500), st.booleans()), max_size=80), st.integers(1, 6))
def test_a_window_agrees_with_a_list_of_all_requests(steps: list[tuple[int, bool]], limit: int):
    """The buckets count what a list of all accepted requests of ten seconds would, less what can be given back."""
    window, taken, now = Window(0), deque[int](), 0
    for wait, back in steps:
        now += wait
        recent = [at for at in taken if at // 1_000 > now // 1_000 - 10]
        assert (len(recent) < limit) == window.take(limit, now)
        if len(recent) < limit:
            taken.append(now)
            if back:
                window.give_back()
                taken.pop()
        assert sum(at // 1_000 > now // 1_000 - 10 for at in taken) == window.count(now)


def test_the_table_of_callers_is_bounded():
    """The caller that was not heard for longest makes room for a new one."""
    callers = Callers(size=2)
    for name in ("a", "b", "a", "c"):
        assert callers.take(name, 5, 0)
    assert (2, 1) == (len(callers), callers.counters.evicted)
    assert [True] * 3 + [False] == [callers.take("a", 5, 0) for _ in range(4)]


def test_a_caller_above_its_limit_is_not_forgotten():
    """Nobody gets a fresh start by filling the table with other addresses."""
    callers = Callers(size=3)
    assert [True, True, False] == [callers.take("busy", 2, 0) for _ in range(3)]
    for number in range(20):
        assert callers.take(f"other-{number}", 2, 1)
    assert not callers.take("busy", 2, 2)
    assert 3 == len(callers)


def test_newcomers_go_uncounted_where_all_are_above_their_limit():
    """A table full of those that must not be forgotten refuses nobody else, and says how often."""
    callers = Callers(size=2)
    for name in ("a", "b"):
        callers.take(name, 1, 0)
    assert [True, True] == [callers.take("c", 1, 0), callers.take("c", 1, 0)]
    assert (2, 2) == (callers.counters.untracked, len(callers))
    assert callers.take("c", 1, 10_000)
    assert (1, 2) == (callers.counters.evicted, len(callers))


def test_every_limited_operation_has_a_limiter_of_the_specification():
    """The table of operations and the limiters of spec 11 name the same identities."""
    known = {(each.id, identity) for each in LIMITERS for identity in each.identities}
    assert set() == {each.limit for each in OPERATIONS if each.limit} - known


def test_the_gate_answers_with_the_error_code_of_the_specification():
    """A refused request gets fail / rate-limited in the type of its operation, and is counted."""
    gate = Gate(RateLimits(defaults={REGISTRY: 1}))
    register = operation("registry.register")
    assert gate.refuse(register, "", 0) is None
    answer = gate.refuse(register, "", 0)
    assert isinstance(answer, RegistryResponse)
    status = answer.response_status
    assert ("fail", "rate-limited", "Request is rate limited.") == (status.status, status.error_code, status.message)
    assert b'{"failedInstances":null,' == register.encode_json(answer)[:24]
    assert {"caller": {}, REGISTRY: {"register": 1}} == gate.refused


def test_identities_are_counted_apart():
    """A flood of registrations leaves heartbeats alone."""
    gate = Gate(RateLimits(defaults={REGISTRY: 1}))
    gate.refuse(operation("registry.register"), "", 0)
    assert gate.refuse(operation("registry.register"), "", 0) is not None
    assert gate.refuse(operation("registry.heartbeat"), "", 0) is None


def test_lookups_have_no_limit_of_their_own():
    """Discovery is not limited by operation (spec 11), but counts for its caller."""
    lookup = operation("discovery.lookup")
    gate = Gate(RateLimits(per_caller=2))
    assert [None, None] == [gate.refuse(lookup, "10.0.0.1", 0) for _ in range(2)]
    assert gate.refuse(lookup, "10.0.0.1", 0) is not None
    assert gate.refuse(lookup, "10.0.0.2", 0) is None
    assert {"caller": {"discovery.lookup": 1}} == gate.refused


def test_a_request_that_the_operation_refuses_does_not_count_for_its_caller():
    """Each window counts what was let pass."""
    gate = Gate(RateLimits(defaults={REGISTRY: 1}, per_caller=3))
    register, lookup = operation("registry.register"), operation("discovery.lookup")
    outcomes = [gate.refuse(register, "a", 0) is None for _ in range(5)]
    assert [True, False, False, False, False] == outcomes
    assert [True, True, False] == [gate.refuse(lookup, "a", 0) is None for _ in range(3)]


def test_limits_change_while_the_node_runs():
    """New limits hold from the next request on, for what was counted before too; switched off means no limit."""
    gate = Gate()
    register = operation("registry.register")
    for _ in range(5):
        assert gate.refuse(register, "", 0) is None
    gate.configure(RateLimits(limits={(REGISTRY, "register"): 5}))
    assert gate.refuse(register, "", 0) is not None
    gate.configure(RateLimits(enabled=False, limits={(REGISTRY, "register"): 5}, per_caller=1))
    assert [None, None] == [gate.refuse(register, "a", 0) for _ in range(2)]
    assert 0 == len(gate.callers)


def test_the_options_of_a_node_become_limits():
    """A limiter's option is the default of its identities, the map is for single ones, 0 is no limit."""
    limits = rate_limits(
        ServeConfig(
            rate_limit_registry=1_000,
            rate_limit_cluster=0,
            rate_limit_map="registry.heartbeat:5000, status.get-leases:10",
            rate_limit_per_caller=7,
        )
    )
    assert (1_000, 5_000) == (limits.of(REGISTRY, "register"), limits.of(REGISTRY, "heartbeat"))
    assert 0 == limits.of("artemis.service.cluster", "up-registry-nodes")
    assert 10 == limits.of("artemis.service.status", "get-leases")
    assert 30 == limits.of("artemis.service.status", "get-config")
    assert 7 == limits.per_caller


def test_the_map_of_limits_may_come_as_flags_or_as_a_table():
    """Repeated flags and a TOML table say the same."""
    expected = {"status.get-leases": 10, "registry.register": 5_000}
    assert expected == ServeConfig(rate_limit_map=["status.get-leases:10", "registry.register:5000"]).rate_limit_map
    assert expected == ServeConfig(rate_limit_map=expected).rate_limit_map


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("rate_limit_registry", 10, "0 (no limit) or at least 1000"),
        ("rate_limit_map", "registry.nonsense:5000", "'registry.nonsense' is not one of registry.register"),
        ("rate_limit_map", "registry.register:10", "from 1000 to 100000000"),
        ("rate_limit_map", "registry.register:-1", "from 1000 to 100000000"),
        ("rate_limit_map", "registry.register", "must look like"),
        ("rate_limit_per_caller", -1, "whole number from 0 to"),
    ],
)
def test_limits_that_cannot_hold_are_refused(option: str, value: object, says: str):
    """An option out of range is named with what it may be."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, {option: value})
    assert says in str(caught.value)
    assert option.replace("_", "-") in str(caught.value)
