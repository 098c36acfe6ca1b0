"""How often a change is put into the bucket of an engine: once, and nobody puts it again."""

from collections.abc import Callable

import pytest
from engine_world import World, instance

from artemis.cluster.engine.entries import decode_entry
from artemis.cluster.messages import InstanceRow


def _register(world: World, node: str) -> None:
    world[node].registry.register(instance("i"), world.now)


def _change(world: World, node: str) -> None:
    world[node].registry.heartbeat(instance("i", port=1), world.now)


def _renew(world: World, node: str) -> None:
    world[node].registry.heartbeat(instance("i"), world.now, (0, ""))


def _unregister(world: World, node: str) -> None:
    world[node].registry.unregister(instance("i"), world.now)


def _pull_out(world: World, node: str) -> None:
    world.pull_out(node, "i")


def _pull_in(world: World, node: str) -> None:
    world.pull_in(node, "i")


Act = Callable[[World, str], None]


@pytest.mark.parametrize(
    ("act", "puts"), [(_register, 1), (_change, 1), (_renew, 0), (_unregister, 1), (_pull_out, 1), (_pull_in, 1)]
)
@pytest.mark.parametrize("node", ["a", "c"])
def test_a_change_is_put_once_wherever_it_is_made(act: Act, puts: int, node: str) -> None:
    """Also what was changed at another node before, of which the entry does not name the change any more."""
    world = World(("a", "b", "c"))
    world.run(3_000)
    for before in ("b", "c"):
        _register(world, before)
        world.run(500)
        if act is _pull_in:
            _pull_out(world, before)
            world.run(500)
    tried = world.puts
    act(world, node)
    world.run(3_000)
    assert puts == len([key for key in world.tried[tried:] if not key.startswith("m.")])
    assert world.alike()
    assert world.quiet()


def test_what_expires_is_put_once() -> None:
    """One node gives it up, the others only read that."""
    world = World(("a", "b", "c"))
    world.run(3_000, [("b", "i")])
    _register(world, "c")
    tried = world.puts
    world.run(30_000)
    assert {} == world["a"].shows()
    assert len([key for key in world.tried[tried:] if key.startswith("i.")]) <= 2  # c's change, and its end
    assert world.quiet()


def test_a_change_that_the_bucket_has_not_had_is_put_although_an_entry_says_the_same() -> None:
    """Clients of the node that made it may know the changes of that entry, and not what they came to."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i")])
    for member in world.members.values():  # at the same time, from the same renewal
        lease = member.registry.find("s", "i")
        assert lease is not None
        member.registry.restate(lease, world.now)
    world.run(1_000)
    [row] = [
        value
        for value in (decode_entry(entry.key, entry.value) for entry in world.bucket.entries())
        if isinstance(value, InstanceRow)
    ]
    assert ["a", "b"] == [node for node, _, _ in row.dots]
    assert world.alike()
    assert world.quiet()
