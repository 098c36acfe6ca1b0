"""The listeners of a server: which there are to be, opening and closing them, where they listen.

Not here: sessions, and when a server starts and stops (`server`); how one listener does it (`adapters`).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgtrans.endpoint import Endpoint
from msgtrans.errors import ConfigurationError, ConnectError, TransportError, TransportTimeoutError
from msgtrans.field_types import check_number, shown
from msgtrans.transport import CanRest, HasCertificates

if TYPE_CHECKING:
    from msgtrans.adapters.registry import TransportRegistry
    from msgtrans.config import Address, QuicServerConfig, TcpServerConfig, WebSocketServerConfig
    from msgtrans.link import Link
    from msgtrans.session import Session
    from msgtrans.transport import Listener, ServerConfig


class Listening(Endpoint):
    """Base of `TransportServer`, never used alone."""

    _registry: TransportRegistry
    _bind_timeout: float
    _configs: list[ServerConfig]
    _listeners: list[tuple[str, Listener]]  # and the transport's name

    def _set_listeners(
        self,
        registry: TransportRegistry,
        tcp: str | TcpServerConfig | None,
        ws: str | WebSocketServerConfig | None,
        quic: str | QuicServerConfig | None,
        listen: str | ServerConfig | Iterable[str | ServerConfig],
        bind_timeout: float,
    ) -> None:
        """Say which there are to be, as the server was told; none listens yet. Raises ConfigurationError."""
        check_number("bind_timeout", bind_timeout)
        if not bind_timeout > 0:
            raise ConfigurationError("bind_timeout", f"is {bind_timeout}; use a positive number")
        self._bind_timeout = bind_timeout
        self._registry = registry
        self._configs = []
        for field, name, target in (("tcp", "tcp", tcp), ("ws", "websocket", ws), ("quic", "quic", quic)):
            if target is not None:
                self._configs.append(registry.server_config(target, field, field=field))
                if self._configs[-1].transport != name:
                    raise ConfigurationError(
                        field, f"is {shown(field, target)}, which is for another transport; put it in `listen`"
                    )
        several = listen if isinstance(listen, Iterable) and not isinstance(listen, str) else (listen,)
        self._configs += [registry.server_config(target, field="listen") for target in several]
        self._listeners = []

    async def _listen(self) -> None:
        """Open all, one after the other. What was opened before one failed is left to whoever called."""
        try:
            async with asyncio.timeout(self._bind_timeout):
                for config in self._configs:
                    transport = self._registry.get(config.transport)
                    self._listeners.append((config.transport, await transport.listen(config, self)))
        except TimeoutError as error:
            if isinstance(error, TransportError):
                raise
            raise TransportTimeoutError("starting to listen", self._bind_timeout) from error

    async def stop_listening(self) -> None:
        """Accept no more; open sessions go on, and connections whose handshake is under way become sessions.

        Returns when these have, after a second at most. `stop` does the rest; nothing listens again before that.
        """
        await asyncio.gather(*(_rest(listener) for _, listener in self._listeners))

    def reload_certificates(self) -> bool:
        """Read the certificates of all TLS listeners again, now: for signal handlers, as

            loop.add_signal_handler(signal.SIGHUP, server.reload_certificates)

        New connections get what is read; open ones stay. Returns whether all could be used; what cannot is logged and
        counted, and what was loaded before stays in use.
        """
        reloaded = [
            listener.reload_certificates() for _, listener in self._listeners if isinstance(listener, HasCertificates)
        ]
        return all(reloaded)

    @property
    def tcp_address(self) -> Address:
        """Where it listens for TCP; after binding port 0 the port it got. Raises ConnectError when it does not."""
        return self._address_of("tcp")

    @property
    def ws_address(self) -> Address:
        """Where it listens for WebSocket, as `tcp_address`."""
        return self._address_of("websocket")

    @property
    def quic_address(self) -> Address:
        """Where it listens for QUIC, as `tcp_address`; a port of UDP."""
        return self._address_of("quic")

    @property
    def addresses(self) -> list[Address]:
        """All hosts and ports it listens on; a host name can have several."""
        return [address for _, listener in self._listeners for address in listener.addresses]

    @property
    def uris(self) -> list[str]:
        """Everything it listens on, as URIs."""
        return [uri for _, listener in self._listeners for uri in listener.uris]

    def _address_of(self, transport: str) -> Address:
        for name, listener in self._listeners:
            if name == transport and listener.addresses:
                return listener.addresses[0]
        raise ConnectError(f"the server does not listen on {transport}; configure it and start it first")

    @abstractmethod
    def admit(self, link: Link) -> Session | None:
        """For transports: the session of a new connection, None to turn it away."""


async def _rest(listener: Listener) -> None:
    if isinstance(listener, CanRest):
        await listener.rest()
    else:
        listener.close()
