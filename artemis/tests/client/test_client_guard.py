"""The guard against answers that lose instances without a word."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis import ArtemisClient, ClientOptions, Instance
from artemis.client import AnswerDoubted, DoubtEnded, Events
from artemis.client.discovery.guard import Guard
from artemis.client.discovery.services import Applied, Followed
from artemis.client.links.link import Change, Push
from artemis.model import Service
from artemis.testing import running_node

GUARD = Guard(share=0.5, hold=30.0)
PATIENCE = 60.0


def instance(name: str) -> Instance:
    """Build an instance."""
    return Instance(region_id="local", zone_id="zone1", service_id="s", instance_id=name, url="http://x")


def answer(entry: Followed, names: str, now: float, guard: Guard = GUARD) -> Applied:
    """Take in an answer with these instances."""
    service = Service(service_id="s", instances=[instance(name) for name in names])
    return entry.answer(service, guard, asked=now, age=0.0, now=now)


def ids(instances: tuple[Instance, ...] | None) -> str:
    """Return the ids of instances, which are letters."""
    return "".join(str(one.instance_id) for one in instances or ())


def held(entry: Followed) -> str:
    """Return what is held."""
    view = entry.view(0.0)
    assert view is not None
    return ids(view.held)


def test_an_empty_answer_is_doubted() -> None:
    """What was there stays, marked, with a reason that has the numbers; nobody who follows is told of anything."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    applied = answer(entry, "", 4.0)
    view = entry.view(4.0)
    assert view is not None
    assert (ids(view.instances), ids(view.held), view.age) == ("abc", "abc", 0.0)
    assert "shows 0 of the 3 instances that it showed 4 s ago" in view.doubt
    assert (applied.touched, ids(applied.doubted), applied.ended) == ((), "abc", None)


def test_a_single_instance_that_goes_is_doubted_too() -> None:
    """An answer that leaves nobody to call is worth a second look."""
    entry = Followed("s", 0.0)
    answer(entry, "a", 0.0)
    assert ids(answer(entry, "", 1.0).doubted) == "a"


def test_half_is_enough() -> None:
    """As many as the share says, or more, are believed."""
    entry = Followed("s", 0.0)
    answer(entry, "abcd", 0.0)
    assert answer(entry, "ab", 1.0).doubted == ()
    assert ids(entry.instances) == "ab"


def test_all_new_instances_are_believed() -> None:
    """A service whose instances were all replaced has as many as before."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    answer(entry, "def", 1.0)
    assert ids(entry.instances) == "def"


def test_fewer_others_are_doubted() -> None:
    """Enough instances, but not one of those before: they may be the first ones that registered again elsewhere."""
    entry = Followed("s", 0.0)
    answer(entry, "abcd", 0.0)
    applied = answer(entry, "xyz", 1.0)
    assert (ids(applied.doubted), ids(entry.instances)) == ("abcd", "xyzabcd")
    view = entry.view(1.0)
    assert view is not None
    assert "shows 0 of the 4 instances" in view.doubt


def test_a_service_that_loses_half_again_and_again_is_doubted() -> None:
    """What counts is how many there were in the time that the guard holds."""
    entry = Followed("s", 0.0)
    answer(entry, "abcdefgh", 0.0)
    assert answer(entry, "abcd", 4.0).doubted == ()
    assert ids(answer(entry, "ab", 8.0).doubted) == "cd"
    assert ids(answer(entry, "a", 12.0).doubted) == "b"


def test_a_service_that_became_small_a_while_ago_is_compared_with_that() -> None:
    """After the time that the guard holds, or when the node told who went."""
    entry = Followed("s", 0.0)
    answer(entry, "abcdefgh", 0.0)
    answer(entry, "abcd", 4.0)
    assert answer(entry, "ab", 34.1).doubted == ()
    other = Followed("s", 0.0)
    answer(other, "abcdefgh", 0.0)
    answer(other, "abcdefgh", 1.0)
    other.push(Push("s", tuple(Change("delete", instance(name), 0) for name in "efgh"), "c"), GUARD, 2.0)
    assert answer(other, "ab", 3.0).doubted == ()


def test_what_the_registry_shows_again_is_held_no_longer() -> None:
    """The doubt ends with the last of them, and nothing was let go."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    answer(entry, "", 1.0)
    assert answer(entry, "ab", 2.0).ended is None
    assert held(entry) == "c"
    assert answer(entry, "abc", 3.0).ended == ()
    view = entry.view(3.0)
    assert view is not None
    assert (ids(view.instances), view.held, view.doubt) == ("abc", (), "")


def test_the_time_is_not_prolonged_by_the_same_answer() -> None:
    """When it is over, what was held goes, and those who follow are told."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    answer(entry, "", 1.0)
    answer(entry, "", 20.0)
    assert entry.held_until == 31.0
    assert entry.expire(30.9).touched == ()
    applied = entry.expire(31.0)
    assert [touched.key[2] for touched in applied.touched] == ["a", "b", "c"]
    assert ids(applied.ended) == "abc"
    assert entry.instances == ()


def test_an_answer_after_the_time_lets_go_too() -> None:
    """Even if the timer comes later than the answer."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    answer(entry, "", 1.0)
    applied = answer(entry, "", 31.0)
    assert (ids(applied.ended), ids(applied.doubted)) == ("abc", "")
    assert entry.instances == ()


def test_a_delete_that_is_told_is_believed() -> None:
    """Of what is held, and of what is not."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    answer(entry, "", 1.0)
    entry.push(Push("s", (Change("delete", instance("a"), 0), Change("new", instance("b"), 0)), "c"), GUARD, 2.0)
    assert (ids(entry.instances), held(entry)) == ("bc", "c")
    applied = entry.push(Push("s", (Change("delete", instance("c"), 0),), "c"), GUARD, 2.0)
    assert (ids(entry.instances), ids(applied.ended)) == ("b", "ac")


def test_a_full_sync_of_a_node_that_does_not_know_our_past_is_doubted_whatever_it_lacks() -> None:
    """Most have registered again at a node that restarted empty, and the others are about to."""
    entry = Followed("s", 0.0)
    answer(entry, "abcd", 0.0)
    entry.cursor = "of the node before"
    changes = tuple(Change("new", instance(name), 0) for name in "abc")
    assert ids(entry.push(Push("s", changes, "c", full_sync=True), GUARD, 1.0).doubted) == "d"
    assert held(entry) == "d"


def test_a_full_sync_from_no_position_is_believed_as_an_answer_is() -> None:
    """Who asked for everything there is gets no less than that."""
    entry = Followed("s", 0.0)
    answer(entry, "abcd", 0.0)
    changes = tuple(Change("new", instance(name), 0) for name in "abc")
    assert entry.push(Push("s", changes, "c", full_sync=True), GUARD, 1.0).doubted == ()


def test_a_full_sync_is_doubted_like_an_answer() -> None:
    """A node that knows nothing of a cursor may know nothing of the instances either."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0)
    assert ids(entry.push(Push("s", (), "c", full_sync=True), GUARD, 1.0).doubted) == "abc"


def test_what_the_disk_showed_is_guarded() -> None:
    """A registry that starts empty together with its callers takes nothing from them."""
    entry = Followed("s", 0.0)
    entry.restore(Service(service_id="s", instances=[instance("a")]), 0.0)
    assert ids(answer(entry, "", 1.0).doubted) == "a"


@pytest.mark.parametrize("guard", [Guard(share=0.0, hold=30.0), Guard(share=0.5, hold=0.0)])
def test_it_can_be_switched_off(guard: Guard) -> None:
    """Then every answer is believed."""
    entry = Followed("s", 0.0)
    answer(entry, "abc", 0.0, guard)
    assert answer(entry, "", 1.0, guard).doubted == ()
    assert entry.instances == ()


steps = st.lists(st.tuples(st.sampled_from(["answer", "delete", "new", "time"]), st.sets(st.sampled_from("abcdefgh"))))


@given(steps, st.floats(0.0, 1.0), st.sampled_from([0.0, 3.0]))
def test_nothing_is_lost_that_was_not_told_and_nothing_is_held_for_ever(
    history: list[tuple[str, set[str]]], share: float, hold: float
) -> None:
    """What is shown is what was reported last and what is held; each for at most its time; told ends are ends."""
    guard = Guard(share=share, hold=hold)
    entry = Followed("s", 0.0)
    reported: set[str] = set()
    since: dict[str, float] = {}
    most, most_at = 0, float("-inf")
    for now, (kind, letters) in enumerate(history):
        before = set(ids(entry.instances))
        if kind == "answer":
            answer(entry, "".join(sorted(letters)), now, guard)
            reported = set(letters)
            if len(before) >= most or now > most_at + hold:
                most, most_at = len(before), now
            lost = not reported or len(reported) < share * most
            others = len(before & reported) < share * len(before) and len(reported) < len(before)
            doubted = bool(before) and hold > 0 and share > 0 and (lost or others)
            for name in before - reported:
                if doubted:
                    since.setdefault(name, now)
        elif kind != "time" and entry.source is not None:
            changes = tuple(Change(kind, instance(name), 0) for name in letters)
            entry.push(Push("s", changes, "c"), guard, now)
            reported = reported - letters if kind == "delete" else reported | letters
        if kind not in {"time", "answer"}:
            since = {name: time for name, time in since.items() if name not in letters}
        if kind == "delete" and entry.source is not None:
            most = max(0, most - len(before & letters))
        most = max(0, most - len(entry.expire(now).touched))
        since = {name: time for name, time in since.items() if name not in reported and time + hold > now}
        assert set(ids(entry.instances)) == (reported | set(since) if entry.source else set())
        if entry.source is not None:
            assert set(held(entry)) == set(since)


async def next_of(events: Events, kind: type[AnswerDoubted] | type[DoubtEnded]) -> AnswerDoubted | DoubtEnded:
    """Wait for the next event of a kind."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError("the client was closed")


async def test_a_registry_that_comes_back_empty_takes_nothing_from_callers(quick: ClientOptions) -> None:
    """They go on as if nothing had happened, are told why, and whoever registers again is held no longer."""
    options = replace(quick, guard_hold=30.0, link_backoff=0.1)
    async with (
        running_node(lease_ttl=60) as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=options) as client,
    ):
        await client.api.register([instance("a"), instance("b")])
        assert ids((await client.service("s")).instances) == "ab"
        watch = client.watch("s")
        assert [(await anext(watch)).change_type for _ in "ab"] == ["new", "new"]
        events = client.events()
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.restart)
        event = await next_of(events, AnswerDoubted)
        assert isinstance(event, AnswerDoubted)
        assert ids(event.held) == "ab"
        view = await client.service("s")
        assert (ids(view.instances), ids(view.held), view.doubt) == ("ab", "ab", event.reason)
        await client.api.register([instance("a"), instance("b"), instance("c")])
        assert (await next_of(events, DoubtEnded)) == DoubtEnded("s", ())
        async with asyncio.timeout(PATIENCE):
            assert (await anext(watch)).instance.instance_id == "c"


async def test_what_the_registry_does_not_show_again_is_let_go(quick: ClientOptions) -> None:
    """After the time that the options say, and those who follow are told."""
    options = replace(quick, guard_hold=0.3, link_backoff=0.1)
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=options) as client,
    ):
        await client.api.register([instance("a")])
        await client.service("s")
        watch = client.watch("s")
        await anext(watch)
        events = client.events()
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.restart)
        ended = await next_of(events, DoubtEnded)
        assert isinstance(ended, DoubtEnded)
        assert ids(ended.dropped) == "a"
        async with asyncio.timeout(PATIENCE):
            assert (await anext(watch)).change_type == "delete"
        assert (await client.service("s")).instances == ()
