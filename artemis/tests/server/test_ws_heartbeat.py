"""The heartbeat endpoint over real sockets: one answer per message, whole instances back, answers below 8 KiB."""

import asyncio
import json

import pytest
from doors import instance
from ws import HEARTBEAT, PING, PONG, TEXT, Dial, Socket, Start, frame, until

from artemis.model import FailedInstance, Instance, RegistryRequest, RegistryResponse, decode, encode
from artemis.model.responses import PARTIAL_FAIL, SUCCESS
from artemis.registry import NodeTimings
from artemis.server.app import NodeServer
from artemis.server.clock import now_ms
from artemis.server.operations import OPERATIONS
from artemis.server.websocket.heartbeats import answers

OPERATION = next(operation for operation in OPERATIONS if operation.name == "registry.heartbeat")


@pytest.fixture
async def socket(server: NodeServer, dial: Dial) -> Socket:
    """A heartbeat session."""
    return await dial(server, HEARTBEAT)


def register(server: NodeServer, *numbers: int, **changes: object) -> None:
    """Register instances by their numbers."""
    asked = {"instances": [instance(number, **changes) for number in numbers]}
    request = decode(RegistryRequest, json.dumps(asked).encode())
    assert server.node.register(request, 0).response_status.ok


async def failed(socket: Socket, count: int) -> list[dict[str, object]]:
    """The failed instances of the next answers, until there are `count`."""
    found: list[dict[str, object]] = []
    while len(found) < count:
        text = await socket.text()
        assert len(text) < 8192
        answer = json.loads(text)
        assert answer["responseStatus"] == {"errorCode": "partial_fail", "message": "", "status": "partial_fail"}
        found += answer["failedInstances"]
    return found


async def test_an_unknown_instance_comes_back_whole(socket: Socket) -> None:
    """A Java client registers with the object out of the answer (spec 0.4)."""
    asked = instance(metadata={"a": "b"}, groupId="g")
    await socket.send({"instances": [asked]})
    answer = await socket.json()
    [item] = answer["failedInstances"]
    assert item["errorCode"] == "data-not-found"
    assert {name: item["instance"][name] for name in asked} == asked


async def test_a_registered_instance_is_renewed(server: NodeServer, socket: Socket) -> None:
    """The answer is a success, also of the same message again, which is recognised by its bytes."""
    register(server, 7)
    for _ in range(4):
        await socket.send({"instances": [instance()]})
        answer = await socket.json()
        assert answer["responseStatus"]["status"] == "success"
        assert answer["failedInstances"] is None
    assert server.node.registry.counters.renewed == 2
    assert server.node.registry.counters.renewed_by_plan == 2


async def test_a_recognised_message_is_read_again_when_its_lease_is_gone(server: NodeServer, socket: Socket) -> None:
    """What a message meant is void as soon as one of its leases changes."""
    register(server, 7)
    for _ in range(3):
        await socket.send({"instances": [instance()]})
        await socket.text()
    request = decode(RegistryRequest, json.dumps({"instances": [instance()]}).encode())
    server.node.unregister(request, 0)
    await socket.send({"instances": [instance()]})
    assert len(await failed(socket, 1)) == 1


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"null", "request is null"),
        (b"null, and more", "request is null"),
        (b"{}", "request.instances is null or empty."),
        (b"", "the body is empty"),
        (b"nonsense", "not JSON"),
        (b"[]", "$"),
        (b'{"instances":[{"port":"many"}]}', "$.instances[0].port"),
        ("ü".encode(), "not JSON"),
    ],
)
async def test_what_cannot_be_read_is_a_bad_request(socket: Socket, message: bytes, text: str) -> None:
    """Never a success, as in the original (defect 10), and the session goes on."""
    await socket.send(message)
    answer = await socket.json()
    assert answer["responseStatus"]["status"] == "fail"
    assert answer["responseStatus"]["errorCode"] == "bad-request"
    assert text in answer["responseStatus"]["message"]
    await socket.send({"instances": [instance()]})
    assert len(await failed(socket, 1)) == 1


async def test_other_letter_case_unknown_names_and_trailing_garbage_are_read(socket: Socket) -> None:
    """As the original's reader does on WebSocket (spec 1.1)."""
    asked = {"INSTANCES": [{**instance(), "Port": "81", "port": None, "more": 1}]}
    await socket.send(json.dumps(asked) + "} and so on")
    [item] = await failed(socket, 1)
    assert item["instance"]["instanceId"] == "10.0.0.7"


async def test_answers_come_in_the_order_of_the_messages(server: NodeServer, socket: Socket) -> None:
    """Messages behind one that takes long wait for it; there is one answer for each."""
    register(server, 1, 2, 3)
    many = {"instances": [instance(number) for number in (1, 2, 3)] * 700}
    await socket.send({"instances": [instance(9)]}, many, b"null", {"instances": [instance(1)]}, many, b"{}")
    statuses = [(await socket.json())["responseStatus"] for _ in range(6)]
    assert [status["status"] for status in statuses] == [
        "partial_fail",
        "success",
        "fail",
        "success",
        "success",
        "fail",
    ]
    assert statuses[2]["message"] == "request is null"


async def test_thousands_of_failures_come_in_answers_that_a_java_client_can_take(socket: Socket) -> None:
    """The answer is split, in order, and nothing is lost or doubled (spec 0.8, 3.2)."""
    await socket.send({"instances": [instance(number) for number in range(3000)]})
    ids = [item["instance"]["instanceId"] for item in await failed(socket, 3000)]
    assert ids == [f"10.0.0.{number}" for number in range(3000)]


async def test_a_ping_is_answered_while_a_large_message_is_handled(server: NodeServer, socket: Socket) -> None:
    """Pongs never wait behind work in slices (spec 0.7)."""
    await socket.send({"instances": [instance(number) for number in range(5000)]})
    await socket.raw(frame(PING, b"now"))
    before = 0
    while (received := await socket.frame()) != (PONG, b"now"):
        assert received[0] == TEXT
        before += len(json.loads(received[1])["failedInstances"])
    assert before < 5000
    assert len(await failed(socket, 5000 - before)) == 5000 - before
    assert server.websocket.kept == 0


async def test_other_sessions_go_on_while_a_large_message_is_handled(
    server: NodeServer, socket: Socket, dial: Dial
) -> None:
    """Nobody waits for somebody else's batch."""
    other = await dial(server, HEARTBEAT)
    await socket.send({"instances": [instance(number) for number in range(8000)]})
    await other.send({"instances": [instance()]})
    assert len(await failed(other, 1)) == 1
    assert server.websocket.kept > 0
    await failed(socket, 8000)


async def test_a_large_message_in_fragments_is_put_together(socket: Socket) -> None:
    """However many frames a message has, and with pings between them."""
    text = json.dumps({"instances": [instance(number) for number in range(1000)]}).encode()
    size = 10_000
    for at in range(0, len(text), size):
        piece = text[at : at + size]
        await socket.raw(frame(0 if at else TEXT, piece, final=at + size >= len(text)) + frame(PING, b""))
    pongs = 0
    found = 0
    while found < 1000:
        opcode, payload = await socket.frame()
        if opcode == PONG:
            pongs += 1
        else:
            found += len(json.loads(payload)["failedInstances"])
    assert pongs > 0


async def test_messages_that_come_all_at_once_are_all_answered(socket: Socket) -> None:
    """A read full of small messages is work for several turns."""
    await socket.send(*([b"null"] * 5000))
    answers_got = [await socket.text() for _ in range(5000)]
    assert len(set(answers_got)) == 1


async def test_a_peer_that_does_not_read_is_not_read_from(server: NodeServer, dial: Dial) -> None:
    """Answers are made when they can be taken; what waits is bounded, and everything is answered in the end."""
    socket = await dial(server, HEARTBEAT)
    message = frame(TEXT, json.dumps({"instances": [instance(number) for number in range(20)]}).encode())

    async def flood() -> None:
        for _ in range(60):
            await socket.raw(message * 50)

    flooding = asyncio.create_task(flood())
    await until(lambda: bool(server.websocket.blocked))
    await asyncio.sleep(0)
    assert server.websocket.kept < 2 * 1024 * 1024
    found = await failed(socket, 60 * 50 * 20)
    await flooding
    assert len(found) == 60 * 50 * 20


async def test_a_message_above_the_limit_is_refused_with_1009(start: Start, dial: Dial) -> None:
    """One as long as a request may be is taken."""
    async with start(max_body_size=100_000) as server:
        socket = await dial(server, HEARTBEAT)
        await socket.send(b" " * 100_000)
        assert (await socket.json())["responseStatus"]["errorCode"] == "bad-request"
        await socket.raw(frame(TEXT, b" " * 100_001))
        code, reason = await socket.closing()
        assert code == 1009
        assert reason
        assert await socket.ended() == b""


async def test_the_rate_limiter_judges_messages_first(start: Start, dial: Dial) -> None:
    """Also those that would be recognised; the answer is that of every limited operation (spec 3.2, 11)."""
    async with start(rate_limit_registry=1000) as server:
        register(server, 7)
        socket = await dial(server, HEARTBEAT)
        codes = []
        for _ in range(1001):
            await socket.send({"instances": [instance()]})
            codes.append((await socket.json())["responseStatus"]["errorCode"])
        assert codes == ["success"] * 1000 + ["rate-limited"]


async def test_a_node_that_stops_says_so_to_heartbeats(server: NodeServer, socket: Socket) -> None:
    """A Java client then goes to another node."""
    await socket.send({"instances": [instance()]})
    await socket.text()
    server.node.drain(0)
    await socket.send({"instances": [instance()]})
    assert (await socket.json())["responseStatus"]["errorCode"] == "service-unavailable"


def response_of(sizes: list[int]) -> RegistryResponse:
    """A response with failed instances of about these sizes."""
    instances = [Instance(instance_id=str(at), url="x" * size) for at, size in enumerate(sizes)]
    failed_instances = [FailedInstance(error_code="data-not-found", instance=each) for each in instances]
    return RegistryResponse(failed_instances=failed_instances, response_status=PARTIAL_FAIL)


def test_an_instance_that_is_too_large_goes_alone() -> None:
    """The others stay below the limit, whatever their neighbours are."""
    parts = list(answers(OPERATION, response_of([100, 7300, 100, 100, 5000, 3000]), size=7168))
    ids = [[item["instance"]["instanceId"] for item in json.loads(part)["failedInstances"]] for part in parts]
    assert ids == [["0"], ["1"], ["2", "3", "4"], ["5"]]
    assert [len(part) > 7168 for part in parts] == [False, True, False, False]


@pytest.mark.parametrize("size", range(7000, 8400, 50))
def test_no_answer_is_longer_than_a_java_client_takes(size: int) -> None:
    """What is in no answer is dealt with; each failure is one or the other."""
    dealt: list[object] = []
    parts = list(answers(OPERATION, response_of([10, size, 10]), lambda item: bool(dealt.append(item))))
    assert all(len(part) <= 8192 for part in parts)
    told = [item["instance"]["instanceId"] for part in parts if part for item in json.loads(part)["failedInstances"]]
    assert told == (["0", "2"] if dealt else ["0", "1", "2"])
    assert bool(dealt) == (len(encode(response_of([size]))) > 8192)


@pytest.mark.parametrize(("fixed", "status", "failures"), [(True, "success", None), (False, "partial_fail", [])])
def test_an_answer_without_failures_that_fit_says_whether_all_went_well(
    fixed: bool, status: str, failures: list[object] | None
) -> None:
    """There is one answer for a message in any case."""
    [answer] = [json.loads(part) for part in answers(OPERATION, response_of([9000, 9000]), lambda _: fixed) if part]
    assert (answer["responseStatus"]["status"], answer["failedInstances"]) == (status, failures)


def test_what_fits_is_one_answer() -> None:
    """It is the same as over HTTP."""
    small = response_of([10, 10])
    assert list(answers(OPERATION, small)) == [encode(small)]
    success = RegistryResponse(response_status=SUCCESS)
    assert list(answers(OPERATION, success)) == [encode(success)]


async def test_keys_that_failed_come_in_answers_that_a_java_client_can_take(server: NodeServer, socket: Socket) -> None:
    """The rewrite's heartbeats on this endpoint are split as well; a key that nothing can have is left out."""
    keys = [{"regionId": "r1", "serviceId": "s", "instanceId": f"i{number}"} for number in range(3000)]
    await socket.send({"instanceKeys": [*keys[:1000], {**keys[0], "instanceId": "x" * 9000}, *keys[1000:]]})
    found: list[str] = []
    while len(found) < 3000:
        text = await socket.text()
        assert len(text) < 8192
        answer = json.loads(text)
        assert (answer["failedInstances"], answer["responseStatus"]["status"]) == (None, "fail")
        found += [key["instanceId"] for key in answer["failedInstanceKeys"]]
    assert found == [key["instanceId"] for key in keys]
    assert server.counters["websocket"] == {"oversized_answer": 1}


async def test_an_unknown_instance_that_fits_no_answer_is_registered_from_its_heartbeat(
    server: NodeServer, socket: Socket
) -> None:
    """Its echo would cut off the client with all its instances; the content is in the message, whole."""
    large = instance(1, metadata={"a": "b" * 9000})
    await socket.send({"instances": [large, instance(2)]})
    [item] = await failed(socket, 1)
    assert item["instance"]["instanceId"] == "10.0.0.2"
    assert json.loads(server.node.catalog.view("demo.orders").json)["instances"][0]["metadata"] == large["metadata"]
    await socket.send({"instances": [large]}, {"instances": [large]}, {"instances": [large]})
    assert [(await socket.json())["responseStatus"]["status"] for _ in range(3)] == ["success"] * 3
    assert server.node.registry.counters.renewed_by_plan == 1
    assert server.counters["websocket"] == {}


async def test_a_removed_instance_that_fits_no_answer_stays_so_for_a_heartbeat(
    server: NodeServer, socket: Socket
) -> None:
    """A message that was on its way when it was removed does not revive it; an owner that is still there does."""
    large = instance(1, metadata={"a": "b" * 9000})
    request = decode(RegistryRequest, json.dumps({"instances": [large]}).encode())
    server.node.unregister(request, now_ms())
    await socket.send({"instances": [large]})
    answer = await socket.json()
    assert (answer["responseStatus"]["status"], answer["failedInstances"]) == ("partial_fail", [])
    assert len(server.node.registry) == 0
    assert server.counters["websocket"] == {"oversized_answer": 1}
    server.node.retime(NodeTimings(heartbeat=1))
    removed = now_ms()
    await until(lambda: now_ms() > removed)
    await socket.send({"instances": [large]})
    assert (await socket.json())["responseStatus"]["status"] == "success"
    assert len(server.node.registry) == 1


async def test_what_is_refused_and_fits_no_answer_is_left_out(start: Start, dial: Dial) -> None:
    """Another region's, and one for which the registry has no room; it is counted, and the session goes on."""
    async with start(max_instances=1) as server:
        socket = await dial(server, HEARTBEAT)
        large = {"metadata": {"a": "b" * 9000}}
        await socket.send({"instances": [instance(1, regionId="r2", **large), instance(2), instance(3, regionId="r2")]})
        assert [item["instance"]["instanceId"] for item in (await socket.json())["failedInstances"]] == [
            "10.0.0.2",
            "10.0.0.3",
        ]
        await socket.send({"instances": [instance(4, **large), instance(5, **large)]})
        assert (await socket.json())["responseStatus"]["status"] == "partial_fail"
        assert (len(server.node.registry), server.counters["websocket"]) == (1, {"oversized_answer": 2})


async def test_hundreds_of_instances_that_fit_no_answer_are_registered_in_slices(
    server: NodeServer, socket: Socket
) -> None:
    """A ping is answered between them."""
    many = [instance(number, metadata={"a": "b" * 9000}) for number in range(700)]
    await socket.send({"instances": many})
    await socket.raw(frame(PING, b"now"))
    assert await socket.frame() == (PONG, b"now")
    assert len(server.node.registry) < 700
    assert (await socket.json())["responseStatus"]["status"] == "success"
    assert len(server.node.registry) == 700
