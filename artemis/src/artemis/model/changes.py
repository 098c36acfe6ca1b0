"""Changes of instances and what asks for them: pushes, deltas and subscriptions (spec 1.4, 2.2, 3.3, design 6).

Not here: which changes there are; see `artemis.push`, which writes the same bytes without these structs.
"""

from artemis.model.instances import Instance
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int64, WireStruct

NEW = "new"
CHANGE = "change"
DELETE = "delete"
RELOAD = "reload"


class InstanceChange(WireStruct, kw_only=True):
    """One change of one instance (spec 1.4); `change_time` is milliseconds of the wall clock.

    `change_type` is `new`, `delete`, `change` for other content, or `reload`: look the whole service up again. Java
    clients are told `new` instead of `change`. `cursor` is an addition: the position that the receiver has reached;
    when more changes of the same moment follow, one from which there is a full sync.
    """

    change_time: Int64 = 0
    change_type: str | None = None
    cursor: str | None = None
    instance: Instance | None = None


class ServicesDeltaRequest(WireStruct, kw_only=True):
    """Body of services-delta: the version that the caller has (spec 2.2). Both ids are accepted and ignored."""

    region_id: str | None = None
    version: Int64 = 0
    zone_id: str | None = None


class ServicesDeltaResponse(WireStruct, kw_only=True):
    """Answer of services-delta (spec 5.2): changes by service id since the caller's version, and the version now."""

    delta: dict[str, list[InstanceChange]] | None = None
    response_status: ResponseStatus = UNSTATED
    version: Int64 = 0


class SubscribeRequest(WireStruct, kw_only=True):
    """Body of subscribe and unsubscribe on the binary door: these services, or `all` of them.

    `cursor` is the position up to which the caller knows the services; null: it looks them up.
    """

    all: bool = False
    cursor: str | None = None
    service_ids: list[str | None] | None = None


class SubscribeResponse(WireStruct, kw_only=True):
    """Answer of subscribe and unsubscribe: the position from which changes are pushed."""

    cursor: str | None = None
    response_status: ResponseStatus = UNSTATED
