"""What a node tells of itself (spec 2.4), with the overview and the switch of self-preservation that are additions."""

from collections.abc import Callable
from typing import Literal, TypeVar, cast

import msgspec

from artemis.model import NodeStatusRequest, NodeStatusResponse, encode, encode_msgpack
from artemis.model.leases import LeasesRequest, LeasesResponse
from artemis.model.status import (
    ClusterStatusResponse,
    ConfigResponse,
    DeploymentResponse,
    MessageConnections,
    OverviewResponse,
    PreservationResponse,
    PreservationSwitch,
    StatusRequest,
)
from artemis.model.vitals import VitalsResponse
from artemis.server.handlers import leases, status, vitals
from artemis.server.node import Node
from artemis.server.operations.pieces import pieces, whole_json, whole_msgpack
from artemis.server.operations.table import Limit, Operation, Query

LIMITER = "artemis.service.status"

R = TypeVar("R", bound=msgspec.Struct)


def _node_query(query: Query) -> NodeStatusRequest:  # noqa: ARG001 - it has no parameters
    return NodeStatusRequest()


def _no_query(query: Query) -> StatusRequest:  # noqa: ARG001 - it has no parameters
    return StatusRequest()


def _leases_query(query: Query) -> LeasesRequest:
    return LeasesRequest(service_ids=list(query.all("appIds")) or None)


def _page(
    code: int,
    name: str,
    path: str,
    response_type: type[R],
    handler: Callable[[Node, StatusRequest | None, int], R],
    limit: str | None = None,
    aliases: tuple[str, ...] = (),
    *,
    own: bool = False,
    adds_up: bool = False,
) -> Operation:
    """Return an operation without parameters; `own` is one that the originals lack, one that `adds_up` is not hot."""
    return Operation(
        code=code,
        name=name,
        path=path,
        aliases=aliases,
        request_type=StatusRequest,
        response_type=response_type,
        call=lambda node, request, now: handler(node, cast("StatusRequest | None", request), now),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=_no_query,
        limit=None if limit is None else Limit(LIMITER, limit),
        parameters={} if own else None,
        hot=not adds_up,
        adds_up=adds_up,
    )


def _leases_page(code: int, name: Literal["leases", "legacy-leases"]) -> Operation:
    handler = leases.leases if name == "leases" else leases.legacy_leases
    return Operation(
        code=code,
        name=f"status.{name}",
        path=f"status/{name}.json",
        request_type=LeasesRequest,
        response_type=LeasesResponse,
        call=lambda node, request, now: handler(node, cast("LeasesRequest | None", request), now),
        encode_json=whole_json,
        encode_msgpack=whole_msgpack(LeasesResponse),
        json_pieces=pieces,
        from_query=_leases_query,
        hot=False,
        limit=Limit(LIMITER, f"get-{name}"),
    )


STATUS: tuple[Operation, ...] = (
    Operation(
        code=32,
        name="status.node",
        path="status/node.json",
        request_type=NodeStatusRequest,
        response_type=NodeStatusResponse,
        call=lambda node, request, now: node.node_status(cast("NodeStatusRequest | None", request), now),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=_node_query,
        offers=True,
    ),
    _page(33, "status.cluster", "status/cluster.json", ClusterStatusResponse, status.cluster, "get-cluster"),
    _leases_page(34, "leases"),
    _leases_page(35, "legacy-leases"),
    _page(36, "status.config", "status/config.json", ConfigResponse, status.config, "get-config"),
    _page(37, "status.deployment", "status/deployment.json", DeploymentResponse, status.deployment, "get-deployment"),
    _page(
        38,
        "status.connections",
        "status/message/connections.json",
        MessageConnections,
        status.message_connections,
        aliases=("status/websocket/connection.json",),
        adds_up=True,
    ),
    _page(39, "status.overview", "v1/status", OverviewResponse, status.overview, own=True, adds_up=True),
    _page(
        40,
        "status.self-preservation",
        "v1/self-preservation",
        PreservationResponse,
        status.self_preservation,
        own=True,
    ),
    _page(42, "status.vitals", "v1/node/vitals", VitalsResponse, vitals.vitals, own=True, adds_up=True),
    Operation(
        code=41,
        name="status.switch-self-preservation",
        path="v1/self-preservation/switch",
        request_type=PreservationSwitch,
        response_type=PreservationResponse,
        call=lambda node, request, now: status.switch_self_preservation(
            node, cast("PreservationSwitch | None", request), now
        ),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        admin=True,
        parameters={},
    ),
)
