"""The checklist for a compatible node (spec 16), a test for each row."""

import asyncio
import gzip
import json

import pytest
from cases import HEARTBEAT, LOOKUP, REGISTER, SERVICES, UNREGISTER, hold, instance, instances, lookup, shown
from cases_cluster import CLUSTER, LEASES, LEGACY, NODE, NODES, REPLICATE
from listening import Listener, listen
from matching import difference
from ways import DOORS, http, open_way

from artemis.server.config import ServeConfig
from artemis.server.http.limits import HttpLimits
from artemis.testing.java import JavaClient, JavaSettings, jackson
from artemis.testing.java.http import chunked, post_head


async def test_row_1_bodies_and_headers_as_java_sends_them(server):
    """gzip, chunked, Content-Type twice, names in any case, unknown names and null for a primitive, all at once."""
    connection = await http(server)
    odd = {"Instances": [{**{name.upper(): value for name, value in instance().items()}, "PORT": None, "later": {}}]}
    head = post_head("/api/registry/register.json", "x", generation=1)
    assert (2, 2) == (head.count(b"Content-Type: application/json"), head.count(b"Accept: application/json"))
    answer = await connection.exchange(head + chunked(gzip.compress(json.dumps(odd).encode())))
    found = await connection.call(LOOKUP, lookup("demo.orders"))
    await connection.close()
    assert (200, "success") == (answer.status, answer.json()["responseStatus"]["status"])
    assert "" == difference({"services": [{"instances": [shown(port=0)]}]}, found)


@pytest.mark.parametrize("door", DOORS)
async def test_row_2_every_outcome_is_an_answer_with_a_status(serve, door):
    """HTTP 200 with responseStatus, whatever came out; the codes are spelt as on the wire."""
    wrong = instances(instance(1, regionId="r2"), instance(2, url=None), instance(3))
    requests = [
        (HEARTBEAT, wrong),
        (REGISTER, {}),
        (LOOKUP, lookup("a", regionId="r2")),
        (NODES[0], {"regionId": "r9"}),
        (UNREGISTER, instances(instance())),
    ]
    async with serve(allow_registry_from_other_zone=False) as server:
        way = await open_way(door, server)
        answers = [await way.call(path, request) for path, request in requests]
        await way.close()
    codes = [answer["responseStatus"]["errorCode"] for answer in answers]
    assert ["partial_fail", "bad-request", "no-permission", "data-not-found", "success"] == codes
    failed = [item["errorCode"] for item in answers[0]["failedInstances"]]
    assert ["no-permission", "internal-service-error", "data-not-found"] == failed


async def test_row_3_every_field_is_written_and_spelt_as_in_java(server):
    """Nulls too; evitionTime, isSafe and isSafeCheckEnabled as they are; leases by service id in its own letters."""
    connection = await http(server)
    await connection.call(REGISTER, instances({**instance(), "serviceId": "Demo.Orders"}))
    leases = await connection.call(LEASES, {})
    status = await connection.call(NODE, {})
    found = await connection.call(LOOKUP, lookup("demo.orders"))
    await connection.close()
    assert ["Demo.Orders"] == list(leases["leases"])
    assert {"instance", "creationTime", "renewalTime", "evitionTime", "ttl"} <= set(leases["leases"]["Demo.Orders"][0])
    assert {"isSafe", "isSafeCheckEnabled", "leaseUpdateMaxCountLastUpdateTime"} <= set(leases)
    assert status["nodeStatus"]["node"]["zone"]["metadata"] is None
    assert shown(serviceId="Demo.Orders").value == found["services"][0]["instances"][0]


async def test_row_4_small_calls_and_pongs_do_not_wait_for_large_ones(server):
    """While 20 000 instances are registered and listed, node status, lookup and pongs are answered in between."""
    large, small = await http(server), await http(server)
    many = instances(*(instance(n, serviceId=f"s{n % 100}") for n in range(20_000)))
    async with listen(server, "/registry/heartbeat") as pinged:
        for path, request in ((REGISTER, many), (SERVICES, {})):
            work = asyncio.ensure_future(large.call(path, request))
            rounds = 0
            while not work.done():
                await small.call(NODE, {})
                await small.call(LOOKUP, lookup("nobody"))
                await pinged.ping()
                rounds += 1
            await work
            assert rounds >= 5
    await large.close()
    await small.close()


@pytest.mark.parametrize("generation", [1, 2])
async def test_row_5_heartbeats_over_websocket(server, generation):
    """Large messages are taken, each gets its reply, unknown instances come back whole, no reply is above 8 KiB."""
    unknown = [instance(n, metadata={"note": "ü" * 300}) for n in range(60)]
    async with listen(server, "/registry/heartbeat", generation) as wire:
        wire.send(instances(*unknown))
        failed: list[dict[str, object]] = []
        while len(failed) < 60:
            message = await wire.message()
            assert len(message) <= 8 * 1024
            failed += json.loads(message)["failedInstances"]
        echoed = [item["instance"] for item in failed]
        assert [shown(n, metadata={"note": "ü" * 300}).value for n in range(60)] == echoed
        connection = await http(server)
        await connection.call(REGISTER, {"instances": echoed})
        await connection.close()
        for _ in range(4):
            wire.send({"instances": echoed})
        answers = [json.loads(await wire.message()) for _ in range(4)]
        assert [(None, "success")] * 4 == [(a["failedInstances"], a["responseStatus"]["status"]) for a in answers]
        wire.send({"instances": []})
        assert "bad-request" == json.loads(await wire.message())["responseStatus"]["errorCode"]


@pytest.mark.parametrize("generation", [1, 2])
async def test_row_6_pushes_are_single_changes_in_order(server, generation):
    """One object a message, serviceId in lower case, the changes of an instance in their order."""
    connection = await http(server)
    async with listen(server, "/discovery/instance-change", generation) as wire:
        wire.send({"discoveryData": None, "regionId": None, "serviceId": "Demo.Orders", "zoneId": None})
        await wire.ping()
        for _ in range(3):
            await connection.call(REGISTER, instances(instance(serviceId="DEMO.Orders")))
            assert ("new", "demo.orders", "10.0.0.7") == await _change(wire)
            await connection.call(UNREGISTER, instances(instance(serviceId="demo.ORDERS")))
            assert ("delete", "demo.orders", "10.0.0.7") == await _change(wire)
    await connection.close()


async def _change(wire: Listener) -> tuple[object, object, object]:
    """What the next message says; a change object and nothing else (spec 1.4)."""
    change = json.loads(await wire.message())
    assert isinstance(change["changeTime"], int)
    return change["changeType"], change["instance"]["serviceId"], change["instance"]["instanceId"]


async def test_row_7_idle_connections_are_kept(server):
    """Longer than the 30 s that the SDK keeps them; an answer does not end a connection."""
    assert HttpLimits().idle_deadline >= 30
    connection = await http(server)
    for _ in range(3):
        answer = await connection.get("/api/status/node.json")
        assert (200, "close") != (answer.status, answer.fields.get("connection"))
    await connection.close()


@pytest.mark.parametrize("path", NODES)
async def test_row_8_this_node_is_listed_with_the_url_that_clients_reach(serve, path):
    """The announced URL may have a prefix; a Java client that starts there and goes there is served."""
    async with serve(self_url="http://registry.example:8080/artemis-service/") as server:
        connection = await http(server)
        answer = await connection.call(path, {"regionId": "r1", "zoneId": "z1"})
        await connection.close()
    assert ["http://registry.example:8080/artemis-service/"] == [node["url"] for node in answer["nodes"]]


async def test_row_8_a_client_lives_under_a_prefix(serve):
    """Bootstrap, WebSockets and calls below a servlet context."""
    fast = JavaSettings(
        first_heartbeat=0.05, heartbeat_check=0.05, heartbeat_interval=0.1, socket_timeout=5.0, connect_timeout=5.0
    )
    async with serve(path_prefix="/artemis-service") as server:
        bootstrap = f"{server.url}/artemis-service/"
        async with JavaClient(bootstrap, region_id="r1", zone_id="z1", settings=fast) as client:
            await client.registry.register(instance())
            await client.until(lambda: client.registry.registrations == 1)
            copy = await client.discovery.service("demo.orders")
            await client.registry.unregister(instance())
            await client.until(lambda: copy.instances == {})


async def test_row_9_keys_in_any_letters_region_everywhere_zone_not_in_replication(serve):
    """The region is a hard boundary, the zone one for clients alone."""
    calls = [
        (REGISTER, instances(instance(regionId="r2")), "no-permission"),
        (REPLICATE + "register.json", instances(instance(regionId="r2")), "no-permission"),
        (REGISTER, instances(instance(zoneId="z2")), "no-permission"),
        (REPLICATE + "register.json", instances(instance(zoneId="z2", serviceId="DEMO.Orders")), None),
        (REPLICATE + "heartbeat.json", instances(instance(zoneId="z2", regionId="R1")), None),
    ]
    async with serve(allow_registry_from_other_zone=False) as server:
        connection = await http(server)
        for path, request, expected in calls:
            failed = (await connection.call(path, request))["failedInstances"]
            assert expected == (failed and failed[0]["errorCode"]), path
        found = await connection.call(LOOKUP, lookup("demo.ORDERS", regionId="R1", zoneId="Z9"))
        await connection.close()
    assert 1 == len(found["services"][0]["instances"])


@pytest.mark.one_process("the test itself keeps the node from starting")
async def test_row_10_replication_works_while_a_node_starts(server):
    """Clients are refused, peers are not; a heartbeat of an unknown instance registers it."""
    connection = await http(server)
    server.node.tick = lambda *_: False
    server.node.wait_for("")
    refused = await connection.call(REGISTER, instances(instance(1)))
    assert ("service-unavailable", "Serivce registry is not in up state. Current status: starting") == (
        refused["responseStatus"]["errorCode"],
        refused["responseStatus"]["message"],
    )
    for number, operation in enumerate(("register", "heartbeat"), start=1):
        answer = await connection.call(f"{REPLICATE}{operation}.json", instances(instance(number)))
        assert "success" == answer["responseStatus"]["status"]
    found = await connection.call(REPLICATE + "services.json", {"regionId": "r1", "zoneId": "z1"})
    assert [2] == [len(service["instances"]) for service in found["services"]]
    answer = await connection.call(REPLICATE + "unregister.json", instances(instance(1)))
    assert "success" == answer["responseStatus"]["status"]
    await connection.close()


@pytest.mark.parametrize("target", ["instance", "server"])
async def test_row_11_subscribers_see_what_operators_do(server, target):
    """delete when an instance or its server is pulled out, new when it is back, at once."""
    key = {"regionId": "r1", "serviceId": "demo.orders", "instanceId": "10.0.0.7"}
    keys = {"instance": {"instanceKey": key}, "server": {"serverKey": {"regionId": "r1", "serverId": "10.0.0.7"}}}
    request = {**keys[target], "operation": "manual", "operatorId": "alice", "token": "t"}
    hold(server, instance())
    connection = await http(server)
    async with listen(server, "/discovery/instance-change") as wire:
        wire.send({"serviceId": "demo.orders"})
        await wire.ping()
        for complete, expected in ((False, "delete"), (True, "new")):
            answer = await connection.call(
                f"management/operate-{target}.json", {**request, "operationComplete": complete}
            )
            assert "success" == answer["responseStatus"]["status"]
            assert (expected, "demo.orders", "10.0.0.7") == await _change(wire)
    await connection.close()


def test_row_12_no_option_offers_a_database():
    """Not applicable: nodes keep operator state themselves, and nothing pretends to share the 20 tables with Java."""
    words = ("database", "mysql", "sql", "jdbc", "db", "datasource")
    assert [] == [name for name in ServeConfig.model_fields if set(name.split("_")) & set(words)]


async def test_row_13_a_first_node_without_peers_comes_up_by_itself(server):
    """No force-up: it serves at once and says so."""
    connection = await http(server)
    status = (await connection.call(NODE, {}))["nodeStatus"]
    cluster = await connection.call(CLUSTER, {})
    await connection.close()
    assert ("up", True, True) == (status["status"], status["canServiceRegistry"], status["canServiceDiscovery"])
    assert (1, ["up"]) == (cluster["nodeCount"], [node["status"] for node in cluster["nodesStatus"]])


@pytest.mark.parametrize(
    ("option", "default", "lowest", "highest"),
    [
        ("lease_ttl", 20.0, 10.0, 604_800.0),
        ("ws_session_ttl", 360.0, 300.0, 18_000.0),
        ("rate_limit_replication", 1_000_000, 1_000, 10_000_000),
        ("rate_limit_cluster", 10_000, 100, 100_000),
        ("rate_limit_status", 30, 1, 10_000),
        ("preservation_share", 85, 50, 100),
    ],
)
def test_row_14_options_keep_the_defaults_and_ranges_of_java(option, default, lowest, highest):
    """Of every key with a counterpart; a range may be wider here, never narrower."""
    assert default == getattr(ServeConfig(), option)
    more = {"legacy_lease_ttl": highest, "heartbeat_interval": 1.0} if option == "lease_ttl" else {}
    for value in (lowest, highest):
        assert value == getattr(ServeConfig(**{option: value, **more}), option)


async def test_row_14_legacy_leases_have_their_own_page(server):
    """And the shipped TTL of 90 s."""
    connection = await http(server)
    await connection.call(REGISTER, instances(instance(metadata={"java_registry": "1"})))
    leases = (await connection.call(LEGACY, {}))["leases"]
    await connection.close()
    assert [90_000] == [lease["ttl"] for lease in leases["demo.orders"]]


def test_the_request_of_a_java_client_is_what_jackson_writes():
    """Alphabetical, without blanks, nulls written: the client that the other rows use."""
    written = jackson({"instances": [{"groupId": None, "port": 0, "url": "ü"}]})
    assert '{"instances":[{"groupId":null,"port":0,"url":"ü"}]}'.encode() == written
