"""The connections on which this node was dialled: their handshakes, and the messages that come on them.

Not here: sending, which goes by connections of our own (`dialler`), and what a message means.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from artemis.cluster.addresses import host_on_loopback
from artemis.cluster.mesh import wire
from artemis.cluster.mesh.handshake import Accepting, RefusedError, Terms, TwinError
from artemis.cluster.mesh.intake import Intake
from artemis.cluster.mesh.wire import (
    ENDING,
    MESSAGE,
    NONCE,
    BadGreeting,
    Code,
    Pulse,
    Refusal,
    decode_greeting,
    encode_greeting,
)
from artemis.cluster.messages import BadMessage, decode_message
from artemis.model.nodes import UP
from msgtrans import RemoteProtocolError, TransportError

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Collection, Sequence

    from artemis.cluster.mesh.handshake import Party, Peer
    from artemis.cluster.messages import Message, Versions
    from artemis.cluster.standing import Standing
    from msgtrans import Context, Session

MAX_GREETING_SESSIONS = 1_000
"""Handshakes that may be under way at once; with more, the oldest is forgotten."""


_NO_HANDSHAKE = "messages come after a handshake"


class Accepted(msgspec.Struct, eq=False, gc=False):
    """A connection of a peer. `heard` is when anything came last, in monotonic milliseconds."""

    session: Session
    peer: Peer
    heard: int
    received: int = 0
    received_bytes: int = 0
    ended: bool = False


class Host(Protocol):
    """What the accepting side asks of the mesh that it belongs to."""

    @property
    def me(self) -> Party:
        """Who this node is."""
        ...

    @property
    def secret(self) -> bytes:
        """The cluster secret, empty without."""
        ...

    @property
    def versions(self) -> Versions:
        """The versions of the messages that this node speaks."""
        ...

    @property
    def max_skew(self) -> int:
        """Milliseconds that wall clocks may be apart."""
        ...

    def now(self) -> int:
        """Return monotonic milliseconds."""
        ...

    def wall(self) -> int:
        """Return the wall clock's milliseconds."""
        ...

    def standing(self) -> Standing:
        """Return what this node says of itself."""
        ...

    @property
    def links(self) -> Collection[str]:
        """Return the ids of the nodes that we can send to."""
        ...

    def admit(self, peer: Peer) -> None:
        """A node has proved who it is; connections of older lives of it are to be ended. Raises RefusedError."""
        ...

    def accepted(self, connection: Accepted) -> None:
        """A node will send on this connection."""
        ...

    def lost(self, connection: Accepted) -> None:
        """A connection that was told of by `accepted` is gone."""
        ...

    def told(self, connection: Accepted, pulse: Pulse) -> None:
        """A node said something of itself."""
        ...

    def turned_away(self, where: str, refusal: Refusal, peer: Peer | None) -> None:
        """A node that dialled us was refused; `peer` is who it is, where it has proved that."""
        ...

    def twin(self, error: TwinError) -> None:
        """A node has proved that it has our id."""
        ...

    def received(self, connection: Accepted, message: Message) -> None:
        """A message came. Must not raise."""
        ...

    def turn(self) -> None:
        """Messages were handled: what that leads to may be sent."""
        ...


class Reception:
    """Owned by the mesh. `answer`, `take` and `ended` are for the `TransportServer` of the node's own port.

    Where links are made `elsewhere`, at the URLs of the processes of a machine, nodes are told so, and nothing else.
    `connections` are the accepted ones, the latest of each node, by node id. `counters` counts `strangers` (messages
    without a handshake), `refused` handshakes, `bad_messages`.
    """

    def __init__(self, host: Host, elsewhere: Sequence[str] = ()) -> None:
        self._host = host
        self._elsewhere = elsewhere
        self._greeting: dict[Session, Accepting] = {}
        self._accepted: dict[Session, Accepted] = {}
        self._intake: Intake[Accepted] = Intake(self._handle, host.turn, time.perf_counter)
        self.connections: dict[str, Accepted] = {}
        self.counters: Counter[str] = Counter({"strangers": 0, "refused": 0, "bad_messages": 0})

    @property
    def open(self) -> int:
        """Return how many sessions are those of other nodes, handshakes under way included."""
        return len(self._accepted) + len(self._greeting)

    @property
    def late(self) -> int:
        """Return how many messages had to wait for a later turn of the loop."""
        return self._intake.late

    @property
    def waiting(self) -> int:
        """Return how many messages wait to be handled."""
        return len(self._intake)

    def answer(self, context: Context) -> bytes:
        """Answer a request of the mesh."""
        session = context.session
        try:
            match context.biz_type:
                case wire.HELLO:
                    return self._greet(session, context.payload)
                case wire.PROVE:
                    return self._prove(session, context.payload)
                case wire.PING:
                    return self._ping(session, context.payload)
                case _:
                    return self._answer_unknown(context.biz_type)
        except RefusedError as error:
            self._greeting.pop(session, None)
            self.counters["refused"] += 1
            self._host.turned_away(_where(session), error.refusal, error.peer)
            return encode_greeting(error.refusal)

    def take(self, context: Context) -> Future[None] | None:
        """Take a message; what it returns is to be waited for before too much more is read."""
        session = context.session
        connection = self._accepted.get(session)
        if connection is None or context.biz_type != MESSAGE or connection.ended:
            if connection is None:
                self.counters["strangers"] += 1
                if _tell(session, Refusal(Code.ORDER, _NO_HANDSHAKE)):
                    session.dismiss(RemoteProtocolError(_NO_HANDSHAKE))
            elif not connection.ended:
                self._bad(connection, f"a packet of type {context.biz_type} is not for here")
            return None
        return self._intake.take(connection, context.payload)

    def linked(self, session: Session) -> bool:
        """Whether a session is a link, and its handshake over."""
        return session in self._accepted

    def ended(self, session: Session) -> None:
        """A session is gone; those of others are of no interest."""
        self._greeting.pop(session, None)
        connection = self._accepted.pop(session, None)
        if connection is None:
            return
        connection.ended = True
        self._intake.forget(connection)
        if self.connections.get(connection.peer.party.node) is connection:
            del self.connections[connection.peer.party.node]
        self._host.lost(connection)

    def end(self, connection: Accepted, refusal: Refusal) -> None:
        """Close a connection and tell the peer why; a peer that does not read is dropped."""
        if connection.ended:
            return
        connection.ended = True
        session = connection.session
        if _tell(session, refusal):
            session.endpoint.spawn(session.close(timeout=1.0))

    def resumed(self, now: int) -> None:
        """Count the silence of all connections from now on: this node itself stood still."""
        for connection in self._accepted.values():
            connection.heard = now

    def drop_silent(self, before: int) -> None:
        """Drop the connections on which nothing came since `before`, in monotonic milliseconds."""
        for connection in [each for each in self._accepted.values() if each.heard < before]:
            connection.session.abort()

    def close(self) -> None:
        """Handle nothing more."""
        self._intake.close()

    # -- requests

    def _answer_unknown(self, biz_type: int) -> bytes:
        raise RefusedError(Code.ORDER, f"the mesh has no request of type {biz_type}")

    def _greet(self, session: Session, payload: bytes) -> bytes:
        host = self._host
        if session.http_request is not None:
            # Pages that a browser shows can open WebSocket connections to nodes on loopback.
            raise RefusedError(Code.WEBSOCKET, "nodes meet over TCP, not over WebSocket")
        if session.protocol == "quic":
            raise RefusedError(Code.WEBSOCKET, "nodes meet over TCP, not over QUIC")
        if session in self._accepted or session in self._greeting:
            raise RefusedError(Code.ORDER, "this connection has begun a handshake already")
        ends = (session.peer_address, session.local_address)
        terms = Terms(
            me=host.me,
            secret=host.secret,
            max_skew=host.max_skew,
            loopback=all(end is not None and host_on_loopback(str(end[0])) for end in ends),
            up=host.standing().status == UP,
            links=len(host.links),
            versions=host.versions,
            front=bool(self._elsewhere),
        )
        accepting = Accepting(terms, secrets.token_bytes(NONCE))
        answer = accepting.greeted(payload, host.now(), host.wall())
        if len(self._greeting) >= MAX_GREETING_SESSIONS:
            del self._greeting[next(iter(self._greeting))]
        self._greeting[session] = accepting
        return answer

    def _prove(self, session: Session, payload: bytes) -> bytes:
        host = self._host
        accepting = self._greeting.pop(session, None)
        if accepting is None:
            raise RefusedError(Code.ORDER, "a proof comes after a greeting")
        try:
            peer = accepting.proved(payload, host.now())
        except TwinError as error:
            self.counters["refused"] += 1
            host.turned_away(_where(session), error.refusal, error.peer)
            host.twin(error)
            return accepting.proof(host.wall())
        if self._elsewhere:
            return accepting.elsewhere(self._elsewhere)
        try:
            host.admit(peer)
        except RefusedError as error:
            self.counters["refused"] += 1
            host.turned_away(_where(session), error.refusal, error.peer)
            return accepting.refusal(error.refusal)
        connection = Accepted(session, peer, host.now())
        self._accepted[session] = self.connections[peer.party.node] = connection
        host.accepted(connection)
        return accepting.proof(host.wall())

    def _ping(self, session: Session, payload: bytes) -> bytes:
        host = self._host
        connection = self._accepted.get(session)
        if connection is None:
            raise RefusedError(Code.ORDER, "a ping comes after a handshake")
        try:
            pulse = decode_greeting(payload)
        except BadGreeting as error:
            raise RefusedError(Code.MALFORMED, str(error)) from error
        if not isinstance(pulse, Pulse):
            raise RefusedError(Code.MALFORMED, "a ping is a pulse")
        connection.heard = host.now()
        host.told(connection, pulse)
        return encode_greeting(Pulse(wall=host.wall(), standing=host.standing(), links=len(host.links)))

    # -- messages

    def _handle(self, connection: Accepted, payload: bytes) -> None:
        if connection.ended:
            return
        connection.heard = self._host.now()
        connection.received += 1
        connection.received_bytes += len(payload)
        try:
            message = decode_message(payload)
        except BadMessage as error:
            self._bad(connection, str(error))
            return
        if getattr(message, "node", connection.peer.party.node) != connection.peer.party.node:
            self._bad(connection, "a node speaks for itself alone")
            return
        self._host.received(connection, message)

    def _bad(self, connection: Accepted, text: str) -> None:
        self.counters["bad_messages"] += 1
        refusal = Refusal(Code.MALFORMED, text)
        self._host.turned_away(_where(connection.session), refusal, connection.peer)
        self.end(connection, refusal)


def _tell(session: Session, refusal: Refusal) -> bool:
    """Tell a peer why its session ends; False when that is over, as its peer reads nothing."""
    try:
        session.send_nowait(encode_greeting(refusal), biz_type=ENDING)
    except TransportError:
        session.abort()
        return False
    return True


def _where(session: Session) -> str:
    return str(session.peer_address or "?")
