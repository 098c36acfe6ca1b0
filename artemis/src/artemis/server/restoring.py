"""Putting a backup back into a node that serves: as changes of this moment, which all nodes hear of.

What is newer here stays unless the backup is to win. Nothing that lives is taken away: an instance that came back has a
fresh TTL and expires if nobody renews it. Pure. Not here: reading files, and asking (`handlers.backup`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from artemis.management import TooManyOperations
from artemis.management.decisions import Decision, OperationRecord, Target
from artemis.management.dump import Key, decisions_of, key_of, read_pieces
from artemis.model import Instance, decode
from artemis.model.tolerant import MalformedBody
from artemis.registry import RegistryError
from artemis.registry.snapshot import ROWS_PER_CHUNK, Row

if TYPE_CHECKING:
    from artemis.registry import Lease
    from artemis.server.node import Node

MOST_ENDED = 500
"""Operations that one call ends, and decisions of one piece: each is told to subscribers."""

AHEAD = 365 * 86_400 * 1_000_000
"""Microseconds that stamps of a backup may be ahead of the wall clock here: beyond, a clock was wrong."""


class BadPieceError(ValueError):
    """A piece is none of a backup; the text says why."""


class Restoring:
    """Puts pieces of a backup of `region` into a node, as of its own region.

    `overwrite` lets the backup win, with `dry` nothing changes.

    Each call does some milliseconds of work.
    """

    def __init__(self, node: Node, region: str, *, overwrite: bool, dry: bool, now: int) -> None:
        self._node, self._overwrite, self._dry, self._now = node, overwrite, dry, now
        self._region = region.lower()
        self._limit = (node.registry.wall(now) * 1000) + AHEAD
        self._adding = 0

    def instances(self, piece: bytes) -> Counter[str]:
        """Put records back. Raises BadPieceError."""
        try:
            rows = _ROWS(piece)
        except msgspec.MsgspecError as error:
            raise BadPieceError(f"these are no records of a backup: {error}") from error
        if len(rows) > ROWS_PER_CHUNK:
            raise BadPieceError(f"a piece has {ROWS_PER_CHUNK} records at most, not {len(rows)}")
        return Counter(self._instance(row) for row in rows)

    def operations(self, piece: bytes) -> Counter[str]:
        """Put decisions of operators back. Raises BadPieceError."""
        try:
            decisions = decisions_of(read_pieces([piece]))
        except msgspec.MsgspecError as error:
            raise BadPieceError(f"these are no operations of a backup: {error}") from error
        found = [self._operation(decision) for decision, _ in decisions]
        if len(found) > MOST_ENDED:
            raise BadPieceError(f"a piece has {MOST_ENDED} operations at most, not {len(found)}")
        return Counter(found)

    def end_others(self, only: Collection[Key]) -> tuple[Counter[str], bool]:
        """End the operations that are recorded here and are none of these; tell whether there are more of them."""
        pullouts, region = self._node.pullouts, self._node.registry.region
        others = [
            decision
            for decision in pullouts.operations.decisions()
            if not decision.ended and decision.key[0].region == region and key_of(decision) not in only
        ]
        if self._dry:
            return Counter(ended=len(others)), False
        for decision in others[:MOST_ENDED]:
            pullouts.complete(decision.target, decision.operation, self._now)
        return Counter(ended=len(others[:MOST_ENDED])), len(others) > MOST_ENDED

    def _instance(self, row: Row) -> str:
        if row.removed or row.renewed <= row.expired:
            return "dead"
        lease = self._node.registry.find(row.service, row.instance)
        outcome = "added" if lease is None else self._compared(row, lease)
        if outcome in {"same", "kept"}:
            return outcome
        try:
            instance = decode(Instance, row.content)
        except MalformedBody:
            return "refused"
        if instance is None or row.version[0] > self._limit or not self._has_room(outcome):
            return "refused"
        if not self._dry:
            region = self._node.identity.region
            if (instance.region_id or "").lower() != region.lower():
                instance = msgspec.structs.replace(instance, region_id=region)
            try:
                self._node.registry.register(instance, self._now, row.version)
            except RegistryError:
                return "refused"
        return outcome

    def _compared(self, row: Row, lease: Lease) -> str:
        """Return what becomes of an instance of which something is known here."""
        record = lease.record
        if lease.live:
            if record.content == row.content:
                return "same"
            return "changed" if self._overwrite or row.version > record.version else "kept"
        since = record.version if record.removed else max(record.expired, record.version)
        newer = max(row.renewed, row.version) if not record.removed else row.version
        return "returned" if self._overwrite or newer > since else "kept"

    def _has_room(self, outcome: str) -> bool:
        """Count on what a dry run would have added."""
        if self._dry and outcome != "changed":
            self._adding += 1
        return len(self._node.registry) + self._adding <= self._node.registry.limits.max_instances

    def _operation(self, saved: Decision) -> str:
        pullouts = self._node.pullouts
        target = self._here(saved.target)
        known = pullouts.operations.decision((target.lowered(), saved.operation.lower()))
        wins = known is None or self._overwrite or saved.version > known.version
        if saved.ended:
            if known is None or known.ended:
                return "same"
            if not wins:
                return "kept"
            if not self._dry:
                pullouts.complete(target, saved.operation, self._now)
            return "ended"
        if known is not None and not known.ended:
            return "same"
        if not wins:
            return "kept"
        record = OperationRecord(saved.operation, saved.operator, saved.token)
        try:
            recorded = pullouts.operations.recorded(target, record, saved.version)
        except TooManyOperations:
            return "refused"
        if not self._dry:
            pullouts.operate(recorded.target, record, self._now)
        return "added"

    def _here(self, target: Target) -> Target:
        """Return a target of the region that the backup is of as one of this node's."""
        region = self._node.identity.region
        here = self._region == region.lower() or target.lowered().region != self._region
        return target if here else target._replace(region=region)


_ROWS = msgspec.msgpack.Decoder[list[Row]](list[Row]).decode
