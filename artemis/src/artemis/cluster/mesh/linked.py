"""What a mesh asks of whoever has something to say on its links: a replica (`artemis.cluster.replica`), or, where an
engine carries the records, what siblings have for each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.cluster.messages import Message


class Linked(Protocol):
    """Nodes are named by node id, `now` is monotonic milliseconds."""

    def connect(self, peer: str, now: int) -> None:
        """A node can be sent to."""

    def disconnect(self, peer: str) -> None:
        """A node cannot be sent to any more."""

    def receive(self, peer: str, message: Message, now: int) -> None:
        """A message came."""

    def want(self, peer: str) -> None:
        """Something of a node may have been missed."""

    def overflowed(self, peer: str) -> None:
        """Messages to a node were dropped."""

    def tick(self, now: int, wall: int) -> None:
        """Let time pass."""

    def flush(self, now: int) -> None:
        """Make messages of what has changed."""

    def take(self) -> Sequence[tuple[str | None, Message]]:
        """Return the messages that wait, with whom each is for, None for all."""
