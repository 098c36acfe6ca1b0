"""Changes of instances, what asks for them and who was told: pushes, deltas, subscriptions (spec 1.4, 2.2, 3.3, design
6).

Not here: which changes there are; see `artemis.push`, which writes the same bytes without these structs.
"""

import msgspec

from artemis.model.instances import Instance
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.wire import Int32, Int64, WireStruct

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

    `cursor` is the position up to which the caller knows the services; null: it looks them up. `region_id` is another
    region of which the node has a copy; null: the node's own.
    """

    all: bool = False
    cursor: str | None = None
    region_id: str | None = None
    service_ids: list[str | None] | None = None


class ConfirmRequest(WireStruct, kw_only=True):
    """Body of confirm on the binary door. It needs nothing; `region_id` as of subscribe."""

    region_id: str | None = None


class ConfirmResponse(WireStruct, kw_only=True):
    """Answer of confirm: everything that the session had to be told was pushed before it, if it is `current`.

    `cursor` is then that of the node at this moment. Otherwise it is one that the session can go on from, or null when
    the node knows none: go on from that of the last push. `age_ms` is how old the data of the node itself may be,
    `missing_nodes` how many others that leaves out, as they are down or were never met. `region_id` is there of a copy
    of another region.
    """

    age_ms: Int64 = 0
    current: bool = False
    cursor: str | None = None
    missing_nodes: Int64 = 0
    region_id: str | msgspec.UnsetType = msgspec.UNSET
    response_status: ResponseStatus = UNSTATED


class SubscribeResponse(WireStruct, kw_only=True):
    """Answer of subscribe and unsubscribe: the position from which changes are pushed."""

    cursor: str | None = None
    response_status: ResponseStatus = UNSTATED


class ToldRequest(WireStruct, kw_only=True):
    """Asks whether those who follow a service were told of what happened so far; its id in any letter case.

    With the `cursor` of another node's answer: whether they were told of everything up to that.
    """

    service_id: str | None = None
    cursor: str | None = None


class ToldResponse(WireStruct, kw_only=True):
    """Who follows a service at this node: `waiting` of the `subscribers` lack something, `told` when none does.

    `cursor` is the position of this node, to be handed to others that are asked the same.
    """

    response_status: ResponseStatus = UNSTATED
    subscribers: Int32 = 0
    told: bool = False
    waiting: Int32 = 0
    cursor: str | None = None
