"""The wire: what requests, answers and entities look like in JSON and MessagePack (spec 1, 2).

Not here: what they mean. The registry and the discovery room decide that.
"""

from artemis.model.changes import (
    ConfirmRequest,
    ConfirmResponse,
    InstanceChange,
    ServicesDeltaRequest,
    ServicesDeltaResponse,
    SubscribeRequest,
    SubscribeResponse,
    ToldRequest,
    ToldResponse,
)
from artemis.model.codec import decode, decode_msgpack, encode, encode_canonical, encode_msgpack
from artemis.model.instances import Instance
from artemis.model.nodes import ServiceNode, ServiceNodeStatus, Zone
from artemis.model.requests import (
    DiscoveryConfig,
    LookupRequest,
    NodeStatusRequest,
    RegistryRequest,
    ServiceRequest,
    ServicesRequest,
)
from artemis.model.responses import (
    FailedInstance,
    LookupResponse,
    NodeStatusResponse,
    RegistryResponse,
    ResponseStatus,
    ServiceResponse,
    ServicesResponse,
)
from artemis.model.services import RouteRule, Service, ServiceGroup
from artemis.model.steps import decode_steps
from artemis.model.tolerant import MalformedBody

__all__ = [
    "ConfirmRequest",
    "ConfirmResponse",
    "DiscoveryConfig",
    "FailedInstance",
    "Instance",
    "InstanceChange",
    "LookupRequest",
    "LookupResponse",
    "MalformedBody",
    "NodeStatusRequest",
    "NodeStatusResponse",
    "RegistryRequest",
    "RegistryResponse",
    "ResponseStatus",
    "RouteRule",
    "Service",
    "ServiceGroup",
    "ServiceNode",
    "ServiceNodeStatus",
    "ServiceRequest",
    "ServiceResponse",
    "ServicesDeltaRequest",
    "ServicesDeltaResponse",
    "ServicesRequest",
    "ServicesResponse",
    "SubscribeRequest",
    "SubscribeResponse",
    "ToldRequest",
    "ToldResponse",
    "Zone",
    "decode",
    "decode_msgpack",
    "decode_steps",
    "encode",
    "encode_canonical",
    "encode_msgpack",
]
