"""Nodes of the registry and their status (spec 1.4, 6.3).

Not here: the rules by which a node changes its status; see `artemis.server.node`.
"""

from artemis.model.wire import WireStruct

STARTING = "starting"
UP = "up"
DOWN = "down"
UNKNOWN = "unknown"


class Zone(WireStruct, kw_only=True):
    """A zone of a region (spec 1.4)."""

    metadata: dict[str, str | None] | None = None
    region_id: str | None = None
    zone_id: str | None = None


class ServiceNode(WireStruct, kw_only=True):
    """A registry node: where it stands and the URL under which clients and peers reach it (spec 1.4).

    The Rust rewrite reads `node_id`, `region_id` and `zone_id` in the place of `zone` (artemis-rust 1.1).
    """

    node_id: str | None = None
    region_id: str | None = None
    url: str | None = None
    zone: Zone | None = None
    zone_id: str | None = None


class ServiceNodeStatus(WireStruct, kw_only=True):
    """What a node says about itself (spec 1.4, 6.3). `status` is one of `starting`, `up`, `down`, `unknown`.

    `up` serves everything and `down` nothing; in between the two `can_service` flags decide, null meaning no.
    """

    allow_discovery_from_other_zone: bool | None = None
    allow_registry_from_other_zone: bool | None = None
    can_service_discovery: bool | None = None
    can_service_registry: bool | None = None
    node: ServiceNode | None = None
    status: str | None = None
