"""The cluster: nodes that hold the same records, stay available in every partition and converge after it (design 4.1).

Its decisions are pure: `replica` and what it is made of take messages and time and give messages. Its links, in `mesh`,
only carry them.
"""

from artemis.cluster.messages import (
    BadMessage,
    Changes,
    Digest,
    Farewell,
    InstanceRow,
    Message,
    More,
    OperationRow,
    Renewals,
    Repair,
    Row,
    Unnamed,
    decode_message,
    encode_message,
)
from artemis.cluster.operators import OperatorState
from artemis.cluster.outbox import ReplicaCounters
from artemis.cluster.replica import PeerState, Replica, ReplicaState
from artemis.cluster.timings import ClusterTimings

__all__ = [
    "BadMessage",
    "Changes",
    "ClusterTimings",
    "Digest",
    "Farewell",
    "InstanceRow",
    "Message",
    "More",
    "OperationRow",
    "OperatorState",
    "PeerState",
    "Renewals",
    "Repair",
    "Replica",
    "ReplicaCounters",
    "ReplicaState",
    "Row",
    "Unnamed",
    "decode_message",
    "encode_message",
]
