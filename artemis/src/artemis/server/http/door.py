"""What the HTTP connections of one node share: limits, counters, ready-made answer heads, and the clock that ends slow
ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from artemis.server.http.answer import Answer, Position, head_bytes, position_fields
from artemis.server.http.cold import ColdServer
from artemis.server.http.connection import HttpConnection
from artemis.server.http.limits import HttpLimits
from artemis.server.http.packing import PackedAnswers
from artemis.server.http.routes import Routes

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

    from artemis.server.http.calls import Calls
    from artemis.server.http.cold import ColdRequests


class HttpDoor:
    """Makes the protocol of each HTTP connection. Owned by the node's server, which calls `tick` once a second.

    `calls` answers hot operations, `application` is the ASGI application for everything else, `counters` is shared
    with `calls`.
    """

    def __init__(
        self,
        calls: Calls,
        routes: Routes,
        application: ASGI3Application,
        limits: HttpLimits,
        counters: Counter[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.calls = calls
        self.routes = routes
        self.limits = limits
        self.counters = counters
        self.loop = loop
        self.packed = PackedAnswers()
        self.polls = calls.polls(routes, loop)
        #: Makes the protocol that connections go on with that ask for WebSocket after other requests; None: nobody may.
        self.websocket: Callable[[], asyncio.Protocol] | None = None
        self._cold = ColdServer(application)
        self._connections: set[HttpConnection] = set()
        self._all_closed: asyncio.Future[None] | None = None
        self.date = b""
        self.ok_head = b""
        self._data_head = (b"", Position("", 0, 0), b"")
        self.idle_until = 0.0
        self.tick(0.0)

    def __call__(self) -> HttpConnection:
        """A protocol for a new connection."""
        return HttpConnection(self)

    def cold_requests(self, connection: HttpConnection) -> ColdRequests:
        """The ASGI side of a connection."""
        return self._cold.accept(connection)

    def opened(self, connection: HttpConnection) -> None:
        """A connection begins."""
        self._connections.add(connection)

    def closed(self, connection: HttpConnection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if not self._connections and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)

    @property
    def open_connections(self) -> int:
        """How many HTTP connections there are now."""
        return len(self._connections)

    def tick(self, wall_seconds: float) -> None:
        """Once a second: renew the Date field and end the connections whose deadline has passed."""
        self.date = formatdate(wall_seconds, usegmt=True).encode()
        self._cold.set_date(self.date)
        whole = head_bytes(Answer(200), self.date, keep_alive=True)
        self.ok_head = whole.removesuffix(b"0\r\n\r\n")
        now = self.loop.time()
        self.idle_until = now + self.limits.idle_deadline
        for connection in [c for c in self._connections if c.deadline < now]:
            connection.overdue()

    def data_head(self) -> bytes:
        """As `ok_head`, for an answer that shows the data of this moment; made anew when that changes."""
        plain, known, head = self._data_head
        position = self.calls.position()
        if position is not known or plain is not self.ok_head:
            plain = self.ok_head
            fields = b"".join([b"%b: %b\r\n" % field for field in position_fields(position)])
            head = b"%b%bContent-Length: " % (plain.removesuffix(b"Content-Length: "), fields)
            self._data_head = plain, position, head
        return head

    def drain(self) -> None:
        """Shutdown: end idle connections, and the others after their answers; nobody waits any more."""
        for connection in list(self._connections):
            connection.drain()
        self.polls.drain()

    async def wait_closed(self) -> None:
        """Wait until there is no connection; called after `drain`."""
        if self._connections:
            self._all_closed = self.loop.create_future()
            await self._all_closed

    async def abort(self) -> None:
        """Shutdown, out of time: cut what is left."""
        for connection in list(self._connections):
            connection.transport.abort()
        await self.wait_closed()
