"""`artemis backup` and `artemis restore`: all that a node knows into a file, and back into a cluster.

Not here: the form of the file, which is that of a node's snapshot (`artemis.registry`), and what putting it back means
(`artemis.server.restoring`).
"""

from __future__ import annotations

import os
import stat
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from artemis.cli import output
from artemis.cli.calls import Conversation
from artemis.cli.codes import FAILED
from artemis.cli.parameters import DEFAULT_SERVER, Json, Server, TokenFile, operator_of, token_of
from artemis.management.dump import OperationsDump, decisions_of, key_of, read_pieces
from artemis.model.backup import (
    BackupPartRequest,
    BackupPartResponse,
    BackupRequest,
    BackupResponse,
    RestoreRequest,
    RestoreResponse,
)
from artemis.registry import Saved, SnapshotError
from artemis.registry.restore import NewerFormatError, read_whole
from artemis.registry.snapshot import Row

Operator = Annotated[str, typer.Option("--operator", metavar="ID", help="Who does it. [default: the user]")]
Words = Annotated[
    list[str], typer.Argument(metavar="[verify] FILE", help="The file; with `verify` an existing one is only checked.")
]

_PIECE, _ROWS = 32 * 1024, 50
"""Bytes of contents, about, and records of a piece that is put back: a few milliseconds of the node's work."""

_DECISIONS = 100
_OUTCOMES = ("added", "changed", "returned", "ended", "same", "kept", "dead", "refused")


def backup(
    words: Words,
    *,
    server: Server = DEFAULT_SERVER,
    operator: Operator = "",
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Write all that the node at --server knows into a file, while it serves; or check such a file.

    The file takes its place when it is whole and checked, readable by its owner alone. Exit code 1 if it is not.
    --json: {"file", "bytes", "region", "cluster", "node", "written", "instances", "records", "operations"}.
    """
    if words == ["verify"]:
        raise typer.BadParameter(
            "which FILE is to be checked? For a backup of that name say ./verify", param_hint="[verify] FILE"
        )
    checked = words[0] == "verify" and len(words) == 2
    if len(words) > 1 and not checked:
        raise typer.BadParameter("give one FILE, or `verify` and one FILE", param_hint="[verify] FILE")
    if not checked:
        _fetch(_target(words[0]), server, operator_of(operator), token_of(token_file))
    path = Path(words[-1])
    content = _content(path)
    _tell(path, len(content), _saved(path, content), json=json, checked=checked)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup, or a snapshot of a node's data directory.")],
    *,
    server: Server = DEFAULT_SERVER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the effect and change nothing.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let the backup win over what is newer, and end other pull-outs.")
    ] = False,
    only: Annotated[str, typer.Option("--only", metavar="KIND", help="`instances` or `operations` alone.")] = "",
    force_cluster: Annotated[
        bool, typer.Option("--force-cluster", help="Take a backup of another cluster or region.")
    ] = False,
    operator: Operator = "",
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Put a backup back into the cluster of --server, as changes of now; exit code 1 if some of it was refused.

    What is newer there stays unless --overwrite. Nothing that lives is taken away; instances that come back have a
    fresh TTL, and expire if nobody renews them.
    --json: {"dryRun", "instances": {OUTCOME: COUNT}, "operations": {OUTCOME: COUNT}}.
    """
    if only not in {"", "instances", "operations"}:
        raise typer.BadParameter("must be instances or operations", param_hint="--only")
    saved = _saved(file, _content(file))
    token = token_of(token_file)
    header = saved.header
    common = RestoreRequest(
        cluster_name=header.cluster,
        dry_run=dry_run,
        force_cluster=force_cluster,
        operator_id=operator_of(operator),
        overwrite=overwrite,
        region_id=header.region,
    )

    operations: Counter[str] = Counter()
    instances: Counter[str] = Counter()
    try:
        with Conversation(server, token) as node:
            # Refused before anything is done, if it is of somewhere else.
            node.post("v1/restore", RestoreResponse, common)
            for request in _requests(saved, common, only):
                more = True
                while more:
                    answer = node.post("v1/restore", RestoreResponse, request)
                    operations += Counter(answer.operations or {})
                    instances += Counter(answer.instances or {})
                    more = answer.more
    except (typer.Exit, KeyboardInterrupt):
        if not dry_run and instances.total() + operations.total():
            done = (
                f"{output.counted(instances.total(), 'record')} and {output.counted(operations.total(), 'operation')}"
            )
            output.say(f"Only {done} of the backup were looked at; restore it again, which does nothing twice.")
        raise
    if json:
        output.print_json({"dryRun": dry_run, "instances": dict(instances), "operations": dict(operations)})
    else:
        shown = [each for each in _OUTCOMES if instances[each] or operations[each]]
        rows = [
            ("instances", *(instances[each] for each in shown)),
            ("operations", *(operations[each] for each in shown)),
        ]
        output.rows_table(("WOULD BE" if dry_run else "", *(each.upper() for each in shown)), rows)
        output.say(_sentence(saved, instances, operations, dry_run=dry_run))
    if instances["refused"] or operations["refused"]:
        output.say("Refused is what is beyond --max-instances or --max-operations of the node, or of no sane time.")
        raise typer.Exit(FAILED)


def _requests(saved: Saved, common: RestoreRequest, only: str) -> Iterator[RestoreRequest]:
    """Yield what is to be asked for, in its order."""
    replace = msgspec.structs.replace
    if only != "instances":
        yield from (replace(common, operations=piece) for piece in _operation_pieces(saved))
        if common.overwrite:
            yield replace(common, only=_recorded(saved))
    if only != "operations":
        yield from (replace(common, instances=piece) for piece in _instance_pieces(saved.rows))


def _sentence(saved: Saved, instances: Counter[str], operations: Counter[str], *, dry_run: bool) -> str:
    effect = sum(both[each] for both in (instances, operations) for each in ("added", "changed", "returned", "ended"))
    what = f"the backup of {_moment(saved.header.wall)}"
    kept = instances["kept"] + operations["kept"]
    rest = f" What is kept is newer there: {kept} of them; --overwrite lets the backup win." if kept else ""
    if not effect:
        return f"Nothing {'would change' if dry_run else 'changed'}: all that is in {what} is known, or older.{rest}"
    changes = output.counted(effect, "change")
    if dry_run:
        return f"{changes} would be made from {what}; without --dry-run they are.{rest}"
    return f"{changes} made from {what}; instances that nobody renews expire after their TTL.{rest}"


def _target(word: str) -> Path:
    """Return the file that a backup is to be in, behind symbolic links; what is there and no file stays what it is."""
    if not word:
        raise typer.BadParameter("must not be empty", param_hint="[verify] FILE")
    try:
        path = Path(word).resolve()
        kind = path.stat().st_mode
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _failed(f"Cannot write {word}: {reason}.") from None
    if stat.S_ISDIR(kind):
        raise _failed(f"Cannot write {word}: it is a directory; name a file in it.")
    if not stat.S_ISREG(kind):
        raise _failed(f"Cannot write {word}: it is no file; a backup takes its place only when it is whole.")
    return path


def _fetch(path: Path, server: str, operator: str, token: str) -> None:
    """Write a backup of the node into a file, all of it or nothing."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _failed(f"Cannot write {path}: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            for data in _parts(server, operator, token):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        read_whole(fresh.read_bytes())
        fresh.replace(path)
        _settle(path.parent)
    except OSError as error:
        raise _failed(f"Cannot write {path}: {error.strerror}; there is no backup.") from None
    except SnapshotError as error:
        raise _failed(f"What came from {server} is no whole backup: {error}; {path} is as it was.") from None
    finally:
        fresh.unlink(missing_ok=True)


def _parts(server: str, operator: str, token: str) -> Iterator[bytes]:
    with Conversation(server, token) as node:
        begun = node.post("v1/backup", BackupResponse, BackupRequest(operator_id=operator))
        for part in count():
            request = BackupPartRequest(number=begun.number, part=part)
            answer = node.post("v1/backup/part", BackupPartResponse, request)
            yield b64decode(answer.data or "")
            if answer.last:
                return


def _settle(directory: Path) -> None:
    """Have the name on the disk as well."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _failed(f"Cannot read {path}: {error.strerror}.") from None


def _saved(path: Path, content: bytes) -> Saved:
    """Read a backup whole, or end the command with what is wrong with it."""
    try:
        saved = read_whole(content)
        read_pieces(saved.operations)
    except SnapshotError as error:
        advice = "use that release" if isinstance(error, NewerFormatError) else "take another backup"
        raise _failed(f"{path} cannot be used: {error}; {advice}.") from None
    except msgspec.MsgspecError as error:
        raise _failed(f"{path} cannot be used: its operations cannot be read: {error}; take another backup.") from None
    return saved


def _failed(text: str) -> typer.Exit:
    output.say(text)
    return typer.Exit(FAILED)


def _tell(path: Path, size: int, saved: Saved, *, json: bool, checked: bool) -> None:
    header = saved.header
    live = sum(not row.removed and row.renewed > row.expired for row in saved.rows)
    operations = sum(not decision.ended for decision, _ in decisions_of(read_pieces(saved.operations)))
    if json:
        told = {
            "file": str(path),
            "bytes": size,
            "region": header.region,
            "cluster": header.cluster,
            "node": header.node,
            "written": header.wall,
            "instances": live,
            "records": len(saved.rows),
            "operations": operations,
        }
        output.print_json(told)
        return
    of = f"cluster {header.cluster}, region {header.region}" if header.cluster else f"region {header.region}"
    holds = f"{output.counted(live, 'instance')} and {output.counted(operations, 'pull-out')}"
    verb = "is whole" if checked else "was written"
    output.say(f"{path} {verb}: {holds}, {size} bytes, of node {header.node}, {of}, as of {_moment(header.wall)}.")


def _moment(wall: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall / 1000))


def _instance_pieces(rows: list[Row]) -> Iterator[str]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == _ROWS or size + len(row.content) > _PIECE):
            yield b64encode(_encode(batch)).decode()
            batch, size = [], 0
        batch.append(row)
        size += len(row.content)
    if batch:
        yield b64encode(_encode(batch)).decode()


def _operation_pieces(saved: Saved) -> Iterator[str]:
    """Yield what operators decided, some at a time."""
    dump = read_pieces(saved.operations)
    for field in ("decisions", "instances", "servers"):
        all_of_them = getattr(dump, field)
        for start in range(0, len(all_of_them), _DECISIONS):
            some = OperationsDump(**{field: all_of_them[start : start + _DECISIONS]})
            yield b64encode(_encode(some)).decode()


def _recorded(saved: Saved) -> list[list[str]]:
    decisions = decisions_of(read_pieces(saved.operations))
    return [list(key_of(decision)) for decision, _ in decisions if not decision.ended]


_encode = msgspec.msgpack.Encoder().encode
