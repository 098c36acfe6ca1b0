"""Which of several is next: the policies of `LoadBalancerConfig`, and the address that a client tries now.

`Targets.decide` is one synchronous function that weighs everything: pauses, circuit breakers, what was given up, the
policy. Its callers carry it out and tell how it went.
Not here: connecting, waiting, clocks; time and chance come in as arguments.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import msgspec

from msgtrans.flow.circuit_breaker import BreakerState, CircuitBreaker
from msgtrans.flow.retry import Pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from msgtrans.config import CircuitBreakerConfig, LoadBalancerConfig, RetryConfig
    from msgtrans.errors import TransportError


class Candidate(Protocol):
    """What a policy chooses from. weight: how often, beside the others. credit: for the policy, 0 at first."""

    weight: int
    credit: int

    @property
    def load(self) -> int:
        """How much it has to do."""
        ...


CandidateT = TypeVar("CandidateT", bound=Candidate)


class Balancer:
    """A policy. chance: gives numbers evenly drawn from 0 up to 1."""

    __slots__ = ("_chance", "_policy")

    def __init__(self, config: LoadBalancerConfig, chance: Callable[[], float]) -> None:
        self._policy = config.policy
        self._chance = chance

    def pick(self, candidates: Sequence[CandidateT]) -> CandidateT:
        """One of `candidates`, of which there is at least one. Costs a look at each of them."""
        match self._policy:
            case "random":
                return candidates[int(self._chance() * len(candidates))]
            case "least_connections":
                least = min(candidate.load for candidate in candidates)
                candidates = [candidate for candidate in candidates if candidate.load == least]
                return candidates[int(self._chance() * len(candidates))]
            case "round_robin" | "weighted_round_robin":
                return _in_turn(candidates)

    def begin_anywhere(self, candidates: Sequence[Candidate]) -> None:
        """Let the turns begin at a place of chance: clients that start together must not all begin with the first."""
        for _ in range(int(self._chance() * sum(candidate.weight for candidate in candidates))):
            _in_turn(candidates)


def _in_turn(candidates: Sequence[CandidateT]) -> CandidateT:
    """Smooth weighted round robin: each gains its weight, the richest is chosen and pays the weight of all."""
    total, best = 0, candidates[0]
    for candidate in candidates:
        candidate.credit += candidate.weight
        total += candidate.weight
        if candidate.credit > best.credit:
            best = candidate
    best.credit -= total
    return best


class Target:
    """One address, and what is known of it. Made and changed by `Targets` only.

    uri: where. weight: in turns. load: its connections, those being made included. not_before: no attempt earlier.
    spread: the last pause, which also follows the breaker's timeout, so that clients do not come back together.
    failures: attempts in a row that came to nothing. given_up: why there are no more attempts, None while there are.
    """

    __slots__ = ("breaker", "credit", "failures", "given_up", "load", "not_before", "pauses", "spread", "uri", "weight")

    def __init__(self, uri: str, weight: int, pauses: Pauses, breaker: CircuitBreaker | None) -> None:
        self.uri = uri
        self.weight = weight
        self.credit = 0
        self.load = 0
        self.breaker = breaker
        self.pauses = pauses
        self.not_before = -math.inf
        self.spread = 0.0
        self.failures = 0
        self.given_up: TransportError | None = None

    @property
    def broken(self) -> bool:
        """Whether its breaker is open."""
        return self.breaker is not None and self.breaker.state is BreakerState.OPEN

    def begin_anew(self) -> None:
        """Forget what failed, and the pause after it."""
        self.given_up = None
        self.failures = 0
        self.pauses.reset()
        self.not_before = -math.inf


class Try(msgspec.Struct, frozen=True):
    """Try `target` now, then call `connected`, `failed` or `abandoned` with both."""

    target: Target
    ticket: int


class Wait(msgspec.Struct, frozen=True):
    """Nothing may be tried before `until`; infinity: before an attempt that is under way has ended."""

    until: float


class GiveUp(msgspec.Struct, frozen=True):
    """All addresses are given up; `error` is the reason of the last one."""

    error: TransportError


Decision: TypeAlias = Try | Wait | GiveUp


class Targets:
    """The addresses of one client.

    uris: where. retry: pauses and attempts of each, without end unless it says how many. breaker: None for none.
    chance: gives numbers evenly drawn from 0 up to 1. All times are those of one clock that does not go backwards.
    """

    def __init__(
        self,
        uris: Iterable[str],
        *,
        retry: RetryConfig,
        breaker: CircuitBreakerConfig | None,
        balancing: LoadBalancerConfig,
        chance: Callable[[], float],
    ) -> None:
        self._retry = retry
        self._chance = chance
        uris = list(uris)
        weights = balancing.weights or (1,) * len(uris)
        self.all = [
            Target(uri, weight, Pauses(retry, None), CircuitBreaker(breaker) if breaker is not None else None)
            for uri, weight in zip(uris, weights, strict=True)
        ]
        self._balancer = Balancer(balancing, chance)
        self._balancer.begin_anywhere(self.all)
        self._last_error: TransportError | None = None

    def decide(self, now: float, avoid: Target | None = None) -> Decision:
        """What to do for a connection that is wanted now. avoid: chosen only where nothing else can be."""
        times = self.ready_at(now)
        if not times and self._last_error is not None:
            return GiveUp(self._last_error)
        ready = [target for target, at in times.items() if at <= now]
        if not ready:
            return Wait(min(times.values()))
        target = self._balancer.pick([target for target in ready if target is not avoid] or ready)
        target.load += 1
        return Try(target, target.breaker.begin(now) if target.breaker is not None else 0)

    def ready_at(self, now: float) -> dict[Target, float]:
        """When each address that is not given up may be tried; infinity while that hangs on attempts under way.

        A breaker keeps its address out only while there is another to turn to: with the breakers of all open, as with a
        single address, the pauses alone count.
        """
        hopeful = [target for target in self.all if target.given_up is None]
        last_resort = all(target.broken for target in hopeful)
        times = {}
        for target in hopeful:
            at = max(target.not_before, now)
            if target.breaker is not None and not last_resort:
                at = max(at, target.breaker.ready_at(now) + (target.spread if target.broken else 0))
            times[target] = at
        return times

    def connected(self, attempt: Try, now: float) -> None:
        """The attempt made a connection; it counts in `load` until `lost`. It is a success yet to be proven."""
        breaker = attempt.target.breaker
        if breaker is not None:
            # While closed, the failures so far count on: a server that accepts and drops must open it in the end.
            success = None if breaker.state is BreakerState.CLOSED else True
            breaker.end(attempt.ticket, now, success=success)

    def failed(self, attempt: Try, now: float, error: TransportError) -> float:
        """The attempt came to nothing; seconds after which whoever wants the connection may ask again."""
        target = attempt.target
        target.load -= 1
        if target.breaker is not None:
            target.breaker.end(attempt.ticket, now, success=False)
        return self._pause(target, now, error)

    def abandoned(self, attempt: Try, now: float) -> None:
        """The attempt was given up by us."""
        attempt.target.load -= 1
        if attempt.target.breaker is not None:
            attempt.target.breaker.end(attempt.ticket, now, success=None)

    def lost(self, target: Target, now: float, error: TransportError, *, proven: bool) -> float:
        """A connection is gone. proven: it was of use. Seconds as from `failed`."""
        target.load -= 1
        if proven:
            target.failures = 0
            target.pauses.reset()
            target.given_up = None
        if target.breaker is not None:
            target.breaker.record(now, success=proven)
        return self._pause(target, now, error, counted=not proven)

    def left(self, target: Target) -> None:
        """A connection was closed by us, which says nothing about its address."""
        target.load -= 1

    def answered(self, target: Target, now: float, *, in_time: bool) -> bool:
        """With `count_timeouts`: how a request went. Whether that has opened the breaker."""
        breaker = target.breaker
        if breaker is None:
            return False
        opened = breaker.opened
        breaker.record(now, success=in_time)
        return breaker.opened > opened

    def hope_again(self) -> None:
        """Try again what was given up."""
        for target in self.all:
            if target.given_up is not None:
                target.begin_anew()

    def begin_anew(self) -> None:
        """Try every address as if none had failed so far; what its breaker has seen counts on."""
        for target in self.all:
            target.begin_anew()

    def _pause(self, target: Target, now: float, error: TransportError, *, counted: bool = True) -> float:
        chance = self._chance()
        short = self._retry.retry_interval * (chance if self._retry.jitter else 1)
        if counted:
            target.failures += 1
        self._last_error = error
        if counted and not error.retriable:
            target.given_up = error
        elif target.not_before <= now or not counted:  # else another attempt that ended meanwhile has set the pause
            pause = target.pauses.next(chance)
            if pause is None:
                target.given_up = error
            else:
                target.not_before, target.spread = now + pause, pause
        return short


def opened(targets: Iterable[Target]) -> int:
    """How often the breakers of `targets` have opened."""
    return sum(target.breaker.opened for target in targets if target.breaker is not None)
