"""Requests and answers of the management operations on instances, servers and services (spec 2.6, 1.4).

Not here: what an operation does; see `artemis.management`. Groups, route rules and zones have no operations yet.
"""

from artemis.model.instances import Instance
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.services import Service, ServiceGroup
from artemis.model.wire import Int64, WireStruct


class InstanceKey(WireStruct, kw_only=True):
    """Names an instance (spec 1.4); compared without regard to letter case."""

    instance_id: str | None = None
    region_id: str | None = None
    service_id: str | None = None


class ServerKey(WireStruct, kw_only=True):
    """Names a machine: a region and the `ip` of the instances on it (spec 1.4)."""

    region_id: str | None = None
    server_id: str | None = None


class OperateInstanceRequest(WireStruct, kw_only=True):
    """Body of operate-instance (spec 2.6). `operation_complete` ends the operation of that name (spec 8.2)."""

    instance_key: InstanceKey | None = None
    operation: str | None = None
    operation_complete: bool = False
    operator_id: str | None = None
    token: str | None = None


class OperateServerRequest(WireStruct, kw_only=True):
    """Body of operate-server (spec 2.6)."""

    operation: str | None = None
    operation_complete: bool = False
    operator_id: str | None = None
    server_key: ServerKey | None = None
    token: str | None = None


class OperateResponse(WireStruct, kw_only=True):
    """Answer of operate-instance and operate-server (spec 2.6)."""

    response_status: ResponseStatus = UNSTATED


class InstanceKeyRequest(WireStruct, kw_only=True):
    """Body of instance-operations (spec 2.6)."""

    instance_key: InstanceKey | None = None


class ServerKeyRequest(WireStruct, kw_only=True):
    """Body of server-operations and server-down (spec 2.6)."""

    server_key: ServerKey | None = None


class RegionRequest(WireStruct, kw_only=True):
    """Body of the lists of all operations (spec 2.6): those of one region, or of all when it is blank."""

    region_id: str | None = None


class InstanceRequest(WireStruct, kw_only=True):
    """Body of instance-down (spec 2.6): the instance as its owner describes it, for its ip counts too."""

    instance: Instance | None = None


class ManagedServicesRequest(WireStruct, kw_only=True):
    """Body of management's services (spec 2.6). Both fields are accepted and ignored."""

    region_id: str | None = None
    zone_id: str | None = None


class ManagedServiceRequest(WireStruct, kw_only=True):
    """Body of management's service (spec 2.6). Region and zone are accepted and ignored."""

    region_id: str | None = None
    service_id: str | None = None
    zone_id: str | None = None


class InstanceOperations(WireStruct, kw_only=True):
    """The names of the operations that are recorded for an instance (spec 2.6)."""

    instance_key: InstanceKey | None = None
    operations: list[str | None] | None = None


class ServerOperations(WireStruct, kw_only=True):
    """The names of the operations that are recorded for a machine (spec 2.6)."""

    operations: list[str | None] | None = None
    server_key: ServerKey | None = None


class InstanceOperationsResponse(WireStruct, kw_only=True):
    """Answer of instance-operations (spec 2.6); `operations` is null when none is recorded."""

    operations: InstanceOperations | None = None
    response_status: ResponseStatus = UNSTATED


class ServerOperationsResponse(WireStruct, kw_only=True):
    """Answer of server-operations (spec 2.6); `operations` is null when none is recorded."""

    operations: ServerOperations | None = None
    response_status: ResponseStatus = UNSTATED


class AllInstanceOperationsResponse(WireStruct, kw_only=True):
    """Answer of all-instance-operations (spec 2.6)."""

    all_instance_operations: list[InstanceOperations | None] | None = None
    response_status: ResponseStatus = UNSTATED


class AllServerOperationsResponse(WireStruct, kw_only=True):
    """Answer of all-server-operations (spec 2.6)."""

    all_server_operations: list[ServerOperations | None] | None = None
    response_status: ResponseStatus = UNSTATED


class DownResponse(WireStruct, kw_only=True):
    """Answer of instance-down and server-down (spec 2.6)."""

    down: bool = False
    response_status: ResponseStatus = UNSTATED


class ManagedServicesResponse(WireStruct, kw_only=True):
    """Answer of management's services (spec 2.6): leased instances, also pulled-out ones. `version` is the time, ms."""

    response_status: ResponseStatus = UNSTATED
    services: list[Service | None] | None = None
    version: Int64 = 0


class ManagedServiceResponse(WireStruct, kw_only=True):
    """Answer of management's service (spec 2.6). `groups` is empty: groups have no operations yet."""

    groups: list[ServiceGroup | None] | None = None
    response_status: ResponseStatus = UNSTATED
    service: Service | None = None
