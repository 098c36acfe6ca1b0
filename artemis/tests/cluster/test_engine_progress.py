"""How far a node has read its bucket, where entries were put anew before it read them."""

from engine_world import World, instance

from artemis.cluster.engine.progress import Progress
from artemis.registry import Origin


def test_behind_a_hole_nothing_counts_before_what_may_fill_it_is_read() -> None:
    """An entry that was put anew before a node read it leaves a hole: the node does not count its change, of which it
    was told, until it has read the later one."""
    world = World(("a", "b"))
    world.run(3_000)
    before, reader = world["b"].registry.vector.get(Origin("a", 1), 0), world["b"]
    reading, reader.reading = reader.reading, None
    world["a"].registry.register(instance("moved"), world.now)
    world.run(1_000)
    hole = world.bucket.last
    world["a"].registry.register(instance("between"), world.now)
    world.run(1_000)
    between = world.bucket.last
    world["a"].registry.register(instance("moved", url="http://elsewhere"), world.now)
    world.run(1_000)
    assert hole < between < world.bucket.last

    assert reading is not None
    while (entry := world.bucket.after(reading, world.now)) is not None and entry.sequence <= between:
        assert entry.sequence != hole
        reading = entry.sequence
        reader.replica.entry(entry, world.now)
    assert between == reading
    world.run(1_000)
    assert ["s/between"] == list(reader.shows())
    assert before == reader.registry.vector.get(Origin("a", 1), 0)

    reader.reading = reading
    world.run(1_000)
    assert world.alike()
    assert before < reader.registry.vector[Origin("a", 1)]


def test_progress_is_settled_without_holes() -> None:
    """Entries that follow each other are all that there is, and nobody is asked."""
    progress = Progress()
    progress.begin(3, 5, 0)
    progress.read(4)
    assert not progress.settled
    progress.read(5)
    assert progress.settled
    assert not progress.due(0)


def test_a_hole_is_filled_at_the_number_that_the_bucket_names_after_it() -> None:
    """It is asked after the hole was seen, and asked again for one that is seen while it does not answer."""
    progress = Progress()
    progress.begin(0, 2, 0)
    progress.read(2)
    assert progress.due(0)
    progress.ask(0)
    assert not progress.settled
    progress.read(5)
    progress.answered(4)
    assert not progress.settled
    assert progress.due(10)
    progress.ask(10)
    progress.answered(7)
    progress.read(6)
    assert not progress.settled
    progress.read(7)
    assert progress.settled


def test_a_bucket_that_does_not_answer_is_asked_again() -> None:
    """And nothing counts before."""
    progress = Progress()
    progress.begin(0, 0, 0)
    progress.read(2)
    progress.ask(0)
    assert [False, True] == [progress.due(2_000), progress.due(2_001)]
    assert not progress.settled
