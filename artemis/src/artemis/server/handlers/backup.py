"""What operators ask for a backup of what a node knows, and for one to be put back; as operations of all doors.

Not here: how it is made (`backups`), and what putting it back means (`restoring`).
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

from artemis.management.dump import Key
from artemis.model.backup import (
    BackupPartRequest,
    BackupPartResponse,
    BackupRequest,
    BackupResponse,
    RestoreRequest,
    RestoreResponse,
)
from artemis.model.responses import BAD_REQUEST, RATE_LIMITED, SUCCESS, ResponseStatus, failure
from artemis.registry.restore import foreign
from artemis.server.backups import MOST_BACKUPS, PATIENCE, TooManyBackups
from artemis.server.handlers.force import MAX_OPERATOR
from artemis.server.node import Node
from artemis.server.restoring import BadPieceError, Restoring

MAX_KEYS = 100_000
"""Operations that a restore may name to be left."""


def backup(node: Node, request: BackupRequest | None, now: int) -> BackupResponse:
    """Begin a backup of this moment."""
    refused = _nobody("" if request is None else request.operator_id)
    if refused is not None:
        return BackupResponse(response_status=refused)
    try:
        number, cut = node.backups.begin(lambda: node.cut(now, node.registry.wall(now), cluster=node.cluster_name), now)
    except TooManyBackups:
        text = f"{MOST_BACKUPS} backups are under way; try again when they are done, after {PATIENCE // 1000} s at most"
        return BackupResponse(response_status=failure(RATE_LIMITED, text))
    node.backups.note("backup begun", operator=request.operator_id if request else None, instances=len(node.registry))
    header = cut.header
    return BackupResponse(
        cluster_name=header.cluster,
        instances=len(node.registry),
        node_id=header.node,
        number=number,
        operations=len(node.operations),
        region_id=node.identity.region,
        response_status=SUCCESS,
        written=header.wall,
    )


def backup_part(node: Node, request: BackupPartRequest | None, now: int) -> BackupPartResponse:
    """Hand out a part of a backup."""
    number, part = (0, 0) if request is None else (request.number, request.part)
    found = node.backups.part(number, part, now)
    if found is None:
        text = f"there is no part {part} of a backup {number} here, or not any more; begin another backup"
        return BackupPartResponse(response_status=failure(BAD_REQUEST, text))
    data, last = found
    return BackupPartResponse(data=b64encode(data).decode(), last=last, response_status=SUCCESS)


def restore(node: Node, request: RestoreRequest | None, now: int) -> RestoreResponse:
    """Put some of a backup back, or tell what that would do."""
    if request is None:
        return _refusal("say of which cluster and region the backup is, and send a piece of it")
    refused = _nobody(request.operator_id) or _foreign(node, request)
    if refused is not None:
        return RestoreResponse(response_status=refused)
    work = Restoring(node, request.region_id or "", overwrite=request.overwrite, dry=request.dry_run, now=now)
    more = False
    try:
        instances = work.instances(_bytes(request.instances)) if request.instances else None
        operations = work.operations(_bytes(request.operations)) if request.operations else None
        if request.only is not None:
            ended, more = work.end_others(_keys(request.only))
            operations = ended if operations is None else operations + ended
    except BadPieceError as error:
        return _refusal(str(error))
    done = {name: dict(counts) for name, counts in (("instances", instances), ("operations", operations)) if counts}
    if done and not request.dry_run:
        node.backups.note("backup restored", operator=request.operator_id, overwrite=request.overwrite, **done)
    return RestoreResponse(
        instances=None if instances is None else dict(instances),
        more=more,
        operations=None if operations is None else dict(operations),
        response_status=SUCCESS,
    )


def _nobody(operator: str | None) -> ResponseStatus | None:
    name = (operator or "").strip()
    if name and len(name) <= MAX_OPERATOR:
        return None
    return failure(BAD_REQUEST, f"operatorId must say who asks, in {MAX_OPERATOR} characters at most")


def _foreign(node: Node, request: RestoreRequest) -> ResponseStatus | None:
    """Say why a backup of somewhere else is not taken."""
    region, cluster = request.region_id or "", request.cluster_name or ""
    if request.force_cluster:
        return None
    if region.lower() != node.identity.region.lower():
        text = f"the backup is of the region {region!r:.100}, this node of {node.identity.region!r}"
    elif foreign(cluster, node.cluster_name):
        text = f"the backup is of the cluster {cluster!r:.100}, this node of {node.cluster_name!r}"
    else:
        return None
    return failure(BAD_REQUEST, f"{text}; --force-cluster (forceCluster) takes it all the same")


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPieceError(f"a piece is base64: {error}") from error


def _keys(only: list[list[str]]) -> set[Key]:
    if len(only) > MAX_KEYS:
        raise BadPieceError(f"only names {MAX_KEYS} operations at most, not {len(only)}")
    found: set[Key] = set()
    for each in only:
        if each is None or len(each) != len(("service", "target", "operation")) or None in each:
            raise BadPieceError("only names operations as [service, target, operation]")
        service, target, operation = each
        found.add((service.lower(), target.lower(), operation.lower()))
    return found


def _refusal(text: str) -> RestoreResponse:
    return RestoreResponse(response_status=failure(BAD_REQUEST, text))
