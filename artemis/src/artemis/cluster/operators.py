"""What replication needs of operator state: a map of its own with changes of its own (design 4.1 "Operator state").

Its numbers are those of the registry's origin: one sequence per node for everything that changes what a lookup shows.
Not here: the map itself, and what it hides.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from artemis.cluster.messages import OperationRow
from artemis.registry import Dot, Origin, Reach


class OperatorState(Protocol):
    """The decisions of operators, as records that merge like those of instances. Owned by a node.

    It falls into buckets, as many as it likes, always the same number; a row belongs to one by its key.
    """

    def on_decision(self, listener: Callable[[int, OperationRow], None]) -> None:
        """Call `listener` with every decision made here, and the number it took of the registry's sequence."""

    def apply(self, origin: Origin, seq: int, row: OperationRow, now: int) -> None:
        """Merge the row of another origin's change, whose number the registry has just noted (`Registry.advance`)."""

    def absorb(
        self, row: OperationRow, dots: tuple[Dot, ...], theirs: Reach, before: Mapping[str, int], now: int
    ) -> None:
        """Merge a row that a repair brings, with the dots that it has there [covered, own_dot].

        `theirs` is what its sender knew, `before` the base of this node when the answer began to come.
        """

    def sums(self) -> Sequence[int]:
        """Return one number of 64 bits for each bucket; equal records have equal ones, on all nodes."""

    def rows(self, buckets: Iterable[int]) -> Iterable[OperationRow]:
        """Return all records of some buckets as of now, with their dots; unknown numbers have none.

        They are made while they are taken, whatever changes meanwhile.
        """

    def lacking(self, buckets: Iterable[int], rows: Iterable[OperationRow], theirs: Reach, now: int) -> None:
        """Note that a node at `theirs` has, of these buckets, these rows only: what it knew and lacks, it swept."""
