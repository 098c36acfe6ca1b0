"""What operators see and do of the cluster (design 6); beside status these need the admin token beyond loopback."""

from collections.abc import Callable

import msgspec

from artemis.model import encode, encode_msgpack
from artemis.model.cluster_status import (
    ClusterLeaveRequest,
    ClusterLeaveResponse,
    ClusterOutcomeRequest,
    ClusterStayRequest,
    ClusterStayResponse,
    ClusterTaskRequest,
    ClusterTaskResponse,
    ClusterViewResponse,
)
from artemis.model.status import StatusRequest
from artemis.server.handlers import cluster_operations as handlers
from artemis.server.operations.table import BadParameter, MissingParameter, Operation, Parameter, Query

_NUMBER = Parameter("The number that the answer of the diff or the repair had.", "integer")


def _no_query(query: Query) -> StatusRequest:  # noqa: ARG001 - it has no parameters
    return StatusRequest()


def _outcome_query(query: Query) -> ClusterOutcomeRequest:
    if "number" not in query:
        raise MissingParameter("number")
    text = query["number"]
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise BadParameter("number", "must be the number of a diff or a repair")
    return ClusterOutcomeRequest(number=int(text))


_DIGITS = 18


def _row(
    code: int,
    name: str,
    path: str,
    types: tuple[type[msgspec.Struct], type[msgspec.Struct]],
    handler: Callable[..., object],
    *,
    admin: bool = True,
    from_query: Callable[[Query], msgspec.Struct] | None = None,
    parameters: dict[str, Parameter] | None = None,
) -> Operation:
    return Operation(
        code=code,
        name=f"cluster.{name}",
        path=path,
        request_type=types[0],
        response_type=types[1],
        call=handler,
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=from_query,
        hot=False,
        admin=admin,
        parameters=parameters or {},
    )


CLUSTER_OPERATIONS: tuple[Operation, ...] = (
    _row(
        50,
        "view",
        "v1/cluster",
        (StatusRequest, ClusterViewResponse),
        handlers.view,
        admin=False,
        from_query=_no_query,
    ),
    _row(51, "diff", "v1/cluster/diff", (ClusterTaskRequest, ClusterTaskResponse), handlers.diff),
    _row(52, "repair", "v1/cluster/repair", (ClusterTaskRequest, ClusterTaskResponse), handlers.repair),
    _row(
        53,
        "outcome",
        "v1/cluster/outcome",
        (ClusterOutcomeRequest, ClusterTaskResponse),
        handlers.outcome,
        from_query=_outcome_query,
        parameters={"number": _NUMBER},
    ),
    _row(54, "leave", "v1/cluster/leave", (ClusterLeaveRequest, ClusterLeaveResponse), handlers.leave),
    _row(55, "stay", "v1/cluster/stay", (ClusterStayRequest, ClusterStayResponse), handlers.stay),
)
