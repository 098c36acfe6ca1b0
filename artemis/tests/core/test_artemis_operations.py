"""The table of operations that all doors are made from (design 4)."""

from collections.abc import Callable

import pytest

from artemis.model import (
    DiscoveryConfig,
    Instance,
    LookupRequest,
    NodeStatusRequest,
    RegistryRequest,
    ResponseStatus,
    ServiceRequest,
    ServicesDeltaRequest,
    ServicesRequest,
    decode,
    decode_msgpack,
)
from artemis.model.management import (
    InstanceKey,
    InstanceKeyRequest,
    InstanceRequest,
    ManagedServiceRequest,
    ManagedServicesRequest,
    OperateInstanceRequest,
    OperateServerRequest,
    RegionRequest,
    ServerKey,
    ServerKeyRequest,
)
from artemis.server.node import Node
from artemis.server.operations import OPERATIONS, MissingParameter, Operation

#: The wall clock of the fixtures, and so the first version of a catalog.
WALL = 1_700_000_000_000

BY_NAME = {operation.name: operation for operation in OPERATIONS}


KEY = InstanceKey(region_id="r1", service_id="demo.orders", instance_id="10.0.0.1")
SERVER = ServerKey(region_id="r1", server_id="10.0.0.1")
MANAGEMENT = {
    "management.operate-instance": OperateInstanceRequest(instance_key=KEY, operation="out", operator_id="alice"),
    "management.operate-server": OperateServerRequest(server_key=SERVER, operation="out", operator_id="alice"),
    "management.instance-operations": InstanceKeyRequest(instance_key=KEY),
    "management.server-operations": ServerKeyRequest(server_key=SERVER),
    "management.all-instance-operations": RegionRequest(),
    "management.all-server-operations": RegionRequest(),
    "management.instance-down": InstanceRequest(
        instance=Instance(region_id="r1", service_id="demo.orders", instance_id="10.0.0.1")
    ),
    "management.server-down": ServerKeyRequest(server_key=SERVER),
    "management.services": ManagedServicesRequest(),
    "management.service": ManagedServiceRequest(service_id="demo.orders"),
}


@pytest.fixture
def requests(make_instance: Callable[..., Instance]) -> dict[str, object]:
    """Return a request that succeeds for every operation."""
    instances = RegistryRequest(instances=[make_instance()])
    config = DiscoveryConfig(service_id="demo.orders")
    return {
        "registry.register": instances,
        "registry.heartbeat": instances,
        "registry.unregister": instances,
        "discovery.lookup": LookupRequest(discovery_configs=[config], region_id="r1", zone_id="z1"),
        "discovery.service": ServiceRequest(discovery_config=config, region_id="r1", zone_id="z1"),
        "discovery.services": ServicesRequest(),
        "discovery.services-delta": ServicesDeltaRequest(version=WALL),
        "status.node": NodeStatusRequest(),
        **MANAGEMENT,
    }


def test_numbers_and_paths():
    """Numbers, names and paths are the contract of the doors."""
    assert [
        (1, "registry.register", "registry/register.json"),
        (2, "registry.heartbeat", "registry/heartbeat.json"),
        (3, "registry.unregister", "registry/unregister.json"),
        (16, "discovery.lookup", "discovery/lookup.json"),
        (17, "discovery.service", "discovery/service.json"),
        (18, "discovery.services", "discovery/services.json"),
        (19, "discovery.services-delta", "discovery/services-delta.json"),
        (32, "status.node", "status/node.json"),
        *((64 + number, name, name.replace(".", "/") + ".json") for number, name in enumerate(MANAGEMENT)),
    ] == [(operation.code, operation.name, operation.path) for operation in OPERATIONS]
    assert ["registry.heartbeat"] == [operation.name for operation in OPERATIONS if operation.recognisable]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("case", ["success", "null", "not serving"])
def test_every_answer_is_of_the_response_type_in_both_formats(
    make_node: Callable[..., Node], requests, operation: Operation, case: str
):
    """Whatever the outcome, JSON and MessagePack of an answer decode to the same response."""
    node = make_node(started=case != "not serving")
    if case == "success":
        node.register(requests["registry.register"], 0)
    answer = operation.call(node, None if case == "null" else requests[operation.name], 0)
    response = decode(operation.response_type, operation.encode_json(answer))
    assert response == decode_msgpack(operation.response_type, operation.encode_msgpack(answer))
    always = operation.name == "status.node" or (operation.name == "discovery.services" and case == "null")
    if operation.name.startswith("management."):
        lists = {f"management.{name}" for name in ("all-instance-operations", "all-server-operations", "services")}
        always = operation.name in lists or (case == "not serving" and "operate" not in operation.name)
    assert (case == "success" or always) == response.response_status.ok


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_plain_response_can_be_encoded_too(operation: Operation):
    """A door that must answer by itself encodes a response struct with the operation's own encoders."""
    status = ResponseStatus(status="fail", error_code="internal-service-error", message="x")
    response = operation.response_type(response_status=status)
    assert response == decode(operation.response_type, operation.encode_json(response))
    assert response == decode_msgpack(operation.response_type, operation.encode_msgpack(response))
    if operation.json_pieces is not None:
        assert [operation.encode_json(response)] == list(operation.json_pieces(response, 1))


def test_success_bytes_of_a_recognised_heartbeat(make_node, requests):
    """The answer to a renewal by plan is the answer of the heartbeat it stands for, and only heartbeats have one."""
    node = make_node()
    node.register(requests["registry.register"], 0)
    operation = BY_NAME["registry.heartbeat"]
    answer = operation.call(node, requests["registry.heartbeat"], 0)
    assert operation.encode_json(answer) == operation.success_json
    assert operation.encode_msgpack(answer) == operation.success_msgpack
    expected = b'{"failedInstances":null,"responseStatus":{"errorCode":"success","message":"","status":"success"}}'
    assert expected == operation.success_json
    assert {b""} == {other.success_json for other in OPERATIONS if other is not operation}


def test_the_pieces_of_services_join_to_its_answer(make_node, requests):
    """The operation that may answer at length offers its answer in pieces."""
    node = make_node()
    node.register(requests["registry.register"], 0)
    operation = BY_NAME["discovery.services"]
    answer = operation.call(node, None, 0)
    assert operation.json_pieces is not None
    assert operation.encode_json(answer) == b"".join(operation.json_pieces(answer, 1))
    delta = BY_NAME["discovery.services-delta"]
    answer = delta.call(node, requests["discovery.services-delta"], 0)
    assert delta.json_pieces is not None
    assert delta.encode_json(answer) == b"".join(delta.json_pieces(answer, 1))


def test_requests_from_queries():
    """The operations that may be asked by GET make their request from the query."""
    assert {"discovery.service", "discovery.services", "status.node"} <= {
        operation.name for operation in OPERATIONS if operation.from_query
    }
    query = {"serviceId": "s", "regionId": "r1", "zoneId": "z1", "other": "x"}
    config = DiscoveryConfig(service_id="s", region_id="r1", zone_id="z1")
    assert ServiceRequest(discovery_config=config, region_id="r1", zone_id="z1") == BY_NAME[
        "discovery.service"
    ].from_query(query)
    assert ServicesRequest(region_id="r1", zone_id="z1") == BY_NAME["discovery.services"].from_query(query)
    assert ServicesRequest() == BY_NAME["discovery.services"].from_query({})
    assert NodeStatusRequest() == BY_NAME["status.node"].from_query(query)


def test_a_query_without_its_required_parameter_is_refused():
    """A service query without serviceId raises, naming the parameter."""
    with pytest.raises(MissingParameter, match="required parameter 'serviceId' is missing") as caught:
        BY_NAME["discovery.service"].from_query({"serviceid": "s"})
    assert "serviceId" == caught.value.name
