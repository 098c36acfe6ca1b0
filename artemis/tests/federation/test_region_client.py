"""The SDK and services of another region: looked up, watched and balanced by its name, or refused."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from region_nodes import followed, holds, instance, register, serving, unregister, until

import artemis.sync
from artemis import ArtemisClient, ClientOptions, ClosedError, LinkKind, RefusedError, UnreachableError
from artemis.client.calls.transport import HttpTransport
from artemis.client.links.link import Push, Want
from artemis.client.links.long_poll import open_long_poll
from artemis.server.app import NodeServer

QUICK = ClientOptions(
    attempts=2, backoff=0.02, backoff_limit=0.1, confirm_interval=0.3, poll_interval=0.3, address_interval=0.0
)
ORDERS = [instance("eu", "orders", number) for number in range(3)]
NAMES = [f"orders-{number}" for number in range(3)]


@pytest.fixture
async def eu() -> AsyncIterator[NodeServer]:
    """A node of the region eu with orders."""
    async with serving("eu") as node:
        await register(node.url, *ORDERS)
        yield node


@pytest.fixture
async def us(eu: NodeServer) -> AsyncIterator[NodeServer]:
    """A node of the region us that shows eu."""
    async with serving("us", federate=f"eu={eu.url}") as node:
        await register(node.url, instance("us", "orders", 9))
        await holds(node, 3)
        await followed(node)
        yield node


def client_of(node: NodeServer, **more: object) -> ArtemisClient:
    """A client in the region us."""
    return ArtemisClient(**{"servers": [node.url], "region_id": "us", "zone_id": "zone1", "options": QUICK, **more})


async def test_a_client_finds_services_of_another_region_by_its_name(us: NodeServer) -> None:
    """Beside those of its own, of the same id; an unknown one is empty there too."""
    async with client_of(us) as client:
        there, here = await client.region("EU").service("orders"), await client.service("orders")
        assert [one.instance_id for one in there.instances] == NAMES
        assert [one.instance_id for one in here.instances] == ["orders-9"]
        assert {one.region_id for one in there.instances} == {"eu"}
        assert (await client.region("eu").service("nothing")).instances == ()
        assert client.region("eu") is client.region(" Eu ")
        assert client.region("us") is client


async def test_it_watches_and_balances_over_another_region(eu: NodeServer, us: NodeServer) -> None:
    """Changes of the copy are pushed as those of the own region are."""
    async with client_of(us) as client:
        region = client.region("eu")
        watch = region.watch("orders")
        async with asyncio.timeout(30):
            first = [(await anext(watch)).instance.instance_id for _ in range(3)]
            await until(lambda: region.link is LinkKind.MSGTRANS)
            await unregister(eu.url, ORDERS[0])
            gone = await anext(watch)
            await register(us.url, instance("us", "orders", 8))
            await register(eu.url, instance("eu", "orders", 4))
            new = await anext(watch)
        assert first == NAMES
        assert (gone.change_type, gone.instance.instance_id) == ("delete", "orders-0")
        assert (new.change_type, new.instance.instance_id) == ("new", "orders-4")
        balancer = region.balancer("orders")
        await balancer.ready()
        assert {balancer.next().instance_id for _ in range(9)} == {"orders-1", "orders-2", "orders-4"}


async def test_a_view_of_a_region_that_is_gone_gets_older(eu: NodeServer, us: NodeServer) -> None:
    """However fresh the word of the own node is."""
    async with client_of(us) as client:
        region = client.region("eu")
        await region.service("orders")
        await until(lambda: region.link is LinkKind.MSGTRANS)
        await eu.stop()
        copy = us.node.regions.known("eu")
        assert copy is not None
        async with asyncio.timeout(30):
            while (view := await region.service("orders")).age < 2.5:  # noqa: ASYNC110 - time tells nobody
                await asyncio.sleep(0.05)
        assert [one.instance_id for one in view.instances] == NAMES
        await eu_again(eu)


async def eu_again(eu: NodeServer) -> None:
    """Let the fixture stop what was stopped: a node is stopped once."""

    async def nothing() -> None:
        """It has ended already."""

    eu.stop = nothing  # type: ignore[method-assign]


async def test_where_nodes_show_no_other_region_it_is_refused(eu: NodeServer) -> None:
    """Never answered with services of the nodes' own region."""
    async with serving("us") as plain, client_of(plain) as client:
        await register(plain.url, instance("us", "orders", 9))
        with pytest.raises(RefusedError, match="region 'eu' is not the region 'us' of this node"):
            await client.region("eu").service("orders")
        assert len((await client.service("orders")).instances) == 1
    assert eu.node.registry


async def test_before_there_is_a_copy_no_answer_is_made_up() -> None:
    """It is an error that says why, and not an empty service."""
    async with serving("us", federate="eu=http://127.0.0.1:9") as node, client_of(node) as client:
        with pytest.raises((UnreachableError, RefusedError), match="region 'eu' cannot be shown yet"):
            await client.region("eu").service("orders")


async def test_it_ends_with_its_client(us: NodeServer) -> None:
    """And cannot be begun before or after that."""
    client = client_of(us)
    with pytest.raises(ClosedError):
        client.region("eu")
    async with client:
        region = client.region("eu")
        await region.service("orders")
        with pytest.raises(ValueError, match="region_id must not be blank"):
            client.region(" ")
    with pytest.raises(ClosedError):
        await region.service("prices")
    with pytest.raises(ClosedError):
        client.region("eu")


async def test_a_client_may_be_of_another_region_alone(us: NodeServer) -> None:
    """All services of it are in pages that nodes show, and not in a list that could be mistaken for it."""
    async with client_of(us, lookup_region="eu") as client:
        assert len((await client.service("orders")).instances) == 3
        with pytest.raises(ValueError, match=r"GET /api/v1/services\?regionId=eu"):
            await client.api.services()


async def test_the_same_for_code_that_blocks(us: NodeServer) -> None:
    """In the same words."""

    def work() -> tuple[list[str | None], str | None, str]:
        with artemis.sync.ArtemisClient(servers=[us.url], region_id="us", zone_id="zone1", options=QUICK) as client:
            region = client.region("eu")
            names = [one.instance_id for one in region.service("orders").instances]
            change = next(iter(region.watch("orders")))
            chosen = region.balancer("orders").next()
            assert (len(region.services("orders", "prices")), "region eu" in repr(region)) == (2, True)
            return names, chosen.region_id, change.change_type

    assert await asyncio.to_thread(work) == (NAMES, "eu", "new")


async def test_long_polls_ask_for_the_region_too(us: NodeServer, eu: NodeServer) -> None:
    """Where a proxy passes nothing but HTTP."""
    pushes: asyncio.Queue[Push] = asyncio.Queue()
    http = HttpTransport(max_answer_bytes=1_000_000)
    link = await open_long_poll(us.url, http, QUICK, Random(1), pushes.put_nowait, "eu")  # noqa: S311 - spreads load
    try:
        await link.subscribe([Want("orders")])
        async with asyncio.timeout(30):
            assert len((await pushes.get()).changes) == 3
            await unregister(eu.url, ORDERS[0])
            while not (push := await pushes.get()).changes:
                pass
        assert [change.change_type for change in push.changes] == ["delete"]
    finally:
        await link.close()
        await http.close()
