"""The client SDK: registers instances and keeps them, finds services and keeps them current. Over HTTP so far."""

from artemis.client.balancing.balancer import Balancer, Strategy
from artemis.client.calls.transport import HttpTransport, Reply, Transport, TransportFailure
from artemis.client.client import ArtemisClient
from artemis.client.connection import ConnectionState
from artemis.client.discovery.changes import InstanceChange
from artemis.client.discovery.listeners import Listener
from artemis.client.discovery.services import ServiceView
from artemis.client.discovery.watch import Watch
from artemis.client.errors import (
    ArtemisError,
    Attempt,
    ClosedError,
    LimitError,
    NoInstancesError,
    RefusedError,
    RegistrationRefusedError,
    UnreachableError,
)
from artemis.client.events import (
    AnswerDoubted,
    ClientEvent,
    DiskFailed,
    DoubtEnded,
    Drained,
    Events,
    EventsMissed,
    FilterFailed,
    HealthChanged,
    HeartbeatFailed,
    LinkChanged,
    ListenerFailed,
    LookupFailed,
    NodesChanged,
    NodeSwitched,
    OutlierEjected,
    OutlierReturned,
    Registered,
    RegistrationRefused,
    ServedFromDisk,
    StateChanged,
    Unregistered,
    Withheld,
)
from artemis.client.links.link import LinkKind
from artemis.client.options import ClientOptions
from artemis.client.registration.address import own_address
from artemis.client.registration.filters import RegistryFilter
from artemis.client.registration.health import HealthAnswer, HealthCheck
from artemis.client.registration.leases import LeaseState
from artemis.client.registration.registration import Registration
from artemis.client.status import ClientStatus

__all__ = [
    "AnswerDoubted",
    "ArtemisClient",
    "ArtemisError",
    "Attempt",
    "Balancer",
    "ClientEvent",
    "ClientOptions",
    "ClientStatus",
    "ClosedError",
    "ConnectionState",
    "DiskFailed",
    "DoubtEnded",
    "Drained",
    "Events",
    "EventsMissed",
    "FilterFailed",
    "HealthAnswer",
    "HealthChanged",
    "HealthCheck",
    "HeartbeatFailed",
    "HttpTransport",
    "InstanceChange",
    "LeaseState",
    "LimitError",
    "LinkChanged",
    "LinkKind",
    "Listener",
    "ListenerFailed",
    "LookupFailed",
    "NoInstancesError",
    "NodeSwitched",
    "NodesChanged",
    "OutlierEjected",
    "OutlierReturned",
    "RefusedError",
    "Registered",
    "Registration",
    "RegistrationRefused",
    "RegistrationRefusedError",
    "RegistryFilter",
    "Reply",
    "ServedFromDisk",
    "ServiceView",
    "StateChanged",
    "Strategy",
    "Transport",
    "TransportFailure",
    "UnreachableError",
    "Unregistered",
    "Watch",
    "Withheld",
    "own_address",
]
