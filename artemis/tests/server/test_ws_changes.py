"""The Java endpoints for changes over real sockets: subscriptions, single InstanceChange objects, slow consumers."""

import json

import pytest
from doors import instance
from ws import ALL_CHANGES, CHANGES, CLOSE, PING, PONG, TEXT, Dial, Socket, Start, frame, until

from artemis.model import RegistryRequest, decode
from artemis.push import PushLimits
from artemis.server.app import NodeServer
from artemis.server.clock import now_ms
from artemis.server.websocket.limits import WebSocketLimits
from artemis.server.websocket.sessions import Endpoint


def request(*numbers: int, **changes: object) -> RegistryRequest | None:
    """A request about instances."""
    asked = {"instances": [instance(number, **changes) for number in numbers]}
    return decode(RegistryRequest, json.dumps(asked).encode())


async def subscribe(socket: Socket, *service_ids: str) -> None:
    """Subscribe, and wait until that has happened: nothing is acknowledged, but messages and pings keep their order."""
    configs = [{"discoveryData": None, "regionId": None, "serviceId": name, "zoneId": None} for name in service_ids]
    await socket.send(*configs)
    await settle(socket)


async def settle(socket: Socket) -> None:
    """Wait until everything sent so far was read; it must be small."""
    await socket.raw(frame(PING, b"settled"))
    assert await socket.frame() == (PONG, b"settled")


async def test_a_subscriber_is_told_of_every_change_of_its_service(server: NodeServer, dial: Dial) -> None:
    """One object per message, in order per instance, the service id in lower case (spec 3.3, 9.5)."""
    socket = await dial(server, CHANGES)
    await subscribe(socket, "demo.ORDERS")
    server.node.register(request(7, serviceId="Demo.Orders"), 0)
    new = await socket.json()
    assert new["changeType"] == "new"
    assert new["instance"]["serviceId"] == "demo.orders"
    assert isinstance(new["changeTime"], int)
    assert set(new["instance"]) == set(json.loads(server.node.catalog.view("demo.orders").json)["instances"][0])
    server.node.register(request(7, serviceId="Demo.Orders", port=1), 1)
    changed = await socket.json()
    assert (changed["changeType"], changed["instance"]["port"]) == ("new", 1)
    server.node.unregister(request(7), 2)
    gone = await socket.json()
    assert (gone["changeType"], gone["instance"]["instanceId"]) == ("delete", "10.0.0.7")


async def test_a_subscriber_is_told_nothing_of_other_services(server: NodeServer, dial: Dial) -> None:
    """Nor of anything before it subscribed; subscribing twice is the same as once."""
    server.node.register(request(1), 0)
    socket = await dial(server, CHANGES)
    await subscribe(socket, "demo.orders", "DEMO.orders")
    server.node.register(request(2, serviceId="demo.bills"), 1)
    server.node.register(request(3), 2)
    assert (await socket.json())["instance"]["instanceId"] == "10.0.0.3"
    await settle(socket)


@pytest.mark.parametrize(
    "message", ["", "null", "nonsense", "[]", "{}", '{"serviceId":null}', '{"serviceId":" "}', '{"serviceId":{}}']
)
async def test_what_is_no_subscription_is_counted_and_dropped(server: NodeServer, dial: Dial, message: str) -> None:
    """There is no answer to it, and the session goes on (spec 3.3)."""
    socket = await dial(server, CHANGES)
    await socket.send(message)
    await subscribe(socket, "demo.orders")
    assert server.counters["websocket"]["malformed_message"] == 1
    assert server.node.stream.subscriptions == 1


async def test_subscriptions_of_one_session_are_limited(server: NodeServer, dial: Dial) -> None:
    """Whoever subscribes to every name there could be keeps the first ones; the others are counted."""
    socket = await dial(server, CHANGES)
    most = server.node.stream.limits.subscriptions
    for start in range(0, most + 500, 500):
        await socket.send(*[{"serviceId": f"s{number}"} for number in range(start, start + 500)])
    await until(lambda: server.websocket.stats.messages_in == most + 500)
    await until(lambda: server.counters["websocket"]["refused_subscription"] == 500)
    assert server.node.stream.subscriptions == most


async def test_the_log_says_once_whose_subscriptions_are_dropped(
    start: Start, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    """A Java client is told nothing, so its operator must be; of many such clients ten a minute are named."""
    async with start() as server:
        server.node.stream.limits = PushLimits(subscriptions=2)
        for number in range(12):
            socket = await dial(server, CHANGES)
            await subscribe(socket, "a", "b", "c", "d")
            warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
            assert len(warnings) == min(number + 1, 10)
        address = socket.writer.get_extra_info("sockname")[0]
        assert f"2 services at most: endpoint=discovery address={address}" in warnings[0]
        assert server.counters["websocket"] == {"refused_subscription": 24}


async def test_subscriptions_end_with_the_session(server: NodeServer, dial: Dial) -> None:
    """Also with one that goes without a word."""
    polite = await dial(server, CHANGES)
    rude = await dial(server, CHANGES)
    await subscribe(polite, "a", "b")
    await subscribe(rude, "a")
    assert server.node.stream.subscriptions == 3
    await polite.raw(frame(8, b"\x03\xe8"))
    assert await polite.closing() == (1000, "")
    rude.cut()
    await until(lambda: server.node.stream.subscribers == 0)
    assert server.node.stream.subscriptions == 0
    assert server.websocket.closes == {"peer": 1, "gone": 1}


async def test_all_changes_are_told_without_a_subscription(server: NodeServer, dial: Dial) -> None:
    """What the peer says is ignored (spec 3.4)."""
    socket = await dial(server, ALL_CHANGES)
    await socket.send("nonsense", {"serviceId": "x"})
    await settle(socket)
    server.node.register(request(1, serviceId="a"), 0)
    server.node.register(request(2, serviceId="B"), 0)
    told = [(await socket.json())["instance"]["serviceId"] for _ in range(2)]
    assert told == ["a", "b"]
    assert server.counters["websocket"] == {}


async def test_expiry_is_told(start: Start, dial: Dial) -> None:
    """A lease that ends by itself is a delete."""
    async with start(lease_ttl=1, heartbeat_interval=0.5) as server:
        socket = await dial(server, CHANGES)
        await subscribe(socket, "demo.orders")
        server.node.register(request(7), now_ms())
        assert (await socket.json())["changeType"] == "new"
        assert (await socket.json())["changeType"] == "delete"


async def test_a_reload_is_the_fake_instance_of_the_original(server: NodeServer, dial: Dial) -> None:
    """Java clients look the service up again (spec 1.4)."""
    socket = await dial(server, CHANGES)
    await subscribe(socket, "demo.orders")
    server.node.catalog.reload("demo.orders")
    told = await socket.json()
    assert told["changeType"] == "reload"
    assert {name: value for name, value in told["instance"].items() if value} == {
        "serviceId": "demo.orders",
        "instanceId": "reload",
        "ip": "0.0.0.0",
        "url": "http://serviceId/reload",
    }


async def test_an_instance_that_a_java_client_could_not_take_becomes_a_reload(server: NodeServer, dial: Dial) -> None:
    """A message above 8 KiB would end its connection; looking the service up over HTTP does not (spec 0.8)."""
    socket = await dial(server, CHANGES)
    await subscribe(socket, "demo.orders")
    server.node.register(request(7, metadata={"filler": "x" * 9000}), 0)
    assert (await socket.json())["changeType"] == "reload"
    server.node.register(request(7), 1)
    told = await socket.json()
    assert (told["changeType"], told["instance"]["instanceId"]) == ("new", "10.0.0.7")


@pytest.mark.parametrize("letter", ["x", "\u20ac", "\U0001f600", "\x01", "\u0130"])
async def test_the_longest_ids_leave_a_reload_that_a_java_client_can_take(
    server: NodeServer, dial: Dial, letter: str
) -> None:
    """Longer ones are refused, so nobody can cut off those who listen to everything (spec 0.8)."""
    socket = await dial(server, ALL_CHANGES)
    long = letter * (1024 // len(letter.lower()))
    ids = {"serviceId": long, "instanceId": long, "groupId": long, "zoneId": long}
    assert server.node.register(request(7, **ids, metadata={"a": "b" * 9000}), 0).response_status.ok
    text = await socket.text()
    assert len(text) < 8192
    assert (json.loads(text)["changeType"], json.loads(text)["instance"]["serviceId"]) == ("reload", long.lower())
    refused = server.node.register(request(8, serviceId=long + letter), 1)
    assert "the most this node takes is 1024" in str(refused.failed_instances)


async def test_hundreds_of_subscribers_are_all_told(server: NodeServer, dial: Dial) -> None:
    """Each gets the same bytes."""
    sockets = [await dial(server, CHANGES) for _ in range(300)]
    for socket in sockets:
        await socket.send({"serviceId": "demo.orders"})
    await until(lambda: server.node.stream.subscriptions == 300)
    server.node.register(request(7), 0)
    assert len({await socket.text() for socket in sockets}) == 1


async def test_a_failure_while_one_is_told_ends_only_that_session(
    server: NodeServer, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed with 1011, the failure is counted, and the others are told."""
    broken, other = await dial(server, CHANGES), await dial(server, ALL_CHANGES)
    await subscribe(broken, "demo.orders")
    conduct = server.websocket.conducts[Endpoint.CHANGES]
    monkeypatch.setattr(conduct, "writable", lambda session: session.nothing_of_that_name)
    server.node.register(request(7), 0)
    assert (await broken.closing())[0] == 1011
    assert (await other.json())["changeType"] == "new"
    assert server.counters["websocket"] == {"internal_error": 1}


def full(number: int) -> RegistryRequest | None:
    """The request that gives instance 7 a large content with this number."""
    return request(7, metadata={"filler": "x" * 3000, "number": str(number)})


def number_in(told: dict[str, object]) -> int:
    """The number in a change of it."""
    assert isinstance(told["instance"], dict)
    return int(told["instance"]["metadata"]["number"])


async def test_a_slow_consumer_delays_nobody_and_nothing_is_kept_for_it(start: Start, dial: Dial) -> None:
    """The others get each change at once; what it does not take is coalesced, and in order when it reads again."""
    async with start(websocket_limits=WebSocketLimits(write_buffer=4096, close_timeout=0.2)) as server:
        slow, quick = await dial(server, CHANGES), await dial(server, CHANGES)
        for socket in (slow, quick):
            await subscribe(socket, "demo.orders")
        slow.stop_reading()
        last = 0
        while not server.websocket.blocked:
            last += 1
            server.node.register(full(last), last)
            assert number_in(await quick.json()) == last
        for number in range(last + 1, last + 51):
            server.node.register(full(number), number)
            assert number_in(await quick.json()) == number
        [connection] = server.websocket.blocked
        assert connection.room == 0
        slow.read_on()
        numbers = [0]
        while numbers[-1] < last + 50:
            numbers.append(number_in(await slow.json()))
        assert numbers == sorted(numbers)
        assert len(numbers) <= last + 2, "the last fifty became one"


async def test_a_slow_consumer_that_reads_on_gets_to_know_why_it_is_disconnected(start: Start, dial: Dial) -> None:
    """The rest of what was on its way comes first, whole; meanwhile it is not cut, however late it is to answer."""
    limits = WebSocketLimits(write_buffer=4096, close_timeout=0.0, write_deadline=0.0)
    async with start(websocket_limits=limits) as server:
        slow = await dial(server, CHANGES)
        await subscribe(slow, "demo.orders")
        slow.stop_reading()
        number = 0
        while not server.websocket.blocked:
            number += 1
            server.node.register(full(number), number)
            await until(lambda: not server.websocket.telling)
        await until(lambda: server.websocket.tick() or bool(server.websocket.closes))  # type: ignore[func-returns-value]
        [connection] = server.websocket.blocked
        assert connection.unsent > 0
        for _ in range(3):
            server.websocket.tick()
        assert server.websocket.open_connections == 1
        slow.read_on()
        last = 0
        while (received := await slow.frame())[0] == TEXT:
            last = number_in(json.loads(received[1]))
        assert (received[0], int.from_bytes(received[1][:2]), last) == (CLOSE, 1013, number)


async def test_a_consumer_that_takes_nothing_is_disconnected(start: Start, dial: Dial) -> None:
    """It is told with 1013, and cut when it does not even read that."""
    limits = WebSocketLimits(write_buffer=4096, close_timeout=0.0, close_stall=0.0, write_deadline=0.0)
    async with start(websocket_limits=limits) as server:
        slow = await dial(server, CHANGES)
        await subscribe(slow, "demo.orders")
        slow.stop_reading()
        number = 0

        def blocked() -> bool:
            nonlocal number
            number += 1
            server.node.register(full(number), number)
            return bool(server.websocket.blocked)

        def gone() -> bool:
            server.websocket.tick()
            return server.websocket.open_connections == 0

        await until(blocked)
        await until(gone)
        assert server.websocket.closes == {"slow_consumer": 1}
        assert server.node.stream.subscribers == 0
