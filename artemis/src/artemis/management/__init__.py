"""Operator state: what operators decide about instances, apart from what clients register. Pure code."""

from artemis.management.dump import OperationsCut, read_pieces
from artemis.management.filter import OperationFilter
from artemis.management.operations import (
    InstanceTarget,
    OperationEntry,
    OperationRecord,
    Operations,
    OperationsDump,
    ServerTarget,
    Target,
    TooManyOperations,
)
from artemis.management.pullouts import PullOuts

__all__ = [
    "InstanceTarget",
    "OperationEntry",
    "OperationFilter",
    "OperationRecord",
    "Operations",
    "OperationsCut",
    "OperationsDump",
    "PullOuts",
    "ServerTarget",
    "Target",
    "TooManyOperations",
    "read_pieces",
]
