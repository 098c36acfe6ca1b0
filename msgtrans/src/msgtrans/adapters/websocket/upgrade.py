"""A TCP connection until it is a WebSocket connection: the upgrade, on both sides.

Not here: what is a good request or response (`handshake`), and the connection after that (`connection`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from msgtrans.adapters.telling import transport_address
from msgtrans.adapters.websocket import handshake
from msgtrans.adapters.websocket.connection import FULL, WebSocketConnection
from msgtrans.adapters.websocket.deadlines import Deadlines
from msgtrans.errors import ConnectError
from msgtrans.tls import refusal

if TYPE_CHECKING:
    from msgtrans.adapters.websocket.terms import WebSocketTerms
    from msgtrans.config import WebSocketClientConfig, WebSocketServerConfig

logger = logging.getLogger("msgtrans.websocket")


class Acceptor:
    """Makes the protocol of each accepted connection: a factory for `loop.create_server` or `UnifiedPort`."""

    def __init__(self, terms: WebSocketTerms, config: WebSocketServerConfig) -> None:
        self.terms = terms
        self.config = config
        self.deadlines = Deadlines(terms.loop)

    def __call__(self) -> ServerUpgrade:
        """The protocol of a connection that was just accepted: its time runs from now."""
        return ServerUpgrade(self, self.terms.loop.time() + self.config.accept_timeout)


class ServerUpgrade(asyncio.Protocol):
    """Waits for the request, then hands the connection over. Made by `Acceptor`.

    deadline: in the loop's time; TLS has its handshake before that too.
    """

    __slots__ = ("_acceptor", "_counted", "_deadline", "_seen", "_transport")

    def __init__(self, acceptor: Acceptor, deadline: float) -> None:
        self._acceptor = acceptor
        self._deadline = deadline
        self._seen = bytearray()
        self._counted = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, or turn it away."""
        self._transport = cast("asyncio.Transport", transport)
        self._counted = self._acceptor.terms.take()
        if self._counted:
            self._acceptor.deadlines.add(self, self._deadline)
        else:
            self._refuse(FULL)

    def data_received(self, data: bytes) -> None:
        """Look for the end of the request."""
        if self._transport.is_closing():
            return
        seen, before = self._seen, len(self._seen)
        seen += data
        end = seen.find(handshake.HEAD_END, max(0, before - 3))
        if not handshake.can_be_request(bytes(seen[:32])):
            self._fail(handshake.refuse(400, "This is not HTTP; WebSocket begins with an HTTP request."))
        elif end > handshake.HEAD_LIMIT or (end < 0 and len(seen) > handshake.HEAD_LIMIT):
            self._fail(handshake.refuse(431, f"The request's head is over {handshake.HEAD_LIMIT} bytes."))
        elif end >= 0:
            self._decide(bytes(seen[:end]), bytes(seen[end + 4 :]))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The peer left before it was done; without a word that is no error, as of those who only try the port."""
        if self._acceptor.deadlines.met(self) and self._seen:
            self._acceptor.terms.host.counters.upgrade_errors += 1
        self._give_back()

    def expire(self) -> None:
        """The time is over."""
        self._acceptor.terms.host.counters.upgrade_timeouts += 1
        self._refuse(handshake.refuse(408, "The request for WebSocket did not come in time."))

    def drop(self) -> None:
        """Nobody listens any more."""
        self._transport.abort()

    def _decide(self, head: bytes, early: bytes) -> None:
        acceptor = self._acceptor
        verdict = handshake.judge(head, acceptor.config)
        if isinstance(verdict, handshake.Refused):
            self._fail(verdict)
            return
        acceptor.deadlines.met(self)
        connection = WebSocketConnection(acceptor.terms, head, verdict.subprotocol)
        self._counted = False  # from here on by the connection
        self._transport.set_protocol(connection)
        refused = connection.open(self._transport, verdict.response, early)
        if refused is not None:
            self._refuse(refused)

    def _fail(self, refused: handshake.Refused) -> None:
        self._acceptor.deadlines.met(self)
        self._acceptor.terms.host.counters.upgrade_errors += 1
        peer = transport_address(self._transport, "peername")
        logger.debug("an upgrade from %s is refused: %s", peer, refused.why)
        self._refuse(refused)

    def _refuse(self, refused: handshake.Refused) -> None:
        self._transport.write(refused.response)
        self._transport.close()

    def _give_back(self) -> None:
        if self._counted:
            self._counted = False
            self._acceptor.terms.give_back()


class ClientUpgrade(asyncio.Protocol):
    """Asks for the upgrade, and waits for the answer. key: 16 random bytes."""

    def __init__(self, terms: WebSocketTerms, config: WebSocketClientConfig, key: bytes) -> None:
        self._terms = terms
        self._config = config
        self._key = key
        self._seen = bytearray()
        self._done: asyncio.Future[WebSocketConnection] = terms.loop.create_future()
        self._transport: asyncio.Transport

    async def wait(self) -> WebSocketConnection:
        """The connection, once it is one. Raises ConnectError. Cancelled, it drops the connection."""
        try:
            return await self._done
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        config = self._config
        self._transport.write(handshake.request(config.url, self._key, config.subprotocols, config.headers))

    def data_received(self, data: bytes) -> None:
        """Look for the end of the answer."""
        if self._done.done():
            return
        self._seen += data
        try:
            self._look()
        except ConnectError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed before, or instead of, saying what it thinks."""
        if self._done.done():
            return
        uri, (head, found, body) = self._config.uri, self._seen.partition(handshake.HEAD_END)
        try:
            if found:
                error = handshake.refused(uri, bytes(head), bytes(body))
            else:
                why = "; does it speak WebSocket, with TLS or without as asked?"
                if exc is not None:
                    why = f": {refusal(exc) or exc}"
                error = ConnectError(f"{uri} closed the connection during the upgrade{why}")
        except ConnectError as other:
            error = other
        self._fail(error)

    def _look(self) -> None:
        uri, seen = self._config.uri, bytes(self._seen)
        if not seen.startswith(b"HTTP/"[: len(seen)]):
            raise ConnectError(f"{uri} does not speak HTTP; does a WebSocket server listen there?", retriable=False)
        head, found, rest = seen.partition(handshake.HEAD_END)
        if len(head) > handshake.HEAD_LIMIT:
            raise ConnectError(f"{uri} answers with a head over {handshake.HEAD_LIMIT} bytes", retriable=False)
        if not found:
            return
        if handshake.status_of(uri, head) != 101:
            if not handshake.wants_body(uri, head, rest):
                raise handshake.refused(uri, head, rest)
            return
        handshake.check_response(uri, head, self._key, self._config.subprotocols)
        connection = WebSocketConnection(self._terms)
        self._transport.set_protocol(connection)
        connection.open(self._transport, b"", rest)
        self._done.set_result(connection)

    def _fail(self, error: ConnectError) -> None:
        self._transport.abort()
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # seen, also when nobody waits any more
