"""`discovery.confirm` over MsgTrans and `/ws`, and `query.told` over every door that has followers (docs/push.md)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from doors import Wire, get, instance, post
from ws import ALL_CHANGES, CHANGES, Dial, Socket

from artemis.model import RegistryRequest, decode
from artemis.server.app import NodeServer
from msgtrans import Context, TransportClient

SUBSCRIBE, PUSH, CONFIRM, TOLD = 24, 26, 27, 83
Json = dict[str, object]


class Listener:
    """A MsgTrans session, and everything that came over it in order: pushes, then what answers were noted."""

    def __init__(self, client: TransportClient) -> None:
        self.client = client
        self.heard: list[str] = []
        client.on_message(self._push)

    def _push(self, context: Context) -> None:
        assert PUSH == context.biz_type
        self.heard += [change["instance"]["instanceId"] for change in json.loads(context.payload)["changes"]]

    async def call(self, operation: int, content: object) -> Json:
        """Call an operation in JSON."""
        answer = await self.client.request(json.dumps(content).encode(), biz_type=operation)
        decoded: Json = json.loads(answer.payload)
        return decoded


@pytest.fixture
async def listener(server: NodeServer) -> AsyncIterator[Listener]:
    """A session to `server`."""
    host, port = server.address
    client = TransportClient(f"tcp://{host}:{port}")
    listener = Listener(client)
    async with client:
        yield listener


def register(server: NodeServer, *numbers: int, **changes: object) -> None:
    """Register instances, without a turn of the loop."""
    request = {"instances": [instance(number, **changes) for number in numbers]}
    server.node.register(decode(RegistryRequest, json.dumps(request).encode()), 0)


def reply(cursor: str | None, *, current: bool = True) -> Json:
    """The successful answer of confirm."""
    status = {"errorCode": "success", "message": "", "status": "success"}
    return {"ageMs": 0, "current": current, "cursor": cursor, "missingNodes": 0, "responseStatus": status}


async def test_what_was_pushed_before_a_confirmation_is_everything(server: NodeServer, listener: Listener) -> None:
    """Whatever happened until the node got the question is there when the answer is, and the cursor is the node's."""
    assert reply(server.node.cursor()) == await listener.call(CONFIRM, {})
    await listener.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]})
    register(server, 1)
    register(server, 2)
    register(server, 3, serviceId="other")
    assert reply(server.node.cursor()) == await listener.call(CONFIRM, {})
    assert ["10.0.0.1", "10.0.0.2"] == listener.heard
    register(server, 4)
    assert reply(server.node.cursor()) == await listener.call(CONFIRM, None)
    assert ["10.0.0.1", "10.0.0.2", "10.0.0.4"] == listener.heard


async def test_a_confirmation_in_messagepack(server: NodeServer, listener: Listener) -> None:
    """It is answered in the format of the question."""
    answer = await listener.client.request(b"\x80", biz_type=CONFIRM, ext_header=b"format=msgpack")
    assert b"format=msgpack" == answer.ext_header
    assert reply(server.node.cursor()) == msgspec.msgpack.decode(answer.payload)


async def test_a_confirmation_counts_in_the_metrics_and_bad_ones_are_refused(listener: Listener, wire: Wire) -> None:
    """As every other operation."""
    await listener.call(CONFIRM, {})
    for payload in (b"", b"{", b"[]"):
        answer = await listener.client.request(payload, biz_type=CONFIRM)
        assert "bad-request" == json.loads(answer.payload)["responseStatus"]["errorCode"]
    await wire.send(get("/metrics"))
    _, _, body = await wire.answer()
    assert b'operation="discovery.confirm"} 4' in body


async def test_a_node_that_does_not_serve_confirms_nothing(server: NodeServer, listener: Listener) -> None:
    """The answer says so, and has no cursor."""
    server.node.drain(0)
    answer = await listener.call(CONFIRM, {})
    assert (False, None) == (answer["current"], answer["cursor"])
    assert "service-unavailable" == answer["responseStatus"]["errorCode"]  # type: ignore[index]


async def test_a_session_that_does_not_read_is_not_current_and_others_see_that_it_waits(
    server: NodeServer, listener: Listener, wire: Wire
) -> None:
    """More is on its way than it takes; once it reads again it is confirmed, and everything came before that."""
    await listener.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]})
    (session,) = server.doors.msgtrans.sessions.values()
    session.pause_writing()
    for number in range(100):
        register(server, 1, metadata={"n": str(number), "much": "x" * 8_000})
        await told(wire)
    assert (1, 1, False) == summary(await told(wire))
    question = asyncio.ensure_future(listener.call(CONFIRM, {}))
    while session.packets_received < 2:
        await told(wire)
    session.resume_writing()
    answer = await question
    assert (False, None) == (answer["current"], answer["cursor"])
    while not (await told(wire))["told"]:
        continue
    assert reply(server.node.cursor()) == await listener.call(CONFIRM, {})


async def told(wire: Wire, service: str = "demo.orders") -> Json:
    """Ask over HTTP."""
    await wire.send(get(f"/api/v1/told?serviceId={service}"))
    status, _, body = await wire.answer()
    assert 200 == status, body
    decoded: Json = json.loads(body)
    return decoded


def summary(answer: Json) -> tuple[object, object, object]:
    """Subscribers, waiting, told."""
    return answer["subscribers"], answer["waiting"], answer["told"]


async def test_followers_of_every_door_are_counted(
    server: NodeServer, listener: Listener, wire: Wire, dial: Dial, connect: Callable[[NodeServer], Awaitable[Wire]]
) -> None:
    """MsgTrans, the seed's and both Java endpoints and a long poll; told again once all were written to."""
    assert (0, 0, True) == summary(await told(wire))
    await listener.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]})
    native, changes, everything = [await dial(server, path) for path in ("/ws", CHANGES, ALL_CHANGES)]
    await native.send({"type": "subscribe", "serviceId": "demo.orders"})
    assert "subscribed" == (await native.json())["type"]
    await changes.send({"serviceId": "Demo.Orders"})
    poll = await connect(server)
    await poll.send(get(f"/api/v1/services/demo.orders?wait=30s&cursor={server.node.cursor()}"))
    while (await told(wire))["subscribers"] != 5:
        continue
    register(server, 1)
    assert (5, 5) == server.node.stream.reached("demo.orders")
    while not (await told(wire))["told"]:
        continue
    status, _, _ = await poll.answer()
    assert 200 == status
    for socket in (native, changes, everything):
        assert b"10.0.0.1" in await socket.text()
    assert (4, 0, True) == summary(await told(wire))
    assert {} == server.node.stream.answering


async def test_told_over_msgtrans_and_post(server: NodeServer, listener: Listener, wire: Wire) -> None:
    """The same answer in every way of asking; without a service it is refused."""
    expected = await told(wire)
    assert expected == await listener.call(TOLD, {"serviceId": "DEMO.orders"})
    await wire.send(post_json("/artemis/api/v1/told", {"serviceId": "demo.orders"}))
    _, _, body = await wire.answer()
    assert expected == json.loads(body)
    answer = await listener.call(TOLD, {})
    assert "bad-request" == answer["responseStatus"]["errorCode"]  # type: ignore[index]
    for request in (get("/api/v1/told"), get("/api/v1/told?serviceId=%20"), post_json("/api/v1/told", {})):
        await wire.send(request)
        status, _, body = await wire.answer()
        assert (400, True) == (status, b"serviceId" in body)


def post_json(path: str, content: object) -> bytes:
    """A POST with JSON."""
    return post(path, json.dumps(content).encode())


# -- /ws


@pytest.fixture
async def socket(server: NodeServer, dial: Dial) -> Socket:
    """A session of `/ws`."""
    return await dial(server, "/ws")


def confirmed(server: NodeServer, *, current: bool = True) -> Json:
    """The answer to `confirm`."""
    return {"type": "confirmed", "cursor": server.node.cursor(), "current": current, "ageMs": 0}


async def test_a_native_session_is_pushed_everything_before_it_is_confirmed(server: NodeServer, socket: Socket) -> None:
    """In one read with what comes before and behind it, in order."""
    await socket.send({"type": "confirm"})
    assert confirmed(server) == await socket.json()
    start = server.node.cursor()
    register(server, 1)
    register(server, 1, serviceId="other")
    await socket.send(
        {"type": "subscribe", "service_id": "demo.orders", "cursor": start},
        {"type": "subscribe", "service_id": "other", "cursor": start},
        {"type": "confirm"},
        {"type": "ping"},
        {"type": "confirm"},
    )
    heard = [await socket.json() for _ in range(7)]
    kinds = ["subscribed", "subscribed", "service_change", "service_change", "confirmed", "pong", "confirmed"]
    assert kinds == [message["type"] for message in heard]
    assert confirmed(server) == heard[4] == heard[6]


async def test_a_native_session_of_a_node_that_does_not_serve_is_not_current(
    server: NodeServer, socket: Socket
) -> None:
    """It is told so, and stays open."""
    server.node.drain(0)
    await socket.send({"type": "confirm"})
    assert confirmed(server, current=False) == await socket.json()


async def test_a_native_peer_that_does_not_read_waits(server: NodeServer, socket: Socket, wire: Wire) -> None:
    """Its confirmation comes behind everything that it had not taken, when it reads again."""
    await socket.send({"type": "subscribe", "service_id": "demo.orders"})
    await socket.json()
    socket.stop_reading()
    for number in range(200):
        register(server, number % 10, metadata={"much": f"{number:06}" + "x" * 60_000})
        await asyncio.sleep(0)
        if (await told(wire))["waiting"]:
            break
    else:
        pytest.fail("it takes everything")
    await socket.send({"type": "confirm"})
    assert (1, 1, False) == summary(await told(wire))
    socket.read_on()
    message: Json = {"type": ""}
    last = ""
    while message["type"] != "confirmed":
        message = await socket.json()
        last = str(message["cursor"])
    assert (confirmed(server), server.node.cursor()) == (message, last)
    assert (1, 0, True) == summary(await told(wire))
