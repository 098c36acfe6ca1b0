"""Operator state as replication carries it: rows of decisions, their sums, and what they mean here (design 4.1).

Not here: the decisions and their effect (`artemis.management`), and when what is sent (`replica`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from zlib import crc32

import msgspec

from artemis.cluster.messages import OperationRow
from artemis.management import Decision, DecisionKey, InstanceTarget, PullOuts, ServerTarget
from artemis.management.decisions import merge
from artemis.registry import Dot, Origin, Reach, Registry

BUCKETS = 64
"""Buckets of decisions: there are 10 000 of them at most, and mostly a few."""


class ReplicatedOperations:
    """The operator state of one node, for its replica (an `OperatorState`). Owned by whoever owns the replica.

    It listens to all decisions from its making on.
    """

    def __init__(self, pullouts: PullOuts, registry: Registry) -> None:
        self._pullouts = pullouts
        self._registry = registry
        self._sums = [0] * BUCKETS
        self._buckets: list[dict[DecisionKey, Decision]] = [{} for _ in range(BUCKETS)]
        self._forgotten: Callable[[OperationRow], None] | None = None
        for decision in pullouts.operations.decisions():
            self._changed(None, decision)
        pullouts.operations.on_decision(self._changed)

    def on_decision(self, listener: Callable[[int, OperationRow], None]) -> None:
        """Call `listener` with every decision made here, and its number."""
        self._pullouts.on_decision(lambda seq, decision: listener(seq, row_of(decision)))

    def on_forgotten(self, listener: Callable[[OperationRow], None]) -> None:
        """Call `listener` with every decision that is forgotten from now on, with its changes. One at a time."""
        self._forgotten = listener

    def apply(self, origin: Origin, seq: int, row: OperationRow, now: int) -> None:
        """Merge the row of another origin's change."""
        self._pullouts.apply(origin, seq, decision_of(row, ()), now)

    def absorb(
        self, row: OperationRow, dots: tuple[Dot, ...], theirs: Reach, before: Mapping[str, int], now: int
    ) -> None:
        """Merge a row that a repair brings."""
        self._pullouts.absorb(decision_of(row, dots), theirs, before, now)

    def sums(self) -> Sequence[int]:
        """Return the sums of all buckets."""
        return self._sums

    def rows(self, buckets: Iterable[int]) -> Iterable[OperationRow]:
        """Return all decisions of some buckets as rows, which are made while they are taken."""
        base = dict(self._registry.base)
        decisions = [decision for bucket in self._some(buckets) for decision in bucket.values()]
        return (row_of(decision.without_forgotten(base), with_dots=True) for decision in decisions)

    def row(self, region: str, service: str, target: str, operation: str) -> OperationRow | None:
        """Return what is known of one decision, names in lower case, with its changes; None for nothing."""
        decision = self._pullouts.operations.decision(_key(region, service, target, operation))
        if decision is None:
            return None
        return row_of(decision.without_forgotten(self._registry.base), with_dots=True)

    def joined(self, one: OperationRow, other: OperationRow) -> OperationRow:
        """Return what two rows of one decision say together, with the changes of both."""
        a, b = (
            decision_of(row, tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in row.dots))
            for row in (one, other)
        )
        return row_of(merge(a, b), with_dots=True)

    def end(self, row: OperationRow, now: int) -> None:
        """End what this node knew to have ended, and has forgotten since."""
        self._pullouts.end(decision_of(row, ()), now)

    def restate(self, region: str, service: str, target: str, operation: str, now: int) -> None:
        """Make what is known of one decision, names in lower case, one of this node's own."""
        self._pullouts.restate(_key(region, service, target, operation), now)

    def lacking(self, buckets: Iterable[int], rows: Iterable[OperationRow], theirs: Reach, now: int) -> None:
        """End what a node at `theirs` knew and does not have among these rows."""
        there = {decision_of(row, ()).key for row in rows}
        ours = [each for bucket in self._some(buckets) for key, each in bucket.items() if key not in there]
        self._pullouts.lacking(ours, theirs, now)

    def _some(self, buckets: Iterable[int]) -> list[dict[DecisionKey, Decision]]:
        return [self._buckets[bucket] for bucket in buckets if 0 <= bucket < BUCKETS]

    def _changed(self, known: Decision | None, decision: Decision | None) -> None:
        if decision is None and known is not None and self._forgotten is not None:
            self._forgotten(row_of(known, with_dots=True))
        for each, is_new in ((known, False), (decision, True)):
            if each is None:
                continue
            key = each.key
            bucket = crc32(_encode(key)) % BUCKETS
            self._sums[bucket] ^= _digest(each)
            if is_new:
                self._buckets[bucket][key] = each
            else:
                del self._buckets[bucket][key]


def row_of(decision: Decision, *, with_dots: bool = False) -> OperationRow:
    """Return the row of a decision; that of a change has no dots, as its own is its only one."""
    target = decision.target
    region, service, name = target if isinstance(target, InstanceTarget) else (target.region, "", target.server)
    dots = [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in decision.dots] if with_dots else []
    return OperationRow(
        region,
        service,
        name,
        decision.operation,
        decision.since,
        decision.version,
        decision.ended,
        decision.operator,
        decision.token,
        dots,
    )


def decision_of(row: OperationRow, dots: tuple[Dot, ...]) -> Decision:
    """Return the decision of a row, with these dots."""
    target = (
        InstanceTarget(row.region, row.service, row.target) if row.service else ServerTarget(row.region, row.target)
    )
    return Decision(target, row.operation, row.since, row.version, row.removed, row.operator, row.token, dots)


def _key(region: str, service: str, target: str, operation: str) -> DecisionKey:
    about = InstanceTarget(region, service, target) if service else ServerTarget(region, target)
    return about, operation


_encode = msgspec.msgpack.Encoder().encode


def _digest(decision: Decision) -> int:
    """Return a digest of a decision, all but its dots."""
    packed = _encode(row_of(decision))
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), "little")
