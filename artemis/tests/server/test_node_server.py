"""The life of a node server: time passes in it, it tells of self-preservation, it drains."""

import asyncio
import json

import structlog
from doors import get, instance, post

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig


async def until(condition) -> None:
    """Wait until the condition holds; the test's own timeout ends what never comes."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it waits for time to pass in the node
            await asyncio.sleep(0.02)


async def test_a_silent_instance_expires_and_comes_back(start, connect):
    """Time passes in a running node: a lease ends by itself, and a heartbeat revives it (design 4.1)."""
    async with start(lease_ttl=1) as server:
        wire = await connect(server)
        await wire.post("/api/registry/register.json", {"instances": [instance()]})
        await until(lambda: len(server.node.registry) == 0)
        answer = await wire.post("/api/registry/heartbeat.json", {"instances": [instance()]})
        assert answer["failedInstances"] is None
        assert 1 == len(server.node.registry)


async def test_self_preservation_is_told_in_metrics_and_log(connect):
    """When many instances fall silent at once, the log says so with the numbers, and the gauge is 1."""
    with structlog.testing.capture_logs() as lines:
        server = NodeServer(ServeConfig(port=0, region="r1", zone="z1", lease_ttl=1), structlog.get_logger())
        await server.start()
        try:
            wire = await connect(server)
            await wire.post("/api/registry/register.json", {"instances": [instance(n) for n in range(10)]})
            await until(lambda: any(line["event"] == "self-preservation began" for line in lines))
            await wire.send(get("/metrics"))
            assert b"artemis_self_preservation_active 1.0\n" in (await wire.answer())[2]
            assert 10 == len(server.node.registry)
        finally:
            await server.stop()
    began = next(line for line in lines if line["event"] == "self-preservation began")
    assert (10, 0, "leases") == (began["live"], began["heard"], began["of"])


async def test_without_self_preservation_the_silent_expire(start, connect):
    """--no-self-preservation acts."""
    async with start(lease_ttl=1, self_preservation=False) as server:
        wire = await connect(server)
        await wire.post("/api/registry/register.json", {"instances": [instance(n) for n in range(10)]})
        await until(lambda: len(server.node.registry) == 0)


async def test_a_draining_node_answers_what_is_under_way(connect):
    """A large request is finished during shutdown; a new one is refused with service-unavailable."""
    server = NodeServer(ServeConfig(port=0, region="r1", zone="z1"), structlog.get_logger())
    await server.start()
    busy, idle = await connect(server), await connect(server)
    await idle.send(get("/health/live"))
    await idle.answer()
    instances = [instance(instanceId=f"i{n}") for n in range(10_000)]
    await busy.send(post("/api/registry/register.json", json.dumps({"instances": instances}).encode()))
    await until(lambda: len(server.node.registry) > 0)
    await server.stop()
    status, fields, body = await busy.answer()
    assert (200, "close") == (status, fields["connection"])
    assert json.loads(body)["responseStatus"]["errorCode"] in {"success", "service-unavailable"}
    assert b"" == await idle.closed()


async def test_zones_can_be_closed(start, connect):
    """The two switches for other zones act on registrations and lookups."""
    async with start(allow_registry_from_other_zone=False, allow_discovery_from_other_zone=False) as server:
        wire = await connect(server)
        answer = await wire.post("/api/registry/register.json", {"instances": [instance(zoneId="z2")]})
        assert "no-permission" == answer["failedInstances"][0]["errorCode"]
        configs = [{"serviceId": "demo.orders"}]
        answer = await wire.post(
            "/api/discovery/lookup.json", {"regionId": "r1", "zoneId": "z2", "discoveryConfigs": configs}
        )
        assert "no-permission" == answer["responseStatus"]["errorCode"]


async def test_a_full_registry_says_so(start, connect):
    """--max-instances acts, names the limit, and lets known instances go on."""
    async with start(max_instances=1) as server:
        wire = await connect(server)
        answer = await wire.post("/api/registry/register.json", {"instances": [instance(1), instance(2)]})
        assert ["10.0.0.2"] == [f["instance"]["instanceId"] for f in answer["failedInstances"]]
        answer = await wire.post("/api/registry/heartbeat.json", {"instances": [instance(1)]})
        assert answer["failedInstances"] is None
