"""The start of a node around an engine, and what it is compared with there."""

import pytest
from engine_world import World, instance

from artemis.cluster.engine.starting import LISTENED, ReadingStart
from artemis.cluster.exchange import Exchanged
from artemis.cluster.starting import Seen
from artemis.server.comparing import UnknownPeer
from artemis.server.engine_comparing import EngineComparing

NOTHING = Seen("", (), ())
TIMEOUT = 5_000


class Surroundings:
    """What the start asks for."""

    def __init__(self) -> None:
        self.synced = self.connected = False
        self.read = 0
        self.why = "nats://h:4222 cannot be reached"
        self.taken = ""
        self.start = ReadingStart(
            TIMEOUT,
            0,
            synced=lambda: self.synced,
            read=lambda: self.read,
            connected=lambda: self.connected,
            why=lambda: self.why,
            taken=lambda: self.taken,
        )

    def connect(self) -> None:
        """Let the engine be there."""
        self.connected, self.why = True, ""

    def look(self, now: int) -> bool:
        """Look at it; returns whether the start is over."""
        self.start.look(NOTHING, now)
        return self.start.over


@pytest.fixture
def around() -> Surroundings:
    """Give what is around a node."""
    return Surroundings()


def test_it_serves_when_the_bucket_is_read_and_it_has_listened(around: Surroundings) -> None:
    """A node that was alone with an empty bucket has copied from nobody."""
    around.connect()
    around.synced = True
    assert [False, False, True] == [around.look(now) for now in (10, 9 + LISTENED, 10 + LISTENED)]
    assert ("it has read what the engine has", "") == (around.start.outcome, around.start.source)


def test_it_says_what_it_has_copied_from(around: Surroundings) -> None:
    """If there was anything."""
    around.connect()
    around.synced, around.read = True, 3
    around.look(0)
    around.look(LISTENED)
    assert "the engine" == around.start.source


def test_without_the_engine_it_serves_after_the_timeout_and_says_why(around: Surroundings) -> None:
    """What it waits for is a sentence that names the trouble."""
    assert not around.look(TIMEOUT - 1)
    assert "it waits for the engine: nats://h:4222 cannot be reached" == around.start.waiting
    assert around.look(TIMEOUT)
    assert (
        "it waits for the engine: nats://h:4222 cannot be reached, and the join timeout of 5 s is over: it serves what "
        "it has, and takes the rest in as it comes"
    ) == around.start.outcome


def test_entries_that_come_in_are_waited_for(around: Surroundings) -> None:
    """Half of what there is would show callers that the rest is gone; but not for ever."""
    around.connect()
    for now in range(0, 12 * TIMEOUT, 1_000):
        around.read += 1
        assert not around.look(now)
    assert "it waits until it has read what the engine has" == around.start.waiting
    around.read += 1
    assert around.look(12 * TIMEOUT)
    assert "a start takes 12 times the join timeout of 5 s at most" in around.start.outcome


def test_it_does_not_serve_beside_another_node_with_its_id(around: Surroundings) -> None:
    """And has its whole timeout when that is gone."""
    around.connect()
    around.synced, around.taken = True, "it is in use by http://x:1, started as 5"
    assert not around.look(2 * TIMEOUT)
    assert "it waits until no other node has its id: it is in use by http://x:1, started as 5" == around.start.waiting
    around.taken, around.synced = "", False
    assert not around.look(2 * TIMEOUT + 100)
    around.synced = True
    assert around.look(2 * TIMEOUT + 100 + LISTENED)


def test_a_connection_that_was_lost_is_listened_on_anew(around: Surroundings) -> None:
    """Who was there before may have gone."""
    around.connect()
    around.look(0)
    around.connected = False
    around.look(100)
    around.connected = around.synced = True
    assert [False, False, True] == [around.look(now) for now in (600, 599 + LISTENED, 600 + LISTENED)]


# -- comparing


def test_an_engine_is_the_one_peer() -> None:
    """Whoever else is named is not asked."""
    world = World()
    comparing = EngineComparing(world["a"].replica, "nats://h:4222")
    assert (["engine"], ["engine"], "nats://h:4222") == (
        comparing.find(None, 0),
        comparing.find(" engine ", 0),
        comparing.url_of("engine", 0),
    )
    with pytest.raises(UnknownPeer, match="name 'engine' or nobody"):
        comparing.find("http://b:1", 0)


def test_a_repair_is_over_when_the_bucket_was_read_again() -> None:
    """And tells how much came; without an engine it says so."""
    world = World()
    replica = world["a"].replica
    world.run(5_000)
    comparing = EngineComparing(replica, "nats://h:4222")
    begun = world.now
    comparing.repair("engine", begun)
    assert comparing.repaired("engine", begun, world.now) is None
    world.run(3_000)
    outcome = comparing.repaired("engine", begun, world.now)
    assert isinstance(outcome, Exchanged)
    assert outcome.completed
    world.cut("a")
    comparing.repair("engine", world.now)
    assert "there is no engine to read: it was cut off" == comparing.repaired("engine", world.now, world.now)


def test_a_comparison_finds_nothing_where_all_is_well() -> None:
    """It is that of the replica."""
    world = World()
    world["a"].registry.register(instance("x"), world.now)
    world.run(5_000)
    inspection = EngineComparing(world["a"].replica, "").inspect("engine", world.now)
    world.run(5_000)
    assert (True, 0, "") == (inspection.done, inspection.count, inspection.failed)
