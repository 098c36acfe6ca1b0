"""Which nodes clients may use (spec 2.3, 6.3).

Not here: what is thought of other nodes, see `artemis.cluster.members`. A node without peers knows itself.
"""

from artemis.cluster.java.peers import JavaView
from artemis.cluster.machines import machine_of
from artemis.cluster.member_view import MemberView
from artemis.model.cluster import UpNodesRequest, UpNodesResponse
from artemis.model.nodes import DOWN, STARTING, UNKNOWN, UP, ServiceNode, ServiceNodeStatus, Zone
from artemis.model.responses import DATA_NOT_FOUND, SUCCESS, failure
from artemis.server.node import Node

NONE_AVAILABLE = "No available service nodes."
"""The original's text."""


def known_nodes(node: Node, now: int) -> list[ServiceNodeStatus]:
    """Return the status of every node of the cluster as this one knows it, itself first, then nodes of its zone.

    Java peers are the last.
    """
    return [*_own_kind(node, now), *_java_peers(node)]


def _own_kind(node: Node, now: int) -> list[ServiceNodeStatus]:
    own = node.node_status(None, now).node_status
    known = [] if own is None else [own]
    if node.members is None:
        return known
    zone = node.identity.zone.lower()
    others = sorted(node.members.nodes(now), key=lambda view: (view.zone.lower() != zone, str(view.url)))
    return known + [_status(view, node.identity.region) for view in others]


def _java_peers(node: Node) -> list[ServiceNodeStatus]:
    if node.java is None:
        return []
    zone = node.identity.zone.lower()
    peers = sorted(node.java.views(), key=lambda view: (view.standing.zone.lower() != zone, str(view.url)))
    return [_java_status(view, node.identity.region) for view in peers]


def _java_status(view: JavaView, region: str) -> ServiceNodeStatus:
    """Return what a Java peer says of itself; where it says nothing, the flags are null."""
    standing = view.standing
    told = standing.state in {UP, STARTING, DOWN}
    return ServiceNodeStatus(
        allow_discovery_from_other_zone=standing.discovery_from_other_zones if told else None,
        allow_registry_from_other_zone=standing.registry_from_other_zones if told else None,
        can_service_discovery=standing.discovery if told else None,
        can_service_registry=standing.registry if told else None,
        node=ServiceNode(
            region_id=region,
            url=str(view.url),
            zone=Zone(region_id=region, zone_id=standing.zone or None),
            zone_id=standing.zone or None,
        ),
        status=standing.state if told else UNKNOWN,
    )


def _status(view: MemberView, region: str) -> ServiceNodeStatus:
    """Return what to tell of another node; of one that nothing is known of, the flags are null (spec 6.2)."""
    standing, silent = view.standing, view.status == UNKNOWN
    return ServiceNodeStatus(
        allow_discovery_from_other_zone=None if silent else standing.discovery_from_other_zones,
        allow_registry_from_other_zone=None if silent else standing.registry_from_other_zones,
        can_service_discovery=None if silent else standing.discovery,
        can_service_registry=None if silent else standing.registry,
        node=ServiceNode(
            node_id=machine_of(view.node) or None,
            region_id=region,
            url=str(view.url),
            zone=Zone(region_id=region, zone_id=view.zone or None),
            zone_id=view.zone or None,
        ),
        status=view.status,
    )


def up_registry_nodes(node: Node, request: UpNodesRequest | None, now: int) -> UpNodesResponse:
    """List the nodes that serve registry for the caller's region and zone (spec 2.3); for null, for any."""
    fitting = [
        status.node
        for status in _offered(node, now)
        if status.can_service_registry and _fits(request, status.node, allowed=status.allow_registry_from_other_zone)
    ]
    return _answer(fitting)


def up_discovery_nodes(node: Node, request: UpNodesRequest | None, now: int) -> UpNodesResponse:
    """List the nodes that serve discovery for the caller's region and zone (spec 2.3); for null, for any."""
    fitting = [
        status.node
        for status in _offered(node, now)
        if status.can_service_discovery and _fits(request, status.node, allowed=status.allow_discovery_from_other_zone)
    ]
    return _answer(fitting)


def _offered(node: Node, now: int) -> list[ServiceNodeStatus]:
    """Return the nodes that clients are told of: Java peers only if this one offers them."""
    return known_nodes(node, now) if node.java is not None and node.java.offered else _own_kind(node, now)


def _fits(request: UpNodesRequest | None, node: ServiceNode | None, *, allowed: bool | None) -> bool:
    """Tell whether a node serves callers from there.

    Ids are compared without regard to letter case, as everywhere else; the original compares them exactly here, and a
    client whose configuration spells its zone otherwise finds no node although every node would serve it.
    """
    zone = None if node is None else node.zone
    if zone is None:
        return False
    region_id = None if request is None else request.region_id
    if region_id and region_id.lower() != (zone.region_id or "").lower():
        return False
    zone_id = None if request is None else request.zone_id
    return bool(allowed) or (zone_id or "").lower() == (zone.zone_id or "").lower()


def _answer(nodes: list[ServiceNode | None]) -> UpNodesResponse:
    if not nodes:
        return UpNodesResponse(response_status=failure(DATA_NOT_FOUND, NONE_AVAILABLE))
    return UpNodesResponse(nodes=nodes, response_status=SUCCESS)
