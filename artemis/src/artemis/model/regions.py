"""How it stands with the other regions that a node shows (an addition to the originals).

Not here: their services, which are looked up as those of the node are.
"""

from artemis.model.wire import Int64, WireStruct


class OtherRegion(WireStruct, kw_only=True):
    """One region of which a node has a copy.

    `state` is ``connecting``, ``copying``, ``following`` or ``unreachable``, for `state_ms`, and `why` says what is
    wrong; `node` is the URL that is followed or was tried last, `urls` are all. `ready`: there is something to show,
    which may be `age_ms` old and leaves out `missing_nodes` nodes of the region. `left_out` instances found no room
    among `max_instances`; `held` are kept although a listing lacked them, and `held_why` says why. The rest counts, and
    only grows: `changes` of instances, `listings` of everything, `resumed` connections that went on from where the last
    one ended, `failures` of connections, `refused` instances that cannot be used.
    """

    age_ms: Int64 = 0
    changes: Int64 = 0
    cursor: str | None = None
    failures: Int64 = 0
    held: Int64 = 0
    held_why: str | None = None
    instances: Int64 = 0
    left_out: Int64 = 0
    listings: Int64 = 0
    max_instances: Int64 = 0
    missing_nodes: Int64 = 0
    node: str | None = None
    ready: bool = False
    refused: Int64 = 0
    region_id: str | None = None
    resumed: Int64 = 0
    services: Int64 = 0
    state: str | None = None
    state_ms: Int64 = 0
    urls: list[str] | None = None
    why: str | None = None
