"""Reasons why nodes are missing: seen from the node that says them, and each once."""

import pytest

from artemis.cluster.addresses import BadAddress, peer_place, peer_url
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.reasons import seen_from, shared

ME = "node a (http://a:1)"
B, C, D, E = (peer_url(f"http://{name}:1") for name in "bcde")


def test_a_reason_is_told_without_the_names_of_the_two_nodes() -> None:
    """So those that share one can be told together; a third node is named."""
    differ = "the cluster secrets of {} and {} differ"
    assert differ.format("that node", "this node") == seen_from("a", differ.format("node b (http://b:1)", ME))
    three = f"{ME} has met node b (http://b:1), later than node b (http://c:1)"
    assert three == seen_from("a", three)
    assert "nothing listens there" == seen_from("a", "nothing listens there")


def test_names_that_share_a_reason_are_together() -> None:
    """Those without one stand for themselves; beyond the most that are named they are counted."""
    reasons = [("b", "x"), ("c", ""), ("d", "x"), ("e", ""), ("f", "y")]
    assert ["b and d (x)", "c", "e", "f (y)"] == shared(reasons)
    assert ["a, b, c and 2 more (x)"] == shared([(name, "x") for name in "abcde"], 3)


def test_a_reason_that_many_nodes_share_is_said_once() -> None:
    """Of those without which a node serves, and of those that a start waits for."""
    members = Members(Announced(node="a", epoch=1, url=peer_url("http://a:1"), zone="z"), MemberTimings())
    members.configure([B, C, D, E], 0)
    for url in (B, C, D, E):
        members.trouble(url, f"{ME} is of cluster x, node {url.host} ({url}) of cluster y")
    why = "this node is of cluster x, that node of cluster y"
    assert [f"{B}, {C}, {D} and {E} ({why})"] == members.missing(0)
    assert [f"{B}, {C}, {D} and 1 more ({why})"] == members.unmet


@pytest.mark.parametrize("text", ["http://user:pw@h:1", "http://user:pw@h:99999", "http://user:p@w@h:1/path"])
def test_a_password_in_an_address_is_refused_as_such_and_shown_to_nobody(text: str) -> None:
    """A list of peers says whom to dial; who dials is proved otherwise."""
    with pytest.raises(BadAddress) as refused:
        peer_place(text)
    assert "pw" not in str(refused.value)
    assert "99999" in text or "give http://h:1" in str(refused.value)
