"""The WebSocket endpoints (spec 3), as far as the table and the checklist do not say it."""

import asyncio
import json

import pytest
from cases import REGISTER, UNREGISTER, hold, instance, instances
from listening import listen
from ways import http

from artemis.testing.java import Deadlines, JavaSettings, WebSocketFailedError, open_websocket

HEARTBEATS, CHANGES, ALL = "/registry/heartbeat", "/discovery/instance-change", "/discovery/all-instance-change"
SUBSCRIBE = {"discoveryData": None, "regionId": None, "serviceId": "demo.orders", "zoneId": None}


async def test_replies_keep_the_order_of_messages(server):
    """Many messages at once, one reply each, no correlation id needed."""
    hold(server, instance(0))
    async with listen(server, HEARTBEATS) as wire:
        for number in range(20):
            wire.send(instances(instance(number)))
        answers = [json.loads(await wire.message()) for _ in range(20)]
    failed = [a["failedInstances"][0]["instance"]["instanceId"] if a["failedInstances"] else None for a in answers]
    assert [None, *(f"10.0.0.{number}" for number in range(1, 20))] == failed


async def test_a_literal_null_is_a_bad_request(server):
    """And the connection goes on."""
    async with listen(server, HEARTBEATS) as wire:
        wire.send(b"null")
        assert "bad-request" == json.loads(await wire.message())["responseStatus"]["errorCode"]
        wire.send(instances(instance()))
        assert "partial_fail" == json.loads(await wire.message())["responseStatus"]["errorCode"]


async def test_what_follows_a_message_is_ignored(server):
    """Trailing garbage after the JSON value (spec 1.1)."""
    hold(server, instance())
    async with listen(server, HEARTBEATS) as wire:
        wire.send(json.dumps(instances(instance())).encode() + b" and more")
        assert "success" == json.loads(await wire.message())["responseStatus"]["status"]


async def test_an_unreadable_heartbeat_is_no_success(server):
    """The originals answer success (defect 10); here it is bad-request, one reply, and the connection goes on."""
    async with listen(server, HEARTBEATS) as wire:
        for message in (b"{", b"[]", b'"x"', b"\xf0\x9f\x98\x80"):
            wire.send(message)
            assert "bad-request" == json.loads(await wire.message())["responseStatus"]["errorCode"]


async def test_subscriptions_answer_nothing_and_bad_ones_are_dropped(server):
    """No acknowledgement, no error; a good subscription among bad messages counts (spec 3.3)."""
    connection = await http(server)
    async with listen(server, CHANGES) as wire:
        for message in (b"{", b"null", b"[]", b'{"serviceId":null}', b'{"serviceId":" "}'):
            wire.send(message)
        wire.send(SUBSCRIBE)
        wire.send(SUBSCRIBE)
        await wire.ping()
        assert wire.messages.empty()
        await connection.call(REGISTER, instances(instance(), instance(serviceId="other")))
        assert "new" == json.loads(await wire.message())["changeType"]
        await connection.call(UNREGISTER, instances(instance()))
        assert "delete" == json.loads(await wire.message())["changeType"]
        await wire.ping()
        assert wire.messages.empty()
    await connection.close()


async def test_all_changes_need_no_subscription(server):
    """Every change goes to every session of that endpoint; what it says is ignored (spec 3.4)."""
    connection = await http(server)
    async with listen(server, ALL) as one, listen(server, ALL, 2) as two:
        one.send(b"anything")
        await one.ping()
        await two.ping()
        await connection.call(REGISTER, instances(instance(serviceId="A"), instance(serviceId="B")))
        for wire in (one, two):
            seen = [json.loads(await wire.message())["instance"]["serviceId"] for _ in range(2)]
            assert ["a", "b"] == seen
    await connection.close()


@pytest.mark.parametrize("api", ["/api", "/artemis/api"])
async def test_open_sessions_are_counted_as_texts(server, api):
    """By endpoint, as strings, without responseStatus; the all-changes endpoint is not counted (spec 2.4)."""
    names = {"/api": "status/message/connections.json", "/artemis/api": "status/websocket/connection.json"}
    connection = await http(server, api=api)
    async with listen(server, HEARTBEATS), listen(server, CHANGES), listen(server, CHANGES, 2), listen(server, ALL):
        answer = await connection.get(f"{api}/{names[api]}")
    await connection.close()
    assert (200, {"registry": "1", "discovery": "2"}) == (answer.status, answer.json())


@pytest.mark.parametrize("path", [HEARTBEATS, CHANGES, ALL])
async def test_binary_messages_end_a_session(server, path):
    """With 1003 (spec 3.5)."""
    async with listen(server, path) as wire:
        wire.websocket.send_frame(2, b"\x00\xff")
        await asyncio.wait_for(wire.lost.wait(), 30)
        assert 1003 == wire.websocket.close_code


@pytest.mark.parametrize(("path", "option"), [
    (HEARTBEATS, "ws_blacklist_heartbeat"),
    (CHANGES, "ws_blacklist_discovery"),
    (ALL, "ws_blacklist_discoveries"),
])  # fmt: skip
async def test_listed_addresses_may_not_connect(serve, path, option):
    """To that endpoint alone; 403, where the original's 200 would leave the reason open (spec 3.1)."""
    settings = JavaSettings(handshake_timeout=20)
    async with serve(**{option: ["127.0.0.1"]}) as server:
        base = "ws" + server.url.removeprefix("http") + "/ws"
        with pytest.raises(WebSocketFailedError, match="403"):
            await open_websocket(base + path, settings, Deadlines(), lambda _: None)
        for other in {HEARTBEATS, CHANGES, ALL} - {path}:
            async with listen(server, other) as wire:
                await wire.ping()


@pytest.mark.one_process("each worker has its part of a limit, and the WebSocket may be at either")
async def test_heartbeats_share_the_limit_of_rest(serve):
    """One identity for both, and refusals are replies (spec 3.2, 11)."""
    async with serve(rate_limit_map={"registry.heartbeat": 1000}) as server:
        connection = await http(server)
        hold(server, instance())
        for _ in range(999):
            await connection.call("registry/heartbeat.json", instances(instance()))
        async with listen(server, HEARTBEATS) as wire:
            for _ in range(2):
                wire.send(instances(instance()))
            codes = [json.loads(await wire.message())["responseStatus"]["errorCode"] for _ in range(2)]
        await connection.close()
    assert ["success", "rate-limited"] == codes
