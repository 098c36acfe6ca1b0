"""The server: listens, accepts, and keeps the sessions (specification 4.1).

    server = TransportServer(tcp="127.0.0.1:8001")

    @server.on_request
    def answer(context):
        return context.payload

    async with server:
        await server.serve_forever()

Not here: what a session does, and what its bytes travel on (`listeners` keeps whatever listens).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.quic.transport import NO_WORKERS
from msgtrans.adapters.registry import TransportRegistry, transports
from msgtrans.adapters.stream import StreamConnection
from msgtrans.broadcasting import broadcast
from msgtrans.careful import new_session
from msgtrans.closing import LINGER
from msgtrans.codec import encode_fields
from msgtrans.config import WebSocketServerConfig
from msgtrans.errors import ConfigurationError
from msgtrans.events import ServerStarted, ServerStopped
from msgtrans.field_types import check_callable, check_number
from msgtrans.info import SessionState
from msgtrans.listeners import Listening
from msgtrans.packet import HEADER_SIZE, MAX_MESSAGE_ID, ONE_WAY
from msgtrans.transport import Terms
from msgtrans.workers.serving import as_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from msgtrans.config import (
        ConnectionConfig,
        ExpertConfig,
        QuicServerConfig,
        RateLimit,
        SessionConfig,
        TcpServerConfig,
        WorkersConfig,
    )
    from msgtrans.link import Link
    from msgtrans.middleware import Middleware
    from msgtrans.session import Session
    from msgtrans.transport import ServerConfig
    from msgtrans.workers.link import Worker, WorkerLink

    WorkerHandlerT = TypeVar("WorkerHandlerT", bound=Callable[[Worker], object])

FIRST_MESSAGE_ID: Final = 20_000  # as the Rust crate; nothing depends on it (specification 1.6)


class TransportServer(Listening):
    """Serves sessions on ports of its own, or inside another server through `protocol_factory`.

    tcp, ws, quic: an address, "host:port" or a URI with a scheme of that transport, or a config, as TcpServerConfig.
    listen: further listeners, of any transport: URIs or configs, or one. Without any, it listens nowhere by itself.
    session: what holds for each session, unless a listener says otherwise.
    middleware: what `use` takes into use, the outermost first.
    rate_limit: for all sessions together; those that wait are let in in turn. One for each session is in SessionConfig.
    max_connections: how many may be open over all listeners; more are closed at once and counted; default 10 000.
    max_buffered: bytes of incomplete packets, over all sessions, default 256 MiB, at least one packet of the greatest
    size; at more, the session that keeps most is closed with a ResourceError and counted.
    bind_timeout: seconds that starting to listen may take; default 10.
    registry: the transports to choose from; default all, plug-ins included.
    workers: processes that serve, or a `WorkersConfig`; default 1, this process. More are started by `run`; limits, as
    max_connections, are those of each of them.
    connection: settings as a whole; its buffer_size takes the place of `SessionConfig.event_queue_size`. expert: of its
    performance, a `Monitor` is made. Default neither.
    Start and stop it from the loop it serves on; a stopped server can be started again.
    """

    def __init__(
        self,
        tcp: str | TcpServerConfig | None = None,
        ws: str | WebSocketServerConfig | None = None,
        quic: str | QuicServerConfig | None = None,
        *,
        listen: str | ServerConfig | Iterable[str | ServerConfig] = (),
        session: SessionConfig | None = None,
        middleware: Iterable[Middleware] = (),
        rate_limit: RateLimit | None = None,
        max_connections: int = 10_000,
        max_buffered: int = 256 * 1024 * 1024,
        bind_timeout: float = 10.0,
        registry: TransportRegistry = transports,
        workers: int | WorkersConfig = 1,
        connection: ConnectionConfig | None = None,
        expert: ExpertConfig | None = None,
    ) -> None:
        super().__init__(session, middleware, rate_limit, connection, expert)
        self.workers: WorkersConfig | None = None if type(workers) is int and workers == 1 else as_config(workers)
        self.worker: Worker | None = None
        self.worker_start_handlers: list[Callable[[Worker], object]] = []
        self.worker_stop_handlers: list[Callable[[Worker], object]] = []
        check_number("max_connections", max_connections, whole=True)
        check_number("max_buffered", max_buffered, whole=True)
        if max_connections < 1:
            raise ConfigurationError("max_connections", f"is {max_connections}; use a positive number")
        self.max_connections = max_connections
        largest = HEADER_SIZE + self.codec.max_ext_header_size + self.codec.max_payload_size
        if max_buffered < largest:
            raise ConfigurationError(
                "max_buffered", f"must be at least {largest} bytes, the size of the largest packet"
            )
        self.max_kept = max_buffered
        self._set_listeners(registry, tcp, ws, quic, listen, bind_timeout)
        if self.workers is not None and any(config.transport == "quic" for config in self._configs):
            raise ConfigurationError("workers", NO_WORKERS)
        self._last_id = 0
        self._last_broadcast = FIRST_MESSAGE_ID - 1
        self._starting = False
        self._stopping = False
        self._early: list[tuple[Session, Link]] = []

    # Its life

    async def start(self) -> None:
        """Listen. Handlers and streams set up before the next `await` miss nothing.

        Raises ConnectError when an address cannot be bound, TransportTimeoutError after `bind_timeout`,
        ConfigurationError when a certificate cannot be used; nothing listens then.
        """
        if self.workers is not None and self.worker is None:
            raise ConfigurationError(
                "workers", "are processes of their own: call server.run() outside of any event loop, or use workers=1"
            )
        self._stopping = False
        self.started_at = time.time()
        self._begin_looking()
        if not self._configs or self._listeners:
            return
        self._starting = True
        try:
            await self._listen()
        except BaseException:
            self._starting = False
            await self.stop(graceful=False)
            raise
        self.hub.emit(ServerStarted(self.uris))
        asyncio.get_running_loop().call_soon(self._admit_early)

    def run(self, *, ready: Callable[[list[str]], object] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then stop gracefully: a whole program, on uvloop where that is installed.

        With `workers`, processes forked from this one serve, and this one supervises them: call it before any event
        loop or thread runs. A worker that ends or hangs is replaced; SIGHUP replaces all, one by one, and no connection
        is refused meanwhile. To have that bring new code, name a factory: `msgtrans.workers.run("module:make", 4)`.
        With one process SIGHUP reads its certificates again.
        ready: called with the URIs once all serve.
        Raises WorkerError when the workers cannot be kept running, ConfigurationError where they cannot be started;
        without workers what `start` raises.
        """
        from msgtrans.workers.serving import run

        run(self, ready=ready)

    def on_worker_start(self, handler: WorkerHandlerT) -> WorkerHandlerT:
        """Call `handler(worker)` in each process that `run` serves in, before it listens: `worker.index` counts from 0.

        A coroutine is awaited. One that raises ends the worker.
        """
        check_callable("on_worker_start", handler)
        self.worker_start_handlers.append(handler)
        return handler

    def on_worker_stop(self, handler: WorkerHandlerT) -> WorkerHandlerT:
        """Call `handler(worker)` in each process that `run` serves in, after its sessions are closed."""
        check_callable("on_worker_stop", handler)
        self.worker_stop_handlers.append(handler)
        return handler

    def work_for(self, worker: Worker, link: WorkerLink | None) -> None:
        """For `run`: this process is that worker. link: to its supervisor, None without one."""
        self.worker = worker
        if link is not None:
            self.worker_link = link

    async def stop(
        self,
        *,
        graceful: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - as `close_all`
    ) -> None:
        """Stop listening, then close every session as `close_all` does; `ServerStopped` ends the event streams.

        Cancelled, it drops the sessions that are still open.
        """
        self._stopping = True
        listeners, self._listeners = self._listeners, []
        for _, listener in listeners:
            listener.close()
        self._admit_early()
        try:
            await self.close_all(graceful=graceful, timeout=timeout)
            await self._cancel_work()
            for _, listener in listeners:
                await listener.wait_closed()
        finally:
            for session in list(self._open.values()):  # none, unless this was cancelled
                session.abort()
            self._stop_watching()
            self._end_looking()
            self.hub.emit(ServerStopped())
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

    async def close_session(self, session_id: int, *, graceful: bool = True) -> None:
        """Close one session; an unknown id is closed already."""
        session = self._open.get(session_id)
        if session is not None:
            await session.close(graceful=graceful)

    async def close_all(
        self,
        *,
        graceful: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - those that are late must be dropped, not left
    ) -> None:
        """Close all sessions at the same time, as `Session.close` does; returns when they are closed.

        timeout: seconds that may take in all, default `graceful_timeout` and a second. Sessions that take longer are
        dropped, with reason FORCED if anything of theirs was not written.
        """
        sessions = list(self._open.values())
        if not sessions:
            return
        closing = [asyncio.ensure_future(session.close(graceful=graceful, timeout=timeout)) for session in sessions]
        try:
            await asyncio.wait(closing, timeout=self.config.graceful_timeout + LINGER if timeout is None else timeout)
        except asyncio.CancelledError:
            for task in closing:
                task.cancel()
            raise
        for session in sessions:
            if session.state is not SessionState.CLOSED:
                session.abort()
        await asyncio.gather(*closing)

    def broadcast(
        self,
        payload: bytes,
        *,
        to: Iterable[Session] | None = None,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
    ) -> int:
        """Queue a one-way message, encoded once, to every open session, or to those of `to`; returns to how many.

        With several worker processes: to the sessions of this one. Many are written to in several turns of the loop.
        Sessions at `max_outbound` are left out and counted as backpressure_errors; closed ones are left out.
        """
        self._last_broadcast = self._last_broadcast + 1 if self._last_broadcast < MAX_MESSAGE_ID else 1
        frame = encode_fields(
            ONE_WAY, self._last_broadcast, payload, biz_type, ext_header, flags, compression, self.codec
        )
        return broadcast(frame, self._open.values() if to is None else to)

    # Embedding

    def protocol_factory(
        self, *, nodelay: bool = True, keepalive: int | None = 60
    ) -> Callable[[], asyncio.BufferedProtocol]:
        """What to give `loop.create_server`, `UnifiedPort`, or `transport.set_protocol` of an accepted connection.

        Each call of it makes the protocol of one connection. nodelay, keepalive: as in `TcpServerConfig`; a keepalive
        of None leaves the sockets as they are. When bytes were read already: set the protocol, call its
        `connection_made(transport)`, then hand them over with `unified_port.hand_over`.
        """
        terms = Terms(self, self.config, "tcp")

        def factory() -> asyncio.BufferedProtocol:
            return StreamConnection(terms, nodelay=nodelay, keepalive=keepalive)

        return factory

    def websocket_factory(self, config: WebSocketServerConfig | None = None) -> Callable[[], asyncio.Protocol]:
        """As `protocol_factory`, for WebSocket, upgrade included: `UnifiedPort(websocket=server.websocket_factory())`.

        config: all of it but what belongs to the listening socket: bind_address, tls, reuse_port, reuse_addr, backlog.
        Raises ConfigurationError when picows is not installed. Call it in the loop that the server runs in.
        """
        from msgtrans.adapters.websocket.transport import acceptor

        return acceptor(config or WebSocketServerConfig(), self)

    def admit(self, link: Link) -> Session | None:
        """For transports: the session of a new connection, None at `max_connections` or while stopping."""
        taken = len(self._open) + len(self._finishing) + len(self._early)
        if self._stopping or taken >= self.max_connections:
            self.counters.connections_refused += 1
            return None
        self._last_id += 1
        session = new_session(self._last_id, link, self, asyncio.get_running_loop(), FIRST_MESSAGE_ID)
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
            if session.is_open and self.session_opened(session):
                link.resume_reading()
