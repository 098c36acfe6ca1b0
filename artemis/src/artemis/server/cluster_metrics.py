"""The numbers of a cluster at one node in the Prometheus format: per peer, per state, per reason. No I/O.

Not here: the numbers of the node itself, see `metrics`, which also says how they are rendered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from artemis.model.nodes import DOWN, STARTING, UNKNOWN, UP

if TYPE_CHECKING:
    from artemis.cluster.engine.standing import EngineStanding
    from artemis.cluster.replica import PeerState
    from artemis.server.cluster_control import ClusterControl, Neighbour

_STATES = ("ready", "full", "behind", "connecting", "no-quorum", "refused", "foreign")

_EVENTS = (
    "What happened between this node and the others: changes_sent, changes_applied of others, changes_known: that came "
    "twice; renewals sent and received; nameless: renewals whose names had to be asked for; exchanges that this node "
    "began and completed, exchanges_given_up; answers it gave; inspections: comparisons for operators; rows of both "
    "ways; restated: records ended here because a peer had ended and forgotten them; held_dropped: changes that waited "
    "in vain for those before them; links made; overflows of queues, dropped messages, repaired by an exchange; "
    "oversized, strange and bad_messages; dots_refused: numbers of changes in answers far beyond all that is known; "
    "names_refused and returns_dropped: what a peer told of more leases than are kept; strangers: messages without a "
    "handshake; failures: see the log. Around an engine: entries_put and stored, conflicts with what others had put, "
    "unknown outcomes, refused and brought ones; signs of life that came, bad ones, crowded: of too many nodes, and "
    "outdated: of former lives; questions: clocks that were asked for; engine_: what happened on the way there."
)
_REFUSED = (
    "Handshakes that came to nothing, by who dialled (us or them) and the code of the reason; unreachable: nobody "
    "answered, same-node: two addresses of one node, myself: the own one."
)
_PEER = {
    "lag_changes": "Changes of a peer that it said it made and that have not come yet.",
    "differing_buckets": "Of 1024 sums over all records, those that differed in the last exchange begun with a peer.",
    "repaired_records": "Records that were news here in the last exchange begun with a peer.",
    "rtt_seconds": "Round trip to a peer, while there is a link.",
    "clock_skew_seconds": "By how much the wall clock of a peer is ahead of this node's.",
    "silence_seconds": "How long nothing has been heard of a peer.",
    "queued_messages": "Messages that wait to be sent to a peer.",
    "protocol": "Version of the messages that both speak, while there is a link with a peer.",
    "flaps": "Interruptions of a peer that are not forgotten; the more, the longer it must be steady to be believed.",
}


def cluster_metrics(control: ClusterControl, now: int) -> Iterator[Metric]:
    """Yield all families; `now` is monotonic milliseconds."""
    neighbours = control.neighbours(now)
    state = control.state()
    words = Counter(neighbour.view.status for neighbour in neighbours)
    members = GaugeMetricFamily(
        "artemis_cluster_members", "Other nodes by what clients are told of them.", labels=["status"]
    )
    for word in (UP, STARTING, UNKNOWN, DOWN):
        members.add_metric([word], words[word])
    yield members
    links = GaugeMetricFamily(
        "artemis_cluster_links", "Links by direction: out to peers, in from them.", labels=["direction"]
    )
    states = [neighbour.link for neighbour in neighbours if neighbour.link is not None]
    links.add_metric(["out"], sum(link.connected for link in states))
    links.add_metric(["in"], sum(link.receiving for link in states))
    yield links
    yield from _by_peer(neighbours, state.peers)
    yield GaugeMetricFamily(
        "artemis_cluster_held_changes", "Changes of others that wait for those before them.", value=state.held
    )
    events = CounterMetricFamily("artemis_cluster_events", _EVENTS, labels=["event"])
    for name, value in sorted(control.all_counters(state).items()):
        events.add_metric([name], value)
    yield events
    refused = CounterMetricFamily("artemis_cluster_refused_links", _REFUSED, labels=["dialled_by", "reason"])
    for (who, reason), count in sorted(control.refused().items()):
        refused.add_metric([who, reason], count)
    yield refused
    if control.engine is not None:
        yield from _of_the_engine(control.engine())


def _of_the_engine(standing: EngineStanding) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "artemis_cluster_engine_state",
        "1 for how this node stands with its engine now, 0 for the rest.",
        labels=["state"],
    )
    for state in _STATES:
        states.add_metric([state], state == standing.state)
    yield states
    numbers = standing.numbers
    yield GaugeMetricFamily(
        "artemis_cluster_engine_position", "Up to which of its numbers the bucket is read.", value=numbers.position
    )
    yield GaugeMetricFamily(
        "artemis_cluster_engine_waiting", "Changes of this node that are still to be put.", value=numbers.dirty
    )
    yield GaugeMetricFamily(
        "artemis_cluster_engine_synced", "Whether all of the bucket was read since the start.", value=numbers.synced
    )


def _by_peer(neighbours: list[Neighbour], peers: Mapping[str, PeerState]) -> Iterator[Metric]:
    families = {
        name: GaugeMetricFamily(f"artemis_cluster_peer_{name}", text, labels=["peer"]) for name, text in _PEER.items()
    }
    for neighbour in neighbours:
        peer = str(neighbour.view.url)
        for name, value in _numbers(neighbour, peers.get(neighbour.view.node)).items():
            families[name].add_metric([peer], value)
    yield from families.values()


def _numbers(neighbour: Neighbour, peer: PeerState | None) -> dict[str, float]:
    view, link = neighbour.view, neighbour.link
    numbers: dict[str, float] = {"flaps": view.flaps}
    if view.skew is not None:
        numbers["clock_skew_seconds"] = view.skew / 1000
    if view.silent is not None:
        numbers["silence_seconds"] = view.silent / 1000
    if link is not None:
        numbers["queued_messages"] = link.queued
        if link.protocol:
            numbers["protocol"] = link.protocol
        if link.connected:
            numbers["rtt_seconds"] = link.rtt / 1000
    if peer is not None:
        numbers["lag_changes"] = peer.lag
        if peer.exchanged is not None and peer.exchanged.completed:
            numbers["differing_buckets"] = peer.exchanged.buckets
            numbers["repaired_records"] = peer.exchanged.repaired
    return numbers
