"""A node that stood still itself: what it makes of the others then, and how old its answers are."""

import pytest
from test_members_membership import UP, WALL, World, peer, url

from artemis.cluster.contacts import Contacts
from artemis.cluster.exchange import Exchanged
from artemis.cluster.member_view import MemberView
from artemis.cluster.messages import Renewals
from artemis.cluster.suspicion import Patience, Presence, Suspicion


@pytest.fixture
def world() -> World:
    """A node that serves, and knows `a`, which is well."""
    world = World()
    world.membership.listed("file peers", [url("a")])
    world.membership.met(peer("a"), url("a"))
    world.linked = ["a"]
    world.replica.connect("a", 0)
    for _ in range(5):
        say(world)
        world.run(1_000)
    say(world)
    world.run(200)
    return world


def say(world: World) -> None:
    """`a` says that it is well and has nothing new."""
    world.membership.told("a", UP)
    world.replica.receive("a", Renewals("a", WALL, (0, 0, ""), world.wall, 0, 0, [], b""), world.now)


def seen(world: World) -> MemberView:
    """What is thought of `a`."""
    return world.membership.members.view("a", world.now)


def test_answers_are_as_old_as_a_pause_before_anything_else_happens(world: World) -> None:
    """The first request may come before the first tick."""
    assert 200 == world.node.age(world.now)
    world.sleep(12_000)
    assert 12_200 == world.node.age(world.now)
    world.run()
    assert 12_200 == world.node.age(world.now)


def test_what_was_sent_before_a_pause_ended_says_nothing_of_the_present(world: World) -> None:
    """It waited in the buffers of the system; only an answer to what was asked since, or a new connection, counts."""
    world.sleep(12_000)
    say(world)
    world.run(100)
    assert 12_300 == world.node.age(world.now)
    world.membership.met(peer("a"), None)
    world.run(100)
    assert 12_400 == world.node.age(world.now)
    say(world)
    world.run(100)
    assert 100 == world.node.age(world.now)


def test_nobody_is_judged_for_a_time_in_which_nobody_could_be_heard(world: World) -> None:
    """Not before the patience with silent nodes is over again, and also if links ended meanwhile."""
    world.sleep(25_000)
    world.linked = []
    world.membership.lost(peer("a"))
    world.run(2_900)
    assert ("steady", "up", 0) == (seen(world).presence, seen(world).status, seen(world).flaps)
    world.run(200)
    assert ("suspected", "unknown", 1) == (seen(world).presence, seen(world).status, seen(world).flaps)
    assert "nothing was heard of it for 3.1 s; its connection ended" == seen(world).why
    world.run(7_000)
    assert "down" == seen(world).status


def test_the_assembly_hears_of_each_pause_once(world: World) -> None:
    """To feel the pulse of all links."""
    told: list[int] = []
    world.membership.resumed = lambda: told.append(world.now)
    world.sleep(600)
    world.run()
    world.run(100)
    assert [] == told
    world.sleep(800)
    at = world.now
    world.membership.lost(peer("a"))
    world.run()
    assert [at] == told


def test_a_node_whose_others_are_all_down_counts_its_pause_for_a_while(world: World) -> None:
    """One may have come back meanwhile and accepted something."""
    world.linked = []
    world.run(20_000)
    assert ("down", 0) == (seen(world).status, world.node.age(world.now))
    world.sleep(60_000)
    assert 60_000 == world.node.age(world.now)
    world.run()
    world.run(9_900)
    assert 69_900 == world.node.age(world.now)
    world.run(200)
    assert 0 == world.node.age(world.now)


def test_a_node_without_others_is_never_behind() -> None:
    """Nobody can have accepted anything that it lacks, whatever it slept through."""
    world = World()
    world.membership.listed("file peers", [])
    world.run(1_000)
    world.sleep(60_000)
    assert 0 == world.node.age(world.now)
    world.run(100)
    assert 0 == world.node.age(world.now)


def test_an_announced_node_is_not_forgotten_for_a_pause() -> None:
    """However long it was."""
    world = World()
    world.membership.met(peer("b"), None)
    world.run(100)
    world.sleep(10**8)
    world.run()
    assert {"b", "n"} == world.membership.members.ids


def test_an_answer_to_what_was_asked_after_the_pause_ends_what_is_held() -> None:
    """One that was asked before does not, nor one that broke off."""
    contacts = Contacts()
    assert {"a": 90} == contacts.look({"a": 90}, {})
    contacts.resumed({"a": 1_000, "b": 1_000}, 1_000)
    current = {"a": 1_001, "b": 1_001}
    assert {"a": 90} == contacts.look(current, {})
    early = Exchanged(at=1_010, took=20, completed=True)
    broken = Exchanged(at=1_020, took=10, completed=False)
    assert {"a": 90} == contacts.look(current, {"a": early, "b": broken})
    done = Exchanged(at=1_030, took=30, completed=True)
    assert {"a": 90, "b": 1_001} == contacts.look(current, {"a": early, "b": done})
    contacts.resumed({"a": 9_000}, 9_000)
    assert {"a": 90, "b": 1_001} == contacts.look({"a": 9_001, "b": 9_001}, {"a": done, "b": done})
    assert {"b": 1_001} == contacts.look({"b": 9_001}, {})


def test_a_pause_is_no_part_of_being_steady() -> None:
    """One that is back is believed after as much time in which it could be heard."""
    suspicion = Suspicion(Patience(suspect=1_000, down=10_000), 0)
    suspicion.lose(0)
    suspicion.hear(100)
    suspicion.judge(100)
    suspicion.resume(60_000, 59_800)
    suspicion.hear(60_500)
    assert (False, Presence.RETURNING) == (suspicion.judge(60_500), suspicion.presence)
    assert 400 == suspicion.patience_left(60_500)


def test_what_a_peer_says_after_its_answer_ends_what_is_held() -> None:
    """Where nodes exchange nothing with each other: the answer to a question that was put after the pause."""
    contacts = Contacts()
    assert {"a": 90} == contacts.look({"a": 90}, {})
    contacts.resumed({"a": 110}, 100)
    contacts.answered("a", 99, 112)
    assert {"a": 90} == contacts.look({"a": 113}, {})
    contacts.answered("a", 101, 114)
    assert {"a": 90} == contacts.look({"a": 113}, {})
    assert {"a": 115} == contacts.look({"a": 115}, {})


def test_where_all_put_what_they_accept_having_read_that_ends_nothing_of_what_is_held(world: World) -> None:
    """A node may have accepted something in the meantime, and not put it."""
    world.membership.reached = lambda: world.now
    world.replica.current["a"] = world.now
    world.run(100)
    world.sleep(20_000)
    world.membership.notice_pause()
    world.replica.current["a"] = world.now
    world.replica.exchanged["a"] = Exchanged(at=world.now + 50, took=10, completed=True)
    world.run(100)
    assert 20_200 == world.node.age(world.now)
    world.membership.answered("a", world.now)
    world.run(100)
    world.replica.current["a"] = world.now
    world.run(100)
    assert 100 == world.node.age(world.now)
