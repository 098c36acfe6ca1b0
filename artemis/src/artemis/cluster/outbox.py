"""What a replica's parts share: what is to be sent, to whom it would be delivered, and what has happened so far.

Not here: who decides what is sent (`replica`, `renewing`, `exchanging`).
"""

import msgspec

from artemis.cluster.messages import Message


class ReplicaCounters(msgspec.Struct, gc=False):
    """What happened since the start; every counter only grows. Rows are those of instances and operations."""

    changes_sent: int = 0
    changes_applied: int = 0
    changes_known: int = 0
    renewals_sent: int = 0
    renewals_received: int = 0
    nameless: int = 0
    exchanges: int = 0
    exchanges_given_up: int = 0
    rows_sent: int = 0
    rows_received: int = 0
    restated: int = 0
    answers: int = 0
    inspections: int = 0
    overflows: int = 0
    strange: int = 0
    dots_refused: int = 0
    names_refused: int = 0
    returns_dropped: int = 0


class Outbox:
    """Messages that wait to be taken, in order, and the `connected` peers. Owned by a replica."""

    __slots__ = ("_messages", "connected", "counters")

    def __init__(self) -> None:
        self.connected: dict[str, None] = {}
        self.counters = ReplicaCounters()
        self._messages: list[tuple[str | None, Message]] = []

    def send(self, peer: str | None, message: Message) -> None:
        """Send a message to a peer, to all that are connected if it is None."""
        self._messages.append((peer, message))

    def take(self) -> list[tuple[str | None, Message]]:
        """Return what waits, which waits no longer."""
        messages, self._messages = self._messages, []
        return messages
