"""Requests and answers of the queries: pages of instances and of services. An addition to the originals.

Not here: what the conditions mean; see `artemis.discovery.selections`.
"""

from artemis.model.instances import Instance
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int32, WireStruct


class InstancesRequest(WireStruct, kw_only=True):
    """Asks for a page of instances that meet every condition given; without `service_id` of all services.

    `page` counts from 1, `page_size` is 1000 at most; without them it is the first page, of 100. `region_id` is the
    caller's; the other conditions are on the instances.
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

    `cursor` is the position of the data when the question was asked.
    """

    cursor: str | None = None
    instances: list[Instance | None] | None = None
    page: Int32 = 0
    page_size: Int32 = 0
    response_status: ResponseStatus = UNSTATED
    total: Int32 = 0


class ServicesPageRequest(WireStruct, kw_only=True):
    """Asks for a page of the services whose ids start with `prefix`, in any letter case."""

    page: Int32 | None = None
    page_size: Int32 | None = None
    prefix: str | None = None


class ServiceCount(WireStruct, kw_only=True):
    """A service and how many instances of it callers see."""

    instance_count: Int32 = 0
    service_id: str | None = None


class ServicesPageResponse(WireStruct, kw_only=True):
    """A page of services in the order of their ids, without instances; `total` counts those on all pages."""

    cursor: str | None = None
    page: Int32 = 0
    page_size: Int32 = 0
    response_status: ResponseStatus = UNSTATED
    services: list[ServiceCount | None] | None = None
    total: Int32 = 0
