"""Events of sessions, and the bounded streams that deliver them to `async for` (specification 3.3).

Established is the first event of a session, Closed the last and the only one of its kind; a client has one session, so
there they are what the specification calls Connected and Disconnected. Nothing confirms that a message was sent: that
would be an event for each packet, to say what `packets_sent` counts; who must know asks for an answer.
What an endpoint that is tuned decides appears as the `Decision` itself.
Messages and requests appear here when no handler takes them. Every stream gets every event after it was made.
Not here: which session is paused; the hub only says that there is no room, and later that there is again.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict, deque
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from msgtrans.resilience.states import StateChanged
from msgtrans.tuning import Decision

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


class ServerStarted(msgspec.Struct, frozen=True):
    """A server listens. uris: where. For streams made before it started."""

    uris: list[str]


class ServerStopped(msgspec.Struct, frozen=True):
    """A server has stopped, and all its sessions are closed: the last event of its streams."""


Event: TypeAlias = (
    Established | MessageReceived | RequestReceived | Closed | StateChanged | Decision | ServerStarted | ServerStopped
)


class EventStream:
    """An asynchronous iterator over events, for one consumer. Ends when its server stops or its client disconnects.

    Holds at most `capacity` messages; then reading from the peers pauses until the consumer has caught up by half.
    In a stream that has no room, a session that came and went unseen (its Established unread, no message of it
    waiting) is left out as a whole, and counted, and only the latest change of state and the latest decision of the
    tuning stay. So messages are never lost (unless the inbound strategy is DROP_OLDEST: then the oldest make way in a
    full stream, and are counted), every Established that is read is followed by its Closed, and the stream never holds
    more than 3 `capacity` events and two for each session that may be open.
    A stream that nobody refers to any more is forgotten by its hub.
    """

    __slots__ = (
        "__weakref__",
        "_arrivals",
        "_capacity",
        "_droppable",
        "_ended",
        "_hub",
        "_latest",
        "_queue",
        "_sequence",
        "_waiter",
    )

    def __init__(self, hub: EventHub, capacity: int, *, displaces: bool = False) -> None:
        self._hub = hub
        self._capacity = capacity
        self._queue: OrderedDict[int, Event] = OrderedDict()  # by sequence number, to take out of the middle
        self._arrivals: dict[Session, int] = {}  # sessions of which nothing but Established waits here: its number
        self._droppable: deque[int] | None = deque() if displaces else None  # numbers of the messages here
        self._sequence = 0
        self._latest: dict[type, int] = {}  # of a change of state, and of a decision: its number
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
        return self._take()

    def next_nowait(self) -> Event | None:
        """The next event if it is here already, else None."""
        return self._take() if self._queue else None

    def _take(self) -> Event:
        _, event = self._queue.popitem(last=False)
        if isinstance(event, Established):
            self._arrivals.pop(event.session, None)
        elif self._droppable and isinstance(event, MessageReceived):
            self._droppable.popleft()
        self._shrunk()
        return event

    def close(self) -> None:
        """Take no further events; those already here can still be read."""
        self._ended = True
        self._hub.forget(self)
        self._wake()

    def put(self, event: Event) -> None:
        """For the hub: append one event, or leave its session out."""
        match event:
            case Established(session):
                self._arrivals[session] = self._sequence
            case Closed(session):
                arrival = self._arrivals.pop(session, None)
                if arrival is not None and self.full:
                    del self._queue[arrival]
                    self._hub.leave_out()
                    self._shrunk()
                    return
            case StateChanged() | Decision():
                if self.full:
                    self._queue.pop(self._latest.get(type(event), -1), None)
                self._latest[type(event)] = self._sequence
            case MessageReceived(context) | RequestReceived(context):
                self._arrivals.pop(context.session, None)
                if self._droppable is not None and isinstance(event, MessageReceived):
                    self._droppable.append(self._sequence)
        self._queue[self._sequence] = event
        self._sequence += 1
        self._wake()

    def displace(self) -> Context | None:
        """For the hub: drop the oldest message, under the inbound strategy DROP_OLDEST; None when there is none."""
        if not self._droppable:
            return None
        event = self._queue.pop(self._droppable.popleft())
        return event.context if isinstance(event, MessageReceived) else None

    def _shrunk(self) -> None:
        if len(self._queue) == self._capacity // 2:
            self._hub.room()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EventHub:
    """Hands each event to every stream. Owned by one server or client.

    `on_room` is called when a full stream has room, `on_left_out` when one leaves out a session that came and went.
    displaces: whether messages in full streams may make way for newer ones.
    """

    def __init__(
        self, capacity: int, on_room: Callable[[], None], on_left_out: Callable[[], None], *, displaces: bool = False
    ) -> None:
        self._capacity = capacity
        self._displaces = displaces
        self._on_room = on_room
        self._on_left_out = on_left_out
        self._streams: list[weakref.ref[EventStream]] = []

    def __bool__(self) -> bool:
        return bool(self._streams)

    @property
    def full(self) -> bool:
        """Whether any stream has no room for a message."""
        return any(stream.full for stream in self._live())

    def open(self) -> EventStream:
        """A new stream of everything from now on."""
        stream = EventStream(self, self._capacity, displaces=self._displaces)
        self._streams.append(weakref.ref(stream, self._gone))
        return stream

    def displace(self) -> list[Context]:
        """Drop the oldest message of each full stream; gives those that were dropped."""
        full = [stream for stream in self._live() if stream.full]
        return [context for stream in full if (context := stream.displace()) is not None]

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

    def leave_out(self) -> None:
        """For a stream: it has left out a session."""
        self._on_left_out()

    def _gone(self, reference: weakref.ref[EventStream]) -> None:
        self._streams = [other for other in self._streams if other is not reference]
        self._on_room()

    def _live(self) -> list[EventStream]:
        return [stream for reference in self._streams if (stream := reference()) is not None]
