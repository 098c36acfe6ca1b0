"""Cursors at real nodes: what one node gave, another one honours, and an SDK that changes nodes never steps back."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from artemis import AnswerDoubted, AnswerOutdated, ArtemisClient, ClientOptions, Instance, LinkChanged, WentBack
from artemis.testing import running_cluster
from artemis.testing.clusters import RunningCluster

PATIENCE = 30.0


@pytest.fixture
async def cluster() -> AsyncIterator[RunningCluster]:
    """Two nodes whose link can be cut."""
    async with running_cluster(2, linked=True, lease_ttl=60) as cluster:
        yield cluster


def instance(name: str) -> Instance:
    """An instance of the service `s`."""
    return Instance(region_id="local", zone_id="zone1", service_id="s", instance_id=name, url="http://x")


def client_of(*urls: str) -> ArtemisClient:
    """A client of these nodes alone."""
    options = ClientOptions(address_interval=0.0, link_backoff=0.05, backoff_limit=0.2, node_rest=0.5)
    return ArtemisClient(servers=urls, region_id="local", zone_id="zone1", options=options)


async def poll(url: str, cursor: str = "", wait: str = "0") -> tuple[bool, list[tuple[str, str]], str]:
    """What a node has to tell: whether it is a full sync, the changes, and the cursor to go on from."""
    async with aiohttp.ClientSession() as session:
        query = {"wait": wait, **({"cursor": cursor} if cursor else {})}
        async with session.get(f"{url}/api/v1/services/s", params=query) as response:
            told = await response.json()
    changes = [(change["changeType"], change["instance"]["instanceId"]) for change in told["changes"]]
    return told["fullSync"], sorted(changes), told["cursor"]


async def test_a_cursor_holds_at_every_node(cluster: RunningCluster) -> None:
    """What was missed is told exactly, also by a node that did not give the cursor and whose giver is gone."""
    one, two = (node.url for node in cluster.nodes)
    async with client_of(one) as client:
        await client.api.register([instance("i1"), instance("i2")])
        _, changes, cursor = await poll(one)
        assert [("new", "i1"), ("new", "i2")] == changes
        assert (False, []) == (await poll(two, cursor))[:2]
        await client.api.unregister([instance("i1")])
        _, _, later = await poll(one)
        assert (False, []) == (await poll(two, later))[:2]
    await asyncio.to_thread(cluster.nodes[0].kill)
    async with client_of(two) as client:
        await client.api.register([instance("i3")])
        assert (False, [("delete", "i1"), ("new", "i3")]) == (await poll(two, cursor))[:2]
        assert (False, [("new", "i3")]) == (await poll(two, later, "20s"))[:2]


async def test_a_node_that_is_behind_says_so(cluster: RunningCluster) -> None:
    """It waits a moment for what it lacks, then it shows everything as a full sync; with the link it is exact again."""
    one, two = (node.url for node in cluster.nodes)
    async with client_of(one) as client:
        await client.api.register([instance("i1")])
        await poll(two, (await poll(one))[2])
        cluster.cut(0, 1)
        await client.api.register([instance("i2")])
        cursor = (await poll(one))[2]
        full, changes, behind = await poll(two, cursor)
        assert (True, [("new", "i1")]) == (full, changes)
        cluster.heal()
        async with asyncio.timeout(PATIENCE):
            while (await poll(two, cursor))[0]:
                pass
        assert (False, [("new", "i2")]) == (await poll(two, behind))[:2]
        assert (False, []) == (await poll(two, cursor))[:2]


async def test_a_client_whose_node_dies_goes_on_without_a_step_back(cluster: RunningCluster) -> None:
    """Its view stays whole, nothing is doubted, and what happens then is told as changes of what it knows."""
    urls = [node.url for node in cluster.nodes]
    async with client_of(*urls) as client:
        await client.api.register([instance("i1"), instance("i2")])
        watch = client.watch("s")
        assert {"i1", "i2"} == {(await anext(watch)).instance.instance_id for _ in range(2)}
        events = client.events()
        async with asyncio.timeout(PATIENCE):
            view = await client.service("s")
            assert view.cursor is not None
            first, second = urls if client.server == urls[0] else urls[::-1]
            async with client_of(second) as writer:
                # The other node has heard of it when it shows what this one knows.
                await poll(second, view.cursor, "1s")
                await asyncio.to_thread(cluster.nodes[urls.index(first)].kill)
                await writer.api.unregister([instance("i1")])
            change = await anext(watch)
            assert ("delete", "i1") == (change.change_type, change.instance.instance_id)
            assert ["i2"] == [one.instance_id for one in (await client.service("s")).instances]
            while True:
                event = await anext(events)
                assert not isinstance(event, AnswerDoubted | AnswerOutdated | WentBack), event
                if isinstance(event, LinkChanged) and event.node == second:
                    break
