"""The seed's `/ws` over real sockets: subscribe, unsubscribe, ping, errors, and pushes that can be resumed."""

import json

import aiohttp
import pytest
from doors import instance
from ws import Dial, Socket

from artemis.model import RegistryRequest, decode
from artemis.server.app import NodeServer


def request(*numbers: int, **changes: object) -> RegistryRequest | None:
    """A request about instances."""
    asked = {"instances": [instance(number, **changes) for number in numbers]}
    return decode(RegistryRequest, json.dumps(asked).encode())


@pytest.fixture
async def socket(server: NodeServer, dial: Dial) -> Socket:
    """A session of `/ws`."""
    return await dial(server, "/ws")


def shown(changes: object) -> list[tuple[str, str]]:
    """The kinds and instance ids of changes."""
    assert isinstance(changes, list)
    return [(change["changeType"], change["instance"]["instanceId"]) for change in changes]


@pytest.mark.parametrize("name", ["service_id", "serviceId"])
async def test_a_subscription_is_acknowledged_and_told_of_changes(
    server: NodeServer, socket: Socket, name: str
) -> None:
    """Both spellings are understood and both are answered; other content is a `change` (artemis-rust 2)."""
    await socket.send({"type": "subscribe", name: "Demo.Orders"})
    acknowledged = await socket.json()
    assert acknowledged == {
        "type": "subscribed",
        "service_id": "Demo.Orders",
        "serviceId": "Demo.Orders",
        "cursor": server.node.cursor(),
    }
    server.node.register(request(7), 0)
    told = await socket.json()
    assert (told["type"], told["service_id"], told["serviceId"]) == ("service_change", "demo.orders", "demo.orders")
    assert told["cursor"] == server.node.cursor()
    assert told["fullSync"] is False
    assert shown(told["changes"]) == [("new", "10.0.0.7")]
    server.node.register(request(7, port=1), 1)
    assert shown((await socket.json())["changes"]) == [("change", "10.0.0.7")]
    server.node.unregister(request(7), 2)
    assert shown((await socket.json())["changes"]) == [("delete", "10.0.0.7")]


async def test_after_an_unsubscription_nothing_is_told(server: NodeServer, socket: Socket) -> None:
    """It is acknowledged, also when there was no subscription."""
    await socket.send({"type": "subscribe", "service_id": "demo.orders"})
    await socket.send({"type": "unsubscribe", "service_id": "demo.orders"})
    await socket.send({"type": "unsubscribe", "service_id": "other"})
    assert (await socket.json())["type"] == "subscribed"
    expected = {"type": "unsubscribed", "service_id": "demo.orders", "serviceId": "demo.orders"}
    assert await socket.json() == expected
    assert (await socket.json())["type"] == "unsubscribed"
    server.node.register(request(7), 0)
    await socket.send({"type": "ping"})
    assert await socket.json() == {"type": "pong"}


async def test_everything_can_be_subscribed_to_and_left(server: NodeServer, socket: Socket) -> None:
    """`*` stands for all services, and a service more adds nothing; a cursor of no use is told to reload everything."""
    await socket.send({"type": "subscribe", "service_id": "*"}, {"type": "subscribe", "service_id": "a"})
    assert (await socket.json())["service_id"] == "*"
    assert (await socket.json())["service_id"] == "a"
    server.node.register(request(1, serviceId="a"), 0)
    server.node.register(request(1, serviceId="b"), 0)
    told = await socket.json()
    assert (told["service_id"], told["cursor"]) == ("*", server.node.cursor())
    assert [change["instance"]["serviceId"] for change in told["changes"]] == ["a", "b"]
    await socket.send({"type": "subscribe", "service_id": "*", "cursor": "no cursor"})
    assert (await socket.json())["service_id"] == "*"
    told = await socket.json()
    assert shown(told["changes"]) == [("reload", "reload")]
    assert (told["service_id"], told["changes"][0]["instance"]["serviceId"]) == ("*", "*")
    assert (told["cursor"], told["fullSync"]) == (server.node.cursor(), False)
    await socket.send({"type": "unsubscribe", "service_id": "*"})
    await socket.json()
    assert server.node.stream.subscriptions == 0


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("", "not a message"),
        ("nonsense", "not a message"),
        ("[]", "not a message"),
        ("null", "not a message"),
        ("{}", "type is missing"),
        ('{"type":7}', "not a message"),
        ('{"type":"dance"}', "dance"),
        ('{"type":"subscribe"}', "service_id"),
        ('{"type":"subscribe","service_id":" "}', "service_id"),
        ('{"type":"subscribe","service_id":7}', "not a message"),
        ('{"type":"unsubscribe","serviceId":null}', "service_id"),
        ('{"type":"subscribe","service_id":"' + "x" * 2000 + '"}', "longer"),
        ("[" * 30_000, "not a message"),
    ],
)
async def test_what_is_not_understood_is_an_error_and_the_session_goes_on(
    server: NodeServer, socket: Socket, message: str, part: str
) -> None:
    """The text says what is wrong (artemis-rust 2)."""
    await socket.send(message, {"type": "ping"})
    error = await socket.json()
    assert set(error) == {"type", "message"}
    assert error["type"] == "error"
    assert part in error["message"]
    assert await socket.json() == {"type": "pong"}
    assert sum(server.counters["websocket"].values()) == 1


async def test_a_client_that_comes_back_with_its_cursor_gets_what_it_missed(server: NodeServer, dial: Dial) -> None:
    """Not less, and nothing that it knows already (design 4.1)."""
    server.node.register(request(1, 2), 0)
    first = await dial(server, "/ws")
    await first.send({"type": "subscribe", "service_id": "demo.orders"})
    cursor = (await first.json())["cursor"]
    server.node.register(request(3), 1)
    server.node.unregister(request(1), 2)
    server.node.register(request(9, serviceId="other"), 3)
    second = await dial(server, "/ws")
    await second.send({"type": "subscribe", "service_id": "demo.orders", "cursor": cursor})
    acknowledged = await second.json()
    assert acknowledged["cursor"] == cursor, "what was missed is still to come"
    told = await second.json()
    assert told["fullSync"] is False
    assert sorted(shown(told["changes"])) == [("delete", "10.0.0.1"), ("new", "10.0.0.3")]
    third = await dial(server, "/ws")
    await third.send({"type": "subscribe", "service_id": "demo.orders", "cursor": told["cursor"]}, {"type": "ping"})
    assert (await third.json())["cursor"] == server.node.cursor()
    assert await third.json() == {"type": "pong"}


@pytest.mark.parametrize("cursor", ["", "no cursor", "x" * 5000])
async def test_a_cursor_that_cannot_be_used_means_a_full_sync(server: NodeServer, socket: Socket, cursor: str) -> None:
    """The client is told explicitly that it gets everything, also when it comes back before it got that."""
    server.node.register(request(1, 2), 0)
    await socket.send({"type": "subscribe", "service_id": "demo.orders", "cursor": cursor})
    again = (await socket.json())["cursor"]
    assert (await socket.json())["fullSync"] is True
    await socket.send({"type": "subscribe", "service_id": "demo.orders", "cursor": again})
    await socket.json()
    told = await socket.json()
    assert told["fullSync"] is True
    assert shown(told["changes"]) == [("new", "10.0.0.1"), ("new", "10.0.0.2")]


async def test_a_foreign_client_subscribes_and_is_told(server: NodeServer) -> None:
    """aiohttp knows nothing of us."""
    url = f"{server.url.replace('http', 'ws')}/ws"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as foreign:
        await foreign.send_json({"type": "subscribe", "service_id": "demo.orders"})
        assert (await foreign.receive_json())["type"] == "subscribed"
        server.node.register(request(*range(200)), 0)
        told = await foreign.receive_json()
        assert len(told["changes"]) == 200
        await foreign.ping()
        await foreign.send_json({"type": "ping"})
        assert await foreign.receive_json() == {"type": "pong"}
        await foreign.send_bytes(b"binary")
        closed = await foreign.receive()
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1003)
