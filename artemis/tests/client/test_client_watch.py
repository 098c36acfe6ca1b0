"""What followers of services are told, and how changes become one while nobody asks."""

import asyncio
from dataclasses import replace
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis import ArtemisClient, ClientOptions, Instance, LimitError
from artemis.client import InstanceChange, Watch
from artemis.client.discovery.changes import Backlog, Touched
from artemis.client.names import instance_key

PATIENCE = 60.0


def instance(name: str, service_id: str = "s", url: str = "http://x") -> Instance:
    """Build an instance."""
    return Instance(region_id="local", zone_id="zone1", service_id=service_id, instance_id=name, url=url)


def touched(before: Instance | None, after: Instance | None) -> Touched:
    """Say that an instance looks different."""
    known = before if after is None else after
    assert known is not None
    return Touched(instance_key(known), before, after)


def test_changes_come_deletes_first() -> None:
    """Each with the time at which it was seen; what was there from the beginning with that of the asking."""
    old, new = instance("a"), instance("a", url="http://y")
    backlog = Backlog([instance("c")])
    backlog.add([touched(old, new), touched(None, instance("d")), touched(instance("b"), None)], 7)
    assert backlog.take(9) == [
        InstanceChange("delete", instance("b"), 7),
        InstanceChange("new", instance("c"), 9),
        InstanceChange("change", new, 7),
        InstanceChange("new", instance("d"), 7),
    ]
    assert backlog.take(9) == []


def test_what_came_and_went_is_nothing() -> None:
    """Nor is what changed and changed back; so nothing piles up."""
    old, new = instance("a"), instance("a", url="http://y")
    backlog = Backlog()
    backlog.add([touched(None, instance("b")), touched(instance("b"), None)], 1)
    backlog.add([touched(old, new), touched(new, old)], 2)
    assert not backlog


def test_several_changes_of_one_instance_are_one() -> None:
    """The last one, as seen from where the follower is."""
    first, second, third = (instance("a", url=f"http://{number}") for number in range(3))
    backlog = Backlog()
    backlog.add([touched(None, first), touched(first, second)], 1)
    assert backlog.take(0) == [InstanceChange("new", second, 1)]
    backlog.add([touched(second, None), touched(None, third)], 2)
    assert backlog.take(0) == [InstanceChange("change", third, 2)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["http://x", "http://y", ""]), st.booleans())))
def test_whoever_applies_what_he_is_told_has_the_picture(history: list[tuple[str, str, bool]]) -> None:
    """However often he asks."""
    truth: dict[str, Instance] = {}
    picture: dict[str, Instance] = {}
    backlog = Backlog()
    for name, url, asks in history:
        before = truth.pop(name, None)
        after = instance(name, url=url) if url else None
        if after is not None:
            truth[name] = after
        if before != after:
            backlog.add([touched(before, after)], 1)
        for change in backlog.take(1) if asks else ():
            key = str(change.instance.instance_id)
            assert (change.change_type == "new") == (key not in picture)
            if change.change_type == "delete":
                assert picture.pop(key) == change.instance
            else:
                picture[key] = change.instance
        if asks:
            assert picture == truth


async def step(watch: Watch) -> InstanceChange:
    """Take the next change."""
    async with asyncio.timeout(PATIENCE):
        return await anext(watch)


async def test_several_services_can_be_watched_at_once(client: ArtemisClient, service_id: str) -> None:
    """Each change says of which it is."""
    one, two = f"{service_id}-one", f"{service_id}-two"
    await client.api.register([instance("a", one), instance("b", two)])
    watch = client.watch(one, two)
    seen = {(change.instance.service_id, change.instance.instance_id) for change in [await step(watch) for _ in "ab"]}
    assert seen == {(one, "a"), (two, "b")}
    await client.api.unregister([instance("b", two)])
    change = await step(watch)
    assert (change.change_type, change.instance.service_id) == ("delete", two)


async def test_watching_nothing_is_an_error(client: ArtemisClient) -> None:
    """It would wait for ever."""
    with pytest.raises(ValueError, match="at least one service id"):
        client.watch()


async def test_a_watch_that_finds_no_place_for_all_its_services_is_an_error(
    node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """It would not be told of the first, whose place the last one takes; there is place for fewer then."""
    options = replace(quick, max_services=2)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        kept = client.watch(f"{service_id}-kept")
        with pytest.raises(LimitError, match="max_services=2"):
            client.watch(f"{service_id}-one", f"{service_id}-two")
        assert client.status.services == 1
        other = client.watch(f"{service_id}-two")
        await client.api.register([instance("a", f"{service_id}-kept"), instance("b", f"{service_id}-two")])
        assert [(await step(watch)).instance.instance_id for watch in (kept, other)] == ["a", "b"]


async def test_several_services_come_with_one_lookup(client: ArtemisClient, service_id: str) -> None:
    """By the ids as they were given, also when two of them mean the same service."""
    one, two = f"{service_id}-one", f"{service_id}-two"
    await client.api.register([instance("a", one), instance("b", two)])
    views = await client.services(one, two, one.upper())
    assert {name: [str(one.instance_id) for one in view.instances] for name, view in views.items()} == {
        one: ["a"],
        two: ["b"],
        one.upper(): ["a"],
    }
    assert await client.services() == {}


async def test_two_who_want_the_same_services_in_another_order_do_not_block(
    client: ArtemisClient, service_id: str
) -> None:
    """Both get their answer."""
    names = [f"{service_id}-{letter}" for letter in "abc"]
    async with asyncio.timeout(PATIENCE):
        views = await asyncio.gather(client.services(*names), client.services(*reversed(names)))
    assert sorted(views[0]) == sorted(views[1]) == names


async def test_a_watch_that_nobody_holds_follows_nothing(client: ArtemisClient, service_id: str) -> None:
    """Dropping it is enough to end it."""
    watch = client.watch(service_id)
    gone = ref(watch)
    del watch
    assert gone() is None
