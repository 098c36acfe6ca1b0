"""Pages of instances and services (an addition to the originals)."""

from collections.abc import Mapping
from typing import cast

from artemis.discovery.selections import METADATA
from artemis.model.queries import InstancesRequest, InstancesResponse, ServicesPageRequest, ServicesPageResponse
from artemis.server.handlers import queries as handlers
from artemis.server.operations.pieces import pieces, whole_json, whole_msgpack
from artemis.server.operations.table import BadParameter, Operation

_HIGHEST = 2**31 - 1


def _number(query: Mapping[str, str], name: str) -> int:
    """Read a whole number, 0 when it is not there. Raises BadParameter."""
    text = query.get(name, "").strip()
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _HIGHEST):
        raise BadParameter(name, "must be a whole number")
    return int(text)


def _instances_query(query: Mapping[str, str]) -> InstancesRequest:
    return InstancesRequest(
        group_id=query.get("groupId"),
        ip=query.get("ip"),
        metadata={name.removeprefix(METADATA): value for name, value in query.items() if name.startswith(METADATA)},
        page=_number(query, "page"),
        page_size=_number(query, "pageSize"),
        region_id=query.get("regionId"),
        service_id=query.get("serviceId"),
        status=query.get("status"),
        zone_id=query.get("zoneId"),
    )


def _services_query(query: Mapping[str, str]) -> ServicesPageRequest:
    return ServicesPageRequest(
        page=_number(query, "page"), page_size=_number(query, "pageSize"), prefix=query.get("prefix")
    )


QUERIES: tuple[Operation, ...] = (
    Operation(
        code=81,
        name="query.instances",
        path="v1/instances",
        request_type=InstancesRequest,
        response_type=InstancesResponse,
        call=lambda node, request, now: handlers.instances(node, cast("InstancesRequest | None", request), now),
        encode_json=whole_json,
        encode_msgpack=whole_msgpack(InstancesResponse),
        json_pieces=pieces,
        from_query=_instances_query,
        hot=False,
        shows_data=True,
    ),
    Operation(
        code=82,
        name="query.services",
        path="v1/services",
        request_type=ServicesPageRequest,
        response_type=ServicesPageResponse,
        call=lambda node, request, now: handlers.services(node, cast("ServicesPageRequest | None", request), now),
        encode_json=whole_json,
        encode_msgpack=whole_msgpack(ServicesPageResponse),
        json_pieces=pieces,
        from_query=_services_query,
        hot=False,
        shows_data=True,
    ),
)
