"""When a node that is taken out of service may go: who is sent away when, and what it waits for."""

import msgspec
import pytest

from artemis.cluster.addresses import peer_url
from artemis.cluster.member_view import MemberView
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.retiring import SHARES, Confirmed, Retiring, Seen
from artemis.cluster.standing import Standing
from artemis.model import Instance, RegistryRequest
from artemis.server.node import Node, NodeIdentity
from artemis.server.retirement import renewed_here, takes_over

WALL = 1_700_000_000_000


def seen(others: int = 2, sessions: int = 0, renewed: int | None = 0, unconfirmed: int = 0) -> Seen:
    """What is seen of a node that nobody needs any more, unless told otherwise."""
    return Seen(others=others, sessions=sessions, renewed=renewed, unconfirmed=unconfirmed)


def handing(retiring: Retiring) -> Retiring:
    """The same, with all clients sent away."""
    retiring.tick(seen(), 0)
    retiring.tick(seen(), 1_000)
    return retiring


def test_clients_are_sent_away_evenly() -> None:
    """A share at a time, and sessions so that none is left in the end."""
    retiring = Retiring("alice", 1_000, 0)
    shares = []
    for now in range(0, 1_001, 250):
        retiring.tick(seen(renewed=5), now)
        shares.append(retiring.share)
    assert [0, SHARES // 4, SHARES // 2, 3 * SHARES // 4, SHARES] == shares
    left, closed = 1_000, []
    retiring = Retiring("alice", 1_000, 0)
    for now in range(0, 1_001, 100):
        retiring.tick(seen(renewed=5), now)
        due = retiring.sessions_due(left, now)
        closed.append(due)
        left -= due
    assert 0 == left
    assert max(closed) <= 100


def test_it_is_done_when_others_renew_and_have_all() -> None:
    """And not before what was counted after the last client was sent away says so."""
    retiring = Retiring("alice", 1_000, 0)
    retiring.tick(seen(), 0)
    retiring.tick(seen(), 1_000)
    assert "handing" == retiring.phase
    for waits in (seen(renewed=None), seen(renewed=3), seen(unconfirmed=1), seen(sessions=2)):
        retiring.tick(waits, 1_100)
        assert "handing" == retiring.phase
    retiring.tick(seen(), 1_200)
    assert retiring.done


def test_sessions_that_only_look_up_do_not_hold_it_for_ever() -> None:
    """The end of the node sends them away as any restart does."""
    retiring = handing(Retiring("alice", 1_000, 0))
    retiring.tick(seen(sessions=3), 1_999)
    assert not retiring.done
    retiring.tick(seen(sessions=3), 2_000)
    assert retiring.done


def test_it_waits_while_no_other_node_is_up() -> None:
    """And takes everybody again."""
    retiring = Retiring("alice", 1_000, 0)
    retiring.tick(seen(), 0)
    retiring.tick(seen(), 900)
    assert retiring.share
    retiring.tick(seen(others=0), 1_000)
    assert ("waiting", 0, 0) == (retiring.phase, retiring.share, retiring.sessions_due(5, 1_000))
    assert "no other node is up" in retiring.sentence
    retiring.tick(seen(), 1_100)
    assert ("sending", 0) == (retiring.phase, retiring.share)


def test_one_that_is_forced_goes_though_nobody_takes_over() -> None:
    """Whoever is renewed there."""
    retiring = Retiring("alice", 1_000, 0, forced=True)
    for now in (0, 1_000, 1_100):
        retiring.tick(seen(others=0, renewed=3), now)
    assert retiring.done


def test_what_was_made_after_the_last_confirmation_may_be_lacking() -> None:
    """Nothing is taken for granted of one who has not confirmed anything."""
    confirmed = Confirmed()
    for now, made in ((0, 5), (100, 7), (200, 7), (300, 9)):
        confirmed.note(made, now)
    assert [10, 5, 3, 3, 1] == [confirmed.lacking(at, 10) for at in (None, 50, 100, 250, 300)]


@pytest.fixture
def node() -> Node:
    """A node with two instances that it hears."""
    made = Node(NodeIdentity(node_id="n", epoch=1, region="r", zone="z", url="http://n:1"), now=0, wall=WALL)
    made.tick(0, WALL)
    assert register(made, "a", "b").response_status.ok
    return made


def register(node: Node, *names: str):
    """Register these."""
    return node.register(RegistryRequest(instances=[instance(each) for each in names]), 0)


def instance(name: str) -> Instance:
    """One of the service."""
    return Instance(region_id="r", zone_id="z", service_id="s", instance_id=name, url="u")


def seen_of(standing: Standing) -> MemberView:
    """A node of zone z that says this of itself, as others see it."""
    members = Members(Announced(node="me", epoch=1, url=peer_url("http://me:1"), zone="z"), MemberTimings())
    members.met(Announced(node="n", epoch=1, url=peer_url("http://n:1"), zone="z"), 0)
    members.told("n", standing, 0)
    return members.view("n", 0)


def test_instances_are_its_own_until_another_node_renews_them(node: Node) -> None:
    """Those that are gone are nobody's."""
    assert [2] == [found for found in renewed_here(node.registry) if found is not None]
    lease = node.registry.find("s", "a")
    assert lease is not None
    lease.renewed = (lease.renewed[0] + 1, "other")
    node.unregister(RegistryRequest(instances=[Instance(region_id="r", service_id="s", instance_id="b", url="u")]), 0)
    assert [0] == [found for found in renewed_here(node.registry) if found is not None]


def test_one_that_waits_serves_all_and_is_nobody_to_hand_over_to(node: Node) -> None:
    """So that two that drain at once do not send their clients to and fro."""
    retiring = Retiring("alice", 1_000, 0)
    retiring.tick(seen(others=0), 0)
    node.retire(retiring)
    assert ("up", True, True, True) == (
        node.standing.status,
        node.standing.registry,
        node.standing.discovery,
        node.standing.draining,
    )
    assert not takes_over(seen_of(node.standing), "z")
    assert takes_over(seen_of(msgspec.structs.replace(node.standing, draining=False)), "z")


def test_a_node_that_takes_its_own_zone_alone_takes_over_there_alone(node: Node) -> None:
    """Clients of another zone are not told of it."""
    node.allow_other_zones(registry=False, discovery=True)
    assert takes_over(seen_of(node.standing), "Z")
    assert not takes_over(seen_of(node.standing), "elsewhere")
    node.allow_other_zones(registry=True, discovery=True)
    assert takes_over(seen_of(node.standing), "elsewhere")


def test_who_is_sent_away_is_heard_nevertheless_and_may_leave(node: Node) -> None:
    """A client may know no other node yet: its instances live as long as it comes, and go when it says so."""
    retiring = handing(Retiring("alice", 1_000, 0))
    node.retire(retiring)
    three = RegistryRequest(instances=[instance("a"), instance("b"), instance("new")])
    for again in (node.heartbeat, node.register):
        assert "service-unavailable" == again(three, 1_500).response_status.error_code
        heard = {name: lease.heard for name in "ab" if (lease := node.registry.find("s", name)) is not None}
        assert {"a": 1_500, "b": 1_500} == heard
        assert node.registry.find("s", "new") is None
    assert node.unregister(RegistryRequest(instances=[instance("b")]), 1_600).response_status.ok
    assert "service-unavailable" == node.heartbeat(three, 1_700).response_status.error_code
    assert [1] == [found for found in renewed_here(node.registry) if found is not None]


def test_it_is_offered_to_nobody_and_answers_lookups(node: Node) -> None:
    """Registrations are refused share by share, with the reason; and all is as before when it stays."""
    retiring = Retiring("alice", 1_000, 0)
    retiring.tick(seen(), 0)
    node.retire(retiring)
    assert ("down", False, False, True) == (
        node.standing.status,
        node.standing.registry,
        node.standing.discovery,
        node.standing.draining,
    )
    assert register(node, "c").response_status.ok
    retiring.tick(seen(), 1_000)
    node.settle()
    answer = register(node, "c").response_status
    assert "service-unavailable" == answer.error_code
    assert "alice takes it out of service" in (answer.message or "")
    assert node.refuse_discovery("r", "z") is None
    node.retire(None)
    assert ("up", True, True) == (node.standing.status, node.standing.registry, node.standing.discovery)
    assert not node.standing.draining
    assert register(node, "c").response_status.ok
