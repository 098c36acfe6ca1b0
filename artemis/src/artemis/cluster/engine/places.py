"""Places: what an entry is of, in the words of the registry. Not here: keys, which are the bucket's words (`keys`)."""

from __future__ import annotations

from artemis.cluster.engine.entries import Value
from artemis.cluster.messages import InstanceRow, OperationRow

Place = tuple[str, ...]
"""Region, service and instance; "o" and the four names of a decision; or "m" and a node."""

_MEMBER, _DECISION = 2, 5
"""How many names those have."""


def place_of(value: Value, region: str) -> Place:
    """Return the place that a value is of."""
    if isinstance(value, InstanceRow):
        return region, value.service, value.instance
    if isinstance(value, OperationRow):
        return operation_place(value)
    return member_place(value.node)


def operation_place(row: OperationRow) -> Place:
    """Return the place of a decision."""
    return "o", row.region.lower(), row.service.lower(), row.target.lower(), row.operation.lower()


def member_place(node: str) -> Place:
    """Return the place of what a node says of itself."""
    return "m", node


def is_decision(place: Place) -> bool:
    """Tell whether a place is that of a decision."""
    return len(place) == _DECISION


def is_member(place: Place) -> bool:
    """Tell whether a place is that of what a node says of itself."""
    return len(place) == _MEMBER
