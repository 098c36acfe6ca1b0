"""Nodes around a bucket: what one accepts all come to know, whatever befalls the way to the bucket."""

from engine_world import World, instance

from artemis.cluster.engine.entries import MemberRow, decode_entry


def test_what_one_node_accepts_all_know() -> None:
    """A registration travels through the bucket, and the vectors of all rise with it."""
    world = World(("a", "b", "c"))
    world.run(3_000)
    world["a"].registry.register(instance("i"), world.now)
    world.run(200)
    assert ["s/i"] == list(world["c"].shows())
    assert world.alike()
    assert world.quiet()


def test_who_is_heard_by_one_lives_at_all() -> None:
    """Heartbeats reach all nodes without a put."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i")])
    world.run(1_000, [("a", "i")])
    before = world.bucket.last
    world.run(40_000, [("a", "i")])
    assert ["s/i"] == list(world["b"].shows())
    assert world.bucket.last - before < 10


def test_the_silent_expire_everywhere() -> None:
    """A lease that nobody hears ends at all nodes."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i")])
    world.run(25_000)
    assert {} == world["a"].shows() == world["b"].shows()
    assert world.alike()


def test_a_removal_holds_and_disappears() -> None:
    """What was unregistered stays away, and a lifetime later its entry is purged, by one node."""
    world = World(("a", "b", "c"))
    world.run(3_000, [("a", "i")])
    world["b"].registry.unregister(instance("i"), world.now)
    world.run(1_000)
    assert {} == world["a"].shows() == world["c"].shows()
    world.run(170_000)
    assert not [entry for entry in world.bucket.entries() if entry.key.startswith("i.")]
    assert world.purged == 1
    assert world.alike()


def test_what_was_purged_registers_again() -> None:
    """A key whose entry was purged is put again by a node that remembers its revision."""
    world = World(("a", "b"))
    world.run(3_000)
    world["a"].registry.register(instance("i"), world.now)
    world.run(500)
    world["a"].registry.unregister(instance("i"), world.now)
    world.run(150_000)
    assert not [entry for entry in world.bucket.entries() if entry.key.startswith("i.")]
    world["b"].registry.register(instance("i"), world.now)
    world.run(500)
    assert ["s/i"] == list(world["a"].shows())
    assert world.alike()


def test_two_nodes_write_one_key_at_the_same_time() -> None:
    """The loser merges what has won and puts both."""
    world = World(("a", "b"))
    world.run(3_000)
    world["a"].registry.register(instance("i", metadata={"by": "a"}), world.now)
    world["b"].registry.register(instance("i", metadata={"by": "b"}), world.now)
    world.run(1_000)
    assert world.alike()
    assert world.quiet()
    assert b'"by":"b"' in world["a"].shows()["s/i"]


def test_a_node_without_the_bucket_goes_on() -> None:
    """What it accepts meanwhile is in effect there at once, and everywhere when it is back."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i")])
    world.cut("b")
    world["b"].registry.register(instance("j"), world.now)
    world["b"].registry.unregister(instance("i"), world.now)
    assert ["s/j"] == list(world["b"].shows())
    world.run(2_000)
    world.join("b")
    world.run(2_000, [("b", "j")])
    assert ["s/j"] == list(world["a"].shows())
    assert world.alike()


def test_a_node_that_was_cut_off_for_long_reads_everything() -> None:
    """After more than a lifetime what was purged meanwhile does not come back, and its own removals hold."""
    world = World(("a", "b"))
    beats = [("a", "keeps"), ("a", "ends")]
    world.run(3_000, [*beats, ("a", "removed")])
    world.cut("b")
    world["b"].registry.unregister(instance("removed"), world.now)
    world["a"].registry.unregister(instance("ends"), world.now)
    world.run(200_000, [("a", "keeps")])
    world.join("b")
    world.run(40_000, [("a", "keeps")])
    assert ["s/keeps"] == list(world["a"].shows()) == list(world["b"].shows())
    world.run(60_000, [("a", "keeps")])
    assert world.alike()
    assert world.quiet()


def test_a_new_node_reads_everything() -> None:
    """One that comes later knows all, and gives up nobody who lives although it has just read of him."""
    world = World(("a", "b"))
    beats = [("a", f"i{number}") for number in range(20)]
    world.run(60_000, beats)
    world.add("c")
    world.run(500, beats)
    assert world["c"].replica.synced
    assert len(world["c"].shows()) == 20
    world.run(30_000, beats)
    assert len(world["a"].shows()) == 20
    assert world.alike()


def test_a_restart_goes_on_where_it_was() -> None:
    """A node with a snapshot reads on, and puts what its former life could not."""
    world = World(("a", "b"))
    world.run(3_000, [("a", "i")])
    world.cut("b")
    world["b"].registry.register(instance("j"), world.now)
    saved, position = world.save("b")
    assert position is not None
    world["a"].registry.register(instance("k"), world.now)
    world.run(1_000)
    member = world.add("b", 2, saved, position)
    assert member.reading is None
    world.run(500, [("a", "i")])
    assert ["s/i", "s/j", "s/k"] == sorted(world["a"].shows()) == sorted(world["b"].shows())
    world.run(3_000, [("a", "i"), ("b", "j"), ("a", "k")])
    assert world.alike()
    assert world.quiet()


def test_a_crash_without_a_disk_loses_only_what_was_not_put() -> None:
    """A node that comes back empty, with an old epoch, lives in a later one, and all agree."""
    world = World(("a", "b"))
    world.run(3_000)
    world["b"].registry.register(instance("put"), world.now)
    world.run(500)
    world.cut("b")
    world["b"].registry.register(instance("lost"), world.now)
    world.add("b", 1)
    world.run(3_000)
    assert world["b"].registry.origin.epoch == 2
    world["b"].registry.register(instance("new"), world.now)
    world.run(500)
    assert ["s/new", "s/put"] == sorted(world["a"].shows())
    assert world.alike()


def test_a_bucket_made_anew_is_filled_again() -> None:
    """When the bucket is another one, the nodes put all that they know, decisions too."""
    world = World(("a", "b"))
    beats = [("a", "i"), ("b", "j")]
    world.run(3_000, beats)
    world.pull_out("a", "i")
    world.run(500, beats)
    world.remake()
    world.run(5_000, beats)
    assert len([entry for entry in world.bucket.entries() if entry.key[0] in "io"]) == 3
    world.add("c")
    world.run(500, beats)
    assert ["s/j"] == list(world["c"].shows())
    assert world.alike()
    assert world.quiet()


def test_a_full_bucket_takes_changes_of_what_it_has() -> None:
    """Beyond its size new keys wait at their nodes; when there is room they come."""
    world = World(("a", "b"), most=4)
    beats = [("a", "i"), ("a", "j"), ("a", "k")]
    world.run(6_000, beats)
    assert len(world["b"].shows()) == 2
    assert world["a"].replica.state().full
    world["b"].registry.register(instance(next(iter(world["b"].shows()))[2:], port=9), world.now)
    world.run(500, beats)
    assert len(world.bucket) == 4
    world.bucket.most = 5
    world.run(6_000, beats)
    assert len(world["b"].shows()) == 3
    assert not world["a"].replica.state().full
    assert world.alike()


def test_decisions_of_operators_reach_all() -> None:
    """A pull-out hides an instance everywhere, and a pull-in shows it again."""
    world = World(("a", "b"))
    beats = [("a", "i")]
    world.run(3_000, beats)
    world.pull_out("b", "i")
    world.run(500, beats)
    assert {} == world["a"].shows()
    world.pull_in("a", "i")
    world.run(500, beats)
    assert ["s/i"] == list(world["b"].shows())
    assert world.alike()
    world.run(150_000, beats)
    assert not [entry for entry in world.bucket.entries() if entry.key.startswith("o.")]


def test_a_key_that_changes_all_the_time_is_put_now_and_then() -> None:
    """What changes more often than twenty times a second is put with what it is then, and the last word comes at once
    after that."""
    world = World(("a", "b"))
    world.run(3_000)
    before = world.puts
    for number in range(400):
        world["a"].registry.register(instance("i", port=number), world.now)
        world.run(5, step=5)
    assert 30 <= world.puts - before <= 50
    world.run(100, step=5)
    assert b'"port":399' in world["b"].shows()["s/i"]
    assert world.alike()


def test_a_bucket_made_anew_is_filled_once() -> None:
    """All nodes know what it lacks, and share the work."""
    names = ("a", "b", "c")
    world = World(names, seed=1)
    beats = [(names[number % 3], f"i{number}") for number in range(90)]
    world.run(6_000, beats)
    before = world.puts
    world.remake()
    world.run(8_000, beats)
    assert 90 + 3 == len(world.bucket)
    assert world.puts - before < 90 + 30
    assert world.alike()
    assert world.quiet()


def test_a_bucket_made_anew_is_filled_by_those_who_are_there() -> None:
    """What belongs to a node that is gone is put by another, a moment later."""
    world = World(("a", "b", "c"))
    beats = [("a", f"i{number}") for number in range(30)]
    world.run(6_000, beats)
    world.cut("a")
    world.remake()
    world.run(6_000)
    assert 30 + 2 == len(world.bucket)


def test_who_loses_the_bucket_again_and_again_still_gives_up_the_silent() -> None:
    """An expiry is put off while renewals may be missed, and not for ever."""
    world = World(("a", "b"))
    world.run(3_000, [("b", "i")])
    assert ["s/i"] == list(world["a"].shows())
    world.cut("b")
    for _ in range(400):
        world.cut("a")
        world.run(500)
        world.join("a")
        world.run(500)
    assert {} == world["a"].shows()


def test_an_own_entry_of_a_life_that_nobody_believes_is_put_anew() -> None:
    """A former life whose clock was ages ahead does not keep a node from putting anything."""
    world = World(("a",))
    world.add("b", epoch=2**46)
    world.run(2_000)
    row = next(value for value in rows(world) if value.node == "b")
    assert 2**46 == row.epoch
    world.cut("b")
    world.add("b", epoch=5)
    world["b"].registry.register(instance("i"), world.now)
    world.run(3_000)
    assert ["s/i"] == list(world["a"].shows())
    assert [5] == [value.epoch for value in rows(world) if value.node == "b"]


def rows(world: World) -> list[MemberRow]:
    """Return what nodes say of themselves."""
    values = (decode_entry(entry.key, entry.value) for entry in world.bucket.entries())
    return [value for value in values if isinstance(value, MemberRow)]
