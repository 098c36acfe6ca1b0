"""Explain (design 6)."""

from collections.abc import Mapping
from typing import cast

from artemis.model import encode, encode_msgpack
from artemis.model.explain import ExplainRequest, ExplainResponse
from artemis.server.handlers.explain import explain_instance
from artemis.server.operations.table import MissingParameter, Operation, Parameter

_PARAMETERS = {
    "serviceId": Parameter("The service that is looked up, in any letter case."),
    "instanceId": Parameter("The instance in question, in any letter case."),
    "regionId": Parameter("The caller's region; that of the node when it is left out."),
    "zoneId": Parameter("The caller's zone; that of the node when it is left out."),
}


def _explain_query(query: Mapping[str, str]) -> ExplainRequest:
    for name in ("serviceId", "instanceId"):
        if not query.get(name, "").strip():
            raise MissingParameter(name)
    return ExplainRequest(
        service_id=query["serviceId"],
        instance_id=query["instanceId"],
        region_id=query.get("regionId"),
        zone_id=query.get("zoneId"),
    )


EXPLAIN: tuple[Operation, ...] = (
    Operation(
        code=80,
        name="explain",
        path="v1/explain",
        request_type=ExplainRequest,
        response_type=ExplainResponse,
        call=lambda node, request, now: explain_instance(node, cast("ExplainRequest | None", request), now),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=_explain_query,
        parameters=_PARAMETERS,
        hot=False,
    ),
)
