"""Everything that operators have decided at one moment, in pieces that are made bit by bit while they go on deciding.

As with a snapshot of the registry: an entry that is about to change is noted first, so what comes out is the state at
the beginning. Not here: the form of files (`artemis.registry.snapshot`), and reading back (`Operations.load`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from artemis.management.operations import (
    InstanceOperation,
    InstanceTarget,
    OperationEntry,
    Operations,
    OperationsDump,
    ServerOperation,
    Target,
)

OPERATIONS_PER_PIECE = 500
"""Entries of one piece at least: less than a millisecond of work."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(OperationsDump).decode

_Saved = InstanceOperation | ServerOperation


class OperationsCut:
    """The operations at the moment this was made, as pieces of MessagePack: each an `OperationsDump` of some.

    One at a time for an `Operations`. What it holds beside that grows with what changes meanwhile, at most to its size.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._noted: dict[Target, list[_Saved]] = {}
        self._tables = operations.tables()
        operations.watch(self._note)

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces; the operations may change in between. Once; an operation may be there twice, alike."""
        waiting: list[_Saved] = []
        try:
            for saved in self._entries():
                waiting.extend(saved)
                if len(waiting) >= OPERATIONS_PER_PIECE:
                    yield _piece(waiting)
                    waiting = []
            if waiting:
                yield _piece(waiting)
        finally:
            self.close()

    def close(self) -> None:
        """Look at the operations no longer; once more is fine."""
        self._operations.unwatch(self._note)
        self._noted.clear()
        self._tables.clear()

    def _entries(self) -> Iterator[list[_Saved]]:
        for table in self._tables:
            for entry in list(table.values()):
                if entry.target.lowered() not in self._noted:
                    yield saved_operations(entry)
        yield from list(self._noted.values())

    def _note(self, target: Target, entry: OperationEntry | None) -> None:
        """Keep what an entry is, the first time it is about to change; one that begins now is not part of this."""
        self._noted.setdefault(target.lowered(), [] if entry is None else saved_operations(entry))


def saved_operations(entry: OperationEntry) -> list[_Saved]:
    """Return the operations of one target as a dump holds them."""
    target = entry.target
    if isinstance(target, InstanceTarget):
        return [
            InstanceOperation(*target, each.operation, each.operator, each.token) for each in entry.records.values()
        ]
    return [ServerOperation(*target, each.operation, each.operator, each.token) for each in entry.records.values()]


def read_pieces(pieces: list[bytes]) -> OperationsDump:
    """Read back what `OperationsCut` has made. Raises msgspec.MsgspecError."""
    instances: list[InstanceOperation] = []
    servers: list[ServerOperation] = []
    for piece in pieces:
        read = _decode(piece)
        instances += read.instances
        servers += read.servers
    return OperationsDump(instances=instances, servers=servers)


def _piece(saved: list[_Saved]) -> bytes:
    return _encode(
        OperationsDump(
            instances=[each for each in saved if isinstance(each, InstanceOperation)],
            servers=[each for each in saved if isinstance(each, ServerOperation)],
        )
    )
