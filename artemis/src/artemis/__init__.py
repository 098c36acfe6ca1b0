"""Artemis, a service registry: the words of the client SDK, loaded when first used.

``from artemis import ArtemisClient, Instance`` is all that most services and callers need; every error to catch and
every event to match is here too. Importing the package alone loads nothing else, so that tools which need only a part
stay quick. The node lives in `artemis.server`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from artemis._version import __version__

if TYPE_CHECKING:
    from artemis.client import (
        AnswerDoubted,
        AnswerOutdated,
        ArtemisClient,
        ArtemisError,
        Attempt,
        AttemptEnded,
        Balancer,
        CallEnded,
        CallTelemetry,
        ClientEvent,
        ClientOptions,
        ClientReading,
        ClientStatus,
        ClosedError,
        ConnectionState,
        DiskFailed,
        DoubtEnded,
        Drained,
        Events,
        EventsMissed,
        FilterFailed,
        HealthAnswer,
        HealthChanged,
        HealthCheck,
        HeartbeatFailed,
        HttpTransport,
        InstanceChange,
        LeaseState,
        LimitError,
        LinkChanged,
        LinkKind,
        Listener,
        ListenerFailed,
        LogTelemetry,
        LookupFailed,
        LoopFailed,
        NodesChanged,
        NodeSwitched,
        NoInstancesError,
        OutlierEjected,
        OutlierReturned,
        Readings,
        RefusedError,
        Registered,
        Registration,
        RegistrationRefused,
        RegistrationRefusedError,
        RegistryFilter,
        Reply,
        Request,
        ServedFromDisk,
        ServiceView,
        StateChanged,
        Strategy,
        Telemetry,
        Transport,
        TransportFailure,
        UnreachableError,
        Unregistered,
        Watch,
        WentBack,
        Withheld,
        own_address,
    )
    from artemis.model import FailedInstance, Instance

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
    "FailedInstance",
    "FilterFailed",
    "HealthAnswer",
    "HealthChanged",
    "HealthCheck",
    "HeartbeatFailed",
    "HttpTransport",
    "Instance",
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
    "__version__",
    "own_address",
]

_OF_THE_MODEL = {"FailedInstance", "Instance"}


if not TYPE_CHECKING:  # with it, every word would seem to exist

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module("artemis.model" if name in _OF_THE_MODEL else "artemis.client"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
