"""What workers of one machine acknowledge to each other around an engine: how far each shows the bucket."""

from types import SimpleNamespace
from zlib import crc32

from artemis.cluster.engine.acknowledging import EngineAcknowledging
from artemis.cluster.messages import Reached
from artemis.cluster.outbox import Outbox
from artemis.registry import Origin, Registry

BUCKET = crc32(b"one")


class World:
    """A worker `a` with siblings `b` and `c` that serve, around a bucket that is read up to number 10."""

    def __init__(self) -> None:
        self.replica = SimpleNamespace(shown=("one", 10), put=(0, 0), trouble="")
        self.outbox = Outbox()
        self.outbox.connected["b"] = None
        self.heard = 0
        self.siblings = EngineAcknowledging(Registry(Origin("a", 5), "r1", now=0, wall=0), self.outbox, self.replica)
        self.siblings.heard = self._hear
        self.siblings.opened = True
        for sibling in ("b", "c"):
            self.siblings.meet(sibling, 7)
            self.told(sibling, 10)

    def _hear(self) -> None:
        self.heard += 1

    def told(self, sibling: str, position: int, bucket: int = BUCKET) -> None:
        """A sibling says how far it is."""
        self.siblings.receive(sibling, Reached(bucket, position))

    def turn(self, *, put: tuple[int, int] = (0, 0), shown: tuple[str, int] | None = ("one", 10)) -> bool:
        """Something may have been put or read."""
        self.replica.put, self.replica.shown = put, shown
        return self.siblings.turned()


def test_all_lack_what_is_not_in_the_bucket():
    """However far they have read."""
    world = World()
    world.told("b", 1_000)
    world.turn()
    assert ["b", "c"] == world.siblings.lacking(1)


def test_those_lack_a_change_who_have_not_read_as_far_as_its_entry():
    """And who waits for it is told to look again when it is put."""
    world = World()
    before = world.heard
    world.turn(put=(3, 12))
    assert before + 1 == world.heard
    assert ["b", "c"] == world.siblings.lacking(2)
    world.told("b", 12)
    assert ["c"] == world.siblings.lacking(2)
    world.told("c", 13)
    assert [] == world.siblings.lacking(3)
    assert ["b", "c"] == world.siblings.lacking(4)


def test_what_is_put_later_keeps_nobody_waiting_longer():
    """Each change waits for the moment at which it was put."""
    world = World()
    world.turn(put=(1, 11))
    world.turn(put=(9, 40))
    for sibling in ("b", "c"):
        world.told(sibling, 11)
    assert ([], ["b", "c"]) == (world.siblings.lacking(1), world.siblings.lacking(9))


def test_who_has_read_another_bucket_lacks_everything():
    """Its numbers say nothing of this one."""
    world = World()
    world.turn(put=(1, 11))
    world.told("b", 99, crc32(b"other"))
    world.told("c", 11)
    assert ["b"] == world.siblings.lacking(1)


def test_numbers_of_a_former_bucket_count_no_more():
    """The change is to be put into the new one as well."""
    world = World()
    world.turn(put=(1, 11))
    world.turn(put=(0, 0), shown=("two", 0))
    for sibling in ("b", "c"):
        world.told(sibling, 50, crc32(b"two"))
    assert ["b", "c"] == world.siblings.lacking(1)


def test_nobody_is_waited_for_without_a_bucket():
    """As nobody could show it."""
    world = World()
    world.replica.trouble = "it is away"
    assert [] == world.siblings.lacking(1)


def test_what_is_shown_is_told_once():
    """And nothing while that cannot be said, as with a hole in what was read."""
    world = World()
    assert world.turn()
    world.siblings.flush()
    assert [("b", Reached(BUCKET, 10))] == world.outbox.take()
    assert not world.turn(shown=None)
    assert not world.turn()
    assert world.turn(shown=("one", 12))
    world.siblings.flush()
    assert [("b", Reached(BUCKET, 12))] == world.outbox.take()
