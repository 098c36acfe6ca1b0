"""The Rust rewrite's requests on the paths it shares with Java (artemis-rust 1.1, 5.1)."""

import json
from collections import Counter

import pytest

from artemis.model import (
    DiscoveryConfig,
    Instance,
    LookupRequest,
    RegistryRequest,
    ServiceRequest,
    decode,
    decode_msgpack,
)
from artemis.model.rust import EitherLookupRequest, EitherRegistryRequest, KeysResponse, LocatedKey, PickResponse
from artemis.server.batches import SLICE, Call, call_in_slices, is_large
from artemis.server.handlers import dialect
from artemis.server.node import REGISTRY_SUCCESS
from artemis.server.operations import OPERATIONS
from artemis.server.recognition import HeartbeatMemory

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def key(name, **fields):
    """Return a key of demo.orders."""
    return LocatedKey(**({"region_id": "r1", "service_id": "demo.orders", "instance_id": name} | fields))


def keys(*found):
    """Return a request by key."""
    return EitherRegistryRequest(instance_keys=list(found))


def pick(node, strategy="round-robin", **fields):
    """Look one instance up; the answer as its status and JSON."""
    config = DiscoveryConfig(**({"service_id": "demo.orders", "region_id": "r1", "zone_id": "z1"} | fields))
    answer = dialect.lookup(node, EitherLookupRequest(discovery_config=config, strategy=strategy), 0)
    assert decode(PickResponse, answer.json()) == decode_msgpack(PickResponse, answer.msgpack())
    return answer.http_status, json.loads(answer.json())


@pytest.mark.parametrize(
    "body",
    [
        b'{"instanceKeys":[{"regionId":"r1","zoneId":"z1","serviceId":"s","groupId":"","instanceId":"i"}]}',
        b'{"instance_keys":[{"region_id":"r1","zone_id":"z1","service_id":"s","group_id":"","instance_id":"i"}]}',
    ],
)
def test_both_casings_are_read(body):
    """The rewrite's own documents write names with underscores (artemis-rust 1.0)."""
    request = decode(EitherRegistryRequest, body)
    assert keys(key("i", service_id="s", zone_id="z1", group_id="")) == request


def test_a_heartbeat_by_key_renews(make_node, make_instance):
    """In any letter case and without zone or group; content is not compared, and Java's success is the answer."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance("a", service_id="Demo.Orders")]), 0)
    request = keys(None, key("A", region_id="R1", service_id="DEMO.orders"))
    assert REGISTRY_SUCCESS is dialect.heartbeat(node, request, 15_000)
    assert 15_000 == node.registry.find("demo.orders", "a").heard
    assert REGISTRY_SUCCESS is dialect.heartbeat(node, keys(), 15_000)


def test_keys_that_cannot_be_renewed_come_back(make_node, make_instance):
    """Unknown, removed, incomplete and foreign ones, with both spellings of the message."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance("a"), make_instance("gone")]), 0)
    node.unregister(RegistryRequest(instances=[make_instance("gone")]), 0)
    bad = [key("x"), key("gone"), LocatedKey(region_id="r1"), key("a", region_id="r2"), key("a", region_id=None)]
    answer = dialect.heartbeat(node, keys(key("a"), *bad), 0)
    assert bad == answer.failed_instance_keys
    expected = {
        "errorCode": "bad-request",
        "errorMessage": "Some heartbeats failed",
        "message": "Some heartbeats failed",
        "status": "fail",
    }
    encoded = json.loads(BY_NAME["registry.heartbeat"].encode_json(answer))
    assert (expected, None) == (encoded["responseStatus"], encoded["failedInstances"])


def test_a_heartbeat_by_key_brings_an_expired_instance_back(make_node, make_instance):
    """As one with the whole instance does."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance("a")]), 0)
    node.tick(20_001, 1_700_000_020_001)
    assert REGISTRY_SUCCESS is dialect.heartbeat(node, keys(key("a")), 20_002)
    assert 1 == len(node.registry)


def test_a_repeated_heartbeat_by_key_is_recognised(make_node, make_instance):
    """Its bytes renew without parsing, as those of a Java heartbeat do (design 2.4)."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance("a")]), 0)
    memory, request = HeartbeatMemory(), keys(key("a"))
    digest = memory.digest(b"the same")
    for _ in range(2):
        assert not memory.renew(node, digest, 0)
        assert REGISTRY_SUCCESS is memory.caller(node, digest).whole(request, 0)
    assert memory.renew(node, digest, 9_000)
    assert 9_000 == node.registry.find("demo.orders", "a").heard
    node.unregister(RegistryRequest(instances=[make_instance("a")]), 9_000)
    assert not memory.renew(node, digest, 9_000)
    assert isinstance(memory.caller(node, digest).whole(request, 9_000), KeysResponse)


def test_unregister_by_key_removes(make_node, make_instance):
    """An unknown key is a success, one of another region comes back."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance("a")]), 0)
    assert REGISTRY_SUCCESS is dialect.unregister(node, keys(key("A"), key("x")), 0)
    assert 0 == len(node.registry)
    answer = dialect.unregister(node, keys(key("a", region_id="r2")), 0)
    assert ["r2"] == [failed.region_id for failed in answer.failed_instance_keys]


def test_other_zones_are_refused_by_key_too(make_node, make_instance):
    """Where the node accepts its own zone alone."""
    node = make_node(allow_registry_from_other_zone=False)
    node.register(RegistryRequest(instances=[make_instance("a")]), 0)
    assert REGISTRY_SUCCESS is dialect.heartbeat(node, keys(key("a", zone_id="Z1")), 0)
    for operation in (dialect.heartbeat, dialect.unregister):
        assert [key("a")] == operation(node, keys(key("a")), 0).failed_instance_keys


def test_a_node_that_does_not_serve_says_so_by_key_too(make_node):
    """With the message in both spellings."""
    for operation in (dialect.heartbeat, dialect.unregister):
        answer = operation(make_node(started=False), keys(key("a")), 0)
        status = answer.response_status
        assert ("service-unavailable", False, None) == (status.error_code, status.ok, answer.failed_instance_keys)
        assert "Serivce registry is not in up state. Current status: starting" == status.error_message == status.message


@pytest.mark.parametrize("known", [True, False])
def test_many_keys_are_handled_in_slices(make_node, make_instance, known):
    """With the outcome of one piece."""
    node = make_node()
    names = [str(number) for number in range(2 * SLICE + 1)]
    if known:
        node.register(RegistryRequest(instances=[make_instance(name) for name in names]), 0)
    request = keys(*(key(name) for name in names))
    assert is_large(request)
    steps = call_in_slices(Call.of(BY_NAME["registry.heartbeat"], node), request, lambda: 5)
    turns = 0
    try:
        while True:
            next(steps)
            turns += 1
    except StopIteration as stop:
        answer = stop.value
    assert 2 == turns
    if known:
        assert REGISTRY_SUCCESS is answer
    else:
        assert names == [failed.instance_id for failed in answer.failed_instance_keys]


def test_java_requests_are_answered_as_ever(make_node, make_instance):
    """`instances` beside `instanceKeys` is Java's, and a request with neither is bad in Java's words."""
    node = make_node()
    both = EitherRegistryRequest(instances=[make_instance("a")], instance_keys=[key("a")])
    assert "data-not-found" == dialect.heartbeat(node, both, 0).failed_instances[0].error_code
    for operation in (dialect.heartbeat, dialect.unregister):
        assert "bad-request" == operation(node, EitherRegistryRequest(), 0).response_status.error_code
        assert "bad-request" == operation(node, None, 0).response_status.error_code
    config = DiscoveryConfig(service_id="s")
    request = EitherLookupRequest(discovery_config=config, discovery_configs=[config], region_id="r1")
    assert 1 == len(dialect.lookup(node, request, 0).views)
    assert dialect.lookup(node, LookupRequest(discovery_configs=[config], region_id="r1"), 0).response_status.ok
    assert "bad-request" == dialect.lookup(node, EitherLookupRequest(), 0).response_status.error_code


def test_round_robin_goes_around_each_service_by_itself(make_node, make_instance):
    """Calls for one service take no turn of another, and a change of its instances keeps the turn."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance(name) for name in "abc"]), 0)
    node.register(RegistryRequest(instances=[make_instance(name, service_id="s") for name in "xy"]), 0)
    seen = []
    for _ in range(4):
        seen += [pick(node)[1]["instance"]["instanceId"], pick(node, service_id="S")[1]["instance"]["instanceId"]]
    assert ["a", "x", "b", "y", "c", "x", "a", "y"] == seen
    node.register(RegistryRequest(instances=[make_instance("d")]), 0)
    assert "a" == pick(node)[1]["instance"]["instanceId"]


def test_any_other_strategy_is_random_and_even(make_node, make_instance):
    """Also a typo; every instance has its share."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance(name) for name in "abcd"]), 0)
    for strategy in (None, "random", "round robin"):
        seen = Counter(pick(node, strategy)[1]["instance"]["instanceId"] for _ in range(400))
        assert set("abcd") == set(seen)
        assert min(seen.values()) > 50


def test_the_picked_instance_is_whole(make_node, make_instance):
    """As it was registered, in the envelope of the rewrite."""
    node = make_node()
    instance = make_instance("a", metadata={"k": "v"})
    node.register(RegistryRequest(instances=[instance]), 0)
    answer = dialect.lookup(node, EitherLookupRequest(discovery_config=DiscoveryConfig(service_id="demo.orders")), 0)
    assert answer.json().startswith(b'{"success":true,"instance":{')
    assert instance == decode(PickResponse, answer.json()).instance
    assert isinstance(instance, Instance)


def test_what_cannot_be_picked_is_not_found(make_node, make_instance):
    """An unknown service, one without an instance that is up, another region: 404 with a sentence."""
    node = make_node()
    instances = [make_instance("a", status="down"), make_instance("b", status="starting")]
    node.register(RegistryRequest(instances=instances), 0)
    assert (404, {"success": False, "message": "No instances found for service: demo.orders"}) == pick(node)
    assert (404, {"success": False, "message": "Service not found: x"}) == pick(node, service_id="x")
    assert (404, {"success": False, "message": "Service not found: "}) == pick(node, service_id=None)
    assert (404, False) == (pick(node, region_id="r2")[0], pick(node, region_id="r2")[1]["success"])
    node.register(RegistryRequest(instances=[make_instance("c", status=None)]), 0)
    assert "c" == pick(node)[1]["instance"]["instanceId"]


def test_the_choice_is_among_what_discovery_data_selects(make_node, make_instance, monkeypatch):
    """In turns of their own; nothing selected is nothing found, and too much to look through is refused."""
    node = make_node()
    zones = {"a": "z1", "b": "z2", "c": "z1", "d": "z2"}
    node.register(RegistryRequest(instances=[make_instance(name, zone_id=zone) for name, zone in zones.items()]), 0)
    seen = []
    for zone in ("z1", "Z2", None, "z1", "z2", None):
        answer = pick(node, discovery_data={"zoneId": zone, "unknown": "x"})[1]
        seen.append(answer["instance"]["instanceId"])
    assert ["a", "b", "a", "c", "d", "b"] == seen
    nothing = {"success": False, "message": "No instances found for service: demo.orders"}
    assert (404, nothing) == pick(node, discovery_data={"metadata.env": "none"})
    assert 404 == pick(node, service_id="x", discovery_data={"zoneId": "z1"})[0]
    monkeypatch.setattr("artemis.discovery.narrowing.MAX_NARROWED", 3)
    assert 400 == pick(node, discovery_data={"zoneId": "z1"})[0]


def test_the_region_of_a_service_may_stand_in_its_config(make_node):
    """As the rewrite has it; the one beside the config counts where there is one."""
    node = make_node(allow_discovery_from_other_zone=False)
    config = DiscoveryConfig(service_id="s", region_id="r1", zone_id="z1")
    assert dialect.service(node, ServiceRequest(discovery_config=config), 0).response_status.ok
    for request in (
        ServiceRequest(discovery_config=config, region_id="r2"),
        ServiceRequest(discovery_config=config, zone_id="z2"),
        ServiceRequest(discovery_config=DiscoveryConfig(service_id="s")),
        ServiceRequest(),
        None,
    ):
        assert not dialect.service(node, request, 0).response_status.ok


def test_a_node_that_does_not_serve_picks_nothing(make_node):
    """503 with its status."""
    status, answer = pick(make_node(started=False))
    assert (503, False) == (status, answer["success"])
    assert "Serivce discovery is not in up state. Current status: starting" == answer["message"]


def test_turns_are_kept_for_a_bounded_number_of_services(make_node, make_instance):
    """The one that was asked for longest ago starts anew."""
    node = make_node()
    picker = type(node.picker)(node.catalog, seed=1, limit=2)
    for service in ("s1", "s2", "s3"):
        node.register(RegistryRequest(instances=[make_instance(name, service_id=service) for name in "ab"]), 0)
    for service in ("s1", "s2", "s3", "unknown"):
        picker.pick(service, in_turn=True)
    assert 2 == len(picker)
    first, second = (decode(Instance, picker.pick(service, in_turn=True)).instance_id for service in ("s1", "s3"))
    assert ("a", "b") == (first, second)


def test_the_http_status_of_a_lookup_is_that_of_the_pick(make_node):
    """Java's lookups are 200 whatever they say."""
    node, operation = make_node(), BY_NAME["discovery.lookup"]
    assert 200 == operation.http_status(operation.call(node, None, 0))
    request = EitherLookupRequest(discovery_config=DiscoveryConfig(service_id="x"))
    assert 404 == operation.http_status(operation.call(node, request, 0))
    assert {"discovery.lookup"} == {other.name for other in OPERATIONS if other.http_status}
