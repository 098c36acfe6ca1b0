"""What workers left that are no more: a machine that starts with fewer than before takes over what the first lacks.

All workers know the same but for moments, and each writes its own snapshots; so the one that was written last knows at
least what the others did. A worker that comes back later finds its old snapshot there and is told what changed since.
Not here: what is in a snapshot (`artemis.registry.snapshot`), and the first one's own (`artemis.server.persistence`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from artemis.management import read_pieces
from artemis.registry.restore import Saved, SnapshotError, foreign, read_header, read_whole
from artemis.server.data_directory import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"worker-([1-9]\d{0,3})")


_ENDING = 10_000
"""Milliseconds in which all workers of a machine end; what they write then is the same."""


class Leftover(NamedTuple):
    """A snapshot of a worker that is no more."""

    path: Path
    saved: Saved


def newer_leftover(
    directory: Path, name: str, workers: int, own: Saved | None, *, region: str, cluster: str
) -> Leftover | None:
    """Return the latest snapshot of workers that a machine with so many `workers` has no more, None for none that is
    newer than the `own` one and can be used. `name` is that of the files, in the directory of each."""
    newest = -1 if own is None else own.header.wall + (_ENDING if own.exact else 0)
    found: list[tuple[int, Path]] = []
    for path in _snapshots(directory, name, workers):
        try:
            header = read_header(read_regular(path))
        except (OSError, SnapshotError):
            continue
        if header.wall > newest and header.region == region.lower() and not foreign(header.cluster, cluster):
            found.append((header.wall, path))
    for _, path in sorted(found, reverse=True):
        try:
            saved = read_whole(read_regular(path))
            read_pieces(saved.operations)
        except (OSError, SnapshotError, msgspec.MsgspecError):
            continue
        return Leftover(path, saved)
    return None


def _snapshots(directory: Path, name: str, workers: int) -> Iterator[Path]:
    try:
        entries = list(directory.iterdir())
    except OSError:
        return
    for entry in entries:
        found = _NAME.fullmatch(entry.name)
        if found is not None and int(found[1]) >= workers:
            yield entry / name
