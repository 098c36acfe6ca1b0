"""What the engine needs of operator state beyond what a mesh does. Not here: the state itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from artemis.cluster.messages import OperationRow
from artemis.cluster.operators import OperatorState


class EngineOperators(OperatorState, Protocol):
    """Decisions that can be looked up one by one. Owned by a node."""

    def row(self, region: str, service: str, target: str, operation: str) -> OperationRow | None:
        """Return what is known of one decision, names in lower case, with its changes; None for nothing."""

    def joined(self, one: OperationRow, other: OperationRow) -> OperationRow:
        """Return what two rows of one decision say together, with the changes of both."""

    def end(self, row: OperationRow, now: int) -> None:
        """End what this node knew to have ended, and has forgotten since, by a decision of its own."""

    def restate(self, region: str, service: str, target: str, operation: str, now: int) -> None:
        """Make what is known of one decision, names in lower case, one of this node's own; for nothing, nothing."""

    def on_forgotten(self, listener: Callable[[OperationRow], None]) -> None:
        """Call `listener` with every decision that is forgotten from now on, with its changes. One at a time."""
