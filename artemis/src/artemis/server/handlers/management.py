"""Operations on instances and servers, and the services as operators see them (spec 2.6, 8.2, 8.3).

The operator state lives in this node's memory, so answers come at once; nothing waits for a database. In a cluster it
spreads to all nodes like what clients register.
Not here: the state and its effect, see `artemis.management`; groups, route rules and zones, which do not exist yet.
"""

from collections.abc import Generator, Iterable, Iterator

import msgspec

from artemis.discovery.ordering import in_order
from artemis.management import (
    InstanceTarget,
    OperationEntry,
    OperationRecord,
    ServerTarget,
    Target,
    TooManyOperations,
)
from artemis.model import Instance, ResponseStatus, encode
from artemis.model.management import (
    DownResponse,
    InstanceKey,
    InstanceKeyRequest,
    InstanceOperations,
    InstanceOperationsResponse,
    InstanceRequest,
    ManagedServiceRequest,
    ManagedServiceResponse,
    ManagedServicesRequest,
    OperateInstanceRequest,
    OperateResponse,
    OperateServerRequest,
    RegionRequest,
    ServerKey,
    ServerKeyRequest,
    ServerOperations,
    ServerOperationsResponse,
)
from artemis.model.nodes import UP
from artemis.model.responses import (
    BAD_REQUEST,
    INTERNAL_SERVICE_ERROR,
    NO_PERMISSION,
    SERVICE_UNAVAILABLE,
    SUCCESS,
    failure,
)
from artemis.registry import Lease
from artemis.server.node import Node

MAX_TEXT = 255
"""Characters of an operation's name, an operator and a token: what the original's table has room for (spec 8.1)."""

MAX_ID = 1024
"""Characters of an id in a key."""

#: Entries looked at between two looks at the rest of the world.
_LOOKED_AT = 1_000

_NULL = failure(BAD_REQUEST, "request is null")


# -- operate


def operate_instance(node: Node, request: OperateInstanceRequest | None, now: int) -> OperateResponse:
    """Pull an instance out, or end one operation of it (spec 2.6). A missing token is fine (defect 18)."""
    key = None if request is None else request.instance_key
    return OperateResponse(response_status=_operate(node, request, key, now))


def operate_server(node: Node, request: OperateServerRequest | None, now: int) -> OperateResponse:
    """Pull all instances of a machine out, or end one operation of it (spec 2.6)."""
    key = None if request is None else request.server_key
    return OperateResponse(response_status=_operate(node, request, key, now))


def _operate(
    node: Node,
    request: OperateInstanceRequest | OperateServerRequest | None,
    key: InstanceKey | ServerKey | None,
    now: int,
) -> ResponseStatus:
    if node.status != UP:
        return failure(SERVICE_UNAVAILABLE, f"Management is not possible. Current status: {node.status}")
    if request is None:
        return _NULL
    target = _target(key, request)
    if isinstance(target, ResponseStatus):
        return target
    elsewhere = node.regions.known(target.region)
    if elsewhere is not None and not request.operation_complete:
        where = node.regions.hint(target.region)
        return failure(NO_PERMISSION, f"region {elsewhere.region!r} is not that of this node{where}")
    operation, operator = _filled(request.operation), _filled(request.operator_id)
    if not operation or not operator:
        return _missing("operatorId" if operation else "operation")
    for name, text in (("operation", operation), ("operatorId", operator), ("token", request.token or "")):
        if len(text) > MAX_TEXT:
            return failure(BAD_REQUEST, f"{name} may have {MAX_TEXT} characters at most")
    try:
        if request.operation_complete:
            node.pullouts.complete(target, operation, now)
        else:
            node.pullouts.operate(target, OperationRecord(operation, operator, request.token), now)
    except TooManyOperations as error:
        return failure(INTERNAL_SERVICE_ERROR, str(error))
    return SUCCESS


# -- what is recorded


def instance_operations(node: Node, request: InstanceKeyRequest | None, now: int) -> InstanceOperationsResponse:  # noqa: ARG001
    """Name the operations of an instance (spec 2.6); those of its server are not among them."""
    target = _NULL if request is None else _target(request.instance_key, request)
    if isinstance(target, ResponseStatus):
        return InstanceOperationsResponse(response_status=target)
    entry = node.operations.entry(target)
    found = None if entry is None else _instance_operations(entry)
    return InstanceOperationsResponse(operations=found, response_status=SUCCESS)


def server_operations(node: Node, request: ServerKeyRequest | None, now: int) -> ServerOperationsResponse:  # noqa: ARG001
    """Name the operations of a machine (spec 2.6)."""
    target = _NULL if request is None else _target(request.server_key, request)
    if isinstance(target, ResponseStatus):
        return ServerOperationsResponse(response_status=target)
    entry = node.operations.entry(target)
    found = None if entry is None else _server_operations(entry)
    return ServerOperationsResponse(operations=found, response_status=SUCCESS)


class OperationsAnswer:
    """Answer of the lists of all operations (spec 2.6), made bit by bit, in the order of recording."""

    __slots__ = ("_entries", "_field", "_region")

    def __init__(self, field: bytes, entries: Iterator[OperationEntry], region: str | None) -> None:
        self._field = field
        self._entries = entries
        self._region = _filled(region).lower()

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces of about `size` bytes; empty ones stand for work between."""
        parts = [b'{"%b":[' % self._field]
        length, comma = 0, b""
        for seen, entry in enumerate(self._entries, 1):
            if not self._region or entry.target.region.lower() == self._region:
                is_server = isinstance(entry.target, ServerTarget)
                text = encode(_server_operations(entry) if is_server else _instance_operations(entry))
                parts.append(comma + text)
                comma = b","
                length += len(text)
            if length >= size or seen % _LOOKED_AT == 0:
                yield b"".join(parts)
                parts, length = [], 0
        parts.append(b'],"responseStatus":%b}' % encode(SUCCESS))
        yield b"".join(parts)


def all_instance_operations(node: Node, request: RegionRequest | None, now: int) -> OperationsAnswer:  # noqa: ARG001
    """List the operations of all instances, or of those of one region, in any letter case (spec 2.6)."""
    region = None if request is None else request.region_id
    return OperationsAnswer(b"allInstanceOperations", node.operations.instance_entries(), region)


def all_server_operations(node: Node, request: RegionRequest | None, now: int) -> OperationsAnswer:  # noqa: ARG001
    """List the operations of all machines, or of those of one region, in any letter case (spec 2.6)."""
    region = None if request is None else request.region_id
    return OperationsAnswer(b"allServerOperations", node.operations.server_entries(), region)


def instance_down(node: Node, request: InstanceRequest | None, now: int) -> DownResponse:  # noqa: ARG001
    """Tell whether operations hide an instance: those of its key or of the server of its `ip` (spec 8.3)."""
    if request is None:
        return DownResponse(response_status=_NULL)
    instance = request.instance
    if instance is None:
        return DownResponse(response_status=_missing("instance"))
    region, service, name = _filled(instance.region_id), _filled(instance.service_id), _filled(instance.instance_id)
    for word, value in (("regionId", region), ("serviceId", service), ("instanceId", name)):
        if not value:
            return DownResponse(response_status=_missing(word))
    down = node.operations.down(region, service, name, instance.ip or "")
    return DownResponse(down=bool(down), response_status=SUCCESS)


def server_down(node: Node, request: ServerKeyRequest | None, now: int) -> DownResponse:  # noqa: ARG001
    """Tell whether an operation is recorded for a machine (spec 2.6)."""
    target = _NULL if request is None else _target(request.server_key, request)
    if isinstance(target, ResponseStatus):
        return DownResponse(response_status=target)
    return DownResponse(down=node.operations.entry(target) is not None, response_status=SUCCESS)


# -- services with what is pulled out


class ManagedServicesAnswer:
    """Answer of management's services (spec 2.6), made bit by bit: it shows every leased instance of the node."""

    __slots__ = ("_node", "_version")

    def __init__(self, node: Node, version: int) -> None:
        self._node = node
        self._version = version

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces of about `size` bytes; empty ones stand for work between."""
        parts = [b'{"responseStatus":%b,"services":[' % encode(SUCCESS)]
        length, first = 0, True
        for key in (yield from _sorted(self._node.registry.services)):
            entry = self._node.registry.services.get(key)
            if entry is None or not entry.live:
                continue
            if not first:
                parts.append(b",")
            first = False
            for piece in _managed_service(self._node, key, key, size):
                parts.append(piece)
                length += len(piece)
                if length >= size or not piece:
                    yield b"".join(parts)
                    parts, length = [], 0
        parts.append(b'],"version":%d}' % self._version)
        yield b"".join(parts)


class ManagedServiceAnswer:
    """Answer of management's service (spec 2.6), made bit by bit."""

    __slots__ = ("_node", "_service_id")

    def __init__(self, node: Node, service_id: str) -> None:
        self._node = node
        self._service_id = service_id

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces of about `size` bytes; empty ones stand for work between."""
        yield b'{"groups":[],"responseStatus":%b,"service":' % encode(SUCCESS)
        yield from _managed_service(self._node, self._service_id.lower(), self._service_id, size)
        yield b"}"


def services(node: Node, request: ManagedServicesRequest | None, now: int) -> ManagedServicesAnswer:  # noqa: ARG001
    """Show all services with all leased instances, also those pulled out, and whether each is `up` (spec 2.6)."""
    return ManagedServicesAnswer(node, node.registry.wall(now))


def service(
    node: Node,
    request: ManagedServiceRequest | None,
    now: int,  # noqa: ARG001
) -> ManagedServiceAnswer | ManagedServiceResponse:
    """Show one service in the same way; an unknown one is shown empty (spec 2.6)."""
    if request is None:
        return ManagedServiceResponse(response_status=_NULL)
    if not _filled(request.service_id):
        return ManagedServiceResponse(response_status=_missing("serviceId"))
    return ManagedServiceAnswer(node, request.service_id or "")


def _managed_service(node: Node, key: str, spelling: str, size: int) -> Iterator[bytes]:
    """Yield a service as JSON; instances in the order of their ids, those that vanish meanwhile left out."""
    entry = node.registry.services.get(key)
    parts, length, first = [b'{"instances":['], 0, True
    for name in (yield from _sorted(entry.leases if entry else ())):
        lease = node.registry.find(key, name)
        if lease is None or not lease.live:
            continue
        instance = _managed_instance(node, key, name, lease)
        content = encode(instance)
        parts.append(content if first else b"," + content)
        spelling = (instance.service_id or spelling) if first else spelling
        first = False
        length += len(content)
        if length >= size:
            yield b"".join(parts)
            parts, length = [], 0
    # Logic instances and route rules come with groups, which do not exist yet.
    parts.append(b'],"logicInstances":[],"metadata":null,"routeRules":[],"serviceId":%b}' % encode(spelling))
    yield b"".join(parts)


def _sorted(names: Iterable[str]) -> Generator[bytes, None, Iterator[str]]:
    """Sort names bit by bit, with an empty piece after each."""
    steps = in_order(names)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            ordered: Iterator[str] = stop.value
            return ordered
        yield b""


def _managed_instance(node: Node, service: str, name: str, lease: Lease) -> Instance:
    """Return an instance with its state as status and the times of its lease, ms of the wall clock, as metadata."""
    instance = msgspec.json.decode(lease.record.content, type=Instance)
    registry = node.registry
    down = node.operations.down(registry.region, service, name, instance.ip or "")
    timings = registry.timings
    times = {
        "creationTime": str(lease.record.version[0] // 1000),
        "renewalTime": str(registry.wall(lease.heard)),
        "ttl": str(timings.legacy_ttl if lease.legacy else timings.ttl),
    }
    metadata = (instance.metadata or {}) | times
    return msgspec.structs.replace(instance, status="down" if down else "up", metadata=metadata)


# -- reading requests


def _target(key: InstanceKey | ServerKey | None, request: object) -> Target | ResponseStatus:
    """Return what a key names, or why it names nothing (defect 18: a missing key is a bad request, not a crash)."""
    if key is None:
        return _missing("instanceKey" if hasattr(request, "instance_key") else "serverKey")
    if isinstance(key, InstanceKey):
        fields = {"regionId": key.region_id, "serviceId": key.service_id, "instanceId": key.instance_id}
    else:
        fields = {"regionId": key.region_id, "serverId": key.server_id}
    values = []
    for name, value in fields.items():
        text = _filled(value)
        if not text:
            return _missing(name)
        if len(text) > MAX_ID:
            return failure(BAD_REQUEST, f"{name} may have {MAX_ID} characters at most")
        values.append(text)
    return InstanceTarget(*values) if isinstance(key, InstanceKey) else ServerTarget(*values)


def _filled(value: str | None) -> str:
    return "" if value is None else value.strip()


def _missing(name: str) -> ResponseStatus:
    return failure(BAD_REQUEST, f"{name} is null or empty")


def _instance_operations(entry: OperationEntry) -> InstanceOperations:
    assert isinstance(entry.target, InstanceTarget)  # noqa: S101 - the tables are kept apart
    region, service, instance = entry.target
    key = InstanceKey(region_id=region, service_id=service, instance_id=instance)
    return InstanceOperations(instance_key=key, operations=list(entry.names))


def _server_operations(entry: OperationEntry) -> ServerOperations:
    assert isinstance(entry.target, ServerTarget)  # noqa: S101 - as above
    region, server = entry.target
    return ServerOperations(operations=list(entry.names), server_key=ServerKey(region_id=region, server_id=server))
