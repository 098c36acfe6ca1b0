"""Listening on and connecting to host and port, with the errors users get. Shared by the transports on TCP.

Not here: what is spoken on the connections.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, TypeVar

from msgtrans.adapters.stream import keep_alive
from msgtrans.config import Address, parse_address
from msgtrans.errors import ConnectError, TransportTimeoutError
from msgtrans.tls import ServerTls, client_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.config import TcpServerConfig, TlsClientConfig, WebSocketServerConfig

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)


class SocketListener:
    """A listening TCP socket, or several where a name has several addresses."""

    def __init__(self, server: asyncio.Server, tls: ServerTls | None, scheme: str) -> None:
        self._server = server
        self._tls = tls
        self._scheme = scheme
        self._addresses = [Address(*listening.getsockname()[:2]) for listening in server.sockets]

    @property
    def addresses(self) -> list[Address]:
        """Where it listens; after binding port 0 the port it got."""
        return list(self._addresses)

    @property
    def uris(self) -> list[str]:
        """The same as URIs."""
        return [f"{self._scheme}://{address}" for address in self._addresses]

    def close(self) -> None:
        """Accept no more."""
        self._server.close()
        if self._tls is not None:
            self._tls.close()

    async def wait_closed(self) -> None:
        """Wait until the sockets are closed."""
        await self._server.wait_closed()


async def listen(
    config: TcpServerConfig | WebSocketServerConfig,
    factory: Callable[[], asyncio.BaseProtocol],
    schemes: tuple[str, str],
) -> SocketListener:
    """Listen as `config` says; `factory` makes the protocol of each connection. schemes: without and with TLS.

    Raises ConnectError when the address cannot be bound, ConfigurationError when the certificate cannot be used.
    """
    loop = asyncio.get_running_loop()
    host, port = parse_address(config.bind_address, field="bind_address", schemes=schemes)
    tls = ServerTls(config.tls) if config.tls is not None else None
    try:
        server = await loop.create_server(
            factory,
            host,
            port,
            backlog=config.backlog,
            reuse_address=config.reuse_addr,
            reuse_port=config.reuse_port or None,
            ssl=tls.context if tls is not None else None,
            ssl_handshake_timeout=config.accept_timeout if tls is not None else None,
        )
    except (OSError, UnicodeError) as error:  # the latter for names that cannot be one
        raise ConnectError(f"cannot listen on {config.bind_address}: {_bind_advice(error)}") from error
    if config.keepalive is not None:
        for listening in server.sockets:
            keep_alive(listening, config.keepalive)  # accepted sockets inherit it
    if tls is not None:
        tls.watch(loop)
    return SocketListener(server, tls, schemes[tls is not None])


async def connect(
    uri: str,
    address: Address,
    factory: Callable[[], ProtocolT],
    *,
    tls: TlsClientConfig | None,
    local_bind_address: str | None,
) -> ProtocolT:
    """Connect once to `address`, inside TLS where `tls` is given. uri: for messages.

    Raises ConnectError. Time is the caller's matter: what it raises in between passes through.
    """
    loop = asyncio.get_running_loop()
    host, port = address
    local = parse_address(local_bind_address) if local_bind_address else None
    context = client_context(tls) if tls is not None else None
    try:
        _, protocol = await loop.create_connection(
            factory,
            host,
            port,
            local_addr=local,
            ssl=context,
            server_hostname=(tls.server_name or host) if tls is not None else None,
        )
    except socket.gaierror as error:
        raise ConnectError(f"the name {host!r} does not resolve: {error.strerror}") from error
    except UnicodeError as error:
        raise ConnectError(f"the name {host!r} does not resolve: it cannot be one", retriable=False) from error
    except ssl.SSLError as error:
        raise _tls_failed(uri, error) from error
    except OSError as error:
        reason = "nothing listens there" if isinstance(error, ConnectionRefusedError) else str(error)
        if context is not None and isinstance(error, ConnectionResetError):
            reason = "the connection broke during the TLS handshake; does that port speak TLS?"
        raise ConnectError(
            f"cannot connect to {uri}: {reason}; check that the server runs and the address is right"
        ) from error
    return protocol


def connect_timed_out(uri: str, seconds: float | None) -> TransportTimeoutError:
    """The error of an attempt that took too long."""
    return TransportTimeoutError(f"connecting to {uri}", seconds or 0)


def _tls_failed(uri: str, error: ssl.SSLError) -> ConnectError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(
            f"the certificate of {uri} is not trusted: {error.verify_message or error}; "
            "name its authority in TlsClientConfig.ca_file, or the right server_name",
            retriable=False,
        )
    return ConnectError(f"the TLS handshake with {uri} failed: {error.reason or error}; does that port speak TLS?")


def _bind_advice(error: OSError | UnicodeError) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return "the port is in use; choose another, or port 0 for any"
        case errno.EACCES:
            return "no permission; ports below 1024 need privileges"
        case errno.EADDRNOTAVAIL:
            return "no interface of this machine has that address"
        case _:
            return str(error)
