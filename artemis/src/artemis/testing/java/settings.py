"""Settings of the Java SDK with the defaults of spec 10.4; times are seconds.

Not here: ranges. A test may shorten what the SDK bounds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class JavaSettings:
    """How a Java client behaves. `generation` 1 or 2 chooses paths and headers (spec 3, 14)."""

    generation: int = 1
    connect_timeout: float = 0.1
    socket_timeout: float = 0.1
    connection_request_timeout: float = 0.02
    connections_per_route: int = 10
    connection_ttl: float = 300.0
    connection_idle: float = 30.0
    attempts: int = 5
    retry_interval: float = 0.1
    address_connect_timeout: float = 1.0
    address_socket_timeout: float = 20.0
    address_interval: float = 300.0
    address_context_ttl: float = 3600.0
    first_heartbeat: float = 5.0
    heartbeat_check: float = 1.0
    heartbeat_interval: float = 5.0
    instance_ttl: float = 20.0
    health_check: float = 1.0
    ping_timeout: float = 1.0
    handshake_timeout: float = 5.0
    session_ttl: float = 300.0
    reconnects: int = 5
    reconnect_window: float = 20.0
    text_buffer: int = 8 * 1024
    poll_interval: float = 60.0
    service_ttl: float = 900.0

    @property
    def api(self) -> str:
        """Where the HTTP operations are, without a slash at the end."""
        return "/api" if self.generation == 1 else "/artemis/api"

    @property
    def websockets(self) -> str:
        """Where the WebSocket endpoints are, without a slash at the end."""
        return "/ws" if self.generation == 1 else "/artemis/websocket"
