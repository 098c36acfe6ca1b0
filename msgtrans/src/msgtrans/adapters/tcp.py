"""TCP, plain and inside TLS (specification 2.1): `tcp://` and `tls://`.

Not here: the connection itself (`adapters.stream`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgtrans.adapters import sockets
from msgtrans.adapters.stream import StreamConnection
from msgtrans.config import TcpClientConfig, TcpServerConfig, parse_address
from msgtrans.errors import ConfigurationError
from msgtrans.transport import Terms, TransportInfo

if TYPE_CHECKING:
    from msgtrans.config.codec import CodecOptions
    from msgtrans.link import Link
    from msgtrans.transport import ClientConfig, Host, Listener, ServerConfig, ServerHost

SCHEMES: Final = ("tcp", "tls")


class TcpTransport:
    """The transport of `TcpServerConfig` and `TcpClientConfig`."""

    info = TransportInfo(
        name="tcp",
        schemes=SCHEMES,
        description="Packets back to back on a TCP connection, plain or inside TLS.",
        features=("reliable", "ordered", "connection-oriented"),
        default_port=8001,
    )

    def server_config(self, uri: str) -> TcpServerConfig:
        """A listener with defaults. `tls://` needs a certificate, so it raises ConfigurationError."""
        return TcpServerConfig(bind_address=uri)

    def client_config(self, uri: str) -> TcpClientConfig:
        """A connection with defaults."""
        return TcpClientConfig(target_address=uri)

    async def listen(self, config: ServerConfig, host: ServerHost) -> Listener:
        """Listen on host and port."""
        if not isinstance(config, TcpServerConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a TcpServerConfig")
        session = config.session_config(host.config)
        terms = Terms(host, session, _name(config.tls), max_connections=config.max_connections)
        terms.taken = _taken(session.codec, host.config.codec)

        unsent = sockets.not_inherited(config.notsent_lowat)

        def connection() -> StreamConnection:
            return StreamConnection(
                terms, read_size=config.read_buffer_size, nodelay=config.nodelay, notsent_lowat=unsent
            )

        return await sockets.listen(config, connection, SCHEMES, host.counters, host.worker_link)

    async def connect(self, config: ClientConfig, host: Host) -> Link:
        """Connect to host and port."""
        if not isinstance(config, TcpClientConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a TcpClientConfig")
        tls = config.tls_config
        session = config.session_config(host.config)
        terms = Terms(host, session, _name(tls))
        terms.taken = _taken(session.codec, host.config.codec)

        def connection() -> StreamConnection:
            return StreamConnection(
                terms,
                read_size=config.read_buffer_size,
                nodelay=config.nodelay,
                keepalive=config.keepalive,
                notsent_lowat=config.notsent_lowat,
            )

        try:
            async with asyncio.timeout(config.connect_timeout):
                return await sockets.connect(
                    config.uri,
                    parse_address(config.target_address),
                    connection,
                    tls=tls,
                    local_bind_address=config.local_bind_address,
                    handshake_timeout=config.connect_timeout,
                )
        except TimeoutError as error:
            raise sockets.connect_timed_out(config.uri, config.connect_timeout) from error


def _taken(codec: CodecOptions, usual: CodecOptions) -> CodecOptions:
    """What is taken of peers that can read less than they send: packets as large as ever."""
    return codec.replace(max_payload_size=usual.max_payload_size, max_packet_size=usual.max_packet_size)


def _name(tls: object) -> str:
    return SCHEMES[tls is not None]
