"""HTTP around the operations (spec 1.1, 2): GET and POST, transport errors, CORS, packing, rate limits."""

import gzip
import json

import pytest
from cases import HEARTBEAT, LOOKUP, REGISTER, instance, instances, lookup
from cases_cluster import CLUSTER, CONFIG, DEPLOYMENT, LEASES, LEGACY, NODE, NODES
from ways import http

GETS = [
    ("discovery/service.json", "serviceId=demo.orders&regionId=r1&zoneId=z1", {
        "discoveryConfig": {"serviceId": "demo.orders"}, "regionId": "r1", "zoneId": "z1"}),
    ("discovery/services.json", "regionId=r1", {"regionId": "r1"}),
    *((path, "regionId=r1&zoneId=z1", {"regionId": "r1", "zoneId": "z1"}) for path in NODES),
    (NODE, "", {}),
    (CLUSTER, "", {}),
    (CONFIG, "", {}),
    (DEPLOYMENT, "", {}),
    (LEASES, "appIds=demo.orders,other", {"serviceIds": ["demo.orders", "other"]}),
    (LEASES, "appIds=demo.orders&appIds=other", {"serviceIds": ["demo.orders", "other"]}),
    (LEGACY, "appIds=nobody", {"serviceIds": ["nobody"]}),
    ("replication/registry/services.json", "regionId=r1&zoneId=z1", {"regionId": "r1", "zoneId": "z1"}),
    ("management/all-instance-operations.json", "regionId=r1", {"regionId": "r1"}),
    ("management/all-server-operations.json", "", {}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "query", "request_"), GETS, ids=[f"{path}?{query}" for path, query, _ in GETS])
@pytest.mark.parametrize("api", ["/api", "/artemis/api"])
async def test_get_answers_as_post_does(server, api, path, query, request_):
    """The same object, under both path families."""
    connection = await http(server, api=api)
    await connection.call(REGISTER, instances(instance()))
    posted = await connection.call(path, request_)
    got = await connection.get(f"{api}/{path}?{query}")
    await connection.close()
    assert 200 == got.status
    assert _steady(posted) == _steady(got.json())


def _steady(answer: dict[str, object]) -> dict[str, object]:
    """Without what depends on the moment of the request: that of the last count, and times in words."""
    moving = {"leaseUpdateMaxCountLastUpdateTime", "leasesStatus"}
    return {name: value for name, value in answer.items() if name not in moving}


@pytest.mark.parametrize("path", ["discovery/service.json", "replication/registry/services.json"])
async def test_a_missing_parameter_is_a_400(server, path):
    """Of a GET that needs it."""
    connection = await http(server)
    answer = await connection.get(f"/api/{path}")
    await connection.close()
    assert 400 == answer.status


@pytest.mark.parametrize(
    ("method", "target", "fields", "body", "status"),
    [
        ("POST", "/api/registry/register.json", ["Content-Type: application/json"], b"{", 400),
        ("POST", "/api/registry/register.json", ["Content-Type: text/plain"], b"{}", 415),
        ("GET", "/api/registry/register.json", [], b"", 405),
        ("DELETE", "/api/discovery/lookup.json", [], b"", 405),
        ("POST", "/api/registry/nothing.json", ["Content-Type: application/json"], b"{}", 404),
        ("GET", "/api/cluster/nodes.json", [], b"", 404),
    ],
)
async def test_errors_of_transport(server, method, target, fields, body, status):
    """Malformed JSON, other content types, wrong methods, unknown paths; the connection goes on."""
    connection = await http(server)
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *fields, f"Content-Length: {len(body)}", "", ""])
    answer = await connection.exchange(head.encode() + body)
    after = await connection.get("/api/status/node.json")
    await connection.close()
    assert (status, 200) == (answer.status, after.status)


async def test_browsers_of_any_origin_are_answered(server):
    """Every answer says so, and OPTIONS echoes what is asked for (spec 2)."""
    connection = await http(server)
    answer = await connection.get("/api/status/node.json", "Origin: http://elsewhere")
    asked = ("Origin: http://x", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-a, x-b")
    preflight = await connection.get("/api/discovery/lookup.json", *asked, method="OPTIONS")
    await connection.close()
    assert "*" == answer.fields["access-control-allow-origin"]
    assert "*" == answer.fields["access-control-expose-headers"]
    assert 200 == preflight.status
    assert "POST" in preflight.fields["access-control-allow-methods"]
    assert "x-a, x-b" == preflight.fields["access-control-allow-headers"]
    assert "3600" == preflight.fields["access-control-max-age"]


async def test_large_answers_come_packed_to_who_takes_them(server):
    """And plain to who does not; the order of instances is each worker's own, so one is asked."""
    connection = await http(server)
    await connection.call(REGISTER, instances(*(instance(n) for n in range(300))))
    body = json.dumps(lookup("demo.orders")).encode()
    head = f"POST /api/{LOOKUP} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    plain = await connection.same().exchange(f"{head}\r\n".encode() + body)
    packed = await connection.same().exchange(f"{head}Accept-Encoding: gzip,deflate\r\n\r\n".encode() + body)
    await connection.close()
    assert (None, "gzip") == (plain.fields.get("content-encoding"), packed.fields.get("content-encoding"))
    assert plain.body == packed.body


async def test_an_unpacked_body_may_not_be_a_bomb(serve):
    """What unpacks to more than the limit is refused, and the node lives."""
    async with serve(max_body_size=100_000) as server:
        connection = await http(server)
        body = gzip.compress(b'{"instances":[' + b" " * 10_000_000 + b"]}")
        head = f"POST /api/{HEARTBEAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        answer = await connection.exchange(
            f"{head}Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        await connection.close()
        again = await http(server)
        after = await again.get("/api/status/node.json")
        await again.close()
    assert (413, 200) == (answer.status, after.status)


async def test_the_thirty_first_status_page_is_refused(serve):
    """30 in ten seconds are accepted, the 31st is rate-limited, in a 200; node status is not limited (spec 11)."""
    async with serve(untouched=True) as server:
        connection = await http(server)
        answers = [await connection.call(CLUSTER, {}) for _ in range(31)]
        status = await connection.call(NODE, {})
        await connection.close()
    codes = [answer["responseStatus"]["errorCode"] for answer in answers]
    assert ["success"] * 30 + ["rate-limited"] == codes
    assert "Request is rate limited." == answers[30]["responseStatus"]["message"]
    assert "success" == status["responseStatus"]["status"]
