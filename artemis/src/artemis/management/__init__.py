"""Operator state: what operators decide about instances, apart from what clients register. Pure code."""

from artemis.management.decisions import (
    Decision,
    DecisionKey,
    InstanceTarget,
    OperationRecord,
    ServerTarget,
    Target,
)
from artemis.management.dump import OperationsCut, OperationsDump, read_pieces
from artemis.management.filter import OperationFilter
from artemis.management.operations import OperationEntry, Operations, TooManyOperations
from artemis.management.pullouts import PullOuts

__all__ = [
    "Decision",
    "DecisionKey",
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
