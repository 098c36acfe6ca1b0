"""The operations of a node, one table for all doors (design 4): numbers, paths, types and how to call them.

A module per family; doors read the table, so a new row appears on all of them.
Not here: how a request reaches the node.
"""

from artemis.server.operations.cluster import CLUSTER
from artemis.server.operations.cluster_operations import CLUSTER_OPERATIONS
from artemis.server.operations.discovery import DISCOVERY
from artemis.server.operations.explain import EXPLAIN
from artemis.server.operations.management import MANAGEMENT
from artemis.server.operations.queries import QUERIES
from artemis.server.operations.registry import REGISTRY
from artemis.server.operations.replication import REPLICATION
from artemis.server.operations.status import STATUS
from artemis.server.operations.table import BadParameter, Limit, MissingParameter, Operation, Parameter, Query

OPERATIONS: tuple[Operation, ...] = (
    *REGISTRY,
    *DISCOVERY,
    *STATUS,
    *CLUSTER,
    *CLUSTER_OPERATIONS,
    *REPLICATION,
    *MANAGEMENT,
    *EXPLAIN,
    *QUERIES,
)

__all__ = ["OPERATIONS", "BadParameter", "Limit", "MissingParameter", "Operation", "Parameter", "Query"]
