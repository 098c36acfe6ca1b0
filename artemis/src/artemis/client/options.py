"""The numbers a client works with, each with its default, unit and range; nothing here acts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Timings and bounds of one client; times in seconds. A value out of its range raises ``ValueError``.

    - ``heartbeat_interval`` (5, > 0): all instances of the client are renewed this often. Keep it at a quarter of the
      node's lease time, so that three lost heartbeats do not cost the lease.
    - ``poll_interval`` (5, > 0): every service in use is looked up this often.
    - ``attempt_timeout`` (2, > 0): how long one node may take for one answer.
    - ``attempts`` (5, 1 or more): tries of one call, over all nodes together.
    - ``backoff`` (0.1, >= 0) and ``backoff_limit`` (2, >= ``backoff``): before the n-th repeat the client waits a
      random time between 0 and ``min(backoff_limit, backoff * 2**(n-1))`` (full jitter).
    - ``node_rest`` (10, >= 0): for how long a node that failed is chosen only if all others failed too.
    - ``lost_after`` (20, > 0): silence of all nodes after which the state is LOST; the lease time of the nodes.
    - ``close_timeout`` (3, > 0): what unregistering at the end may take; leases of a silent registry expire anyway.
    - ``batch_size`` (500, 1 or more): instances per heartbeat and services per lookup message.
    - ``max_services`` (1000, 1 or more): services followed at a time. The one unused for longest makes room.
    - ``max_instances`` (10 000, 1 or more): instances registered by this client at a time.
    - ``max_answer_bytes`` (64 MiB, 1 or more): a longer answer of a node counts as a failed attempt.
    - ``event_buffer`` (256, 1 or more): events kept for each slow listener; the oldest make room, and are counted.
    """

    heartbeat_interval: float = 5.0
    poll_interval: float = 5.0
    attempt_timeout: float = 2.0
    attempts: int = 5
    backoff: float = 0.1
    backoff_limit: float = 2.0
    node_rest: float = 10.0
    lost_after: float = 20.0
    close_timeout: float = 3.0
    batch_size: int = 500
    max_services: int = 1000
    max_instances: int = 10_000
    max_answer_bytes: int = 64 * 1024 * 1024
    event_buffer: int = 256

    def __post_init__(self) -> None:
        for name in ("heartbeat_interval", "poll_interval", "attempt_timeout", "lost_after", "close_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {getattr(self, name)}")
        for name in ("backoff", "node_rest"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")
        if not self.backoff_limit >= self.backoff:
            raise ValueError(f"backoff_limit ({self.backoff_limit}) must not be below backoff ({self.backoff})")
        for name in ("attempts", "batch_size", "max_services", "max_instances", "max_answer_bytes", "event_buffer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
