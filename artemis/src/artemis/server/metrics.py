"""The numbers of a node in the Prometheus text format: which families there are, and what their words mean. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from prometheus_client import generate_latest
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric

Numbers = Mapping[str, float]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers at one moment. Counters only grow; they start at zero with the process.

    `cluster` is empty for a node without others, `held_answers` for one in a single process.
    """

    requests: Mapping[str, Numbers]
    rejected: Mapping[str, Numbers]
    connections: Numbers
    sessions: Numbers
    registry: Numbers
    rate_limited: Mapping[str, Numbers]
    callers: Numbers
    snapshots: Numbers
    open_connections: Numbers
    push: Numbers
    websocket: Numbers
    websocket_sessions: Numbers
    node: Numbers
    held_answers: Numbers = {}
    cluster: Iterable[Metric] = ()


_COUNTERS = {
    "snapshots": (
        "artemis_snapshots",
        "event",
        (
            "What happened to snapshots: written, failed; loaded at the start, set_aside because they cannot be used. "
            "Nothing without a data directory."
        ),
    ),
    "callers": (
        "artemis_rate_limit_callers",
        "event",
        (
            "What happened to the table of callers, while there is a limit per caller: evicted to make room; "
            "untracked: requests of callers there was no room for."
        ),
    ),
    "connections": (
        "artemis_port_connections",
        "fate",
        (
            "Connections of the port by what became of them: handed to http, msgtrans or websocket; refused at the "
            "limit; silent until the deadline; unknown protocol; gone before they said what they are."
        ),
    ),
    "sessions": (
        "artemis_msgtrans_events",
        "event",
        (
            "What happened on MsgTrans sessions: packets and bytes, errors, timeouts, pauses because a bound was "
            "reached; and in TLS: handshake_failures, certificate_reloads and certificate_failures."
        ),
    ),
    "push": (
        "artemis_push_events",
        "event",
        (
            "What happened to changes that somebody subscribed to: published; delivered, once for each subscriber; "
            "coalesced: replaced by later ones; reloads and full_syncs: services told as a whole instead; refused: "
            "subscriptions at a limit; dropped: subscribers that fell too far behind; door_failures; awaited: those "
            "whose cursor was ahead of this node, so that they waited; awaited_in_vain: of these, told everything, "
            "as the changes did not come; log_entries and "
            "log_evicted: changes remembered and forgotten; log_resumed and log_full_syncs: cursors that were answered."
        ),
    ),
    "websocket": (
        "artemis_websocket_events",
        "event",
        (
            "What happened on WebSocket sessions: messages in and out; opened by endpoint; refused because blacklisted "
            "or full; closed by reason: peer: it said goodbye; gone: without a word; expired: lived its time; drain: "
            "this node stopped; slow_consumer; slow_message; memory; silent: no answer to a ping; violation: the close "
            "code says of what."
        ),
    ),
    "registry": (
        "artemis_registry_events",
        "event",
        (
            "What happened in the registry: instances registered, renewed (by_plan: recognised by their bytes), "
            "rewritten: heartbeats that brought other content, unregistered, expired, swept (early: to stay within "
            "the limit), refused (large: ids that are too long too); repaired: records that were news in an exchange "
            "with another node; overtaken: changes of another node that came when a later one of the same instance was "
            "here, which counts; unknown_leases: heartbeats "
            "answered with data-not-found; filter_failures: discovery filters that failed and were skipped; "
            "operations_refused: operations of operators beyond the limit."
        ),
    ),
}


class Metrics:
    """Renders snapshots; `take` is asked at each scrape."""

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take
        #: What is rendered: the families of this process, or of a machine with several.
        self.families: Callable[[], Iterable[Metric]] = self.own
        self._collectors = CollectorRegistry(auto_describe=False)
        self._collectors.register(self)

    def render(self) -> bytes:
        """The text of `/metrics`."""
        return generate_latest(self._collectors)

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client."""
        return self.families()

    def own(self) -> Iterable[Metric]:
        """Yield the families of this process."""
        now = self._take()
        yield _by_two(
            "artemis_requests",
            ("door", "operation"),
            "Requests answered by operation, whatever the outcome.",
            now.requests,
        )
        yield _by_two(
            "artemis_rejected",
            ("door", "reason"),
            "Requests and connections turned away: status_N: answered with that HTTP status; malformed; slow; "
            "oversized_answer: instances that fit no answer to a heartbeat over WebSocket and cannot be registered "
            "from it; internal_error: the node failed, see its log.",
            now.rejected,
        )
        yield _by_two(
            "artemis_rate_limited",
            ("limiter", "identity"),
            "Requests refused by the rate limiter; limiter caller: because of their caller, identity is the operation.",
            now.rate_limited,
        )
        for field, (name, label, text) in _COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=[label])
            for word, value in sorted(getattr(now, field).items()):
                family.add_metric([word], value)
            yield family
        gauge = GaugeMetricFamily("artemis_open_connections", "Open connections by door.", labels=["door"])
        for door, value in now.open_connections.items():
            gauge.add_metric([door], value)
        yield gauge
        gauge = GaugeMetricFamily("artemis_websocket_sessions", "WebSocket sessions by endpoint.", labels=["endpoint"])
        for endpoint, value in now.websocket_sessions.items():
            gauge.add_metric([endpoint], value)
        yield gauge
        for name, value in now.node.items():
            yield GaugeMetricFamily(f"artemis_{name}", _NODE[name], value=value)
        if now.held_answers:
            family = CounterMetricFamily("artemis_held_answers", _HELD, labels=["fate"])
            for fate, value in now.held_answers.items():
                family.add_metric([fate], value)
            yield family
        yield from now.cluster


_HELD = (
    "Answers of what changed something that were held until the other workers of the machine had it: waited; in_vain: "
    "of these, given after 20 ms all the same. Not there with one worker."
)

_NODE = {
    "instances": "Live instances.",
    "services": "Services with live instances.",
    "rate_limit_callers": "Callers that are counted apart; 0 without a limit per caller.",
    "pauses": "How often the node stood still for seconds, after which every lease gets a fresh TTL.",
    "unconfirmed": "1 while leases of a snapshot wait to be renewed for the first time.",
    "snapshot_timestamp_seconds": "When the last snapshot was begun that is whole; 0: none since the start.",
    "snapshot_bytes": "Size of the last snapshot.",
    "snapshot_seconds": "How long the last snapshot took, from the cut to the disk.",
    "narrowed_views": "Views kept for lookups that narrow a service by discoveryData; at most 256.",
    "operations": "Operations that are recorded for instances and servers; each of them pulls something out.",
    "push_subscribers": "Sessions that can subscribe to changes, over WebSocket and MsgTrans.",
    "push_subscriptions": "Services that they have subscribed to, all together.",
    "change_log_entries": "Changes that are remembered for those who resume.",
    "dead_records": "Removed and expired instances that are still remembered.",
    "certificate_expiry_timestamp_seconds": "When the certificate in use ends; not there without one.",
    "long_polls": "Requests that wait for changes of a service.",
    "up": "1 when the node serves clients.",
    "age_seconds": "How old what is shown may be at most: since when another node may know something that is not here.",
    "self_preservation_active": "1 while silent leases are held longer because many fell silent at once.",
    "legacy_self_preservation_active": "The same for instances whose metadata has java_registry.",
}


def _by_two(name: str, labels: tuple[str, str], text: str, numbers: Mapping[str, Numbers]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for first, inner in numbers.items():
        for second, value in sorted(inner.items()):
            family.add_metric([first, second], value)
    return family
