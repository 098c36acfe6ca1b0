"""What nodes of the originals send (spec 2.5, artemis-rust 1.7, design 4.1)."""

import json

import pytest

from artemis.model import RegistryRequest
from artemis.model.replication import RegistryContentRequest
from artemis.model.rust import EitherRegistryRequest, LocatedKey, SyncDeltaRequest, SyncFullRequest
from artemis.server.handlers import replication
from artemis.server.handlers.replication import REMOVED_FOR
from artemis.server.node import REGISTRY_SUCCESS

WALL = 1_700_000_000_000
R1 = RegistryContentRequest(region_id="R1")


def whole(answer):
    """Return the JSON of an answer in pieces."""
    return json.loads(b"".join(answer.json_pieces(64)))


def keys(*names, **fields):
    """Return a request by key."""
    values = {"region_id": "r1", "zone_id": "z1", "service_id": "Demo.Orders", "group_id": ""} | fields
    return EitherRegistryRequest(instance_keys=[None, *(LocatedKey(instance_id=name, **values) for name in names)])


@pytest.mark.parametrize("write", [replication.register, replication.heartbeat])
def test_a_starting_node_of_another_zone_takes_in_what_it_is_sent(make_node, make_instance, write):
    """Status and zone are not looked at, and a heartbeat of an unknown instance registers it."""
    node = make_node(started=False, allow_registry_from_other_zone=False)
    assert REGISTRY_SUCCESS is write(node, RegistryRequest(instances=[None, make_instance("a", zone_id="z9")]), 0)
    assert 1 == len(node.registry)


@pytest.mark.parametrize("write", [replication.register, replication.heartbeat, replication.unregister])
def test_bad_writes_are_refused_one_by_one(make_node, make_instance, write):
    """Another region and missing fields fail by instance; null and nothing fail whole."""
    node = make_node()
    bad = [make_instance("a", region_id="r2"), make_instance("b", url=" "), make_instance("c")]
    answer = write(node, RegistryRequest(instances=bad), 0)
    assert ["no-permission", "internal-service-error"] == [failed.error_code for failed in answer.failed_instances]
    assert "partial_fail" == answer.response_status.status
    for request in (None, RegistryRequest(), RegistryRequest(instances=[])):
        assert "bad-request" == write(node, request, 0).response_status.error_code


def test_a_heartbeat_that_a_removal_overtook_brings_nothing_back(make_node, make_instance):
    """For twenty seconds it succeeds without effect, after that it counts as a register (defect 14)."""
    node = make_node()
    request = RegistryRequest(instances=[make_instance("a")])
    replication.register(node, request, 0)
    replication.unregister(node, request, 1_000)
    assert REGISTRY_SUCCESS is replication.heartbeat(node, request, 1_000 + REMOVED_FOR - 1)
    assert 0 == len(node.registry)
    assert REGISTRY_SUCCESS is replication.heartbeat(node, request, 1_000 + REMOVED_FOR)
    assert 1 == len(node.registry)


def test_a_heartbeat_renews_and_brings_an_expired_instance_back(make_node, make_instance):
    """As a client's own heartbeat would; other content counts as a register, unless the present one came lately."""
    node = make_node()
    request = RegistryRequest(instances=[make_instance("a")])
    other = RegistryRequest(instances=[make_instance("a", port=1)])
    replication.heartbeat(node, request, 0)
    assert 1 == node.registry.counters.registered
    assert REGISTRY_SUCCESS is replication.heartbeat(node, other, REMOVED_FOR - 1)
    assert (1, 1) == (node.registry.counters.registered, node.registry.counters.renewed)
    node.tick(2 * REMOVED_FOR, WALL + 2 * REMOVED_FOR)
    assert 0 == len(node.registry)
    replication.heartbeat(node, request, 2 * REMOVED_FOR + 1)
    assert (1, 1) == (len(node.registry), node.registry.counters.registered)
    replication.heartbeat(node, other, 2 * REMOVED_FOR + 2)
    assert 2 == node.registry.counters.registered


def test_keys_renew_and_remove_but_cannot_register(make_node, make_instance):
    """Unknown keys come back from heartbeats and from batched removals, a plain removal of them succeeds."""
    node = make_node(started=False)
    replication.register(node, RegistryRequest(instances=[make_instance("a"), make_instance("b")]), 0)
    answer = replication.heartbeat(node, keys("A", "x"), 0)
    assert (["x"], "Some heartbeats failed") == (
        [key.instance_id for key in answer.failed_instance_keys],
        answer.response_status.error_message,
    )
    assert REGISTRY_SUCCESS is replication.unregister(node, keys("a", "x"), 0)
    answer = replication.batch_unregister(node, keys("b", "y", "a"), 0)
    assert (["y", "a"], "Some unregistrations failed") == (
        [key.instance_id for key in answer.failed_instance_keys],
        answer.response_status.error_message,
    )
    assert 0 == len(node.registry)
    assert "bad-request" == replication.batch_unregister(node, None, 0).response_status.error_code


def test_services_are_shown_as_registered(make_node, make_instance):
    """Live instances only, whatever discovery hides; what discovery adds is null."""

    class Hiding:
        name = "hiding"

        def apply(self, draft):
            return type(draft)(key=draft.key, service_id=draft.service_id)

        def explain(self, draft):
            return "hides everything"

    node = make_node(filters=[Hiding()])
    instances = [make_instance("a", service_id="S"), make_instance("b", service_id="s"), make_instance("c")]
    replication.register(node, RegistryRequest(instances=instances), 0)
    replication.unregister(node, RegistryRequest(instances=[instances[2]]), 0)
    answer = whole(replication.services(node, R1, 0))
    assert {"errorCode": "success", "message": "", "status": "success"} == answer["responseStatus"]
    (service,) = answer["services"]
    assert ["a", "b"] == [instance["instanceId"] for instance in service.pop("instances")]
    assert {"logicInstances": None, "metadata": None, "routeRules": None, "serviceId": "S"} == service
    assert [] == whole(replication.services(make_node(started=False), R1, 0))["services"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (None, "internal-service-error"),
        (RegistryContentRequest(), "no-permission"),
        (RegistryContentRequest(region_id="r2"), "no-permission"),
    ],
)
def test_services_of_nowhere_are_refused(make_node, request_, code):
    """A literal null is the original's internal error; a region is needed, and it is this node's."""
    answer = whole(replication.services(make_node(), request_, 0))
    assert (code, None) == (answer["responseStatus"]["errorCode"], answer["services"])


def test_a_full_sync_carries_its_time(make_node, make_instance):
    """So that a delta can be asked for later (artemis-rust 1.7)."""
    node = make_node()
    replication.register(node, RegistryRequest(instances=[make_instance("a")]), 0)
    answer = whole(replication.sync_full(node, SyncFullRequest(region_id="r1"), 5_000))
    assert (WALL + 5_000, ["demo.orders"]) == (
        answer["syncTimestamp"],
        [service["serviceId"] for service in answer["services"]],
    )
    assert "no-permission" == whole(replication.sync_full(node, None, 0))["responseStatus"]["errorCode"]


def test_a_delta_has_the_services_that_changed_since(make_node, make_instance):
    """Whole, without instances where the last one is gone; renewals are no changes."""
    node = make_node()
    for name in ("kept", "gone", "grown"):
        replication.register(node, RegistryRequest(instances=[make_instance("a", service_id=name)]), 1_000)
    replication.unregister(node, RegistryRequest(instances=[make_instance("a", service_id="gone")]), 3_000)
    replication.register(node, RegistryRequest(instances=[make_instance("b", service_id="grown")]), 3_000)
    replication.heartbeat(node, RegistryRequest(instances=[make_instance("a", service_id="kept")]), 3_000)
    request = SyncDeltaRequest(region_id="r1", since_timestamp=WALL + 2_000)
    answer = whole(replication.services_delta(node, request, 4_000))
    assert (WALL + 4_000, False) == (answer["currentTimestamp"], answer["fullSync"])
    assert {"gone": [], "grown": ["a", "b"]} == {
        service["serviceId"]: [instance["instanceId"] for instance in service["instances"]]
        for service in answer["services"]
    }


def test_a_delta_since_before_what_is_remembered_is_everything(make_node, make_instance):
    """And says so."""
    node = make_node()
    for name in ("one", "two"):
        replication.register(node, RegistryRequest(instances=[make_instance("a", service_id=name)]), 1_000)
    for since in (0, -(2**63), WALL - 1, WALL + 4_000_001, 2**63 - 1):
        request = SyncDeltaRequest(region_id="r1", since_timestamp=since)
        answer = whole(replication.services_delta(node, request, 4_000_000))
        assert (True, 2) == (answer["fullSync"], len(answer["services"]))
    request = SyncDeltaRequest(region_id="r1", since_timestamp=WALL + 4_000_000)
    assert [] == whole(replication.services_delta(node, request, 4_000_000))["services"]
    assert "no-permission" == whole(replication.services_delta(node, None, 0))["responseStatus"]["errorCode"]


@pytest.mark.parametrize("jump", [-86_400_000, 3_600_000, -WALL])
def test_a_wall_clock_that_is_set_loses_no_change(make_node, make_instance, jump):
    """Timestamps go on from where they were, so who comes back with the last one gets what changed since."""
    node = make_node()
    replication.register(node, RegistryRequest(instances=[make_instance("a", service_id="before")]), 1_000)
    first = whole(replication.services_delta(node, SyncDeltaRequest(region_id="r1", since_timestamp=WALL), 2_000))
    node.tick(2_000, WALL + 2_000 + jump)
    replication.register(node, RegistryRequest(instances=[make_instance("a", service_id="after")]), 3_000)
    since = first["currentTimestamp"]
    second = whole(replication.services_delta(node, SyncDeltaRequest(region_id="r1", since_timestamp=since), 4_000))
    assert (False, ["after"]) == (second["fullSync"], [service["serviceId"] for service in second["services"]])
    assert since < second["currentTimestamp"]
    assert since < whole(replication.sync_full(node, SyncFullRequest(region_id="r1"), 4_000))["syncTimestamp"]
