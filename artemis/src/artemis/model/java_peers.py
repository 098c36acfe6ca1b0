"""What a node tells of its Java peers (spec 6, 7).

An addition to the originals. Not here: what clients are told of them (`nodes`).
"""

from artemis.model.wire import Int64, WireStruct


class JavaPeerView(WireStruct, kw_only=True):
    """A node of the Java product as this one sees it now, and how the replication to it goes.

    `state` is `up`, `starting`, `down`, `unknown` (it does not answer), `refused` (it cannot be a peer) or `unmet`, for
    `for_ms` milliseconds now, and `why` a sentence unless it is up; what it serves is replicated to it. `offered` says
    whether clients are told of it. `waiting` instances are to be told still. Since the start, in instances: `told` to
    it, `later` (tried again), `refused` by it, `lost` (too old, or too many); a lost or refused registration goes with
    the next heartbeat. `error` is why the last batch was not taken whole.
    """

    error: str | None = None
    for_ms: Int64 = 0
    later: Int64 = 0
    lost: Int64 = 0
    offered: bool = False
    refused: Int64 = 0
    serves_discovery: bool = False
    serves_registry: bool = False
    state: str | None = None
    told: Int64 = 0
    url: str | None = None
    waiting: Int64 = 0
    why: str | None = None
    zone_id: str | None = None
