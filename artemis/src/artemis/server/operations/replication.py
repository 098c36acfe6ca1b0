"""What nodes of the originals send each other (spec 2.5, artemis-rust 1.7)."""

from typing import cast

from artemis.model import RegistryRequest, RegistryResponse
from artemis.model.replication import RegistryContentRequest, RegistryContentResponse
from artemis.model.rust import (
    EitherRegistryRequest,
    SyncDeltaRequest,
    SyncDeltaResponse,
    SyncFullRequest,
    SyncFullResponse,
)
from artemis.server.handlers import replication
from artemis.server.operations.pieces import pieces, whole_json, whole_msgpack
from artemis.server.operations.registry import registry_json, registry_msgpack
from artemis.server.operations.table import Limit, MissingParameter, Operation, Query

LIMITER = "artemis.service.registry.replication"


def _content_query(query: Query) -> RegistryContentRequest:
    region_id = query.get("regionId")
    if region_id is None:
        raise MissingParameter("regionId")
    return RegistryContentRequest(region_id=region_id, zone_id=query.get("zoneId"))


REPLICATION: tuple[Operation, ...] = (
    Operation(
        code=96,
        name="replication.register",
        path="replication/registry/register.json",
        aliases=("replication/registry/batch-register.json",),
        request_type=RegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: replication.register(node, cast("RegistryRequest | None", request), now),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "register"),
    ),
    Operation(
        code=97,
        name="replication.heartbeat",
        path="replication/registry/heartbeat.json",
        aliases=("replication/registry/batch-heartbeat.json",),
        request_type=EitherRegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: replication.heartbeat(node, cast("RegistryRequest | None", request), now),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "heartbeat"),
    ),
    Operation(
        code=98,
        name="replication.unregister",
        path="replication/registry/unregister.json",
        request_type=EitherRegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: replication.unregister(node, cast("RegistryRequest | None", request), now),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "unregister"),
    ),
    Operation(
        code=99,
        name="replication.services",
        path="replication/registry/services.json",
        request_type=RegistryContentRequest,
        response_type=RegistryContentResponse,
        call=lambda node, request, now: replication.services(node, cast("RegistryContentRequest | None", request), now),
        encode_json=whole_json,
        encode_msgpack=whole_msgpack(RegistryContentResponse),
        json_pieces=pieces,
        from_query=_content_query,
        hot=False,
        limit=Limit(LIMITER, "get-services"),
    ),
    Operation(
        code=100,
        name="replication.batch-unregister",
        path="replication/registry/batch-unregister.json",
        request_type=EitherRegistryRequest,
        response_type=RegistryResponse,
        call=lambda node, request, now: replication.batch_unregister(
            node, cast("RegistryRequest | None", request), now
        ),
        encode_json=registry_json,
        encode_msgpack=registry_msgpack,
        limit=Limit(LIMITER, "unregister"),
    ),
    Operation(
        code=101,
        name="replication.services-delta",
        path="replication/registry/services-delta.json",
        request_type=SyncDeltaRequest,
        response_type=SyncDeltaResponse,
        call=lambda node, request, now: replication.services_delta(node, cast("SyncDeltaRequest | None", request), now),
        encode_json=whole_json,
        encode_msgpack=whole_msgpack(SyncDeltaResponse),
        json_pieces=pieces,
        hot=False,
        limit=Limit(LIMITER, "get-services"),
    ),
    Operation(
        code=102,
        name="replication.sync-full",
        path="replication/registry/sync-full.json",
        request_type=SyncFullRequest,
        response_type=SyncFullResponse,
        call=lambda node, request, now: replication.sync_full(node, cast("SyncFullRequest | None", request), now),
        encode_json=whole_json,
        encode_msgpack=whole_msgpack(SyncFullResponse),
        json_pieces=pieces,
        hot=False,
        limit=Limit(LIMITER, "get-services"),
    ),
)
