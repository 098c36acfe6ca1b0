"""How a node tells how it stands on its machine. Not here: where that is known from (`artemis.server.vitals`)."""

from artemis.model.responses import SUCCESS
from artemis.model.status import StatusRequest
from artemis.model.vitals import VitalsResponse
from artemis.model.wire import in_camel_case
from artemis.server.handlers.regions import other_regions
from artemis.server.node import Node


def vitals(node: Node, request: StatusRequest | None, now: int) -> VitalsResponse:  # noqa: ARG001
    """Show it."""
    known, registry, identity = node.about.vitals(), node.registry, node.identity
    timings = registry.timings
    return VitalsResponse(
        certificate_expires=known.certificate_expires,
        counters={in_camel_case(name): count for name, count in known.counters.items()},
        data_free=known.data_free,
        data_total=known.data_total,
        files_limit=known.files_limit,
        files_open=known.files_open,
        least_lifetime_ms=known.least_lifetime,
        node_id=identity.node_id,
        options={
            "leaseTtl": timings.ttl,
            "legacyLeaseTtl": timings.legacy_ttl,
            "peerGrace": timings.grace,
            "preservationHold": timings.hold,
            "tombstoneLifetime": timings.lifetime,
        },
        pauses=known.pauses,
        regions=other_regions(node.regions, now),
        response_status=SUCCESS,
        snapshot_age_ms=known.snapshot_age,
        url=identity.url,
        wall=registry.wall(now),
        workers=node.about.workers(),
    )
