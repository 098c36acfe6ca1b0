"""What a node tells operators of its cluster, and what they can have done: compare, repair, leave (design 4.1, 6).

None of it is in the originals. Not here: what clients are told of nodes (`cluster`), the pages of spec 2.4 (`status`).
"""

from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.status import Counts, PreservationState
from artemis.model.wire import Int64, WireStruct


class ClusterMember(WireStruct, kw_only=True):
    """Another node as this one sees it now. Null or 0 is what is not known; times are milliseconds.

    `status` is what clients are told: `up`, `starting`, `down` or `unknown`, and `why` a sentence unless all is well.
    `presence` is what is thought of it, for `for_ms` now: `unmet`, `steady`, `returning` (heard again and not believed
    yet), `suspected` (silent), `gone`, `left`; `flaps` counts its interruptions that are not forgotten. It was heard
    `last_contact_ms` ago. `clock_skew_ms` is by how much its wall clock is ahead.
    `connected` says whether this node can send to it, for `connected_for_ms`, `receiving` whether it can send to this
    one; `error` is what went wrong last, `refusal` the code of it where one side refused the link. `queued` messages
    wait to be sent, `dropped` were because it was slow. `lag` is how many of its changes have not come yet. In the last
    exchange that this node began with it, `exchanged_ms` ago, `differing_buckets` of all differed, and `repaired`
    records were news here.
    """

    clock_skew_ms: Int64 | None = None
    configured: bool = False
    connected: bool = False
    connected_for_ms: Int64 = 0
    differing_buckets: Int64 | None = None
    dropped: Int64 = 0
    epoch: Int64 = 0
    error: str | None = None
    exchanged_ms: Int64 | None = None
    flaps: Int64 = 0
    for_ms: Int64 = 0
    lag: Int64 = 0
    last_contact_ms: Int64 | None = None
    node_id: str | None = None
    presence: str | None = None
    queued: Int64 = 0
    receiving: bool = False
    refusal: str | None = None
    repaired: Int64 = 0
    rtt_ms: Int64 | None = None
    serves_discovery: bool = False
    serves_registry: bool = False
    status: str | None = None
    url: str | None = None
    version: str | None = None
    why: str | None = None
    zone_id: str | None = None


class ClusterViewResponse(WireStruct, kw_only=True):
    """Answer of v1/cluster: the cluster as this node sees it, itself first, then the `members` other than it.

    `in_cluster` is false for a node without others, of which the rest says what it can. `vector` has the last change of
    each life of each node (`node/epoch`) that is in what this node shows, `base` by node the epoch below which all is,
    `floor` the changes below which no cursor is served; `data_digest` is the same at nodes that know the same, null
    while it is not computed. `exchanging_with` is the node that it compares itself with now, `held` how many changes
    wait for others before them. `buckets` is of how many an exchange compares the sums. `counters` only grow.
    """

    age_ms: Int64 = 0
    base: Counts | None = None
    buckets: Int64 = 0
    cluster_name: str | None = None
    counters: Counts | None = None
    cursor: str | None = None
    data_digest: str | None = None
    epoch: Int64 = 0
    exchanging_with: str | None = None
    floor: Counts | None = None
    held: Int64 = 0
    in_cluster: bool = False
    instances: Int64 = 0
    leases: PreservationState | None = None
    legacy_leases: PreservationState | None = None
    members: list[ClusterMember] | None = None
    node_id: str | None = None
    region_id: str | None = None
    response_status: ResponseStatus = UNSTATED
    serves_discovery: bool = False
    serves_registry: bool = False
    services: Int64 = 0
    status: str | None = None
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
    """Body of leave: who wants it."""

    operator_id: str | None = None


class ClusterLeaveResponse(WireStruct, kw_only=True):
    """Answer of leave: the node says farewell to so many `members`, drains and ends."""

    members: Int64 = 0
    response_status: ResponseStatus = UNSTATED
