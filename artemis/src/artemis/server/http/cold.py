"""Requests that are not hot, on uvicorn's HTTP protocol and an ASGI application, fed message by message from our
connection.

uvicorn gives us a complete, well-kept ASGI server protocol; what it lacks - bounds on heads, deadlines - the
connection in front of it has.
Its protocol class is not documented as public, so the dependency is pinned and this module is the only one that
touches it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from artemis.server.http.connection import HttpConnection

# What uvicorn warns about (odd upgrades, broken requests) our own counters tell; its errors still reach the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class ColdServer:
    """What all connections share: uvicorn's configuration and state around one ASGI application."""

    def __init__(self, application: ASGI3Application) -> None:
        self._config = uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._state = ServerState()

    def set_date(self, date: bytes) -> None:
        """Give the value of the Date field for the answers of the next second."""
        self._state.default_headers = [(b"date", date)]

    def accept(self, connection: HttpConnection) -> ColdRequests:
        """The ASGI side of one connection, made at its first request that is not hot."""
        return ColdRequests(self._config, self._state, connection)


class ColdRequests(HttpToolsProtocol):
    """uvicorn's protocol behind our connection, which owns the transport and calls it with whole heads and measured
    bodies."""

    def __init__(self, config: uvicorn.Config, state: ServerState, owner: HttpConnection) -> None:
        super().__init__(config, state, app_state={}, _loop=owner.door.loop)
        self._owner = owner
        #: Requests given to the application whose answer has not been sent whole.
        self.unanswered = 0
        self.connection_made(owner.transport)

    def take_head(self, head: bytes) -> None:
        """One complete head; its body follows by `take_body`."""
        self.unanswered += 1
        self.data_received(head)

    def take_body(self, piece: bytes) -> None:
        """A piece of the body, in its transfer encoding."""
        if self.parser is not None:
            self.data_received(piece)

    def on_response_complete(self) -> None:
        """Called by the request's cycle; ours is the only keep-alive timer."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self.unanswered -= 1
        self._owner.cold_answered()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the applications that are still answering."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
