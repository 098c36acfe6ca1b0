"""The client SDK: registers instances and keeps them, finds services and keeps them current; begin at `ArtemisClient`.

What is exported here is exported from `artemis` too, which loads it when it is first used.
"""

from artemis.client.balancing.balancer import Balancer, Request, Strategy
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
    AnswerOutdated,
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
    LoopFailed,
    NodesChanged,
    NodeSwitched,
    OutlierEjected,
    OutlierReturned,
    Registered,
    RegistrationRefused,
    ServedFromDisk,
    StateChanged,
    Unregistered,
    WentBack,
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
from artemis.client.telemetry.contract import AttemptEnded, CallEnded, CallTelemetry, Telemetry
from artemis.client.telemetry.logs import LogTelemetry
from artemis.client.telemetry.readings import ClientReading, Readings

__all__ = [
    "AnswerDoubted",
    "AnswerOutdated",
    "ArtemisClient",
    "ArtemisError",
    "Attempt",
    "AttemptEnded",
    "Balancer",
    "CallEnded",
    "CallTelemetry",
    "ClientEvent",
    "ClientOptions",
    "ClientReading",
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
    "LogTelemetry",
    "LookupFailed",
    "LoopFailed",
    "NoInstancesError",
    "NodeSwitched",
    "NodesChanged",
    "OutlierEjected",
    "OutlierReturned",
    "Readings",
    "RefusedError",
    "Registered",
    "Registration",
    "RegistrationRefused",
    "RegistrationRefusedError",
    "RegistryFilter",
    "Reply",
    "Request",
    "ServedFromDisk",
    "ServiceView",
    "StateChanged",
    "Strategy",
    "Telemetry",
    "Transport",
    "TransportFailure",
    "UnreachableError",
    "Unregistered",
    "Watch",
    "WentBack",
    "Withheld",
    "own_address",
]
