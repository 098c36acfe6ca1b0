"""What workers of one machine acknowledge to each other, and which switches they hand on."""

from artemis.cluster.acknowledging import Acknowledging
from artemis.cluster.messages import Reached, Switched, decode_message, encode_message
from artemis.cluster.outbox import Outbox
from artemis.registry import Origin, Registry


class World:
    """A worker `a` with a sibling `b`, linked both ways."""

    def __init__(self) -> None:
        self.registry = Registry(Origin("a", 5), "r1", now=0, wall=0)
        self.outbox = Outbox()
        self.outbox.connected["b"] = None
        self.heard: list[bool] = []
        self.siblings = Acknowledging(self.registry, self.outbox)
        self.siblings.heard = lambda: self.heard.append(True)
        self.siblings.meet("b", 7)

    def sent(self) -> list[object]:
        """What is sent at the end of a turn, through bytes and back."""
        self.siblings.flush()
        return [decode_message(encode_message(message)) for peer, message in self.outbox.take() if peer == "b"]


def test_nothing_is_acknowledged_before_it_serves():
    """Nobody reads there, and nobody is to wait for it."""
    world = World()
    assert [] == world.sent()
    world.siblings.opened = True
    assert [Reached(7, 0)] == world.sent()


def test_what_came_is_acknowledged_once_for_each_turn():
    """With the last number of the sibling's life that is known."""
    world = World()
    world.siblings.opened = True
    world.sent()
    assert [] == world.sent()
    world.registry.vector[Origin("b", 7)] = 3
    assert [Reached(7, 3)] == world.sent()
    world.siblings.meet("b", 8)
    assert [Reached(8, 0)] == world.sent()


def test_what_is_not_in_effect_yet_is_not_acknowledged():
    """A pull-out of a server takes effect bit by bit; until then callers do not see it here."""
    world = World()
    world.siblings.opened = True
    world.sent()
    world.registry.vector[Origin("b", 7)] = 3
    world.registry.pending[Origin("b", 7)] = 3
    assert [Reached(7, 2)] == world.sent()
    world.registry.pending.clear()
    assert [Reached(7, 3)] == world.sent()


def test_a_new_link_is_told_again():
    """What was said on the one before may be lost with it."""
    world = World()
    world.siblings.opened = True
    world.sent()
    world.siblings.part("b")
    assert [Reached(7, 0)] == world.sent()


def test_a_sibling_lacks_what_it_has_not_acknowledged_in_this_life():
    """One that has acknowledged nothing serves nobody; an acknowledgement for a life before counts for nothing."""
    world = World()
    assert [] == world.siblings.lacking(1)
    world.siblings.receive("b", Reached(4, 9))
    assert ["b"] == world.siblings.lacking(1)
    world.siblings.receive("b", Reached(5, 1))
    assert ([], ["b"]) == (world.siblings.lacking(1), world.siblings.lacking(2))
    world.siblings.part("b")
    assert ([], 3) == (world.siblings.lacking(2), len(world.heard))


def test_peers_that_are_no_siblings_acknowledge_nothing():
    """Nor do they switch anything."""
    world = World()
    taken: list[Switched] = []
    world.siblings.switched = taken.append
    world.siblings.receive("c", Reached(5, 1))
    world.siblings.receive("c", Switched("self-preservation", 1, "c", "on", "", 0))
    assert ([], []) == (world.siblings.serving, taken)


def test_switches_are_told_to_each_link_once():
    """A sibling that comes later is told, one that told them is not told back."""
    world = World()
    taken: list[Switched] = []
    world.siblings.switched = taken.append
    mine = Switched("registry", 10, "a", "down", "alice", 10)
    world.siblings.switch(mine)
    assert ([mine], []) == (world.sent(), world.sent())
    theirs = Switched("discovery", 9, "b", "down", "bob", 9)
    world.siblings.receive("b", theirs)
    assert ([theirs], []) == (taken, world.sent())
    world.siblings.part("b")
    assert [mine, theirs] == world.sent()


def test_what_was_dropped_on_the_way_is_told_again():
    """Acknowledgements and switches: no exchange brings them."""
    world = World()
    world.siblings.opened = True
    mine = Switched("registry", 10, "a", "down", "alice", 10)
    world.siblings.switch(mine)
    assert [mine, Reached(7, 0)] == world.sent()
    world.siblings.receive("b", Reached(5, 0))
    world.siblings.tell_again("b")
    assert [mine, Reached(7, 0)] == world.sent()
    assert ["b"] == world.siblings.lacking(1)  # what it told still holds
