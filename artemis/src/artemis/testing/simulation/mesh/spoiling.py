"""Takes a rule of the design away, to see the history that needs it: nodes whose messages lack what the rule says.

Only rules that live in messages or times can be taken away here; the core has no switches for the others.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from artemis.cluster import Changes, InstanceRow, Message, Renewals, Repair, Row

Spoil = Callable[[Message], Message | None]
"""Returns what is sent instead of a message, None for nothing."""


def _aged(message: Message) -> Message:
    """Let every renewal look as if it were accepted just now."""
    if isinstance(message, Changes):
        return replace(message, rows=[_young(row) for row in message.rows])
    if isinstance(message, Repair):
        return replace(message, rows=[_young(row) for row in message.rows])
    return message


def _dots(message: Message) -> Message:
    """Repair records without saying which changes made them."""
    if not isinstance(message, Repair):
        return message
    return replace(message, rows=[replace(row, dots=[]) for row in message.rows])


def _floor(message: Message) -> Message:
    """Do not hand on what was swept."""
    return replace(message, floor=[]) if isinstance(message, Repair) else message


def _base(message: Message) -> Message:
    """Do not hand on which epochs are included whole."""
    return replace(message, base=[]) if isinstance(message, Repair) else message


def _renewals(message: Message) -> Message | None:
    """Do not tell peers who was heard."""
    return replace(message, handles=b"") if isinstance(message, Renewals) else message


def _repair(message: Message) -> Message | None:
    """Never repair anything."""
    return None if isinstance(message, Repair) else message


def _young(row: Row | None) -> Row | None:
    return replace(row, age=0) if isinstance(row, InstanceRow) else row


SPOILED: dict[str, Spoil] = {
    "aged": _aged,
    "dots": _dots,
    "floor": _floor,
    "base": _base,
    "renewals": _renewals,
    "repair": _repair,
}
