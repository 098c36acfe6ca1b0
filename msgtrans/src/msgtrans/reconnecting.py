"""The client that survives what networks do: several addresses, connections that come back, calls that wait.

    async with ReconnectingClient(["tcp://10.0.0.1:8001", "wss://10.0.0.2/path"]) as client:
        answer = await client.request(b"what time is it?", idempotent=True)

What is sent again: a request or message that was never given to a connection, always; a request that was, and not
answered, only where its caller says `idempotent`; a message that was, never.
Not here: which address is tried when (`flow.balancing`), the attempts (`resilience.keeper`), sessions.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.registry import TransportRegistry, transports
from msgtrans.codec import encode_fields
from msgtrans.config import CircuitBreakerConfig, LoadBalancerConfig, ReconnectingConfig, RetryConfig, SessionConfig
from msgtrans.endpoint import Endpoint, add_session
from msgtrans.errors import (
    ConfigurationError,
    ConnectError,
    SessionClosedError,
    TransportError,
    TransportTimeoutError,
)
from msgtrans.field_types import check_seconds, check_type
from msgtrans.flow.balancing import Balancer, Targets, opened
from msgtrans.packet import ONE_WAY
from msgtrans.requests import PendingRequests
from msgtrans.resilience.keeper import Keeper, TargetStatus
from msgtrans.resilience.outbox import Outbox
from msgtrans.resilience.states import ClientState, StateChanged, StateStream
from msgtrans.resilience.stats import ReconnectingStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.config.resilience import Policy
    from msgtrans.middleware.base import Middleware
    from msgtrans.packet import Packet
    from msgtrans.session import Session
    from msgtrans.transport import ClientConfig

ENDLESS: Final = RetryConfig()
BREAKER: Final = CircuitBreakerConfig()


class ReconnectingClient(Endpoint):
    """Keeps connections to one or several servers. Connects when entered; can connect again after it was closed.

    targets: addresses, URIs or configs, of any transports; their own `retry_config` is not used.
    session: what holds for each session. retry: pauses and attempts of each address; no end of attempts unless it has a
    `max_retries`. Before every attempt but the first of its life the client waits for a time drawn evenly between 0 and
    the pause.
    circuit_breaker: of each address, None for none. balancing: a policy, or a LoadBalancerConfig with weights.
    options: how calls wait and are repeated. middleware, registry: as for TransportClient.
    chance: gives numbers evenly drawn from 0 up to 1.

    Handlers and event streams hold for all its sessions, one after the other and side by side. An address whose error
    retrying cannot help (`retriable` False: a wrong option, an untrusted certificate, a session that the server ended
    with a refusal) or that used up its attempts is given up; the others go on. When all are, the client is CLOSED:
    calls that wait and calls to come fail, with that error as the cause. `connect` tries all of them again, at any
    time.
    A server that closes gracefully is avoided for the next attempt, where there is another.
    The logger "msgtrans.reconnecting" warns when calls begin to wait because no address can be reached or the last
    connection is lost, and again once a minute while that lasts; each attempt and each connection is told at INFO.
    All methods may be called concurrently from tasks of the same loop.
    """

    def __init__(
        self,
        targets: str | ClientConfig | Iterable[str | ClientConfig],
        *,
        session: SessionConfig | None = None,
        retry: RetryConfig = ENDLESS,
        circuit_breaker: CircuitBreakerConfig | None = BREAKER,
        balancing: Policy | LoadBalancerConfig = "round_robin",
        options: ReconnectingConfig | None = None,
        middleware: Iterable[Middleware] = (),
        registry: TransportRegistry = transports,
        chance: Callable[[], float] = random.random,
    ) -> None:
        check_type("retry", retry, RetryConfig)
        check_type("circuit_breaker", circuit_breaker, CircuitBreakerConfig, none=True)
        check_type("options", options, ReconnectingConfig, none=True)
        super().__init__(session, middleware)
        self.counters: ReconnectingStats = ReconnectingStats()
        self.options = options or ReconnectingConfig()
        several = targets if isinstance(targets, Iterable) and not isinstance(targets, str) else (targets,)
        configs = [registry.client_config(target, field="targets") for target in several]
        if isinstance(balancing, str):
            balancing = LoadBalancerConfig(policy=balancing)
        check_type("balancing", balancing, LoadBalancerConfig)
        if not configs:
            raise ConfigurationError("targets", "are none; name at least one address")
        if balancing.weights and len(balancing.weights) != len(configs):
            raise ConfigurationError("weights", f"are {len(balancing.weights)} for {len(configs)} targets")
        self._judges = circuit_breaker is not None and circuit_breaker.count_timeouts
        self._keeper = Keeper(
            self,
            Targets(
                [config.uri for config in configs],
                retry=retry,
                breaker=circuit_breaker,
                balancing=balancing,
                chance=chance,
            ),
            [(registry.get(config.transport), config) for config in configs],
            Balancer(balancing, chance),
            count=self.options.connections,
            proof=retry.max_retry_interval,
            on_open=self._on_open,
            on_closed=self._gave_up,
        )
        self._outbox = Outbox(self.options, self.config.request_timeout, self._keeper, self.counters)
        self._ids: PendingRequests[None] = PendingRequests(1, self.config.request_timeout, 1)  # of messages
        self._closing = False

    # Its state

    @property
    def state(self) -> ClientState:
        """What calls may expect now."""
        return self._keeper.present.state

    @property
    def present(self) -> StateChanged:
        """The state with its reason: the latest change."""
        return self._keeper.present

    @property
    def is_connected(self) -> bool:
        """Whether it can send right now."""
        return self._keeper.pick_any() is not None

    @property
    def targets(self) -> list[TargetStatus]:
        """What is known of each address, in their order."""
        return self._keeper.status()

    def states(self) -> StateStream:
        """The present state, and then its changes: `async for change in client.states()`; CLOSED is the last."""
        return self._keeper.states()

    async def wait_connected(self) -> None:
        """Wait until there is a connection. Raises what a call would when the client is, or gets, CLOSED."""
        async for change in self.states():
            if change.state is ClientState.CONNECTED:
                return
        raise self._no_connection()

    def stats(self) -> ReconnectingStats:
        """The counters at this moment, open sessions included."""
        stats = copy(self.counters)
        stats.connections_open = len(self._open)
        stats.connect_failures = self._keeper.connect_failures
        stats.connections_lost = self._keeper.connections_lost
        stats.breaker_openings = opened(self._keeper.targets.all)
        stats.waiting_calls = len(self._outbox)
        for session in self._open.values():
            add_session(stats, session)
        return stats

    # Its life

    def start(self) -> None:
        """Begin to connect, without waiting for it; calls wait meanwhile. Call it on the loop.

        After `close` it tries every address at once, whatever failed before.
        """
        self._closing = False
        self._keeper.start()

    async def connect(self) -> None:
        """`start`, and wait for the first connection, as long as that takes; addresses given up are tried again.

        Raises the last error of its address, when there is no other left to try: ConnectError, ConfigurationError,
        TransportTimeoutError.
        """
        self.start()
        try:
            await self.wait_connected()
        except TransportError:
            error = self._keeper.present.error
            if error is None:
                raise
            raise error from error.__cause__

    async def close(self, *, graceful: bool = True) -> None:
        """End all connections and attempts. Calls that wait for a connection fail, streams end.

        Graceful: messages that waited are written first if there is a connection, and each session closes as
        `Session.close` does; within `graceful_timeout` each. What was accepted and could not be written is counted.
        Cancelled, it drops what is still open.
        """
        self._closing = True
        try:
            await self._outbox.finish(self.config.graceful_timeout if graceful else 0)
            await self._keeper.stop_trying()
            await asyncio.gather(*(session.close(graceful=graceful) for session in list(self._open.values())))
            await self._cancel_work()
        finally:
            self._keeper.cancel_attempts()  # none, and no sessions, unless this was cancelled
            for session in list(self._open.values()):
                session.abort()
            self._keeper.closed()
            self._outbox.fail(self._no_connection)
            self._stop_watching()
            self.hub.end()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close(graceful=False)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # Calls

    async def request(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - one timer serves all
        message_id: int | None = None,
        idempotent: bool | None = None,
        wait: bool | None = None,
    ) -> Packet:
        """Send a request on one of the connections and return the response packet.

        timeout: seconds for all of it, waiting for a connection and sending again included; None: `request_timeout`.
        idempotent: whether it may be executed twice; wait: whether to wait for a connection; None as `options` say.
        Raises TransportTimeoutError; SessionClosedError, whose `written` says whether the server may have got it;
        ResourceError when too many wait already; ConnectError when all addresses are given up; LocalProtocolError.
        Cancelled, it is forgotten.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        clock = asyncio.get_running_loop().time
        began, total, left = clock(), self.config.request_timeout if timeout is None else timeout, timeout
        resubmissions = 0
        busy = self._outbox.busy  # messages sent before this request are to be written before it
        while True:
            carrier = None if busy else self._keeper.pick()
            if carrier is None:
                await self._connection(None, len(payload) + len(ext_header), left, total, wait=wait)
                busy = False
            else:
                try:
                    answer = await carrier.session.request(
                        payload,
                        biz_type=biz_type,
                        ext_header=ext_header,
                        flags=flags,
                        compression=compression,
                        timeout=left,
                        message_id=message_id,
                    )
                except SessionClosedError as error:
                    self._check_repeatable(error, resubmissions, idempotent=idempotent)
                    resubmissions += error.written
                    self.counters.resubmitted_requests += 1
                except TransportTimeoutError as error:
                    if self._judges:
                        self._keeper.answered(carrier, in_time=False)
                    if left == timeout:
                        raise
                    raise TransportTimeoutError("request", total) from error
                else:
                    if self._judges:
                        self._keeper.answered(carrier, in_time=True)
                    return answer
            left = began + total - clock()
            if left <= 0:
                raise TransportTimeoutError("request", total)

    async def send(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        message_id: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - one timer serves all
        wait: bool | None = None,
    ) -> int:
        """Send a one-way message on one of the connections and return its id, which is its own for the client's life.

        Returning means accepted: it is written once at most, and on another connection if this one goes before. It is
        lost without a word only if it was written to a connection that broke. With one connection messages keep their
        order, and a request comes after those sent before it, also when the connection is lost meanwhile. Waits while
        the peer takes less than we give it.
        timeout: seconds to wait for a connection; None: `request_timeout`. wait: as for `request`, and the same errors.
        Cancelled while it waits for a connection, it is not sent.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        message_id = self._ids.next_id() if message_id is None else self._ids.claim(message_id)
        frame = encode_fields(ONE_WAY, message_id, payload, biz_type, ext_header, flags, compression, self.codec)
        if not self._outbox.busy:
            carrier = self._keeper.pick()
            if carrier is not None:
                await carrier.session.forward(frame)
                return message_id
        total = self.config.request_timeout if timeout is None else timeout
        await self._connection(frame, len(frame), timeout, total, wait=wait)
        return message_id

    def send_nowait(
        self, payload: bytes, *, biz_type: int = 0, ext_header: bytes = b"", flags: int = 0, compression: int = 0
    ) -> int:
        """As `send`, without waiting and ahead of those that wait.

        Raises BackpressureError while `max_outbound` bytes or more are waiting to leave, SessionClosedError without a
        connection.
        """
        carrier = self._keeper.pick()
        if carrier is None:
            raise self._no_connection()
        return carrier.session.send_nowait(
            payload, biz_type=biz_type, ext_header=ext_header, flags=flags, compression=compression
        )

    # What sessions call

    def session_ending(self, session: Session) -> None:
        """Take over what was never written, and look for another connection."""
        if self._keeper.running:
            self._outbox.recover(session.take_messages())
        self._keeper.ended(session)
        self._outbox.go_on()

    def session_closed(self, session: Session) -> None:
        """A session is closed; the last one may be what giving up waits for."""
        super().session_closed(session)
        self._keeper.look()

    # Its own

    def _on_open(self) -> None:
        self._outbox.go_on()

    def _gave_up(self) -> None:
        self._outbox.fail(self._no_connection)
        self.hub.end()

    async def _connection(
        self,
        frame: bytes | None,
        size: int,
        timeout: float | None,  # noqa: ASYNC109 - one timer serves all
        total: float,
        *,
        wait: bool | None,
    ) -> None:
        """Wait until there is a connection, or `frame` is queued on one."""
        waits = self.options.wait if wait is None else wait
        if self._closing or not self._keeper.running or not (waits or self._keeper.pick_any()):
            raise self._no_connection()
        try:
            await self._outbox.wait(frame, size, timeout)
        except TransportTimeoutError as error:
            raise TransportTimeoutError("waiting for a connection", total) from error

    def _no_connection(self) -> TransportError:
        present = self._keeper.present
        if present.state is ClientState.CLOSED and present.error is not None:
            given_up = ConnectError(f"no address is left to try: {present.error}", retriable=False)
            given_up.__cause__ = present.error
            return given_up
        return SessionClosedError(f"there is no connection: {present.state} ({present.reason}); nothing was sent")

    def _check_repeatable(self, error: SessionClosedError, resubmissions: int, *, idempotent: bool | None) -> None:
        """Raise, unless a request that failed with `error` may be sent again."""
        if not error.written:
            return
        if not (self.options.idempotent if idempotent is None else idempotent):
            raise SessionClosedError(
                f"the connection was lost before the answer ({error}); the server may have executed the request, "
                "so it is not sent again; say idempotent=True where that does no harm",
                written=True,
            ) from error
        if resubmissions >= self.options.max_resubmissions:
            raise SessionClosedError(
                f"the connection was lost before the answer, {resubmissions + 1} times ({error})", written=True
            ) from error
