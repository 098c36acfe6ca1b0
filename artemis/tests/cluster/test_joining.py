"""The start of a node among others: what it waits for, and that it never waits for long."""

from collections.abc import Mapping

import pytest

from artemis.cluster.joining import Joining, Reachable, Surroundings

TIMEOUT = 5_000


def around(*reachable: str, listed: str = "", unmet: tuple[str, ...] = (), **compared: int) -> Surroundings:
    """Nodes as `id/zone/status`, and when an exchange with each was completed."""
    peers = [Reachable(*peer.split("/")) for peer in reachable]
    done: Mapping[str, int] = compared
    return Surroundings(listed, unmet, peers, done)


@pytest.fixture
def joining() -> Joining:
    """A node of zone z1 that started at 0."""
    return Joining("z1", TIMEOUT, 0)


def test_the_only_node_serves_at_once(joining: Joining) -> None:
    """No force-up is needed (defect 11)."""
    joining.look(around(), 0)
    assert ("it is the only node", None) == (joining.outcome, joining.partners)


def test_a_node_that_cannot_reach_others_serves_after_the_timeout(joining: Joining) -> None:
    """Not a moment later, and it says whom it could not reach."""
    for now in (0, 4_999):
        joining.look(around(unmet=("http://a:1 (connection refused)",)), now)
        assert not joining.over
    assert "it waits for http://a:1 (connection refused) to be reached" == joining.waiting
    joining.look(around(unmet=("http://a:1",)), 5_000)
    assert (
        "it waits for http://a:1 (connection refused) to be reached, and the join timeout of 5 s is over: "
        "it serves what it has, and takes the rest in as it comes" == (joining.outcome)
    )


def test_a_copy_that_comes_in_is_waited_for_longer(joining: Joining) -> None:
    """Nobody is shown half of what there is, while others serve; a copy that stops coming is given up."""
    for now in range(0, 20_000, 1_000):
        joining.look(around("a/z1/up")._replace(came=now), now)
        assert not joining.over
    joining.look(around("a/z1/up")._replace(came=19_000), 23_999)
    assert not joining.over
    joining.look(around("a/z1/up"), 24_000)
    assert "it waits for the copy from a, and the join timeout of 5 s is over" == joining.outcome.partition(":")[0]


def test_a_copy_that_never_ends_is_not_waited_for_for_ever(joining: Joining) -> None:
    """Twelve times the timeout is the longest start."""
    for now in range(0, 12 * TIMEOUT, 1_000):
        joining.look(around("a/z1/up")._replace(came=now), now)
        assert not joining.over
    joining.look(around("a/z1/up")._replace(came=12 * TIMEOUT), 12 * TIMEOUT)
    assert joining.over


def test_without_a_timeout_nobody_is_waited_for() -> None:
    """0 serves with the first look."""
    joining = Joining("z1", 0, 7)
    joining.look(around(unmet=("http://a:1",)), 7)
    assert joining.over


def test_the_list_of_nodes_is_waited_for(joining: Joining) -> None:
    """A name that is not resolved yet does not make a node the only one."""
    joining.look(around(listed="DNS name artemis.local"), 0)
    assert (False, "it waits for the list of nodes from DNS name artemis.local") == (joining.over, joining.waiting)


def test_it_copies_from_a_node_that_serves(joining: Joining) -> None:
    """And serves as soon as that is done."""
    joining.look(around("a/z1/up"), 100)
    assert (False, ["a"], "it waits for the copy from a") == (joining.over, joining.partners, joining.waiting)
    joining.look(around("a/z1/up", a=400), 400)
    assert "it has copied from node a in zone z1" == joining.outcome


def test_a_comparison_from_before_a_node_served_is_no_copy(joining: Joining) -> None:
    """It may not have had everything itself then."""
    joining.look(around("a/z1/starting", unmet=("http://b:1",), a=100), 100)
    joining.look(around("a/z1/up", unmet=("http://b:1",), a=100), 200)
    assert not joining.over
    joining.look(around("a/z1/up", unmet=("http://b:1",), a=300), 300)
    assert joining.over


def test_one_that_serves_is_enough_whoever_else_is_missing(joining: Joining) -> None:
    """Nobody waits for nodes that are down."""
    joining.look(around("a/z1/up", "b/z1/starting", unmet=("http://c:1",)), 0)
    joining.look(around("a/z1/up", "b/z1/starting", unmet=("http://c:1",), a=50), 50)
    assert joining.over


def test_its_own_zone_comes_first(joining: Joining) -> None:
    """Letter case does not matter."""
    joining.look(around("a/z2/up", "b/Z1/up"), 0)
    assert ["b"] == joining.partners


def test_another_zone_waits_a_moment_for_the_own_one(joining: Joining) -> None:
    """As long as there are nodes whose zone is not known, and not for long."""
    joining.look(around("a/z2/up", unmet=("http://b:1",)), 100)
    assert ((), "it waits for a node of zone z1 to copy from") == (joining.partners, joining.waiting)
    joining.look(around("a/z2/up", unmet=("http://b:1",)), 1_100)
    assert ["a"] == joining.partners


def test_another_zone_is_taken_at_once_when_the_own_one_has_nobody(joining: Joining) -> None:
    """All nodes were met."""
    joining.look(around("a/z2/up", "b/z1/starting"), 0)
    assert ["a"] == joining.partners


def test_nodes_that_start_together_compare_with_each_other_and_serve(joining: Joining) -> None:
    """A whole cluster that was restarted comes up with what any of them remembers."""
    joining.look(around("a/z1/starting", "b/z2/starting"), 0)
    assert ["a", "b"] == joining.partners
    joining.look(around("a/z1/starting", "b/z2/starting", a=10), 10)
    assert "it waits for the comparison with b, which does not serve yet either" == joining.waiting
    joining.look(around("a/z1/starting", "b/z2/starting", a=10, b=20), 20)
    assert "nobody serves yet, and it has compared itself with a and b" == joining.outcome


def test_a_node_that_has_not_said_whether_it_serves_is_asked_first(joining: Joining) -> None:
    """It may have everything."""
    joining.look(around("a/z1/unknown", a=5), 10)
    assert (False, "it waits for a to say whether it serves") == (joining.over, joining.waiting)
    joining.look(around("a/z1/unknown", "b/z1/unknown", a=5), 20)
    assert "it waits for a and b to say whether they serve" == joining.waiting
    joining.look(around("a/z1/starting", "b/z1/starting"), 30)
    assert "it waits for the comparison with a and b, which do not serve yet either" == joining.waiting


def test_many_names_are_cut(joining: Joining) -> None:
    """A sentence stays a sentence."""
    joining.look(around(unmet=tuple("abcdefg")), 0)
    assert "it waits for a, b, c and 4 more to be reached" == joining.waiting


def test_what_is_over_stays_over(joining: Joining) -> None:
    """Nothing that comes later takes the service back."""
    joining.look(around(), 0)
    joining.look(around("a/z1/up"), 1)
    assert "it is the only node" == joining.outcome
