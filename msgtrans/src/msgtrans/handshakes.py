"""TLS handshakes on the side that accepts: how many run at once, which failed, and that the peer is told why.

Event loops begin the handshake themselves, tell nobody when it fails, and close without sending the alert that OpenSSL
has written for the peer. `ssl.SSLContext` lets its user choose the class of the connections that it makes; that is
where this hooks in, on every loop alike, and only until the handshake is done.
Not here: certificates and options (`tls`).
"""

from __future__ import annotations

import logging
import ssl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.stats import EndpointStats

logger = logging.getLogger("msgtrans.tls")


class Handshakes:
    """The handshakes of one listener. Used from one event loop.

    limit: how many may run at once. timeout: seconds after which the listener has given one up. counters: for
    handshake_failures and connections_refused. clock: seconds that only grow.
    """

    def __init__(
        self, limit: int, timeout: float, counters: EndpointStats, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self.timeout = timeout
        self._counters = counters
        self._clock = clock
        self._running: dict[int, tuple[float, bool]] = {}  # by identity: the deadline, and whether its end is counted

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, key: int) -> bool:
        """A handshake begins; False, and counted, when there are as many as may be."""
        now = self._clock()
        while self._running:
            oldest = next(iter(self._running))
            if self._running[oldest][0] > now:
                break
            self.gone(oldest)  # its connection is closed; whoever refers to it still will let go some time
        if len(self._running) >= self.limit:
            self._counters.connections_refused += 1
            return False
        self._running[key] = (now + self.timeout, False)
        return True

    def done(self, key: int) -> None:
        """It worked."""
        self._running.pop(key, None)

    def failed(self, key: int) -> None:
        """It failed; its connection takes room until it is `gone`."""
        if key in self._running:
            deadline, counted = self._running[key]
            self._counters.handshake_failures += not counted
            self._running[key] = (deadline, True)

    def gone(self, key: int) -> None:
        """Its connection is gone; unless it was done, it has failed."""
        self.failed(key)
        self._running.pop(key, None)


class AcceptedConnection(ssl.SSLObject):
    """The TLS of one accepted connection. Made by `AcceptingContext`."""

    handshakes: Handshakes
    outgoing: ssl.MemoryBIO
    begun = False
    done = False
    refused: str | None = None  # why, once it has failed

    def do_handshake(self) -> None:
        """Go on with the handshake, as the event loop asks.

        What fails, fails in two steps: in the first the loop is told to wait for more, which makes it send the alert.
        The second comes with whatever the peer does then, or its deadline.
        """
        if self.refused is not None:
            raise ssl.SSLError(self.refused)
        if not self.begun:
            self.begun = True
            if not self.handshakes.begin(id(self)):
                self.done = True
                raise ssl.SSLError("too many handshakes at once")
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.handshakes.failed(id(self))
            logger.debug("a TLS handshake failed: %s", error)
            if not self.outgoing.pending:
                raise
            self.refused = str(error)
            raise ssl.SSLWantReadError from None
        self.done = True
        self.handshakes.done(id(self))

    def __del__(self) -> None:
        if self.begun and not self.done:
            self.handshakes.gone(id(self))


class AcceptingContext(ssl.SSLContext):
    """A context for listeners. Set `handshakes` before it is used."""

    handshakes: Handshakes
    sslobject_class = AcceptedConnection

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The TLS of a connection between two buffers."""
        connection = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(connection, AcceptedConnection):
            connection.handshakes = self.handshakes
            connection.outgoing = outgoing
        return connection
