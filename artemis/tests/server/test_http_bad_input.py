"""Bad input at the HTTP door: a clear answer or a clean close, a counter, and nobody else disturbed."""

import asyncio
import gzip
import json
import struct

import pytest
from doors import get, instance, post

from artemis.server.http.limits import HttpLimits

REGISTER = "/api/registry/register.json"


@pytest.mark.parametrize(
    ("request_bytes", "status", "says"),
    [
        (post(REGISTER, b'{"instances":'), 400, "JSON"),
        (post(REGISTER, b""), 400, ""),
        (post(REGISTER, b"[1,2]"), 400, ""),
        (post(REGISTER, b'{"instances":{}}'), 400, "instances"),
        (post(REGISTER, b'{"instances":[{"port":"x"}]}'), 400, "port"),
        (post(REGISTER, b'{"instances":[{"port":1e99}]}'), 400, "port"),
        (post(REGISTER, b"\xff\xfe{}"), 400, ""),
        (post(REGISTER, b"[" * 100_000), 400, ""),
        (post(REGISTER, b"not gzip", "Content-Encoding: gzip"), 400, "gzip"),
        (post(REGISTER, gzip.compress(b"{}", mtime=0)[:-3], "Content-Encoding: gzip"), 400, "gzip"),
        (post(REGISTER, b"{}", "Content-Encoding: br"), 415, "gzip"),
        (get("/api/nothing.json"), 404, "/api/nothing.json"),
        (get("/api/registry/registration"), 404, "/api/registry/registration"),
        (get("/%ff%00"), 404, "GET /"),
        (get(REGISTER), 405, "POST"),
        (get(REGISTER, method="PUT"), 405, "POST"),
        (get("/health/live", method="POST"), 405, "GET"),
        (get("/api/discovery/service.json"), 400, "serviceId"),
        (
            b"POST /api/registry/register.json HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n\r\n",
            415,
            "application/json",
        ),
    ],
)
async def test_a_clear_answer_and_the_connection_goes_on(wire, request_bytes, status, says):
    """What is wrong in one request is said in its answer; the next request on the connection is served."""
    await wire.send(request_bytes)
    got, _, body = await wire.answer()
    assert (status, status) == (got, json.loads(body)["status"])
    assert says in json.loads(body)["message"]
    await wire.send(get("/api/status/node.json"))
    assert 200 == (await wire.answer())[0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"null", "request is null"),
        (b"{}", "request.instances is null or empty."),
        (b'{"instances":null}', "request.instances is null or empty."),
        (b'{"instances":[]}', "request.instances is null or empty."),
    ],
)
async def test_empty_requests_are_a_logical_outcome(wire, body, says):
    """An empty request is answered in a 200 with bad-request."""
    await wire.send(post(REGISTER, body))
    status, _, answer = await wire.answer()
    expected = {"errorCode": "bad-request", "message": says, "status": "fail"}
    assert (200, expected) == (status, json.loads(answer)["responseStatus"])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 600 + b"\r\n\r\n", 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"hello there\r\n", 400),
        (b"\x02\x00\x01", 400),
        (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", 400),
        (b"POST " + REGISTER.encode() + b" HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST " + REGISTER.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (post(REGISTER, b"").replace(b"Content-Length: 0", b"Content-Length: 99999999999"), 413),
        (get("/", *(f"X-{n}: {n}" for n in range(200))), 431),
        (get("/", "X-Long: " + "x" * 20_000), 431),
        (b"GET /" + b"x" * 100_000, 431),
    ],
)
async def test_an_answer_and_the_end_where_nothing_more_can_be_understood(server, wire, connect, data, status):
    """Broken framing is answered once, then the connection closes; others go on."""
    other = await connect(server)
    await wire.send(data)
    got, fields, body = await wire.answer()
    assert (status, "close", status) == (got, fields["connection"], json.loads(body)["status"])
    assert b"" == await wire.closed()
    await other.send(get("/health/ready"))
    assert 200 == (await other.answer())[0]


@pytest.mark.parametrize("target", [REGISTER, "/api/discovery/services.json"])
async def test_a_body_over_the_limit(start, connect, target):
    """A body that is too large gets a 413, whether its length is announced, comes in chunks or out of a gzip bomb."""
    async with start(max_body_size=10_000) as server:
        wire = await connect(server)
        await wire.send(post(target, b" " * 10_001))
        assert 413 == (await wire.answer())[0]
        wire = await connect(server)
        await wire.send(post(target, gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip", "Connection: close"))
        assert 413 == (await wire.answer())[0]
        wire = await connect(server)
        head = post(target, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        await wire.send(head + b"2000\r\n" + b" " * 0x2000 + b"\r\n" + b"2000\r\n" + b" " * 0x2000 + b"\r\n0\r\n\r\n")
        assert 413 == (await wire.answer())[0]
        wire = await connect(server)
        await wire.send(post(target, b"{" + b" " * 9_998 + b"}"))
        assert 200 == (await wire.answer())[0]


async def test_slow_heads_slow_bodies_and_silent_connections_end(start, connect):
    """A request that does not arrive in time gets a 408, an idle connection ends, each is counted."""
    limits = HttpLimits(head_deadline=0.5, body_deadline=0.01, idle_deadline=0.01)
    async with start(limits=limits) as server:
        head, body, cold, idle = [await connect(server) for _ in range(4)]
        await head.send(b"GET /api/status/no")
        await body.send(post(REGISTER, b"12345")[:-3])
        await cold.send(post("/api/discovery/services.json", b"12345")[:-3])
        await idle.send(get("/health/live"))
        assert 200 == (await idle.answer())[0]
        assert 408 == (await head.answer())[0]
        assert 408 == (await body.answer())[0]
        assert 408 == (await cold.answer())[0]
        for wire in (head, body, cold, idle):
            assert b"" == await wire.closed()
        assert 3 == server.counters["http"]["slow_request"]


async def test_a_peer_that_does_not_read_is_dropped(start, connect):
    """Answers for a peer that never reads stay bounded, and the peer goes after its deadline."""
    limits = HttpLimits(write_deadline=0.01)
    async with start(limits=limits) as server:
        wire = await connect(server)
        await wire.post(REGISTER, {"instances": [instance(n) for n in range(100)]})
        wire.writer.transport.pause_reading()
        request = get("/api/discovery/service.json?serviceId=demo.orders&regionId=r1")
        with pytest.raises(ConnectionError):  # noqa: PT012 - the reset arrives at one of many sends
            for _ in range(100_000):
                await wire.send(request * 10)
        assert 1 == server.counters["http"]["slow_reader"]


async def test_a_reset_in_the_middle_of_a_large_request(server, wire, connect):
    """A peer that vanishes while its registration is worked on stops that work; the node goes on."""
    instances = [instance(instanceId=f"i{n}") for n in range(10_000)]
    await wire.send(post(REGISTER, json.dumps({"instances": instances}).encode()))
    wire.writer.get_extra_info("socket").setsockopt(
        1, 13, struct.pack("ii", 1, 0)
    )  # SOL_SOCKET, SO_LINGER: RST on close
    wire.writer.transport.abort()
    other = await connect(server)
    await other.send(get("/health/ready"))
    assert 200 == (await other.answer())[0]


async def test_connections_over_the_limit_are_closed(start, connect):
    """The bound on connections holds, is counted, and frees up again."""
    async with start(max_connections=2) as server:
        first, second = await connect(server), await connect(server)
        for wire in (first, second):
            await wire.send(get("/health/live"))
            assert 200 == (await wire.answer())[0]
        third = await connect(server)
        assert b"" == await third.closed()
        first.writer.close()
        await first.writer.wait_closed()
        while True:
            fourth = await connect(server)
            await fourth.send(get("/health/live"))
            try:
                assert 200 == (await fourth.answer())[0]
                break
            except (asyncio.IncompleteReadError, ConnectionError):
                continue
        await second.send(get("/health/live"))
        assert 200 == (await second.answer())[0]


async def test_an_error_in_a_handler_is_an_answer_and_a_log_line(server, wire, monkeypatch):
    """Whatever goes wrong inside is internal-service-error in a 200, and the connection goes on."""

    def fail(*_: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(server.node, "register", fail)
    answer = await wire.post(REGISTER, {"instances": [instance()]})
    assert "internal-service-error" == answer["responseStatus"]["errorCode"]
    assert 1 == server.counters["http"]["internal_error"]
    await wire.post("/api/registry/heartbeat.json", {"instances": [instance()]})


async def test_a_repeated_hot_request_waits_for_the_answer_before_it(wire):
    """The same hot request in a read of its own, while a streamed answer is on its way, does not cut into it."""
    instances = [instance(serviceId=f"s{n % 100}", instanceId=f"i{n}") for n in range(5000)]
    await wire.post(REGISTER, {"instances": instances})
    hot = get("/api/status/node.json")
    await wire.send(hot)
    await wire.answer()
    for _ in range(10):
        await wire.send(get("/api/discovery/services.json"))
        await asyncio.sleep(0)
        await wire.send(hot)
        assert b'"version":' in (await wire.answer())[2][-40:]
        assert b'"nodeStatus"' in (await wire.answer())[2]


async def test_trailers_of_a_chunked_body_change_nothing(server, wire):
    """A `Connection: close` among the trailers is not a header; the request behind it is answered."""
    head = b"POST /nope HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await wire.send(head + b"2\r\n{}\r\n0\r\nConnection: close\r\n\r\n" + get("/health/live"))
    assert 404 == (await wire.answer())[0]
    assert 200 == (await wire.answer())[0]


@pytest.mark.parametrize("target", [REGISTER, "/api/discovery/services.json", "/nothing"])
async def test_broken_chunks_are_answered_on_every_path(wire, target):
    """A body whose framing breaks gets its 400 at once and the connection ends, whoever would have answered it."""
    await wire.send(post(target, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"zz\r\n")
    assert 400 == (await wire.answer())[0]
    assert b"" == await wire.closed()


async def test_an_announced_body_is_waited_for(wire):
    """A GET that announces a body is answered once, after the body."""
    await wire.send(get("/", "Content-Length: 5"))
    await wire.send(b"12345" + get("/health/live"))
    assert b'"artemis"' in (await wire.answer())[2]
    assert b'{"status":"live"}' == (await wire.answer())[2]


async def test_a_flood_of_requests_for_pages_is_taken_one_at_a_time(server, wire, connect):
    """Thousands of pipelined requests for the application are answered in order, and others have their turns."""
    other = await connect(server)
    count = 3000
    await wire.send(get("/health/live") * count)
    for _ in range(20):
        await other.send(get("/api/status/node.json"))
        assert 200 == (await other.answer())[0]
    for _ in range(count):
        assert 200 == (await wire.answer())[0]


async def test_pipelined_gzip_bodies_share_the_loop(server, wire, connect):
    """Small packed bodies that unpack to megabytes are worked on in steps, one after the other."""
    other = await connect(server)
    body = gzip.compress(b'{"instances":null}' + b" " * (4 << 20))
    await wire.send(post(REGISTER, body, "Content-Encoding: gzip") * 10)
    served = 0
    for _ in range(10):
        await other.send(get("/api/status/node.json"))
        await other.answer()
        served += 1
    for _ in range(10):
        status, _, answer = await wire.answer()
        assert (200, "bad-request") == (status, json.loads(answer)["responseStatus"]["errorCode"])
    assert 10 == served


@pytest.mark.parametrize("element", [b"{}", b"null", b"1"])
async def test_a_request_may_not_name_countless_instances(wire, element):
    """Half a million empty elements in a small body are refused before they cost anything."""
    await wire.send(post(REGISTER, b'{"instances":[' + b",".join([element] * 500_000) + b"]}"))
    status, _, body = await wire.answer()
    assert 400 == status
    assert "20000" in json.loads(body)["message"]


async def test_a_lookup_is_bounded(wire):
    """Looking one large service up many times at once is refused with what to do."""
    await wire.post(REGISTER, {"instances": [instance(n) for n in range(100)]})
    configs = [{"serviceId": "demo.orders"}] * 900
    answer = await wire.post("/api/discovery/lookup.json", {"regionId": "r1", "discoveryConfigs": configs})
    assert "bad-request" == answer["responseStatus"]["errorCode"]
    assert "fewer" in answer["responseStatus"]["message"]
