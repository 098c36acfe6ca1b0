"""What a client makes of servers that are no registry, or a broken one."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from awaited import first

from artemis import (
    ArtemisClient,
    ClientOptions,
    ConnectionState,
    Instance,
    LinkChanged,
    LinkKind,
    LookupFailed,
    NodeSwitched,
    RefusedError,
    RegistrationRefusedError,
    UnreachableError,
)
from artemis.testing import running_node

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


def wire_instance(**fields: object) -> dict[str, object]:
    """Return an instance of `orders` as on the wire."""
    whole = {
        "regionId": "r",
        "zoneId": "z",
        "serviceId": "orders",
        "instanceId": "i1",
        "url": "http://x",
        "status": "up",
    }
    return {**whole, **fields}


def instance() -> Instance:
    """Build the same instance."""
    return Instance(region_id="r", zone_id="z", service_id="orders", instance_id="i1", url="http://x", status="up")


def whole_answer(**fields: object) -> bytes:
    """Return the body of an answer that every operation can take for a success."""
    whole = {
        "responseStatus": {"status": "success", "errorCode": "success", "message": ""},
        "services": [{"serviceId": "orders", "instances": [wire_instance()]}],
        "nodeStatus": {"status": "up"},
        "failedInstances": None,
    }
    return json.dumps({**whole, **fields}).encode()


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


@pytest.mark.parametrize(
    ("status", "words"),
    [(413, "too large; send less"), (403, "access is denied"), (401, "access is denied"), (405, "check the address")],
)
async def test_a_status_of_4xx_is_a_refusal_that_says_what_to_do(serve: Serve, status: int, words: str) -> None:
    """It is asked for once: asked again, the same peer would say the same."""
    asked = 0

    async def refuse(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        await request.read()
        return web.Response(status=status)

    url = await serve(refuse)
    async with client_of(url, attempts=5) as client:
        with pytest.raises(RefusedError, match=words) as caught:
            await client.api.lookup(["orders"])
    assert (caught.value.error_code, caught.value.node, caught.value.retriable) == (f"http-{status}", url, False)
    assert asked == 1


@pytest.mark.parametrize("status", [408, 429])
async def test_too_late_and_too_many_are_tried_again(serve: Serve, status: int) -> None:
    """Time alone may help there."""
    async with client_of(await serve(answer(status))) as client:
        with pytest.raises(UnreachableError, match=f"2 times .* HTTP {status}"):
            await client.service("orders")


async def test_a_wrong_address_is_called_by_its_name(serve: Serve) -> None:
    """Whoever finds nothing at all at a node is asked for its address."""
    async with client_of(await serve(answer(404)), attempts=1) as client:
        with pytest.raises(
            UnreachableError, match=r"HTTP 404, nothing is there .* is it the address of a registry node"
        ):
            await client.service("orders")


async def test_what_refuses_at_one_address_is_left_for_a_node_that_works(serve: Serve, node_url: str) -> None:
    """Something else may have got the address of a node that is gone."""
    for _ in range(10):
        stranger = await serve(answer(403))
        async with client_of(stranger, node_url) as client:
            await client.api.node_status()
            assert client.server == node_url


async def test_a_request_that_is_too_large_says_nothing_against_the_node() -> None:
    """Neither over HTTP nor over a link, where the packet is refused and HTTP has the last word."""
    large = Instance(
        region_id="local",
        zone_id="zone1",
        service_id="large",
        instance_id="i1",
        url="http://x",
        metadata={"a": "x" * 5000},
    )
    async with (
        running_node(max_body_size=2048) as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as client,
    ):
        with pytest.raises(RefusedError, match="http-413"):
            await client.api.register([large])
        events = client.events()
        await client.service("orders")
        await first(events, LinkChanged, lambda change: change.new is LinkKind.MSGTRANS)
        with pytest.raises(RefusedError, match="http-413"):
            await client.api.register([large])
        assert client.link is LinkKind.MSGTRANS
        assert client.state is ConnectionState.CONNECTED


async def test_the_words_of_a_node_are_cut_and_printable(serve: Serve) -> None:
    """Neither a flood nor a forged line nor the control of a terminal gets into errors and events."""
    words = "\x1b[2J\n2026-01-01 root logged in" + "x" * 100_000
    status = {"status": "fail", "errorCode": "service-unavailable", "message": words}
    url, other = [await serve(answer(200, json.dumps({"responseStatus": status}).encode())) for _ in range(2)]
    async with client_of(url, other) as client:
        events = client.events()
        with pytest.raises(UnreachableError) as caught:
            await client.api.lookup(["orders"])
        switch = await first(events, NodeSwitched)
    for text in (switch.reason, *(attempt.reason for attempt in caught.value.attempts)):
        assert text.isprintable()
        assert len(text) == 200
    status["errorCode"] = "bad-request"
    async with client_of(await serve(answer(200, json.dumps({"responseStatus": status}).encode()))) as client:
        with pytest.raises(RefusedError) as refused:
            await client.api.lookup(["orders"])
    assert str(refused.value).isprintable()
    assert len(refused.value.message) == 200


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


@pytest.mark.parametrize("digits", [30, 400])
async def test_an_age_that_is_too_long_a_number_is_a_great_age(serve: Serve, digits: int) -> None:
    """Nothing raises, and nobody takes the data for young."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=whole_answer(), headers={"Artemis-Age-Ms": "9" * digits})

    async with client_of(await serve(handle)) as client:
        assert (await client.service("orders")).age > 1e14


@pytest.mark.parametrize("cursor", [b"\xff\xfe", b"c" * 5000, b""])
async def test_a_cursor_that_cannot_be_sent_back_is_none(serve: Serve, cursor: bytes) -> None:
    """Whoever subscribes or polls with it would fail each time."""

    async def handle(request: web.Request) -> web.Response:
        text = cursor.decode("utf-8", "surrogateescape")
        return web.Response(body=whole_answer(), headers={"Artemis-Cursor": text})

    async with client_of(await serve(handle)) as client:
        assert (await client.service("orders")).cursor is None


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
    assert "/artemis-service/api/discovery/lookup.json" == paths[0]
    assert all(path.startswith("/artemis-service/") for path in paths)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failed_attempt_that_names_its_target(serve: Serve, status: int) -> None:
    """A registry never redirects (spec 2): nothing is sent where nobody configured it."""
    asked: list[str] = []

    async def note(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=whole_answer())

    elsewhere = f"{await serve(note)}/elsewhere"

    async def redirect(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, headers={"Location": elsewhere})

    async with client_of(await serve(redirect)) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.service("orders")
    assert [attempt.reason for attempt in caught.value.attempts] == [f"HTTP {status}, a redirect to '{elsewhere}'"] * 2
    assert asked == []


async def test_a_redirect_without_a_target_and_an_endless_one_are_told_briefly(serve: Serve) -> None:
    """What a broken peer writes there does not flood a log."""

    async def bare(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=304)

    async def endless(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=307, headers={"Location": "/" + "x" * 5000})

    async with client_of(await serve(bare), attempts=1) as client:
        with pytest.raises(UnreachableError, match=r"HTTP 304$"):
            await client.service("orders")
    async with client_of(await serve(endless), attempts=1) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.service("orders")
    assert caught.value.attempts[0].reason == f"HTTP 307, a redirect to '/{'x' * 149}'"


WEIRD = [
    ({"status": "weird"}, "status is 'weird'"),
    ({"status": 5}, "status is '5'"),
    ({"status": "SUCCESS"}, "status is 'SUCCESS'"),
    ({"status": "unknown"}, "status is 'unknown'"),
    ({"status": ""}, "status is ''"),
    ({"status": None}, "no responseStatus"),
    (None, "no responseStatus"),
]


@pytest.mark.parametrize(("status", "reason"), WEIRD)
async def test_a_status_that_is_none_of_the_three_is_a_failed_attempt(
    serve: Serve, status: object, reason: str
) -> None:
    """Whatever the operation, and however complete the rest of the answer (spec 1.2)."""
    async with client_of(await serve(answer(body=whole_answer(responseStatus=status)))) as client:
        for call in (
            client.service("orders"),
            client.api.services(),
            client.api.node_status(),
            client.api.register([instance()]),
            client.api.heartbeat([instance()]),
            client.api.unregister([instance()]),
        ):
            with pytest.raises(UnreachableError, match=reason):
                await call


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"services": None}, "does not show the service 'orders'"),
        ({"services": []}, "does not show the service 'orders'"),
        ({"services": [None, {}]}, "does not show the service 'orders'"),
        ({"services": [{"serviceId": "prices", "instances": []}]}, "does not show the service 'orders'"),
        ({"responseStatus": {"status": "partial_fail"}}, "a partial_fail"),
    ],
)
async def test_a_lookup_that_does_not_show_what_was_asked_for_is_a_failed_attempt(
    serve: Serve, content: dict[str, object], reason: str
) -> None:
    """It is not a service without instances; a node names that one too (spec 2.2)."""
    async with client_of(await serve(answer(body=whole_answer(**content)))) as client:
        with pytest.raises(UnreachableError, match=f"2 times .*{reason}"):
            await client.service("orders")
        with pytest.raises(UnreachableError):
            await anext(client.watch("orders"))
        with pytest.raises(UnreachableError):
            await client.balancer("orders").ready()
        assert client.state is not ConnectionState.CONNECTED


async def test_a_lookup_has_to_show_every_service_asked_for(serve: Serve) -> None:
    """The reason names the first that is missing and counts the others."""
    async with client_of(await serve(answer(body=whole_answer()))) as client:
        with pytest.raises(UnreachableError, match=r"does not show the service 'prices' \(and 1 more\)"):
            await client.api.lookup(["orders", "prices", "stock"])


async def test_a_lookup_returns_what_was_asked_for_in_that_order(serve: Serve) -> None:
    """What nobody asked for is left out; of two answers for one service the first counts."""
    services = [
        {"serviceId": "other", "instances": [wire_instance(serviceId="other")]},
        {"serviceId": "Prices", "instances": None},
        None,
        {"serviceId": "orders", "instances": [wire_instance()]},
        {"serviceId": "orders", "instances": []},
    ]
    async with client_of(await serve(answer(body=whole_answer(services=services)))) as client:
        found = await client.api.lookup(["orders", "prices", "ORDERS"])
    assert [(one.service_id, one.instances) for one in found] == [
        ("orders", [instance()]),
        ("Prices", None),
        ("orders", [instance()]),
    ]


async def test_the_list_of_services_has_to_be_there(serve: Serve) -> None:
    """An empty list is an answer, none is not."""
    async with client_of(await serve(answer(body=whole_answer(services=None)))) as client:
        with pytest.raises(UnreachableError, match="has no services"):
            await client.api.services()
    async with client_of(await serve(answer(body=whole_answer(services=[])))) as client:
        assert await client.api.services() == []


@pytest.mark.parametrize("node_status", [None, {}, {"status": " "}])
async def test_a_node_status_has_to_be_there(serve: Serve, node_status: object) -> None:
    """A success that says nothing is not passed on."""
    async with client_of(await serve(answer(body=whole_answer(nodeStatus=node_status)))) as client:
        with pytest.raises(UnreachableError, match=r"2 times .*has no nodeStatus"):
            await client.api.node_status()


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        (None, "does not say which instances failed"),
        ([], "does not say which instances failed"),
        ([None], "an instance that was not in the request"),
        ([{"errorCode": "no-permission"}], "an instance that was not in the request"),
        ([{"instance": {}, "errorCode": "no-permission"}], "an instance that was not in the request"),
    ],
)
async def test_a_partial_failure_that_names_nobody_is_a_failed_attempt(
    serve: Serve, failed: object, reason: str
) -> None:
    """It does not mean that the instance is registered."""
    body = whole_answer(responseStatus={"status": "partial_fail"}, failedInstances=failed)
    async with client_of(await serve(answer(body=body))) as client:
        with pytest.raises(UnreachableError, match=f"2 times .*{reason}"):
            async with client.registered(instance()):
                raise AssertionError
        for call in (client.api.heartbeat, client.api.unregister):
            with pytest.raises(UnreachableError, match=reason):
                await call([instance()])


async def test_an_instance_that_is_named_as_failed_is_refused(serve: Serve) -> None:
    """By its identity, in any letter case (spec 1.3)."""
    failed = [{"instance": wire_instance(instanceId="I1"), "errorCode": "no-permission", "errorMessage": "why"}]
    body = whole_answer(responseStatus={"status": "partial_fail"}, failedInstances=failed)
    async with client_of(await serve(answer(body=body))) as client:
        with pytest.raises(RegistrationRefusedError, match="no-permission: why"):
            async with client.registered(instance()):
                raise AssertionError


async def test_an_answer_to_another_question_never_replaces_a_view(serve: Serve) -> None:
    """The last good answer stands and gets older; the next good one is believed again."""
    bodies = [
        whole_answer(),
        whole_answer(responseStatus={"status": "weird"}, services=[{"serviceId": "orders", "instances": []}]),
        whole_answer(services=None),
        whole_answer(services=[{"serviceId": "prices", "instances": []}]),
        whole_answer(services=[{"serviceId": "orders", "instances": [wire_instance(instanceId="i2")]}]),
    ]

    async def next_one(request: web.Request) -> web.Response:
        await request.read()
        if not request.path.endswith("/lookup.json"):
            return web.Response(status=404)
        return web.Response(body=bodies.pop(0) if len(bodies) > 1 else bodies[0])

    async with client_of(await serve(next_one), attempts=1, poll_interval=0.05) as client:
        events = client.events()
        watch = client.watch("orders")
        async with asyncio.timeout(30):
            changes = [await anext(watch) for _ in range(3)]
    assert [(change.change_type, change.instance.instance_id) for change in changes] == [
        ("new", "i1"),
        ("delete", "i1"),
        ("new", "i2"),
    ]
    reasons = [event.error.attempts[0].reason async for event in events if isinstance(event, LookupFailed)]  # type: ignore[attr-defined]
    assert len(reasons) == 3


async def test_a_node_that_answers_another_question_is_left_for_one_that_works(serve: Serve) -> None:
    """Within the same call."""
    wrong, right = await serve(answer(body=whole_answer(services=[]))), await serve(answer(body=whole_answer()))
    seen: set[str] = set()
    while seen != {wrong, right}:
        async with client_of(wrong, right) as client:
            seen.add(client.server)
            assert (await client.service("orders")).instances == (instance(),)
            assert client.server == right


async def test_incomplete_instances_are_left_out_counted_and_logged_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can call them: without a name, a service of their own or an address."""
    broken = [
        None,
        {},
        wire_instance(instanceId=None),
        wire_instance(serviceId=" "),
        wire_instance(serviceId="prices"),
        wire_instance(url=""),
    ]
    services: list[object] = [{"serviceId": "orders", "instances": [*broken, wire_instance()]}, None, {"instances": []}]
    url = await serve(answer(body=whole_answer(services=services)))
    async with client_of(url, poll_interval=1000.0) as client:
        assert (await client.service("orders")).instances == (instance(),)
        assert client.api.dropped == 6
        assert [service.instances for service in await client.api.services()] == [[instance()]]
        assert [service.instances for service in await client.api.lookup(["orders"])] == [[instance()]]
        assert client.api.dropped == 20
    what = "instances without an id, url or service, as of 'orders'"
    told = f"{url} shows {what}; they are left out, and from here on only counted"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [told]


async def test_cookies_are_not_kept(serve: Serve) -> None:
    """What a proxy sets with one answer is not sent with the next request."""
    sent: list[str | None] = []

    async def handle(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Cookie"))
        return web.Response(body=refusal("bad-request"), headers={"Set-Cookie": "a=b"})

    async with ArtemisClient(servers=[await serve(handle)], region_id="local", zone_id="zone1") as client:
        for _ in range(2):
            with pytest.raises(RefusedError):
                await client.api.node_status()
    assert [None, None] == sent
