"""The QUIC transport: `quic://` (specification 2.3, 2.4).

qh3, which speaks QUIC, is only needed, and only imported, when a connection or listener is made.
Not here: connections (`connection`) and sockets (`endpoint`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgtrans.adapters import sockets
from msgtrans.adapters.quic.offering import Offers
from msgtrans.config import QuicClientConfig, QuicServerConfig
from msgtrans.errors import ConfigurationError, ConnectError, TransportError
from msgtrans.transport import TransportInfo

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from msgtrans.adapters.quic.certificates import ServerCertificates
    from msgtrans.adapters.quic.driving import QuicTerms
    from msgtrans.adapters.quic.endpoint import ServerSocket
    from msgtrans.config import Address
    from msgtrans.link import Link
    from msgtrans.transport import ClientConfig, Host, Listener, ServerConfig, ServerHost

SCHEMES: Final = ("quic",)
LINGER: Final = 1.0
"""Seconds to wait for handshakes of a listener that is closed."""
LOOK: Final = 0.01
NO_WORKERS: Final = (
    "cannot serve QUIC: the system spreads datagrams over processes by addresses, so connections would break when a "
    "worker is replaced or a client moves; serve QUIC from a server without workers, on the same port number"
)


class QuicTransport:
    """The transport of `QuicServerConfig` and `QuicClientConfig`."""

    info = TransportInfo(
        name="quic",
        schemes=SCHEMES,
        description="Packets on streams of a QUIC connection, always encrypted, over UDP.",
        features=("reliable", "ordered", "encrypted", "multiplexed", "migration"),
        default_port=8003,
    )

    def __init__(self) -> None:
        self._offers = Offers()

    def server_config(self, uri: str) -> QuicServerConfig:
        """A listener with defaults: its certificate signs itself."""
        return QuicServerConfig(bind_address=uri)

    def client_config(self, uri: str) -> QuicClientConfig:
        """A connection with defaults."""
        return QuicClientConfig(target_address=uri)

    async def listen(self, config: ServerConfig, host: ServerHost) -> Listener:
        """Listen on host and port."""
        if not isinstance(config, QuicServerConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a QuicServerConfig")
        if host.worker_link is not None:
            raise ConfigurationError("workers", NO_WORKERS)
        _need_qh3()
        from msgtrans.adapters.quic.binding import bind

        return self.listen_on(await bind(config.bind_address), config, host)

    def listen_on(self, bound: Sequence[socket.socket], config: QuicServerConfig, host: ServerHost) -> QuicListener:
        """Listen on sockets that are bound already, and are the listener's from now on, whatever comes of it.

        Raises ConfigurationError when the certificate cannot be used, or qh3 is not installed, ConnectError when the
        system does not let a socket be used.
        """
        try:
            _need_qh3()
            from msgtrans.adapters.quic.certificates import ServerCertificates
            from msgtrans.adapters.quic.driving import QuicTerms
            from msgtrans.adapters.quic.endpoint import ServerSocket

            loop = asyncio.get_running_loop()
            certificates = ServerCertificates(config, host.counters)
            terms = QuicTerms(
                host, config, max_connections=config.max_connections, accept_timeout=config.accept_timeout
            )
            listening = [ServerSocket(loop, one, terms, config, certificates) for one in bound]
        except BaseException as error:
            for one in bound:
                one.close()
            if isinstance(error, OSError) and not isinstance(error, TransportError):
                raise ConnectError(f"cannot listen on {config.bind_address}: {error}") from error
            raise
        certificates.watch()
        return QuicListener(listening, certificates, terms)

    async def connect(self, config: ClientConfig, host: Host) -> Link:
        """Connect to host and port."""
        if not isinstance(config, QuicClientConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a QuicClientConfig")
        _need_qh3()
        from msgtrans.adapters.quic.connecting import connect

        try:
            async with asyncio.timeout(config.connect_timeout):
                return await connect(config, host, self._offers)
        except TimeoutError as error:
            if isinstance(error, TransportError):
                raise
            raise sockets.connect_timed_out(config.uri, config.connect_timeout) from error


class QuicListener:
    """The sockets of one listener: several where a name has several addresses."""

    def __init__(self, listening: list[ServerSocket], certificates: ServerCertificates, terms: QuicTerms) -> None:
        self._sockets = listening
        self._certificates = certificates
        self._terms = terms
        self._addresses = [address for one in listening if (address := one.local_address) is not None]

    @property
    def addresses(self) -> list[Address]:
        """Where it listens; after binding port 0 the port it got, the same on all addresses of a name."""
        return list(self._addresses)

    @property
    def uris(self) -> list[str]:
        """The same as URIs."""
        return [f"quic://{address}" for address in self._addresses]

    def bound_connections(self, limit: int) -> None:
        """Let at most `limit` connections, and as many handshakes, be open from now on; those that are stay."""
        self._terms.max_connections = limit

    def reload_certificates(self) -> bool:
        """Read the certificates again, now; False when they could not be used and those before stay."""
        return self._certificates.reload()

    async def rest(self) -> None:
        """Accept no more, and wait, a second at most, for handshakes that are under way."""
        for one in self._sockets:
            one.rest()
        loop = asyncio.get_running_loop()
        until = loop.time() + LINGER
        while self._terms.unfinished and loop.time() < until:  # noqa: ASYNC110 - handshakes end in many ways
            await asyncio.sleep(LOOK)

    def close(self) -> None:
        """Accept no more, and drop handshakes; open connections go on, and the sockets close with the last."""
        for one in self._sockets:
            one.finish()
        self._certificates.close()

    async def wait_closed(self) -> None:
        """Close the sockets. Call it when the sessions are closed."""
        for one in self._sockets:
            one.end()
        await asyncio.sleep(0)  # what they lost hears of it


def _need_qh3() -> None:
    try:
        from msgtrans.adapters.quic.library import keep_quiet
    except ImportError as error:
        raise ConfigurationError("quic", "needs qh3; pip install 'msgtrans[quic]'") from error
    keep_quiet()
