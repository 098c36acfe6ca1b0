"""What is known of one connection at one moment (specification 3.1, ConnectionInfo).

Not here: its counters of requests, handlers and queues (`stats`).
"""

from __future__ import annotations

from enum import Enum

import msgspec

from msgtrans.config import Address


class SessionState(Enum):
    """OPEN -> CLOSING -> CLOSED, or OPEN -> CLOSED when the connection breaks."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One connection. Times are Unix seconds, bytes are bytes on the wire, packets of all types.

    protocol: the transport's name. secure: whether it runs inside TLS. closed_at: None until it is closed.
    last_activity: when packets came, or were given to the system, last; as exact as the clock of the loop.
    identity: who the peer proved to be, None without authentication.
    """

    session_id: int
    protocol: str
    secure: bool
    local_address: Address | None
    peer_address: Address | None
    state: SessionState
    established_at: float
    closed_at: float | None
    last_activity: float
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    identity: object | None
