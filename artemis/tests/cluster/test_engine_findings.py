"""What the simulation found in the engine's core, each in a few lines."""

from copy import deepcopy

from engine_world import WALL, Member, World, instance

from artemis.cluster.engine.entries import MemberRow, decode_entry
from artemis.cluster.engine.port import Position, Put
from artemis.management import InstanceTarget
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


def test_what_is_put_into_an_old_copy_unnoticed_counts_in_none() -> None:
    """A put that ends up in an old copy of a bucket counts for nobody, also where its number is a new one for the node
    that put it, which had not read all of the bucket."""
    world = World(("a", "b"))
    world.run(3_000)
    copy = deepcopy(world.bucket)
    copy.identity = "an old copy"
    world["a"].reading = None
    for number in range(5):
        world["b"].registry.register(instance(f"i{number}"), world.now)
    world.run(500)
    world["b"].reading = None
    world.bucket = copy
    world["a"].registry.register(instance("new"), world.now)
    world.run(1_000)
    assert ["new"] == [key.rpartition("/")[2] for key in world["a"].shows()]
    assert world["a"].replica.untold
    assert 0 == world["b"].registry.vector.get(Origin("a", 1), 0)
    world.cut("a", "b")
    world.join("a", "b")
    world.run(2_000)
    assert len(world["b"].shows()) == 6
    assert world.alike()
    assert world.quiet()


def test_what_an_old_copy_has_under_the_number_of_a_put_counts_in_none() -> None:
    """A put that ended up in an old copy is not taken for the entry of another one that has its number here, and is
    done again where the node reads on."""
    world = World(("a", "b"))
    world.run(3_000)
    copy = deepcopy(world.bucket)
    world["a"].reading, reached = None, world["a"].reading
    world["b"].registry.register(instance("i", metadata={"by": "b"}), world.now)
    world.run(200)
    true, world.bucket = world.bucket, copy
    world["a"].registry.register(instance("i"), world.now)
    world.run(200)
    assert copy.last == true.last
    world.bucket, world["a"].reading = true, reached
    assert world["a"].replica.untold
    world.run(3_000)
    assert true.last > copy.last
    assert 1 == world["b"].registry.vector.get(Origin("a", 1), 0)
    assert world.alike()
    assert world.quiet()


def test_what_is_put_counts_although_another_node_puts_it_again_before_it_is_read() -> None:
    """Who reads no entry of its own, as there is a later one of another node on top of it, has put it all the same."""
    world = World(("a", "b"))
    world.run(3_000)
    world["a"].reading, reached = None, world["a"].reading
    world["a"].registry.register(instance("i"), world.now)
    world.run(200)
    world["b"].registry.register(instance("i", metadata={"by": "b"}), world.now)
    world.run(200)
    assert world["a"].replica.untold
    world["a"].reading = reached
    world.run(1_000)
    assert not world["a"].replica.untold
    assert {"a": 1, "b": 1} == {node: world["b"].registry.vector.get(Origin(node, 1), 0) for node in ("a", "b")}
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
    """All that they ever accepted may be missing, or all since its snapshot, also one from before the machine began."""
    world = World(("a", "b"))
    world.run(3_000)
    assert world.now == world["a"].replica.reached
    saved, position = world.save("a")
    world.cut("a")
    world.run(1_000)
    assert world.now - 1_000 == world["a"].replica.reached
    assert -WALL == Member("a", 2, world).replica.reached
    assert position is not None
    for moment in (3_500, -90_000):
        position = Position(position.identity, position.sequence, WALL + moment)
        assert moment == Member("a", 2, world, saved, position).replica.reached


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


def test_a_pull_out_that_ended_is_not_brought_back_by_whoever_fills_a_new_bucket() -> None:
    """Where a node with an old snapshot is the first to find an empty bucket, those who know that a pull-out has ended,
    and have forgotten it since, end it again."""
    world = World(("a", "b"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.pull_out("b", "i")
    world.run(500, beats)
    saved, position = world.save("b")
    world.cut("b")
    world.pull_in("a", "i")
    world.run(70_000, beats)
    assert not world["a"].node.operations.remembered
    world.cut("a")
    world.bucket = Bucket("another one")
    world.add("b", 2, saved, position)
    world.run(1_000, beats)
    assert {} == world["b"].shows()
    world.join("a")
    world.run(2_000, beats)
    assert ["s/i"] == list(world["a"].shows())
    assert world.alike()
    assert world.quiet()


def test_a_pull_out_that_ended_where_the_bucket_was_away_is_not_brought_back() -> None:
    """A node that ended it, and has forgotten that before it could put it, ends it again."""
    world = World(("a", "b"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.pull_out("b", "i")
    world.run(500, beats)
    world.cut("a")
    world.pull_in("a", "i")
    world.run(70_000, beats)
    assert not world["a"].node.operations.remembered
    world.cut("b")
    world.bucket = Bucket("another one")
    world.join("b")
    world.run(1_000, beats)
    world.join("a")
    world.run(2_000, beats)
    assert ["s/i"] == list(world["b"].shows())
    assert world.alike()
    assert world.quiet()


def test_a_pull_out_that_a_node_ended_without_knowing_of_it_stays_ended() -> None:
    """Also when the node has forgotten that before it could put it, and reads only then that there was one."""
    world = World(("a", "b"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.cut("a")
    world.pull_out("b", "i")
    world.run(500, beats)
    world.pull_in("a", "i")
    world.run(70_000, beats)
    assert not world["a"].node.operations.remembered
    world.join("a")
    world.run(2_000, beats)
    assert ["s/i"] == list(world["b"].shows())
    assert world.alike()
    assert world.quiet()


def test_a_pull_out_of_a_life_that_others_have_forgotten_holds() -> None:
    """Nobody knows any more whether it was there before: it is not taken for one that has ended."""
    world = World(("a", "c"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.pull_out("c", "i")
    world.pull_in("c", "i")
    world.run(500, beats)
    world.cut("c")
    world.run(65_000, beats)
    world["a"].registry.drop_epochs({"c": 2})
    world.run(6_000, beats)
    world.pull_out("c", "i")
    world.join("c")
    world.run(3_000, beats)
    assert [{}, {}] == [member.shows() for member in world.members.values()]
    assert world.alike()
    assert world.quiet()


def test_what_was_accepted_in_a_life_that_others_have_forgotten_is_a_change_of_the_next() -> None:
    """Else a node that comes back shows what no number stands for, to it or to anybody else."""
    world = World(("a", "c"))
    world.run(1_000)
    former = world["c"]
    former.registry.register(instance("i"), world.now)
    former.registry.register(instance("j"), world.now)
    world.run(500)
    world.cut("c")
    world.add("c", epoch=5)
    world.run(70_000)
    assert {"c": 2} == world["a"].registry.base
    world["a"].registry.unregister(instance("i"), world.now)
    world.pull_in("a", "j")
    world.run(500)
    world.cut("c")
    world.members["c"] = former
    former.registry.register(instance("i"), world.now)
    former.registry.register(instance("j"), world.now)
    world.pull_out("c", "j")
    world.join("c")
    world.settle()
    [lease] = [former.registry.find("s", "i")]
    assert lease is not None
    assert former.registry.origin.epoch > 5
    assert former.registry.origin in [dot.origin for dot in lease.record.dots]
    decision = former.node.operations.decision((InstanceTarget("r", "s", "j"), "pulloutinstance"))
    assert decision is not None
    assert former.registry.origin in [dot.origin for dot in decision.dots]
    world.run(2_000, [("c", "i"), ("c", "j")])
    assert ["s/i"] == list(world["a"].shows())
    assert world.alike()
    assert world.quiet()


def test_a_node_forgets_no_former_life_of_its_own_before_the_bucket_has_all_of_it() -> None:
    """However long it is without the bucket: it would show what no number stands for."""
    world = World(("a", "b"))
    beats = [("a", "i")]
    world.run(1_000)
    world.cut("a")
    world["a"].registry.register(instance("i"), world.now)
    saved, position = world.save("a")
    world.add("a", 2, saved, position)
    world.cut("a")
    world.run(130_000, beats)
    assert {} == world["a"].registry.base
    world.join("a")
    world.run(500, beats)
    assert 1 == world["b"].registry.vector[Origin("a", 1)]
    world.run(70_000, beats)
    assert {"a": 2} == world["a"].registry.base == world["b"].registry.base
    assert ["s/i"] == list(world["b"].shows())
    assert world.alike()


def test_a_removal_stays_in_the_bucket_until_that_says_that_all_is_there() -> None:
    """A node with an old snapshot finds the end of what was removed, or that it lacks nothing; also where the bucket is
    full, so that it lacks something for long."""
    world = World(("a", "b"))
    world["a"].registry.register(instance("i"), world.now)
    world.run(3_000, [("a", "i")])
    saved, position = world.save("b")
    world.cut("b")
    world.bucket.most = len(world.bucket)
    world["a"].registry.register(instance("new"), world.now)
    world["a"].registry.unregister(instance("i"), world.now)
    world.run(200_000, [("a", "new")])
    assert None is world["a"].registry.find("s", "i")
    assert 0 == world.purged
    world.add("b", 2, saved, position)
    world.run(1_000, [("a", "new")])
    assert {} == world["b"].shows()
    world.bucket.most = 1_000
    world.run(70_000, [("a", "new")])
    assert 1 == world.purged
    assert ["s/new"] == list(world["b"].shows())
    assert world.alike()


def test_a_removal_that_was_put_late_lies_in_the_bucket_for_as_long_as_any() -> None:
    """Who was away for less than that reads on where it was, and still finds it."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i")])
    world.cut("a")
    world["a"].registry.unregister(instance("i"), world.now)
    beats = [("b", "i")]
    world.run(50_000, beats)
    world.cut("b")
    world.join("a")
    world.run(33_000, beats)
    assert None is world["a"].registry.find("s", "i")
    world.join("b")
    world.run(1_000)
    assert {} == world["b"].shows()
    world.run(90_000)
    assert 1 == world.purged
    assert world.alike()


def test_what_a_new_bucket_turns_out_to_have_had_is_given_up_and_not_put() -> None:
    """A node with an old snapshot finds that a bucket lacks an instance, and hears only then that all changes of it are
    there: somebody knew its end."""
    world = World(("a", "b"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.pull_out("a", "j")
    world.run(500, beats)
    saved, position = world.save("b")
    world.cut("b")
    world["a"].registry.unregister(instance("i"), world.now)
    world.pull_in("a", "j")
    world.run(70_000)
    world.cut("a")
    world.bucket = Bucket("another one")
    world.add("b", 2, saved, position)
    world.run(200)
    assert ["s/i"] == list(world["b"].shows())
    world.join("a")
    world.run(400)
    assert 4 == world["b"].registry.vector[Origin("a", 1)]
    assert {} == world["b"].shows()
    decision = world["b"].node.operations.decision((InstanceTarget("r", "s", "j"), "pulloutinstance"))
    assert decision is not None
    assert decision.ended
    world.run(2_000)
    assert world.alike()
    assert world.quiet()
