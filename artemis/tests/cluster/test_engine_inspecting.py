"""Comparing a node with the bucket, and reading all of it again."""

from engine_world import World, instance

from artemis.cluster.engine.port import Entry, Purge, Put, Read
from artemis.cluster.inspection import Inspection


def inspected(world: World, name: str = "a") -> Inspection:
    """Return a finished inspection of a node."""
    inspection = world[name].replica.inspect(world.now)
    world.run(1_000)
    assert inspection.done
    return inspection


def settled() -> World:
    """Return two nodes with a bucket of two instances and a pull-out."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i"), ("b", "j")])
    world.pull_out("a", "i")
    world.run(500, [("a", "i"), ("b", "j")])
    return world


def key_of(world: World, name: str) -> Entry:
    """Return the entry of an instance."""
    lease = world["a"].registry.find("s", name)
    assert lease is not None
    found = [entry for entry in world.bucket.entries() if lease.record.content in entry.value]
    return found[0]


def test_a_node_that_knows_what_the_bucket_has_differs_in_nothing() -> None:
    """All is compared, records and decisions, and nothing is found."""
    inspection = inspected(settled())
    assert ("", True, 0, 3) == (inspection.failed, inspection.complete, inspection.count, inspection.rows)


def test_what_the_bucket_lacks_is_found_and_put_by_reading_again() -> None:
    """An entry that somebody deleted is named, and comes back."""
    world = settled()
    entry = key_of(world, "i")
    world.bucket.purge(Purge(entry.key, entry.sequence))
    inspection = inspected(world)
    assert [("s", "i", "live", "absent")] == [
        (found.service, found.instance, found.here.state, found.there.state) for found in inspection.found
    ]
    assert world["a"].replica.reread(world.now)
    world.run(2_000, [("a", "i"), ("b", "j")])
    assert 0 == inspected(world).count
    assert world.alike()


def written_elsewhere(world: World, name: str) -> None:
    """Let an entry be in the bucket that node a has not read, and reads only when it reads all again."""
    other = World(("c",))
    other["c"].registry.register(instance(name, port=1), other.now)
    other.run(1_000)
    [entry] = [each for each in other.bucket.entries() if each.key.startswith("i.")]
    before = world.bucket.get(entry.key, world.now)
    world.cut("a")
    world.bucket.put(Put(0, entry.key, entry.value, 0 if before is None else before.sequence), world.now)
    world["a"].cut, world["a"].replica.trouble = False, ""
    world["a"].replica._reading.open, world["a"].reading = True, world.bucket.last


def test_what_a_node_lacks_is_found_and_merged_by_reading_again() -> None:
    """A record that never came here is named, and comes."""
    world = settled()
    written_elsewhere(world, "k")
    found = inspected(world).found
    assert [("k", "absent", "live", "coming")] == [
        (each.instance, each.here.state, each.there.state, each.why) for each in found
    ]
    assert world["a"].replica.reread(world.now)
    world.run(2_000, [("a", "i"), ("b", "j")])
    assert 0 == inspected(world).count
    assert ["s/j", "s/k"] == sorted(world["a"].shows())


def test_an_entry_that_somebody_wrote_over_is_found() -> None:
    """What is there under a key is compared with what is known here."""
    world = settled()
    written_elsewhere(world, "i")
    found = inspected(world).found
    assert [("i", "live", "live", "both")] == [
        (each.instance, each.here.state, each.there.state, each.why) for each in found
    ]


def test_changes_on_the_way_are_no_differences() -> None:
    """What changes while it is compared is not told."""
    world = settled()
    inspection = world["a"].replica.inspect(world.now)
    assert inspection is world["a"].replica.inspect(world.now)
    for number in range(50):
        world["b"].registry.register(instance(f"n{number}"), world.now)
        world["b"].registry.register(instance("j", port=number), world.now)
        world.run(100)
    assert inspection.done
    assert (True, 0) == (inspection.complete, inspection.count)


def test_without_the_bucket_nothing_is_compared() -> None:
    """An inspection says why it came to nothing, at once and when the bucket is lost."""
    world = settled()
    inspection = world["a"].replica.inspect(world.now)
    world.cut("a")
    assert "the engine was lost before all was compared" == inspection.failed
    assert "there is no engine to compare with: it was cut off" == inspected(world).failed
    assert not world["a"].replica.reread(world.now)


def test_what_comes_of_an_earlier_reading_is_not_taken_for_that_of_the_next_one() -> None:
    """It names numbers that the next one has yet to come to, so a pass would be over with little of it read."""
    world = World(("a", "b"))
    world.run(3_000, [("b", "i"), ("b", "j")])
    replica = world["a"].replica
    assert replica.reread(world.now)
    latest = max(world.bucket.entries(), key=lambda entry: entry.sequence)
    replica.entry(latest, world.now)
    replica.at(latest.sequence, world.now)
    assert 0 == replica.state().position
    world.run(1_000)
    assert replica.state().position >= latest.sequence
    assert world.alike()


def test_doubts_begin_a_reading_anew_that_is_under_way() -> None:
    """What was read before may be another server's."""
    world = World(("a", "b"))
    world.run(3_000, [("b", "i")])
    replica = world["a"].replica
    assert replica.reread(world.now)
    reads = [command for command in replica.take() if isinstance(command, Read)]
    assert replica.reread(world.now)
    assert [Read(0)] == reads
    assert not [command for command in replica.take() if isinstance(command, Read)]
    replica.doubted(world.now)
    assert [Read(0)] == [command for command in replica.take() if isinstance(command, Read)]
