"""The table of operations that all doors are made from (design 4)."""

from collections.abc import Callable

import msgspec
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
    ToldRequest,
    decode,
    decode_msgpack,
)
from artemis.model.backup import BackupPartRequest, BackupRequest, RestoreRequest
from artemis.model.cluster import ForceRequest, UpNodesRequest
from artemis.model.cluster_status import (
    ClusterLeaveRequest,
    ClusterOutcomeRequest,
    ClusterStayRequest,
    ClusterTaskRequest,
)
from artemis.model.explain import ExplainRequest
from artemis.model.leases import LeasesRequest
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
from artemis.model.queries import InstancesRequest, ServicesPageRequest
from artemis.model.replication import RegistryContentRequest
from artemis.model.rust import EitherRegistryRequest, LocatedKey, SyncDeltaRequest, SyncFullRequest
from artemis.model.status import PreservationSwitch, StatusRequest
from artemis.server.node import Node
from artemis.server.operations import OPERATIONS, MissingParameter, Operation

#: The wall clock of the fixtures, and so the first version of a catalog.
WALL = 1_700_000_000_000

BY_NAME = {operation.name: operation for operation in OPERATIONS}


#: What a node without a cluster refuses, and one without a backup under way.
AMONG_OTHERS = {"cluster.diff", "cluster.repair", "cluster.outcome", "cluster.leave", "management.backup-part"}
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


STATUS = {
    "status.cluster": StatusRequest(),
    "status.leases": LeasesRequest(),
    "status.legacy-leases": LeasesRequest(),
    "status.config": StatusRequest(),
    "status.deployment": StatusRequest(),
    "status.connections": StatusRequest(),
    "status.overview": StatusRequest(),
    "status.self-preservation": StatusRequest(),
    "status.switch-self-preservation": PreservationSwitch(enabled=True),
    "status.vitals": StatusRequest(),
    "cluster.view": StatusRequest(),
    "cluster.diff": ClusterTaskRequest(),
    "cluster.repair": ClusterTaskRequest(),
    "cluster.outcome": ClusterOutcomeRequest(number=1),
    "cluster.leave": ClusterLeaveRequest(operator_id="alice"),
    "cluster.stay": ClusterStayRequest(operator_id="alice"),
    "management.forced": StatusRequest(),
    "management.force": ForceRequest(service="registry", force="off", operator_id="alice"),
    "management.backup": BackupRequest(operator_id="alice"),
    "management.backup-part": BackupPartRequest(number=1),
    "management.restore": RestoreRequest(operator_id="alice", region_id="r1"),
    "cluster.up-registry-nodes": UpNodesRequest(region_id="r1", zone_id="z1"),
    "cluster.up-discovery-nodes": UpNodesRequest(region_id="r1", zone_id="z1"),
}
KEYS = EitherRegistryRequest(
    instance_keys=[LocatedKey(region_id="r1", service_id="demo.orders", instance_id="10.0.0.1")]
)
REPLICATION = {
    "replication.register": RegistryRequest(
        instances=[Instance(region_id="r1", service_id="demo.orders", instance_id="10.0.0.1", url="http://10.0.0.1/")]
    ),
    "replication.heartbeat": KEYS,
    "replication.unregister": KEYS,
    "replication.batch-unregister": KEYS,
    "replication.services": RegistryContentRequest(region_id="r1"),
    "replication.services-delta": SyncDeltaRequest(region_id="r1"),
    "replication.sync-full": SyncFullRequest(region_id="r1"),
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
        "query.instances": InstancesRequest(service_id="demo.orders"),
        "query.services": ServicesPageRequest(prefix="demo"),
        "query.told": ToldRequest(service_id="demo.orders"),
        "explain": ExplainRequest(service_id="demo.orders", instance_id="10.0.0.1", region_id="r1", zone_id="z1"),
        **STATUS,
        **REPLICATION,
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
        (33, "status.cluster", "status/cluster.json"),
        (34, "status.leases", "status/leases.json"),
        (35, "status.legacy-leases", "status/legacy-leases.json"),
        (36, "status.config", "status/config.json"),
        (37, "status.deployment", "status/deployment.json"),
        (38, "status.connections", "status/message/connections.json"),
        (39, "status.overview", "v1/status"),
        (40, "status.self-preservation", "v1/self-preservation"),
        (41, "status.switch-self-preservation", "v1/self-preservation/switch"),
        (42, "status.vitals", "v1/node/vitals"),
        (48, "cluster.up-registry-nodes", "cluster/up-registry-nodes.json"),
        (49, "cluster.up-discovery-nodes", "cluster/up-discovery-nodes.json"),
        (50, "cluster.view", "v1/cluster"),
        (51, "cluster.diff", "v1/cluster/diff"),
        (52, "cluster.repair", "v1/cluster/repair"),
        (53, "cluster.outcome", "v1/cluster/outcome"),
        (54, "cluster.leave", "v1/cluster/leave"),
        (55, "cluster.stay", "v1/cluster/stay"),
        *((64 + number, name, name.replace(".", "/") + ".json") for number, name in enumerate(MANAGEMENT)),
        (74, "management.forced", "v1/node/forced"),
        (75, "management.force", "v1/node/force"),
        (76, "management.backup", "v1/backup"),
        (77, "management.backup-part", "v1/backup/part"),
        (78, "management.restore", "v1/restore"),
        (80, "explain", "v1/explain"),
        (81, "query.instances", "v1/instances"),
        (82, "query.services", "v1/services"),
        (83, "query.told", "v1/told"),
        (96, "replication.register", "replication/registry/register.json"),
        (97, "replication.heartbeat", "replication/registry/heartbeat.json"),
        (98, "replication.unregister", "replication/registry/unregister.json"),
        (99, "replication.services", "replication/registry/services.json"),
        (100, "replication.batch-unregister", "replication/registry/batch-unregister.json"),
        (101, "replication.services-delta", "replication/registry/services-delta.json"),
        (102, "replication.sync-full", "replication/registry/sync-full.json"),
    ] == sorted((operation.code, operation.name, operation.path) for operation in OPERATIONS)
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
    family = operation.name.partition(".")[0]
    if operation.name == "status.connections":
        assert msgspec.UNSET is response.response_status
    elif operation.name in AMONG_OTHERS:
        assert not response.response_status.ok
    elif case == "success":
        assert response.response_status.ok
    elif family == "registry" or operation.name in {"discovery.lookup", "discovery.service"}:
        assert not response.response_status.ok


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
