"""Bounds of WebSocket connections. Not here: who may connect, and for how long (`sessions`)."""

from __future__ import annotations

import msgspec


class WebSocketLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one WebSocket connection may take, and all of them. Sizes are bytes, times seconds.

    message_size: of one heartbeat message; subscription_size: of one message to the other endpoints.
    message_deadline: until a message that began is whole. kept: of all messages together that are not whole or not
    handled yet; the connection that would go beyond is closed with 1013. waiting: of messages of one connection that
    wait for their turn, before it is read from no more. write_buffer: what one connection may hold of what its peer
    has not taken; nothing is added to it then. write_deadline: without progress until such a peer is disconnected.
    ping_interval: of silence until a peer is pinged, pong_timeout: of silence after that until it counts as gone.
    close_timeout: for the peer to answer a Close frame that it could read. While it still has to read what came before,
    it must take something within close_stall, and everything within close_longest, except at a shutdown.
    drain: over which a shutdown spreads its Close frames.
    """

    message_size: int = 8 * 1024 * 1024
    subscription_size: int = 64 * 1024
    message_deadline: float = 60.0
    kept: int = 256 * 1024 * 1024
    waiting: int = 64 * 1024
    write_buffer: int = 64 * 1024
    write_deadline: float = 30.0
    ping_interval: float = 60.0
    pong_timeout: float = 20.0
    close_timeout: float = 2.0
    close_stall: float = 10.0
    close_longest: float = 60.0
    drain: float = 1.5
