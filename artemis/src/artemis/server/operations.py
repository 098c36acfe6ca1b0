"""The operations of a node, one table for all doors (design 4): numbers, paths, types and how to call them.

Not here: how a request reaches the node. Doors read the table; a new row appears on all of them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import cast

import msgspec

from artemis.discovery import LookupAnswer, ServiceAnswer, ServicesAnswer
from artemis.model import (
    DiscoveryConfig,
    LookupRequest,
    LookupResponse,
    NodeStatusRequest,
    NodeStatusResponse,
    RegistryRequest,
    RegistryResponse,
    ServiceRequest,
    ServiceResponse,
    ServicesRequest,
    ServicesResponse,
    encode,
    encode_msgpack,
)
from artemis.server.node import REGISTRY_SUCCESS, Node


class MissingParameter(ValueError):  # noqa: N818 - what happened, in the words of the answer
    """A query lacks a parameter that the operation needs; answered with HTTP 400 (spec 1.1)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"required parameter {name!r} is missing")
        self.name = name


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation (spec 2).

    `code` is the biz_type on the binary door, `path` is relative to the API prefix. `call` never raises for bad
    content. `encode_json` and `encode_msgpack` take its result or a struct of `response_type`; decoded, both are a
    `response_type`. `json_pieces`, where set, yields the same JSON in pieces of at least the given size, for answers
    that may be large. GET is allowed where `from_query` is set; it raises MissingParameter. `hot` operations belong to
    the fast path of a door. The requests of a `recognisable` one come in the same bytes again and again: see
    `Node.heartbeat_plan`; after `Node.renew` the answer is `success_json` or `success_msgpack`, which other operations
    leave empty.
    """

    code: int
    name: str
    path: str
    request_type: type[msgspec.Struct]
    response_type: type[msgspec.Struct]
    call: Callable[[Node, msgspec.Struct | None, int], object]
    encode_json: Callable[[object], bytes]
    encode_msgpack: Callable[[object], bytes]
    json_pieces: Callable[[object, int], Iterator[bytes]] | None = None
    from_query: Callable[[Mapping[str, str]], msgspec.Struct] | None = None
    hot: bool = True
    recognisable: bool = False
    success_json: bytes = b""
    success_msgpack: bytes = b""


_SUCCESS_JSON = encode(REGISTRY_SUCCESS)
_SUCCESS_MSGPACK = encode_msgpack(REGISTRY_SUCCESS)

_Answer = LookupAnswer | ServiceAnswer | ServicesAnswer


def _registry_json(response: object) -> bytes:
    return _SUCCESS_JSON if response is REGISTRY_SUCCESS else encode(response)


def _registry_msgpack(response: object) -> bytes:
    return _SUCCESS_MSGPACK if response is REGISTRY_SUCCESS else encode_msgpack(response)


def _answer_json(answer: object) -> bytes:
    return encode(answer) if isinstance(answer, msgspec.Struct) else cast("_Answer", answer).json()


def _answer_msgpack(answer: object) -> bytes:
    return encode_msgpack(answer) if isinstance(answer, msgspec.Struct) else cast("_Answer", answer).msgpack()


def _services_pieces(answer: object, size: int) -> Iterator[bytes]:
    if isinstance(answer, msgspec.Struct):
        return iter([encode(answer)])
    return cast("ServicesAnswer", answer).json_pieces(size)


def _service_query(query: Mapping[str, str]) -> ServiceRequest:
    service_id = query.get("serviceId")
    if service_id is None:
        raise MissingParameter("serviceId")
    region_id, zone_id = query.get("regionId"), query.get("zoneId")
    config = DiscoveryConfig(service_id=service_id, region_id=region_id, zone_id=zone_id)
    return ServiceRequest(discovery_config=config, region_id=region_id, zone_id=zone_id)


def _services_query(query: Mapping[str, str]) -> ServicesRequest:
    return ServicesRequest(region_id=query.get("regionId"), zone_id=query.get("zoneId"))


def _status_query(query: Mapping[str, str]) -> NodeStatusRequest:  # noqa: ARG001 - it has no parameters
    return NodeStatusRequest()


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        code=1,
        name="registry.register",
        path="registry/register.json",
        request_type=RegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: node.register(cast("RegistryRequest | None", request), now),
        encode_json=_registry_json,
        encode_msgpack=_registry_msgpack,
    ),
    Operation(
        code=2,
        name="registry.heartbeat",
        path="registry/heartbeat.json",
        request_type=RegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: node.heartbeat(cast("RegistryRequest | None", request), now),
        encode_json=_registry_json,
        encode_msgpack=_registry_msgpack,
        recognisable=True,
        success_json=_SUCCESS_JSON,
        success_msgpack=_SUCCESS_MSGPACK,
    ),
    Operation(
        code=3,
        name="registry.unregister",
        path="registry/unregister.json",
        request_type=RegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: node.unregister(cast("RegistryRequest | None", request), now),
        encode_json=_registry_json,
        encode_msgpack=_registry_msgpack,
    ),
    Operation(
        code=16,
        name="discovery.lookup",
        path="discovery/lookup.json",
        request_type=LookupRequest,
        response_type=LookupResponse,
        call=lambda node, request, now: node.lookup(cast("LookupRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
    ),
    Operation(
        code=17,
        name="discovery.service",
        path="discovery/service.json",
        request_type=ServiceRequest,
        response_type=ServiceResponse,
        call=lambda node, request, now: node.service(cast("ServiceRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
        from_query=_service_query,
    ),
    Operation(
        code=18,
        name="discovery.services",
        path="discovery/services.json",
        request_type=ServicesRequest,
        response_type=ServicesResponse,
        call=lambda node, request, now: node.services(cast("ServicesRequest | None", request), now),
        encode_json=_answer_json,
        encode_msgpack=_answer_msgpack,
        json_pieces=_services_pieces,
        from_query=_services_query,
        hot=False,
    ),
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
