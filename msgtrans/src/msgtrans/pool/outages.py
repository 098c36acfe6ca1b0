"""Which servers of a pool are down, for the log: one warning when that begins, one line when it is over.

Not here: what is tried when (`flow.balancing`), and the state of connections.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from msgtrans.errors import TransportError

PROVEN: Final = 1.0  # seconds that a connection is open, after which its server does not close it at once
logger = logging.getLogger("msgtrans.pool")


class Outages:
    """Of the servers of one pool, by URI."""

    def __init__(self) -> None:
        self._down: dict[str, float] = {}  # when it closed a connection at once, lately; -infinity: it did not

    def __bool__(self) -> bool:
        return bool(self._down)

    def failed(self, uri: str, error: TransportError) -> None:
        """An attempt to connect came to nothing."""
        known = uri in self._down
        self._down[uri] = -math.inf
        level = logging.DEBUG if known else logging.WARNING
        logger.log(level, "a server cannot be reached, and is tried again and again: %s", _told(uri, error))

    def dropped(self, uri: str, error: TransportError, now: float) -> None:
        """The server has closed a connection at once."""
        if uri not in self._down:
            logger.warning(
                "a server has closed a new connection, and is tried again and again: %s; "
                "if it is full, its max_connections is less than max_size of all pools together",
                _told(uri, error),
            )
        self._down[uri] = now

    def made(self, uri: str) -> None:
        """A connection is open."""
        if self._down.get(uri) == -math.inf:
            self._over(uri)

    def seen(self, uri: str, since: float, now: float, *, used: bool) -> None:
        """A connection, open since then, is still open. used: the server has said something on it."""
        if uri in self._down and since > self._down[uri] and (used or now - since >= PROVEN):
            self._over(uri)

    def _over(self, uri: str) -> None:
        del self._down[uri]
        logger.info("the server at %s is back", uri)


def _told(uri: str, error: TransportError) -> str:
    told = str(error)
    return told if uri in told else f"{uri}: {told}"
