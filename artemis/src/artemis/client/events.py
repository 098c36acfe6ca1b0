"""What happens to a client between calls, as small immutable values, and the bounded feed that carries them.

Consume them with ``match``. They tell of the client itself; changes of services come from ``client.watch``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.client.connection import ConnectionState
    from artemis.client.errors import ArtemisError
    from artemis.client.links.link import LinkKind
    from artemis.model import Instance


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The connection went from ``old`` to ``new``."""

    old: ConnectionState
    new: ConnectionState
    reason: str


@dataclass(frozen=True, slots=True)
class NodeSwitched:
    """The client left the node ``old`` for ``new``."""

    old: str
    new: str
    reason: str


@dataclass(frozen=True, slots=True)
class Registered:
    """The registry accepted the instance or its new content; ``again`` if it had lost it, or it had been withheld."""

    instance: Instance
    again: bool


@dataclass(frozen=True, slots=True)
class HeartbeatFailed:
    """A heartbeat did not get through; the next one comes by itself."""

    error: ArtemisError


@dataclass(frozen=True, slots=True)
class RegistrationRefused:
    """The registry refuses the instance: nobody can see it while this lasts. It is offered again at each heartbeat."""

    instance: Instance
    error_code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unregistered:
    """The instance was taken out; ``error`` says why the registry was not told (its lease ends by itself then)."""

    instance: Instance
    error: ArtemisError | None


@dataclass(frozen=True, slots=True)
class Withheld:
    """The client keeps a registered instance out of the registry, for its health or a filter; ``reason`` says why.

    `Registered` tells when it is back.
    """

    instance: Instance
    reason: str


@dataclass(frozen=True, slots=True)
class FilterFailed:
    """A registry filter raised; as far as it is concerned the instance stays. One event for each filter and message."""

    name: str
    instance: Instance
    error: Exception


@dataclass(frozen=True, slots=True)
class Drained:
    """Waiting for the callers of a service to be told is over.

    All of them have been with ``waiting`` 0. Otherwise ``reason`` says why the waiting ended, and ``waiting`` is the
    last known number of those that had not been told, or None if the node has not said.
    """

    service_id: str
    waiting: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """Services could not be refreshed; what they show gets older until the next attempt."""

    service_ids: tuple[str, ...]
    error: ArtemisError


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The client hears of changes in another way, or from another node, than before; ``reason`` says why."""

    old: LinkKind
    new: LinkKind
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodesChanged:
    """The registry named other nodes than before; these are the URLs of all that the client knows."""

    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """The health callback of a registered instance says something else than before; unhealthy ones are withheld."""

    instance: Instance
    healthy: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AnswerDoubted:
    """The guard keeps instances in a view that the registry does not show any more; ``reason`` says why it doubts."""

    service_id: str
    held: tuple[Instance, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class DoubtEnded:
    """The guard keeps nothing of this service any more; ``dropped`` are those that the registry never showed again."""

    service_id: str
    dropped: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class AnswerOutdated:
    """A node shows an older state of this service than the client knows, as one does that others have still to tell.

    The view stays as it is, and nodes are asked again, for ``outdated_wait`` of `ClientOptions` at most.
    """

    service_id: str
    node: str


@dataclass(frozen=True, slots=True)
class WentBack:
    """The view went back to an older state, since no node showed more for ``waited`` seconds: the registry lost that.

    0 seconds where the node itself was restarted without it, so that nobody else has it.
    """

    service_id: str
    node: str
    waited: float


@dataclass(frozen=True, slots=True)
class ServedFromDisk:
    """The registry did not answer in time, so a service is shown as it was on disk, ``age`` seconds old."""

    service_id: str
    age: float


@dataclass(frozen=True, slots=True)
class DiskFailed:
    """The cache directory could not be read or written; the client goes on without it and tries again."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListenerFailed:
    """A listener of a service raised; it is told of the next change all the same.

    ``error`` may be a ``SystemExit`` or the like, from a plain function: it ends neither the listener nor the process.
    """

    service_id: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class LoopFailed:
    """A task that the client runs for itself, as its heartbeats, ended by an error that it should never meet.

    It begins again after a pause. This is a mistake in the SDK: please report it, with what the log says.
    """

    name: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class OutlierEjected:
    """After ``failures`` failed requests in a row balancers leave the instance out, for ``rest`` seconds."""

    service_id: str
    instance: Instance
    failures: int
    rest: float


@dataclass(frozen=True, slots=True)
class OutlierReturned:
    """Balancers choose the instance again; told at the first choice after its rest."""

    service_id: str
    instance: Instance


@dataclass(frozen=True, slots=True)
class EventsMissed:
    """This listener was too slow: ``count`` events before the next one were dropped."""

    count: int


ClientEvent = (
    StateChanged
    | NodeSwitched
    | Registered
    | HeartbeatFailed
    | RegistrationRefused
    | Unregistered
    | Withheld
    | FilterFailed
    | Drained
    | LookupFailed
    | LinkChanged
    | NodesChanged
    | HealthChanged
    | AnswerDoubted
    | DoubtEnded
    | AnswerOutdated
    | WentBack
    | ServedFromDisk
    | DiskFailed
    | ListenerFailed
    | LoopFailed
    | OutlierEjected
    | OutlierReturned
    | EventsMissed
)


class Events:
    """An async iterator over the events of one client, from the moment it was made until the client is closed.

    One consumer at a time. Dropping the iterator ends the subscription; cancelling ``anext`` loses nothing.
    """

    def __init__(self, size: int, held: set[Events]) -> None:
        self._size = size
        self._held = held
        self._waiting: deque[ClientEvent] = deque()
        self._missed = 0
        self._closed = False
        self._wake = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ClientEvent:
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return EventsMissed(missed)
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            # Whoever waits here may be referred to by nobody else, as a task that was just started and not kept.
            self._held.add(self)
            try:
                await self._wake.wait()
            finally:
                self._held.discard(self)

    def put(self, event: ClientEvent) -> bool:
        """Hand in an event; if the listener is too slow, the oldest one makes room, and False comes back."""
        room = len(self._waiting) < self._size
        if not room:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(event)
        self._wake.set()
        return room

    def close(self) -> None:
        """End the iteration after what is waiting."""
        self._closed = True
        self._wake.set()


def left_over(events: Events) -> list[ClientEvent]:
    """Return the next event that is waiting, if any, and take it; from any thread, once nobody iterates."""
    try:
        return [events._waiting.popleft()]  # noqa: SLF001 - what is left of an iteration is no word of its users
    except IndexError:
        return []


class EventFeed:
    """Hands each event to every listener; never blocks, never grows beyond ``size`` events per listener."""

    def __init__(self, size: int) -> None:
        self.also: Callable[[ClientEvent], None] | None = None
        """Called with every event before the listeners get it; must not raise, and must not wait."""
        self.missed = 0
        """How many events slow listeners did not get."""
        self._size = size
        self._closed = False
        self._listeners: WeakSet[Events] = WeakSet()
        self._held: set[Events] = set()

    def listen(self) -> Events:
        """Subscribe to what happens from now on."""
        events = Events(self._size, self._held)
        if self._closed:
            events.close()
        self._listeners.add(events)
        return events

    def publish(self, event: ClientEvent) -> None:
        """Hand the event to every listener, and to telemetry."""
        if self.also is not None:
            self.also(event)
        for events in list(self._listeners):
            self.missed += not events.put(event)

    def after_fork(self) -> None:
        """Tell nobody anything any more, in the child of a fork: what happens, happens to the parent."""
        self._closed = True
        self._listeners.clear()

    def close(self) -> None:
        """End all listeners' iterations after what is waiting for them."""
        self._closed = True
        for events in list(self._listeners):
            events.close()
