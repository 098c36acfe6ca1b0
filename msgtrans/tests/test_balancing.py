"""Policies, and the decision which address to try: with a clock and a chance of the test's own."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from msgtrans.config import CircuitBreakerConfig, LoadBalancerConfig, RetryConfig
from msgtrans.errors import ConfigurationError, ConnectError
from msgtrans.flow.balancing import Balancer, GiveUp, Target, Targets, Try, Wait
from msgtrans.flow.retry import Pauses

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = ConnectError("refused")
UNTRUSTED = ConnectError("not trusted", retriable=False)
RETRY = RetryConfig(max_retries=None, retry_interval=1, max_retry_interval=8)
IN_TURN = LoadBalancerConfig()
BREAKER = CircuitBreakerConfig(failure_threshold=3, timeout=60, success_threshold=1)


def seeded(seed: int) -> Callable[[], float]:
    return random.Random(seed).random  # noqa: S311 - no secret


def targets(
    count: int = 2,
    *,
    retry: RetryConfig = RETRY,
    breaker: CircuitBreakerConfig | None = None,
    balancing: LoadBalancerConfig = IN_TURN,
    chance: Callable[[], float] = lambda: 0.5,
) -> Targets:
    uris = [f"tcp://10.0.0.{number}:1" for number in range(count)]
    return Targets(uris, retry=retry, breaker=breaker, balancing=balancing, chance=chance)


def picks(policy: LoadBalancerConfig, weights: list[int], count: int) -> list[int]:
    chosen = [Target(str(number), weight, Pauses(RETRY), None) for number, weight in enumerate(weights)]
    balancer = Balancer(policy, seeded(3))
    result = []
    for _ in range(count):
        target = balancer.pick(chosen)
        target.load += 1
        result.append(int(target.uri))
    return result


def tried(choice: object) -> Try:
    assert isinstance(choice, Try)
    return choice


@pytest.mark.parametrize(
    ("policy", "weights"),
    [("best", ()), ("weighted_round_robin", ()), ("random", (1,)), ("weighted_round_robin", (0,))],
)
def test_policies_that_cannot_work(policy: str, weights: tuple[int, ...]) -> None:
    """Unknown policies, missing, needless and useless weights are refused."""
    with pytest.raises(ConfigurationError):
        LoadBalancerConfig(policy=policy, weights=weights)


def test_in_turn() -> None:
    """Round robin gives each its turn."""
    assert [0, 1, 2, 0, 1, 2] == picks(LoadBalancerConfig(), [1, 1, 1], 6)


def test_in_weighted_turn() -> None:
    """Weights 5, 1, 1 share as they say, without serving the heavy one five times in a row."""
    chosen = picks(LoadBalancerConfig(policy="weighted_round_robin", weights=(5, 1, 1)), [5, 1, 1], 14)
    assert [0, 0, 1, 0, 2, 0, 0] * 2 == chosen


def test_least_connections_fill_up_evenly() -> None:
    """The one with the least to do is next, any of them where several have."""
    assert {0: 4, 1: 4, 2: 4} == Counter(picks(LoadBalancerConfig(policy="least_connections"), [1, 1, 1], 12))


def test_by_chance() -> None:
    """Random gives each about the same share (a fixed seed)."""
    shares = Counter(picks(LoadBalancerConfig(policy="random"), [1, 1], 1000))
    assert all(450 < share < 550 for share in shares.values())


def test_turns_begin_anywhere() -> None:
    """1000 clients with the same addresses begin with each of them equally often, by their weights (a fixed seed)."""
    draw = seeded(5)
    config = LoadBalancerConfig(policy="weighted_round_robin", weights=(2, 1, 1))
    firsts = Counter(tried(targets(3, balancing=config, chance=draw).decide(0)).target.weight for _ in range(1000))
    assert 440 < firsts[2] < 560


def test_the_first_attempt_goes_at_once_and_every_other_after_a_pause() -> None:
    """After the n-th failure in a row an address waits for a share of 1, 2, 4, 8, 8 seconds."""
    client = targets(1)
    now = 100.0
    pauses = []
    for _ in range(5):
        client.failed(tried(client.decide(now)), now, REFUSED)
        match client.decide(now):
            case Wait(until):
                pauses.append(until - now)
                now = until
    assert [0.5, 1, 2, 4, 4] == pauses


def test_a_connection_that_we_close_says_nothing() -> None:
    """One that was closed on our side counts no more, and its address may be tried at once."""
    client = targets(1)
    attempt = tried(client.decide(10))
    client.connected(attempt, 10)
    client.left(attempt.target)
    assert (0, attempt.target) == (attempt.target.load, tried(client.decide(10)).target)


def test_a_lost_connection_comes_back_after_a_pause() -> None:
    """A connection that was of use begins the pauses anew; one that was not goes on with them."""
    client = targets(1)
    for _ in range(2):
        attempt = tried(client.decide(10))
        client.connected(attempt, 10)
        assert client.lost(attempt.target, 10, REFUSED, proven=True) == 0.5
        assert client.decide(10) == Wait(10.5)
        attempt.target.not_before = 0
    for pause in (1, 2, 4):
        attempt = tried(client.decide(10))
        client.connected(attempt, 10)
        client.lost(attempt.target, 10, REFUSED, proven=False)
        assert client.decide(10) == Wait(10 + pause)
        attempt.target.not_before = 0


def test_other_addresses_need_not_wait_for_a_failed_one() -> None:
    """While one address pauses the others are tried; the client pauses for a share of the first interval."""
    client = targets(2)
    first = tried(client.decide(0))
    assert client.failed(first, 0, REFUSED) == 0.5
    second = tried(client.decide(0.5))
    assert second.target is not first.target


def test_avoided_where_there_is_another() -> None:
    """The address of a server that drained is chosen only where nothing else can be."""
    client = targets(2)
    drained = tried(client.decide(0)).target
    for _ in range(4):
        assert tried(client.decide(0, drained)).target is not drained
    other = next(target for target in client.all if target is not drained)
    other.not_before = 5
    assert tried(client.decide(0, drained)).target is drained


def test_hopeless_addresses_are_given_up() -> None:
    """An error that retrying cannot help ends the attempts there; when all are given up the last error says why."""
    client = targets(2)
    attempts = [tried(client.decide(0)), tried(client.decide(0))]
    client.failed(attempts[0], 0, UNTRUSTED)
    assert tried(client.decide(1)).target is attempts[1].target
    client.failed(attempts[1], 1, UNTRUSTED)
    assert client.decide(1) == GiveUp(UNTRUSTED)
    client.hope_again()
    assert isinstance(client.decide(1), Try)


@pytest.mark.parametrize("retries", [0, 2])
def test_retries_are_counted_per_address(retries: int) -> None:
    """After one attempt and `max_retries` more in a row an address is given up."""
    client = targets(1, retry=RETRY.replace(max_retries=retries))
    now, count = 0.0, 0
    while not isinstance(choice := client.decide(now), GiveUp):
        if isinstance(choice, Wait):
            now = choice.until
        else:
            client.failed(choice, now, REFUSED)
            count += 1
    assert count == retries + 1


def test_attempts_that_fail_together_make_one_pause() -> None:
    """Four connections to one address that fail at once are one step of the backoff, not four."""
    client = targets(1)
    attempts = [tried(client.decide(0)) for _ in range(4)]
    for attempt in attempts:
        client.failed(attempt, 0, REFUSED)
    assert client.decide(0) == Wait(0.5)
    assert [4, 0] == [attempts[0].target.failures, attempts[0].target.load]


def test_an_open_breaker_takes_its_address_out() -> None:
    """After three failures the other address is tried alone; then one probe, after the timeout and a pause."""
    client = targets(2, breaker=BREAKER)
    broken = client.all[0]
    now = 0.0
    while broken.breaker.opened == 0:
        match client.decide(now):
            case Try(target) as attempt if target is broken:
                client.failed(attempt, now, REFUSED)
            case Try() as attempt:
                client.abandoned(attempt, now)
            case Wait(until):
                now = until
        now += 0.1
    for seconds in range(50):
        attempt = tried(client.decide(now + seconds))
        assert attempt.target is not broken
        client.abandoned(attempt, now + seconds)
    back = client.ready_at(now)[broken]
    assert 60 < back - now < 70
    client.all[1].not_before = math.inf
    probe = tried(client.decide(back))
    assert probe.target is broken
    assert client.decide(now + 80) == Wait(math.inf)
    client.connected(probe, now + 80)
    assert broken.breaker.state == "closed"


def test_a_server_that_accepts_and_drops_opens_the_breaker() -> None:
    """Connections that are lost before they were of use count as failures, although they were made."""
    client = targets(1, breaker=BREAKER)
    now = 0.0
    for _ in range(3):
        now = max(now, client.all[0].not_before)
        attempt = tried(client.decide(now))
        client.connected(attempt, now)
        client.lost(attempt.target, now, REFUSED, proven=False)
    assert client.all[0].breaker.state == "open"


def test_where_nothing_else_is_left_an_open_breaker_does_not_count() -> None:
    """A single address is tried on, paced by its pauses; a connection made meanwhile counts as the first success."""
    client = targets(1, breaker=BREAKER.replace(success_threshold=2))
    now = 0.0
    for _ in range(6):
        client.failed(tried(client.decide(now)), now, REFUSED)
        wait = client.decide(now)
        assert isinstance(wait, Wait)
        assert wait.until - now <= RETRY.max_retry_interval
        now = wait.until
    assert client.all[0].breaker.state == "open"
    client.connected(tried(client.decide(now)), now)
    assert client.all[0].breaker.state == "half-open"


def test_unanswered_requests_open_the_breaker() -> None:
    """Requests without an answer in time count as failures in a row; an answer begins the count again."""
    client = targets(1, breaker=BREAKER)
    target = client.all[0]
    verdicts = [False, False, True, False, False, False, False]
    opened = [client.answered(target, 0, in_time=in_time) for in_time in verdicts]
    assert [False, False, False, False, False, True, False] == opened


def storm(clients: int, *, seed: int, outage: float) -> list[float]:
    """When `clients` that lost their only server at 0 try, until it is back after `outage` and all are connected."""
    draw = seeded(seed)
    attempts = []
    for _ in range(clients):
        client = targets(1, retry=RetryConfig(max_retries=None), chance=draw)
        attempt = tried(client.decide(-100))
        client.connected(attempt, -100)
        client.lost(attempt.target, 0, REFUSED, proven=True)
        now = 0.0
        while True:
            match client.decide(now):
                case Wait(until):
                    now = until
                case Try() as attempt:
                    attempts.append(now)
                    if now >= outage:
                        break
                    client.failed(attempt, now, REFUSED)
    return attempts


def test_1000_clients_do_not_return_at_once() -> None:
    """Of 1000 clients whose server restarts at once, no 50 ms see more than 15 % (fixed seed)."""
    attempts = storm(1000, seed=11, outage=0)
    assert len(attempts) == 1000
    assert max(attempts) < 0.5
    assert max(Counter(int(at / 0.05) for at in attempts).values()) <= 150


def test_1000_clients_spread_over_the_end_of_an_outage() -> None:
    """After an outage of 20 s they return over half a minute, never more than 1 in 10 of them in one second."""
    returned = [at for at in storm(1000, seed=12, outage=20) if at >= 20]
    assert len(returned) == 1000
    assert max(Counter(int(at) for at in returned).values()) <= 100


class TargetsMachine(RuleBasedStateMachine):
    """Attempts, losses and time in any order: never an attempt that a pause, a breaker or a give-up forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.draw = seeded(1)
        self.targets = targets(3, breaker=BREAKER, retry=RETRY.replace(max_retries=6), chance=self.draw)
        self.attempts: list[Try] = []
        self.connections: list[Target] = []

    @rule(seconds=st.sampled_from([0.3, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(avoid=st.sampled_from([None, 0, 1, 2]))
    def decide(self, avoid: int | None) -> None:
        hopeful = [target for target in self.targets.all if target.given_up is None]
        last_resort = all(target.broken for target in hopeful)
        ready = [
            target
            for target in hopeful
            if target.not_before <= self.now and (last_resort or target.breaker.ready_at(self.now) <= self.now)
        ]
        spread = [target for target in ready if last_resort or not target.broken]
        avoided = None if avoid is None else self.targets.all[avoid]
        match self.targets.decide(self.now, avoided):
            case Try(target) as attempt:
                assert target in ready
                assert target is not avoided or not set(spread) - {target}
                assert self.now >= target.not_before
                self.attempts.append(attempt)
            case Wait(until):
                assert hopeful
                assert not spread
                assert until > self.now
                assert until < math.inf or self.attempts
            case GiveUp(error):
                assert not hopeful
                assert error in {REFUSED, UNTRUSTED}

    @precondition(lambda self: self.attempts)
    @rule(how=st.sampled_from(["connected", "connected", "failed", "failed", "untrusted", "abandoned"]))
    def end(self, how: str) -> None:
        attempt = self.attempts.pop(0)
        match how:
            case "connected":
                self.targets.connected(attempt, self.now)
                self.connections.append(attempt.target)
            case "abandoned":
                self.targets.abandoned(attempt, self.now)
            case _:
                error = REFUSED if how == "failed" else UNTRUSTED
                assert 0 <= self.targets.failed(attempt, self.now, error) < RETRY.retry_interval

    @precondition(lambda self: self.connections)
    @rule(proven=st.booleans())
    def lose(self, proven: bool) -> None:
        target = self.connections.pop(0)
        self.targets.lost(target, self.now, REFUSED, proven=proven)
        assert target.given_up is not None or target.not_before >= self.now

    @rule()
    def hope_again(self) -> None:
        self.targets.hope_again()
        assert all(target.given_up is None for target in self.targets.all)

    @invariant()
    def loads_are_true(self) -> None:
        for target in self.targets.all:
            tries = sum(attempt.target is target for attempt in self.attempts)
            assert tries + self.connections.count(target) == target.load


TestTargetsMachine = TargetsMachine.TestCase
TestTargetsMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
