"""How the Java peers of a node are shown to operators, in answers and in `/metrics`. Pure.

Not here: what clients are told of them (`cluster`), and the peers themselves (`artemis.cluster.java`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from artemis.model.java_peers import JavaPeerView

if TYPE_CHECKING:
    from artemis.cluster.java.peers import JavaPeers
    from artemis.server.node import Node

STATES = ("up", "starting", "down", "unknown", "refused", "unmet")
EVENTS = ("told", "later", "refused", "expired", "replaced", "overflowed")

_EVENTS = (
    "What became of what Java peers were to be told, in instances: told; later: tried again; refused: by the peer, for "
    "good; expired: after 5 s in vain; replaced: by something newer; overflowed: more waited than are kept."
)


def java_peers_of(node: Node) -> list[JavaPeerView] | None:
    """Return how its Java peers stand, None for a node that never had any."""
    if node.java is None:
        return None
    return [
        JavaPeerView(
            error=view.trouble or None,
            for_ms=view.for_ms,
            later=view.counters["later"],
            lost=view.counters["expired"] + view.counters["overflowed"],
            offered=node.java.offered,
            refused=view.counters["refused"],
            serves_discovery=view.standing.discovery,
            serves_registry=view.standing.registry,
            state=view.standing.state,
            told=view.counters["told"],
            url=str(view.url),
            waiting=view.waiting,
            why=view.standing.why or None,
            zone_id=view.standing.zone or None,
        )
        for view in node.java.views()
    ]


def java_metrics(peers: JavaPeers) -> Iterator[Metric]:
    """Yield all families."""
    views = peers.views()
    states = Counter(view.standing.state for view in views)
    family = GaugeMetricFamily("artemis_java_peers", "Java peers by what they say of themselves.", labels=["state"])
    for state in STATES:
        family.add_metric([state], states[state])
    yield family
    serving = GaugeMetricFamily("artemis_java_peer_up", "1 while a Java peer serves registry.", labels=["peer"])
    waiting = GaugeMetricFamily(
        "artemis_java_peer_waiting", "Instances that a Java peer is still to be told of.", labels=["peer"]
    )
    events = CounterMetricFamily("artemis_java_peer_events", _EVENTS, labels=["peer", "event"])
    for view in views:
        serving.add_metric([str(view.url)], view.standing.registry)
        waiting.add_metric([str(view.url)], view.waiting)
        for event in EVENTS:
            events.add_metric([str(view.url), event], view.counters[event])
    yield from (serving, waiting, events)
    yield CounterMetricFamily(
        "artemis_java_renewals_dropped", "Renewals that were too many to be handed to Java peers.", value=peers.dropped
    )
