"""UDP sockets to listen on: one for each address of a name, all with the same port.

Not here: what is done with them.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from msgtrans.adapters import sockets
from msgtrans.config import parse_address
from msgtrans.errors import ConnectError

ATTEMPTS: Final = 10  # to find a port that is free on all addresses of a name


async def bind(bind_address: str) -> list[socket.socket]:
    """Bind "host:port", or a `quic://` URI. Raises ConnectError."""
    host, port = parse_address(bind_address, field="bind_address", schemes=("quic",))
    try:
        hosts = await sockets.addresses_of(host)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _bind_each(hosts, port)
            except OSError as error:
                if port != 0 or error.errno != errno.EADDRINUSE or attempt == ATTEMPTS:
                    raise
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"cannot listen on {bind_address}: {sockets.bind_advice(error)}") from error
    raise AssertionError("unreachable")


def _bind_each(hosts: list[str], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                bound.append(_bind(host, port))
            except OSError as error:  # a name may stand for an address that this machine does not have
                if error.errno != errno.EADDRNOTAVAIL or (host == hosts[-1] and not bound):
                    raise
            else:
                port = bound[0].getsockname()[1]
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _bind(host: str, port: int) -> socket.socket:
    flags = socket.AI_PASSIVE | socket.AI_NUMERICHOST
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)[0]
    made = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made
