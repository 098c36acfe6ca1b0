"""Which node the client talks to."""

from random import Random

import pytest

from artemis.client.nodes.nodes import Nodes, node_url

A, B, C = "http://a:1", "http://b:1", "http://c:1"


def seeded(seed: int) -> Random:
    """Return a repeatable source of choices."""
    return Random(seed)  # noqa: S311 - it spreads load, it keeps no secret


def test_node_url_keeps_a_prefix_and_drops_the_trailing_slash() -> None:
    """A node may live below a prefix; the joining slash belongs to the path."""
    assert node_url(" http://host:8080/artemis-service/ ") == "http://host:8080/artemis-service"


@pytest.mark.parametrize(
    "text",
    ["", "host:8080", "ftp://host:1", "http://", "http://host:99999", "http://host:0", "http://h/?a=b", "http://["],
)
def test_node_url_refuses_what_is_no_address(text: str) -> None:
    """A wrong address is an error that quotes it, before anything is sent."""
    with pytest.raises(ValueError, match="not the URL of a node"):
        node_url(text)


def test_no_address_is_an_error() -> None:
    """A client without any server says so at once."""
    with pytest.raises(ValueError, match="servers is empty"):
        Nodes([], random=seeded(0), rest=10)


def test_repeated_addresses_count_once() -> None:
    """The same node written twice is one node."""
    assert Nodes([A, A + "/"], random=seeded(0), rest=10).urls == (A,)


def test_the_first_choice_is_random() -> None:
    """Clients spread over the nodes from the start."""
    assert {Nodes([A, B, C], random=seeded(seed), rest=10).current for seed in range(30)} == {A, B, C}


def test_the_choice_stays_until_the_node_fails() -> None:
    """Success changes nothing; failure moves to another node."""
    nodes = Nodes([A, B], random=seeded(0), rest=10)
    first = nodes.current
    nodes.answered(first)
    assert nodes.current == first
    assert nodes.failed(first, 0.0) != first


def test_calls_that_fail_together_move_once() -> None:
    """The failure of a node that the client has left already does not move it again."""
    nodes = Nodes([A, B, C], random=seeded(1), rest=10)
    left = nodes.current
    second = nodes.failed(left, 0.0)
    assert nodes.failed(left, 0.1) == second


def test_a_node_that_failed_rests_while_there_are_others() -> None:
    """Within the rest time only nodes that did not fail are chosen."""
    for seed in range(20):
        nodes = Nodes([A, B, C], random=seeded(seed), rest=10)
        first = nodes.current
        second = nodes.failed(first, 0.0)
        third = nodes.failed(second, 1.0)
        assert {first, second, third} == {A, B, C}


def test_when_all_failed_any_other_one_is_tried() -> None:
    """With nobody rested the client still moves on."""
    nodes = Nodes([A, B], random=seeded(0), rest=10)
    first = nodes.current
    second = nodes.failed(first, 0.0)
    assert nodes.failed(second, 0.1) == first


def test_a_lone_node_stays() -> None:
    """With one address there is nowhere to go."""
    assert Nodes([A], random=seeded(0), rest=10).failed(A, 0.0) == A
