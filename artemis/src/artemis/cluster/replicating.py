"""What those who watch over a node need of its part in replication, whichever way its records travel (design 4.1).

A mesh's `Replica` and an engine's `EngineReplica` have this face. Not here: what only one of them has, which is with
the start of a node (`starting`) and with what operators have done (`artemis.server.comparing`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from artemis.cluster.exchange import Exchanged
from artemis.cluster.outbox import ReplicaCounters


class Replicating(Protocol):
    """Nodes are named by node id, moments are milliseconds of the registry's monotonic clock.

    `heard` says when something of each node came last, `current` when it named no change that this node lacks,
    `compared` when a comparison with what it knows was completed last, `exchanged` what became of that, `synced`
    whether that was ever so since the start.
    """

    @property
    def heard(self) -> Mapping[str, int]: ...

    @property
    def current(self) -> Mapping[str, int]: ...

    @property
    def compared(self) -> Mapping[str, int]: ...

    @property
    def exchanged(self) -> Mapping[str, Exchanged]: ...

    @property
    def counters(self) -> ReplicaCounters: ...

    @property
    def digest(self) -> int | None:
        """One number of 64 bits over all that this node knows, the same at all that know the same."""

    def set_members(self, members: Collection[str]) -> None:
        """Count with these members of the cluster, own id included."""
