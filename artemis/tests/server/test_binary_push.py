"""Subscriptions and pushes over MsgTrans, by a real client (docs/protocol.md)."""

import asyncio
import contextlib
import json

import msgspec
import pytest
from doors import instance

from artemis.push import PushLimits
from msgtrans import Session, TransportClient

REGISTER, UNREGISTER, LOOKUP, SERVICE, SERVICES, DELTA, STATUS = 1, 3, 16, 17, 18, 19, 32
SUBSCRIBE, UNSUBSCRIBE, PUSH = 24, 25, 26


class Watcher:
    """A client that subscribes and keeps what is pushed."""

    def __init__(self, client: TransportClient) -> None:
        self.client = client
        self.pushes: asyncio.Queue[tuple[int, dict[str, object]]] = asyncio.Queue()
        client.on_message(lambda context: self.pushes.put_nowait((context.biz_type, json.loads(context.payload))))

    async def call(self, operation: int, content: object) -> dict[str, object]:
        """Call an operation."""
        answer = await self.client.request(json.dumps(content).encode(), biz_type=operation)
        decoded: dict[str, object] = json.loads(answer.payload)
        return decoded

    async def push(self) -> dict[str, object]:
        """The next push."""
        biz_type, message = await asyncio.wait_for(self.pushes.get(), 30)
        assert (PUSH, "service_change") == (biz_type, message["type"])
        return message


def told(message: dict[str, object]) -> tuple[str, list[tuple[str, str]]]:
    """Of which service, and which changes of which instances."""
    changes = [(change["changeType"], change["instance"]["instanceId"]) for change in message["changes"]]
    return message["serviceId"], changes


@pytest.fixture
async def watch():
    """`watcher = await watch(server)`."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(server) -> Watcher:
            host, port = server.address
            client = TransportClient(f"tcp://{host}:{port}")
            watcher = Watcher(client)
            await stack.enter_async_context(client)
            return watcher

        yield connect


@pytest.fixture
async def watcher(server, watch) -> Watcher:
    """A watcher of `server`."""
    return await watch(server)


async def register(caller: Watcher, *numbers: int, **changes: object) -> None:
    """Register instances."""
    instances = [instance(number, **changes) for number in numbers]
    assert "success" == (await caller.call(REGISTER, {"instances": instances}))["responseStatus"]["status"]


async def test_a_subscriber_is_pushed_what_changes(server, watcher, watch):
    """Registrations, other content and removals in what it subscribed to are pushed; others and repeats are not."""
    answer = await watcher.call(SUBSCRIBE, {"serviceIds": ["DEMO.Orders"]})
    assert ("success", server.node.cursor()) == (answer["responseStatus"]["status"], answer["cursor"])
    other = await watch(server)
    await register(other, 7)
    message = await watcher.push()
    assert ("demo.orders", [("new", "10.0.0.7")]) == told(message)
    assert (False, "demo.orders", server.node.cursor()) == (
        message["fullSync"],
        message["service_id"],
        message["cursor"],
    )
    await register(other, 7)
    await register(other, 8, serviceId="other")
    await register(other, 7, status="down")
    assert ("demo.orders", [("change", "10.0.0.7")]) == told(await watcher.push())
    await other.call(UNREGISTER, {"instances": [instance(7)]})
    assert ("demo.orders", [("delete", "10.0.0.7")]) == told(await watcher.push())
    await watcher.call(UNSUBSCRIBE, {"serviceIds": ["demo.orders"]})
    await register(other, 9)
    await watcher.call(STATUS, {})
    assert watcher.pushes.empty()


async def test_a_subscriber_resumes_with_its_cursor(server, watcher, watch):
    """After a disconnect the cursor of the last answer brings what was missed; a foreign one a full sync."""
    await register(watcher, 1, 2)
    config = {"discoveryConfig": {"serviceId": "demo.orders"}, "regionId": "r1"}
    found = await watcher.client.request(json.dumps(config).encode(), biz_type=SERVICE)
    header = dict(pair.split("=") for pair in found.ext_header.decode().split(";"))
    assert {"cursor": server.node.cursor(), "age": "0"} == header
    await watcher.client.close()
    later = await watch(server)
    await register(later, 3)
    await later.call(UNREGISTER, {"instances": [instance(1)]})
    answer = await later.call(SUBSCRIBE, {"serviceIds": ["demo.orders"], "cursor": header["cursor"]})
    assert header["cursor"] == answer["cursor"]
    message = await later.push()
    assert (False, ("demo.orders", [("new", "10.0.0.3"), ("delete", "10.0.0.1")])) == (
        message["fullSync"],
        told(message),
    )
    foreign = "lAGkbWVzaKJyMZGTom45AQE"
    await later.call(SUBSCRIBE, {"serviceIds": ["demo.orders"], "cursor": foreign})
    message = await later.push()
    assert (True, ("demo.orders", [("new", "10.0.0.2"), ("new", "10.0.0.3")])) == (message["fullSync"], told(message))
    await later.call(SUBSCRIBE, {"serviceIds": ["demo.orders"], "cursor": message["cursor"]})
    await later.call(STATUS, {})
    assert later.pushes.empty()


async def test_everything_can_be_subscribed_to(server, watcher, watch):
    """With `all` the changes of every service are pushed, also those since a cursor, and none of them twice.

    One that is of no use means a reload of everything.
    """
    before = server.node.cursor()
    await register(watcher, 1, serviceId="a")
    await watcher.call(SUBSCRIBE, {"all": True, "cursor": before})
    assert ("*", [("new", "10.0.0.1")]) == told(await watcher.push())
    await watcher.call(SUBSCRIBE, {"serviceIds": ["b"]})
    await register(await watch(server), 2, serviceId="b")
    assert ("*", [("new", "10.0.0.2")]) == told(await watcher.push())
    for cursor in ("lAGkbWVzaKJyMZGTom45AQE", "no cursor"):
        answer = await watcher.call(SUBSCRIBE, {"all": True, "cursor": cursor})
        assert "success" == answer["responseStatus"]["status"]
        message = await watcher.push()
        assert (("*", [("reload", "reload")]), server.node.cursor()) == (told(message), message["cursor"])
    await watcher.call(UNSUBSCRIBE, {"all": True})
    assert 0 == server.node.stream.subscriptions


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "serviceIds is empty"),
        (None, "Request is null"),
        ({"serviceIds": [" "]}, "serviceId is missing"),
        ({"serviceIds": ["x" * 1_025]}, "longer than 1024"),
        ({"serviceIds": ["a", "b", "c", "d"]}, "'d': one session may subscribe to 3 services"),
        ({"serviceIds": ["a"] * 1_001}, "may name 1000 services"),
        ({"serviceIds": ["x" * 70_000]}, "65536 bytes at most"),
        ({"serviceIds": 7}, "serviceIds"),
    ],
)
@pytest.mark.parametrize("name", ["json", "msgpack"])
async def test_refused_subscriptions(server, watcher, content, says, name):
    """What cannot be subscribed to is answered with bad-request and a reason, in either format."""
    server.node.stream.limits = PushLimits(subscriptions=3)
    encode, decode = (json.dumps, json.loads) if name == "json" else (msgspec.msgpack.encode, msgspec.msgpack.decode)
    payload = encode(content)
    answer = await watcher.client.request(
        payload.encode() if isinstance(payload, str) else payload,
        biz_type=SUBSCRIBE,
        ext_header=f"format={name}".encode(),
    )
    status = decode(answer.payload)["responseStatus"]
    assert ("fail", "bad-request") == (status["status"], status["errorCode"])
    assert says in status["message"]


@pytest.mark.parametrize("cursor", ["", "no cursor", "x" * 5000])
async def test_a_cursor_that_cannot_be_read_means_a_full_sync(watcher, cursor):
    """As on the other doors, and the answer's cursor brings it again to whoever is cut off before."""
    await register(watcher, 1)
    for _ in range(2):
        answer = await watcher.call(SUBSCRIBE, {"serviceIds": ["demo.orders"], "cursor": cursor})
        cursor = answer["cursor"]
        message = await watcher.push()
        assert (True, ("demo.orders", [("new", "10.0.0.1")])) == (message["fullSync"], told(message))


async def test_a_session_with_unsent_pushes_resumes_with_a_full_sync(server, watcher, watch):
    """Whoever is cut off before he was sent what there is for him does not miss it."""
    await watcher.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]})
    session = session_of(server, watcher)
    session.pause_writing()
    other = await watch(server)
    for number in range(100):
        await register(other, 1, metadata={"n": str(number), "x": "x" * 8_000})
    asking = asyncio.create_task(watcher.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]}))
    subscriptions = server.doors.binary.subscriptions
    answered = asyncio.Event()
    answer = subscriptions.answer
    given = []
    subscriptions.answer = lambda *args, **more: (given.append(answer(*args, **more)), answered.set(), given[0])[2]
    await asyncio.wait_for(answered.wait(), 30)
    asking.cancel()
    await other.call(SUBSCRIBE, {"serviceIds": ["demo.orders"], "cursor": given[0].cursor})
    assert (await other.push())["fullSync"]


async def test_a_draining_node_takes_no_subscriptions(server, watcher):
    """A node that does not serve says so."""
    server.node.drain(0)
    answer = await watcher.call(SUBSCRIBE, {"serviceIds": ["a"]})
    assert "service-unavailable" == answer["responseStatus"]["errorCode"]


async def test_subscriptions_end_with_their_session(server, watcher, watch):
    """A client that is gone leaves nothing behind."""
    await watcher.call(SUBSCRIBE, {"serviceIds": ["a", "b"]})
    gone = asyncio.Event()
    detach = server.node.stream.detach
    server.node.stream.detach = lambda subscriber: (detach(subscriber), gone.set())
    await watcher.client.close()
    await asyncio.wait_for(gone.wait(), 30)
    stream = server.node.stream
    assert (0, 0, 0) == (stream.subscribers, stream.subscriptions, stream.services)


async def test_a_peer_that_does_not_read_costs_nothing(server, watcher, watch):
    """What happens while a subscriber cannot be written to is coalesced, bounded, and does not delay others."""
    slow = await watch(server)
    for each in (slow, watcher):
        await each.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]})
    session = session_of(server, slow)
    session.pause_writing()
    for number in range(200):
        await register(watcher, 1, metadata={"n": str(number), "x": "x" * 8_000})
        assert str(number) == content_of(await watcher.push())
    assert session.stats().outbound_bytes < 500_000
    session.resume_writing()
    numbers = [content_of(await slow.push())]
    while numbers[-1] != "199":
        numbers.append(content_of(await slow.push()))
    assert sorted(numbers, key=int) == numbers
    assert len(numbers) < 100


def content_of(message: dict[str, object]) -> str:
    """The number in the metadata of the last instance of a push."""
    number: str = message["changes"][-1]["instance"]["metadata"]["n"]
    return number


def session_of(server, watcher: Watcher) -> Session:
    """The server's session of a client."""
    ours = watcher.client.session.local_address
    return next(session for session in server.doors.msgtrans.sessions.values() if session.peer_address == ours)
