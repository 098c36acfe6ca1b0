"""The HTTP door by real sockets: what it answers, on one connection, in which order, however the bytes are cut."""

import asyncio
import gzip
import json

import pytest
from doors import Wire, get, instance, post

SUCCESS = {"errorCode": "success", "message": "", "status": "success"}
LOOKUP = {"regionId": "r1", "zoneId": "z1", "discoveryConfigs": [{"serviceId": "demo.orders"}]}


async def test_an_unknown_instance_comes_back_whole(wire):
    """A heartbeat for what is not registered returns the complete instance with data-not-found, in a 200."""
    answer = await wire.post("/api/registry/heartbeat.json", {"instances": [instance()]})
    expected = dict.fromkeys(("groupId", "healthCheckUrl", "machineName", "metadata", "protocol")) | instance()
    assert {"errorCode": "partial_fail", "message": "", "status": "partial_fail"} == answer["responseStatus"]
    assert [
        {
            "errorCode": "data-not-found",
            "errorMessage": "r1/z1/demo.orders/10.0.0.7: Instance is not exising! Need re-register.",
            "instance": expected,
        }
    ] == answer["failedInstances"]


@pytest.mark.parametrize("prefix", ["/api", "/artemis/api"])
async def test_register_heartbeat_lookup_unregister(wire, prefix):
    """The life of an instance, under the paths of both client generations."""
    for operation in ("register", "heartbeat", "heartbeat", "heartbeat"):
        answer = await wire.post(f"{prefix}/registry/{operation}.json", {"instances": [instance()]})
        assert {"failedInstances": None, "responseStatus": SUCCESS} == answer
    found = await wire.post(f"{prefix}/discovery/lookup.json", LOOKUP)
    assert ["10.0.0.7"] == [i["instanceId"] for i in found["services"][0]["instances"]]
    await wire.post(f"{prefix}/registry/unregister.json", {"instances": [instance()]})
    found = await wire.post(f"{prefix}/discovery/lookup.json", LOOKUP)
    assert [] == found["services"][0]["instances"]
    answer = await wire.post(f"{prefix}/registry/heartbeat.json", {"instances": [instance()]})
    assert "data-not-found" == answer["failedInstances"][0]["errorCode"]


async def test_a_repeated_heartbeat_notices_what_happened_between(wire):
    """A message that was recognised is read again as soon as one of its instances is gone."""
    both = {"instances": [instance(1), instance(2)]}
    await wire.post("/api/registry/register.json", both)
    for _ in range(4):
        answer = await wire.post("/api/registry/heartbeat.json", both)
        assert answer["failedInstances"] is None
    await wire.post("/api/registry/unregister.json", {"instances": [instance(2)]})
    answer = await wire.post("/api/registry/heartbeat.json", both)
    assert ["10.0.0.2"] == [f["instance"]["instanceId"] for f in answer["failedInstances"]]


async def test_a_large_heartbeat_that_repeats_renews_all_of_it(server, wire):
    """A message that is worked on in slices is never taken for one of its slices."""
    both = {"instances": [instance(instanceId=f"i{n}") for n in range(700)]}
    await wire.post("/api/registry/register.json", both)
    renewed = server.node.registry.counters.renewed
    for _ in range(4):
        await wire.post("/api/registry/heartbeat.json", both)
    counters = server.node.registry.counters
    assert 4 * 700 == counters.renewed + counters.renewed_by_plan - renewed


async def test_a_packed_heartbeat_is_recognised(server, wire):
    """The bytes on the wire are what is recognised, so packed messages are too."""
    both = {"instances": [instance(instanceId=f"i{n}") for n in range(150)]}
    await wire.post("/api/registry/register.json", both)
    body = gzip.compress(json.dumps(both).encode(), mtime=0)
    for _ in range(4):
        await wire.send(post("/api/registry/heartbeat.json", body, "Content-Encoding: gzip"))
        assert SUCCESS == json.loads((await wire.answer())[2])["responseStatus"]
    assert 2 * 150 == server.node.registry.counters.renewed_by_plan


async def test_recognition_can_be_turned_off(server, wire):
    """Without it the same messages get the same answers, each parsed; on again, they are learnt anew."""
    both = {"instances": [instance(1), instance(2)]}
    await wire.post("/api/registry/register.json", both)
    counters = server.node.registry.counters
    for recognised, by_plan in ((True, 2), (False, 0), (True, 4)):  # the bytes are known still, their plan is not
        server.reconfigure(server.config.model_copy(update={"heartbeat_recognition": recognised}))
        before = counters.renewed_by_plan, counters.renewed + counters.renewed_by_plan
        for _ in range(3):
            answer = await wire.post("/api/registry/heartbeat.json", both)
            assert SUCCESS == answer["responseStatus"]
        assert (by_plan, 6) == (
            counters.renewed_by_plan - before[0],
            counters.renewed + counters.renewed_by_plan - before[1],
        )


async def test_as_a_java_client_sends_it(wire):
    """gzip, chunked, repeated Content-Type and Accept headers, names in any letter case."""
    body = gzip.compress(json.dumps({"INSTANCES": [instance()], "unknownName": 1}).encode())
    head = (
        b"POST /api/registry/register.json HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Type: application/json\r\n"
        b"Accept: application/json\r\nAccept: application/json\r\n"
        b"Content-Encoding: gzip\r\nAccept-Encoding: gzip,deflate\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    for _ in range(3):
        await wire.send(head + chunks)
        status, _, answer = await wire.answer()
        assert (200, SUCCESS) == (status, json.loads(answer)["responseStatus"])


async def test_an_offer_of_h2c_does_not_swallow_the_body(wire):
    """JDK clients offer HTTP/2 in every first request; it is ignored, hot and not hot."""
    for path in ("/api/registry/heartbeat.json", "/api/discovery/services.json"):
        body = b'{"instances":[]}' if "registry" in path else b"{}"
        fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAAA")
        await wire.send(post(path, body, *fields))
        assert 200 == (await wire.answer())[0]


async def test_every_cut_of_a_request_gives_the_same_answer(wire):
    """Wherever the network cuts a request, it is answered once and whole."""
    request = post("/api/registry/register.json", json.dumps({"instances": [instance()]}).encode())
    for cut in range(1, len(request), 7):
        await wire.send(request[:cut])
        await asyncio.sleep(0)
        await wire.send(request[cut:])
        assert 200 == (await wire.answer())[0]


async def test_one_byte_at_a_time(wire):
    """The slowest possible writer within the deadlines is served."""
    for byte in get("/api/status/node.json") + post("/api/status/node.json", b"{}"):
        await wire.send(bytes([byte]))
        await asyncio.sleep(0)
    for _ in range(2):
        status, _, body = await wire.answer()
        assert (200, "up") == (status, json.loads(body)["nodeStatus"]["status"])


async def test_a_pipeline_keeps_its_order_across_hot_and_other_requests(wire):
    """Requests for the hot path and for the application, pipelined in one write, are answered in order."""
    targets = [
        "/api/status/node.json",
        "/health/live",
        "/api/status/node.json",
        "/api/discovery/services.json",
        "/nothing",
        "/api/status/node.json",
    ] * 5
    await wire.send(b"".join(get(target) for target in targets))
    expected = {"/health/live": "status", "/nothing": "error", "/api/discovery/services.json": "services"}
    for target in targets:
        _, _, body = await wire.answer()
        assert expected.get(target, "nodeStatus") in json.loads(body)


async def test_garbage_behind_a_request_that_is_not_hot_does_not_overtake_its_answer(wire):
    """The request before the garbage is answered, then the garbage, then the connection ends."""
    await wire.send(get("/health/live") + b"GARBAGE\r\n\r\n")
    assert 200 == (await wire.answer())[0]
    assert 400 == (await wire.answer())[0]
    assert b"" == await wire.closed()


async def test_a_thousand_requests_in_one_write(wire):
    """Nothing is lost in a long pipeline, and the register between the lookups takes effect in order."""
    request = post("/api/registry/heartbeat.json", json.dumps({"instances": [instance()]}).encode())
    await wire.post("/api/registry/register.json", {"instances": [instance()]})
    await wire.send(request * 1000)
    for _ in range(1000):
        assert 200 == (await wire.answer())[0]


async def test_a_pipeline_behind_a_large_request_waits_for_it(wire):
    """A lookup pipelined behind a registration of 10 000 instances sees all of them."""
    instances = [instance(serviceId="big", instanceId=f"i{n}") for n in range(10_000)]
    lookup = {"regionId": "r1", "zoneId": "z1", "discoveryConfigs": [{"serviceId": "big"}]}
    request = post("/api/registry/register.json", json.dumps({"instances": instances}).encode())
    await wire.send(request + post("/api/discovery/lookup.json", json.dumps(lookup).encode()))
    _, _, first = await wire.answer()
    assert SUCCESS == json.loads(first)["responseStatus"]
    _, _, second = await wire.answer()
    assert 10_000 == len(json.loads(second)["services"][0]["instances"])


async def test_failures_of_a_large_request_are_all_reported(wire):
    """Of 2 000 instances in one request the bad ones come back in order, the others are registered."""
    instances = [instance(instanceId=f"i{n}", url=None if n % 500 == 3 else "http://x") for n in range(2000)]
    answer = await wire.post("/api/registry/register.json", {"instances": instances})
    assert ["i3", "i503", "i1003", "i1503"] == [f["instance"]["instanceId"] for f in answer["failedInstances"]]
    assert "partial_fail" == answer["responseStatus"]["status"]


async def test_head_has_the_fields_of_get_and_no_body(wire):
    """HEAD answers with the length that GET would have."""
    await wire.send(get("/api/status/node.json", method="HEAD"))
    _, fields, _ = await wire.answer(head_only=True)
    await wire.send(get("/api/status/node.json"))
    _, _, body = await wire.answer()
    assert len(body) == int(fields["content-length"])


async def test_http_1_0(server, connect):
    """HTTP/1.0 closes after the answer, unless asked to stay, and says so."""
    wire = await connect(server)
    request = b"GET /api/status/node.json HTTP/1.0\r\n"
    await wire.send(request + b"Connection: keep-alive\r\n\r\n")
    _, fields, _ = await wire.answer()
    assert "keep-alive" == fields["connection"]
    await wire.send(request + b"\r\n")
    _, fields, _ = await wire.answer()
    assert ("close", b"") == (fields["connection"], await wire.closed())


@pytest.mark.parametrize("target", ["/api/status/node.json", "/health/live"])
async def test_connection_close_is_honoured(wire, target):
    """The answer arrives, then the connection ends."""
    await wire.send(get(target, "Connection: close"))
    assert 200 == (await wire.answer())[0]
    assert b"" == await wire.closed()


async def test_a_half_closed_connection_still_gets_its_answers(wire):
    """A client that shuts its sending side down after the request is answered all the same."""
    instances = [instance(instanceId=f"i{n}") for n in range(3000)]
    await wire.send(post("/api/registry/register.json", json.dumps({"instances": instances}).encode()))
    await wire.send(get("/health/live"))
    wire.writer.write_eof()
    assert 200 == (await wire.answer())[0]
    assert 200 == (await wire.answer())[0]
    assert b"" == await wire.closed()


async def test_expect_100_continue(wire):
    """A client that asks first is told to go on; one that announces too much is told off without sending it."""
    body = b"{}"
    request = post("/api/status/node.json", body, "Expect: 100-continue")
    await wire.send(request[: -len(body)])
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await wire.reader.readuntil(b"\r\n\r\n")
    await wire.send(body)
    assert 200 == (await wire.answer())[0]


async def test_cors(wire):
    """Every answer is open to browsers, and a preflight echoes what it asks for."""
    fields = ("Origin: http://a", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-a, x-b")
    await wire.send(get("/api/registry/register.json", *fields, method="OPTIONS"))
    status, answer, _ = await wire.answer()
    assert (200, "*", "POST", "x-a, x-b", "3600") == (
        status,
        answer["access-control-allow-origin"],
        answer["access-control-allow-methods"],
        answer["access-control-allow-headers"],
        answer["access-control-max-age"],
    )
    for target in ("/api/status/node.json", "/health/ready", "/nothing"):
        await wire.send(get(target))
        _, answer, _ = await wire.answer()
        assert ("*", "*", "true") == (
            answer["access-control-allow-origin"],
            answer["access-control-expose-headers"],
            answer["access-control-allow-credentials"],
        )


@pytest.mark.parametrize(
    "target", ["/api/discovery/service.json?serviceId=big&regionId=r1", "/api/discovery/services.json"]
)
async def test_large_answers_are_packed_for_those_who_take_it(wire, target):
    """gzip only when accepted, and the same content either way."""
    instances = [instance(serviceId="big", instanceId=f"i{n}") for n in range(200)]
    await wire.post("/api/registry/register.json", {"instances": instances})
    await wire.send(get(target))
    _, plain_fields, plain = await wire.answer()
    for _ in range(2):
        await wire.send(get(target, "Accept-Encoding: gzip"))
        _, fields, packed = await wire.answer()
        assert ("gzip", plain) == (fields["content-encoding"], gzip.decompress(packed))
    assert "content-encoding" not in plain_fields


async def test_services_of_many_instances_arrive_whole(wire):
    """The streamed list of everything is complete JSON with a version."""
    instances = [instance(serviceId=f"s{n % 50}", instanceId=f"i{n}") for n in range(2000)]
    await wire.post("/api/registry/register.json", {"instances": instances})
    await wire.send(get("/api/discovery/services.json"))
    _, _, body = await wire.answer()
    answer = json.loads(body)
    assert (50, 2000) == (len(answer["services"]), sum(len(s["instances"]) for s in answer["services"]))
    assert answer["version"] > 0


async def test_pages(wire):
    """Health, metrics and the front page."""
    await wire.send(get("/health/live") + get("/health/ready") + get("/"))
    assert {"status": "live"} == json.loads((await wire.answer())[2])
    assert {"status": "up"} == json.loads((await wire.answer())[2])
    assert "/api/registry/register.json" in json.loads((await wire.answer())[2])["operations"]
    await wire.send(get("/metrics"))
    status, fields, body = await wire.answer()
    assert 200 == status
    assert fields["content-type"].startswith("text/plain")
    assert b"artemis_instances 0.0\n" in body


async def test_a_connection_that_is_accepted_is_none_that_was_rejected(wire: Wire) -> None:
    """The port counts connections; the refusals of a door are what it has turned away."""
    await wire.send(get("/metrics"))
    metrics = (await wire.answer())[2]
    assert b'reason="connections"' not in metrics
    assert b'artemis_port_connections_total{fate="http"}' in metrics


async def test_a_download_that_a_shutdown_cuts_off_is_no_error(start, connect, monkeypatch, caplog):
    """Nobody is left to be answered, so the making of the answer ends, and the log has no traceback."""
    monkeypatch.setattr("artemis.server.app._DRAIN", 0.01)
    before = asyncio.all_tasks()
    async with start() as server:
        wire = await connect(server)
        many = [instance(number, metadata={"text": "x" * 5_000}) for number in range(1_000)]
        await wire.post("/api/registry/register.json", {"instances": many})
        await wire.send(get("/api/discovery/services.json") * 10)
        await wire.reader.readexactly(1)
    left = asyncio.all_tasks() - before
    for task in left:
        task.cancel()
    await asyncio.gather(*left)
    assert [] == [record.getMessage() for record in caplog.records]
