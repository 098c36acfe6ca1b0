"""What a worker tells of its sessions, when there are many."""

from __future__ import annotations

import pytest

from msgtrans import EndpointStats
from msgtrans.workers import serving
from msgtrans.workers.serving import Counting


class Clock:
    """Stands in for the module `time` there. Each look at the processor time finds `cost` seconds more."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.cost = 0.0
        self._computed = 0.0

    def monotonic(self) -> float:
        """What the test says."""
        return self.now

    def thread_time(self) -> float:
        """Goes on with each look."""
        self._computed += self.cost
        return self._computed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for `serving`."""
    made = Clock()
    monkeypatch.setattr(serving, "time", made)
    return made


def counting(sessions: list[None]) -> Counting:
    """Of a server that counts how often it was asked, as sessions that it had."""
    asked = 0

    def stats() -> EndpointStats:
        nonlocal asked
        asked += 1
        return EndpointStats(connections_open=len(sessions), connections_total=asked)

    return Counting(stats, lambda: len(sessions))


def test_counters_that_are_quickly_added_up_are_exact(clock: Clock) -> None:
    """Each report adds them up anew."""
    clock.cost = 0.0005
    count = counting([None] * 100)

    assert [1, 2, 3] == [count()["connections_total"] for _ in range(3)]


def test_adding_up_takes_one_hundredth_of_the_time(clock: Clock) -> None:
    """Where it took 20 ms, reports say the same for two seconds."""
    clock.cost = 0.02
    count = counting([None] * 10_000)
    told = []
    for clock.now in (1000.0, 1001.0, 1001.9, 1002.1, 1003.0):
        told.append(count()["connections_total"])

    assert [1, 1, 1, 2, 2] == told


def test_a_server_without_sessions_is_counted_exactly(clock: Clock) -> None:
    """What a worker says last is all that there was."""
    clock.cost = 0.02
    sessions = [None] * 10_000
    count = counting(sessions)
    count()

    sessions.clear()

    assert {"connections_open": 0, "connections_total": 2}.items() <= count().items()
