"""Register, heartbeat, unregister (spec 2.1)."""

from typing import cast

from artemis.model import RegistryRequest, RegistryResponse, encode, encode_msgpack
from artemis.model.rust import EitherRegistryRequest
from artemis.server.handlers import dialect
from artemis.server.node import REGISTRY_SUCCESS
from artemis.server.operations.table import Limit, Operation

LIMITER = "artemis.service.registry"

SUCCESS_JSON = encode(REGISTRY_SUCCESS)
SUCCESS_MSGPACK = encode_msgpack(REGISTRY_SUCCESS)


def registry_json(response: object) -> bytes:
    """The JSON of a registry answer; the one that nothing failed in is ready made."""
    return SUCCESS_JSON if response is REGISTRY_SUCCESS else encode(response)


def registry_msgpack(response: object) -> bytes:
    """The same as MessagePack."""
    return SUCCESS_MSGPACK if response is REGISTRY_SUCCESS else encode_msgpack(response)


REGISTRY: tuple[Operation, ...] = (
    Operation(
        code=1,
        name="registry.register",
        path="registry/register.json",
        aliases=("registry/register",),
        request_type=RegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: node.register(cast("RegistryRequest | None", request), now),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "register"),
    ),
    Operation(
        code=2,
        name="registry.heartbeat",
        path="registry/heartbeat.json",
        aliases=("registry/heartbeat",),
        request_type=EitherRegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: dialect.heartbeat(node, cast("RegistryRequest | None", request), now),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "heartbeat"),
        recognisable=True,
        success_json=SUCCESS_JSON,
        success_msgpack=SUCCESS_MSGPACK,
    ),
    Operation(
        code=3,
        name="registry.unregister",
        path="registry/unregister.json",
        aliases=("registry/unregister",),
        request_type=EitherRegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: dialect.unregister(node, cast("RegistryRequest | None", request), now),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "unregister"),
    ),
)
