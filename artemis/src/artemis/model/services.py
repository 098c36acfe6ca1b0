"""A service with its instances and route rules (spec 1.4).

Not here: how an answer is put together; see `artemis.discovery`.
"""

from artemis.model.instances import Instance
from artemis.model.wire import Int32, WireStruct


class ServiceGroup(WireStruct, kw_only=True):
    """A group of instances inside a route rule (spec 1.4, 1.5). `weight` null means the default of 5."""

    group_key: str | None = None
    instance_ids: list[str | None] | None = None
    instances: list[Instance | None] | None = None
    metadata: dict[str, str | None] | None = None
    weight: Int32 | None = None


class RouteRule(WireStruct, kw_only=True):
    """A rule that splits the traffic of a service (spec 1.4); strategy `weighted-round-robin` or `close-by-visit`."""

    groups: list[ServiceGroup | None] | None = None
    route_id: str | None = None
    strategy: str | None = None


class Service(WireStruct, kw_only=True):
    """A service as discovery shows it (spec 1.4). Its identity is the `service_id` in lower case."""

    instances: list[Instance | None] | None = None
    logic_instances: list[Instance | None] | None = None
    metadata: dict[str, str | None] | None = None
    route_rules: list[RouteRule | None] | None = None
    service_id: str | None = None
