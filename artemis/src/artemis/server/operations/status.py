"""The status of a node (spec 2.4)."""

from collections.abc import Mapping
from typing import cast

from artemis.model import NodeStatusRequest, NodeStatusResponse, encode, encode_msgpack
from artemis.server.operations.table import Operation


def _status_query(query: Mapping[str, str]) -> NodeStatusRequest:  # noqa: ARG001 - it has no parameters
    return NodeStatusRequest()


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
        from_query=_status_query,
    ),
)
