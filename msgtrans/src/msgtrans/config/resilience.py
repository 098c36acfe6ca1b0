"""How a client chooses among several addresses, when it leaves one alone, and what calls get (specification 4.1).

Not here: acting on it (`flow.balancing`, `flow.circuit_breaker`), and the pauses between attempts (`config.retry`).
"""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

Policy: TypeAlias = Literal["round_robin", "random", "least_connections", "weighted_round_robin"]


class CircuitBreakerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """When an address that fails is left alone, and how it is trusted again (specification 4.1).

    failure_threshold: failures in a row that open the breaker; default 5. timeout: seconds it stays open; default 60.
    After that it is half open: half_open_probes connections (default 1) may be tried at a time; a failure opens it
    again, success_threshold successes (default 3) close it.
    An open breaker keeps its address out while there is another to turn to; else the pauses between attempts suffice.
    A failure is a connection that cannot be made, or breaks before anything arrived on it and before it was as old as
    the longest pause between attempts, as one does whose token is wrong. A success is a connection.
    count_timeouts: requests without an answer in time are failures too, and answers successes; default off. When they
    open the breaker, the connections to that address are dropped: they may lead nowhere.
    """

    failure_threshold: int = 5
    timeout: float = 60.0
    success_threshold: int = 3
    half_open_probes: int = 1
    count_timeouts: bool = False

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "failure_threshold", "success_threshold", "half_open_probes")
        positive(self, "timeout")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class LoadBalancerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which address gets the next connection, and which connection the next message (specification 4.1).

    policy: "round_robin" (default), each in turn, beginning anywhere; "random"; "least_connections": the address with
    the fewest connections, the connection with the fewest requests in flight; "weighted_round_robin": in turn, each as
    often as its weight says. weights: for that policy, one whole number from 1 up per address, in their order.
    """

    policy: Policy = "round_robin"
    weights: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        if bool(self.weights) != (self.policy == "weighted_round_robin"):
            raise ConfigurationError("weights", "belong to the policy weighted_round_robin, and it needs them")
        if any(weight < 1 for weight in self.weights):
            raise ConfigurationError("weights", f"are {self.weights!r}; use whole numbers from 1 up")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class ReconnectingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a `ReconnectingClient` treats calls.

    connections: to keep open, over all addresses; default 1. idempotent: whether requests may be sent again when their
    connection is lost before the answer, unless the call says otherwise; default off. max_resubmissions: how often one
    is, at most; default 3. wait: whether calls wait for a connection unless they say otherwise; default on.
    max_waiting, max_waiting_bytes: calls that may wait for one, and the bytes of their messages; default 10 000 and
    32 MiB.
    """

    connections: int = 1
    idempotent: bool = False
    max_resubmissions: int = 3
    wait: bool = True
    max_waiting: int = 10_000
    max_waiting_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "connections", "max_waiting", "max_waiting_bytes")
        whole(self, "max_resubmissions", least=0)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
