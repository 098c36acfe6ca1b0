"""The client SDK: registers instances and keeps them, finds services and keeps them current. Over HTTP so far."""

from artemis.client.balancing.balancer import Balancer, Strategy
from artemis.client.calls.transport import HttpTransport, Reply, Transport, TransportFailure
from artemis.client.client import ArtemisClient
from artemis.client.connection import ConnectionState
from artemis.client.discovery.discovery import Watch
from artemis.client.discovery.services import InstanceChange, ServiceView
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
    Events,
    EventsMissed,
    HealthChanged,
    HeartbeatFailed,
    LinkChanged,
    ListenerFailed,
    LookupFailed,
    NodesChanged,
    NodeSwitched,
    Registered,
    RegistrationRefused,
    ServedFromDisk,
    StateChanged,
    Unregistered,
)
from artemis.client.links.link import LinkKind
from artemis.client.options import ClientOptions
from artemis.client.registration.leases import LeaseState
from artemis.client.registration.registrar import Registration

__all__ = [
    "AnswerDoubted",
    "ArtemisClient",
    "ArtemisError",
    "Attempt",
    "Balancer",
    "ClientEvent",
    "ClientOptions",
    "ClosedError",
    "ConnectionState",
    "DiskFailed",
    "DoubtEnded",
    "Events",
    "EventsMissed",
    "HealthChanged",
    "HeartbeatFailed",
    "HttpTransport",
    "InstanceChange",
    "LeaseState",
    "LimitError",
    "LinkChanged",
    "LinkKind",
    "ListenerFailed",
    "LookupFailed",
    "NoInstancesError",
    "NodeSwitched",
    "NodesChanged",
    "RefusedError",
    "Registered",
    "Registration",
    "RegistrationRefused",
    "RegistrationRefusedError",
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
]
