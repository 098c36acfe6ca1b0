"""Status, cluster, replication and the Rust rewrite's routes over real connections (spec 2.3-2.5, artemis-rust 1)."""

import json

import pytest
from doors import Wire, get, instance, post

from artemis import __version__
from artemis.model import decode
from artemis.model.leases import LeasesResponse
from artemis.server.operations import OPERATIONS
from msgtrans import TransportClient

SUCCESS = {"errorCode": "success", "message": "", "status": "success"}
CODES = {operation.name: operation.code for operation in OPERATIONS}


async def ask(wire: Wire, target: str, *fields: str) -> dict[str, object]:
    """GET JSON, expect 200."""
    await wire.send(get(target, *fields))
    status, _, body = await wire.answer()
    assert status == 200, body
    answer: dict[str, object] = json.loads(body)
    return answer


async def register(wire: Wire, *instances: dict[str, object]) -> None:
    """Register instances."""
    answer = await wire.post("/api/registry/register.json", {"instances": list(instances)})
    assert SUCCESS == answer["responseStatus"]


@pytest.mark.parametrize("prefix", ["/api", "/artemis/api"])
@pytest.mark.parametrize("page", ["cluster", "config", "deployment", "leases", "legacy-leases", "node"])
async def test_status_pages_answer_get_and_post_alike(wire, prefix, page):
    """On both path families."""
    target = f"{prefix}/status/{page}.json"
    by_get = await ask(wire, target)
    assert SUCCESS == by_get["responseStatus"]
    assert list(by_get) == list(await wire.post(target, {}))


async def test_nodes_that_are_up_are_this_one(server, wire):
    """With the URL that clients reach it by."""
    for name in ("registry", "discovery"):
        target = f"/api/cluster/up-{name}-nodes.json"
        (node,) = (await ask(wire, f"{target}?regionId=r1&zoneId=z1"))["nodes"]
        assert (server.url, {"metadata": None, "regionId": "r1", "zoneId": "z1"}) == (node["url"], node["zone"])
        refused = await wire.post(target, {"regionId": "r2"})
        assert (None, "data-not-found") == (refused["nodes"], refused["responseStatus"]["errorCode"])


async def test_leases_of_some_services(wire):
    """GET names them by `appIds`, repeated or in a list, POST by `serviceIds`."""
    await register(wire, *(instance(number, serviceId=name) for number, name in enumerate("ABCD")))
    target = "/api/status/leases.json"
    assert ["A", "B", "C", "D"] == list((await ask(wire, target))["leases"])
    assert ["A", "B", "C"] == list((await ask(wire, f"{target}?appIds=a,b&appIds=C"))["leases"])
    assert ["D"] == list((await wire.post(target, {"serviceIds": ["d"]}))["leases"])
    assert ["D"] == list((await wire.post(target, {"service_ids": ["d"]}))["leasesStatus"])


async def test_lease_pages_are_the_same_over_the_binary_door(server, wire):
    """A caller there has the same page, as JSON."""
    await register(wire, instance(metadata={"java_registry": "1"}))
    host, port = server.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        answer = (await client.request(b"{}", biz_type=CODES["status.legacy-leases"])).payload
    page = decode(LeasesResponse, answer)
    assert (1, ["demo.orders"]) == (page.lease_count, list(page.leases))


async def test_settings_in_force_are_shown(start, connect):
    """In the original's words, with where each comes from."""
    async with start(lease_ttl=30.0) as server:
        wire = await connect(server)
        answer = await ask(wire, "/api/status/config.json")
    assert "{ key: lease-ttl, value: 30, typedValue: 30 }" == answer["properties"]["lease-ttl"]
    assert sorted(answer["properties"]) == list(answer["properties"])
    assert set(answer["propertySources"].values()) <= set(answer["sources"])


async def test_the_deployment_is_that_of_the_announced_url(start, connect):
    """Machine, address, port, protocol and path."""
    async with start(self_url="https://node.example/artemis/") as server:
        answer = await ask(await connect(server), "/api/status/deployment.json")
    assert ("r1", "z1", "node.example", 443, "https", "/artemis/") == tuple(
        answer[name] for name in ("regionId", "zoneId", "ip", "port", "protocol", "path")
    )
    assert answer["machineName"]
    assert {"region", "zone"} <= set(answer["properties"])


async def test_the_overview_counts_the_connections_of_each_door(server, wire):
    """Beside who the node is and what it holds."""
    await register(wire, instance())
    answer = await ask(wire, "/api/v1/status")
    assert (server.url, __version__, "up", 1, 1) == tuple(
        answer[name] for name in ("url", "version", "status", "instances", "services")
    )
    assert {"http": 1, "msgtrans": 0, "websocket": 0} == answer["connections"]
    assert answer["cursor"] == server.node.cursor()


async def test_self_preservation_is_switched_while_the_node_runs(server, wire):
    """And shown by GET."""
    answer = await wire.post("/api/v1/self-preservation/switch", {"enabled": False})
    assert (False, False) == (answer["leases"]["enabled"], answer["legacyLeases"]["enabled"])
    assert "switched off" == (await ask(wire, "/api/v1/self-preservation"))["leases"]["reason"]
    await wire.send(post("/api/v1/self-preservation/switch", b"{}"))
    assert 400 == (await wire.answer())[0]


async def test_operators_alone_switch_self_preservation(start, connect, tmp_path):
    """Where there is an admin token it is asked for; the state is shown to everybody."""
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(0o600)
    async with start(admin_token_file=file) as server:
        wire = await connect(server)
        await wire.send(post("/api/v1/self-preservation/switch", b'{"enabled":false}'))
        assert 401 == (await wire.answer())[0]
        await ask(wire, "/api/v1/self-preservation")
        field = "Authorization: Bearer secret"
        answer = await wire.post("/api/v1/self-preservation/switch", {"enabled": False}, field)
        assert False is answer["leases"]["enabled"]


async def test_replication_from_a_java_node(wire):
    """Its four calls; what they write is seen by lookups."""
    base = "/api/replication/registry"
    body = {"instances": [instance(zoneId="z9")]}
    for name in ("heartbeat", "register"):
        assert SUCCESS == (await wire.post(f"{base}/{name}.json", body))["responseStatus"]
    (service,) = (await ask(wire, f"{base}/services.json?regionId=r1"))["services"]
    assert ("demo.orders", None) == (service["serviceId"], service["routeRules"])
    assert [service] == (await wire.post(f"{base}/services.json", {"regionId": "r1"}))["services"]
    await wire.send(get(f"{base}/services.json"))
    assert 400 == (await wire.answer())[0]
    await wire.post(f"{base}/unregister.json", body)
    assert [] == (await ask(wire, f"{base}/services.json?regionId=r1"))["services"]


@pytest.mark.parametrize("suffix", ["", ".json"])
async def test_a_rust_client_lives_its_life(wire, suffix):
    """Registers, renews by key, picks, is told when it is unknown, and goes, on paths with and without a suffix."""
    key = {name: instance()[name] for name in ("regionId", "zoneId", "serviceId", "instanceId")} | {"groupId": ""}
    answer = await wire.post(f"/api/registry/register{suffix}", {"instances": [instance()]})
    assert "success" == answer["responseStatus"]["errorCode"]
    for _ in range(3):
        answer = await wire.post(f"/api/registry/heartbeat{suffix}", {"instanceKeys": [key]})
        assert "success" == answer["responseStatus"]["errorCode"]
    config = {"serviceId": "demo.orders", "regionId": "r1", "zoneId": "z1"}
    assert 1 == len((await wire.post(f"/api/discovery/service{suffix}", {"discoveryConfig": config}))
        ["service"]["instances"])  # fmt: skip
    picked = await wire.post("/api/discovery/lookup.json", {"discoveryConfig": config, "strategy": "round-robin"})
    assert (True, "10.0.0.7") == (picked["success"], picked["instance"]["instanceId"])
    snake = {"instance_keys": [{"region_id": "r1", "service_id": "demo.orders", "instance_id": "10.0.0.7"}]}
    assert SUCCESS == (await wire.post(f"/api/registry/unregister{suffix}", snake))["responseStatus"]
    answer = await wire.post(f"/api/registry/heartbeat{suffix}", {"instanceKeys": [key]})
    assert ([key["instanceId"]], "Some heartbeats failed") == (
        [failed["instanceId"] for failed in answer["failedInstanceKeys"]],
        answer["responseStatus"]["errorMessage"],
    )
    await wire.send(post("/api/discovery/lookup.json", json.dumps({"discoveryConfig": config}).encode()))
    status, _, body = await wire.answer()
    assert (404, {"success": False, "message": "Service not found: demo.orders"}) == (status, json.loads(body))


async def test_many_leases_leave_packed_and_in_pieces(wire, server):
    """A long page takes turns with other connections and arrives whole."""
    for start in range(0, 4_000, 1_000):
        await register(wire, *(instance(number) for number in range(start, start + 1_000)))
    await wire.send(get("/api/status/leases.json"))
    _, fields, body = await wire.answer()
    assert "chunked" == fields["transfer-encoding"]
    assert (4_000, 4_000) == tuple(len(json.loads(body)[name]["demo.orders"]) for name in ("leases", "leasesStatus"))
