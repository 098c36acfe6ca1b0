"""Whether a server accepts connections already, for helpers that register what somebody else serves.

Not here: whether what it answers is any good; that is what a health callback says.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Final

from artemis.client.registration.address import own_address

if TYPE_CHECKING:
    from artemis.model import Instance

LISTEN_PATIENCE: Final = 30.0
"""Seconds that are waited for a server to accept connections, before its instances are registered all the same."""
LISTEN_INTERVAL: Final = 0.05
"""Seconds between two looks."""

logger = logging.getLogger("artemis.client")


async def addresses_of(instance: Instance, node: str) -> list[tuple[str, int]]:
    """Return where to look: the address of the instance, or those that it may have; none if it has no port.

    ``node`` is the URL of a node, see `own_address`. Raises ``OSError`` if it is needed and cannot be reached.
    """
    if instance.port <= 0:
        return []
    hosts = [instance.ip] if instance.ip else ["127.0.0.1", await own_address(node)]
    return [(host, instance.port) for host in hosts]


def accepts(address: tuple[str, int]) -> bool:
    """Say whether a connection to the address is accepted within a second; blocks for that long."""
    try:
        with socket.create_connection(address, timeout=1.0):
            return True
    except OSError:
        return False


async def until_listening(instance: Instance, node: str) -> None:
    """Return when the server of the instance accepts connections, or after `LISTEN_PATIENCE`."""
    try:
        addresses = await addresses_of(instance, node)
    except OSError as error:
        logger.warning("registering at once: the address of port %d is not known (%s)", instance.port, error)
        return
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LISTEN_PATIENCE
    while addresses and not any([await asyncio.to_thread(accepts, address) for address in addresses]):
        if loop.time() > deadline:
            logger.warning("nothing accepts connections at %s; registering it all the same", addresses)
            return
        await asyncio.sleep(LISTEN_INTERVAL)
