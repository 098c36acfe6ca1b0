"""Pages of instances and services, and who was told (an addition to the originals)."""

from collections.abc import Mapping
from typing import cast

from artemis.discovery.selections import METADATA
from artemis.model import ToldRequest, ToldResponse, encode, encode_msgpack
from artemis.model.queries import InstancesRequest, InstancesResponse, ServicesPageRequest, ServicesPageResponse
from artemis.server.handlers import queries as handlers
from artemis.server.handlers.told import told
from artemis.server.operations.pieces import pieces, whole_json, whole_msgpack
from artemis.server.operations.table import BadParameter, MissingParameter, Operation, Parameter

_HIGHEST = 2**31 - 1


_PAGES = {
    "page": Parameter("Which page, from 1 on; 1 when it is left out.", "integer"),
    "pageSize": Parameter("Results on a page, 1 to 1000; 100 when it is left out.", "integer"),
}

_REGION = "That of the node, as when it is left out, or another one of which it has a copy."

_INSTANCES_PARAMETERS = {
    "groupId": Parameter("Only instances of this group, in any letter case; those that name none are in `default`."),
    "ip": Parameter("Only instances with this address."),
    METADATA: Parameter("Only instances with exactly this value of the metadata entry KEY, letter case included."),
    **_PAGES,
    "regionId": Parameter(_REGION),
    "serviceId": Parameter("Only instances of this service, in any letter case; of all services when it is left out."),
    "status": Parameter("Only instances that call themselves this, such as `up`."),
    "zoneId": Parameter("Only instances of this zone, in any letter case."),
}

_SERVICES_PARAMETERS = {
    **_PAGES,
    "prefix": Parameter("Only services whose ids begin with this, in any letter case."),
    "regionId": Parameter(_REGION),
}

_TOLD_PARAMETERS = {
    "serviceId": Parameter("The service whose followers are asked about, in any letter case."),
    "cursor": Parameter("That of another node's answer: what is counted is who lacks something up to that."),
}


def _number(query: Mapping[str, str], name: str) -> int | None:
    """Read a whole number, None when it is not there. Raises BadParameter."""
    text = query.get(name, "").strip()
    if not text:
        return None
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
        page=_number(query, "page"),
        page_size=_number(query, "pageSize"),
        prefix=query.get("prefix"),
        region_id=query.get("regionId"),
    )


def _told_query(query: Mapping[str, str]) -> ToldRequest:
    if not query.get("serviceId", "").strip():
        raise MissingParameter("serviceId")
    return ToldRequest(service_id=query["serviceId"], cursor=query.get("cursor"))


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
        parameters=_INSTANCES_PARAMETERS,
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
        parameters=_SERVICES_PARAMETERS,
        hot=False,
        shows_data=True,
    ),
    Operation(
        code=83,
        name="query.told",
        path="v1/told",
        request_type=ToldRequest,
        response_type=ToldResponse,
        call=lambda node, request, now: told(node, cast("ToldRequest | None", request), now),
        encode_json=encode,
        encode_msgpack=encode_msgpack,
        from_query=_told_query,
        parameters=_TOLD_PARAMETERS,
        hot=False,
    ),
)
