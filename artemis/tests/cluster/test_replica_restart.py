"""Nodes that come back: with a snapshot, old or new, without one, and what their old vector means in a new epoch."""

import pytest
from replicas import TIMINGS, WALL, Peer, World, instance

from artemis.cluster import Repair
from artemis.registry import Cut, Origin, read_snapshot
from artemis.registry.restore import restore

A1, A2, B = Origin("a", 1), Origin("a", 2), Origin("b", 1)


def snapshot(peer: Peer, world: World) -> bytes:
    """Return all that a node knows."""
    return b"".join(Cut(peer.registry, version=1, now=world.now, wall=WALL + world.now).chunks())


def come_back(world: World, name: str, epoch: int, data: bytes | None) -> Peer:
    """Put a new life in the place of a node, with what a snapshot holds."""
    peer = Peer(name, epoch, world)
    if data is not None:
        saved = read_snapshot(data, region="r", node=name, epoch=epoch, previous=epoch - 1)
        restore(peer.registry, saved, world.now, WALL + world.now)
        peer.begin(world)
    world.peers[name] = peer
    world.connect(name)
    return peer


@pytest.fixture
def world() -> World:
    """Return two nodes with an instance that the first has registered and that goes on heartbeating."""
    world = World()
    world.run(500)
    world["a"].registry.register(instance("i"), world.now)
    world.run(3_000, beats=[("b", "i")])
    return world


@pytest.mark.parametrize("keeps", [True, False])
def test_a_restart_changes_nothing_for_callers(world: World, *, keeps: bool) -> None:
    """With and without a snapshot, the node shows the same again and the others have nothing to tell."""
    data = snapshot(world["a"], world)
    before = len(world["b"].told)
    world.asleep = {"a"}
    world.run(2_000, beats=[("b", "i")])
    world.asleep = set()
    back = come_back(world, "a", 2, data if keeps else None)
    world.run(6_000, beats=[("b", "i")])
    assert (["i"], True) == (list(back.shows()), world.equal())
    assert before == len(world["b"].told)
    assert [b"{"] * (not keeps) == [change.visible[:1] for change in back.told]


def test_an_old_snapshot_is_brought_up_to_date(world: World) -> None:
    """What happened after it is repaired, the node's own former changes included, and nothing dead comes back."""
    world["a"].registry.register(instance("dead"), world.now)
    world.settle()
    data = snapshot(world["a"], world)
    world["a"].registry.unregister(instance("dead"), world.now)
    world["a"].registry.register(instance("later"), world.now)
    world.run(1_000, beats=[("b", "i"), ("b", "later")])
    back = come_back(world, "a", 2, data)
    assert ["dead", "i"] == list(back.shows())
    world.run(6_000, beats=[("b", "i"), ("b", "later")])
    assert ["i", "later"] == list(back.shows()) == list(world["b"].shows())
    assert (4, 0) == (back.registry.vector[A1], back.registry.vector[A2])


def test_a_snapshot_of_long_ago_brings_back_nothing_that_was_swept(world: World) -> None:
    """The others have forgotten the dead; whoever brings them back has heard none of them."""
    world["a"].registry.register(instance("dead"), world.now)
    world.settle()
    data = snapshot(world["a"], world)
    world.asleep = {"a"}
    world["b"].registry.unregister(instance("dead"), world.now)
    world.run(TIMINGS.lifetime + 2_000, beats=[("b", "i")])
    world.asleep = set()
    back = come_back(world, "a", 2, data)
    world.run(4_000, beats=[("b", "i")])
    assert ["i"] == list(back.shows()) == list(world["b"].shows())
    assert not [change for change in world["b"].told[3:] if change.visible and change.record.key[2] == "dead"]


def test_a_lease_of_a_former_life_has_a_fresh_ttl_but_is_vouched_for_by_nobody(world: World) -> None:
    """Restored leases expire a TTL later if nobody is heard; to peers they are older than that."""
    data = snapshot(world["a"], world)
    world.peers.pop("b")
    back = come_back(world, "a", 2, data)
    world.run(TIMINGS.ttl - 200)
    assert ["i"] == list(back.shows())
    assert TIMINGS.ttl <= world.now - back.registry.find("s", "i").heard
    world.run(TIMINGS.grace + 1_000)
    assert [] == list(back.shows())


def test_a_snapshot_between_two_parts_of_an_answer_says_so() -> None:
    """It holds more than its vector says, and names how much more."""
    world, beats = World(rows=2), [("b", f"n{number}") for number in range(5)]
    world.run(500)
    for node, name in beats:
        world.beat(node, name)
    world.settle()
    world.drop = lambda _, target, message: target == "c" and isinstance(message, Repair) and message.index > 1
    fresh = world.add("c")
    world.run(1_000, beats)
    assert 0 < len(fresh.shows()) < 5
    ahead = dict(fresh.registry.ahead)
    assert [Origin("b", 1)] == list(ahead)
    data = snapshot(fresh, world)
    world.drop = lambda *_: False
    back = come_back(world, "c", 2, data)
    assert (ahead, fresh.shows()) == (back.registry.ahead, back.shows())
    world.run(8_000, beats)
    assert ({}, world["b"].shows()) == (back.registry.ahead, back.shows())


def test_a_base_survives_a_restart(world: World) -> None:
    """What is no longer named is still included."""
    come_back(world, "a", 2, None)
    world.run(TIMINGS.lifetime + 3_000, beats=[("b", "i")])
    assert {"a": 2} == world["b"].registry.base
    back = come_back(world, "b", 2, snapshot(world["b"], world))
    assert {"a": 2} == back.registry.base


@pytest.mark.parametrize(("epoch", "then"), [(1, 2), (0, 2)])
def test_a_node_that_has_lost_its_epoch_begins_a_later_one(world: World, epoch: int, then: int) -> None:
    """Without its data and with a clock that was set back it would number its changes as others were numbered."""
    back = come_back(world, "a", epoch, None)
    world.run(500, beats=[("b", "i")])
    back.registry.register(instance("new"), world.now)
    world.run(1_000, beats=[("b", "i")])
    assert then == back.registry.origin.epoch
    assert ["i", "new"] == list(back.shows()) == list(world["b"].shows())
    assert world.equal()
