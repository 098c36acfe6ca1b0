"""What a node answers: the order of checks, the exact texts, its status (spec 2.1, 2.2, 2.4, 6.3)."""

import json
from collections.abc import Callable

import pytest

from artemis.model import (
    DiscoveryConfig,
    FailedInstance,
    Instance,
    LookupRequest,
    RegistryRequest,
    RegistryResponse,
    ResponseStatus,
    ServiceNode,
    ServiceNodeStatus,
    ServiceRequest,
    Zone,
)
from artemis.model.responses import PARTIAL_FAIL, SUCCESS, failure
from artemis.registry import NodeLimits
from artemis.server.node import Node

WALL = 1_700_000_000_000
TTL = 20_000

MakeInstance = Callable[..., Instance]
MakeNode = Callable[..., Node]

REGISTRY_OPERATIONS = pytest.mark.parametrize("operation", ["register", "heartbeat", "unregister"])
DISCOVERY_UNAVAILABLE = "Serivce discovery is not in up state. Current status: "


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    """Return a node that serves."""
    return make_node()


def request(*instances: Instance | None) -> RegistryRequest:
    return RegistryRequest(instances=list(instances))


def lookup(*services: str | None, region: str | None = "r1", zone: str | None = "z1") -> LookupRequest:
    configs: list[DiscoveryConfig | None] = [DiscoveryConfig(service_id=service) for service in services]
    return LookupRequest(discovery_configs=configs, region_id=region, zone_id=zone)


def one(service: str | None, region: str | None = "r1", zone: str | None = "z1") -> ServiceRequest:
    return ServiceRequest(discovery_config=DiscoveryConfig(service_id=service), region_id=region, zone_id=zone)


@REGISTRY_OPERATIONS
def test_registry_requests_without_instances_are_bad(make_node, operation):
    """A null request or list and an empty list are bad requests, even while the node does not serve."""
    for node in (make_node(), make_node(started=False)):
        call = getattr(node, operation)
        assert failure("bad-request", "request is null") == call(None, 0).response_status
        for empty in (None, []):
            response = call(RegistryRequest(instances=empty), 0)
            assert failure("bad-request", "request.instances is null or empty.") == response.response_status
            assert response.failed_instances is None


@REGISTRY_OPERATIONS
def test_a_node_that_does_not_serve_refuses_registry_requests(make_node, make_instance, operation):
    """Before its first tick and after drain a node answers service-unavailable with its status."""
    node = make_node(started=False)
    call = getattr(node, operation)
    text = "Serivce registry is not in up state. Current status: "
    assert failure("service-unavailable", text + "starting") == call(request(make_instance()), 0).response_status
    node.tick(0, WALL)
    node.drain(1)
    assert failure("service-unavailable", text + "down") == call(request(make_instance()), 1).response_status
    node.tick(2, WALL + 2)
    assert "down" == node.status


@REGISTRY_OPERATIONS
def test_success_is_one_object_and_null_elements_are_skipped(node, make_instance, operation):
    """When nothing fails the answer is success without failed instances; nulls in the list do not matter."""
    node.register(request(make_instance()), 0)
    response = getattr(node, operation)(request(None, make_instance(), None), 1)
    assert RegistryResponse(response_status=SUCCESS) == response
    assert response is getattr(node, operation)(request(None), 2)


def test_heartbeat_of_an_unknown_instance_returns_it_whole(node, make_instance):
    """The complete instance comes back with data-not-found and the original's text (spec 0.4)."""
    known, unknown = make_instance("known"), make_instance("B", group_id="G", metadata={"a": "b"})
    node.register(request(known), 0)
    text = "r1/z1/demo.orders/g/b: Instance is not exising! Need re-register."
    failed = FailedInstance(error_code="data-not-found", error_message=text, instance=unknown)
    expected = RegistryResponse(failed_instances=[failed], response_status=PARTIAL_FAIL)
    assert expected == node.heartbeat(request(known, unknown), 1)


@REGISTRY_OPERATIONS
def test_each_instance_fails_on_its_own(node, make_instance, operation):
    """Invalid and foreign instances are listed in order with their reasons, the others are served."""
    node.register(request(make_instance("good")), 0)
    bad = make_instance("x", url=" ")
    foreign = make_instance("y", region_id="r2")
    response = getattr(node, operation)(request(bad, make_instance("good"), foreign), 1)
    assert PARTIAL_FAIL == response.response_status
    assert [
        FailedInstance(
            error_code="internal-service-error",
            error_message="r1/z1/demo.orders/x: Exception: argument instance.url is null or whitespace",
            instance=bad,
        ),
        FailedInstance(
            error_code="no-permission",
            error_message="r2/z1/demo.orders/y: region 'r2' is not the region 'r1' of this node",
            instance=foreign,
        ),
    ] == response.failed_instances


@REGISTRY_OPERATIONS
def test_other_zones_are_welcome_unless_switched_off(make_node, make_instance, operation):
    """With the switch off, instances of another zone get no-permission; a wrong region is named first."""
    elsewhere = make_instance("a", zone_id="z2")
    nowhere = make_instance("b", zone_id=None, region_id=None)
    own = make_instance("c", zone_id="Z1")
    open_node, closed_node = make_node(), make_node(allow_registry_from_other_zone=False)
    for node in (open_node, closed_node):
        node.register(request(own), 0)
    open_node.register(request(elsewhere), 0)
    assert SUCCESS == getattr(open_node, operation)(request(elsewhere), 1).response_status
    response = getattr(closed_node, operation)(request(elsewhere, nowhere, own), 1)
    assert [
        ("no-permission", "r1/z2/demo.orders/a: zone 'z2' is not the zone 'z1' of this node"),
        ("no-permission", "//demo.orders/b: region '' is not the region 'r1' of this node"),
    ] == [(failed.error_code, failed.error_message) for failed in response.failed_instances]
    assert (1, 1) == (closed_node.stats().refused_zone, closed_node.stats().refused_region)


def test_limits_are_told_per_instance(make_node, make_instance):
    """A full registry and a large instance are internal-service-error for that instance, with a clear text."""
    node = make_node(limits=NodeLimits(max_instances=1, max_content_bytes=500))
    large = make_instance("a", metadata={"k": "x" * 500})
    response = node.register(request(large, make_instance("b"), make_instance("c")), 0)
    first, second = (failed.error_message for failed in response.failed_instances)
    assert first.startswith("r1/z1/demo.orders/a: Exception: the instance has ")
    assert "r1/z1/demo.orders/c: Exception: the registry is full: it holds 1 instances, the most it may" == second


def test_the_life_of_an_instance(node, make_instance):
    """Register, heartbeat, expiry, return, unregister and re-register, as callers see them (spec 4)."""

    def count(now: int) -> int:
        return len(node.lookup(lookup("Demo.Orders"), now).response().services[0].instances)

    beat = request(make_instance())
    assert "data-not-found" == node.heartbeat(beat, 0).failed_instances[0].error_code
    node.register(beat, 0)
    assert 1 == count(0)
    node.heartbeat(beat, 10_000)
    node.tick(10_000 + TTL, WALL)
    assert 1 == count(10_000 + TTL)
    node.tick(10_001 + TTL, WALL)
    assert 0 == count(10_001 + TTL)
    assert SUCCESS == node.heartbeat(beat, 40_000).response_status
    assert 1 == count(40_000)
    node.unregister(beat, 40_001)
    assert 0 == count(40_001)
    assert "data-not-found" == node.heartbeat(beat, 40_002).failed_instances[0].error_code
    assert SUCCESS == node.unregister(beat, 40_003).response_status
    node.register(beat, 40_004)
    assert 1 == count(40_004)


def test_requests_of_ten_thousand_instances(node, make_instance):
    """One request registers, renews or removes 10 000 instances and reports 10 000 failures."""
    many = request(*(make_instance(str(number)) for number in range(10_000)))
    assert 10_000 == len(node.heartbeat(many, 0).failed_instances)
    assert SUCCESS == node.register(many, 1).response_status
    response, plan = node.heartbeat_plan(many, 2)
    assert SUCCESS == response.response_status
    assert node.renew(plan, 3)
    assert SUCCESS == node.unregister(many, 4).response_status
    assert not node.renew(plan, 5)


def test_a_plan_repeats_a_heartbeat(node, make_instance):
    """A heartbeat in which all succeeded comes with a plan that renews it as if it came again."""
    node.register(request(make_instance()), 0)
    response, plan = node.heartbeat_plan(request(make_instance(), None), 1)
    assert SUCCESS == response.response_status
    assert node.renew(plan, TTL)
    node.tick(2 * TTL, WALL)
    assert (1, 1) == (node.stats().instances, node.stats().renewed_by_plan)


def test_there_is_no_plan_unless_all_succeeded(node, make_node, make_instance):
    """A heartbeat of which anything failed has no plan."""
    node.register(request(make_instance()), 0)
    unknown = make_instance("unknown")
    assert node.heartbeat_plan(request(make_instance(), unknown), 1)[1] is None
    assert node.heartbeat_plan(None, 1)[1] is None
    assert make_node(started=False).heartbeat_plan(request(unknown), 0)[1] is None


def test_a_plan_is_void_once_the_node_stops_serving(node, make_instance):
    """After drain no plan renews anything."""
    node.register(request(make_instance()), 0)
    _, plan = node.heartbeat_plan(request(make_instance()), 1)
    generation = node.generation
    node.drain(2)
    assert (False, True) == (node.renew(plan, 3), node.generation != generation)


def test_lookup_answers_in_the_order_of_the_request(node, make_instance):
    """Services come back as asked for, unknown ones empty, nulls and blanks skipped."""
    node.register(request(make_instance()), 0)
    ask = lookup("b", "demo.orders", None, "", "  ", "a")
    ask.discovery_configs.append(None)
    answer = node.lookup(ask, 0)
    assert SUCCESS == answer.response_status
    services = [(service.service_id, len(service.instances)) for service in answer.response().services]
    assert [("b", 0), ("demo.orders", 1), ("a", 0)] == services
    assert [] == node.lookup(lookup(None), 0).response().services


def test_lookup_without_configs_is_bad(node):
    """A null request, null configs and empty configs are bad requests with the original's text."""
    expected = failure("bad-request", "Request is null or request.discoveryConfigs is empty.")
    for ask in (None, LookupRequest(), lookup()):
        assert expected == node.lookup(ask, 0).response_status


def test_service_without_a_service_id_is_bad(node):
    """A null request, config or id and a blank id are bad requests with the original's text."""
    expected = failure("bad-request", "Request is null or request.discoveryConfig is null.")
    for ask in (None, ServiceRequest(region_id="r1"), one(None), one(""), one(" ")):
        assert expected == node.service(ask, 0).response_status


@pytest.mark.parametrize(("operation", "ask"), [("lookup", lookup), ("service", one)])
def test_discovery_checks_status_then_region_then_zone(make_node, operation, ask):
    """Status first, then region, then zone unless other zones are welcome (spec 2.2)."""

    def status(node: Node, *args: str | None) -> ResponseStatus:
        names = dict(zip(("region", "zone"), args, strict=False))
        return getattr(node, operation)(ask("s", **names), 0).response_status

    unstarted = make_node(started=False)
    assert failure("service-unavailable", DISCOVERY_UNAVAILABLE + "starting") == status(unstarted, "r2")
    opened, closed = make_node(), make_node(allow_discovery_from_other_zone=False)
    texts = {
        "r2": "region 'r2' is not the region 'r1' of this node",
        None: "regionId is missing; this node serves the region 'r1'",
    }
    for region, text in texts.items():
        assert failure("no-permission", text) == status(opened, region) == status(closed, region)
    assert SUCCESS == status(opened, "R1", "z2") == status(opened, "r1", None) == status(closed, "r1", "Z1")
    assert failure("no-permission", "zone 'z2' is not the zone 'z1' of this node") == status(closed, "r1", "z2")
    assert failure("no-permission", "zoneId is missing; this node serves the zone 'z1'") == status(closed, "r1", None)


def test_service_shows_one_service(node, make_instance):
    """A known service comes with its instances, an unknown one empty; both are a success."""
    node.register(request(make_instance()), 0)
    assert [make_instance()] == node.service(one("DEMO.orders"), 0).response().service.instances
    assert [] == node.service(one("unknown"), 0).response().service.instances


def test_services_needs_only_the_status(make_node, make_instance):
    """All services are shown whatever the request says, with a version; a node that does not serve refuses."""
    node = make_node(started=False)
    assert failure("service-unavailable", DISCOVERY_UNAVAILABLE + "starting") == node.services(None, 0).response_status
    node.tick(0, WALL)
    node.register(request(make_instance()), 0)
    response = node.services(None, 0).response()
    assert (["demo.orders"], WALL + 1) == ([service.service_id for service in response.services], response.version)


def test_one_lookup_cannot_multiply_a_large_service_without_bound(make_node, make_instance):
    """A lookup whose answer would be larger than the limit is refused; each service alone is answered."""
    node = make_node(limits=NodeLimits(max_lookup_bytes=1_000))
    node.register(request(*(make_instance(str(number)) for number in range(5))), 0)
    text = "The answer would be larger than 1000 bytes. Look up fewer services at once."
    assert failure("bad-request", text) == node.lookup(lookup("demo.orders", "demo.orders"), 0).response_status
    assert SUCCESS == node.lookup(lookup("demo.orders"), 0).response_status


def test_one_lookup_names_a_bounded_number_of_services(make_node):
    """A lookup of more services than the limit is refused."""
    node = make_node(limits=NodeLimits(max_lookup_services=2))
    text = "One lookup may name 2 services at most. Look up fewer at once."
    assert failure("bad-request", text) == node.lookup(lookup("a", "b", "c"), 0).response_status
    assert SUCCESS == node.lookup(lookup("a", "b"), 0).response_status


def test_node_status_tells_the_life_of_the_node(make_node):
    """A node is starting with unknown abilities, up with its first tick, and down after drain."""
    node = make_node(started=False, allow_registry_from_other_zone=False)

    def expected(status: str, can: bool | None) -> ServiceNodeStatus:
        return ServiceNodeStatus(
            node=ServiceNode(
                node_id="n1",
                region_id="r1",
                url="http://127.0.0.1:8080",
                zone=Zone(region_id="r1", zone_id="z1"),
                zone_id="z1",
            ),
            status=status,
            can_service_registry=can,
            can_service_discovery=can,
            allow_registry_from_other_zone=False,
            allow_discovery_from_other_zone=True,
        )

    assert expected("starting", None) == node.node_status(None, 0).node_status
    node.tick(0, WALL)
    assert expected("up", True) == node.node_status(None, 0).node_status
    node.drain(1)
    response = node.node_status(None, 1)
    assert (expected("down", False), SUCCESS) == (response.node_status, response.response_status)


def test_stats_count_what_happened(node, make_instance):
    """The numbers tell instances, services, changes and every kind of event."""
    node.register(request(make_instance("a"), make_instance("b"), make_instance("c", url="")), 0)
    node.heartbeat(request(make_instance("a"), make_instance("x")), 1)
    node.unregister(request(make_instance("b")), 2)
    node.lookup(lookup("demo.orders"), 2)
    stats = node.stats()
    assert ("up", 1, 1, 1, 1) == (stats.status, stats.instances, stats.services, stats.dead_records, stats.cached_views)
    assert (2, 1, 1, 1, 1) == (
        stats.registered,
        stats.renewed,
        stats.unregistered,
        stats.unknown_leases,
        stats.refused_invalid,
    )
    assert (3, WALL + 3, 1) == (stats.changes, stats.version, stats.self_preservation.live)


def test_two_owners_of_an_instance_cost_bounded_memory(make_node, make_instance):
    """However long they take turns, the log keeps its bound, one view is cached, and recognition is void each time."""
    node = make_node(max_changes=50)
    owners = [RegistryRequest(instances=[make_instance(port=port)]) for port in (1, 2)]
    node.register(owners[0], 0)
    for number in range(1, 501):
        _, plan = node.heartbeat_plan(owners[(number + 1) % 2], number)
        assert plan is not None
        assert node.heartbeat(owners[number % 2], number).response_status.ok
        assert not node.renew(plan, number)
    stats = node.stats()
    assert (1, 0, 500) == (stats.instances, stats.dead_records, stats.rewritten)
    assert len(node.log) <= 50
    assert 1 == len(node.registry.rewrites)
    (shown,) = json.loads(node.catalog.view("demo.orders").json)["instances"]
    assert 1 == shown["port"]
