"""What a node tells of another one: what it thinks of it, and how the links with it are (design 4.1).

An addition to the originals. Not here: what clients are told of nodes (`nodes`).
"""

from artemis.model.wire import Int64, WireStruct


class ClusterMember(WireStruct, kw_only=True):
    """Another node as this one sees it now. Null or 0 is what is not known; times are milliseconds.

    `status` is what clients are told: `up`, `starting`, `down` or `unknown`, and `why` a sentence unless all is well.
    `presence` is what is thought of it, for `for_ms` now: `unmet`, `steady`, `returning` (heard again and not believed
    yet), `suspected` (silent), `gone`, `left`, `departed` (an address in the list whose node left for good); `flaps`
    counts its interruptions that are not forgotten. It was heard `last_contact_ms` ago. `clock_skew_ms` is by how much
    its wall clock is ahead. `connected` says whether this node can send to it, for `connected_for_ms`, `receiving`
    whether it can send to this one, and `protocol` is the version of the messages that both speak; `error` is what went
    wrong last, `refusal` the code of it where one side refused the link. `queued` messages wait to be sent, `dropped`
    were because it was slow. `lag` is how many of its changes have not come yet. In the last exchange that this node
    began with it, `exchanged_ms` ago, `differing_buckets` of all differed, and `repaired` records were news here.
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
    protocol: Int64 | None = None
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
