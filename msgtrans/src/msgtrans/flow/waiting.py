"""Those who wait for a connection: in order, bounded in number and bytes, each with its deadline.

Not here: futures, timers, connections; the client keeps these.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

from msgtrans.errors import ResourceError
from msgtrans.requests import PendingRequests

if TYPE_CHECKING:
    from collections.abc import Iterator

W = TypeVar("W")


class Waiting(Generic[W]):
    """A queue that gives entries out in the order in which they came, and those whose time is over.

    limit, max_bytes: how many may wait, and how many bytes. timeout: seconds, the default, as of `PendingRequests`.
    """

    __slots__ = ("_deadlines", "_entries", "_last", "bytes", "limit", "max_bytes")

    def __init__(self, limit: int, max_bytes: int, timeout: float) -> None:
        self.limit = limit
        self.max_bytes = max_bytes
        self._deadlines: PendingRequests[int] = PendingRequests(1, timeout, limit)
        self._entries: OrderedDict[int, tuple[W, int, int]] = OrderedDict()  # entry, bytes, id of its deadline
        self._last = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[W]:
        return (entry for entry, _, _ in self._entries.values())

    def add(self, entry: W, size: int, now: float, timeout: float | None = None) -> int:
        """Queue `entry`, of `size` bytes; its key. Raises ResourceError when there is no room."""
        if len(self._entries) >= self.limit:
            raise ResourceError("calls waiting for a connection", len(self._entries), self.limit)
        if self.bytes + size > self.max_bytes:
            raise ResourceError("bytes waiting for a connection", self.bytes + size, self.max_bytes)
        self._last += 1
        deadline_id, _ = self._deadlines.add(self._last, now, timeout)
        self._entries[self._last] = (entry, size, deadline_id)
        self.bytes += size
        return self._last

    def remove(self, key: int) -> W | None:
        """Take one out; None when it is not here any more."""
        found = self._entries.pop(key, None)
        if found is None:
            return None
        entry, size, deadline_id = found
        self.bytes -= size
        self._deadlines.pop(deadline_id)
        return entry

    def first(self) -> W | None:
        """Take the first one out; None when nobody waits."""
        return self.remove(next(iter(self._entries))) if self._entries else None

    def expire(self, now: float) -> list[tuple[W, float]]:
        """Take out all whose deadline is not after `now`, each with the timeout it had."""
        due = [(key, timeout) for key, timeout in self._deadlines.expire(now)]
        return [(entry, timeout) for key, timeout in due if (entry := self.remove(key)) is not None]

    def next_deadline(self) -> float | None:
        """The earliest deadline, None when nobody waits."""
        return self._deadlines.next_deadline()
