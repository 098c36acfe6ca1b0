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

    def on_forgotten(self, listener: Callable[[OperationRow], None]) -> None:
        """Call `listener` with every decision that is forgotten from now on, with its changes. One at a time."""
