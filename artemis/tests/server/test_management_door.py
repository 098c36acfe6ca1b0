"""Operators, explain, queries and plug-in filters over real sockets (spec 2.6, 8.4, design 6)."""

import gzip
import importlib
import json
import shutil
import tomllib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from doors import Wire, get, instance, post
from ws import CHANGES, Dial

from artemis.discovery.filters import GROUP
from artemis.model import Instance, RegistryRequest
from artemis.server.app import NodeServer
from artemis.server.config import ConfigError, load_config
from artemis.server.node import Node

EXAMPLE = Path(__file__).parents[3] / "examples" / "discovery_filter"
LOOKUP = {"regionId": "r1", "zoneId": "z1", "discoveryConfigs": [{"serviceId": "demo.orders"}]}
KEY = {"regionId": "R1", "serviceId": "Demo.Orders", "instanceId": "10.0.0.7"}
SERVER = {"regionId": "r1", "serverId": "10.0.0.7"}
OUT: dict[str, object] = {"operation": "manual-pullout", "operationComplete": False, "operatorId": "alice"}

Connect = Callable[[NodeServer], Awaitable[Wire]]
Start = Callable[..., AbstractAsyncContextManager[NodeServer]]


EXPLAIN = "/api/v1/explain"


def post_json(path: str, content: object) -> bytes:
    return post(path, json.dumps(content).encode())


async def ask(wire: Wire, target: str) -> dict[str, object]:
    await wire.send(get(target))
    status, _, body = await wire.answer()
    assert status == 200, body
    decoded: dict[str, object] = json.loads(body)
    return decoded


async def manage(wire: Wire, path: str, /, **request: object) -> dict[str, object]:
    return await wire.post(f"/api/management/{path}.json", request)


async def register(wire: Wire, *instances: dict[str, object]) -> None:
    answer = await wire.post("/api/registry/register.json", {"instances": list(instances)})
    assert answer["failedInstances"] is None


async def shown(wire: Wire) -> list[str]:
    answer = await wire.post("/api/discovery/lookup.json", LOOKUP)
    (service,) = answer["services"]  # type: ignore[misc]
    return [each["instanceId"] for each in service["instances"]]


def code(answer: dict[str, object]) -> str:
    status = answer["responseStatus"]
    assert isinstance(status, dict)
    return str(status["errorCode"])


@pytest.mark.parametrize(
    ("operation", "key"), [("operate-instance", {"instanceKey": KEY}), ("operate-server", {"serverKey": SERVER})]
)
async def test_a_pull_out_reaches_lookups_and_subscribers_at_once(server, wire, dial: Dial, operation, key):
    """Subscribers are told delete and new in the original's words, around an answer that comes at once (spec 8.4)."""
    await register(wire, instance(7), instance(8))
    socket = await dial(server, CHANGES)
    await socket.send({"serviceId": "demo.orders", "regionId": "r1", "zoneId": "z1"})
    await socket.raw(b"\x89\x80mask")  # a ping: its pong says that the subscription has been read
    assert 10 == (await socket.frame())[0]
    assert "success" == code(await manage(wire, operation, **key, **OUT))
    assert ["10.0.0.8"] == await shown(wire)
    assert "success" == code(await manage(wire, operation, **key, **(OUT | {"token": "t-1"})))
    await register(wire, instance(7, port=9))
    assert ["10.0.0.8"] == await shown(wire)
    assert "success" == code(await manage(wire, operation, **key, **(OUT | {"operationComplete": True})))
    assert ["10.0.0.7", "10.0.0.8"] == await shown(wire)
    told = [await socket.json(), await socket.json()]
    assert ["delete", "new"] == [each["changeType"] for each in told]
    assert {"10.0.0.7"} == {each["instance"]["instanceId"] for each in told}  # type: ignore[index]


async def test_what_is_recorded_can_be_asked_for(wire):
    """Operations of one target and of all, by POST and GET, in every letter case; down or not (spec 2.6)."""
    assert (await manage(wire, "instance-operations", instanceKey=KEY))["operations"] is None
    for name in ("b", "A"):
        await manage(wire, "operate-instance", instanceKey=KEY, **(OUT | {"operation": name}))
    await manage(wire, "operate-server", serverKey=SERVER | {"serverId": "10.0.0.9"}, **OUT)
    of_instance = {"instanceKey": KEY, "operations": ["b", "A"]}
    of_server = {"operations": ["manual-pullout"], "serverKey": SERVER | {"serverId": "10.0.0.9"}}
    lower = {name: value.lower() for name, value in KEY.items()}
    assert of_instance == (await manage(wire, "instance-operations", instanceKey=lower))["operations"]
    assert of_server == (await manage(wire, "server-operations", serverKey=of_server["serverKey"]))["operations"]
    for query, expected in (("", [of_instance]), ("?regionId=r1", [of_instance]), ("?regionId=r2", [])):
        answer = await ask(wire, f"/artemis/api/management/all-instance-operations.json{query}")
        assert expected == answer["allInstanceOperations"]
    assert [of_server] == (await manage(wire, "all-server-operations", regionId="R1"))["allServerOperations"]
    for number, down in ((7, True), (8, False), (9, True)):
        assert down == (await manage(wire, "instance-down", instance=instance(number)))["down"]
        key = {"serverKey": {"regionId": "R1", "serverId": f"10.0.0.{number}"}}
        assert (number == 9) == (await manage(wire, "server-down", **key))["down"]


@pytest.mark.parametrize(
    ("operation", "request_", "text"),
    [
        ("operate-instance", OUT, "instanceKey is null or empty"),
        ("operate-server", OUT, "serverKey is null or empty"),
        ("operate-instance", OUT | {"instanceKey": KEY | {"regionId": " "}}, "regionId is null or empty"),
        ("operate-instance", OUT | {"instanceKey": KEY | {"serviceId": None}}, "serviceId is null or empty"),
        ("operate-instance", OUT | {"instanceKey": KEY | {"instanceId": ""}}, "instanceId is null or empty"),
        ("operate-server", OUT | {"serverKey": {"regionId": "r1"}}, "serverId is null or empty"),
        ("operate-server", {"serverKey": SERVER, "operatorId": "a"}, "operation is null or empty"),
        ("operate-server", {"serverKey": SERVER, "operation": "a"}, "operatorId is null or empty"),
        ("operate-server", OUT | {"serverKey": SERVER, "token": "x" * 256}, "token may have 255 characters at most"),
        ("operate-server", OUT | {"serverKey": SERVER | {"serverId": "x" * 1025}}, "serverId may have 1024"),
        ("instance-operations", {}, "instanceKey is null or empty"),
        ("server-operations", {}, "serverKey is null or empty"),
        ("server-down", {}, "serverKey is null or empty"),
        ("instance-down", {}, "instance is null or empty"),
        ("instance-down", {"instance": {"regionId": "r1"}}, "serviceId is null or empty"),
        ("service", {}, "serviceId is null or empty"),
    ],
)
async def test_incomplete_requests_are_bad_requests(wire, operation, request_, text):
    """A missing key or field is named in a bad request, where the original crashes (defect 18)."""
    answer = await wire.post(f"/api/management/{operation}.json", request_)
    assert "bad-request" == code(answer)
    assert text in answer["responseStatus"]["message"]


async def test_operators_need_a_node_that_is_up(server, wire):
    """Operating is refused while the node is not up; what is recorded can still be read (spec 2.6)."""
    server.node.drain(0)
    assert "service-unavailable" == code(await manage(wire, "operate-server", serverKey=SERVER, **OUT))
    assert "success" == code(await manage(wire, "all-server-operations"))


async def test_services_as_operators_see_them(server, wire):
    """All leased instances, up or down by operations, whatever they say, with the times of their leases (spec 2.6)."""
    await register(wire, instance(7, status="starting", metadata={"a": "b", "ttl": "mine"}), instance(8))
    await register(wire, instance(9, serviceId="old", metadata={"java_registry": "1"}))
    await manage(wire, "operate-instance", instanceKey=KEY, **OUT)
    answer = await ask(wire, "/api/management/services.json?regionId=x")
    assert answer["version"] > 1_600_000_000_000
    by_id = {each["instanceId"]: each for service in answer["services"] for each in service["instances"]}
    assert {"10.0.0.7": "down", "10.0.0.8": "up", "10.0.0.9": "up"} == {k: v["status"] for k, v in by_id.items()}
    assert ["20000", "20000", "90000"] == [by_id[f"10.0.0.{n}"]["metadata"]["ttl"] for n in (7, 8, 9)]
    metadata = by_id["10.0.0.7"]["metadata"]
    assert {"a", "creationTime", "renewalTime", "ttl"} == set(metadata)
    assert int(metadata["creationTime"]) <= int(metadata["renewalTime"]) + 1000
    one = await manage(wire, "service", serviceId="DEMO.ORDERS")
    assert (["10.0.0.7", "10.0.0.8"], []) == (
        [each["instanceId"] for each in one["service"]["instances"]],
        one["groups"],
    )
    assert "demo.orders" == one["service"]["serviceId"]
    unknown = await manage(wire, "service", serviceId="nope")
    assert ("nope", []) == (unknown["service"]["serviceId"], unknown["service"]["instances"])


async def test_long_lists_for_operators_come_in_pieces(server, wire):
    """Thousands of instances and operations are shown whole, in valid JSON, packed or not."""
    fill(server.node, 5_000)
    for number in range(2_500):
        key = {"regionId": "r1", "serviceId": "big", "instanceId": f"i{number}"}
        record = {"instanceKey": key, **OUT}
        await wire.send(post("/api/management/operate-instance.json", json.dumps(record).encode()))
    for _ in range(2_500):
        assert 200 == (await wire.answer())[0]
    services = (await ask(wire, "/api/management/services.json"))["services"]
    assert [5_000] == [len(each["instances"]) for each in services]  # type: ignore[attr-defined]
    assert 2_500 == sum(each["status"] == "down" for each in services[0]["instances"])  # type: ignore[index]
    operations = (await ask(wire, "/api/management/all-instance-operations.json"))["allInstanceOperations"]
    assert 2_500 == len(operations)  # type: ignore[arg-type]


def fill(node: Node, count: int) -> None:
    for number in range(count):
        one = Instance(region_id="r1", zone_id="z1", service_id="big", instance_id=f"i{number}", ip="h", url="u")
        node.register(RegistryRequest(instances=[one]), 0)


async def test_operating_beyond_loopback_needs_the_token(start: Start, connect: Connect, tmp_path: Path):
    """Both writes are the operators' own; reading is not."""
    file = tmp_path / "token"
    file.write_text("open-sesame-123\n")
    file.chmod(0o600)
    async with start(admin_token_file=file) as server:
        wire = await connect(server)
        body = json.dumps({"serverKey": SERVER, **OUT}).encode()
        for fields, expected in (((), "no-permission"), (("Authorization: Bearer open-sesame-123",), "success")):
            await wire.send(post("/api/management/operate-server.json", body, *fields))
            status, _, answer = await wire.answer()
            assert (200, expected) == (status, json.loads(answer)["responseStatus"]["errorCode"])
        assert "success" == code(await manage(wire, "server-operations", serverKey=SERVER))


# -- explain and queries


async def test_explain_by_get_and_post(wire):
    """The steps come with step, ok and why; without an instance it is 400, and a caller is of the node's own zone."""
    await register(wire, instance(7))
    query = "serviceId=demo.orders&instanceId=10.0.0.7&regionId=r1"
    seen = await ask(wire, f"/api/v1/explain?{query}&zoneId=z1")
    assert (True, "success") == (seen["visible"], code(seen))
    assert [{"ok", "step", "why"}] * 7 == [set(step) for step in seen["steps"]]
    await manage(wire, "operate-instance", instanceKey=KEY, **OUT)
    hidden = await wire.post("/artemis/api/v1/explain", KEY | {"zoneId": "z1"})
    assert [("operation", "instance pulled out by alice: manual-pullout")] == [
        (step["step"], step["why"]) for step in hidden["steps"] if not step["ok"]
    ]
    key = {name: value for name, value in KEY.items() if name != "regionId"}
    for request in (get("/api/v1/explain?serviceId=demo.orders&instanceId=10.0.0.7"), post_json(EXPLAIN, key)):
        await wire.send(request)
        status, _, body = await wire.answer()
        assert (200, hidden["steps"]) == (status, json.loads(body)["steps"])
    for request in (get("/api/v1/explain?serviceId=demo.orders"), post_json(EXPLAIN, {"serviceId": "demo.orders"})):
        await wire.send(request)
        status, _, body = await wire.answer()
        assert (400, True) == (status, b"instanceId" in body)


OURS = ["/api/v1/instances", "/api/v1/services", "/api/v1/services/s", EXPLAIN, "/api/v1/status"]


@pytest.mark.parametrize("path", OURS)
async def test_own_paths_know_their_parameters(wire, path):
    """A parameter that is not known is named, with those that are: its answer would not be what was asked for."""
    for name in ("limit", "metadata", "pagesize", "x" * 1000):
        await wire.send(get(f"{path}?serviceId=s&instanceId=i&{name}=1"))
        status, _, body = await wire.answer()
        answer = json.loads(body)
        assert ({"error", "message", "status"}, 400, 400) == (set(answer), status, answer["status"])
        assert "is not known here" in answer["message"]
        assert len(answer["message"]) < 300


@pytest.mark.parametrize(
    ("request_of_ours", "expected"),
    [
        (get("/api/v1/instances?regionId=r2"), 403),
        (get("/api/v1/services/s?regionId=r2"), 403),
        (post_json("/api/v1/instances", {"regionId": "r2"}), 403),
        (get("/api/v1/instances?pageSize=0"), 400),
        (get("/api/v1/services?page=0"), 400),
        (post_json("/api/v1/services", {"pageSize": 1001}), 400),
        (post_json("/api/v1/services", {"pageSize": 0}), 400),
        (get(EXPLAIN), 400),
        (post_json(EXPLAIN, {}), 400),
        (post_json("/api/v1/self-preservation/switch", {}), 400),
    ],
)
async def test_what_is_not_done_on_own_paths_looks_alike(wire, request_of_ours, expected):
    """A status of HTTP, its words and a sentence."""
    await wire.send(request_of_ours)
    status, _, body = await wire.answer()
    answer = json.loads(body)
    assert (expected, {"error", "message", "status"}) == (status, set(answer))
    assert answer["status"] == status


async def test_a_node_that_goes_refuses_on_own_paths_alike(server, wire):
    """503 with a time to come back, whichever path was asked."""
    server.node.drain(0)
    for path in OURS[:3]:
        await wire.send(get(path))
        status, fields, _ = await wire.answer()
        assert (503, "5") == (status, fields["retry-after"])


async def test_too_many_requests_on_own_paths_are_refused_alike(start, connect):
    """429 with a time to come back."""
    async with start(rate_limit_per_caller=1) as server:
        wire = await connect(server)
        await wire.send(get("/api/v1/status"))
        await wire.answer()
        for path in OURS[:3]:
            await wire.send(get(path))
            status, fields, _ = await wire.answer()
            assert (429, "10") == (status, fields["retry-after"])


async def test_queries_by_get_and_post(server, wire):
    """Pages carry total, page, size and the cursor of the data; numbers that are none are 400."""
    await register(wire, instance(7, metadata={"version": "2"}), instance(8), instance(9, serviceId="other"))
    answer = await ask(wire, "/api/v1/instances?serviceId=demo.orders&metadata.version=2")
    assert {"cursor", "instances", "page", "pageSize", "responseStatus", "total"} == set(answer)
    assert (["10.0.0.7"], server.node.cursor()) == (
        [each["instanceId"] for each in answer["instances"]],
        answer["cursor"],
    )
    second = await wire.post("/api/v1/instances", {"page": 2, "pageSize": 2})
    assert (["10.0.0.9"], 3) == ([each["instanceId"] for each in second["instances"]], second["total"])
    services = await ask(wire, "/api/v1/services?prefix=DE")
    assert [{"instanceCount": 2, "serviceId": "demo.orders"}] == services["services"]
    for target in ("/api/v1/instances?page=x", "/api/v1/services?pageSize=-1"):
        await wire.send(get(target))
        status, _, body = await wire.answer()
        assert (400, True) == (status, b"must be a whole number" in body)


async def test_a_query_over_a_large_service_is_answered_packed_too(server, wire):
    """A search that takes many steps ends in one whole answer."""
    fill(server.node, 12_000)
    await wire.send(get("/api/v1/instances?serviceId=big&ip=H&page=120", "Accept-Encoding: gzip"))
    status, fields, body = await wire.answer()
    answer = json.loads(gzip.decompress(body))
    assert (200, "gzip", 12_000, 100) == (status, fields["content-encoding"], answer["total"], len(answer["instances"]))


# -- filters


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the example's package, as far as Python can tell, for the time of the test."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "src", site, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][GROUP].items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()


@pytest.mark.usefixtures("installed")
async def test_an_installed_filter_acts_on_lookups_and_pushes(start: Start, connect: Connect, dial: Dial):
    """The example's filter is found by its name, hides what drains, explains itself, and subscribers are told."""
    async with start(filters=("hide-draining", "status-up")) as server:
        wire = await connect(server)
        await register(wire, instance(7), instance(8, metadata={"draining": "TRUE"}), instance(9, status="down"))
        assert ["10.0.0.7"] == await shown(wire)
        socket = await dial(server, CHANGES)
        await socket.send({"serviceId": "demo.orders", "regionId": "r1", "zoneId": "z1"})
        await socket.raw(b"\x89\x80mask")
        assert 10 == (await socket.frame())[0]
        await register(wire, instance(7, metadata={"draining": "true"}))
        await register(wire, instance(8, metadata={"draining": "no"}))
        told = [await socket.json(), await socket.json()]
        assert [("delete", "10.0.0.7"), ("new", "10.0.0.8")] == [
            (each["changeType"], each["instance"]["instanceId"])  # type: ignore[index]
            for each in told
        ]
        seen = await wire.post("/api/v1/explain", KEY | {"zoneId": "z1"})
        assert ["hide-draining: it says that it is draining"] == [
            step["why"] for step in seen["steps"] if not step["ok"]
        ]


@pytest.mark.usefixtures("installed")
def test_filters_are_options(tmp_path: Path):
    """Flags, variables and files name filters; one that does not exist is an error that lists those that do."""
    file = tmp_path / "node.toml"
    file.write_text('filters = ["status-up", "hide-draining"]\n')
    assert ("status-up", "hide-draining") == load_config(file, {}).filters
    assert ("hide-draining", "status-up") == load_config(None, {"filters": ["hide-draining", "status-up"]}).filters
    with pytest.raises(ConfigError, match=r"--filter: there is no filter 'x'; there are: hide-draining, status-up"):
        load_config(None, {"filters": ["x"]})
