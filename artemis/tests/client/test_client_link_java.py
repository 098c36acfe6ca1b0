"""A link to a node as the Java product's are, of v1 and v2, and what a client makes of one."""

import asyncio
import contextlib
import json

import pytest
from aiohttp import WSMsgType, web
from awaited import first
from link_peers import HTTP_ALONE, JAVA_HTTP_ALONE, V1, V2, listening, shaped, until

from artemis import ArtemisClient, ClientOptions, Instance, LinkChanged, LinkKind
from artemis.client.links import opening
from artemis.client.links.java import JavaLink, open_java
from artemis.client.links.link import Change, LinkFailure, Push, Want

OPTIONS = ClientOptions(
    link_timeout=2.0,
    link_backoff=0.02,
    confirm_interval=0.2,
    heartbeat_interval=0.5,
    address_interval=0.0,  # a client that asks for addresses learns the node's own one, and goes past what hides it
)
IMPATIENT = ClientOptions(confirm_interval=0.1, attempt_timeout=0.2)


def client_of(*servers: str, options: ClientOptions = OPTIONS) -> ArtemisClient:
    """Make a client of the nodes."""
    return ArtemisClient(servers=servers, region_id="local", zone_id="zone1", options=options)


def instance(service_id: str) -> Instance:
    """Build an instance."""
    return Instance(service_id=service_id, instance_id="i1", ip="127.0.0.1", port=9000)


async def opened(url: str, pushes: asyncio.Queue[Push]) -> JavaLink:
    """Open a link."""
    return await open_java(url, OPTIONS, None, 300.0, pushes.put_nowait)


@pytest.mark.parametrize("paths", [V1, V2])
async def test_a_java_node_pushes_changes_without_cursors(
    node_url: str, client: ArtemisClient, service_id: str, paths: tuple[str, ...]
) -> None:
    """Over the endpoint of its generation, found by itself; ids are asked for in lower case too."""
    pushes: asyncio.Queue[Push] = asyncio.Queue()
    async with shaped(node_url, paths) as node:
        link = await opened(node.url, pushes)
        try:
            assert (False, False, 300.0) == (link.carries_calls, link.confirms, link.lifetime)
            subscribed = await link.subscribe([Want(service_id.upper(), "a cursor")])
            assert (None, {}) == (subscribed.cursor, subscribed.refused)
            assert not (await link.confirm()).current
            async with client.registered(instance(service_id)), asyncio.timeout(30):
                push = await pushes.get()
            assert (service_id, None, "new") == (push.service, push.cursor, push.changes[0].change_type)
            async with asyncio.timeout(30):
                assert "delete" == (await pushes.get()).changes[0].change_type
            await link.unsubscribe([service_id])
            with pytest.raises(LinkFailure) as caught:
                await link.call("status/node.json", b"{}", 1.0)
            assert not caught.value.sent
        finally:
            await link.close()


@pytest.mark.parametrize("paths", [V1, V2])
async def test_a_client_works_with_a_java_node(
    node_url: str, client: ArtemisClient, service_id: str, paths: tuple[str, ...]
) -> None:
    """Calls go over HTTP below the prefix of its generation, and changes are pushed: nothing is said of the kinds
    that it lacks but in the event of the one that it has."""
    async with shaped(node_url, paths) as node, client_of(node.url) as java:
        events = java.events()
        async with java.registered(instance(service_id)):
            assert ["i1"] == [one.instance_id for one in (await client.service(service_id)).instances]
            change = await first(events, LinkChanged)
            assert (LinkKind.POLL, LinkKind.JAVA_WEBSOCKET, node.url) == (change.old, change.new, change.node)
            assert (LinkKind.JAVA_WEBSOCKET, node.url, 1) == (java.link, java.status.node, java.status.leases)
            calls = [path for path in node.asked if "/registry/" in path]
            assert f"{'/artemis' if paths is V2 else ''}/api/registry/register.json" == calls[-1]


@pytest.mark.parametrize(("paths", "kind"), [(HTTP_ALONE, LinkKind.LONG_POLL), (JAVA_HTTP_ALONE, LinkKind.POLL)])
async def test_less_than_a_websocket_is_enough(
    node_url: str, service_id: str, paths: tuple[str, ...], kind: LinkKind
) -> None:
    """Down to nothing that stays open."""
    options = ClientOptions(link_backoff=0.02, heartbeat_interval=0.2, address_interval=0.0)
    async with shaped(node_url, paths) as node, client_of(node.url, options=options) as one:
        events = one.events()
        async with one.registered(instance(service_id)):
            if kind is LinkKind.LONG_POLL:
                assert kind is (await first(events, LinkChanged)).new
            else:
                await until(lambda: one.status.reason == "the best that the node offers")
            assert (kind, "connected") == (one.link, one.state.value)


async def test_a_session_that_the_node_ends_in_order_is_made_again_there(node_url: str, service_id: str) -> None:
    """As after its six minutes (spec 3.5): the node has not failed, and no other is asked."""
    async with shaped(node_url, V1) as node, client_of(node.url, node_url) as one:
        while one.server != node.url:
            one._contact.move(node.url, "for the test")
        events = one.events()
        async with one.registered(instance(service_id)):
            await first(events, LinkChanged, lambda event: event.new is LinkKind.JAVA_WEBSOCKET)
            (websocket,) = node.websockets
            await websocket.close(code=1000)
            lost = await first(events, LinkChanged)
            again = await first(events, LinkChanged)
        assert (LinkKind.POLL, "the node ended the session (close code 1000)") == (lost.new, lost.reason)
        assert (LinkKind.JAVA_WEBSOCKET, node.url) == (again.new, again.node)


async def test_a_link_is_made_anew_before_the_node_ends_it(
    node_url: str, client: ArtemisClient, service_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one takes the place of the old one without a moment of polling, and changes are pushed on it."""
    monkeypatch.setattr(opening, "LIFETIME", 0.3)
    async with shaped(node_url, V1) as node:
        async with client_of(node.url) as java:
            events = java.events()
            watch = java.watch(service_id)
            await java.service(service_id)
            await until(lambda: java.link is LinkKind.JAVA_WEBSOCKET)
            monkeypatch.setattr(opening, "LIFETIME", 300.0)
            (old,) = node.websockets
            await until(lambda: old not in node.websockets)
            (new,) = node.websockets
            async with asyncio.timeout(30):
                async with client.registered(instance(service_id)):
                    # Pushed, or looked up behind the subscription, if that came after it.
                    assert "new" == (await anext(watch)).change_type
                    pushes = java._live.pushes[LinkKind.JAVA_WEBSOCKET]
                await until(lambda: java._live.pushes[LinkKind.JAVA_WEBSOCKET] > pushes)
            assert {new} == node.websockets
        changes = [event async for event in events if isinstance(event, LinkChanged)]
        assert [LinkKind.JAVA_WEBSOCKET] == [change.new for change in changes]


@pytest.mark.parametrize(
    ("say", "offered", "reason"),
    [
        ("text", False, "cannot be read"),
        ("bytes", False, "a binary message"),
        ("reload", True, "broke"),
        ("leave", None, "close code 1001"),
    ],
)
async def test_what_a_peer_says_there_is_judged(say: str, *, offered: bool | None, reason: str) -> None:
    """A push asks for a lookup or is none; an orderly end is told from one that is not."""
    pushes: asyncio.Queue[Push] = asyncio.Queue()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert WSMsgType.TEXT is (await websocket.receive()).type
        if say == "text":
            await websocket.send_str("nonsense")
        elif say == "bytes":
            await websocket.send_bytes(b"\x00")
        elif say == "reload":
            change = {"changeType": "reload", "instance": {"serviceId": "orders"}}
            await websocket.send_str(json.dumps(change))
            await websocket.receive()
            assert request.transport is not None
            request.transport.abort()
        else:
            await websocket.close(code=1001)
        return websocket

    app = web.Application()
    app.router.add_get("/ws/discovery/instance-change", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    link = await opened(f"http://127.0.0.1:{runner.addresses[0][1]}", pushes)
    try:
        async with asyncio.timeout(30):
            with contextlib.suppress(LinkFailure):
                await link.subscribe([Want("orders")])
            if say == "reload":
                push = await pushes.get()
                assert [("reload", "orders")] == [(one.change_type, one.instance.service_id) for one in push.changes]
                assert isinstance(push.changes[0], Change)
                with pytest.raises(LinkFailure):
                    await link.subscribe([Want("prices")])
            ended = await link.ended()
        assert (offered, True) == (ended.offered, reason in str(ended))
        with pytest.raises(LinkFailure):
            await link.confirm()
    finally:
        await link.close()
        await runner.cleanup()


async def test_a_redirect_and_a_peer_that_says_nothing_are_no_java_node() -> None:
    """A subscription is for the configured node."""

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(elsewhere) as address:
        with pytest.raises(LinkFailure, match="a redirect to 'http://127") as caught:
            await opened(f"http://{address}", asyncio.Queue())
        assert caught.value.offered is False
    options = ClientOptions(link_timeout=0.1)
    async with listening(silent) as address:
        with pytest.raises(LinkFailure, match="no answer") as caught:
            await open_java(f"http://{address}", options, None, 300.0, lambda _: None)
        assert caught.value.offered is None
    with pytest.raises(LinkFailure, match="refused") as caught:
        await opened(f"http://{address}", asyncio.Queue())
    assert caught.value.offered is True


async def test_a_link_whose_node_does_not_pong_ends() -> None:
    """The client pings by itself, as nothing else is answered there."""
    frozen = asyncio.Event()

    async def serve(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(autoping=False)
        await websocket.prepare(request)
        frozen.set()
        while (await websocket.receive()).type is WSMsgType.PING:
            pass
        return websocket

    app = web.Application()
    app.router.add_get("/ws/discovery/instance-change", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    link = await open_java(url, IMPATIENT, None, 300.0, lambda _: None)
    try:
        async with asyncio.timeout(30):
            await frozen.wait()
            ended = await link.ended()
        assert (True, "no answer to a ping within 0.2 s") == (ended.offered, str(ended))
    finally:
        await link.close()
        await runner.cleanup()
