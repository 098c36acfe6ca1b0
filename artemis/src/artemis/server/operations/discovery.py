"""Lookup, service, services, services-delta (spec 2.2)."""

from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

from artemis.discovery import LookupAnswer, ServiceAnswer, ServicesAnswer
from artemis.model import (
    DiscoveryConfig,
    LookupResponse,
    ServiceRequest,
    ServiceResponse,
    ServicesDeltaRequest,
    ServicesDeltaResponse,
    ServicesRequest,
    ServicesResponse,
    encode,
    encode_msgpack,
)
from artemis.model.rust import EitherLookupRequest
from artemis.push import ServicesDeltaAnswer
from artemis.server.handlers import dialect
from artemis.server.operations.table import MissingParameter, Operation

_Answer = LookupAnswer | dialect.PickAnswer | ServiceAnswer | ServicesAnswer | ServicesDeltaAnswer


def _answer_json(answer: object) -> bytes:
    return encode(answer) if isinstance(answer, msgspec.Struct) else cast("_Answer", answer).json()


def _answer_msgpack(answer: object) -> bytes:
    return encode_msgpack(answer) if isinstance(answer, msgspec.Struct) else cast("_Answer", answer).msgpack()


def _pieces(answer: object, size: int) -> Iterator[bytes]:
    if isinstance(answer, msgspec.Struct):
        return iter([encode(answer)])
    return cast("ServicesAnswer | ServicesDeltaAnswer", answer).json_pieces(size)


def _service_query(query: Mapping[str, str]) -> ServiceRequest:
    service_id = query.get("serviceId")
    if service_id is None:
        raise MissingParameter("serviceId")
    region_id, zone_id = query.get("regionId"), query.get("zoneId")
    config = DiscoveryConfig(service_id=service_id, region_id=region_id, zone_id=zone_id)
    return ServiceRequest(discovery_config=config, region_id=region_id, zone_id=zone_id)


def _services_query(query: Mapping[str, str]) -> ServicesRequest:
    return ServicesRequest(region_id=query.get("regionId"), zone_id=query.get("zoneId"))


DISCOVERY: tuple[Operation, ...] = (
    Operation(
        code=16,
        name="discovery.lookup",
        path="discovery/lookup.json",
        request_type=EitherLookupRequest,
        response_type=LookupResponse,
        call=lambda node, request, now: dialect.lookup(node, cast("EitherLookupRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
        http_status=lambda answer: answer.http_status if isinstance(answer, dialect.PickAnswer) else 200,
        shows_data=True,
    ),
    Operation(
        code=17,
        name="discovery.service",
        path="discovery/service.json",
        aliases=("discovery/service",),
        request_type=ServiceRequest,
        response_type=ServiceResponse,
        call=lambda node, request, now: dialect.service(node, cast("ServiceRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
        from_query=_service_query,
        shows_data=True,
    ),
    Operation(
        code=18,
        name="discovery.services",
        path="discovery/services.json",
        aliases=("discovery/services",),
        request_type=ServicesRequest,
        response_type=ServicesResponse,
        call=lambda node, request, now: node.services(cast("ServicesRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
        json_pieces=_pieces,
        from_query=_services_query,
        hot=False,
        shows_data=True,
    ),
    Operation(
        code=19,
        name="discovery.services-delta",
        path="discovery/services-delta.json",
        request_type=ServicesDeltaRequest,
        response_type=ServicesDeltaResponse,
        call=lambda node, request, now: node.services_delta(cast("ServicesDeltaRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
        json_pieces=_pieces,
        hot=False,
        shows_data=True,
    ),
)
