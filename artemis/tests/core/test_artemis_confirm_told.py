"""Who was told what: positions to resume from and the count of those that still wait. No sockets, no clock."""

from collections.abc import Callable

import pytest

from artemis.model import Instance, RegistryRequest, ToldRequest, ToldResponse
from artemis.push import Dialect, Subscriber, decode_cursor
from artemis.server.handlers.told import told
from artemis.server.node import Node


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    """A node that serves."""
    return make_node(started=True)


@pytest.fixture
def change(node: Node, make_instance: Callable[..., Instance]) -> Callable[..., None]:
    """`change(service_id="a")`: something happens to that service."""
    ports = iter(range(1, 1000))

    def happen(service: str = "orders") -> None:
        node.register(RegistryRequest(instances=[make_instance(service_id=service, port=next(ports))]), 0)

    return happen


def follower(node: Node, *services: str, dialect: Dialect = Dialect.NATIVE) -> Subscriber:
    """A subscriber of these services, of all when there are none."""
    subscriber = Subscriber(dialect, lambda: None)
    node.stream.attach(subscriber)
    if not services:
        assert node.stream.subscribe_all(subscriber) is None
    for service in services:
        assert node.stream.subscribe(subscriber, service) is None
    return subscriber


def asked(node: Node, service: str = "orders") -> tuple[int, int, bool]:
    """Subscribers, waiting, told."""
    answer = told(node, ToldRequest(service_id=service), 0)
    assert answer.response_status.ok
    return answer.subscribers, answer.waiting, answer.told


def test_a_service_that_nobody_follows_is_told(node: Node) -> None:
    """Nobody waits, and nothing is kept for having asked."""
    assert (0, 0, True) == asked(node)
    assert 0 == node.stream.services
    assert {} == node.stream.answering


def test_whoever_has_not_taken_a_change_waits(node: Node, change: Callable[..., None]) -> None:
    """Each subscriber of the service or of everything counts, of either dialect, until it has taken what there is."""
    one, two = follower(node, "Orders"), follower(node, "orders", dialect=Dialect.JAVA)
    everything = follower(node)
    other = follower(node, "payments")
    assert (3, 0, True) == asked(node)
    change()
    assert (3, 3, False) == asked(node, "ORDERS")
    one.take(1000)
    two.take(1000)
    assert (3, 1, False) == asked(node)
    everything.take(1000)
    assert (3, 0, True) == asked(node)
    change("payments")
    assert (3, 1, False) == asked(node)
    assert (2, 2, False) == asked(node, "payments")
    node.stream.detach(everything)
    node.stream.detach(other)
    assert (2, 0, True) == asked(node)


def test_a_subscriber_whose_messages_wait_for_room_waits(node: Node, change: Callable[..., None]) -> None:
    """What its door has taken and not written is not told yet."""
    subscriber = follower(node, "orders")
    change()
    subscriber.take(1000)
    subscriber.behind = True
    assert (1, 1, False) == asked(node)
    subscriber.behind = False
    assert (1, 0, True) == asked(node)


def test_a_long_poll_follows_until_it_is_answered(node: Node, change: Callable[..., None]) -> None:
    """It waits from the change on for as long as its door says."""
    cancel = node.stream.once("orders", lambda: node.stream.answering.update(["orders"]))
    assert cancel is not None
    assert (1, 0, True) == asked(node)
    change()
    assert (1, 1, False) == asked(node)
    node.stream.answering.subtract(["orders"])
    assert (0, 0, True) == asked(node)


@pytest.mark.parametrize(
    ("request_of_mine", "expected"),
    [
        (None, "request is null"),
        (ToldRequest(), "serviceId is null or empty"),
        (ToldRequest(service_id=" "), "serviceId is null or empty"),
    ],
)
def test_a_question_without_a_service_is_refused(
    node: Node, request_of_mine: ToldRequest | None, expected: str
) -> None:
    """It names what is missing."""
    status = told(node, request_of_mine, 0).response_status
    assert ("bad-request", expected) == (status.error_code, status.message)


def test_a_node_that_does_not_serve_does_not_say(node: Node) -> None:
    """Whoever asked has to ask another one."""
    node.drain(0)
    answer = told(node, ToldRequest(service_id="orders"), 0)
    assert ToldResponse(response_status=node.unavailable("discovery")) == answer


def test_the_position_of_a_subscriber_is_that_of_the_service_it_is_furthest_behind_with(
    node: Node, change: Callable[..., None]
) -> None:
    """Whoever goes on from it misses nothing of any; without a position of one service there is none."""
    subscriber = follower(node, "orders", "payments")
    start = node.cursor()
    assert start == node.stream.resumable(subscriber)
    change()
    change("payments")
    before = decode_cursor(node.stream.resumable(subscriber))
    assert decode_cursor(start).version == before.version
    assert before.dominates(decode_cursor(start))
    subscriber.take(1)
    behind = node.stream.resumable(subscriber)
    assert behind not in {start, node.cursor(), None}
    subscriber.take(1)
    assert node.cursor() == node.stream.resumable(subscriber)
    unknown = follower(node, "orders")
    subscriber.mark(next(iter(unknown.feeds)), -1)
    assert node.stream.resumable(subscriber) is None
