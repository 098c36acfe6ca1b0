"""Replication from Java nodes: what differs from the registry operations (spec 2.5).

Not here: replication between nodes of this implementation.
"""

from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.services import Service
from artemis.model.wire import WireStruct


class RegistryContentRequest(WireStruct, kw_only=True):
    """Body of services under replication (spec 2.5): the region is required, the zone is accepted and ignored."""

    region_id: str | None = None
    zone_id: str | None = None


class RegistryContentResponse(WireStruct, kw_only=True):
    """Answer of services under replication: what is registered, without what discovery adds or hides (spec 2.5)."""

    response_status: ResponseStatus = UNSTATED
    services: list[Service | None] | None = None
