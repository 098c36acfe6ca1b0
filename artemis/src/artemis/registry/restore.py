"""Reading a snapshot back: whole, of this region and node, or not at all (design 4.1 "A restart gives a fresh TTL").

Not here: the format (`snapshot`), and files (`artemis.server.persistence`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from zlib import crc32

import msgspec

from artemis.registry.records import Dot, Origin, Record, Stamp
from artemis.registry.registry import Registry
from artemis.registry.snapshot import (
    FRAME,
    HEADER,
    MAGIC,
    OPERATIONS,
    READABLE,
    ROWS,
    TRAILER,
    Header,
    Part,
    Row,
    Trailer,
)

T = TypeVar("T")

KEPT_LIVES = 16
"""Lives of its own node that a vector names; older ones are below its base, and cursors from then cost a full sync."""

_MARGIN = 600_000_000
"""Microseconds that stamps may have run ahead after a snapshot that is not the final one."""

_VERSION_MARGIN = 10_000_000
"""Versions that may have been given after a snapshot that is not the final one."""


class SnapshotError(Exception):
    """A snapshot cannot be used; the text says why."""


class NewerFormatError(SnapshotError):
    """A snapshot was written by a later release: it is whole for all that is known, and to be kept for that one."""


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot as it was read: its header, all of its rows, and what operators have decided, in the pieces of
    whoever keeps that.

    `exact`: it is the final one of the life just before, so nothing happened since.
    """

    header: Header
    exact: bool
    rows: list[Row]
    operations: list[bytes]


def read_snapshot(data: bytes, *, region: str, node: str, epoch: int, previous: int = 0, cluster: str = "") -> Saved:
    """Read a whole snapshot that this node, in an earlier life than `epoch`, wrote of `region`. Raises SnapshotError.

    `previous` is the epoch of the life just before, if known. `cluster` is the name of the cluster that the node is in,
    empty for none: only what was written in another one is refused. Everything is checked before anything is returned.
    """
    header = read_header(data)
    _check_origin(header, region=region, node=node, epoch=epoch)
    if foreign(header.cluster, cluster):
        raise SnapshotError(f"it is of the cluster {header.cluster!r}, this node is of {cluster!r}")
    return read_whole(data, previous)


def read_whole(data: bytes, previous: int = 0) -> Saved:
    """Read a whole snapshot of any node. Raises SnapshotError; everything is checked before anything is returned."""
    chunks = _chunks(data)
    header = _first(chunks)
    rows: list[Row] = []
    operations: list[bytes] = []
    for kind, payload in chunks:
        if kind == TRAILER:
            trailer = _decode(payload, _TRAILER)
            if trailer.rows != len(rows):
                raise SnapshotError(f"it should have {trailer.rows} records, but has {len(rows)}")
            exact = header.final and header.epoch == previous
            return Saved(header=header, exact=exact, rows=rows, operations=operations)
        if kind == OPERATIONS:
            operations.append(payload)
            continue
        if kind != ROWS:
            raise SnapshotError(f"it has a chunk of the unknown kind {kind!r}")
        more = _decode(payload, _ROWS)
        rows.extend(more)
    raise SnapshotError("it is truncated: its end is missing")


def foreign(written_in: str, cluster: str) -> bool:
    """Whether something was written in another cluster; a node that is in none, which is empty, may come and go."""
    return bool(written_in and cluster) and written_in != cluster


def read_header(data: bytes) -> Header:
    """Read only which node a snapshot is of, and what it claims; the rest may be damaged. Raises SnapshotError."""
    return _first(_chunks(data))


def restore(registry: Registry, saved: Saved, now: int, wall: int) -> None:
    """Put everything saved into a registry that is still empty; no change is made, nobody is told.

    Live leases begin a fresh TTL, dead records go on from the age that they had. The vector keeps the origins of the
    saved life, beside that of the new one. Nobody knows how long ago the leases were heard, so this node vouches for
    none of them to its peers before it hears it.
    """
    header = saved.header
    ran_ahead = 0 if saved.exact or wall > header.wall else _MARGIN
    forgotten = _forgotten(header, registry.origin)
    base = dict(header.base)
    if forgotten:
        node, epoch = max((origin.node, origin.epoch) for origin in forgotten)
        base[node] = max(base.get(node, 0), epoch + 1)
    registry.resume(
        vector={origin: seq for origin, seq in _numbers(header.vector) if origin not in forgotten},
        floor={origin: seq for origin, seq in _numbers(header.floor) if origin not in forgotten},
        base=base,
        ahead=dict(_numbers(header.ahead)),
        unnamed=dict(header.unnamed),
        clock=header.clock + ran_ahead,
    )
    texts: dict[str, str] = {}
    stamps: dict[Stamp, Stamp] = {}
    origins = {origin: origin for origin in registry.vector}

    def stamp(read: Stamp) -> Stamp:
        """The same object for equal stamps: they are many, and mostly equal."""
        return stamps.setdefault(read, read)

    def dot(part: Part) -> Dot:
        origin = Origin(part[0], part[1])
        return Dot(origins.setdefault(origin, origin), part[2])

    # Who died first comes first. A record that changed while the snapshot was written may be there twice, alike.
    for row in sorted(saved.rows, key=lambda row: -row.dead_for):
        if registry.find(row.service, row.instance) is not None:
            continue
        record = Record(
            (registry.region, texts.setdefault(row.service, row.service), row.instance),
            stamp(row.version),
            row.removed,
            row.content,
            stamp(row.renewed),
            stamp(row.expired),
            stamp(row.asserted),
            tuple(dot(part) for part in row.dots if not forgotten or Origin(part[0], part[1]) not in forgotten),
        )
        registry.put_back(record, max(row.dead_for, 0), now)


def version_after(saved: Saved, wall: int) -> int:
    """Return the version of the catalog to go on from: above all that may have been given since, if any may."""
    return saved.header.version if saved.exact else max(wall, saved.header.version + _VERSION_MARGIN)


def _numbers(parts: list[Part]) -> Iterator[tuple[Origin, int]]:
    return ((Origin(node, epoch), seq) for node, epoch, seq in parts)


def _forgotten(header: Header, own: Origin) -> set[Origin]:
    """The lives of this node that are too many, oldest first."""
    lives = sorted(origin for origin, _ in _numbers(header.vector) if origin.node == own.node)
    return set(lives[:-KEPT_LIVES])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(MAGIC):
        raise SnapshotError("it is empty" if not data else "it is no snapshot, or its beginning is damaged")
    at = len(MAGIC)
    while at < len(data):
        if at + FRAME.size > len(data):
            raise SnapshotError(f"it is truncated at byte {len(data)}")
        size, checksum, kind = FRAME.unpack_from(data, at)
        start = at + FRAME.size
        at = start + size
        if at > len(data):
            raise SnapshotError(f"it is truncated at byte {len(data)}, or the chunk at byte {start} is damaged")
        payload = data[start:at]
        if crc32(payload, crc32(kind)) != checksum:
            raise SnapshotError(f"the chunk at byte {start} is damaged")
        if kind == TRAILER and at != len(data):
            raise SnapshotError(f"there are {len(data) - at} bytes behind its end")
        yield kind, payload


def _first(chunks: Iterator[tuple[bytes, bytes]]) -> Header:
    kind, payload = next(chunks, (b"", b""))
    if kind != HEADER:
        raise SnapshotError("it is truncated: it has no header")
    return _header(payload)


def _header(payload: bytes) -> Header:
    written = _decode(payload, _FORMAT).format
    if written > max(READABLE):
        raise NewerFormatError(
            f"its format is {written}, that of a later release; this one reads {' and '.join(map(str, READABLE))}"
        )
    if written not in READABLE:
        raise SnapshotError(f"its format is {written}, this version reads {' and '.join(map(str, READABLE))}")
    return _decode(payload, _HEADER)


def _check_origin(header: Header, *, region: str, node: str, epoch: int) -> None:
    if header.region != region.lower():
        raise SnapshotError(f"it is of the region {header.region!r}, this node is of {region.lower()!r}")
    if header.node != node:
        raise SnapshotError(f"it is of the node {header.node!r}, this is {node!r}")
    if header.epoch >= epoch:
        raise SnapshotError(f"it is of start {header.epoch} of this node, later than this one ({epoch})")


class _Format(msgspec.Struct):
    format: int


_FORMAT = msgspec.msgpack.Decoder(_Format)
_HEADER = msgspec.msgpack.Decoder(Header)
_ROWS = msgspec.msgpack.Decoder[list[Row]](list[Row])
_TRAILER = msgspec.msgpack.Decoder(Trailer)


def _decode(payload: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"a chunk cannot be read: {error}") from error
