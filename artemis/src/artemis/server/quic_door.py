"""The door for MsgTrans over QUIC: the binary door's operations on UDP (docs/protocol.md).

The sockets are those that were claimed with the port; nothing is read from them before `start`.
Not here: the operations (`binary`), the certificate (`certificates`), and QUIC itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from artemis.server.certificates import HANDSHAKE, CertificateError
from msgtrans import ConfigurationError, QuicServerConfig, SessionConfig, TransportServer
from msgtrans.adapters.quic.transport import QuicTransport
from msgtrans.adapters.registry import TransportRegistry

if TYPE_CHECKING:
    import socket

    from artemis.server.certificates import Certificates
    from msgtrans.adapters.quic.transport import QuicListener
    from msgtrans.transport import Listener, ServerConfig, ServerHost


class QuicDoor:
    """Owned by `Doors`, on its event loop: `start`, then `drain`, `stop` and `abort`, each once.

    `server` is what handlers are registered with. `bound` are its sockets from `start` on; they belong to whoever has
    bound them until then. `max_connections` may be open, and as many handshakes under way.
    """

    def __init__(
        self, certificates: Certificates, bound: Sequence[socket.socket], session: SessionConfig, max_connections: int
    ) -> None:
        self._certificates = certificates
        self._transport = _Bound(bound)
        registry = TransportRegistry(plugins=False)
        registry.register(self._transport, override=True)
        host, port = bound[0].getsockname()[:2]
        self.port: int = port
        config = QuicServerConfig(
            bind_address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            tls=certificates.config,
            max_connections=max_connections,
            accept_timeout=HANDSHAKE,
        )
        self.server = TransportServer(
            listen=config, session=session, max_connections=max_connections, registry=registry
        )
        self._draining: asyncio.Task[None] | None = None

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return self.server.stats().connections_open

    def bound_connections(self, limit: int) -> None:
        """Let at most `limit` connections be open; those that are stay."""
        self.server.max_connections = limit
        if self._transport.listener is not None:
            self._transport.listener.bound_connections(limit)

    async def start(self) -> None:
        """Serve. Raises `CertificateError` when QUIC cannot be served with this certificate, or not at all."""
        try:
            await self.server.start()
        except ConfigurationError as error:
            raise CertificateError(f"cannot serve QUIC: {error}; or start with --no-quic") from error
        self._certificates.serve_quic(self.server.reload_certificates)

    def drain(self) -> None:
        """Take no new connections."""
        self._draining = asyncio.get_running_loop().create_task(self.server.stop_listening())

    async def stop(self) -> None:
        """Close all sessions as `TransportServer.stop` does, and the sockets."""
        if self._draining is not None:
            await self._draining
        await self.server.stop()

    async def abort(self) -> None:
        """Close the sockets, whatever `stop` has come to; once more is fine."""
        if self._transport.listener is not None:
            await self._transport.listener.wait_closed()


class _Bound(QuicTransport):
    """QUIC on sockets that are bound already."""

    def __init__(self, bound: Sequence[socket.socket]) -> None:
        super().__init__()
        self.listener: QuicListener | None = None
        self._bound = bound

    async def listen(self, config: ServerConfig, host: ServerHost) -> Listener:
        """Listen there, whatever address `config` has."""
        assert isinstance(config, QuicServerConfig)  # noqa: S101 - this transport is known to one server only
        self.listener = self.listen_on(self._bound, config, host)
        return self.listener
