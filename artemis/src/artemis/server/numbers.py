"""Where the numbers of `/metrics` come from: the node, its doors, its snapshots and its cluster, at one moment.

A new number is collected here and named in `metrics`, which also says how it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.core import Metric

from artemis.model.nodes import UP
from artemis.server.clock import now_ms
from artemis.server.cluster_metrics import cluster_metrics
from artemis.server.handlers.java_peers import java_metrics
from artemis.server.handlers.regions import region_metrics
from artemis.server.metrics import Numbers, Snapshot

if TYPE_CHECKING:
    from artemis.server.doors import Doors
    from artemis.server.gate import Gate
    from artemis.server.node import Node
    from artemis.server.persistence import Persistence


def numbers(node: Node, doors: Doors, gate: Gate, persistence: Persistence | None, pauses: int) -> Snapshot:
    """Collect them. `pauses` is how often the node stood still."""
    sessions = dict(doors.sessions())
    del sessions["connections_open"]
    stats = node.stats()
    return Snapshot(
        requests=doors.requests,
        rejected=doors.counters,
        connections=doors.connections(),
        sessions=sessions,
        registry={
            **msgspec.structs.asdict(node.registry.counters),
            "filter_failures": stats.filter_failures,
            "operations_refused": stats.operations_refused,
        },
        rate_limited=gate.refused,
        callers=msgspec.structs.asdict(gate.callers.counters),
        snapshots={} if persistence is None else persistence.counters,
        open_connections=doors.open_connections(),
        push={
            **msgspec.structs.asdict(node.stream.counters),
            **{f"log_{n}": v for n, v in msgspec.structs.asdict(node.log.counters).items()},
        },
        websocket=doors.websocket.events(),
        websocket_sessions=doors.websocket.sessions.counts(),
        node={
            **_of_the_node(node),
            **({} if persistence is None else persistence.last),
            "rate_limit_callers": len(gate.callers),
            "pauses": pauses,
            "long_polls": doors.http.polls.waiting,
            **doors.certificate(),
        },
        held_answers={} if doors.barrier is None else doors.barrier.counters,
        cluster=[*_of_the_cluster(node), *region_metrics(node.regions, now_ms())],
    )


def _of_the_cluster(node: Node) -> Iterator[Metric]:
    if node.control is not None:
        yield from cluster_metrics(node.control, now_ms())
    if node.java is not None:
        yield from java_metrics(node.java)


def _of_the_node(node: Node) -> Numbers:
    stats = node.stats()
    return {
        "instances": stats.instances,
        "services": stats.services,
        "dead_records": stats.dead_records,
        "operations": stats.operations,
        "narrowed_views": len(node.narrowed),
        "push_subscribers": node.stream.subscribers,
        "push_subscriptions": node.stream.subscriptions,
        "change_log_entries": len(node.log),
        "unconfirmed": node.stale_since is not None,
        "up": stats.status == UP,
        "age_seconds": node.age(now_ms()) / 1000,
        "self_preservation_active": stats.self_preservation.active,
        "legacy_self_preservation_active": stats.legacy_self_preservation.active,
    }
