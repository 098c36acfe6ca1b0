"""The lookup of nodes (spec 2.3)."""

from typing import cast

from artemis.model import encode, encode_msgpack
from artemis.model.cluster import UpNodesRequest, UpNodesResponse
from artemis.server.handlers import cluster
from artemis.server.operations.table import Limit, Operation, Query

LIMITER = "artemis.service.cluster"


def _query(query: Query) -> UpNodesRequest:
    return UpNodesRequest(region_id=query.get("regionId"), zone_id=query.get("zoneId"))


CLUSTER: tuple[Operation, ...] = (
    Operation(
        code=48,
        name="cluster.up-registry-nodes",
        path="cluster/up-registry-nodes.json",
        request_type=UpNodesRequest,
        response_type=UpNodesResponse,
        call=lambda node, request, now: cluster.up_registry_nodes(node, cast("UpNodesRequest | None", request), now),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=_query,
        limit=Limit(LIMITER, "up-registry-nodes"),
        offers=True,
    ),
    Operation(
        code=49,
        name="cluster.up-discovery-nodes",
        path="cluster/up-discovery-nodes.json",
        request_type=UpNodesRequest,
        response_type=UpNodesResponse,
        call=lambda node, request, now: cluster.up_discovery_nodes(node, cast("UpNodesRequest | None", request), now),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=_query,
        limit=Limit(LIMITER, "up-discovery-nodes"),
        offers=True,
    ),
)
