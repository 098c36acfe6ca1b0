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

ADDRESS_VARIABLE: Final = "ARTEMIS_IP"
"""The environment variable with the address that callers are to use, where it is not the process's own."""


async def own_address(towards: str) -> str:
    """Return the address that callers can reach this process at, as far as can be known here.

    The environment variable ``ARTEMIS_IP`` decides if it is set: behind address translation, as with the published
    ports of a container, only its operator knows. Otherwise it is the local address of the route to ``towards``, the
    URL of a node: that of the right network among several, a pod's own in Kubernetes, and loopback only if the
    registry is on loopback. Raises ``OSError`` if there is no route or the URL's host is not known.
    """
    told = os.environ.get(ADDRESS_VARIABLE, "").strip()
    if told:
        return told
    parts = urlsplit(towards)
    host, port = parts.hostname or "", parts.port or 80
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    error = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)  # a datagram socket: the route is chosen, and nothing is sent
                return str(probe.getsockname()[0])
        except OSError as failure:
            error = failure
    raise error
