"""Everything that operators have decided at one moment, in pieces that are made bit by bit while they go on deciding.

Decisions are immutable, so what is held meanwhile is a list of them.
Not here: the form of files (`artemis.registry.snapshot`), and taking them back (`PullOuts.load`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from artemis.management.decisions import Decision, InstanceTarget, ServerTarget, Target
from artemis.management.operations import Operations
from artemis.registry import Dot, Origin, Stamp
from artemis.registry.records import ZERO

OPERATIONS_PER_PIECE = 500
"""Decisions of one piece at most: about a millisecond of work."""


Key = tuple[str, str, str]
"""Service, id and name of an operation, in lower case, in whatever region; the service of a server is empty."""


class SavedDecision(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One decision, as a dump holds it; an empty `service` means a server.

    `ended_for` is how many milliseconds ago the operation ended, -1 for one that is recorded.
    """

    region: str
    service: str
    target: str
    operation: str
    since: Stamp
    version: Stamp
    operator: str
    token: str | None
    dots: list[tuple[str, int, int]]
    ended_for: int


class InstanceOperation(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One recorded operation of an instance, as dumps of nodes that knew of no others held it."""

    region_id: str
    service_id: str
    instance_id: str
    operation: str
    operator_id: str
    token: str | None = None


class ServerOperation(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One recorded operation of a machine, as those dumps held it."""

    region_id: str
    server_id: str
    operation: str
    operator_id: str
    token: str | None = None


class OperationsDump(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """All decisions, ready for any msgspec encoder; `instances` and `servers` are read from former dumps only."""

    decisions: list[SavedDecision] = []
    instances: list[InstanceOperation] = []
    servers: list[ServerOperation] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(OperationsDump).decode


class OperationsCut:
    """The decisions at the moment this was made, as pieces of MessagePack: each an `OperationsDump` of some.

    `now` is that moment in monotonic milliseconds.
    """

    def __init__(self, operations: Operations, now: int) -> None:
        self._now = now
        self._decisions = [(each, operations.ended_at(each)) for each in operations.decisions()]

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces; the operations may change in between. Once."""
        for start in range(0, len(self._decisions), OPERATIONS_PER_PIECE):
            some = self._decisions[start : start + OPERATIONS_PER_PIECE]
            saved = [_saved(decision, -1 if at is None else max(0, self._now - at)) for decision, at in some]
            yield _encode(OperationsDump(decisions=saved))
        self.close()

    def close(self) -> None:
        """Hold the decisions no longer; once more is fine."""
        self._decisions = []


def read_pieces(pieces: list[bytes]) -> OperationsDump:
    """Read back what `OperationsCut` has made. Raises msgspec.MsgspecError."""
    read = [_decode(piece) for piece in pieces]
    return OperationsDump(
        decisions=[each for dump in read for each in dump.decisions],
        instances=[each for dump in read for each in dump.instances],
        servers=[each for dump in read for each in dump.servers],
    )


def decisions_of(dump: OperationsDump) -> Iterable[tuple[Decision, int]]:
    """Return the decisions of a dump, each with how many milliseconds ago its operation ended, -1 for a recorded one.

    Those that ended first come first. What a node without others has recorded is older than all that has a version.
    """
    found = [(_decision(saved), saved.ended_for) for saved in dump.decisions]
    found.sort(key=lambda each: -each[1])
    former: list[InstanceOperation | ServerOperation] = [*dump.instances, *dump.servers]
    return [*found, *((_former(number, each), -1) for number, each in enumerate(former))]


def _saved(decision: Decision, ended_for: int) -> SavedDecision:
    region, service, name = parts_of(decision.target)
    return SavedDecision(
        region,
        service,
        name,
        decision.operation,
        decision.since,
        decision.version,
        decision.operator,
        decision.token,
        [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in decision.dots],
        ended_for,
    )


def _decision(saved: SavedDecision) -> Decision:
    return Decision(
        target_of(saved.region, saved.service, saved.target),
        saved.operation,
        saved.since,
        saved.version,
        saved.ended_for >= 0,
        saved.operator,
        saved.token,
        tuple(Dot(Origin(node, epoch), seq) for node, epoch, seq in saved.dots),
    )


def _former(number: int, saved: InstanceOperation | ServerOperation) -> Decision:
    """Return what a former dump means; the order of recording is that of the dump."""
    target: Target
    if isinstance(saved, InstanceOperation):
        target = InstanceTarget(saved.region_id, saved.service_id, saved.instance_id)
    else:
        target = ServerTarget(saved.region_id, saved.server_id)
    since = (number, "")
    return Decision(target, saved.operation, since, ZERO, False, saved.operator_id, saved.token, ())


def key_of(decision: Decision) -> Key:
    """Return the key of a decision."""
    target, operation = decision.key
    _, service, name = parts_of(target)
    return service, name, operation


def parts_of(target: Target) -> tuple[str, str, str]:
    """Return region, service and id of a target; the service of a server is empty."""
    if isinstance(target, InstanceTarget):
        return target
    return target.region, "", target.server


def target_of(region: str, service: str, name: str) -> Target:
    """Return the target of these parts."""
    return InstanceTarget(region, service, name) if service else ServerTarget(region, name)
