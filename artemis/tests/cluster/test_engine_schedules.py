"""Whatever happens to nodes, bucket and messages: in the end all nodes and the bucket say the same."""

import pytest
from engine_world import World, instance

from artemis.cluster.engine.entries import decode_entry
from artemis.cluster.messages import InstanceRow

SEEDS = (1, 3, 10, 36, 1015, 1025)
"""Schedules in which something was wrong once: forgotten lives came back, and a life was taken for another one."""


def _fault(world: World) -> None:
    """Let something befall a node or the bucket."""
    rnd = world.rnd
    assert rnd is not None
    name = rnd.choice(list(world.members))
    member = world[name]
    dice = rnd.random()
    if dice < 0.35:
        world.join(name) if member.cut else world.cut(name)
    elif dice < 0.45:
        world.cut(name)
        world.run(rnd.choice((2_000, 20_000, 90_000)))
        world.join(name)
    elif dice < 0.60:
        saved, position = world.save(name)
        world.cut(name)
        world.add(name, member.registry.origin.epoch + 1, saved, position)
    elif dice < 0.70:
        world.cut(name)
        world.add(name, rnd.choice((1, world.now)))
    elif dice < 0.75:
        world.remake()
    elif dice < 0.85 and len(world.members) < 4:
        world.add(f"n{len(world.members)}")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("few", [False, True])
def test_all_become_alike(seed: int, *, few: bool) -> None:
    """After random changes at random nodes with faults between, all agree, and nothing is left over."""
    world = World(("n0", "n1", "n2"), seed=seed)
    rnd = world.rnd
    assert rnd is not None
    names = [f"i{number}" for number in range(2 if few else 8)]
    for _ in range(25):
        name, node = rnd.choice(names), rnd.choice(list(world.members))
        known = _latest(world, name)
        if rnd.random() < 0.7:
            world[node].registry.register(instance(name, metadata={"by": node}), world.now, known)
        else:
            world[node].registry.unregister(instance(name), world.now, known)
        if rnd.random() < 0.2:
            world.pull_out(node, name) if rnd.random() < 0.5 else world.pull_in(node, name)
        if rnd.random() < 0.4:
            _fault(world)
        world.run(rnd.choice((0, 100, 300, 2_000)))
    world.join(*world.members)
    world.rnd = None
    world.run(8_000)
    assert world.quiet(), [member.replica.state() for member in world.members.values()]
    world.run(60_000 + 40_000 + 30_000)
    assert world.quiet()
    assert world.alike(), [(m.name, m.shows(), m.registry.vector) for m in world.members.values()]
    assert world.lives(), [(m.name, m.registry.vector, m.registry.base) for m in world.members.values()]
    rows = [decode_entry(entry.key, entry.value) for entry in world.bucket.entries() if entry.key.startswith("i.")]
    assert {} == world["n0"].shows()
    assert not [row for row in rows if isinstance(row, InstanceRow) and row.renewed > row.expired and not row.removed]
    assert not any(member.registry.ahead for member in world.members.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_who_is_heard_stays(seed: int) -> None:
    """An instance that heartbeats to a node all the time is shown by all in the end, with its content."""
    world = World(("n0", "n1", "n2"), seed=seed)
    rnd = world.rnd
    assert rnd is not None
    for _ in range(12):
        _fault(world)
        node = rnd.choice(list(world.members))
        world.run(rnd.choice((1_000, 4_000)), [(node, "i")])
    world.join(*world.members)
    world.rnd = None
    node = rnd.choice(list(world.members))
    world.run(20_000, [(node, "i")])
    assert world.alike(), [(m.name, m.shows(), m.registry.vector) for m in world.members.values()]
    assert world.lives(), [(m.name, m.registry.vector, m.registry.base) for m in world.members.values()]
    assert ["s/i"] == list(world["n0"].shows())


def _latest(world: World, name: str) -> tuple[int, str]:
    """Return the latest version that anybody knows of an instance, as its client would."""
    found = [member.registry.find("s", name) for member in world.members.values()]
    return max((lease.record.version for lease in found if lease is not None), default=(0, ""))
