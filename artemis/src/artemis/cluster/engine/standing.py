"""How a node stands with its engine, put together for those who watch over it. Pure."""

from __future__ import annotations

import msgspec

from artemis.cluster.engine.replica import EngineReplica, EngineState
from artemis.cluster.replica import PeerState, ReplicaState


class EngineStanding(msgspec.Struct, frozen=True, kw_only=True):
    """`server` is the URL of the server that the node is connected to, empty for none, `servers` all that it may
    connect to; `state` is a word and `why` a sentence, empty while all is well. `numbers` are those of the replica,
    `refused` says of other nodes around the engine why they are none of ours.
    """

    servers: str
    server: str
    state: str
    why: str
    numbers: EngineState
    refused: tuple[str, ...] = ()


def replica_state(replica: EngineReplica) -> ReplicaState:
    """Return the numbers of an engine's replica in the words of any."""
    numbers = replica.state()
    peers = {
        peer: PeerState(heard=at, connected=True, lag=replica.lag(peer), exchanged=None)
        for peer, at in replica.heard.items()
    }
    return ReplicaState(
        synced=numbers.synced,
        peers=peers,
        exchanging=None if numbers.synced or numbers.trouble else "the engine",
        differing=0,
        held=0,
        held_dropped=0,
        handles=numbers.handles,
        counters=numbers.counters,
    )
