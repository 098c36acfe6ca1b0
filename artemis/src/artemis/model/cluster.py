"""Cluster lookup: which nodes clients may use (spec 2.3).

Not here: nodes and their status themselves, see `nodes`.
"""

from artemis.model.nodes import ServiceNode
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import WireStruct


class UpNodesRequest(WireStruct, kw_only=True):
    """Body of up-registry-nodes and up-discovery-nodes (spec 2.3): where the caller is; both optional."""

    region_id: str | None = None
    zone_id: str | None = None


class UpNodesResponse(WireStruct, kw_only=True):
    """Answer of both (spec 2.3): `nodes` is null when none will do."""

    nodes: list[ServiceNode | None] | None = None
    response_status: ResponseStatus = UNSTATED
