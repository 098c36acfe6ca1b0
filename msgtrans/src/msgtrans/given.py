"""Requests that a session has given out and that are not answered yet: they count as work, as running handlers do.

Who gets a request may answer it later, or never. One that nobody refers to any more will have no answer; it is
forgotten then, wherever that happens. Not here: what follows from their number (`holding`).
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from msgtrans.handlers import Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.packet import Packet

PACKET_COST: Final = 160  # bytes a small packet in memory takes beside its payload and ext header, rounded up


def cost(message: Packet | Context) -> int:
    """Bytes of memory a message takes, about."""
    return len(message.payload) + len(message.ext_header) + PACKET_COST


class _Entry(weakref.ref[Context]):
    """A request, not kept alive by this. key: where it stands. size: bytes it takes."""

    __slots__ = ("key", "size")

    key: int
    size: int


class GivenOut:
    """The requests of one session. Made when it first needs it: most sessions are answered by what handlers return.

    forgotten: called, maybe in another thread, when nobody refers to a request any more. bytes: that all of them take.
    """

    __slots__ = ("_entries", "_forgotten", "bytes")

    def __init__(self, forgotten: Callable[[], None]) -> None:
        self._entries: dict[int, _Entry] = {}
        self._forgotten = forgotten
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, context: Context, size: int) -> None:
        """Count a request that was given out."""
        entry = _Entry(context, self._gone)
        entry.key, entry.size = id(context), size
        if entry.key not in self._entries:
            self._entries[entry.key] = entry
            self.bytes += size

    def answered(self, context: Context) -> None:
        """Count it no more."""
        entry = self._entries.pop(id(context), None)
        if entry is not None:
            self.bytes -= entry.size

    def _gone(self, entry: weakref.ref[Context]) -> None:
        assert isinstance(entry, _Entry)  # noqa: S101 - no others are made here
        if self._entries.pop(entry.key, None) is not None:
            self.bytes -= entry.size
            self._forgotten()
