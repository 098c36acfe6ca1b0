"""The numbers of an endpoint as Prometheus wants them: families with names, units and help, and their text format.

    text = render(families(server.stats(), started_at=server.started_at))

Every counter has a line in `COUNTERS`; a test sees to it.
Not here: serving the text (`http`), and a registry of prometheus_client (`collector`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from msgtrans.monitor.latency import BOUNDS, Latencies, cumulative

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msgtrans.monitor.dashboard import Dashboard
    from msgtrans.monitor.history import Sample
    from msgtrans.stats import EndpointStats

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
COUNTERS: Final = {
    "connections_total": ("connections", "sessions opened"),
    "connections_refused": ("connections_refused", "connections turned away, at max_connections or by middleware"),
    "handshake_failures": ("handshake_failures", "connections that ended before their TLS handshake was done"),
    "certificate_reloads": ("certificate_reloads", "certificates read again"),
    "certificate_failures": ("certificate_failures", "certificates that could not be used"),
    "packets_sent": ("packets_sent", "packets sent, of all types"),
    "packets_received": ("packets_received", "packets received, of all types"),
    "bytes_sent": ("sent_bytes", "bytes sent on the wire"),
    "bytes_received": ("received_bytes", "bytes received on the wire"),
    "protocol_errors": ("protocol_errors", "sessions closed because the peer broke the protocol"),
    "bad_compression": ("bad_compression", "payloads handed over as they came"),
    "handler_errors": ("handler_errors", "handlers that raised, and middleware that failed"),
    "refused": ("refused", "requests and messages that middleware turned away"),
    "authentication_failures": ("authentication_failures", "sessions ended for want of a proof of identity"),
    "late_answers": ("late_answers", "answers of our own handlers whose session was gone"),
    "unhandled": ("unhandled", "requests and messages that nobody takes"),
    "stray_responses": ("stray_responses", "responses that nobody waited for"),
    "request_timeouts": ("request_timeouts", "requests of ours without an answer in time"),
    "discarded": ("discarded", "packets that came while the session was closing"),
    "read_pauses": ("read_pauses", "times that reading stopped at a bound"),
    "unseen_sessions": ("unseen_sessions", "sessions left out of a full event stream"),
    "backpressure_errors": ("backpressure_errors", "sends refused at a bound"),
    "dropped_outbound": ("dropped_outbound", "one-way messages lost on the way out"),
    "dropped_inbound": ("dropped_inbound", "one-way messages lost on the way in"),
    "overloads": ("overloads", "sessions closed by the inbound strategy REJECT"),
    "rate_limited": ("rate_limited", "requests and messages refused by a rate limit"),
    "rate_waits": ("rate_waits", "times that a session waited for a rate limit"),
    "write_timeouts": ("write_timeouts", "sessions dropped because the peer did not read"),
    "idle_timeouts": ("idle_timeouts", "sessions closed because they were idle"),
    "packet_timeouts": ("packet_timeouts", "sessions closed because a packet did not end"),
    "kept_overflows": ("kept_overflows", "sessions closed because of incomplete packets"),
    "upgrade_errors": ("upgrade_errors", "connections that did not become WebSocket"),
    "upgrade_timeouts": ("upgrade_timeouts", "connections that did not ask for WebSocket in time"),
    "ping_timeouts": ("ping_timeouts", "WebSocket sessions that did not answer a ping"),
    "udp_errors": ("udp_errors", "calls on sockets of QUIC that the system refused"),
    "udp_moves": ("udp_moves", "sockets of QUIC replaced because their address had vanished"),
    "connect_failures": ("connect_failures", "attempts to connect that came to nothing"),
    "connections_lost": ("connections_lost", "connections that ended, and not by our closing"),
    "breaker_openings": ("breaker_openings", "times that an address was given a rest"),
    "waiting_refused": ("waiting_refused", "calls for which there was no room to wait"),
    "waiting_timeouts": ("waiting_timeouts", "calls that got no connection in time"),
    "resubmitted_requests": ("resubmitted_requests", "requests sent again on another connection"),
    "resubmitted_messages": ("resubmitted_messages", "messages sent again on another connection"),
    "dropped_messages": ("dropped_messages", "messages accepted and never written"),
}
"""Of each counter of `EndpointStats` or `ReconnectingStats` the name without `msgtrans_` and `_total`, and help."""
GAUGES: Final = {
    "connections_open": ("connections_open", "sessions open now"),
    "waiting_calls": ("waiting_calls", "calls that wait for a connection"),
}

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True):
    """One metric. name: without the `_total` of counters. values: by labels. latencies: of a histogram, instead; each:
    of a histogram by labels.
    """

    name: str
    kind: Kind
    help: str
    values: list[tuple[Labels, float]] = []
    latencies: Latencies | None = None
    each: list[tuple[Labels, Latencies]] = []

    @property
    def histograms(self) -> list[tuple[Labels, Latencies]]:
        """What it has of these, by labels."""
        return self.each if self.latencies is None else [((), self.latencies)]


def families(stats: EndpointStats, *, started_at: float | None = None) -> list[Family]:
    """The counters of an endpoint, or the sum of several. started_at: Unix seconds."""
    told = frozenset(stats.__struct_fields__)
    found = [
        Family(f"msgtrans_{name}", "gauge", text, [((), getattr(stats, field))])
        for field, (name, text) in GAUGES.items()
        if field in told
    ]
    found += [
        Family(f"msgtrans_{name}", "counter", text, [((), getattr(stats, field))])
        for field, (name, text) in COUNTERS.items()
        if field in told
    ]
    if started_at is not None:
        text = "when it started, in seconds since 1970"
        found.append(Family("msgtrans_start_time_seconds", "gauge", text, [((), started_at)]))
    return found


def worker_families(workers: int, restarts: int) -> list[Family]:
    """What a supervisor knows beside the counters of its workers."""
    return [
        Family("msgtrans_workers", "gauge", "worker processes that listen", [((), workers)]),
        Family("msgtrans_worker_restarts", "counter", "workers that failed and were started again", [((), restarts)]),
    ]


def protocol_families(protocols: Mapping[str, Sample]) -> list[Family]:
    """The traffic of each protocol."""
    wanted: tuple[tuple[str, Kind, str, str], ...] = (
        ("sessions", "gauge", "protocol_sessions_open", "sessions open now, by protocol"),
        ("packets_sent", "counter", "protocol_packets_sent", "packets sent, by protocol"),
        ("packets_received", "counter", "protocol_packets_received", "packets received, by protocol"),
        ("bytes_sent", "counter", "protocol_sent_bytes", "bytes sent, by protocol"),
        ("bytes_received", "counter", "protocol_received_bytes", "bytes received, by protocol"),
    )
    return [
        Family(
            f"msgtrans_{name}",
            kind,
            text,
            [((("protocol", protocol),), getattr(sample, field)) for protocol, sample in sorted(protocols.items())],
        )
        for field, kind, name, text in wanted
    ]


def asked_families(together: Latencies, sessions: list[tuple[Labels, Latencies]]) -> list[Family]:
    """How long requests of our own waited for their answers. sessions: by labels."""
    text = "time that requests of ours waited for their answers"
    return [
        Family("msgtrans_answer_wait_seconds", "histogram", text, latencies=together),
        Family("msgtrans_session_answer_wait_seconds", "histogram", f"{text}, by session", each=sessions),
    ]


def monitor_families(dashboard: Dashboard, latencies: Latencies | None, samples: int) -> list[Family]:
    """What a monitor knows beside the counters."""
    alerts: list[tuple[Labels, float]] = [((("what", alert.what),), 1.0) for alert in dashboard.alerts]
    found = [
        Family("msgtrans_health_score", "gauge", "100 when all is well, down to 0", [((), dashboard.health_score)]),
        Family("msgtrans_alert", "gauge", "1 for each figure that is beyond its level now", alerts),
        Family("msgtrans_monitor_samples", "counter", "samples taken", [((), samples)]),
    ]
    if latencies is not None:
        text = "time it took to handle requests that came in"
        found.append(Family("msgtrans_request_duration_seconds", "histogram", text, latencies=latencies))
    return found


def render(found: Iterable[Family], labels: Labels = ()) -> str:
    """The text format of Prometheus, version 0.0.4. labels: beside those of each value."""
    lines = []
    for family in found:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        lines += [f"{name}{_labels(labels + own)} {_number(value)}" for own, value in family.values]
        for own, latencies in family.histograms:
            counts = cumulative(latencies.counts)
            for bound, count in zip((*(f"{bound:g}" for bound in BOUNDS), "+Inf"), counts, strict=True):
                lines.append(f"{name}_bucket{_labels((*labels, *own, ('le', bound)))} {count}")
            lines.append(f"{name}_count{_labels(labels + own)} {counts[-1]}")
            lines.append(f"{name}_sum{_labels(labels + own)} {_number(latencies.seconds)}")
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
