"""The client SDK: registers instances and keeps them, finds services and keeps them current. Over HTTP so far."""

from artemis.client.balancing.balancer import Balancer, Strategy
from artemis.client.calls.transport import HttpTransport, Transport, TransportFailure
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
    ClientEvent,
    Events,
    EventsMissed,
    HeartbeatFailed,
    LookupFailed,
    NodeSwitched,
    Registered,
    RegistrationRefused,
    StateChanged,
    Unregistered,
)
from artemis.client.options import ClientOptions
from artemis.client.registration.leases import LeaseState
from artemis.client.registration.registrar import Registration

__all__ = [
    "ArtemisClient",
    "ArtemisError",
    "Attempt",
    "Balancer",
    "ClientEvent",
    "ClientOptions",
    "ClosedError",
    "ConnectionState",
    "Events",
    "EventsMissed",
    "HeartbeatFailed",
    "HttpTransport",
    "InstanceChange",
    "LeaseState",
    "LimitError",
    "LookupFailed",
    "NoInstancesError",
    "NodeSwitched",
    "RefusedError",
    "Registered",
    "Registration",
    "RegistrationRefused",
    "RegistrationRefusedError",
    "ServiceView",
    "StateChanged",
    "Strategy",
    "Transport",
    "TransportFailure",
    "UnreachableError",
    "Unregistered",
    "Watch",
]
