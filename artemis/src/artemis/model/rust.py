"""What the Rust rewrite says otherwise on the same paths (artemis-rust 1.1, 1.7, 5.1).

Requests are supersets: which of the two members is there tells whose request it is.
Not here: what it says as Java does; see `requests` and `responses`.
"""

import msgspec

from artemis.model.instances import Instance
from artemis.model.requests import DiscoveryConfig, LookupRequest, RegistryRequest
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.services import Service
from artemis.model.wire import Int64, WireStruct


class LocatedKey(WireStruct, kw_only=True):
    """Names an instance. Region, service and instance identify it in any letter case; zone and group may be missing."""

    group_id: str | None = None
    instance_id: str | None = None
    region_id: str | None = None
    service_id: str | None = None
    zone_id: str | None = None


class EitherRegistryRequest(RegistryRequest, kw_only=True):
    """Body of heartbeat and unregister: `instances` as Java has it, or `instance_keys`."""

    instance_keys: list[LocatedKey | None] | None = None


class EitherLookupRequest(LookupRequest, kw_only=True):
    """Body of lookup: `discovery_configs` as Java has it, or one `discovery_config` to pick an instance of.

    `strategy` is `round-robin`; anything else is random.
    """

    discovery_config: DiscoveryConfig | None = None
    strategy: str | None = None


class EitherStatus(msgspec.Struct, kw_only=True, gc=False, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Outcome with both spellings: Java reads `message` and `status`, the Rust client `error_message`."""

    error_code: str | None = None
    error_message: str | None = None
    message: str | None = None
    status: str | None = None

    @classmethod
    def of(cls, status: ResponseStatus) -> "EitherStatus":
        """Return the same outcome; an empty message is no error message."""
        return cls(
            error_code=status.error_code,
            error_message=status.message or None,
            message=status.message,
            status=status.status,
        )

    @property
    def ok(self) -> bool:
        """Tell whether the whole operation succeeded."""
        return self.status == "success"


class KeysResponse(WireStruct, kw_only=True):
    """Answer of heartbeat and unregister by key in which something failed. `failed_instances` is always null."""

    failed_instance_keys: list[LocatedKey | None] | None = None
    failed_instances: None = None
    response_status: EitherStatus = EitherStatus()


class PickResponse(WireStruct, kw_only=True, omit_defaults=True):
    """Answer of a lookup that picks one instance (artemis-rust 5.1); absent members are omitted."""

    instance: Instance | None = None
    message: str | None = None
    success: bool | None = None


class SyncFullRequest(WireStruct, kw_only=True):
    """Body of sync-full (artemis-rust 1.7). The zone is accepted and ignored."""

    region_id: str | None = None
    zone_id: str | None = None


class SyncFullResponse(WireStruct, kw_only=True):
    """Answer of sync-full: the whole registry at `sync_timestamp`, the node's wall clock in milliseconds."""

    response_status: ResponseStatus = UNSTATED
    services: list[Service | None] | None = None
    sync_timestamp: Int64 = 0


class SyncDeltaRequest(WireStruct, kw_only=True):
    """Body of services-delta under replication: what changed since a timestamp that this node gave."""

    region_id: str | None = None
    since_timestamp: Int64 = 0
    zone_id: str | None = None


class SyncDeltaResponse(WireStruct, kw_only=True):
    """Answer of services-delta under replication: every service that changed since then, whole.

    A service that lost its last instance is there with none. `full_sync` is an addition: true when `services` is all
    there is, because this node no longer knows what changed since then.
    """

    current_timestamp: Int64 = 0
    full_sync: bool = False
    response_status: ResponseStatus = UNSTATED
    services: list[Service | None] | None = None
