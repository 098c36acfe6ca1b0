"""What the endpoints make of messages (spec 3.2-3.4, artemis-rust 2). One object for all sessions of an endpoint.

Not here: frames and the order of messages (`connection`), what a heartbeat means (`heartbeats`), who is told of what
change (`artemis.push`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

from artemis.model import DiscoveryConfig, MalformedBody, decode
from artemis.push import ChangeStream, Dialect, Subscriber
from artemis.server.recognition import HeartbeatMemory
from msgtrans.adapters.websocket.frames import TRY_LATER

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from artemis.server.websocket.connection import WebSocketConnection
    from artemis.server.websocket.heartbeats import Heartbeats, Steps
    from artemis.server.websocket.native import NativeMessages
    from msgtrans.adapters.websocket.frames import ReaderPool


#: Turns of the loop in which all that is pending is pushed before a confirmation; more would be a node that is flooded.
_CONFIRM_TURNS = 64


class Conduct(Protocol):
    """How sessions of an endpoint behave. `message_size`: bytes of one message; `readers`: of frames up to that."""

    message_size: int
    readers: ReaderPool

    def opened(self, session: WebSocketConnection) -> None:
        """A session begins."""
        ...

    def received(self, session: WebSocketConnection, message: bytes) -> list[bytes] | Steps:
        """Handle a message, which is UTF-8; return the answers, or a generator of them, a slice of work per step."""
        ...

    def blocked(self, session: WebSocketConnection) -> None:
        """The peer does not take what it gets; when it does again, `writable` is called."""
        ...

    def writable(self, session: WebSocketConnection) -> None:
        """The session has room again for what it is to be told."""
        ...

    def stalled(self, session: WebSocketConnection, now: int) -> bool:
        """Whether the peer has not taken for too long what it is to be told; `now` is monotonic milliseconds."""
        ...

    def closed(self, session: WebSocketConnection) -> None:
        """The session ends: nothing can be sent any more."""
        ...


class HeartbeatConduct:
    """Answers heartbeats (spec 3.2)."""

    def __init__(self, heartbeats: Heartbeats, readers: ReaderPool, message_size: int) -> None:
        self.message_size = message_size
        self.readers = readers
        self._heartbeats = heartbeats

    def opened(self, session: WebSocketConnection) -> None:
        """Remember nothing yet."""
        session.state = HeartbeatMemory()

    def received(self, session: WebSocketConnection, message: bytes) -> list[bytes] | Steps:
        """Answer a heartbeat."""
        return self._heartbeats.answer(message, cast("HeartbeatMemory", session.state), session.address)

    def blocked(self, session: WebSocketConnection) -> None:
        """Nothing is told that was not asked for."""

    def writable(self, session: WebSocketConnection) -> None:
        """Nothing is told that was not asked for."""

    def stalled(self, session: WebSocketConnection, now: int) -> bool:
        """Nothing is told that was not asked for."""
        _ = session, now
        return False

    def closed(self, session: WebSocketConnection) -> None:
        """Forget the last message."""
        session.state = None


class PushConduct:
    """What endpoints have in common whose sessions are told of changes: nothing is queued here, and nothing is taken
    from the stream for a peer that does not read.

    `awaken` is called with a session for which there is something, to have `writable` called soon.
    """

    dialect = Dialect.JAVA

    def __init__(
        self,
        stream: ChangeStream,
        awaken: Callable[[WebSocketConnection], None],
        readers: ReaderPool,
        message_size: int,
        counters: Counter[str],
    ) -> None:
        self.message_size = message_size
        self.readers = readers
        self._stream = stream
        self._awaken = awaken
        self._counters = counters

    def opened(self, session: WebSocketConnection) -> None:
        """Subscribe to nothing yet."""
        subscriber = Subscriber(self.dialect, partial(self._awaken, session))
        session.state = subscriber
        self._stream.attach(subscriber)

    def received(self, session: WebSocketConnection, message: bytes) -> list[bytes] | Steps:
        """Ignore it."""
        _ = session, message
        return []

    def blocked(self, session: WebSocketConnection) -> None:
        """Note that what the session was told may not have left."""
        if session.state is not None:
            self._subscriber(session).behind = True

    def writable(self, session: WebSocketConnection) -> None:
        """Tell what there is, as far as there is room."""
        subscriber = self._subscriber(session)
        room = session.room
        subscriber.behind = not room
        if not (room and subscriber.pending):
            return
        session.send(subscriber.take(room))
        if subscriber.lost:
            session.close(TRY_LATER, "too much has happened meanwhile; look everything up again", "slow_consumer")
        elif subscriber.pending and session.room:
            self._awaken(session)

    def stalled(self, session: WebSocketConnection, now: int) -> bool:
        """Whether there is something for a session that it has not taken for too long."""
        return self._subscriber(session).stalled(now)

    def closed(self, session: WebSocketConnection) -> None:
        """End all subscriptions."""
        self._stream.detach(self._subscriber(session))
        session.state = None

    def _subscriber(self, session: WebSocketConnection) -> Subscriber:
        return cast("Subscriber", session.state)


class ChangesConduct(PushConduct):
    """Subscribes to the service that each message names (spec 3.3).

    Nothing is acknowledged. What is no subscription is counted and dropped, and so is one beyond a limit or to a region
    that is `copied`, whose clients must not hear of the service of that name here; of these two the log says once per
    session whose it was.
    """

    def __init__(
        self,
        stream: ChangeStream,
        awaken: Callable[[WebSocketConnection], None],
        readers: ReaderPool,
        message_size: int,
        counters: Counter[str],
        copied: Callable[[str | None], bool],
    ) -> None:
        super().__init__(stream, awaken, readers, message_size, counters)
        self._copied = copied

    def received(self, session: WebSocketConnection, message: bytes) -> list[bytes] | Steps:
        """Subscribe."""
        try:
            config = decode(DiscoveryConfig, message, ignore_trailing=True)
        except MalformedBody:
            config = None
        if config is None or not config.service_id or config.service_id.isspace():
            self._counters["malformed_message"] += 1
        else:
            refusal = self._subscribe(session, config.service_id, config.region_id)
            if refusal is not None:
                self._counters["refused_subscription"] += 1
                session.complain(f"a subscription is dropped, and the client cannot be told: {refusal}")
        return []

    def _subscribe(self, session: WebSocketConnection, service: str, region: str | None) -> str | None:
        """Subscribe to a service; returns why not, None if all is well."""
        if self._copied(region):
            return f"changes of the region {(region or '').strip():.200}, of which there is a copy, are not told here"
        return self._stream.subscribe(self._subscriber(session), service)


class AllChangesConduct(PushConduct):
    """Tells of every change; what the peer says is ignored (spec 3.4)."""

    def opened(self, session: WebSocketConnection) -> None:
        """Subscribe to everything."""
        super().opened(session)
        refusal = self._stream.subscribe_all(self._subscriber(session))
        if refusal is not None:
            self._counters["refused_subscription"] += 1
            session.close(TRY_LATER, refusal, "full")


class NativeConduct(PushConduct):
    """The seed's `/ws`: subscribes and answers by the type of a message (artemis-rust 2)."""

    dialect = Dialect.NATIVE

    def __init__(
        self,
        messages: NativeMessages,
        stream: ChangeStream,
        awaken: Callable[[WebSocketConnection], None],
        readers: ReaderPool,
        message_size: int,
        counters: Counter[str],
    ) -> None:
        super().__init__(stream, awaken, readers, message_size, counters)
        self._messages = messages

    def received(self, session: WebSocketConnection, message: bytes) -> list[bytes] | Steps:
        """Answer a message."""
        subscriber = self._subscriber(session)
        answer = self._messages.answer(subscriber, message)
        if answer is not None:
            return [answer]
        return self._confirm(session) if subscriber.pending else [self._messages.confirmed(subscriber)]

    def _confirm(self, session: WebSocketConnection) -> Steps:
        """Push what is to be told, then say whether that was all; a turn of the loop for everybody else between.

        What comes behind it on the session waits, and so does it while the peer does not take what it got.
        """
        for _ in range(_CONFIRM_TURNS):
            subscriber = self._subscriber(session)
            if not (session.room and subscriber.pending):
                break
            yield subscriber.take(session.room)
        yield [self._messages.confirmed(self._subscriber(session))]
