"""How two nodes differ is told without changing either of them, whatever the reason, and what an exchange did."""

import pytest
from replicas import World, instance
from whole_nodes import NodeWorld

from artemis.cluster import inspection as looking
from artemis.cluster.inspection import Inspection
from artemis.cluster.messages import Changes, Renewals
from artemis.management import InstanceTarget, OperationRecord


def look(world: World, one: str, other: str) -> Inspection:
    """Let one node compare itself with another, and time pass until it has."""
    found = world[one].replica.inspect(other, world.now)
    world.run(300)
    return found


def told(found: Inspection) -> list[tuple[str, str, str, bool, str]]:
    """What is told of each difference, without stamps."""
    rows = [(each.instance, each.here.state, each.there.state, each.visible, each.why) for each in found.found]
    return sorted(rows)


def apart(world: World, *names: str) -> None:
    """Register instances everywhere, then cut the messages of a off for good: all but questions and answers."""
    for name in names:
        world["a"].registry.register(instance(name), world.now)
    world.run(3_000)
    world.drop = lambda *told: isinstance(told[2], Changes | Renewals)
    for peer in world.peers.values():
        peer.replica.partners = ()


def test_nodes_that_know_the_same_do_not_differ():
    """And nothing but the sums is compared."""
    world = World()
    world["a"].registry.register(instance("i"), world.now)
    world.run(3_000, [("a", "i")])
    found = look(world, "b", "a")
    assert (True, True, "", 0, 0, []) == (
        found.done,
        found.complete,
        found.failed,
        found.buckets,
        found.rows,
        found.found,
    )


def test_what_is_new_on_either_side_is_told_with_its_reason():
    """A change that is on its way to this node, one on its way to the other, and both."""
    world = World()
    apart(world, "both", "there", "gone")
    world["a"].registry.register(instance("there", ip="10.0.0.1"), world.now)
    world["a"].registry.register(instance("fresh"), world.now)
    world["a"].registry.register(instance("both", ip="10.0.0.1"), world.now)
    world["b"].registry.register(instance("both", ip="10.0.0.2"), world.now)
    world["b"].registry.unregister(instance("gone"), world.now)
    before = {name: dict(peer.registry.vector) for name, peer in world.peers.items()}
    found = look(world, "b", "a")
    assert [
        ("both", "live", "live", True, "both"),
        ("fresh", "absent", "live", True, "coming"),
        ("gone", "removed", "live", True, "going"),
        ("there", "live", "live", True, "coming"),
    ] == told(found)
    assert (4, 4, {"s": 4}) == (found.count, found.visible, dict(found.services))
    assert before == {name: dict(peer.registry.vector) for name, peer in world.peers.items()}, "nothing was repaired"


def test_what_the_peer_has_never_heard_of_is_told():
    """As absent there."""
    world = World()
    apart(world)
    world["b"].registry.register(instance("mine"), world.now)
    assert [("mine", "live", "absent", True, "going")] == told(look(world, "b", "a"))


def test_a_difference_that_nobody_sees_is_told_as_such():
    """Such as a removal of what the peer has never known."""
    world = World()
    apart(world)
    world["b"].registry.unregister(instance("mine"), world.now)
    assert [("mine", "removed", "absent", False, "going")] == told(look(world, "b", "a"))


def test_an_exchange_ends_the_difference_and_says_what_it_changed():
    """After it both know the same."""
    world = World()
    apart(world, *(f"i{number}" for number in range(10)))
    for number in range(4):
        world["a"].registry.register(instance(f"i{number}", ip="10.0.0.1"), world.now)
    world["b"].replica.partners = None
    world["b"].replica.want("a")
    world.run(300)
    exchanged = world["b"].replica.exchanged["a"]
    assert (True, 4, 0) == (exchanged.completed, exchanged.repaired, exchanged.restated)
    assert exchanged.rows >= 4
    assert [] == look(world, "b", "a").found


@pytest.mark.parametrize("side", ["a", "b"])
def test_only_so_much_is_looked_at(monkeypatch, side):
    """What is told of has a bound, whoever has more; all that was looked at is counted."""
    monkeypatch.setattr(looking, "MOST_ROWS", 50)
    monkeypatch.setattr(looking, "MOST_TOLD", 5)
    world = World(rows=20)
    apart(world)
    for number in range(200):
        world[side].registry.register(instance(f"i{number}"), world.now)
    found = look(world, "b", "a")
    assert (True, False, 5) == (found.done, found.complete, len(found.found))
    assert 50 <= found.count <= 80


def test_without_a_link_it_fails_at_once():
    """And says so."""
    world = World()
    world["b"].replica.disconnect("a")
    found = world["b"].replica.inspect("a", world.now)
    assert (True, "there is no link to it") == (found.done, found.failed)


def test_it_fails_when_the_link_ends():
    """Whether it has begun or waits."""
    world = World()
    waiting = world["b"].replica.inspect("a", world.now)
    world["b"].replica.disconnect("a")
    assert "the link to it ended" == waiting.failed
    world["b"].replica.connect("a", world.now)
    begun = world["b"].replica.inspect("a", world.now)
    world["b"].replica.tick(world.now + 3_000, 0)
    world["b"].replica.disconnect("a")
    assert "the link to it ended" == begun.failed


def test_it_fails_when_the_peer_is_silent_and_others_go_on():
    """After the patience that exchanges have."""
    world = World(("a", "b", "c"))
    world.run(500)
    world.cut = {("a", "b")}
    found = world["b"].replica.inspect("a", world.now)
    world.run(5_500)
    assert (True, "it did not answer for 5 s") == (found.done, found.failed)
    exchanges = world["b"].replica.counters.exchanges
    world.run(12_000)
    assert world["b"].replica.counters.exchanges > exchanges


def test_one_waits_for_each_peer_at_a_time():
    """Whoever asks again is told of the same one."""
    world = World()
    assert world["b"].replica.inspect("a", world.now) is world["b"].replica.inspect("a", world.now)


def test_what_operators_decided_is_compared_as_well():
    """An operation that one side alone knows, or that has ended at one of them."""
    world, target = NodeWorld(), InstanceTarget("r", "s", "i")

    def by(name: str) -> OperationRecord:
        return OperationRecord(name, "alice", None)

    world["a"].node.pullouts.operate(target, by("both"), world.now)
    world.run(3_000)
    world.drop = lambda *told: isinstance(told[2], Changes | Renewals)
    for peer in world.peers.values():
        peer.replica.partners = ()
    world["a"].node.pullouts.operate(target, by("there"), world.now)
    world["b"].node.pullouts.operate(target, by("here"), world.now)
    world["b"].node.pullouts.complete(target, "both", world.now)
    found = look(world, "b", "a")
    assert [
        ("both", "removed", "live", True, "going"),
        ("here", "live", "absent", True, "going"),
        ("there", "absent", "live", True, "coming"),
    ] == sorted((each.operation, each.here.state, each.there.state, each.visible, each.why) for each in found.found)
    assert {("s", "i")} == {(each.service, each.instance) for each in found.found}
