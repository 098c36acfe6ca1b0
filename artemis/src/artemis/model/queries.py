"""Requests and answers of the queries: pages of instances and of services. An addition to the originals.

Not here: what the conditions mean; see `artemis.discovery.selections`.
"""

import msgspec

from artemis.model.instances import Instance
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int32, Int64, WireStruct


class InstancesRequest(WireStruct, kw_only=True):
    """Asks for a page of instances that meet every condition given; without `service_id` of all services.

    `page` counts from 1, `page_size` is 1000 at most; without them it is the first page, of 100. `region_id` is that
    of the node, or one of which it has a copy; the other conditions are on the instances.
    """

    group_id: str | None = None
    ip: str | None = None
    metadata: dict[str, str | None] | None = None
    page: Int32 | None = None
    page_size: Int32 | None = None
    region_id: str | None = None
    service_id: str | None = None
    status: str | None = None
    zone_id: str | None = None


class InstancesResponse(WireStruct, kw_only=True):
    """A page of instances in the order of service and instance id; `total` counts those on all pages.

    `cursor` is the position of the data when the question was asked; `region_id` and `age_ms` are there of a region of
    which the node has a copy: which it is, and how old the copy may be.
    """

    age_ms: Int64 | msgspec.UnsetType = msgspec.UNSET
    cursor: str | None = None
    instances: list[Instance | None] | None = None
    page: Int32 = 0
    page_size: Int32 = 0
    region_id: str | msgspec.UnsetType = msgspec.UNSET
    response_status: ResponseStatus = UNSTATED
    total: Int32 = 0


class ServicesPageRequest(WireStruct, kw_only=True):
    """Asks for a page of the services whose ids start with `prefix`, in any letter case.

    `region_id` is that of the node, as without one, or one of which it has a copy.
    """

    page: Int32 | None = None
    page_size: Int32 | None = None
    prefix: str | None = None
    region_id: str | None = None


class ServiceCount(WireStruct, kw_only=True):
    """A service and how many instances of it callers see."""

    instance_count: Int32 = 0
    service_id: str | None = None


class ServicesPageResponse(WireStruct, kw_only=True):
    """A page of services in the order of their ids, without instances; `total` counts those on all pages.

    `region_id` and `age_ms` as of a page of instances.
    """

    age_ms: Int64 | msgspec.UnsetType = msgspec.UNSET
    cursor: str | None = None
    page: Int32 = 0
    page_size: Int32 = 0
    region_id: str | msgspec.UnsetType = msgspec.UNSET
    response_status: ResponseStatus = UNSTATED
    services: list[ServiceCount | None] | None = None
    total: Int32 = 0
