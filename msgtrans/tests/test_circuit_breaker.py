"""The circuit breaker: by example, and against a model under any order of calls."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from msgtrans.config import CircuitBreakerConfig
from msgtrans.errors import ConfigurationError
from msgtrans.flow.circuit_breaker import BreakerState, CircuitBreaker

CONFIG = CircuitBreakerConfig(failure_threshold=3, timeout=10, success_threshold=2, half_open_probes=2)


def attempt(breaker: CircuitBreaker, now: float, *, success: bool | None) -> None:
    breaker.end(breaker.begin(now), now, success=success)


def opened_at_0() -> CircuitBreaker:
    breaker = CircuitBreaker(CONFIG)
    for _ in range(3):
        attempt(breaker, 0, success=False)
    return breaker


def test_defaults() -> None:
    """Five failures in a row, 60 seconds, three successes, one probe; timeouts of requests do not count."""
    assert (
        CircuitBreakerConfig(
            failure_threshold=5, timeout=60, success_threshold=3, half_open_probes=1, count_timeouts=False
        )
        == CircuitBreakerConfig()
    )


@pytest.mark.parametrize("field", ["failure_threshold", "timeout", "success_threshold", "half_open_probes"])
def test_values_that_cannot_work(field: str) -> None:
    """Zero is refused by the name of the option."""
    with pytest.raises(ConfigurationError, match=field):
        CONFIG.replace(**{field: 0})


def test_only_failures_in_a_row_open_it() -> None:
    """A success in between begins the count again; at the threshold it opens for `timeout`."""
    breaker = CircuitBreaker(CONFIG)
    for success in (False, False, True, False, False):
        attempt(breaker, 0, success=success)
    assert (BreakerState.CLOSED, 0) == (breaker.state, breaker.ready_at(0))
    attempt(breaker, 5, success=False)
    assert (BreakerState.OPEN, 15, 1) == (breaker.state, breaker.ready_at(5), breaker.opened)


def test_half_open_lets_a_few_through_and_closes_after_successes() -> None:
    """After the timeout two attempts may run at a time; two successes close it."""
    breaker = opened_at_0()
    tickets = [breaker.begin(10), breaker.begin(10)]
    assert (BreakerState.HALF_OPEN, math.inf) == (breaker.state, breaker.ready_at(10))
    breaker.end(tickets[0], 11, success=True)
    assert (BreakerState.HALF_OPEN, 11) == (breaker.state, breaker.ready_at(11))
    breaker.end(tickets[1], 12, success=True)
    assert breaker.state is BreakerState.CLOSED


def test_a_failure_while_half_open_opens_it_again() -> None:
    """One failure is enough, and the other attempt of that time tells nothing any more."""
    breaker = opened_at_0()
    tickets = [breaker.begin(10), breaker.begin(10)]
    breaker.end(tickets[0], 12, success=False)
    breaker.end(tickets[1], 13, success=True)
    assert (BreakerState.OPEN, 22, 2) == (breaker.state, breaker.ready_at(13), breaker.opened)


def test_an_abandoned_attempt_makes_room_for_another() -> None:
    """An attempt that was given up is neither success nor failure."""
    breaker = opened_at_0()
    for _ in range(5):
        attempt(breaker, 10, success=None)
    assert (BreakerState.HALF_OPEN, 10) == (breaker.state, breaker.ready_at(10))


class BreakerMachine(RuleBasedStateMachine):
    """Attempts and other verdicts in any order, beside a plain model of what the documentation says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = CircuitBreaker(CONFIG)
        self.running: list[tuple[int, int]] = []  # ticket, period of the model
        self.period = 0  # counts openings
        self.state = "closed"
        self.row = 0
        self.until = 0.0
        self.probes = 0

    def judge(self, success: bool) -> None:
        if self.state == "open":
            return
        if self.state == "half-open":
            self.row += success
            if not success:
                self.open()
            elif self.row == CONFIG.success_threshold:
                self.state, self.row = "closed", 0
        else:
            self.row = 0 if success else self.row + 1
            if self.row == CONFIG.failure_threshold:
                self.open()

    def open(self) -> None:
        self.state, self.row, self.until, self.probes = "open", 0, self.now + CONFIG.timeout, 0
        self.period += 1

    @rule(seconds=st.sampled_from([0.1, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.state == "open" or self.breaker.ready_at(self.now) <= self.now)
    @rule()
    def begin(self) -> None:
        ticket = self.breaker.begin(self.now)
        if self.state == "open" and self.now >= self.until:
            self.state, self.row, self.probes = "half-open", 0, 0
        if self.state == "half-open":
            self.probes += 1
        self.running.append((ticket, self.period))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), success=st.sampled_from([True, False, None]))
    def end(self, data: st.DataObject, success: bool | None) -> None:
        ticket, period = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.breaker.end(ticket, self.now, success=success)
        if period == self.period:
            if self.state == "half-open":
                self.probes = max(self.probes - 1, 0)
            elif self.state == "open" and success:
                self.state, self.row, self.probes = "half-open", 0, 0
            if success is not None:
                self.judge(success)

    @rule(success=st.booleans())
    def record(self, success: bool) -> None:
        self.breaker.record(self.now, success=success)
        self.judge(success)

    @invariant()
    def as_documented(self) -> None:
        assert self.state == self.breaker.state
        assert self.period == self.breaker.opened
        ready = self.breaker.ready_at(self.now)
        if self.state == "closed":
            assert ready == self.now
        elif self.state == "open":
            assert ready == self.until
        else:
            assert self.probes >= 0
            assert (ready == self.now) == (self.probes < CONFIG.half_open_probes)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
