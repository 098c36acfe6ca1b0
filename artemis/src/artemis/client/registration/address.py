"""Where this process can be reached: the address of its own that it uses towards the registry.

Not here: what is derived from it, see `artemis.client.registration.instances`. Nothing is sent, but a host name of a
registry is looked up.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final
from urllib.parse import urlsplit

from artemis.client.nodes.names import Names

ADDRESS_VARIABLE: Final = "ARTEMIS_IP"
"""The environment variable with the address that callers are to use, where it is not the process's own."""

PATIENCE: Final = 2.0
"""Seconds after which the host name of a registry is not waited for any more."""


async def own_address(towards: str, *, within: float = PATIENCE, names: Names | None = None) -> str:
    """Return the address that callers can reach this process at, as far as can be known here.

    The environment variable ``ARTEMIS_IP`` decides if it is set: behind address translation, as with the published
    ports of a container, only its operator knows. Otherwise it is the local address of the route to ``towards``, the
    URL of a node: that of the right network among several, a pod's own in Kubernetes, and loopback only if the
    registry is on loopback. Raises ``OSError`` if there is no route or the URL's host is not known ``within`` so many
    seconds. Who asks again and again gives the same ``names``: a name service that hangs holds one thread then.
    """
    told = os.environ.get(ADDRESS_VARIABLE, "").strip()
    if told:
        return told
    parts = urlsplit(towards)
    host, port = parts.hostname or "", parts.port or 80
    error = OSError(f"{host} has no address")
    for family, address in await _addresses(host, names or Names(), within):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, port))  # a datagram socket: the route is chosen, and nothing is sent
                return str(probe.getsockname()[0])
        except OSError as failure:
            error = failure
    raise error


async def _addresses(host: str, names: Names, within: float) -> list[tuple[int, str]]:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return [(family, host)]
    try:
        async with asyncio.timeout(within):
            return [(one["family"], one["host"]) for one in await names.resolve(host)]
    except TimeoutError:
        raise OSError(f"the name {host!r} is not found within {within:g} s") from None
