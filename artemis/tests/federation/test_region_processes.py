"""Two regions as processes: one of them dies, hangs and comes back, and its copy in the other says how old it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from awaited_regions import until_true
from region_nodes import Told, ask, instance, register, shown, unregister

from artemis.testing import RunningNode, running_cluster, running_node
from artemis.testing.certificates import make_certificate

ORDERS = [instance("eu", "orders", number) for number in range(8)]
NAMES = [f"orders-{number}" for number in range(8)]


class Regions(NamedTuple):
    """A node of eu with a data directory, and one of us that shows it."""

    eu: RunningNode
    us: RunningNode


@pytest.fixture
async def regions(tmp_path: Path) -> AsyncIterator[Regions]:
    """Start both, with instances in eu that nobody renews for as long as a test takes."""
    async with (
        running_node(region="eu", data_dir=str(tmp_path), lease_ttl=600, snapshot_interval=0) as eu,
        running_node(region="us", federate=f"eu={eu.url}") as us,
    ):
        await register(eu.url, *ORDERS)
        await until_shown(us, lambda names: names == NAMES)
        yield Regions(eu, us)


async def until_shown(us: RunningNode, good: Callable[[list[str]], bool]) -> None:
    """Wait until a node shows the orders of eu in some way."""

    async def holds() -> bool:
        told = await look(us)
        return told.status == 200 and told.body["service"] is not None and good(ids(told))

    await until_true(holds)


async def look(us: RunningNode) -> Told:
    """Look up the orders of eu."""
    return await ask(us.url, "discovery/service.json", serviceId="orders", regionId="eu")


def ids(told: Told) -> list[str]:
    """The instances of an answer."""
    return [one["instanceId"] for one in told.body["service"]["instances"]]


async def state(us: RunningNode) -> dict[str, object]:
    """What a node says of the region eu."""
    (found,) = (await ask(us.url, "v1/status")).body["regions"]
    return dict(found)


def is_state(us: RunningNode, word: str) -> Callable[[], Awaitable[bool]]:
    """Whether the region is in a state."""

    async def holds() -> bool:
        return (await state(us))["state"] == word

    return holds


async def test_a_region_that_dies_is_shown_as_it_was_and_ever_older(regions: Regions) -> None:
    """Nothing is taken away, and the age is the time since its last word at least."""
    regions.eu.kill()
    await until_true(is_state(regions.us, "unreachable"))
    loop = asyncio.get_running_loop()
    first = await look(regions.us)
    answered = loop.time()

    async def older() -> bool:
        return (await look(regions.us)).age > first.age + 500

    await until_true(older)
    asked = loop.time()
    second = await look(regions.us)
    assert (ids(first), ids(second), second.region) == (NAMES, NAMES, "eu")
    # It grows as time does: by no less than what has passed between the two answers.
    assert second.age - first.age >= (asked - answered) * 1000 - 1
    assert (await state(regions.us))["failures"] >= 1


async def test_a_region_that_hangs_gets_older_too(regions: Regions) -> None:
    """Its connections stay open, and nothing comes over them."""
    regions.eu.pause()
    try:
        await until_true(is_state(regions.us, "unreachable"))
        told = await look(regions.us)
        assert (ids(told), told.age >= 4_000) == (NAMES, True)
    finally:
        regions.eu.resume()
    await until_true(is_state(regions.us, "following"))
    assert (await look(regions.us)).age < told.age


async def test_a_region_that_comes_back_is_followed_from_where_it_stood(regions: Regions) -> None:
    """After a graceful restart not even a listing is needed, and what changed meanwhile is shown."""
    assert regions.eu.stop() == 0
    await until_true(is_state(regions.us, "unreachable"))
    await asyncio.to_thread(regions.eu.restart)
    await unregister(regions.eu.url, ORDERS[0])
    await register(regions.eu.url, instance("eu", "orders", 9))
    await until_shown(regions.us, lambda names: names == [*NAMES[1:], "orders-9"])
    await until_true(is_state(regions.us, "following"))
    found = await state(regions.us)
    assert (found["listings"], found["resumed"]) == (1, 1)


async def test_a_region_that_comes_back_empty_is_doubted(tmp_path: Path) -> None:
    """Its instances are most likely alive and about to register again."""
    async with (
        running_node(region="eu", lease_ttl=600) as eu,
        running_node(region="us", federate=f"eu={eu.url}") as us,
    ):
        await register(eu.url, *ORDERS)
        await until_shown(us, lambda names: names == NAMES)
        eu.kill()
        await asyncio.to_thread(eu.restart)
        await until_true(is_state(us, "following"))
        assert await shown(eu.url, "orders", "eu") == []
        assert await shown(us.url, "orders", "eu") == NAMES
        found = await state(us)
        assert (found["held"], found["instances"]) == (8, 8)
        await register(eu.url, ORDERS[0])

        async def one_less() -> bool:
            return (await state(us))["held"] == 7

        await until_true(one_less)


async def test_a_region_of_several_nodes_is_followed_through_the_loss_of_one() -> None:
    """By the cursor that holds at each of its nodes."""
    async with running_cluster(3, region="eu", lease_ttl=600) as cluster:
        urls = ",".join(node.url for node in cluster.nodes)
        async with running_node(region="us", federate=f"eu={urls}") as us:
            await register(cluster.nodes[0].url, *ORDERS)
            await until_shown(us, lambda names: names == NAMES)
            followed = str((await state(us))["node"])
            (dead,) = [node for node in cluster.nodes if node.url == followed]
            dead.kill()
            alive = next(node for node in cluster.nodes if node is not dead)
            await register(alive.url, instance("eu", "orders", 9))
            await until_shown(us, lambda names: names == [*NAMES, "orders-9"])
            found = await state(us)
            assert (found["node"] != followed, found["listings"], found["held"]) == (True, 1, 0)


async def test_a_region_inside_tls_needs_its_authority(tmp_path: Path) -> None:
    """Without it the reason says that the certificate is not accepted; with it everything is inside TLS."""
    certificate = make_certificate(tmp_path)
    async with running_node(region="eu", lease_ttl=600, **certificate.options) as eu:
        async with running_node(region="us", federate=f"eu={eu.url}") as blind:
            await until_true(is_state(blind, "unreachable"))
            assert "certificate" in str((await state(blind))["why"])
        async with running_node(region="us", federate=f"eu={eu.url}", federate_ca_file=certificate.ca_file) as us:
            await until_true(is_state(us, "following"))
            assert (await state(us))["node"] == eu.url
