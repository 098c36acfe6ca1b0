"""Rate limits at the doors of a node (spec 2.1 step 1, 11)."""

import gzip
import json

import pytest
from doors import get, instance, post

from artemis.server.config import ServeConfig
from artemis.server.rate_limit import RateLimits, rate_limits
from msgtrans import TransportClient

REFUSED = {"errorCode": "rate-limited", "message": "Request is rate limited.", "status": "fail"}
SUCCESS = {"errorCode": "success", "message": "", "status": "success"}
BEAT = {"instances": [instance()]}


def few(**limits: int) -> RateLimits:
    """Limits below the ranges of the options."""
    return RateLimits(limits={("artemis.service.registry", name): count for name, count in limits.items()})


async def test_http_refuses_with_a_logical_failure(server, wire):
    """Over the limit the answer is a 200 with fail / rate-limited and no failed instances."""
    server.gate.configure(few(register=1))
    assert SUCCESS == (await wire.post("/api/registry/register.json", BEAT))["responseStatus"]
    expected = {"failedInstances": None, "responseStatus": REFUSED}
    assert expected == await wire.post("/api/registry/register.json", BEAT)


async def test_recognised_heartbeats_count_too(server, wire):
    """A heartbeat that is renewed without parsing is a request like any other."""
    await wire.post("/api/registry/register.json", BEAT)
    server.gate.configure(few(heartbeat=5))
    outcomes = [(await wire.post("/api/registry/heartbeat.json", BEAT))["responseStatus"] for _ in range(7)]
    assert [SUCCESS] * 5 + [REFUSED] * 2 == outcomes
    assert 3 == server.node.registry.counters.renewed_by_plan


async def test_packed_and_large_bodies_are_refused_before_they_are_read(server, wire):
    """Nothing of a refused request is unpacked or parsed."""
    server.gate.configure(few(register=1))
    await wire.post("/api/registry/register.json", BEAT)
    for body, fields in ((gzip.compress(b"x" * 100_000), ["Content-Encoding: gzip"]), (b"x" * 100_000, [])):
        await wire.send(post("/api/registry/register.json", body, *fields))
        status, _, answer = await wire.answer()
        assert (200, REFUSED) == (status, json.loads(answer)["responseStatus"])


@pytest.mark.parametrize("target", ["/api/discovery/service.json?serviceId=s&regionId=r1", "/api/status/node.json"])
async def test_a_caller_is_limited_over_all_operations(start, connect, target):
    """GET counts as POST does, and connections of one address share the limit."""
    async with start(rate_limit_per_caller=3) as server:
        first, second = await connect(server), await connect(server)
        for wire in (first, second, first):
            await wire.send(get(target))
            assert SUCCESS == json.loads((await wire.answer())[2])["responseStatus"]
        await second.send(get(target))
        assert REFUSED == json.loads((await second.answer())[2])["responseStatus"]


async def test_answers_in_pieces_are_limited_too(start, connect):
    """An operation that is answered beside the hot path is refused in its own shape."""
    async with start(rate_limit_per_caller=1) as server:
        wire = await connect(server)
        await wire.send(get("/api/discovery/services.json"))
        assert SUCCESS == json.loads((await wire.answer())[2])["responseStatus"]
        await wire.send(get("/api/discovery/services.json"))
        assert {"responseStatus": REFUSED, "services": None, "version": 0} == json.loads((await wire.answer())[2])


async def test_the_binary_door_shares_the_windows(server, wire):
    """Heartbeats over HTTP and over MsgTrans are one identity."""
    server.gate.configure(few(heartbeat=2))
    await wire.post("/api/registry/heartbeat.json", BEAT)
    async with TransportClient("tcp://{}:{}".format(*server.address)) as client:
        body = json.dumps(BEAT).encode()
        answers = [json.loads((await client.request(body, biz_type=2)).payload) for _ in range(2)]
    assert ["data-not-found", None] == [
        answer["failedInstances"] and answer["failedInstances"][0]["errorCode"] for answer in answers
    ]
    assert REFUSED == answers[1]["responseStatus"]


async def test_the_binary_door_knows_its_callers(start):
    """A session's peer address is the caller, whatever its port."""
    async with start(rate_limit_per_caller=2) as server:
        url = "tcp://{}:{}".format(*server.address)
        statuses = []
        for _ in range(3):
            async with TransportClient(url) as client:
                answer = json.loads((await client.request(b"{}", biz_type=32)).payload)
                statuses.append(answer["responseStatus"])
        assert [SUCCESS, SUCCESS, REFUSED] == statuses
        assert {"caller": {"status.node": 1}} == server.gate.refused


async def test_refusals_are_in_the_metrics(server, wire):
    """By limiter and identity, and by caller and operation."""
    server.gate.configure(few(register=1))
    for _ in range(3):
        await wire.post("/api/registry/register.json", BEAT)
    await wire.send(get("/metrics"))
    _, _, body = await wire.answer()
    expected = 'artemis_rate_limited_total{identity="register",limiter="artemis.service.registry"} 2.0'
    assert expected in body.decode().splitlines()


async def test_the_defaults_refuse_nobody(server, wire):
    """The limits of a node without options are those of its configuration."""
    assert rate_limits(ServeConfig()) == rate_limits(ServeConfig(region="r1"))
    assert SUCCESS == (await wire.post("/api/registry/register.json", BEAT))["responseStatus"]
