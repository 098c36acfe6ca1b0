"""Snapshots: everything a registry knows at one moment, as chunks of bytes that are made bit by bit (design 4, 4.1).

A registry changes while its snapshot is written. The vector that a snapshot claims is that of the moment when it began,
and its records are those of that moment exactly: a record that is about to change is noted first. So a cursor that
equals the claimed vector misses nothing, and changes after it may be applied on top.
Not here: files (`artemis.server.persistence`), and reading snapshots back (`restore`).

The format: MAGIC, then chunks. A chunk is its length, the CRC-32 of the rest, a byte that says what it is, and
MessagePack: a `Header`, pieces of what operators have decided, in the form of whoever keeps that, lists of `Row`, and
at last a `Trailer`, without which a snapshot is not whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol
from zlib import crc32

import msgspec

from artemis.registry.leases import Lease
from artemis.registry.records import ZERO, Key, Origin, Stamp
from artemis.registry.registry import Registry

MAGIC = b"artemis snapshot\r\n\x1a\n"
FORMAT = 3
READABLE = (2, 3)
"""Formats that are read. In format 2 what operators have decided has no versions."""

FRAME = struct.Struct(">IIc")
HEADER, OPERATIONS, ROWS, TRAILER = b"H", b"O", b"R", b"T"

ROWS_PER_CHUNK = 200
"""Records of one chunk: about a millisecond of work and 100 KiB."""

Part = tuple[str, int, int]
"""An origin and a sequence number: node, epoch, number."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of: region and life of the node, and its state beside the records. `cluster` is the name of
    the cluster that the node was in, empty for none.

    `wall` is when it began, in milliseconds of the wall clock; `final` says that nothing happened after it. `clock` is
    the highest stamp, `version` that of the catalog. `bucket` is how far the bucket of an engine was read by then:
    which one, up to which of its numbers, put at which millisecond of its clock; None for a node without.
    """

    format: int
    region: str
    node: str
    epoch: int
    wall: int
    final: bool
    clock: int
    version: int
    vector: list[Part]
    floor: list[Part]
    base: list[tuple[str, int]] = []
    unnamed: list[tuple[str, int]] = []
    ahead: list[Part] = []
    cluster: str = ""
    bucket: tuple[str, int, int] | None = None


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record with its latest renewal. `dead_for` is how many milliseconds ago it died, -1 for a live one."""

    service: str
    instance: str
    version: Stamp
    removed: bool
    content: bytes
    renewed: Stamp
    expired: Stamp
    asserted: Stamp
    dots: list[Part]
    dead_for: int


class Trailer(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a snapshot: how many rows came before."""

    rows: int


class Pieces(Protocol):
    """Something else of the same moment, written in pieces that take about a millisecond each."""

    def pieces(self) -> Iterator[bytes]:
        """Yield it, as it was when this was made, whatever changes meanwhile. Once."""

    def close(self) -> None:
        """Look at it no longer; once more is fine."""


class Cut:
    """The records of a registry at the moment this was made, as chunks. Closed by its end, or by `close`.

    What it holds beside the registry grows with what changes meanwhile, at most to the
    size of the registry.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        version: int,
        now: int,
        wall: int,
        operations: Pieces | None = None,
        final: bool = False,
        cluster: str = "",
        bucket: tuple[str, int, int] | None = None,
    ) -> None:
        self._registry = registry
        self._operations = operations
        self._now = now
        self._noted: dict[Key, Row | None] = {}
        self._services = list(registry.services)
        self.header = Header(
            format=FORMAT,
            region=registry.region,
            node=registry.origin.node,
            epoch=registry.origin.epoch,
            wall=wall,
            final=final,
            clock=registry.clock,
            version=version,
            vector=_parts(registry.vector),
            floor=_parts(registry.floor),
            base=list(registry.base.items()),
            unnamed=list(registry.unnamed.items()),
            ahead=_parts(registry.ahead),
            cluster=cluster,
            bucket=bucket,
        )
        registry.watch(self._note)

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the snapshot; others may use the registry in between. Once."""
        rows = 0
        try:
            yield MAGIC + _chunk(HEADER, self.header)
            if self._operations is not None:
                for piece in self._operations.pieces():
                    yield framed(OPERATIONS, piece)
            for batch in self._batches():
                rows += len(batch)
                yield _chunk(ROWS, batch)
            yield _chunk(TRAILER, Trailer(rows=rows))
        finally:
            self.close()

    def close(self) -> None:
        """Look at the registry no longer."""
        if self._registry is not None:
            self._registry.unwatch(self._note)
        if self._operations is not None:
            self._operations.close()
        self._noted.clear()
        self._services.clear()

    def _batches(self) -> Iterator[list[Row]]:
        batch: list[Row] = []
        for row in self._rows():
            batch.append(row)
            if len(batch) == ROWS_PER_CHUNK:
                yield batch
                batch = []
        if batch:
            yield batch

    def _rows(self) -> Iterator[Row]:
        noted, registry = self._noted, self._registry
        for service in self._services:
            entry = registry.services.get(service)
            # Leases that vanish before their turn, whole services too, have been noted.
            for lease in [] if entry is None else list(entry.leases.values()):
                if lease.record.key not in noted:
                    yield self._row(lease)
        # New notes are of instances that were unknown, or whose row has been written: the same row again.
        for row in list(noted.values()):
            if row is not None:
                yield row

    def _note(self, lease: Lease) -> None:
        """Keep what a record is, the first time it is about to change; a blank one is no record yet."""
        record = lease.record
        if record.key not in self._noted:
            self._noted[record.key] = self._row(lease) if record.version != ZERO else None

    def _row(self, lease: Lease) -> Row:
        record = lease.record
        died = self._registry.died(lease)
        return Row(
            record.key[1],
            record.key[2],
            record.version,
            record.removed,
            record.content,
            lease.renewed,
            record.expired,
            record.asserted,
            [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in record.dots],
            -1 if died is None else max(0, self._now - died),
        )


def _parts(numbers: dict[Origin, int]) -> list[Part]:
    return [(origin.node, origin.epoch, seq) for origin, seq in numbers.items() if seq]


_encode = msgspec.msgpack.Encoder().encode


def _chunk(kind: bytes, content: Header | list[Row] | Trailer) -> bytes:
    return framed(kind, _encode(content))


def framed(kind: bytes, payload: bytes) -> bytes:
    """Return one chunk of a snapshot."""
    return FRAME.pack(len(payload), crc32(payload, crc32(kind)), kind) + payload
