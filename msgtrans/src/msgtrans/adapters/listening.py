"""Listening sockets that stay calm when the system cannot accept.

Without a free descriptor, asyncio asks again as often as `backlog` says, with a traceback in the log and a timer for
each, a second later the same. And what was wrong with one connection it reports as an error of the loop.
Not here: which addresses, and what is served there (`sockets`).
"""

from __future__ import annotations

import errno
import socket
from typing import Final

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What this machine or process has run out of: errors that pass."""


class ListeningSocket(socket.socket):
    """A socket for `loop.create_server(sock=...)`. uvloop accepts by itself, and knows what is told here."""

    __slots__ = ("_exhausted",)

    def accept(self) -> tuple[socket.socket, object]:
        """As of any socket; what fails, fails in a way that the loop can bear.

        Out of descriptors or memory: the error once, for which the loop pauses, then as if nobody was there.
        Other errors are about the connection, which is gone (accept(2)).
        """
        if getattr(self, "_exhausted", False):
            self._exhausted = False
            raise BlockingIOError(errno.EAGAIN, "nothing can be accepted now")
        try:
            return super().accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            raise
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the connection is gone already") from error
            self._exhausted = True
            raise


def bind(host: str, port: int, *, reuse_address: bool, reuse_port: bool) -> ListeningSocket:
    """A socket bound to a numeric address, to listen on. IPv6 sockets are for IPv6 only. Raises OSError."""
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise OSError(errno.EOPNOTSUPP, "this system shares no ports; turn reuse_port off")
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
    )[0]
    listening = ListeningSocket(family, kind, protocol)
    try:
        if reuse_address:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
