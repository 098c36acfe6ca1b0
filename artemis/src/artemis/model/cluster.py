"""Cluster lookup: which nodes clients may use (spec 2.3), and what operators make a node serve (spec 6.3).

Not here: nodes and their status themselves, see `nodes`.
"""

from artemis.model.nodes import ServiceNode
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int64, WireStruct


class UpNodesRequest(WireStruct, kw_only=True):
    """Body of up-registry-nodes and up-discovery-nodes (spec 2.3): where the caller is; both optional."""

    region_id: str | None = None
    zone_id: str | None = None


class UpNodesResponse(WireStruct, kw_only=True):
    """Answer of both (spec 2.3): `nodes` is null when none will do."""

    nodes: list[ServiceNode | None] | None = None
    response_status: ResponseStatus = UNSTATED


class ForcedService(WireStruct, kw_only=True):
    """A service that an operator has switched: `up` or `down`, who did, and when, in ms since 1970."""

    force: str | None = None
    operator_id: str | None = None
    since: Int64 = 0


class ForceRequest(WireStruct, kw_only=True):
    """Body of the switch: `force` is `up`, `down`, or `off` to leave the service to itself again.

    `service` is `registry` or `discovery`, null for both.
    """

    force: str | None = None
    operator_id: str | None = None
    service: str | None = None


class ForceResponse(WireStruct, kw_only=True):
    """Answer of the switch and of the question what is switched: what the node serves now, and why not more.

    `registry` and `discovery` are null unless an operator has switched them.
    """

    can_service_discovery: bool = False
    can_service_registry: bool = False
    discovery: ForcedService | None = None
    registry: ForcedService | None = None
    response_status: ResponseStatus = UNSTATED
    status: str | None = None
    why: str | None = None
