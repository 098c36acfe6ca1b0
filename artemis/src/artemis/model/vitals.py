"""How a node stands on its machine: clock, files, disk, certificate, and options that all nodes of a cluster share.

An addition to the originals; `artemis doctor` asks for it. Not here: what a node says of others (`cluster_status`).
"""

from artemis.model.regions import OtherRegion
from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.status import Counts, ShownWorker
from artemis.model.wire import Int64, WireStruct


class VitalsResponse(WireStruct, kw_only=True):
    """Answer of v1/node/vitals. Null is what there is not or what nobody knows.

    `wall` is the wall clock in ms since 1970, `certificate_expires` seconds since 1970. `data_free` of `data_total`
    bytes are left where the data directory is, `snapshot_age_ms` is that of the last whole snapshot. `files_open` of
    `files_limit` files are open. `options`, in ms, are those that are to be the same at all nodes; with the nodes that
    there are, records have to be remembered for `least_lifetime_ms` at least. `pauses` is how often the node stood
    still; `counters` only grow. `regions` are the other regions that it shows, null for a node that shows none;
    `workers` are its processes, null for a node that is one.
    """

    certificate_expires: Int64 | None = None
    counters: Counts | None = None
    data_free: Int64 | None = None
    data_total: Int64 | None = None
    files_limit: Int64 | None = None
    files_open: Int64 | None = None
    least_lifetime_ms: Int64 = 0
    node_id: str | None = None
    options: Counts | None = None
    pauses: Int64 = 0
    regions: list[OtherRegion] | None = None
    response_status: ResponseStatus = UNSTATED
    snapshot_age_ms: Int64 | None = None
    url: str | None = None
    wall: Int64 = 0
    workers: list[ShownWorker] | None = None
