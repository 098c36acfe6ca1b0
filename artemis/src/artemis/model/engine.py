"""How a node tells of the engine that it stands around (design 4.1).

An addition to the originals. Not here: what it tells of other nodes (`cluster_members`).
"""

from artemis.model.wire import Int64, WireStruct


class EngineView(WireStruct, kw_only=True):
    """The engine of a cluster as one node sees it now.

    `servers` are all that the node may connect to, `server` the one that it is connected to, null for none. `state` is
    `ready`; `full`: no new keys fit, all else works; `behind`: not all that is put comes here, whichever server is
    asked; `connecting`: no server can be reached; `no-quorum`: servers can, and the bucket is not there or takes
    nothing; `refused`: this node is not let in, may not put or talk to the others, or there is no room for a bucket;
    `foreign`: the bucket is somebody else's. `why` is a sentence, null while it is
    `ready`. `synced` says whether the node has read all of the bucket since its start, up to `position` by now;
    `waiting` changes are still to be put, of which `flying` are under way. `remade` counts how often the bucket was
    another one than before. `refused` are sentences on other nodes around the same engine that are none of this
    cluster, or use another bucket.
    """

    flying: Int64 = 0
    position: Int64 = 0
    refused: list[str] | None = None
    remade: Int64 = 0
    server: str | None = None
    servers: str | None = None
    state: str | None = None
    synced: bool = False
    waiting: Int64 = 0
    why: str | None = None
