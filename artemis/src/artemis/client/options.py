"""The numbers a client works with, each with its default, unit and range; nothing here acts."""

from __future__ import annotations

from dataclasses import dataclass, fields

POSITIVE = (
    "heartbeat_interval",
    "poll_interval",
    "refresh_interval",
    "confirm_interval",
    "attempt_timeout",
    "link_timeout",
    "offer_rest",
    "lost_after",
    "close_timeout",
    "health_interval",
    "cache_interval",
    "cache_max_age",
)
NOT_NEGATIVE = (
    "backoff",
    "link_backoff",
    "node_rest",
    "address_interval",
    "drain_timeout",
    "guard_hold",
    "outdated_wait",
    "cache_wait",
    "outlier_rest",
)
COUNTS = (
    "attempts",
    "batch_size",
    "max_services",
    "max_instances",
    "max_long_polls",
    "max_answer_bytes",
    "event_buffer",
    "outlier_failures",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Timings and bounds of one client; times in seconds. A value out of its range raises ``ValueError``, one that is
    no number ``TypeError``.

    Registrations:

    - ``heartbeat_interval`` (5, > 0): all instances of the client are renewed this often. Keep it at a quarter of the
      node's lease time, so that three lost heartbeats do not cost the lease.
    - ``health_interval`` (5, > 0): a health callback is asked this often.
    - ``close_timeout`` (3, > 0): what unregistering at the end may take; leases of a silent registry expire anyway.
    - ``drain_timeout`` (3, >= 0): how long leaving a registration may wait, after unregistering, until the callers that
      the node pushes to have been told; 0: not at all.
    - ``max_instances`` (10 000, 1 or more): instances registered by this client at a time.

    Services:

    - ``confirm_interval`` (5, > 0): a node that pushes is asked this often to confirm that everything was pushed, which
      is how old a view gets at most while all is well; a link whose node does not answer is left.
    - ``refresh_interval`` (60, > 0): what a node that pushes may have left out is asked for this often.
    - ``poll_interval`` (5, > 0): without pushes, every service in use is looked up this often.
    - ``max_services`` (1000, 1 or more): services followed at a time. The one unused for longest makes room.
    - ``max_long_polls`` (16, 1 or more): requests that wait for changes at a time; further services are polled.
    - ``guard_share`` (0.5, 0 to 1): an answer that shows fewer instances than this share of those shown in the last
      ``guard_hold`` (30, >= 0) seconds, and is not the sum of changes that the node told one by one, is doubted: what
      it leaves out stays in the view for ``guard_hold`` seconds, marked, unless the registry shows it again. So is one
      with fewer instances than before that keeps less than this share of them, whoever else it shows; and any full sync
      of a node that does not know the position that the client goes on from. 0 switches the guard off.
    - ``outdated_wait`` (5, >= 0): where a node shows an older state than a view has, as one that lags behind the node
      that was lost, the view stays as it is and nodes are asked again, for so long at most; then the older state
      counts, because the registry has lost the later one. Nodes tell each other of changes within milliseconds and
      repair a broken link within a second or two; what takes longer was rebuilt. 0: the older state counts at once.
    - ``cache_wait`` (1, >= 0): how long the first use of a service waits for the registry when the disk has an answer;
      while the registry stays silent, the first uses of others do not wait.
    - ``cache_interval`` (2, > 0): changed services are written to disk this often at most; what is older than
      ``cache_max_age`` (7 days, > 0) is not used any more, and removed.
    - ``outlier_failures`` (5, 1 or more): a balancer leaves an instance out after so many failures in a row, for
      ``outlier_rest`` (10, >= 0; 0: never) seconds, and twice as long each time in a row, up to 32 times that.

    Calls and nodes:

    - ``attempt_timeout`` (2, > 0): how long one node may take for one answer.
    - ``attempts`` (5, 1 or more): tries of one call, over all nodes together; while none answers, one at each node.
    - ``backoff`` (0.1, >= 0) and ``backoff_limit`` (2, >= ``backoff``): before the n-th repeat the client waits a
      random time between 0 and ``min(backoff_limit, backoff * 2**(n-1))`` (full jitter).
    - ``link_timeout`` (3, > 0): how long a connection for pushes may take until it can be used.
    - ``link_backoff`` (1, >= 0) and ``link_backoff_limit`` (15, >= ``link_backoff``): the same as above before the n-th
      connection in a row after one was lost, the first included, so that a node that restarts is not stampeded.
    - ``offer_rest`` (300, > 0): a way to be pushed to that a node did not offer is tried again after this time.
    - ``node_rest`` (10, >= 0) and ``node_rest_limit`` (120, >= ``node_rest``): for how long a node that failed is
      chosen only if all others failed too; twice as long each time in a row.
    - ``address_interval`` (60, >= 0): the registry is asked this often for its nodes; 0: never, ``servers`` are all.
    - ``lost_after`` (20, > 0): silence of all nodes after which the state is LOST; the lease time of the nodes.
    - ``batch_size`` (500, 1 or more): instances per heartbeat and services per lookup message.
    - ``max_answer_bytes`` (64 MiB, 1 or more): a longer answer of a node counts as a failed attempt.
    - ``event_buffer`` (256, 1 or more): events kept for each slow listener; the oldest make room, and are counted.
    """

    heartbeat_interval: float = 5.0
    health_interval: float = 5.0
    close_timeout: float = 3.0
    drain_timeout: float = 3.0
    max_instances: int = 10_000
    confirm_interval: float = 5.0
    refresh_interval: float = 60.0
    poll_interval: float = 5.0
    max_services: int = 1000
    max_long_polls: int = 16
    guard_share: float = 0.5
    guard_hold: float = 30.0
    outdated_wait: float = 5.0
    cache_wait: float = 1.0
    cache_interval: float = 2.0
    cache_max_age: float = 7 * 86_400.0
    outlier_failures: int = 5
    outlier_rest: float = 10.0
    attempt_timeout: float = 2.0
    attempts: int = 5
    backoff: float = 0.1
    backoff_limit: float = 2.0
    link_timeout: float = 3.0
    link_backoff: float = 1.0
    link_backoff_limit: float = 15.0
    offer_rest: float = 300.0
    node_rest: float = 10.0
    node_rest_limit: float = 120.0
    address_interval: float = 60.0
    lost_after: float = 20.0
    batch_size: int = 500
    max_answer_bytes: int = 64 * 1024 * 1024
    event_buffer: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            kind = "whole number" if field.name in COUNTS else "number"
            if isinstance(value, bool) or not isinstance(value, int if field.name in COUNTS else int | float):
                raise TypeError(f"{field.name} must be a {kind}, not {value!r}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, but is {getattr(self, name)}")
        for low in ("backoff", "link_backoff", "node_rest"):
            high = f"{low}_limit"
            if not getattr(self, high) >= getattr(self, low):
                raise ValueError(f"{high} ({getattr(self, high)}) must not be below {low} ({getattr(self, low)})")
        if not 0 <= self.guard_share <= 1:
            raise ValueError(f"guard_share must be from 0 to 1, not {self.guard_share}")
        for name in COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
