"""The registry proper: records, leases, changes. Pure code; time comes in as integer milliseconds."""

from artemis.registry.errors import (
    IdTooLong,
    InstanceTooLarge,
    InvalidInstance,
    RegistryError,
    TooManyInstances,
    WrongRegion,
)
from artemis.registry.leases import Lease, SelfPreservation
from artemis.registry.merging import Reach
from artemis.registry.rates import RenewalRate
from artemis.registry.records import Change, Dot, Origin, Record, Stamp, merge
from artemis.registry.registry import Registry, RenewalPlan
from artemis.registry.restore import Saved, SnapshotError, read_snapshot
from artemis.registry.settings import NodeLimits, NodeTimings
from artemis.registry.snapshot import Cut
from artemis.registry.store import ServiceLeases

__all__ = [
    "Change",
    "Cut",
    "Dot",
    "IdTooLong",
    "InstanceTooLarge",
    "InvalidInstance",
    "Lease",
    "NodeLimits",
    "NodeTimings",
    "Origin",
    "Reach",
    "Record",
    "Registry",
    "RegistryError",
    "RenewalPlan",
    "RenewalRate",
    "Saved",
    "SelfPreservation",
    "ServiceLeases",
    "SnapshotError",
    "Stamp",
    "TooManyInstances",
    "WrongRegion",
    "merge",
    "read_snapshot",
]
