"""What waits to be sent on one link: encoded messages, bounded in bytes and in number.

A peer that takes less than happens would cost ever more memory. So at the bound everything that waits is dropped: what
is missing then is noticed by the gap in the sequence numbers, and repaired by an exchange (design 4.1 "Links").
Pure; not here: sending.
"""

from __future__ import annotations

from collections import deque

MAX_MESSAGES = 10_000
MAX_BYTES = 16 * 1024 * 1024


class SendQueue:
    """Owned by one link. `size` is the bytes that wait, `dropped` how many messages ever were."""

    __slots__ = ("_max_bytes", "_max_messages", "_waiting", "dropped", "size")

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._waiting: deque[bytes] = deque()
        self.size = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: bytes) -> bool:
        """Add a message; False, and it and all that waits are dropped, when there is no room.

        A single message is taken into an empty queue whatever its size.
        """
        if self._waiting and (len(self._waiting) >= self._max_messages or self.size + len(message) > self._max_bytes):
            self.dropped += len(self._waiting) + 1
            self.clear()
            return False
        self._waiting.append(message)
        self.size += len(message)
        return True

    def take(self) -> bytes | None:
        """Take out the oldest message, None when nothing waits."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        self.size -= len(message)
        return message

    def clear(self) -> None:
        """Forget what waits, without counting: the link is gone, and the next one begins anew."""
        self._waiting.clear()
        self.size = 0
