"""Renewals whose handles have no names yet: what they say is not lost while the names are on their way."""

from replicas import TIMINGS, World, instance

from artemis.cluster import Renewals, Unnamed
from artemis.cluster.handles import MOST_OWED, OWED_FOR, PeerHandles

STAMP = (5, "b")


def test_an_instance_that_another_node_heard_before_a_link_came_back_is_not_given_up() -> None:
    """Its name was told while the link was down: the renewal counts as soon as the name has come."""
    world = World("abc", rows=1_000)
    world["c"].registry.register(instance("i1"), world.now)
    world.settle()
    world.run(500)
    world.part("a")
    world.run(1_500, beats=[("b", "i1")])  # b names its handle, and a does not hear it
    world.drop = lambda source, _target, message: source != "b" or not isinstance(message, Renewals)
    world.heal()
    world.beat("b", "i1")
    world["b"].replica.tick(world.now + 1_000, 0)
    before = world["a"].registry.find("s", "i1").renewed
    world.settle()
    assert before == world["a"].registry.find("s", "i1").renewed
    world.drop = lambda *_: False
    lost = [message for source, target, message in world.kept if (source, target) == ("a", "b")]
    assert [1] == [len(message.handles) // 4 for message in lost if isinstance(message, Unnamed)]
    for message in lost:
        if isinstance(message, Unnamed):
            world.carry("a", "b", message)
    world.settle()
    assert before < world["a"].registry.find("s", "i1").renewed == world["b"].registry.find("s", "i1").renewed
    assert world.now - world["a"].registry.find("s", "i1").heard < TIMINGS.ttl


def test_what_is_owed_is_settled_once_by_its_stamp() -> None:
    """The latest word of a handle counts; what is not named stays owed."""
    handles = PeerHandles((1, 1))
    assert 0 == handles.owe([1, 2, 3], STAMP, 100)
    assert 0 == handles.owe([2], (6, "b"), 200)
    assert {STAMP: [1], (6, "b"): [2]} == handles.settle([(1, "s", "i1"), (2, "s", "i2"), (9, "s", "i9")], 300)
    assert {} == handles.settle([(1, "s", "i1"), (2, "s", "i2")], 300)
    assert {STAMP: [3]} == handles.settle([(3, "s", "i3")], 300)


def test_what_is_owed_is_bounded_in_number_and_time() -> None:
    """Beyond that it is refused, and what is too old makes room and says nothing any more."""
    handles = PeerHandles((1, 1))
    assert 2 == handles.owe(range(MOST_OWED + 2), STAMP, 100)
    assert 1 == handles.owe([MOST_OWED + 5], STAMP, 100 + OWED_FOR)
    assert {} == handles.settle([(7, "s", "i7")], 101 + OWED_FOR)
    assert 0 == handles.owe([MOST_OWED + 5], STAMP, 101 + OWED_FOR)
