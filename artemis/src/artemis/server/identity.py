"""Who a node is: its id, and the epoch that grows with each of its starts (design 4.1). Kept in the data directory
when there is one.

A file that is damaged keeps no node down: it is set aside, and the id is read from the node's snapshot, so that what
that holds is not lost with it. The same when the file is missing beside a snapshot.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from artemis.registry.restore import SnapshotError, foreign, read_header
from artemis.server.data_directory import DataDirectoryError, create, make_way, read_regular, set_aside

FILE = "node.json"

#: Characters of an id at most, unless the node's URL is longer; epochs are below this, so that there is a next one.
_ID_LENGTH = 200
_EPOCHS = 2**63 - 1


class Identity(msgspec.Struct, frozen=True):
    """A node's id, the number of this start of it and that of the start before, 0 when unknown; and the name of the
    cluster that it was in last, empty for none."""

    node_id: str
    epoch: int
    previous: int = 0
    cluster: str = ""


class Damage(NamedTuple):
    """What was wrong with the identity that was kept, what became of the file, and what the node goes on with.

    `set_aside_as` is empty for a file that was missing.
    """

    reason: str
    set_aside_as: str
    consequence: str


class Identified(NamedTuple):
    """The identity of this start, and what is to be told of how it came about."""

    identity: Identity
    damage: Damage | None = None


class _DamagedError(Exception):
    """What is kept is no identity; the text says why."""


def fallback_id(url: str) -> str:
    """Return the id of a node that has no other: its URL without the scheme."""
    return url.partition("//")[2].rstrip("/")


def known_id(data_dir: Path | None) -> str:
    """Return the id that is kept in a data directory, empty for none; what is wrong there `identify` will say."""
    if data_dir is None:
        return ""
    try:
        return _kept(data_dir / FILE, "").node_id
    except (OSError, _DamagedError):
        return ""


def identify(
    data_dir: Path | None,
    fallback_id: str,
    wall_ms: int,
    *,
    region: str = "",
    cluster: str = "",
    snapshots: tuple[str, ...] = (),
) -> Identified:
    """The identity for this start.

    Without a data directory the id is `fallback_id` and the epoch the wall clock in ms, which grows from start to
    start as long as the clock does. With one, id and epoch are kept there, and the epoch grows whatever the clock
    says. When they are damaged or missing, the first readable file of `snapshots` that is of `region` and of no other
    cluster tells the id; else it is `fallback_id`. `cluster` is the name of the one that the node is in, empty for
    none. Raises `DataDirectoryError`, also for a directory of another cluster: all that is in it would be given to
    this one.
    """
    if data_dir is None:
        return Identified(Identity(fallback_id, wall_ms))
    path = data_dir / FILE
    damage = None
    try:
        try:
            kept = _kept(path, fallback_id)
            _check_cluster(kept, cluster, path)
            now = Identity(kept.node_id, max(kept.epoch + 1, wall_ms), kept.epoch, cluster or kept.cluster)
        except FileNotFoundError:
            now, consequence = _recovered(data_dir, fallback_id, wall_ms, region, cluster, snapshots)
            damage = Damage(f"{path} is missing", "", consequence) if now.node_id != fallback_id else None
        except _DamagedError as error:
            now, consequence = _recovered(data_dir, fallback_id, wall_ms, region, cluster, snapshots)
            damage = Damage(str(error), str(set_aside(path)), consequence)
        _write(path, now)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot keep the node's identity in {path}: {error.strerror}; make it writable, or give another --data-dir"
        ) from error
    return Identified(now, damage)


def _kept(path: Path, fallback_id: str) -> Identity:
    """What the file says. Raises OSError and _DamagedError."""
    if path.exists() and not path.is_file():
        raise _DamagedError("it is not a regular file")
    try:
        kept = msgspec.json.decode(read_regular(path), type=Identity)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _DamagedError(str(error)) from error
    except UnicodeDecodeError as error:
        raise _DamagedError("it is not text") from error
    if not _usable(kept.node_id, fallback_id):
        raise _DamagedError(f"its node_id is not 1 to {_ID_LENGTH} printable characters")
    if not 1 <= kept.epoch < _EPOCHS:
        raise _DamagedError(f"its epoch {kept.epoch} is not from 1 to {_EPOCHS - 1}")
    return kept


def _usable(node_id: str, fallback_id: str) -> bool:
    return node_id == fallback_id or (0 < len(node_id) <= _ID_LENGTH and node_id.isprintable())


def _recovered(
    data_dir: Path, fallback_id: str, wall_ms: int, region: str, cluster: str, snapshots: tuple[str, ...]
) -> tuple[Identity, str]:
    """An identity without the kept one, and where its id is from. The start before is unknown: it may have left no
    snapshot."""
    for name in snapshots:
        try:
            header = read_header(read_regular(data_dir / name))
        except (OSError, SnapshotError):
            continue
        ours = header.region == region.lower() and not foreign(header.cluster, cluster)
        if ours and header.epoch < _EPOCHS and _usable(header.node, fallback_id):
            identity = Identity(header.node, max(header.epoch + 1, wall_ms), cluster=cluster or header.cluster)
            return identity, f"the node goes on as {header.node}, which {name} tells"
    return Identity(fallback_id, wall_ms, cluster=cluster), f"the node is a new one, {fallback_id}, and begins empty"


def _check_cluster(kept: Identity, cluster: str, path: Path) -> None:
    if foreign(kept.cluster, cluster):
        raise DataDirectoryError(
            f"{path.parent} is of a node of the cluster {kept.cluster!r}, and this one is of {cluster!r}: give another "
            f"--data-dir, or, if the cluster has got another name, change it in {path.name}"
        )


def _write(path: Path, identity: Identity) -> None:
    fresh = path.with_suffix(".new")
    make_way(fresh)
    with os.fdopen(create(fresh), "wb") as file:
        file.write(msgspec.json.encode(identity))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
