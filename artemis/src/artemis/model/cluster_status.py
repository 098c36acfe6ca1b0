"""What a node tells operators of its cluster, and what they can have done: compare, repair, leave (design 4.1, 6).

None of it is in the originals. Not here: what clients are told of nodes (`cluster`), the pages of spec 2.4 (`status`).
"""

from artemis.model.cluster_members import ClusterMember
from artemis.model.engine import EngineView
from artemis.model.java_peers import JavaPeerView
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.status import Counts, PreservationState
from artemis.model.wire import Int64, WireStruct


class ClusterDrain(WireStruct, kw_only=True):
    """How far a node is that drains before it leaves, because of `operator_id`, for `for_ms` now.

    `phase` is `waiting` (no other node is up), `sending` its clients away, `handing` over, or `done`. `others` are up,
    clients have `sessions` here still, `renewed` live instances were renewed here last, null while they are counted,
    and the others may lack `unconfirmed` of its changes.
    """

    for_ms: Int64 = 0
    operator_id: str | None = None
    others: Int64 = 0
    phase: str | None = None
    renewed: Int64 | None = None
    sessions: Int64 = 0
    unconfirmed: Int64 = 0


class ClusterViewResponse(WireStruct, kw_only=True):
    """Answer of v1/cluster: the cluster as this node sees it, itself first, then the `members` other than it.

    `in_cluster` is false for a node without others, of which the rest says what it can. `vector` has the last change of
    each life of each node (`node/epoch`) that is in what this node shows, `base` by node the epoch below which all is,
    `floor` the changes below which no cursor is served; `data_digest` is the same at nodes that know the same, null
    while it is not computed. `exchanging_with` is the node that it compares itself with now, `held` how many changes
    wait for others before them. `alone` says without which nodes it serves and why, null when none is missing, of which
    there are `missing_nodes`; `unlisted` what is wrong with each source of its list of nodes. `buckets` is of how many
    an exchange compares the sums. `oldest_protocol` to `newest_protocol` are the versions of the messages between nodes
    that it speaks. `engine` is the one that the node stands around, null in a mesh. `counters` only grow. `java_peers`
    are nodes of the Java product, null for a node that never had any.
    """

    age_ms: Int64 = 0
    alone: str | None = None
    base: Counts | None = None
    buckets: Int64 = 0
    cluster_name: str | None = None
    counters: Counts | None = None
    cursor: str | None = None
    data_digest: str | None = None
    draining: ClusterDrain | None = None
    engine: EngineView | None = None
    epoch: Int64 = 0
    exchanging_with: str | None = None
    floor: Counts | None = None
    held: Int64 = 0
    in_cluster: bool = False
    instances: Int64 = 0
    java_peers: list[JavaPeerView] | None = None
    leases: PreservationState | None = None
    legacy_leases: PreservationState | None = None
    members: list[ClusterMember] | None = None
    missing_nodes: Int64 = 0
    newest_protocol: Int64 = 0
    node_id: str | None = None
    oldest_protocol: Int64 = 0
    region_id: str | None = None
    response_status: ResponseStatus = UNSTATED
    serves_discovery: bool = False
    serves_registry: bool = False
    services: Int64 = 0
    status: str | None = None
    unlisted: dict[str, str | None] | None = None
    uptime_ms: Int64 = 0
    url: str | None = None
    vector: Counts | None = None
    version: str | None = None
    why: str | None = None
    zone_id: str | None = None


class ClusterTaskRequest(WireStruct, kw_only=True):
    """Body of diff and repair: with which `peer`, by node id or URL; null for all that there is a link to."""

    peer: str | None = None


class ClusterOutcomeRequest(WireStruct, kw_only=True):
    """Body of the question what became of a diff or a repair: the `number` that its answer had."""

    number: Int64 = 0


class ClusterSide(WireStruct, kw_only=True):
    """What one of two nodes knows: `absent`, `live`, `expired` or `removed`; written when, in ms since 1970, and at
    which node.
    """

    node_id: str | None = None
    state: str | None = None
    written: Int64 | None = None


class ClusterDifference(WireStruct, kw_only=True):
    """An instance, or an `operation` of operators on one, that two nodes know differently; ids are in lower case.

    `visible`: callers of the two see the difference. `why` is `coming`: a change of it has not come `here` yet;
    `going`: one has not come `there`; `both`; or `neither`, which the next exchange repairs.
    """

    here: ClusterSide | None = None
    instance_id: str | None = None
    operation: str | None = None
    service_id: str | None = None
    there: ClusterSide | None = None
    visible: bool = False
    why: str | None = None


class ClusterDiff(WireStruct, kw_only=True):
    """How this node and a peer differ. `count` things do, of which callers see `visible`; `differences` has the first
    of them, `services` how many there are of each service, `reasons` of each reason.

    `buckets` differed, `rows` records of the peer were looked at. Without `complete` there was more than is looked at.
    """

    buckets: Int64 = 0
    complete: bool = False
    count: Int64 = 0
    differences: list[ClusterDifference] | None = None
    reasons: Counts | None = None
    rows: Int64 = 0
    services: Counts | None = None
    visible: Int64 = 0


class ClusterRepair(WireStruct, kw_only=True):
    """What an exchange changed at this node: `buckets` differed, `rows` records came, of which `repaired` were news;
    `restated` were ended here because the peer had ended and forgotten them.
    """

    buckets: Int64 = 0
    repaired: Int64 = 0
    restated: Int64 = 0
    rows: Int64 = 0


class ClusterTask(WireStruct, kw_only=True):
    """What became of a diff or a repair with one peer: `state` is `running`, `done` or `failed` (`why`)."""

    diff: ClusterDiff | None = None
    node_id: str | None = None
    repair: ClusterRepair | None = None
    state: str | None = None
    took_ms: Int64 = 0
    url: str | None = None
    why: str | None = None


class ClusterTaskResponse(WireStruct, kw_only=True):
    """Answer of diff, repair and outcome. Ask for the outcome of `number` until `done`; the last few are remembered."""

    done: bool = False
    number: Int64 = 0
    peers: list[ClusterTask] | None = None
    response_status: ResponseStatus = UNSTATED


class ClusterLeaveRequest(WireStruct, kw_only=True):
    """Body of leave: who wants it. `drain`: only once others have taken over all that it serves, which `force` begins
    though no other node is up."""

    drain: bool = False
    force: bool = False
    operator_id: str | None = None


class ClusterStayRequest(WireStruct, kw_only=True):
    """Body of stay: who wants a node to stay that drains before it leaves."""

    operator_id: str | None = None


class ClusterStayResponse(WireStruct, kw_only=True):
    """Answer of stay: whether the node was draining, and stays now."""

    response_status: ResponseStatus = UNSTATED
    stays: bool = False


class ClusterLeaveResponse(WireStruct, kw_only=True):
    """Answer of leave: the node says farewell to so many `members`, drains and ends, or begins to drain before."""

    members: Int64 = 0
    response_status: ResponseStatus = UNSTATED
