"""What Java and Rust nodes send to a node that they take for one of theirs (spec 2.5, 7; artemis-rust 1.7).

A replicated write is a write of this node: it is stamped on arrival, the largest stamp wins, and equal content pushes
nothing. In a cluster of this implementation the change travels on from here like any other, so one Java node that
reaches one of ours reaches all; nothing is ever sent back to Java nodes from here.
The status of the node is not checked, so that a starting one takes in what it is sent; the region is, the zone is not.
Not here: replication between nodes of this implementation.
"""

from collections.abc import Callable, Iterator

import msgspec

from artemis.model import FailedInstance, Instance, RegistryRequest, ResponseStatus, decode, encode
from artemis.model.replication import RegistryContentRequest, RegistryContentResponse
from artemis.model.responses import BAD_REQUEST, INTERNAL_SERVICE_ERROR, NO_PERMISSION, SUCCESS, failure
from artemis.model.rust import (
    LocatedKey,
    SyncDeltaRequest,
    SyncDeltaResponse,
    SyncFullRequest,
    SyncFullResponse,
)
from artemis.registry import Lease, RegistryError, ServiceLeases
from artemis.server.handlers.dialect import (
    SOME_HEARTBEATS_FAILED,
    SOME_UNREGISTRATIONS_FAILED,
    RegistryAnswer,
    keys_of,
    keys_outcome,
    remove_keys,
    renew_keys,
)
from artemis.server.handlers.pieces import joined
from artemis.server.node import Node
from artemis.server.outcomes import not_ours, outcome, refused

REMOVED_FOR = 20_000
"""Milliseconds for which a replicated heartbeat does not bring a removed instance back (design 4.1, defect 14): batched
heartbeats of Java nodes arrive up to two seconds, with their retries five, after the removal that overtook them. For as
long one does not replace a content, either: it may be older, and other content comes as a registration first."""

_Write = Callable[[Instance, int], object]


def register(node: Node, request: RegistryRequest | None, now: int) -> RegistryAnswer:
    """Register what another node registered (spec 2.5)."""
    return _each(request, now, node.registry.register)


def heartbeat(node: Node, request: RegistryRequest | None, now: int) -> RegistryAnswer:
    """Renew what another node renewed; what is unknown is registered, by key it comes back (spec 2.5)."""
    keys = keys_of(request)
    if keys is not None:
        return keys_outcome(renew_keys(node, keys, now, welcome=_anywhere), SOME_HEARTBEATS_FAILED)

    def renew(instance: Instance, now: int) -> None:
        lease = node.registry.find(instance.service_id or "", instance.instance_id or "")
        if lease is None:
            node.registry.register(instance, now)
        elif not lease.record.removed:
            if _lately(node, lease, now):
                node.registry.revive(lease, now)
            else:
                node.registry.heartbeat(instance, now)
        elif now - (node.registry.died(lease) or 0) >= REMOVED_FOR:
            node.registry.register(instance, now)

    return _each(request, now, renew)


def unregister(node: Node, request: RegistryRequest | None, now: int) -> RegistryAnswer:
    """Remove what another node removed; what is unknown is a success (spec 2.5)."""
    keys = keys_of(request)
    if keys is not None:
        failed = remove_keys(node, keys, now, welcome=_anywhere, strict=False)
        return keys_outcome(failed, SOME_UNREGISTRATIONS_FAILED)
    return _each(request, now, node.registry.unregister)


def batch_unregister(node: Node, request: RegistryRequest | None, now: int) -> RegistryAnswer:
    """Do what `unregister` does; unknown keys come back (artemis-rust 1.7)."""
    keys = keys_of(request)
    if keys is None:
        return unregister(node, request, now)
    return keys_outcome(remove_keys(node, keys, now, welcome=_anywhere, strict=True), SOME_UNREGISTRATIONS_FAILED)


def services(node: Node, request: RegistryContentRequest | None, now: int) -> "RegistryContent":  # noqa: ARG001
    """Show what is registered, live and unfiltered (spec 2.5)."""
    if request is None:
        return RegistryContent(RegistryContentResponse(response_status=failure(INTERNAL_SERVICE_ERROR, "null")))
    refusal = _refuse_region(node, request.region_id)
    if refusal is not None:
        return RegistryContent(RegistryContentResponse(response_status=refusal))
    return RegistryContent(RegistryContentResponse(response_status=SUCCESS), _live_services(node))


def sync_full(node: Node, request: SyncFullRequest | None, now: int) -> "RegistryContent":
    """Show the whole registry and the time of it (artemis-rust 1.7)."""
    refusal = _refuse_region(node, None if request is None else request.region_id)
    if refusal is not None:
        return RegistryContent(SyncFullResponse(response_status=refusal))
    head = SyncFullResponse(response_status=SUCCESS, sync_timestamp=node.steady_wall(now))
    return RegistryContent(head, _live_services(node))


def services_delta(node: Node, request: SyncDeltaRequest | None, now: int) -> "RegistryContent":
    """Show the services that changed since a timestamp of this node, all when it no longer knows (artemis-rust 1.7).

    The rewrite answers the whole registry whatever is asked. What changed is known for as long as removed instances are
    remembered, and to this node only since its start. Timestamps grow evenly even when the wall clock is set, so one
    from the future is not this node's.
    """
    refusal = _refuse_region(node, None if request is None else request.region_id)
    if refusal is not None or request is None:
        return RegistryContent(SyncDeltaResponse(response_status=refusal or SUCCESS))
    registry = node.registry
    wall = node.steady_wall(now)
    since = now - (wall - request.since_timestamp)
    known = max(now - registry.timings.lifetime, node.about.started)
    full = not known <= since <= now or registry.counters.swept_early > 0
    head = SyncDeltaResponse(current_timestamp=wall, full_sync=full, response_status=SUCCESS, services=None)
    if full:
        return RegistryContent(head, _live_services(node))
    return RegistryContent(head, [service for service in registry.services.values() if service.changed >= since])


class RegistryContent:
    """Answer with services as they are registered, made bit by bit; `head` is the answer without them.

    `services` None is a failure. A service that loses its last instance meanwhile is shown with none.
    """

    __slots__ = ("_head", "_services")

    def __init__(self, head: msgspec.Struct, services: list[ServiceLeases] | None = None) -> None:
        self._head = head
        self._services = services

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces."""
        if self._services is None:
            return iter([encode(self._head)])
        return joined(self._parts(self._services), size)

    def _parts(self, services: list[ServiceLeases]) -> Iterator[bytes]:
        start, member, end = encode(self._head).partition(b'"services":')
        yield start + member + b"["
        opened = False
        for service in services:
            yield b',{"instances":[' if opened else b'{"instances":['
            opened = True
            spelling: str | None = None
            for lease in list(service.leases.values()):
                content = lease.record.visible if lease.live else None
                if content is None:
                    yield b""
                    continue
                yield b"," + content if spelling is not None else content
                if spelling is None:
                    spelling = _spelling(content)
            yield b'],"logicInstances":null,"metadata":null,"routeRules":null,"serviceId":%b}' % encode(
                service.name if spelling is None else spelling
            )
        yield b"]" + end.removeprefix(b"null")


def _each(request: RegistryRequest | None, now: int, write: _Write) -> RegistryAnswer:
    """Write every instance of a request; null ones are skipped."""
    if request is None:
        return _bad("request is null")
    if not request.instances:
        return _bad("request.instances is null or empty.")
    failed: list[FailedInstance | None] = []
    for instance in request.instances:
        if instance is None:
            continue
        try:
            write(instance, now)
        except RegistryError as error:
            failed.append(refused(instance, error))
    return outcome(failed)


def _lately(node: Node, lease: Lease, now: int) -> bool:
    """Whether the content may be newer than that of a heartbeat which comes now, batched or tried again meanwhile."""
    return node.registry.wall(now) - lease.record.version[0] // 1000 < REMOVED_FOR


def _bad(text: str) -> RegistryAnswer:
    return msgspec.structs.replace(outcome([]), response_status=failure(BAD_REQUEST, text))


def _anywhere(key: LocatedKey) -> bool:  # noqa: ARG001 - zones make no difference here
    return True


def _refuse_region(node: Node, region_id: str | None) -> ResponseStatus | None:
    if region_id is not None and region_id.lower() == node.registry.region:
        return None
    return failure(NO_PERMISSION, not_ours("region", region_id, node.identity.region))


def _live_services(node: Node) -> list[ServiceLeases]:
    return [service for service in node.registry.services.values() if service.live]


def _spelling(content: bytes) -> str:
    instance = decode(Instance, content)
    return "" if instance is None or instance.service_id is None else instance.service_id
