"""Artemis, a service registry: the words of the client SDK, loaded when first used.

``from artemis import ArtemisClient, Instance`` is all that a service or a caller needs. Importing the package alone
loads nothing else, so that tools which need only a part stay quick. The node lives in `artemis.server`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from artemis._version import __version__

if TYPE_CHECKING:
    from artemis.client import (
        ArtemisClient,
        ArtemisError,
        ClientOptions,
        ConnectionState,
        InstanceChange,
        LeaseState,
        NoInstancesError,
        RefusedError,
        RegistrationRefusedError,
        UnreachableError,
    )
    from artemis.model import Instance

__all__ = [
    "ArtemisClient",
    "ArtemisError",
    "ClientOptions",
    "ConnectionState",
    "Instance",
    "InstanceChange",
    "LeaseState",
    "NoInstancesError",
    "RefusedError",
    "RegistrationRefusedError",
    "UnreachableError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module("artemis.model" if name == "Instance" else "artemis.client"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
