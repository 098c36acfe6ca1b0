"""What all workers count together, and who is told when: with a clock of the test's own."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from msgtrans.workers.children import Child
from msgtrans.workers.group import SOON, Together
from msgtrans.workers.messages import Report

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def workers() -> Iterator[list[Child]]:
    """Two that serve, and one that has just been started."""
    pair = socket.socketpair()
    made = [Child(life, place, pair[0], 0.0) for life, place in ((1, 0), (2, 1), (3, 2))]
    for child in made[:2]:
        child.uris = ["tcp://127.0.0.1:1"]
    yield made
    for one in pair:
        one.close()


def report(packets: int) -> Report:
    return Report({"packets": packets, "open": 1}, {"seconds": packets / 10}, {})


def test_a_question_is_answered_when_all_have_reported(workers: list[Child]) -> None:
    """Those that serve are asked once, however many want to know, and the last report makes all answers due."""
    together = Together(["open"], 0.0, 1000.0)
    first, second, _ = workers
    assert [first, second] == together.ask(first, 7, workers, 1.0)
    assert [] == together.ask(second, 8, workers, 1.1)
    together.reported(first, report(3), 1.2)
    assert [] == together.due(1.2)
    assert SOON - 0.25 == pytest.approx(together.wait(1.25))
    together.reported(second, report(4), 1.3)
    assert [(first, 7), (second, 8)] == [(question.child, question.request) for question in together.due(1.3)]
    assert together.wait(1.3) is None
    group = together.group(reversed(workers), 2, 1.4)
    assert ({"packets": 7, "open": 2}, 2, 1.4, 1000.0) == (
        group.total,
        group.restarts,
        group.uptime,
        group.started_at,
    )
    assert pytest.approx(0.7) == group.sums["seconds"]
    assert [(0, True), (1, True), (2, False)] == [(worker.index, worker.ready) for worker in group.workers]


def test_a_silent_worker_is_not_waited_for_long(workers: list[Child]) -> None:
    """After half a second the answer is due without it, and the next question does not wait for it at all."""
    together = Together([], 0.0, 1000.0)
    first, second, _ = workers
    together.ask(first, 1, workers, 0.0)
    together.reported(first, report(1), 0.1)
    assert [] == together.due(SOON - 0.1)
    assert [1] == [question.request for question in together.due(SOON)]
    assert [first] == together.ask(first, 2, workers, SOON)
    together.reported(first, report(2), SOON)
    assert [2] == [question.request for question in together.due(SOON)]
    assert second.asked_at == 0.0


def test_a_worker_that_ends_is_neither_awaited_nor_answered(workers: list[Child]) -> None:
    """What it counted stays in the sums, but for what tells of now."""
    together = Together(["open"], 0.0, 1000.0)
    first, second, _ = workers
    together.reported(second, report(5), 0.0)
    together.ask(first, 1, workers, 0.0)
    together.ask(second, 2, workers, 0.0)
    together.ended(second)
    together.reported(first, report(1), 0.1)
    assert [1] == [question.request for question in together.due(0.1)]
    assert {"packets": 6, "open": 1} == together.group([first], 1, 0.1).total
