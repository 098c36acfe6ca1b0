"""The WebSocket transport: `ws://` and `wss://` (specification 2.2).

picows, which reads and writes the frames, is only needed, and only imported, when a connection or listener is made.
Not here: the connection itself (`upgrade`, `connection`).
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from msgtrans.adapters import sockets
from msgtrans.config import WebSocketClientConfig, WebSocketServerConfig
from msgtrans.errors import ConfigurationError
from msgtrans.transport import TransportInfo

if TYPE_CHECKING:
    from types import ModuleType

    from msgtrans.adapters.sockets import SocketListener
    from msgtrans.adapters.websocket.upgrade import Acceptor
    from msgtrans.config import Address
    from msgtrans.link import Link
    from msgtrans.transport import ClientConfig, Host, Listener, ServerConfig, ServerHost

SCHEMES: Final = ("ws", "wss")
KEY_SIZE: Final = 16


class WebSocketTransport:
    """The transport of `WebSocketServerConfig` and `WebSocketClientConfig`."""

    info = TransportInfo(
        name="websocket",
        schemes=SCHEMES,
        description="A packet in each message of a WebSocket connection, plain or inside TLS.",
        features=("full-duplex", "http-upgrade", "frame-based"),
        default_port=8002,
    )

    def server_config(self, uri: str) -> WebSocketServerConfig:
        """A listener with defaults. `wss://` needs a certificate, so it raises ConfigurationError."""
        return WebSocketServerConfig(bind_address=uri)

    def client_config(self, uri: str) -> WebSocketClientConfig:
        """A connection with defaults."""
        return WebSocketClientConfig(target_url=uri if "://" in uri else f"ws://{uri}")

    async def listen(self, config: ServerConfig, host: ServerHost) -> Listener:
        """Listen on host and port."""
        if not isinstance(config, WebSocketServerConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a WebSocketServerConfig")
        made = acceptor(config, host)
        made.terms.keepalive = None  # accepted sockets inherit it
        made.terms.notsent_lowat = sockets.not_inherited(config.notsent_lowat)
        return WebSocketListener(await sockets.listen(config, made, SCHEMES, host.counters, host.worker_link), made)

    async def connect(self, config: ClientConfig, host: Host) -> Link:
        """Connect to host and port, and upgrade."""
        if not isinstance(config, WebSocketClientConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a WebSocketClientConfig")
        _need_picows()
        from msgtrans.adapters.websocket.terms import WebSocketTerms
        from msgtrans.adapters.websocket.upgrade import ClientUpgrade

        url = config.url
        terms = WebSocketTerms(host, config, server=False, secure=url.secure)
        try:
            async with asyncio.timeout(config.connect_timeout):
                upgrade = await sockets.connect(
                    config.uri,
                    url.address,
                    lambda: ClientUpgrade(terms, config, os.urandom(KEY_SIZE)),
                    tls=config.tls_config,
                    local_bind_address=config.local_bind_address,
                    handshake_timeout=config.connect_timeout,
                )
                return await upgrade.wait()
        except TimeoutError as error:
            raise sockets.connect_timed_out(config.uri, config.connect_timeout) from error


class WebSocketListener:
    """A listening socket, and the connections that are not upgraded yet."""

    def __init__(self, listening: SocketListener, acceptor: Acceptor) -> None:
        self._listening = listening
        self._acceptor = acceptor

    @property
    def addresses(self) -> list[Address]:
        """Where it listens."""
        return self._listening.addresses

    @property
    def uris(self) -> list[str]:
        """The same as URIs, with the path where only one is served."""
        path = self._acceptor.config.path or ""
        return [uri + path for uri in self._listening.uris]

    def reload_certificates(self) -> bool:
        """Read the certificates again, now; False when they could not be used and those before stay."""
        return self._listening.reload_certificates()

    async def rest(self) -> None:
        """Accept no more, and wait, a second at most, for those that are not upgraded yet."""
        await self._listening.rest(self._acceptor.deadlines.__len__)

    def close(self) -> None:
        """Accept no more, and drop those that are not upgraded yet."""
        self._listening.close()
        self._acceptor.deadlines.close()

    async def wait_closed(self) -> None:
        """Wait until the sockets are closed."""
        await self._listening.wait_closed()


def acceptor(config: WebSocketServerConfig, host: Host) -> Acceptor:
    """What makes the protocols of accepted connections. Raises ConfigurationError without picows."""
    _need_picows()
    from msgtrans.adapters.websocket.terms import WebSocketTerms
    from msgtrans.adapters.websocket.upgrade import Acceptor

    secure = config.tls is not None
    terms = WebSocketTerms(host, config, server=True, secure=secure, max_connections=config.max_connections)
    return Acceptor(terms, config)


def _need_picows() -> ModuleType:
    try:
        import picows
    except ImportError as error:
        raise ConfigurationError("websocket", "needs picows; pip install 'msgtrans[ws]'") from error
    return picows
