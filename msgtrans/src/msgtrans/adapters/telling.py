"""What the socket of a connection is told, and tells: options and addresses.

Not here: connections (`stream`), making and binding sockets (`sockets`).
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from msgtrans.config import Address

if TYPE_CHECKING:
    import asyncio
    from asyncio.trsock import TransportSocket


def keep_alive(connection: socket.socket | TransportSocket, seconds: int) -> None:
    """Let the system probe a peer that has been silent for `seconds`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)


def limit_unsent(connection: socket.socket | TransportSocket, size: int) -> None:
    """Have the system take no more than `size` bytes ahead of what it can send, where it knows how."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)


def transport_address(transport: asyncio.BaseTransport, which: str) -> Address | None:
    """An end of a connection, "peername" or "sockname"; None where the system does not know it (any more)."""
    try:
        return socket_address(transport.get_extra_info(which))
    except OSError:  # uvloop asks the system, and lets through what that says
        return None


def socket_address(name: object) -> Address | None:
    """A socket's own word for an end, as an address; None for what is none, as the path of a Unix socket."""
    match name:
        case (str(host), int(port), *_):
            return Address(sys.intern(host), port)  # connections from one host are many
        case _:
            return None
