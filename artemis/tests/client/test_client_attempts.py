"""The course of one call: what follows which outcome."""

from random import Random

import pytest

from artemis.client.calls.attempts import Again, Course, Deliver, GiveUp, Verdict, judge, refuses
from artemis.client.errors import Attempt, RefusedError, UnreachableError
from artemis.client.nodes.nodes import Nodes
from artemis.client.options import ClientOptions
from artemis.model import ResponseStatus

A, B = "http://a:1", "http://b:1"


def seeded(seed: int) -> Random:
    """Return a repeatable source of choices."""
    return Random(seed)  # noqa: S311 - it spreads load, it keeps no secret


def status(name: str, code: str) -> ResponseStatus:
    """Build a response status."""
    return ResponseStatus(status=name, error_code=code, message="why")


def course(attempts: int = 3, *, urls: tuple[str, ...] = (A, B)) -> tuple[Course, Nodes]:
    """Build a course over two nodes."""
    nodes = Nodes(urls, random=seeded(0), rest=10)
    return Course("op", nodes, ClientOptions(attempts=attempts, backoff=1.0, backoff_limit=3.0), seeded(0)), nodes


@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [
        ("success", "success", Verdict.FINAL),
        ("partial_fail", "partial_fail", Verdict.FINAL),
        ("fail", "bad-request", Verdict.FINAL),
        ("fail", "no-permission", Verdict.FINAL),
        ("fail", "data-not-found", Verdict.FINAL),
        ("fail", "rate-limited", Verdict.RERUN),
        ("fail", "unknown", Verdict.RERUN),
        ("fail", "service-unavailable", Verdict.NODE_DOWN),
        ("fail", "internal-service-error", Verdict.NODE_DOWN),
        ("partial_fail", "internal-service-error", Verdict.FINAL),
    ],
)
def test_answers_are_classified_as_the_specification_says(name: str, code: str, verdict: Verdict) -> None:
    """Spec 1.2: service down and rerunnable are properties of status and code together."""
    assert judge(status(name, code)) is verdict


def test_an_answer_ends_the_call() -> None:
    """Yes or no, it is for the caller."""
    one, nodes = course()
    assert one.answered(nodes.current, status("fail", "bad-request"), 0.0) == Deliver()


def test_a_node_that_is_down_is_left() -> None:
    """An answer that says that the node cannot serve counts like no answer."""
    one, nodes = course()
    first = nodes.current
    step = one.answered(first, status("fail", "service-unavailable"), 0.0)
    assert isinstance(step, Again)
    assert nodes.current != first


def test_a_rate_limited_call_is_repeated_at_the_same_node_and_then_delivered() -> None:
    """The node is not to blame; after the last attempt its answer is the answer."""
    one, nodes = course(attempts=2)
    first = nodes.current
    assert isinstance(one.answered(first, status("fail", "rate-limited"), 0.0), Again)
    assert nodes.current == first
    assert one.answered(first, status("fail", "rate-limited"), 0.0) == Deliver()


def test_the_error_lists_what_was_tried() -> None:
    """After the last attempt every one of them is told, in order."""
    one, nodes = course(attempts=2)
    first = nodes.current
    one.failed(first, "refused", 0.0)
    second = nodes.current
    step = one.failed(second, "HTTP 503", 0.0)
    assert isinstance(step, GiveUp)
    assert step.error.attempts == (Attempt(first, "refused"), Attempt(second, "HTTP 503"))
    assert str(step.error) == f"no registry node answered op: {first}: refused; {second}: HTTP 503"
    assert step.error.retriable


def test_delays_have_full_jitter_below_a_doubling_bound() -> None:
    """The n-th wait lies anywhere between 0 and the bound, which doubles up to its limit."""
    delays: list[list[float]] = [[], [], []]
    for seed in range(200):
        nodes = Nodes([A], random=seeded(0), rest=10)
        one = Course("op", nodes, ClientOptions(attempts=9, backoff=1.0, backoff_limit=3.0), seeded(seed))
        for waits in delays:
            step = one.failed(A, "refused", 0.0)
            assert isinstance(step, Again)
            waits.append(step.delay)
    for waits, bound in zip(delays, (1.0, 2.0, 3.0), strict=True):
        assert min(waits) < bound * 0.1
        assert bound * 0.9 < max(waits) <= bound


def test_while_no_node_answers_each_is_asked_once() -> None:
    """A call that begins when every node has failed ends soon; an answer of any of them ends that."""
    options = ClientOptions(attempts=5)
    nodes = Nodes([A, B], random=seeded(0), rest=10)
    first = Course("op", nodes, options, seeded(0))
    steps = [first.failed(nodes.current, "refused", 0.0) for _ in range(5)]
    assert [type(step) for step in steps] == [Again, Again, Again, Again, GiveUp]
    second = Course("op", nodes, options, seeded(0))
    steps = [second.failed(nodes.current, "refused", 100.0) for _ in range(2)]
    assert [type(step) for step in steps] == [Again, GiveUp]
    third = Course("op", nodes, options, seeded(0))
    assert isinstance(third.answered(nodes.current, status("fail", "rate-limited"), 200.0), Again)
    steps = [third.failed(nodes.current, "refused", 200.0) for _ in range(4)]
    assert [type(step) for step in steps] == [Again, Again, Again, GiveUp]


def test_a_request_that_is_too_large_ends_the_call_and_leaves_the_node_alone() -> None:
    """Every node would say the same, and it says nothing about any."""
    one, nodes = course()
    first = nodes.current
    step = one.refused(first, 413, 0.0)
    assert isinstance(step, GiveUp)
    assert isinstance(step.error, RefusedError)
    assert not step.silent
    assert nodes.current == first
    assert not nodes.resting(first, 0.0)


def test_when_all_nodes_refuse_the_call_is_refused() -> None:
    """Each is asked once, as what stands there may not be a node; a silent one among them leaves hope."""
    one, nodes = course(5)
    first = nodes.current
    assert isinstance(one.refused(first, 403, 0.0), Again)
    assert nodes.current != first
    step = one.refused(nodes.current, 403, 0.0)
    assert isinstance(step, GiveUp)
    assert isinstance(step.error, RefusedError)
    assert step.error.error_code == "http-403"
    other, nodes = course(2)
    assert isinstance(other.failed(nodes.current, "refused", 0.0), Again)
    step = other.refused(nodes.current, 403, 0.0)
    assert isinstance(step, GiveUp)
    assert isinstance(step.error, UnreachableError)
    assert step.error.attempts[1].reason.startswith("HTTP 403: access is denied")


@pytest.mark.parametrize(
    ("status", "refusal"),
    [(None, False), (302, False), (400, True), (404, False), (408, False), (413, True), (429, False), (500, False)],
)
def test_refusals_are_those_of_4xx_that_time_and_other_nodes_do_not_heal(status: int | None, refusal: bool) -> None:
    """Except 404, 408 and 429."""
    assert refuses(status) is refusal
