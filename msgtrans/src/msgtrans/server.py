"""The server: listens, accepts, and keeps the sessions (specification 4.1).

    server = TransportServer(tcp="127.0.0.1:8001")

    @server.on_request
    def answer(context):
        return context.payload

    async with server:
        await server.serve_forever()

Not here: what a session does; and transports other than TCP.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.tcp import TcpConnection, keep_alive
from msgtrans.codec import encode_fields
from msgtrans.config import Address, TcpServerConfig, parse_address
from msgtrans.endpoint import Endpoint
from msgtrans.errors import ConfigurationError, ConnectError
from msgtrans.packet import HEADER_SIZE, MAX_MESSAGE_ID, ONE_WAY
from msgtrans.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.config import SessionConfig
    from msgtrans.link import Link

FIRST_MESSAGE_ID: Final = 20_000  # as the Rust crate; nothing depends on it (specification 1.6)


class TransportServer(Endpoint):
    """Serves sessions on a port of its own, or inside another server through `protocol_factory`.

    tcp: "host:port", "tcp://host:port" or a TcpServerConfig; None listens nowhere.
    session: what holds for each session. max_connections: how many may be open; more are closed at once and counted.
    max_buffered: bytes of incomplete packets, over all sessions, default 256 MiB, at least one packet of the greatest
    size; the session that would exceed it is closed with a ResourceError and counted.
    Start and stop it from the loop it serves on; a stopped server can be started again.
    """

    def __init__(
        self,
        tcp: str | TcpServerConfig | None = None,
        *,
        session: SessionConfig | None = None,
        max_connections: int = 10_000,
        max_buffered: int = 256 * 1024 * 1024,
    ) -> None:
        super().__init__(session)
        if max_connections < 1:
            raise ConfigurationError("max_connections", f"is {max_connections}; use a positive number")
        self.max_connections = max_connections
        largest = HEADER_SIZE + self.codec.max_ext_header_size + self.codec.max_payload_size
        if max_buffered < largest:
            raise ConfigurationError(
                "max_buffered", f"must be at least {largest} bytes, the size of the largest packet"
            )
        self.max_kept = max_buffered
        if isinstance(tcp, str):
            tcp = TcpServerConfig(bind_address=tcp)
        elif not isinstance(tcp, TcpServerConfig | None):
            raise ConfigurationError("tcp", f"is {tcp!r}; use 'HOST:PORT', a TcpServerConfig or None")
        self._tcp = tcp
        self._listener: asyncio.Server | None = None
        self._last_id = 0
        self._last_broadcast = FIRST_MESSAGE_ID - 1
        self._starting = False
        self._stopping = False
        self._early: list[tuple[Session, Link]] = []

    # Its life

    async def start(self) -> None:
        """Listen. Handlers and streams set up before the next `await` miss nothing.

        Raises ConnectError when the address cannot be bound.
        """
        self._stopping = False
        if self._tcp is None or self._listener is not None:
            return
        config, loop = self._tcp, asyncio.get_running_loop()
        host, port = parse_address(config.bind_address, field="bind_address")
        self._starting = True
        try:
            self._listener = await loop.create_server(
                self.protocol_factory(nodelay=config.nodelay, keepalive=None),
                host,
                port,
                backlog=config.backlog,
                reuse_address=True,
                reuse_port=config.reuse_port or None,
            )
        except (OSError, UnicodeError) as error:  # the latter for names that cannot be one
            self._starting = False
            raise ConnectError(f"cannot listen on {config.bind_address}: {_bind_advice(error)}") from error
        if config.keepalive is not None:
            for listening in self._listener.sockets:
                keep_alive(listening, config.keepalive)  # accepted sockets inherit it
        loop.call_soon(self._admit_early)

    async def stop(self, *, graceful: bool = True) -> None:
        """Stop listening, then close every session at once, as `Session.close` does; ends the event streams."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        self._admit_early()
        await self.close_all(graceful=graceful)
        await self._cancel_work()
        self._stop_watching()
        if self._listener is not None:
            await self._listener.wait_closed()
            self._listener = None
        self.hub.end()

    async def serve_forever(self) -> None:
        """Start unless started, and wait until cancelled; then stop."""
        await self.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # Its sessions

    @property
    def tcp_address(self) -> Address:
        """Where it listens; after binding port 0 the port it got. Raises ConnectError when it does not listen."""
        for address in self.addresses:
            return address
        raise ConnectError("the server does not listen; start it first")

    @property
    def addresses(self) -> list[Address]:
        """All addresses it listens on; a host name can have several."""
        sockets = self._listener.sockets if self._listener is not None else ()
        return [Address(*listening.getsockname()[:2]) for listening in sockets]

    @property
    def sessions(self) -> Mapping[int, Session]:
        """The open sessions by id, live and read-only."""
        return MappingProxyType(self._open)

    async def close_session(self, session_id: int, *, graceful: bool = True) -> None:
        """Close one session; an unknown id is closed already."""
        session = self._open.get(session_id)
        if session is not None:
            await session.close(graceful=graceful)

    async def close_all(self, *, graceful: bool = True) -> None:
        """Close all sessions at the same time; returns when they are closed."""
        await asyncio.gather(*(session.close(graceful=graceful) for session in list(self._open.values())))

    def broadcast(
        self, payload: bytes, *, biz_type: int = 0, ext_header: bytes = b"", flags: int = 0, compression: int = 0
    ) -> int:
        """Queue a one-way message, encoded once, to every open session; returns to how many.

        Sessions at `max_outbound` are left out and counted as backpressure_errors.
        """
        self._last_broadcast = self._last_broadcast + 1 if self._last_broadcast < MAX_MESSAGE_ID else 1
        frame = encode_fields(
            ONE_WAY, self._last_broadcast, payload, biz_type, ext_header, flags, compression, self.codec
        )
        return sum(session.offer_frame(frame) for session in self._open.values())

    # Embedding

    def protocol_factory(
        self, *, nodelay: bool = True, keepalive: int | None = 60
    ) -> Callable[[], asyncio.BufferedProtocol]:
        """What to give `loop.create_server`, `UnifiedPort`, or `transport.set_protocol` of an accepted connection.

        Each call of it makes the protocol of one connection. nodelay, keepalive: as in `TcpServerConfig`; a keepalive
        of None leaves the sockets as they are. When bytes were read already: set the protocol, call its
        `connection_made(transport)`, then hand them over with `unified_port.hand_over`.
        """
        loop = asyncio.get_running_loop()

        def factory() -> asyncio.BufferedProtocol:
            return TcpConnection(self._admit, loop, self.codec, nodelay=nodelay, keepalive=keepalive)

        return factory

    def _admit(self, link: Link) -> Session | None:
        taken = len(self._open) + len(self._finishing) + len(self._early)
        if self._stopping or taken >= self.max_connections:
            self.counters.connections_refused += 1
            return None
        self._last_id += 1
        session = Session(self._last_id, link, self, asyncio.get_running_loop(), FIRST_MESSAGE_ID)
        if self._starting:
            link.pause_reading()
            self._early.append((session, link))
        else:
            self.session_opened(session)
        return session

    def _admit_early(self) -> None:
        """Open what connected while `start` ran, now that its caller had a turn to set up handlers and streams."""
        self._starting = False
        early, self._early = self._early, []
        for session, link in early:
            if session.is_open:
                self.session_opened(session)
                link.resume_reading()


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
