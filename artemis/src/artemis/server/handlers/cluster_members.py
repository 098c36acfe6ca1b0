"""How a node tells of the others: what it thinks of each, lag, divergence and links, for all pages that show them.

Not here: what clients are told (`cluster`).
"""

import msgspec

from artemis.cluster.replica import PeerState, ReplicaState
from artemis.model.cluster_members import ClusterMember
from artemis.server.cluster_control import ClusterControl, Neighbour


def members_of(control: ClusterControl, state: ReplicaState, now: int) -> list[ClusterMember]:
    """Return all nodes but the own one, by URL."""
    members = [_member(each, state.peers.get(each.view.node), now) for each in control.neighbours(now)]
    return sorted(members, key=lambda one: one.url or "")


def _member(neighbour: Neighbour, peer: PeerState | None, now: int) -> ClusterMember:
    seen, link = neighbour.view, neighbour.link
    told = ClusterMember(
        clock_skew_ms=seen.skew,
        configured=seen.configured,
        epoch=seen.epoch,
        flaps=seen.flaps,
        for_ms=seen.since,
        last_contact_ms=seen.silent,
        node_id=seen.node or None,
        presence=seen.presence,
        serves_discovery=seen.standing.discovery,
        serves_registry=seen.standing.registry,
        status=seen.status,
        url=str(seen.url),
        version=seen.standing.metadata.get("version"),
        why=seen.why or None,
        zone_id=seen.zone or None,
    )
    if link is not None:
        told = msgspec.structs.replace(
            told,
            connected=link.connected,
            connected_for_ms=link.connected_for,
            dropped=link.dropped,
            error=link.error or None,
            protocol=link.protocol or None,
            queued=link.queued,
            receiving=link.receiving,
            refusal=link.refusal or None,
            rtt_ms=link.rtt if link.connected else None,
        )
    if peer is None:
        return told
    exchanged = peer.exchanged
    return msgspec.structs.replace(
        told,
        differing_buckets=exchanged.buckets if exchanged is not None and exchanged.completed else None,
        exchanged_ms=None if exchanged is None else now - exchanged.at,
        lag=peer.lag,
        repaired=0 if exchanged is None else exchanged.repaired,
    )
