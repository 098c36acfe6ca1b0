"""A link made of requests that wait."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest
from aiohttp import web
from link_peers import JAVA_HTTP_ALONE, shaped, until

from artemis import ArtemisClient, ClientOptions, HttpTransport, Instance, LinkKind
from artemis.client.links.link import LinkFailure, Push, Want
from artemis.client.links.long_poll import PATIENCE, LongPollLink, open_long_poll

OPTIONS = ClientOptions(
    confirm_interval=0.2, attempt_timeout=2.0, link_timeout=2.0, max_long_polls=2, backoff=0.0, backoff_limit=0.02
)


@contextlib.asynccontextmanager
async def linked(url: str, options: ClientOptions = OPTIONS) -> AsyncIterator[tuple[LongPollLink, asyncio.Queue[Push]]]:
    """Open a link and close it."""
    pushes: asyncio.Queue[Push] = asyncio.Queue()
    http = HttpTransport(max_answer_bytes=1_000_000)
    link: LongPollLink | None = None
    try:
        choices = Random(1)  # noqa: S311 - repeatable
        link = await open_long_poll(url, http, options, choices, pushes.put_nowait)
        yield link, pushes
    finally:
        if link is not None:
            await link.close()
        await http.close()


async def next_change(pushes: asyncio.Queue[Push]) -> Push:
    """Return the next push that says something."""
    async with asyncio.timeout(30):
        while True:
            push = await pushes.get()
            if push.changes or push.full_sync:
                return push


async def test_each_answer_tells_of_its_service_and_confirms_it(
    node_url: str, client: ArtemisClient, service_id: str
) -> None:
    """With or without changes; a subscription without a cursor begins with everything."""
    async with linked(node_url) as (link, pushes):
        assert (LinkKind.LONG_POLL, node_url, False, False) == (
            link.kind,
            link.node,
            link.carries_calls,
            link.confirms,
        )
        await link.subscribe([Want(service_id)])
        async with asyncio.timeout(30):
            whole = await pushes.get()
            assert (service_id, (), True) == (whole.service, whole.changes, whole.full_sync)
            quiet = await pushes.get()
        assert ((), False) == (quiet.changes, quiet.full_sync)
        assert whole.age is not None
        assert quiet.age is not None
        assert 0.0 < whole.age
        assert OPTIONS.confirm_interval / 2 <= quiet.age
        assert quiet.cursor
        one = Instance(service_id=service_id, instance_id="i1", ip="127.0.0.1", port=9000)
        async with client.registered(one):
            assert "new" == (await next_change(pushes)).changes[0].change_type
        assert "delete" == (await next_change(pushes)).changes[0].change_type
        await link.unsubscribe([service_id])
        assert not (await link.confirm()).current


async def test_further_services_are_refused_and_a_place_can_be_had_again(node_url: str) -> None:
    """As many requests wait as the option says."""
    async with linked(node_url) as (link, pushes):
        refused = (await link.subscribe([Want("a"), Want("b"), Want("c")])).refused
        assert {"c": "max_long_polls=2 requests wait already"} == refused
        await link.unsubscribe(["a"])
        assert {} == (await link.subscribe([Want("c"), Want("B", "from nowhere")])).refused
        async with asyncio.timeout(30):
            seen = set()
            while seen != {"b", "c"}:
                push = await pushes.get()
                seen.add(push.service) if push.full_sync else None


async def test_a_node_without_the_operation_does_not_offer_it(node_url: str) -> None:
    """As one of the Java product."""
    async with shaped(node_url, JAVA_HTTP_ALONE) as node:
        with pytest.raises(LinkFailure, match="HTTP 404") as caught:
            async with linked(node.url):
                raise AssertionError
        assert caught.value.offered is False


class Node:
    """Answers polls with what is set."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.body: object = {"cursor": "c", "ageMs": 0, "fullSync": False, "changes": []}
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def serve(self, request: web.Request) -> web.Response:
        """Answer."""
        self.asked += 1
        if request.path.endswith("/-") and self.status != 503 and self.answers.is_set():
            return web.json_response({"cursor": "c", "changes": []})
        body = json.dumps(self.body).encode()
        await self.answers.wait()
        return web.Response(status=self.status, body=body)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Serve one."""
    one = Node()
    app = web.Application()
    app.router.add_get("/api/v1/services/{id}", one.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "offered", "reason"),
    [
        (404, None, False, "HTTP 404"),
        (403, None, False, "HTTP 403"),
        (200, "nonsense", False, "cannot be read"),
        (503, None, False, "HTTP 503"),
    ],
)
async def test_an_answer_that_is_none_ends_the_link_with_a_reason(
    node: Node, status: int, body: object, *, offered: bool, reason: str
) -> None:
    """One that says `not now` is repeated a few times."""
    async with linked(node.url) as (link, _):
        node.status, node.body = status, body
        await link.subscribe([Want("orders")])
        async with asyncio.timeout(30):
            ended = await link.ended()
        assert (offered, True) == (ended.offered, reason in str(ended))
        assert (1 + PATIENCE + 1 if status == 503 else 1 + 1) <= node.asked
        with pytest.raises(LinkFailure):
            await link.confirm()
        with pytest.raises(LinkFailure):
            await link.subscribe([Want("prices")])


async def test_a_node_that_lets_nobody_wait_is_not_asked_in_a_rush(node: Node) -> None:
    """Between two answers that say nothing new there is a pause."""
    options = ClientOptions(confirm_interval=30.0, backoff=0.0, backoff_limit=1000.0)
    async with linked(node.url, options) as (link, pushes):
        await link.subscribe([Want("orders", "c")])
        async with asyncio.timeout(30):
            await pushes.get()
        await link.confirm()
        assert node.asked == 3


async def test_an_answer_may_be_as_old_as_its_request(node: Node) -> None:
    """What was true when the node took it up may have been under way ever since."""
    async with linked(node.url) as (link, pushes):
        node.answers.clear()
        await link.subscribe([Want("orders", "c")])
        await until(lambda: node.asked == 2)
        await asyncio.sleep(0.05)
        node.answers.set()
        async with asyncio.timeout(30):
            push = await pushes.get()
        assert push.age is not None
        assert push.age >= 0.05


async def test_a_node_that_hangs_is_noticed_without_any_service(node: Node) -> None:
    """The sign of life is an answer, and there is none."""
    async with linked(node.url, replace(OPTIONS, attempt_timeout=0.05)) as (link, _):
        assert (await link.confirm()).heard
        node.answers.clear()
        with pytest.raises(LinkFailure, match="no answer within") as caught:
            await link.confirm()
        assert caught.value.offered is True
        node.answers.set()


async def test_a_gateway_that_has_no_time_is_no_sign_of_life(node: Node) -> None:
    """The link stays for a while, but nobody was heard."""
    async with linked(node.url) as (link, _):
        node.status = 503
        assert [False] * PATIENCE == [(await link.confirm()).heard for _ in range(PATIENCE)]
        with pytest.raises(LinkFailure, match="HTTP 503"):
            await link.confirm()


async def test_a_node_that_is_gone_ends_the_link_as_lost(node: Node) -> None:
    """Another node may have what this one had."""
    async with linked(node.url) as (link, pushes):
        await link.subscribe([Want("orders", "c")])
        async with asyncio.timeout(30):
            await pushes.get()
        link.node = "http://127.0.0.1:9"
        async with asyncio.timeout(30):
            ended = await link.ended()
        assert ended.offered is True
        await until(lambda: not any("long poll" in task.get_name() for task in asyncio.all_tasks()))
