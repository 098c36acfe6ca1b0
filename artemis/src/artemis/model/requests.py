"""Request bodies of registry, discovery and status operations (spec 2.1, 2.2, 2.4).

Not here: checks of their content, which are the node's and have their own answers.
"""

import msgspec

from artemis.model.instances import Instance
from artemis.model.wire import WireStruct


class RegistryRequest(WireStruct, kw_only=True):
    """Body of register, heartbeat and unregister (spec 2.1). Null elements are skipped.

    `versions` is an addition: what the last answer said of each instance, in the same order, empty texts at first. Who
    sends it is told the versions again, and only he writes it.
    """

    instances: list[Instance | None] | None = None
    versions: list[str | None] | msgspec.UnsetType | None = msgspec.UNSET


class DiscoveryConfig(WireStruct, kw_only=True):
    """Names one service to look up (spec 1.4). `discovery_data` narrows its instances.

    Entries `zoneId`, `groupId`, `status`, `ip` and `metadata.KEY` are conditions on the instances shown; all others are
    accepted and have no effect, as all of them in the originals (spec 5.1).
    """

    discovery_data: dict[str, str | None] | None = None
    region_id: str | None = None
    service_id: str | None = None
    zone_id: str | None = None


class LookupRequest(WireStruct, kw_only=True):
    """Body of lookup: several services at once (spec 2.2). Null or unnamed configs are skipped."""

    discovery_configs: list[DiscoveryConfig | None] | None = None
    region_id: str | None = None
    zone_id: str | None = None


class ServiceRequest(WireStruct, kw_only=True):
    """Body of service: one service (spec 2.2)."""

    discovery_config: DiscoveryConfig | None = None
    region_id: str | None = None
    zone_id: str | None = None


class ServicesRequest(WireStruct, kw_only=True):
    """Body of services: all services (spec 2.2). Both fields are accepted and ignored."""

    region_id: str | None = None
    zone_id: str | None = None


class NodeStatusRequest(WireStruct, kw_only=True):
    """Body of the node status: an empty object (spec 2.4)."""
