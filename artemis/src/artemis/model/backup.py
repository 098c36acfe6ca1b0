"""What is asked for a backup of all that a node knows, and to put one back.

None of it is in the originals. Not here: the form of a backup, which is that of a snapshot (`artemis.registry`).
"""

from artemis.model.responses import UNSTATED, ResponseStatus
from artemis.model.status import Counts
from artemis.model.wire import Int64, WireStruct


class BackupRequest(WireStruct, kw_only=True):
    """Body of backup: who wants it."""

    operator_id: str | None = None


class BackupResponse(WireStruct, kw_only=True):
    """Answer of backup: it is as of now, `written` in ms since 1970; ask for the parts of `number` in turn."""

    cluster_name: str | None = None
    instances: Int64 = 0
    node_id: str | None = None
    number: Int64 = 0
    operations: Int64 = 0
    region_id: str | None = None
    response_status: ResponseStatus = UNSTATED
    written: Int64 = 0


class BackupPartRequest(WireStruct, kw_only=True):
    """Body of the question for a `part` of backup `number`, from 0 on; the last one may be asked for again."""

    number: Int64 = 0
    part: Int64 = 0


class BackupPartResponse(WireStruct, kw_only=True):
    """Answer with a part: `data` in base64, the parts in a row are the backup; `last` tells that there are no more."""

    data: str | None = None
    last: bool = False
    response_status: ResponseStatus = UNSTATED


class RestoreRequest(WireStruct, kw_only=True):
    """Body of restore: some of a backup of `cluster_name` and `region_id`, each piece in base64 as the backup has it.

    `instances` is a piece of records, `operations` one of what operators decided. `only` are all operations that the
    backup has recorded, `[service, target, operation]`, an empty service for a server: others are ended then.
    `overwrite` lets the backup win over what is newer here, `force_cluster` takes one of another cluster or region,
    `dry_run` tells the effect and changes nothing.
    """

    cluster_name: str | None = None
    dry_run: bool = False
    force_cluster: bool = False
    instances: str | None = None
    only: list[list[str]] | None = None
    operations: str | None = None
    operator_id: str | None = None
    overwrite: bool = False
    region_id: str | None = None


class RestoreResponse(WireStruct, kw_only=True):
    """Answer of restore: what became of the `instances` and `operations`, counted by outcome.

    Outcomes of both: `added`; `same` as here; `kept`: what is here is newer; `refused` by a limit. Of instances:
    `changed` content, `returned` after having expired or been removed, `dead` in the backup and left alone. Of
    operations: `ended`. With `more`, not all that is to be ended was: send the same again.
    """

    instances: Counts | None = None
    more: bool = False
    operations: Counts | None = None
    response_status: ResponseStatus = UNSTATED
