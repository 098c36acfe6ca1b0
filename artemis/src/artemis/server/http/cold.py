"""Requests that are not hot, on uvicorn's HTTP protocol and an ASGI application, fed one whole request at a time.

uvicorn gives us a complete, well-kept ASGI server protocol; what it lacks - bounds on heads and bodies, deadlines, a
bound on its pipeline - the connection in front of it has. Its protocol class is not documented as public, so the
dependency is pinned and this module is the only one that touches it.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from artemis.server.http.head import RequestHead

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from artemis.server.http.connection import HttpConnection

# What uvicorn warns about (odd upgrades, broken requests) our own counters tell; its errors still reach the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

#: Where the application finds, in the state of a scope, a function that says whether the peer has gone.
GONE = "artemis.gone"

#: The body comes whole, so these say nothing true any more. The head was parsed strictly: no line is folded.
_FRAMING_LINE = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect)[ \t]*:[^\r\n]*", re.IGNORECASE)


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
    """uvicorn's protocol behind our connection, which owns the transport and gives it one request at a time."""

    def __init__(self, config: uvicorn.Config, state: ServerState, owner: HttpConnection) -> None:
        super().__init__(config, state, app_state={GONE: lambda: owner.gone}, _loop=owner.door.loop)
        self._owner = owner
        self.connection_made(owner.transport)

    def take(self, head: RequestHead, body: bytes) -> None:
        """A whole request; the next one may come after its answer."""
        raw = _FRAMING_LINE.sub(b"", head.raw)
        self.data_received(b"%b\r\nContent-Length: %d\r\n\r\n%b" % (raw[:-4], len(body), body))

    def on_response_complete(self) -> None:
        """Called by the request's cycle; ours is the only keep-alive timer."""
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self._owner.cold_answered()

    def leave(self) -> None:
        """There will be no further request, as the connection goes on with another protocol."""
        self.connections.discard(self)
        self._unset_keepalive_if_required()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application that is still answering."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
