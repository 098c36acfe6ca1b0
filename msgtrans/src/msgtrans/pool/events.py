"""What happens in a pool of connections, and the bounded streams that tell it (specification 5.1).

A stream holds at most `REMEMBERED` events; whoever reads too late misses the oldest, and `missed` says how many. The
streams of `msgtrans.events` do otherwise, because they carry messages, which must not get lost.
Not here: what happens to the sessions of the connections.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from msgtrans.errors import TransportError

REMEMBERED: Final = 1024  # events


class ConnectionCreated(msgspec.Struct, frozen=True):
    """A connection is open. id: from 0 up, never again. uri: where it leads."""

    id: int
    uri: str


class ConnectionAcquired(msgspec.Struct, frozen=True):
    """Somebody has a connection."""

    id: int


class ConnectionReleased(msgspec.Struct, frozen=True):
    """A connection was given back."""

    id: int


class ConnectionRemoved(msgspec.Struct, frozen=True):
    """A connection left the pool.

    reason: "broken" (it was found closed), "unhealthy" (the health check raised), "idle", "old" (max_lifetime),
    "shrink", "removed" (on command) or "closed" (with the pool).
    """

    id: int
    reason: str


class PoolExpanded(msgspec.Struct, frozen=True):
    """The pool has decided to grow; a ConnectionCreated for each new connection follows."""

    from_size: int
    to_size: int


class PoolShrunk(msgspec.Struct, frozen=True):
    """The pool has shrunk; a ConnectionRemoved for each connection came before."""

    from_size: int
    to_size: int


class PoolError(msgspec.Struct, frozen=True):
    """A connection could not be made, or a health check raised. uri: where. error: why."""

    uri: str
    error: TransportError


PoolEvent: TypeAlias = (
    ConnectionCreated
    | ConnectionAcquired
    | ConnectionReleased
    | ConnectionRemoved
    | PoolExpanded
    | PoolShrunk
    | PoolError
)


class PoolEventStream:
    """An asynchronous iterator over the events of a pool, for one consumer. Ends when the pool closes.

    missed: events that made way for newer ones before they were read. A stream that nobody refers to any more is
    forgotten by its pool.
    """

    __slots__ = ("__weakref__", "_ended", "_queue", "_waiter", "missed")

    def __init__(self) -> None:
        self._queue: deque[PoolEvent] = deque(maxlen=REMEMBERED)
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self.missed = 0

    def __aiter__(self) -> PoolEventStream:
        return self

    def __len__(self) -> int:
        return len(self._queue)

    async def __anext__(self) -> PoolEvent:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    def close(self) -> None:
        """Take no further events; those already here can still be read."""
        self._ended = True
        self._wake()

    def put(self, event: PoolEvent) -> None:
        """For the pool: append one event."""
        if self._ended:
            return
        if len(self._queue) == REMEMBERED:
            self.missed += 1
        self._queue.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class PoolEventHub:
    """Hands each event to every stream; false while there is none, so that events need not be made."""

    __slots__ = ("_streams",)

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[PoolEventStream] = weakref.WeakSet()

    def __bool__(self) -> bool:
        return bool(self._streams)

    def open(self) -> PoolEventStream:
        """A new stream of everything from now on."""
        stream = PoolEventStream()
        self._streams.add(stream)
        return stream

    def emit(self, event: PoolEvent) -> None:
        """Hand `event` to every stream."""
        for stream in list(self._streams):
            stream.put(event)

    def end(self) -> None:
        """End all streams: no more events will come."""
        for stream in list(self._streams):
            stream.close()
        self._streams.clear()
