"""What servers and clients have in common: handlers, middleware, event streams, counters, and the tasks they start.

Not here: connecting, listening, and anything about one session.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from msgtrans.autotune import cores
from msgtrans.config import Backpressure, ConnectionConfig, ExpertConfig, PerformanceConfig, RateLimit, SessionConfig
from msgtrans.errors import ConfigurationError, ResourceError, TransportError
from msgtrans.events import (
    Closed,
    CloseReason,
    Established,
    EventHub,
    EventStream,
    MessageReceived,
    RequestReceived,
)
from msgtrans.field_types import check_callable, check_type, shown
from msgtrans.handlers import is_coroutine_function
from msgtrans.middleware.base import Middleware
from msgtrans.middleware.chain import Chain
from msgtrans.monitor.watching import Monitor
from msgtrans.stats import EndpointStats
from msgtrans.sweeping import Sweeping
from msgtrans.throttle import SharedThrottle
from msgtrans.tuning import Tuning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from msgtrans.handlers import (
        ConnectHandler,
        Context,
        DisconnectHandler,
        ErrorHandler,
        MessageHandler,
        RequestHandler,
    )
    from msgtrans.session import Session
    from msgtrans.workers.link import WorkerLink

RequestHandlerT = TypeVar("RequestHandlerT", bound="RequestHandler")
MessageHandlerT = TypeVar("MessageHandlerT", bound="MessageHandler")
ErrorHandlerT = TypeVar("ErrorHandlerT", bound="ErrorHandler")
ConnectHandlerT = TypeVar("ConnectHandlerT", bound="ConnectHandler")
DisconnectHandlerT = TypeVar("DisconnectHandlerT", bound="DisconnectHandler")

DEFAULT: Final = SessionConfig()  # one for all: a program may have very many clients
logger = logging.getLogger("msgtrans.endpoint")


class Endpoint:
    """Base of `TransportServer` and `TransportClient`. All of it belongs to one event loop.

    Handlers are plain functions, called while the read is handled and answered in the same write, or coroutine
    functions, each call of which becomes a task. Set them before the first session, or at any time to replace them.
    request_handler, message_handler: what sessions call, middleware included; None without a handler, then
    offer_request and offer_message take the message to the event streams.
    request_in_task, message_in_task: whether what is called only makes a coroutine, whose work begins in a task.
    """

    # Only set on instances where true: each attribute more makes an object with that many a bit slower, all over.
    request_in_task = False
    message_in_task = False
    monitor: Monitor | None = None  # what watches it, if `connection` or `expert` says so
    tuning: Tuning | None = None  # what tunes it, if `connection` says so
    worker_link: WorkerLink | None = None  # in a worker process: whom to ask for sockets, and about the other workers

    def __init__(
        self,
        config: SessionConfig | None = None,
        middleware: Iterable[Middleware] = (),
        rate_limit: RateLimit | None = None,
        connection: ConnectionConfig | None = None,
        expert: ExpertConfig | None = None,
    ) -> None:
        check_type("session", config, SessionConfig, none=True)
        check_type("connection", connection, ConnectionConfig, none=True)
        check_type("expert", expert, ExpertConfig, none=True)
        check_type("rate_limit", rate_limit, RateLimit, none=True)
        self.config = config or DEFAULT
        if connection is not None:
            self.config = connection.session_config(self.config, cores())
        self.codec = self.config.codec
        self.counters = EndpointStats()
        self.throttle = SharedThrottle(rate_limit) if rate_limit is not None else None
        displaces = self.config.inbound_strategy is Backpressure.DROP_OLDEST
        self.hub = EventHub(self.config.event_queue_size, self._on_room, self._on_left_out, displaces=displaces)
        self.request_handler: RequestHandler | None = None
        self.message_handler: MessageHandler | None = None
        self.error_handler: ErrorHandler | None = None
        self.connect_handler: ConnectHandler | None = None
        self.disconnect_handler: DisconnectHandler | None = None
        self.offer_request: RequestHandler = self._offer_request
        self.offer_message: MessageHandler = self._offer_message
        self.middleware = Chain(self._on_handler_error)
        self.started_at = time.time()
        self.paused: set[Session] = set()
        self.kept = 0  # bytes of incomplete packets, over all sessions
        self.max_kept = sys.maxsize
        self._open: dict[int, Session] = {}
        self._finishing: set[Session] = set()  # closed, but handlers of theirs still run
        self._background: set[asyncio.Task[None]] = set()
        self.sweeping = Sweeping(self)
        self._bare_request: RequestHandler | None = None  # without the middleware
        self._bare_message: MessageHandler | None = None
        for link in middleware:
            self.use(link)
        performance = expert.performance if expert is not None else None
        if performance is not None or (connection is not None and connection.metrics):
            self.monitor = Monitor(self, performance or PerformanceConfig())
        if connection is not None and connection.auto_optimize:
            self.tuning = Tuning(self)

    # Handlers

    def on_request(self, handler: RequestHandlerT) -> RequestHandlerT:
        """Answer requests with what `handler(context)` returns: bytes, a `Reply`, or None to answer later.

        A handler that raises is logged and counted, and the requester gets no answer (the protocol has no error
        packet) unless `on_error` gives one.
        """
        check_callable("on_request", handler)
        self._bare_request = handler
        self._compose()
        return handler

    def on_message(self, handler: MessageHandlerT) -> MessageHandlerT:
        """Call `handler(context)` for each one-way message, in the order of arrival per session."""
        check_callable("on_message", handler)
        self._bare_message = handler
        self._compose()
        return handler

    def on_error(self, handler: ErrorHandlerT) -> ErrorHandlerT:
        """Call `handler(context, error)` when another handler raised; what it returns answers the request."""
        check_callable("on_error", handler)
        self.error_handler = handler
        return handler

    def on_connect(self, handler: ConnectHandlerT) -> ConnectHandlerT:
        """Call `handler(session)` when a session is open, before any of its messages; a coroutine runs beside them."""
        check_callable("on_connect", handler)
        self.connect_handler = handler
        return handler

    def on_disconnect(self, handler: DisconnectHandlerT) -> DisconnectHandlerT:
        """Call `handler(session, reason)` when a session is closed, once."""
        check_callable("on_disconnect", handler)
        self.disconnect_handler = handler
        return handler

    def use(self, middleware: Middleware) -> None:
        """Put `middleware` around all handlers and event streams, inside of what is used already.

        Also an argument of the constructor. Raises ConfigurationError while sessions are open.
        """
        if not isinstance(middleware, Middleware):
            raise ConfigurationError("middleware", f"is {shown('', middleware)}; use an instance of a Middleware")
        if self._open:
            raise ConfigurationError("middleware", f"{middleware.name} comes too late; use it before the first session")
        self.middleware.add(middleware)
        self._compose()

    @property
    def sessions(self) -> Mapping[int, Session]:
        """The open sessions by id, live and read-only."""
        return MappingProxyType(self._open)

    @property
    def uris(self) -> list[str]:
        """Everything it listens on, as URIs; nothing on a client."""
        return []

    def events(self) -> EventStream:
        """A new stream of what happens from now on: `async for event in endpoint.events()`."""
        return self.hub.open()

    def stats(self) -> EndpointStats:
        """The counters at this moment, open sessions included. Costs one look at every open session."""
        stats = copy(self.counters)
        stats.connections_open = len(self._open)
        packets_sent = packets_received = bytes_sent = bytes_received = 0
        for session in self._open.values():  # as `add_session`, in half its time: there may be very many
            packets_sent += session.packets_sent
            packets_received += session.packets_received
            bytes_sent += session.bytes_sent
            bytes_received += session.bytes_received
        stats.packets_sent += packets_sent
        stats.packets_received += packets_received
        stats.bytes_sent += bytes_sent
        stats.bytes_received += bytes_received
        return stats

    # What sessions call

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` as a task of this endpoint."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def session_opened(self, session: Session) -> bool:
        """A session is open; nothing of it has been delivered yet. False: a middleware refused it, and it is closed."""
        if self.middleware:
            try:
                self.middleware.connected(session)
            except Exception as error:  # noqa: BLE001 - whatever it is, the session must not get in
                self._turn_away(session, error)
                return False
        self._open[session.id] = session
        self.counters.connections_total += 1
        self.sweeping.opened(session)
        self.hub.emit(Established(session))
        self._call(self.connect_handler, session)
        return True

    def session_ending(self, session: Session) -> None:
        """A session sends and requests no more, and is about to write what it has queued: `take_messages` is for now.

        Called once per session, also for one that was never opened; must not call other methods of it.
        """

    def session_closed(self, session: Session) -> None:
        """A session is closed."""
        if self._open.pop(session.id, None) is None:
            return  # it ended before it was opened
        self.sweeping.closed(session)
        add_session(self.counters, session)
        self._finishing.add(session)
        reason = session.close_reason or CloseReason.NORMAL
        if self.middleware:
            self.middleware.disconnected(session, reason)
        self.hub.emit(Closed(session, reason, session.close_error))
        self._call(self.disconnect_handler, session, reason)

    def session_finished(self, session: Session) -> None:
        """The last handler of a closed session has ended."""
        self._finishing.discard(session)

    def make_room_for_packets(self) -> None:
        """Incomplete packets of all sessions have more than `max_kept` bytes: who keeps most of them goes."""
        open_ones = [session for session in self._open.values() if session.is_open and session.kept]
        kept = sum(session.kept for session in open_ones)  # without those that are going already
        while kept > self.max_kept and open_ones:
            greediest = max(open_ones, key=lambda session: session.kept)
            open_ones.remove(greediest)
            kept -= greediest.kept
            self.counters.kept_overflows += 1
            greediest.drop_incomplete(ResourceError("bytes of incomplete packets", self.kept, self.max_kept))

    # Its own

    def _compose(self) -> None:
        """Put the middleware around the handlers, and note which of them begin in tasks."""
        chain, request, message = self.middleware, self._bare_request, self._bare_message
        if request is not None:
            self.request_handler = chain.request(request)
        if message is not None:
            self.message_handler = chain.message(message)
        self.offer_request = chain.request(self._offer_request)
        self.offer_message = chain.message(self._offer_message)
        if (in_task := chain.defers_requests or is_coroutine_function(request)) != self.request_in_task:
            self.request_in_task = in_task
        if (in_task := chain.defers_messages or is_coroutine_function(message)) != self.message_in_task:
            self.message_in_task = in_task

    def _turn_away(self, session: Session, error: Exception) -> None:
        self.counters.connections_refused += 1
        if isinstance(error, TransportError):
            logger.debug("session %d from %s refused: %s", session.id, session.peer_address, error)
            error.refusal = True
            session.dismiss(error)
        else:
            logger.error("middleware failed: session %d is refused", session.id, exc_info=error)
            self.counters.handler_errors += 1
            failure = TransportError("a middleware failed, so the session was refused; see the log there")
            failure.refusal = False
            session.dismiss(failure)

    def _offer_request(self, context: Context) -> None:
        if self.hub:
            self.hub.emit(RequestReceived(context))
        else:
            self.counters.unhandled += 1

    def _offer_message(self, context: Context) -> None:
        if self.hub:
            self.hub.emit(MessageReceived(context))
        else:
            self.counters.unhandled += 1

    def _on_handler_error(self) -> None:
        self.counters.handler_errors += 1

    def _on_room(self) -> None:
        for session in self.paused:
            session.make_room()

    def _on_left_out(self) -> None:
        self.counters.unseen_sessions += 1

    def _call(self, handler: Callable[..., object] | None, *arguments: object) -> None:
        if handler is None:
            return
        try:
            result = handler(*arguments)
            if inspect.isawaitable(result):
                self.spawn(self._guard(result))
        except Exception:
            logger.exception("a connection handler failed")
            self.counters.handler_errors += 1

    async def _guard(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception:
            logger.exception("a connection handler failed")
            self.counters.handler_errors += 1

    def _begin_looking(self) -> None:
        """Let what watches and tunes begin, in the loop that runs."""
        if self.monitor is not None:
            self.monitor.start()
        if self.tuning is not None:
            self.tuning.start()

    def _end_looking(self) -> None:
        if self.monitor is not None:
            self.monitor.stop()
        if self.tuning is not None:
            self.tuning.stop()

    async def _cancel_work(self) -> None:
        """End every task that still runs."""
        tasks = [*self._background]
        for session in [*self._open.values(), *self._finishing]:
            tasks += session.running_handlers()
        me = asyncio.current_task()
        others = [task for task in tasks if task is not me]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _stop_watching(self) -> None:
        self.sweeping.stop()


def add_session(counters: EndpointStats, session: Session) -> None:
    """Add what a session moved to `counters`."""
    counters.packets_sent += session.packets_sent
    counters.packets_received += session.packets_received
    counters.bytes_sent += session.bytes_sent
    counters.bytes_received += session.bytes_received
