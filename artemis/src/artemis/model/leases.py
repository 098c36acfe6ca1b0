"""The lease pages: every lease with its times, and how many are renewed (spec 1.6, 2.4; artemis-rust 1.1).

Not here: how an answer is put together, which may be long; see `artemis.server.handlers.leases`.
"""

from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int32, Int64, WireStruct


class LeasesRequest(WireStruct, kw_only=True):
    """Body of leases and legacy-leases (spec 2.4). Null or empty: the leases of all services."""

    service_ids: list[str | None] | None = None


class LeaseStatus(WireStruct, kw_only=True):
    """One lease (spec 1.6); `evition_time` is misspelt on the wire.

    Under `leases` the instance is in its text form, the times are `yyyy-MM-dd HH:mm:ss.SSS` in the node's own zone and
    `ttl` is in milliseconds. Under `leasesStatus`, as the Rust rewrite has it, the instance is its id, the times are
    words such as `12 seconds ago` and `ttl` is in seconds.
    """

    creation_time: str | None = None
    evition_time: str | None = None
    instance: str | None = None
    renewal_time: str | None = None
    ttl: Int64 = 0


Leases = dict[str, list[LeaseStatus | None] | None]


class LeasesResponse(WireStruct, kw_only=True):
    """Answer of leases and legacy-leases (spec 1.6).

    `is_safe`: self-preservation holds nothing back. `lease_count` counts all leases of the class. The update counts are
    renewals within ten seconds: `lease_update_max_count` the most seen within ten minutes, at the wall clock's
    milliseconds of `lease_update_max_count_last_update_time`. Both maps go by service id.
    """

    is_safe: bool = False
    is_safe_check_enabled: bool = False
    lease_count: Int32 = 0
    lease_update_count_last_time_window: Int64 = 0
    lease_update_max_count: Int64 = 0
    lease_update_max_count_last_update_time: Int64 = 0
    leases: Leases | None = None
    leases_status: Leases | None = None
    response_status: ResponseStatus = UNSTATED
