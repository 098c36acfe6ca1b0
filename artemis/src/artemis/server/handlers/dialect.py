"""The Rust rewrite's requests on the paths it shares with Java, told apart by their shape (artemis-rust 1.1, 5.1).

A body with `instanceKeys` instead of `instances` renews or removes by key, one with a single `discoveryConfig` asks for
one instance. Everything else is the node's own.
Not here: the requests that both write alike, and the paths that only one of them has.
"""

from collections.abc import Callable

import msgspec

from artemis.discovery import LookupAnswer, ServiceAnswer
from artemis.discovery.selections import EVERYTHING, selection
from artemis.model import (
    DiscoveryConfig,
    Instance,
    LookupRequest,
    RegistryRequest,
    RegistryResponse,
    ServiceRequest,
    decode,
    encode,
    encode_msgpack,
)
from artemis.model.responses import BAD_REQUEST, DATA_NOT_FOUND, SUCCESS, failure
from artemis.model.rust import EitherLookupRequest, EitherRegistryRequest, EitherStatus, KeysResponse, LocatedKey
from artemis.registry import Lease, RegistryError, RenewalPlan
from artemis.server.node import TOO_MUCH_TO_NARROW, Node
from artemis.server.outcomes import REGISTRY_SUCCESS, not_ours
from artemis.server.registering import Asked

SOME_HEARTBEATS_FAILED = "Some heartbeats failed"
SOME_UNREGISTRATIONS_FAILED = "Some unregistrations failed"
"""The rewrite's texts."""

REFUSED = 400
NOT_FOUND = 404
UNAVAILABLE = 503
FOUND = 200

Keys = list[LocatedKey | None]
RegistryAnswer = RegistryResponse | KeysResponse


class PickAnswer:
    """Answer of a lookup that picks: the JSON of one instance, or why there is none, with its HTTP status.

    `response_status` is the same outcome in Java's words; it is not written.
    """

    __slots__ = ("content", "http_status", "message", "response_status")

    def __init__(self, content: bytes | None, message: str | None = None, http_status: int = FOUND) -> None:
        self.content = content
        self.message = message
        self.http_status = http_status
        self.response_status = SUCCESS if content is not None else failure(DATA_NOT_FOUND, message or "")

    def json(self) -> bytes:
        """Return the answer as JSON."""
        if self.content is None:
            return b'{"success":false,"message":%b}' % encode(self.message)
        return b'{"success":true,"instance":%b}' % self.content

    def msgpack(self) -> bytes:
        """Return the answer as MessagePack."""
        if self.content is None:
            return encode_msgpack({"success": False, "message": self.message})
        return encode_msgpack({"success": True, "instance": decode(Instance, self.content)})


def keys_of(request: msgspec.Struct | None) -> Keys | None:
    """Return the keys of a request in the rewrite's shape, None for one in Java's."""
    if isinstance(request, EitherRegistryRequest) and request.instances is None:
        return request.instance_keys
    return None


# -- heartbeat and unregister


def heartbeat(node: Node, request: RegistryRequest | None, now: int) -> RegistryAnswer:
    """Renew leases by instance or by key; keys that are unknown or refused come back (artemis-rust 1.1)."""
    keys = keys_of(request)
    return node.heartbeat(request, now) if keys is None else _heartbeat_keys(node, keys, now, None)


def heartbeat_plan(node: Node, request: RegistryRequest | None, now: int) -> tuple[RegistryAnswer, RenewalPlan | None]:
    """Do what `heartbeat` does and say how to repeat it; see `Node.heartbeat_plan`."""
    keys = keys_of(request)
    if keys is None:
        return node.heartbeat_plan(request, now)
    leases: list[Lease] = []
    response = _heartbeat_keys(node, keys, now, leases)
    return response, node.registry.plan(leases, node.generation) if response is REGISTRY_SUCCESS else None


def unregister(node: Node, request: RegistryRequest | None, now: int) -> RegistryAnswer:
    """Remove by instance or by key; an unknown key is a success (artemis-rust 1.1)."""
    keys = keys_of(request)
    if keys is None:
        return node.unregister(request, now)
    if not node.serves_registry:
        return KeysResponse(response_status=EitherStatus.of(node.unavailable("registry")))
    failed = remove_keys(node, keys, now, welcome=lambda key: node.accepts(key.zone_id), strict=False, asked=node.asked)
    return keys_outcome(failed, SOME_UNREGISTRATIONS_FAILED)


def _heartbeat_keys(node: Node, keys: Keys, now: int, leases: list[Lease] | None) -> RegistryAnswer:
    if not node.serves_registry:
        return KeysResponse(response_status=EitherStatus.of(node.unavailable("registry")))
    asked = node.asked
    renewed = [] if leases is None and asked is not None else leases
    failed = renew_keys(node, keys, now, welcome=lambda key: node.accepts(key.zone_id), renewed=renewed)
    if asked is not None:
        for lease in renewed or ():
            asked.renewed(lease, now)
    return keys_outcome(failed, SOME_HEARTBEATS_FAILED)


def renew_keys(
    node: Node, keys: Keys, now: int, *, welcome: Callable[[LocatedKey], bool], renewed: list[Lease] | None = None
) -> Keys:
    """Renew what is registered, expired or not, and return the keys of what is not; `renewed` collects the leases."""
    failed: Keys = []
    for key in keys:
        if key is None:
            continue
        lease = find_key(node, key)
        if lease is None or lease.record.removed or not welcome(key):
            node.registry.counters.unknown_leases += 1
            failed.append(key)
            continue
        try:
            node.registry.revive(lease, now)
        except RegistryError:  # the registry is full
            failed.append(key)
        else:
            if renewed is not None:
                renewed.append(lease)
    return failed


def remove_keys(
    node: Node,
    keys: Keys,
    now: int,
    *,
    welcome: Callable[[LocatedKey], bool],
    strict: bool,
    asked: Asked | None = None,
) -> Keys:
    """Remove instances and return the keys of what is not ours to remove; with `strict`, also of what is unknown.

    `asked` hears of those that there were.
    """
    failed: Keys = []
    for key in keys:
        if key is None:
            continue
        if not (_is_ours(node, key) and key.service_id and key.instance_id and welcome(key)):
            failed.append(key)
            continue
        lease = find_key(node, key)
        if strict and (lease is None or lease.record.removed):
            failed.append(key)
            continue
        content = b"" if lease is None else lease.record.content
        try:
            removed = node.registry.remove(key.service_id.lower(), key.instance_id.lower(), now)
        except RegistryError:  # ids that nothing can be registered with
            failed.append(key)
            continue
        if asked is not None and content:
            asked.removed(removed, content, now)
    return failed


def find_key(node: Node, key: LocatedKey) -> Lease | None:
    """Return the lease that a key names, dead ones included; None for incomplete keys and other regions."""
    if not (_is_ours(node, key) and key.service_id and key.instance_id):
        return None
    return node.registry.find(key.service_id, key.instance_id)


def keys_outcome(failed: Keys, message: str) -> RegistryAnswer:
    """Return the answer of an operation on keys; where nothing failed it is the one that Java gets too."""
    if not failed:
        return REGISTRY_SUCCESS
    return KeysResponse(failed_instance_keys=failed, response_status=EitherStatus.of(failure(BAD_REQUEST, message)))


def _is_ours(node: Node, key: LocatedKey) -> bool:
    return key.region_id is not None and key.region_id.lower() == node.registry.region


# -- lookup


def lookup(node: Node, request: LookupRequest | None, now: int) -> LookupAnswer | PickAnswer:
    """Show several services, or pick an instance of one (artemis-rust 5.1)."""
    if not isinstance(request, EitherLookupRequest) or request.discovery_configs is not None:
        return node.lookup(request, now)
    config = request.discovery_config
    return node.lookup(request, now) if config is None else _pick(node, config, request.strategy)


def service(node: Node, request: ServiceRequest | None, now: int) -> ServiceAnswer:
    """Show one service; the rewrite names region and zone in the config alone (artemis-rust 1.1)."""
    config = None if request is None else request.discovery_config
    if request is None or config is None or request.region_id is not None or config.region_id is None:
        return node.service(request, now)
    placed = msgspec.structs.replace(request, region_id=config.region_id, zone_id=request.zone_id or config.zone_id)
    return node.service(placed, now)


def _pick(node: Node, config: DiscoveryConfig, strategy: str | None) -> PickAnswer:
    """Pick in turn for `round-robin`, else at random; a region that is missing is this node's.

    With `discoveryData` among the instances that it selects.
    """
    if not node.serves_discovery:
        return PickAnswer(None, node.unavailable("discovery").message, UNAVAILABLE)
    if config.region_id and config.region_id.lower() != node.registry.region:
        return PickAnswer(None, not_ours("region", config.region_id, node.identity.region), NOT_FOUND)
    service_id = config.service_id or ""
    in_turn = strategy == "round-robin"
    wanted = selection(config.discovery_data) if config.discovery_data else EVERYTHING
    if wanted:
        views = node.narrowed.all_narrowed([node.catalog.view(service_id)], [config.discovery_data])
        if views is None:
            return PickAnswer(None, TOO_MUCH_TO_NARROW.message, REFUSED)
        content = node.picker.pick_among(views[0], wanted, in_turn=in_turn)
    else:
        content = node.picker.pick(service_id, in_turn=in_turn)
    if content is not None:
        return PickAnswer(content)
    service = node.registry.services.get(service_id.lower())
    if service is None or not service.live:
        return PickAnswer(None, f"Service not found: {service_id}", NOT_FOUND)
    return PickAnswer(None, f"No instances found for service: {service_id}", NOT_FOUND)
