"""The client SDK: registers instances and keeps them, finds services and keeps them current. Over HTTP so far."""

from artemis.client.balancer import Balancer, Strategy
from artemis.client.client import ArtemisClient
from artemis.client.connection import ConnectionState
from artemis.client.discovery import Watch
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
from artemis.client.leases import LeaseState
from artemis.client.options import ClientOptions
from artemis.client.registrar import Registration
from artemis.client.services import InstanceChange, ServiceView
from artemis.client.transport import HttpTransport, Transport, TransportFailure

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
