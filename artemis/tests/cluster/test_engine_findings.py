"""What the simulation found in the engine's core, each in a few lines."""

from engine_world import WALL, Member, World, instance

from artemis.cluster.engine.entries import MemberRow, decode_entry
from artemis.cluster.engine.port import Position, Put
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


def test_a_removal_that_was_not_put_before_a_restart_is_put_although_it_was_swept() -> None:
    """A node that is without the bucket before a restart and after it, for a lifetime, still tells of its removals."""
    world = World(("a", "b"))
    beats = [("b", "i")]
    world.run(3_000, beats)
    world.cut("a")
    world["a"].registry.unregister(instance("i"), world.now)
    world.run(40_000, beats)
    saved, position = world.save("a")
    world.add("a", 2, saved, position)
    world.cut("a")
    world.run(40_000, beats)
    assert world["a"].registry.find("s", "i") is None
    world.join("a")
    world.run(1_000)
    assert world["b"].registry.vector[Origin("a", 1)] == 1
    assert world.alike()
    assert {} == world["b"].shows()


def test_a_node_that_has_never_read_the_bucket_knows_nothing_of_the_others() -> None:
    """All that they ever accepted may be missing, or all since its snapshot."""
    world = World(("a", "b"))
    world.run(3_000)
    assert world.now == world["a"].replica.reached
    saved, position = world.save("a")
    world.cut("a")
    world.run(1_000)
    assert world.now - 1_000 == world["a"].replica.reached
    assert 0 == Member("a", 2, world).replica.reached
    assert position is not None
    position = Position(position.identity, position.sequence, WALL + 3_500)
    assert 3_500 == Member("a", 2, world, saved, position).replica.reached


def test_an_own_entry_of_which_nobody_told_that_it_was_put_is_no_former_life() -> None:
    """A node whose first word about itself was put, and not answered, goes on in the life that it is in."""
    world = World(("a",))
    member = world.add("b", epoch=5)
    member.replica.tick(world.now, WALL + world.now)
    [put] = [command for command in member.replica.take() if isinstance(command, Put)]
    world.bucket.put(put, world.now)
    member.replica.unknown(put.number, world.now)
    world.run(5_000)
    assert Origin("b", 5) == member.registry.origin
    assert world.quiet()
