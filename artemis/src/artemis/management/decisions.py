"""What operators have decided, as records that any two nodes can join (design 4.1 "Operator state").

A decision is about one operation of one target: that it is recorded, or that it has ended. An ended one stays for a
lifetime, so that no node brings the operation back.
Not here: the tables of a node (`operations`), and what decisions hide (`filter`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from artemis.model.cursors import Cursor
from artemis.registry import Dot, Origin, Stamp
from artemis.registry.records import join_dots, remembered


class InstanceTarget(NamedTuple):
    """An instance as operations name it. `lowered` is what counts: keys compare without regard to letter case."""

    region: str
    service: str
    instance: str

    def lowered(self) -> "InstanceTarget":
        """Return it in lower case."""
        return InstanceTarget(self.region.lower(), self.service.lower(), self.instance.lower())


class ServerTarget(NamedTuple):
    """A machine as operations name it: `server` is the `ip` of its instances."""

    region: str
    server: str

    def lowered(self) -> "ServerTarget":
        """Return it in lower case."""
        return ServerTarget(self.region.lower(), self.server.lower())


Target = InstanceTarget | ServerTarget

DecisionKey = tuple[Target, str]
"""Target and name of an operation, both in lower case."""


class OperationRecord(msgspec.Struct, frozen=True, gc=False):
    """One operation: its name, who recorded it last and that call's token, which is for audits only and may be None."""

    operation: str
    operator: str
    token: str | None


class Decision(msgspec.Struct, frozen=True, gc=False, eq=False):
    """All that is replicated about one operation of one target. Immutable; equality is identity.

    Target and operation are spelt as when it was recorded first, at `since`; one that has ended begins anew. `version`
    is when it was decided upon last, `ended` that it is recorded no longer. `dots` is sorted by origin and names each
    origin once.
    """

    target: Target
    operation: str
    since: Stamp
    version: Stamp
    ended: bool
    operator: str
    token: str | None
    dots: tuple[Dot, ...]

    @property
    def key(self) -> DecisionKey:
        """What it is about, in lower case."""
        return self.target.lowered(), self.operation.lower()

    @property
    def record(self) -> OperationRecord:
        """The operation as operators see it."""
        return OperationRecord(self.operation, self.operator, self.token)

    def with_dots(self, dots: tuple[Dot, ...]) -> "Decision":
        """Return it with other dots; the same object for the same ones."""
        return self if dots is self.dots else msgspec.structs.replace(self, dots=dots)

    def without_forgotten(self, base: Mapping[str, int]) -> "Decision":
        """Return it without the dots of epochs below `base`; the same object if it has none."""
        return self.with_dots(remembered(self.dots, base))

    def beyond(self, cursor: Cursor) -> bool:
        """Tell whether a change that made it is not among those that the holder of a cursor knows."""
        return any(not cursor.covers(dot.origin, dot.seq) for dot in self.dots)

    def news(self, vector: Mapping[Origin, int]) -> list[Dot]:
        """Return its dots that are not in a vector."""
        return [dot for dot in self.dots if dot.seq > vector.get(dot.origin, 0)]


def merge(a: Decision, b: Decision) -> Decision:
    """Return the join of two decisions of one key: commutative, associative, idempotent.

    The larger of (version, ended, operator, token) counts, dots go by maximum.
    """
    win = b if _weight(b) > _weight(a) else a
    return win.with_dots(a.dots if a.dots == b.dots else join_dots(a.dots, b.dots))


def same(a: Decision, b: Decision) -> bool:
    """Tell whether two decisions of one key are alike in all but their dots."""
    return _weight(a) == _weight(b)


Weight = tuple[Stamp, bool, str, bool, str, Stamp, str, tuple[str, ...]]


def _weight(decision: Decision) -> Weight:
    """What decides which of two counts: everything but the dots, so that two that weigh the same are alike."""
    token = decision.token
    return (
        decision.version,
        decision.ended,
        decision.operator,
        token is not None,
        token or "",
        decision.since,
        decision.operation,
        tuple(decision.target),
    )
