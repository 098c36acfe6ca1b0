"""What a node knows of its peers put together, and work for operators under way: which peer is meant, what is kept."""

import pytest
from replicas import World, instance

from artemis.cluster.addresses import peer_url
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.mesh.states import LinkState
from artemis.server.cluster_control import MOST_TASKS, ClusterControl, Task, UnknownPeer
from artemis.server.comparing import PeerComparing


class Desk:
    """Node `a` of a small world, with its peer `b` and an address where nobody was met."""

    def __init__(self) -> None:
        self.world = World()
        self.members = Members(announced("a"), MemberTimings())
        self.members.met(announced("b"), self.world.now)
        self.members.configure([peer_url("http://b:1"), peer_url("http://c:1")], self.world.now)
        self.links = [LinkState(url="http://b:1", configured=True, connected=True, receiving=True, node="b", rtt=7)]
        self.control = ClusterControl(
            "artemis",
            self.members,
            self.world["a"].replica,
            PeerComparing(self.members, self.world["a"].replica, lambda: self.links),
            state=self.world["a"].replica.state,
            links=lambda: self.links,
            counters=dict,
            refused=dict,
            leave=lambda _: None,
        )

    def outcome(self, task: Task) -> Task:
        """What became of a task until now."""
        found = self.control.task(task.number, self.world.now)
        assert found is task
        return found


@pytest.fixture
def desk() -> Desk:
    """Return a node with a peer."""
    return Desk()


def announced(node: str) -> Announced:
    """A node with this id."""
    return Announced(node=node, epoch=1, url=peer_url(f"http://{node}:1"), zone="z")


def test_a_link_belongs_to_its_member_or_to_its_address(desk: Desk) -> None:
    """Whether somebody was met there or not."""
    desk.links.append(LinkState(url="http://c:1", configured=True, connected=False, receiving=False, error="nobody"))
    found = {each.view.node: each.link for each in desk.control.neighbours(desk.world.now)}
    assert {"b": 7, "": 0} == {node: link.rtt for node, link in found.items() if link is not None}
    assert "nobody" == found[""].error


def test_a_peer_that_is_dialled_in_vain_is_one_peer(desk: Desk) -> None:
    """Its own connection may be there still: what went wrong and what comes from it are told together."""
    desk.links[:] = [
        LinkState(url="http://b:1", configured=True, connected=False, receiving=False, error="too late", attempts=3),
        LinkState(url="http://b:1", configured=False, connected=False, receiving=True, node="b", heard_ago=9),
    ]
    (link,) = [each.link for each in desk.control.neighbours(desk.world.now) if each.view.node]
    assert link is not None
    assert ("too late", 3, True, 9, "b") == (link.error, link.attempts, link.receiving, link.heard_ago, link.node)


@pytest.mark.parametrize("name", ["b", " b ", "http://b:1", "http://B:1/", "b:1", None])
def test_a_peer_is_named_by_id_or_by_url(desk: Desk, name: str | None) -> None:
    """In any spelling; nobody named means all that are linked."""
    assert ["b"] == desk.control.compare(name, desk.world.now).peers


@pytest.mark.parametrize("name", ["a", "c", "http://c:1", "http://b:2", "no name at all", "x" * 5_000])
def test_whoever_was_not_met_is_refused_with_those_who_were(desk: Desk, name: str) -> None:
    """In a sentence of bearable length."""
    with pytest.raises(UnknownPeer, match=r"known are: http://b:1 \(b\)") as refused:
        desk.control.repair(name, desk.world.now)
    assert len(str(refused.value)) < 400


def test_a_repair_is_over_with_an_exchange_that_began_after_it(desk: Desk) -> None:
    """One that was under way tells nothing of what happened since."""
    world = desk.world
    world.run(3_000)
    world["b"].registry.register(instance("i"), world.now)
    task = desk.control.repair("b", world.now)
    assert not desk.outcome(task).done
    world.run(500)
    assert desk.outcome(task).done
    assert task.exchanged["b"].completed


def test_a_repair_without_a_link_fails(desk: Desk) -> None:
    """At once, and says so."""
    desk.links.clear()
    task = desk.control.repair("b", desk.world.now)
    assert {"b": "there is no link to it"} == desk.outcome(task).failed
    with pytest.raises(UnknownPeer, match="no link to any other node"):
        desk.control.repair(None, desk.world.now)


def test_a_repair_that_breaks_off_fails(desk: Desk) -> None:
    """The next exchange goes on with the rest."""
    world = desk.world
    world.cut = {("b", "a")}
    task = desk.control.repair("b", world.now)
    world.run(6_000)
    assert "the exchange broke off" in desk.outcome(task).failed["b"]


def test_a_repair_that_cannot_begin_fails_in_the_end(desk: Desk) -> None:
    """Such as at a node that is still told whom to copy from."""
    world = desk.world
    world["a"].replica.partners = ()
    task = desk.control.repair("b", world.now)
    world.run(1_000)
    assert not desk.outcome(task).done
    world.now += 60_000
    assert "could begin within 60 s" in desk.outcome(task).failed["b"]


def test_the_last_few_tasks_are_remembered(desk: Desk) -> None:
    """However many there were."""
    numbers = [desk.control.repair("b", desk.world.now).number for _ in range(MOST_TASKS + 5)]
    assert [None] * 5 == [desk.control.task(number, desk.world.now) for number in numbers[:5]]
    assert None not in [desk.control.task(number, desk.world.now) for number in numbers[5:]]
