"""What a client makes of servers that are no registry, or a broken one."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from artemis import ArtemisClient, ClientOptions, RefusedError, UnreachableError
from artemis.client import NodeSwitched

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that runs an HTTP server with one handler for everything and returns its address."""
    runners: list[web.AppRunner] = []

    async def run(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield run
    for runner in runners:
        await runner.cleanup()


def answer(status: int = 200, body: bytes = b"") -> Handler:
    """Return a handler that always gives the same answer."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, body=body)

    return handle


def refusal(code: str) -> bytes:
    """Return the body of an answer that is no."""
    return json.dumps({"responseStatus": {"status": "fail", "errorCode": code, "message": "why"}}).encode()


def client_of(*servers: str, **options: float) -> ArtemisClient:
    """Make a client that tries twice."""
    numbers = {"attempts": 2, "backoff": 0.01, "attempt_timeout": 5.0, **options}
    return ArtemisClient(servers=servers, region_id="r", zone_id="z", options=ClientOptions(**numbers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (answer(404), "HTTP 404"),
        (answer(503, refusal("unknown")), "HTTP 503"),
        (answer(200, b"<html>"), "not one of a registry node"),
        (answer(200, b"[]"), "not one of a registry node"),
        (answer(200, b"null"), "no responseStatus"),
        (answer(200, b"{}"), "no responseStatus"),
        (answer(200, refusal("service-unavailable")), "service-unavailable: why"),
        (answer(200, b" " * 2000), "more than 1000 bytes"),
    ],
)
async def test_an_unusable_answer_is_a_failed_attempt_with_its_reason(
    serve: Serve, handler: Handler, reason: str
) -> None:
    """The caller gets one error of our own, never one of the network's or the parser's."""
    url = await serve(handler)
    async with client_of(url, max_answer_bytes=1000) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.service("orders")
    assert [attempt.node for attempt in caught.value.attempts] == [url, url]
    assert all(reason in attempt.reason for attempt in caught.value.attempts)


async def test_a_compressed_answer_is_bounded_after_inflating(serve: Serve) -> None:
    """A small answer that grows beyond the bound is given up."""

    async def bomb(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=gzip.compress(bytes(10_000_000)), headers={"Content-Encoding": "gzip"})

    async with client_of(await serve(bomb), max_answer_bytes=100_000) as client:
        with pytest.raises(UnreachableError, match="more than 100000 bytes"):
            await client.service("orders")


async def test_a_node_that_does_not_answer_is_given_up_in_time(serve: Serve) -> None:
    """The bound covers the whole attempt."""
    asked = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await request.read()
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with client_of(await serve(hang), attempts=1, attempt_timeout=0.2) as client:
        with pytest.raises(UnreachableError, match=r"no answer within 0\.2 s"):
            await client.service("orders")
    assert asked.is_set()


async def test_a_connection_that_breaks_is_a_failed_attempt(serve: Serve) -> None:
    """In the middle of the answer too."""

    async def vanish(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with client_of(await serve(vanish)) as client:
        with pytest.raises(UnreachableError, match="2 times"):
            await client.service("orders")


@pytest.mark.parametrize(("code", "retriable"), [("bad-request", False), ("rate-limited", True)])
async def test_a_refusal_is_for_the_caller(serve: Serve, code: str, *, retriable: bool) -> None:
    """With code, text and whether trying again may help."""
    url = await serve(answer(200, refusal(code)))
    async with client_of(url) as client:
        with pytest.raises(RefusedError) as caught:
            await client.service("orders")
        error = caught.value
        assert (error.error_code, error.message, error.node, error.retriable) == (code, "why", url, retriable)


async def test_a_broken_node_is_left_for_one_that_works(serve: Serve, node_url: str) -> None:
    """Within the same call, and for good."""
    broken = await serve(answer(500))
    seen: set[str] = set()
    while seen != {broken, node_url}:
        options = ClientOptions(attempts=2, backoff=0.01)
        async with ArtemisClient(
            servers=[broken, node_url], region_id="local", zone_id="zone1", options=options
        ) as client:
            seen.add(client.server)
            events = client.events()
            first = client.server
            assert (await client.service("orders")).service_id == "orders"
            assert client.server == node_url
        if first == broken:
            assert NodeSwitched(broken, node_url, "HTTP 500") in [event async for event in events]


async def test_a_node_below_a_prefix_is_reached_there(serve: Serve) -> None:
    """The prefix stays in front of the path of the operation (spec 2)."""
    paths: list[str] = []

    async def note(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(body=refusal("bad-request"))

    async with client_of(await serve(note) + "/artemis-service/") as client:
        with pytest.raises(RefusedError):
            await client.service("orders")
    assert paths == ["/artemis-service/api/discovery/lookup.json"]


async def test_an_answer_without_a_node_status_is_a_refusal(serve: Serve) -> None:
    """A success that says nothing is not passed on as None."""
    body = json.dumps({"responseStatus": {"status": "success", "errorCode": "success", "message": ""}}).encode()
    async with client_of(await serve(answer(200, body))) as client:
        with pytest.raises(RefusedError, match="no nodeStatus"):
            await client.api.node_status()
        assert (await client.service("orders")).instances == ()
