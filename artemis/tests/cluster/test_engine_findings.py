"""What the simulation found in the engine's core, each in a few lines."""

from engine_world import World, instance

from artemis.cluster.engine.entries import MemberRow, decode_entry
from artemis.registry import Origin
from artemis.testing.simulation.bucket import Bucket


def test_what_is_put_into_another_bucket_unnoticed_counts_in_none() -> None:
    """A put that ends up in a bucket that was made anew does not tell those who read the former one that it came."""
    world = World(("a", "b"))
    world.run(3_000)
    for number in range(5):
        world["a"].registry.register(instance(f"i{number}"), world.now)
    world.run(500)
    world.bucket = Bucket("another one")
    for member in world.members.values():
        member.reading = None
    world["a"].registry.register(instance("new"), world.now)
    world["b"].registry.register(instance("other"), world.now)
    world.run(3_000)
    assert len(world.bucket) >= 2
    assert {"a": 5, "b": 0} == {
        name: world[other].registry.vector.get(Origin(name, 1), 0) for name, other in (("a", "b"), ("b", "a"))
    }
    world.cut("a", "b")
    world.join("a", "b")
    world.run(2_000)
    assert len(world["b"].shows()) == 7
    assert world.alike()
    assert world.quiet()


def test_nobody_says_of_others_what_a_bucket_made_anew_has_not() -> None:
    """A decision is not ended by a node that reads, in a new bucket, that all was there, before all is."""
    world = World(("a", "b", "c"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.pull_out("b", "i")
    world.run(500, beats)
    world.cut("a", "b", "c")
    world.bucket = Bucket("another one")
    world.join("a")
    while not world.bucket.last:
        world["a"].replica.tick(world.now, 1_700_000_000_000 + world.now)
        world.step(world["a"])
    [row] = [decode_entry(entry.key, entry.value) for entry in world.bucket.entries()]
    assert isinstance(row, MemberRow)
    assert [] == row.others
    world.cut("a")
    world.join("c")
    world.run(500, beats)
    world.join("a", "b")
    world.run(2_000, beats)
    assert [{}, {}, {}] == [member.shows() for member in world.members.values()]
    assert world.alike()
    assert world.quiet()
