"""Replication between real cores: what one node is told, the others show, whatever is lost on the way (design 4.1)."""

import pytest
from replicas import World, instance


@pytest.fixture
def world() -> World:
    """Return two nodes that have exchanged what they know."""
    world = World()
    world.run(500)
    assert world["a"].replica.synced
    assert world["b"].replica.synced
    return world


def test_what_one_node_is_told_the_other_shows(world: World) -> None:
    """A register and an unregister are changes that travel at once."""
    world["a"].registry.register(instance("i"), world.now)
    world.settle()
    assert ["i"] == list(world["b"].shows())
    world["b"].registry.unregister(instance("i"), world.now)
    world.settle()
    assert {} == world["a"].shows()
    assert world.equal()


def test_a_heartbeat_at_one_node_keeps_the_lease_at_the_other(world: World) -> None:
    """Renewals travel as handles; without them the lease expires, at its owner, once for all."""
    world["a"].registry.register(instance("i"), world.now)
    world.run(60_000, beats=[("a", "i")])
    assert ["i"] == list(world["b"].shows())
    assert 2 == len(world["b"].told) + len(world["a"].told)
    world.run(8_300)
    assert {} == world["a"].shows() == world["b"].shows()
    assert (1, 0) == (world["a"].registry.counters.expired, world["b"].registry.counters.expired)


def test_a_heartbeat_at_the_other_node_finds_the_lease(world: World) -> None:
    """A client may go on at any node; the lease follows it."""
    world["a"].registry.register(instance("i"), world.now)
    world.run(20_000, beats=[("b", "i")])
    assert ["i"] == list(world["a"].shows())
    assert "b" == world["a"].registry.find("s", "i").renewed[1]
