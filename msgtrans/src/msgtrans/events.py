"""Events of sessions, and the bounded streams that deliver them to `async for` (specification 3.3).

Established is the first event of a session, Closed the last and the only one of its kind. Messages and requests
appear here when no handler takes them. Every stream gets every event that happens after it was made.
Not here: which session is paused; the hub only says that there is no room, and later that there is again.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.errors import TransportError
    from msgtrans.handlers import Context
    from msgtrans.session import Session


class CloseReason(StrEnum):
    """Why a session ended (specification 3.2).

    NORMAL: one side closed it. TIMEOUT: idle, or the peer did not read. ERROR: the connection broke, or the peer broke
    the protocol. FORCED: dropped on our side without waiting.
    """

    NORMAL = "normal"
    TIMEOUT = "timeout"
    ERROR = "error"
    FORCED = "forced"


class Established(msgspec.Struct, frozen=True):
    """A session is open."""

    session: Session


class MessageReceived(msgspec.Struct, frozen=True):
    """A one-way message arrived, and no handler is set for messages."""

    context: Context


class RequestReceived(msgspec.Struct, frozen=True):
    """A request arrived, and no handler is set for requests: answer with `event.context.respond(...)`."""

    context: Context


class Closed(msgspec.Struct, frozen=True):
    """A session ended. `error` says more when the reason is ERROR or TIMEOUT."""

    session: Session
    reason: CloseReason
    error: TransportError | None


Event: TypeAlias = Established | MessageReceived | RequestReceived | Closed


class EventStream:
    """An asynchronous iterator over events, for one consumer. Ends when its server stops or its client disconnects.

    Holds at most `capacity` messages; then reading from the peers pauses until the consumer has caught up by half.
    A stream that nobody refers to any more is forgotten by its hub.
    """

    __slots__ = ("__weakref__", "_capacity", "_ended", "_hub", "_queue", "_waiter")

    def __init__(self, hub: EventHub, capacity: int) -> None:
        self._hub = hub
        self._capacity = capacity
        self._queue: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    def __aiter__(self) -> EventStream:
        return self

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Whether messages must wait."""
        return len(self._queue) >= self._capacity

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = self._queue.popleft()
        if len(self._queue) == self._capacity // 2:
            self._hub.room()
        return event

    def close(self) -> None:
        """Take no further events; those already here can still be read."""
        self._ended = True
        self._hub.forget(self)
        self._wake()

    def put(self, event: Event) -> None:
        """For the hub: append one event."""
        self._queue.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EventHub:
    """Hands each event to every stream. Owned by one server or client; `on_room` is called when a full one has room."""

    def __init__(self, capacity: int, on_room: Callable[[], None]) -> None:
        self._capacity = capacity
        self._on_room = on_room
        self._streams: list[weakref.ref[EventStream]] = []

    def __bool__(self) -> bool:
        return bool(self._streams)

    @property
    def full(self) -> bool:
        """Whether any stream has no room for a message."""
        return any(stream.full for stream in self._live())

    @property
    def longest(self) -> int:
        """Events in the longest queue."""
        return max((len(stream) for stream in self._live()), default=0)

    def open(self) -> EventStream:
        """A new stream of everything from now on."""
        stream = EventStream(self, self._capacity)
        self._streams.append(weakref.ref(stream, self._gone))
        return stream

    def emit(self, event: Event) -> None:
        """Hand `event` to every stream."""
        for stream in self._live():
            stream.put(event)

    def end(self) -> None:
        """End all streams: no more events will come."""
        for stream in self._live():
            stream.close()

    def forget(self, stream: EventStream) -> None:
        """For a stream: it wants no more."""
        self._streams = [reference for reference in self._streams if reference() is not stream]
        self._on_room()

    def room(self) -> None:
        """For a stream: it has caught up."""
        self._on_room()

    def _gone(self, reference: weakref.ref[EventStream]) -> None:
        self._streams = [other for other in self._streams if other is not reference]
        self._on_room()

    def _live(self) -> list[EventStream]:
        return [stream for reference in self._streams if (stream := reference()) is not None]
