"""What users read of a pool of connections (specification 4.4). Not here: counting."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class MemberState(StrEnum):
    """AVAILABLE: nobody uses it. IN_USE: somebody does. MAINTENANCE: its health is being checked. ERROR: it broke, or
    is not wanted any more, and leaves when it is given back.
    """

    AVAILABLE = "available"
    IN_USE = "in-use"
    MAINTENANCE = "maintenance"
    ERROR = "error"


class PooledConnection(msgspec.Struct, frozen=True):
    """One connection of a pool at one moment. created_at, last_used: seconds of `time.monotonic`. use_count: how often
    it was acquired.
    """

    id: int
    uri: str
    state: MemberState
    created_at: float
    last_used: float
    use_count: int


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """A pool at one moment, its counters over its whole life (specification 4.4).

    total_connections = active_connections (in use) + available_connections + maintenance_connections (being checked).
    connecting: being made. waiting: callers in line.
    get_operations - return_operations = active_connections; create_operations - remove_operations = total_connections.
    total_operations: those four together. total_wait_time_ns: of callers that got a connection, nanoseconds in line.
    waits: how many of them stood in line. wait_timeouts: callers that gave up in time. wait_refused: those for whom the
    line was full. connect_failures: attempts that came to nothing, and connections that the server closed at once.
    health_failures: health checks that raised. repeated_requests: `request` on another connection.
    """

    total_connections: int
    active_connections: int
    available_connections: int
    maintenance_connections: int
    connecting: int
    waiting: int
    get_operations: int
    return_operations: int
    create_operations: int
    remove_operations: int
    total_wait_time_ns: int
    waits: int
    wait_timeouts: int
    wait_refused: int
    connect_failures: int
    health_failures: int
    repeated_requests: int = 0

    @property
    def total_operations(self) -> int:
        """Gets, returns, creations and removals."""
        return self.get_operations + self.return_operations + self.create_operations + self.remove_operations


class PoolDetailedStatus(msgspec.Struct, frozen=True):
    """How large a pool is, and how it came to that (specification 4.4).

    current_size: open connections. wanted_size: how many it is to have now. utilization: the part of them in use, 0 of
    none. avg_utilization: the same over its life, each moment weighing as much as there were connections.
    current_expansion_factor: by which the next expansion multiplies. The last three are those of `GrowthMetrics`.
    """

    current_size: int
    wanted_size: int
    max_size: int
    utilization: float
    avg_utilization: float
    expansion_count: int
    shrink_count: int
    current_expansion_factor: float
    avg_expansion_factor: float
    expansion_frequency: int
    shrink_frequency: int
