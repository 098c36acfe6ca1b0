"""What a client is doing at one moment, for people and status pages; what changes comes as events, see `events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artemis.client.connection import ConnectionState
    from artemis.client.links.link import LinkKind


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """The state of a client as of the moment when it was asked for.

    - ``state``: what is known about the registry;
    - ``node``: the URL of the node that the next call goes to;
    - ``link``: how changes are heard of, for the ``reason`` given, ``since`` that time (seconds of the epoch);
    - ``leases``, ``services``: how many instances are registered by it, and how many services are in use.
    """

    state: ConnectionState
    node: str
    link: LinkKind
    since: float
    leases: int
    services: int
    reason: str
