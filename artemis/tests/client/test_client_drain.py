"""Waiting until the callers of an instance that was taken out have been told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web

from artemis import ArtemisClient, ClientOptions, Drained, Instance, NodeSwitched, Unregistered
from artemis.client.errors import UnreachableError
from artemis.client.nodes.nodes import ToldNode

T = TypeVar("T")
PATIENCE = 60.0
SUCCESS = {"responseStatus": {"status": "success"}}


async def first(events: AsyncIterator[object], kind: type[T], holds: Callable[[T], bool] = lambda _: True) -> T:
    """Return the first event of a kind for which something holds."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError(f"the events ended without {kind.__name__}")


class Told:
    """A node of another make that accepts everything, and answers what it is asked about callers as a test decides."""

    def __init__(self, *waiting: int | str) -> None:
        self.waiting = list(waiting)
        self.asked = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        if not request.path.endswith("/v1/told"):
            return web.json_response(SUCCESS | {"nodeStatus": {"status": "up"}})
        self.asked += 1
        waiting = self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]
        if waiting == "silence":
            await asyncio.Event().wait()
        if isinstance(waiting, str):
            return web.Response(status=404, text=waiting)
        return web.json_response(
            SUCCESS | {"told": waiting == 0, "waiting": waiting, "subscribers": 3},
        )


@asynccontextmanager
async def node_that(told: Told) -> AsyncIterator[str]:
    """Run such a node; return its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def client_of(*urls: str, **options: float) -> ArtemisClient:
    """Make a client of nodes, quick in what it repeats."""
    numbers = ClientOptions(**({"backoff": 0.01, "backoff_limit": 0.02, "attempt_timeout": 5.0} | options))  # type: ignore[arg-type]
    return ArtemisClient(servers=urls, region_id="local", zone_id="zone1", options=numbers)


async def left(client: ArtemisClient) -> Drained:
    """Register an instance, leave, and return what came of the waiting."""
    events = client.events()
    async with asyncio.timeout(PATIENCE), client.registered(Instance(service_id="Orders", ip="127.0.0.1", port=1)):
        pass
    assert (await first(events, Unregistered)).error is None
    return await first(events, Drained)


async def test_leaving_waits_until_all_callers_have_been_told() -> None:
    """The node is asked until nobody waits any more."""
    told = Told(2, 1, 0)
    async with node_that(told) as url, client_of(url) as client:
        assert await left(client) == Drained("Orders", waiting=0, reason="")
    assert told.asked == 3


async def test_the_waiting_ends_with_its_time() -> None:
    """A caller that never reads cannot keep a service from ending."""
    told = Told(2)
    async with node_that(told) as url, client_of(url, drain_timeout=0.1) as client:
        assert await left(client) == Drained("Orders", waiting=2, reason="not all had been told after 0.1 s")


async def test_a_node_that_does_not_know_the_question_is_not_waited_for_nor_left() -> None:
    """Nodes of Java answer 404, and nothing is wrong with them."""
    told = Told("what?")
    async with node_that(told) as url, node_that(Told("what?")) as another, client_of(url, another) as client:
        server, events = client.server, client.events()
        drained = await left(client)
        assert drained.waiting is None
        assert "HTTP 404" in drained.reason
        await client.__aexit__(None, None, None)
        assert [event async for event in events if isinstance(event, NodeSwitched)] == []
        assert client.server == server


async def test_all_nodes_are_asked_of_their_callers() -> None:
    """Each knows its own; one that cannot say does not keep a service from ending."""
    one, two, mute = Told(0), Told(1, 0), Told("what?")
    async with (
        node_that(one) as here,
        node_that(two) as there,
        node_that(mute) as nowhere,
        client_of(here, drain_timeout=PATIENCE) as client,
    ):
        for url in (there, nowhere):
            client._contact.nodes.learn([ToldNode(here), ToldNode(there), ToldNode(url)])
        assert await left(client) == Drained("Orders", waiting=0, reason="")
    assert (2, 2) == (one.asked, two.asked)
    assert mute.asked


async def test_a_node_that_falls_silent_is_waited_for_no_longer_than_that() -> None:
    """Leaving never raises for it."""
    async with node_that(Told("silence")) as url, client_of(url, drain_timeout=0.1) as client:
        assert await left(client) == Drained("Orders", waiting=None, reason="not all had been told after 0.1 s")


async def test_a_drain_timeout_of_zero_asks_nobody() -> None:
    """For services whose callers are able to repeat."""
    told = Told(2)
    instance = Instance(service_id="orders", ip="127.0.0.1", port=1)
    async with node_that(told) as url, client_of(url, drain_timeout=0) as client, client.registered(instance):
        pass
    assert told.asked == 0


async def test_waiting_can_be_cancelled() -> None:
    """The instance has been taken out before."""
    told = Told(2)
    async with node_that(told) as url, client_of(url, drain_timeout=PATIENCE) as client:
        events = client.events()
        registration = await client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)).__aenter__()
        leaving = asyncio.create_task(registration.unregister())
        await first(events, Unregistered)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        async with client.registered(registration.instance):
            told.waiting = [0]


async def test_several_services_are_waited_for_together() -> None:
    """One of them that takes its time does not hide that another is done."""
    told = Told(0, 1, 0)
    async with node_that(told) as url, client_of(url) as client:
        events = client.events()
        async with client.registered(
            *[Instance(service_id=name, ip="127.0.0.1", port=1) for name in ("orders", "prices", "ORDERS-2")]
        ):
            pass
        assert {(await first(events, Drained)).waiting for _ in range(3)} == {0}
    assert told.asked == 4


@pytest.mark.parametrize(("waiting", "told"), [(3, True), (0, False), (-1, False)])
async def test_an_answer_that_contradicts_itself_is_none(waiting: int, told: bool) -> None:
    """It is worth no more than silence."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(SUCCESS | {"told": told, "waiting": waiting})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with client_of(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
        with pytest.raises(UnreachableError, match="waiting"):
            await client.api.told("orders")
    await runner.cleanup()


async def test_a_caller_that_waits_for_changes_has_been_told_when_the_block_is_left(
    client: ArtemisClient, node_url: str, service_id: str
) -> None:
    """At a real node: the answer to its long poll was written before."""
    events = client.events()
    address = f"{node_url}/api/v1/services/{service_id}"
    async with aiohttp.ClientSession() as session:
        async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)):
            async with session.get(address) as response:
                cursor = (await response.json())["cursor"]
            waiting = asyncio.create_task(session.get(address, params={"wait": "20s", "cursor": cursor}))
            async with asyncio.timeout(PATIENCE):
                while (await client.api.told(service_id)).subscribers == 0:
                    pass
        assert await first(events, Drained) == Drained(service_id, waiting=0, reason="")
        async with asyncio.timeout(PATIENCE), await waiting as response:
            assert [change["changeType"] for change in (await response.json())["changes"]] == ["delete"]
