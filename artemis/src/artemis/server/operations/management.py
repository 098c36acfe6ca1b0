"""Operations on instances and servers, services as operators see them (spec 2.6), and the switches of the node."""

from collections.abc import Callable, Mapping

import msgspec

from artemis.model import encode, encode_msgpack
from artemis.model.backup import (
    BackupPartRequest,
    BackupPartResponse,
    BackupRequest,
    BackupResponse,
    RestoreRequest,
    RestoreResponse,
)
from artemis.model.cluster import ForceRequest, ForceResponse
from artemis.model.management import (
    AllInstanceOperationsResponse,
    AllServerOperationsResponse,
    DownResponse,
    InstanceKeyRequest,
    InstanceOperationsResponse,
    InstanceRequest,
    ManagedServiceRequest,
    ManagedServiceResponse,
    ManagedServicesRequest,
    ManagedServicesResponse,
    OperateInstanceRequest,
    OperateResponse,
    OperateServerRequest,
    RegionRequest,
    ServerKeyRequest,
    ServerOperationsResponse,
)
from artemis.model.status import StatusRequest
from artemis.server.handlers import backup, force
from artemis.server.handlers import management as handlers
from artemis.server.operations.pieces import pieces, whole_json, whole_msgpack
from artemis.server.operations.table import Operation


def _region_query(query: Mapping[str, str]) -> RegionRequest:
    return RegionRequest(region_id=query.get("regionId"))


def _no_query(query: Mapping[str, str]) -> StatusRequest:  # noqa: ARG001 - it has no parameters
    return StatusRequest()


def _services_query(query: Mapping[str, str]) -> ManagedServicesRequest:
    return ManagedServicesRequest(region_id=query.get("regionId"), zone_id=query.get("zoneId"))


def _row(
    code: int,
    name: str,
    types: tuple[type[msgspec.Struct], type[msgspec.Struct]],
    handler: Callable[..., object],
    *,
    admin: bool = False,
    from_query: Callable[[Mapping[str, str]], msgspec.Struct] | None = None,
    in_pieces: bool = False,
    own_path: str | None = None,
) -> Operation:
    """Make a row; `types` are those of the request and the response. None of them belongs to the hot path.

    `own_path` is that of an operation that the originals lack.
    """
    return Operation(
        code=code,
        name=f"management.{name}",
        path=own_path or f"management/{name}.json",
        request_type=types[0],
        response_type=types[1],
        call=handler,
        encode_json=whole_json if in_pieces else encode,
        encode_msgpack=whole_msgpack(types[1]) if in_pieces else encode_msgpack,
        json_pieces=pieces if in_pieces else None,
        from_query=from_query,
        hot=False,
        admin=admin,
        parameters={} if own_path else None,
    )


MANAGEMENT: tuple[Operation, ...] = (
    _row(64, "operate-instance", (OperateInstanceRequest, OperateResponse), handlers.operate_instance, admin=True),
    _row(65, "operate-server", (OperateServerRequest, OperateResponse), handlers.operate_server, admin=True),
    _row(66, "instance-operations", (InstanceKeyRequest, InstanceOperationsResponse), handlers.instance_operations),
    _row(67, "server-operations", (ServerKeyRequest, ServerOperationsResponse), handlers.server_operations),
    _row(
        68,
        "all-instance-operations",
        (RegionRequest, AllInstanceOperationsResponse),
        handlers.all_instance_operations,
        from_query=_region_query,
        in_pieces=True,
    ),
    _row(
        69,
        "all-server-operations",
        (RegionRequest, AllServerOperationsResponse),
        handlers.all_server_operations,
        from_query=_region_query,
        in_pieces=True,
    ),
    _row(70, "instance-down", (InstanceRequest, DownResponse), handlers.instance_down),
    _row(71, "server-down", (ServerKeyRequest, DownResponse), handlers.server_down),
    _row(
        72,
        "services",
        (ManagedServicesRequest, ManagedServicesResponse),
        handlers.services,
        from_query=_services_query,
        in_pieces=True,
    ),
    _row(73, "service", (ManagedServiceRequest, ManagedServiceResponse), handlers.service, in_pieces=True),
    _row(74, "forced", (StatusRequest, ForceResponse), force.forced, from_query=_no_query, own_path="v1/node/forced"),
    _row(75, "force", (ForceRequest, ForceResponse), force.force, admin=True, own_path="v1/node/force"),
    _row(76, "backup", (BackupRequest, BackupResponse), backup.backup, admin=True, own_path="v1/backup"),
    _row(
        77,
        "backup-part",
        (BackupPartRequest, BackupPartResponse),
        backup.backup_part,
        admin=True,
        own_path="v1/backup/part",
    ),
    _row(78, "restore", (RestoreRequest, RestoreResponse), backup.restore, admin=True, own_path="v1/restore"),
)
