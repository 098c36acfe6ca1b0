"""The binary door by a real MsgTrans client: the same operations, in JSON and MessagePack (docs/protocol.md)."""

import asyncio
import json
import struct

import msgspec
import pytest
from doors import get, instance

from msgtrans import TransportClient

REGISTER, HEARTBEAT, UNREGISTER, LOOKUP, SERVICE, SERVICES, STATUS = 1, 2, 3, 16, 17, 18, 32


class Caller:
    """A client of the binary door that speaks one format."""

    def __init__(self, client: TransportClient, name: str) -> None:
        self.client, self.name = client, name
        self.encode = json.dumps if name == "json" else msgspec.msgpack.encode
        self.decode = json.loads if name == "json" else msgspec.msgpack.decode

    async def __call__(self, operation: int, content: object, expected_format: str | None = None) -> dict[str, object]:
        """Call an operation; checks that the answer names its format."""
        payload = self.encode(content)
        answer = await self.client.request(
            payload.encode() if isinstance(payload, str) else payload,
            biz_type=operation,
            ext_header=f"format={self.name}".encode(),
        )
        packed = (expected_format or self.name) == "msgpack"
        options = answer.ext_header.split(b";")
        assert packed == (b"format=msgpack" in options)
        shows_data = operation in {LOOKUP, SERVICE, SERVICES} and b'"success"' in answer.payload
        if not packed:
            assert shows_data == (b"age=0" in options)
        decode = json.loads if expected_format == "json" else self.decode
        decoded: dict[str, object] = decode(answer.payload)
        return decoded


@pytest.fixture(params=["json", "msgpack"])
async def call(server, request):
    """A caller over MsgTrans, in each format."""
    host, port = server.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        yield Caller(client, request.param)


async def test_the_life_of_an_instance(call):
    """Register, heartbeat, look up and unregister over MsgTrans."""
    for operation in (REGISTER, HEARTBEAT, HEARTBEAT, HEARTBEAT):
        answer = await call(operation, {"instances": [instance()]})
        assert "success" == answer["responseStatus"]["status"]
    configs = {"discoveryConfigs": [{"serviceId": "demo.orders"}], "regionId": "r1"}
    found = await call(LOOKUP, configs)
    assert [{**instance()}] == [
        {name: value for name, value in i.items() if value is not None} for i in found["services"][0]["instances"]
    ]
    found = await call(SERVICE, {"discoveryConfig": {"serviceId": "demo.orders"}, "regionId": "r1"})
    assert "demo.orders" == found["service"]["serviceId"]
    assert "up" == (await call(STATUS, {}))["nodeStatus"]["status"]
    await call(UNREGISTER, {"instances": [instance()]})
    answer = await call(HEARTBEAT, {"instances": [instance()]})
    assert "data-not-found" == answer["failedInstances"][0]["errorCode"]
    assert "10.0.0.7" == answer["failedInstances"][0]["instance"]["instanceId"]


async def test_the_list_of_everything_is_json_in_either_format(call):
    """discovery.services is kept encoded as JSON; its answer says so."""
    instances = [instance(serviceId=f"s{n % 50}", instanceId=f"i{n}") for n in range(1000)]
    await call(REGISTER, {"instances": instances})
    answer = await call(SERVICES, {}, expected_format="json")
    assert (50, 1000) == (len(answer["services"]), sum(len(s["instances"]) for s in answer["services"]))


async def test_ten_thousand_instances_in_one_request(server, call):
    """A large batch is registered whole while other clients are served between its slices."""
    instances = [instance(instanceId=f"i{n}") for n in range(10_000)]
    host, port = server.address
    async with TransportClient(f"tcp://{host}:{port}") as other:
        large = asyncio.ensure_future(call(REGISTER, {"instances": instances}))
        served = 0
        while not large.done():
            await other.request(b"{}", biz_type=STATUS)
            served += 1
    assert "success" == (await large)["responseStatus"]["status"]
    assert 10_000 == len(server.node.registry)
    assert served > 3


@pytest.mark.parametrize(
    ("operation", "payload", "header", "says"),
    [
        (255, b"{}", b"", "there is no operation 255"),
        (REGISTER, b"{", b"", ""),
        (REGISTER, b"", b"", ""),
        (REGISTER, b'{"instances":[{"port":"x"}]}', b"format=json", "port"),
        (REGISTER, b"\xc1", b"format=msgpack", ""),
        (REGISTER, b"{}", b"format=xml", "format 'xml' is not known; use json or msgpack"),
        (REGISTER, b"null", b"other=1;format=json", "request is null"),
        (REGISTER, b"{" * 100_000, b"", ""),
    ],
)
async def test_bad_requests_are_answered(server, operation, payload, header, says):
    """What cannot be read gets bad-request with a reason, and the session goes on."""
    host, port = server.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        answer = await client.request(payload, biz_type=operation, ext_header=header)
        status = json.loads(answer.payload)["responseStatus"] if header != b"format=msgpack" else None
        if status is None:
            status = msgspec.msgpack.decode(answer.payload)["responseStatus"]
        assert ("fail", "bad-request") == (status["status"], status["errorCode"])
        assert says in status["message"]
        assert (
            "success" == json.loads((await client.request(b"{}", biz_type=STATUS)).payload)["responseStatus"]["status"]
        )


@pytest.mark.parametrize("name", ["json", "msgpack"])
async def test_an_answer_that_fits_no_packet_is_refused_with_advice(server, name):
    """What cannot be sent is said, instead of leaving the caller to wait."""
    host, port = server.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        call = Caller(client, name)
        for part in range(3):
            instances = [
                instance(serviceId=f"s{part}", instanceId=f"i{n}", metadata={"k": "x" * 60_000}) for n in range(100)
            ]
            for at in range(0, 100, 50):
                await call(REGISTER, {"instances": instances[at : at + 50]})
        answer = await call(SERVICES, {}, expected_format="json")
        assert "does not fit" in answer["responseStatus"]["message"]
        answer = await call(SERVICE, {"discoveryConfig": {"serviceId": "s1"}, "regionId": "r1"})
        assert "success" == answer["responseStatus"]["status"]


async def test_a_request_over_the_body_limit_is_refused(start):
    """The limit on bodies holds on this door too, also for what unpacks to more."""
    async with start(max_body_size=10_000) as server:
        host, port = server.address
        async with TransportClient(f"tcp://{host}:{port}") as client:
            answer = await client.request(b" " * 10_001, biz_type=REGISTER)
            assert "10000 bytes at most" in json.loads(answer.payload)["responseStatus"]["message"]


async def test_countless_elements_in_messagepack_are_refused(server):
    """A million empty instances in a packet of a kilobyte cost nothing."""
    host, port = server.address
    body = b"\x81\xa9instances\xdd" + (1_000_000).to_bytes(4, "big") + b"\x80" * 1_000_000
    async with TransportClient(f"tcp://{host}:{port}") as client:
        answer = await client.request(body, biz_type=REGISTER, ext_header=b"format=msgpack", compression=2)
    assert "bad-request" == msgspec.msgpack.decode(answer.payload)["responseStatus"]["errorCode"]


async def test_a_packet_that_announces_too_much_ends_its_connection_only(server, connect):
    """A header over the limit closes without waiting for the body; HTTP on the same port goes on."""
    bad, good = await connect(server), await connect(server)
    await bad.send(struct.pack(">BBBBIHIH", 1, 0, 1, REGISTER, 1, 0, 0xFFFFFFFF, 0))
    assert b"" == await bad.closed()
    await good.send(get("/health/ready"))
    assert 200 == (await good.answer())[0]
    assert b'artemis_msgtrans_events_total{event="protocol_errors"} 1.0\n' in await metrics(good)


async def test_an_error_in_a_handler_is_an_answer(server, call, monkeypatch):
    """Whatever goes wrong inside is internal-service-error, and the session goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(server.node, "register", fail)
    answer = await call(REGISTER, {"instances": [instance()]})
    assert "internal-service-error" == answer["responseStatus"]["errorCode"]
    assert 1 == server.counters["msgtrans"]["internal_error"]
    assert "up" == (await call(STATUS, {}))["nodeStatus"]["status"]


async def metrics(wire) -> bytes:
    """The text of /metrics."""
    await wire.send(get("/metrics"))
    body: bytes = (await wire.answer())[2]
    return body
