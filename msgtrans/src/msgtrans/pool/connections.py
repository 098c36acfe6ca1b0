"""A pool of connections: several to one or several servers, borrowed one at a time (specification 5.1).

    async with ConnectionPool("tcp://10.0.0.1:8001", config=SmartPoolConfig(initial_size=4, max_size=16)) as pool:
        async with pool.acquire() as client:
            answer = await client.request(b"what time is it?")

One connection carries any number of requests at once, so for short ones to one server a `TransportClient` is faster; a
pool pays for several servers, for peers that work on one request of a connection at a time, and where payloads are so
long for the link that others would wait behind them.
Not here: who gets which connection (`pool.shelf`), how many there are (`pool.expansion`), doing it (`pool.upkeep`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.registry import TransportRegistry, transports
from msgtrans.client import TransportClient
from msgtrans.config import (
    CircuitBreakerConfig,
    ExpertConfig,
    LoadBalancerConfig,
    ReconnectingConfig,
    RetryConfig,
    SessionConfig,
    SmartPoolConfig,
)
from msgtrans.errors import ConfigurationError, SessionClosedError, TransportTimeoutError
from msgtrans.field_types import check_callable, check_count, check_number, check_seconds, check_type, shown
from msgtrans.flow.balancing import Target, Targets
from msgtrans.middleware.base import Middleware
from msgtrans.pool.borrowing import Borrowing
from msgtrans.pool.control import PoolCommand, carry_out
from msgtrans.pool.health import HealthCheck, check_health_check
from msgtrans.pool.making import PooledClient
from msgtrans.pool.shelf import Shelf
from msgtrans.pool.stats import PoolStats
from msgtrans.pool.upkeep import PoolShelf, Upkeep

if TYPE_CHECKING:
    from msgtrans.packet import Packet
    from msgtrans.pool.events import PoolEventStream
    from msgtrans.pool.stats import PoolDetailedStatus, PooledConnection
    from msgtrans.transport import ClientConfig

REPEATED: Final = ReconnectingConfig().max_resubmissions
ENDLESS: Final = RetryConfig()
BREAKER: Final = CircuitBreakerConfig()
SIZE: Final = SmartPoolConfig()
SPREAD: Final = LoadBalancerConfig(policy="least_connections")


class ConnectionPool:
    """Connections to one or several servers, and the line of those who want one. Connects when entered.

    targets: addresses, URIs or configs, of any transports; their own `retry_config` is not used. Each new connection
    goes to the address with the fewest; one that fails is left alone for a while, as `retry` and `circuit_breaker` say.
    config: how many connections; default the smart_pool of `expert`, or `SmartPoolConfig()`. session, middleware: for
    each connection, as for TransportClient; the middleware is shared by all.
    health_check: an async function that is called with each connection that was idle for `health_interval` seconds
    (default 30) and raises if that is of no use; it has `request_timeout`. Without one the pool sees what the transport
    sees: a connection that the peer has closed or reset, at once; one whose peer vanished without a word, when TCP
    keep-alive or a WebSocket ping gives it up; a server that accepts and does not answer, never.
    idle_timeout: seconds after which a connection that nobody used is closed, beyond `min_connections`, or replaced by
    a new one, up to a tenth earlier; default 240, below the 300 after which servers of this package close it; None for
    never. max_lifetime: seconds after which one
    is replaced when nobody has it, less up to a tenth; default None, never. max_waiting: callers in line; default
    10 000. registry: as for TransportClient. chance: gives numbers evenly drawn from 0 up to 1.

    Of the idle connections the one that was idle for longest is handed out, which spreads the load over the servers.
    What a borrower sets on a client, as handlers, stays set for the next one.
    All methods may be called concurrently from tasks of the same loop, and cancelled: no connection is lost by that.
    """

    def __init__(
        self,
        targets: str | ClientConfig | Iterable[str | ClientConfig],
        *,
        config: SmartPoolConfig | None = None,
        session: SessionConfig | None = None,
        middleware: Iterable[Middleware] = (),
        retry: RetryConfig = ENDLESS,
        circuit_breaker: CircuitBreakerConfig | None = BREAKER,
        health_check: HealthCheck | None = None,
        health_interval: float = 30.0,
        idle_timeout: float | None = 240.0,
        max_lifetime: float | None = None,
        max_waiting: int = 10_000,
        registry: TransportRegistry = transports,
        expert: ExpertConfig | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        check_type("config", config, SmartPoolConfig, none=True)
        check_type("expert", expert, ExpertConfig, none=True)
        if config is None:
            config = (expert.smart_pool if expert is not None else None) or SIZE
        check_type("session", session, SessionConfig, none=True)
        check_type("retry", retry, RetryConfig)
        check_type("circuit_breaker", circuit_breaker, CircuitBreakerConfig, none=True)
        check_count("max_waiting", max_waiting)
        if health_check is not None:
            check_health_check(health_check)
        limits = {"health_interval": health_interval, "idle_timeout": idle_timeout, "max_lifetime": max_lifetime}
        for field, value in limits.items():
            if value is not None or field == "health_interval":
                check_seconds(field, value)
        if not isinstance(registry, TransportRegistry):
            raise ConfigurationError("registry", f"is {shown('registry', registry)}; use a TransportRegistry")
        check_callable("chance", chance)
        wrappers = tuple(middleware) if isinstance(middleware, Iterable) else (middleware,)
        if not all(isinstance(each, Middleware) for each in wrappers):
            raise ConfigurationError("middleware", f"is {shown('middleware', middleware)}; use a list of Middleware")
        several = targets if isinstance(targets, Iterable) and not isinstance(targets, str) else (targets,)
        configs = [registry.client_config(target, field="targets") for target in several]
        if not configs:
            raise ConfigurationError("targets", "are none; name at least one address")
        self._session = session or SessionConfig()
        self._middleware = wrappers
        self._registry = registry
        choice = Targets(
            [target.uri for target in configs], retry=retry, breaker=circuit_breaker, balancing=SPREAD, chance=chance
        )
        self._configs = dict(zip(choice.all, configs, strict=True))
        self._repeated = 0
        self._shelf: PoolShelf = Shelf(
            config,
            idle_timeout=math.inf if idle_timeout is None else idle_timeout,
            max_lifetime=math.inf if max_lifetime is None else max_lifetime,
            max_waiting=max_waiting,
            chance=chance,
        )
        periods = [idle_timeout, max_lifetime, config.shrink_cooldown, health_interval if health_check else None]
        self._upkeep = Upkeep(
            self._shelf,
            choice,
            retry,
            self._client,
            health_check=health_check,
            health_interval=health_interval,
            check_timeout=self._session.request_timeout,
            shortest=min((period for period in periods if period), default=math.inf),
        )

    # Its life

    async def start(self) -> None:
        """Open the connections to begin with; with `enable_warmup` all of `initial_size`, else `min_connections`.

        Returns when no attempt is under way any more; what could not be made is tried again in the background. Raises
        ConnectError with the real error as its cause when there is not a single connection, and closes. Started again,
        it tries every address at once, whatever failed before.
        """
        await self._upkeep.start()

    async def close(self, *, graceful: bool = True) -> None:
        """Close all connections, also those in use: release them all the same. Callers in line get SessionClosedError.

        Graceful: as `Session.close` does. Cancelled, it drops what is still open.
        """
        await self._upkeep.close(graceful=graceful)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # Its connections

    def acquire(self, timeout: float | None = None) -> Borrowing:
        """Borrow a connection: `async with pool.acquire() as client:`. timeout and errors as for `get`."""
        return Borrowing(self, timeout)

    async def get(self, timeout: float | None = None) -> TransportClient:  # noqa: ASYNC109 - a timer, where it waits
        """An open connection of one's own, until `release`. Those who wait get one in the order in which they came.

        timeout: seconds to wait at most, 0 for not at all; None: `request_timeout` of the session config.
        Raises ResourceError when there is none in time, or `max_waiting` wait already; ConnectError, with the real
        error as its cause, when no connection can be made; SessionClosedError when the pool is closed;
        ConfigurationError for another timeout.
        """
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        upkeep, shelf = self._upkeep, self._shelf
        upkeep.check_running()
        now = upkeep.clock()
        member = shelf.take(now)
        if member is None:
            member = await upkeep.wait(self._session.request_timeout if timeout is None else timeout, now)
        if shelf.leaving or shelf.should_grow(now):
            upkeep.look()
        return member.client

    def release(self, client: TransportClient) -> None:
        """Give a connection back. Requests on it may still be under way; their answers then reach nobody.

        Raises ConfigurationError when it is not in use: given back already, or not of this pool.
        """
        if not isinstance(client, PooledClient):
            raise ConfigurationError("client", "is not of a pool; release what get() has given")
        self._upkeep.give_back(client)

    async def request(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - one timer serves all
        idempotent: bool = False,
    ) -> Packet:
        """Borrow a connection, send a request on it and return the response packet.

        timeout: seconds for all of it; None: `request_timeout`. idempotent: whether it may be executed twice.
        When the connection ends first, it is repeated on another one: always if it was certainly not written, up to
        3 times if it may have been and is idempotent. Raises what `get` and `Session.request` raise.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        total = left = self._session.request_timeout if timeout is None else timeout
        began = self._upkeep.clock()
        repeated = 0
        while True:
            async with self.acquire(left) as client:
                left = began + total - self._upkeep.clock()
                if left <= 0:
                    raise TransportTimeoutError("request", total)
                try:
                    return await client.request(
                        payload,
                        biz_type=biz_type,
                        ext_header=ext_header,
                        flags=flags,
                        compression=compression,
                        timeout=left,
                    )
                except SessionClosedError as error:
                    if error.written and not (idempotent and repeated < REPEATED):
                        raise
                    repeated += error.written
                    self._repeated += 1
            left = max(began + total - self._upkeep.clock(), 0)

    # Control

    async def create(self, count: int = 1) -> int:
        """Open `count` connections more; how many there are then. Raises ResourceError beyond max_size."""
        self._upkeep.check_running()
        check_number("count", count, whole=True)
        if count < 1:
            raise ConfigurationError("count", f"is {count}; use 1 or more")
        self._shelf.create(count)
        await self._upkeep.settled()
        return self._shelf.total

    async def force_expand(self) -> int:
        """Expand now, whatever is in use; how many connections there are then. Raises ResourceError at max_size."""
        self._upkeep.check_running()
        self._shelf.force_expand(self._upkeep.clock())
        await self._upkeep.settled()
        return self._shelf.total

    def remove(self, connection_id: int) -> None:
        """Take a connection out; one that is in use leaves when it is given back. Down to `min_connections`; below, it
        is replaced. Raises ConfigurationError for an unknown id.
        """
        self._upkeep.check_running()
        check_count("connection_id", connection_id, 0)
        self._shelf.remove(connection_id, self._upkeep.clock())
        self._upkeep.look()

    async def control(self, command: PoolCommand) -> TransportClient | PoolStats | int | None:
        """Carry out a command of `pool.control`; its answer and errors are those of the method that does the same."""
        return await carry_out(self, command)

    # What it looks like

    def events(self) -> PoolEventStream:
        """A new stream of what happens from now on, which holds 1024 events: `async for event in pool.events()`."""
        return self._shelf.events.open()

    def stats(self) -> PoolStats:
        """The counters at this moment."""
        shelf = self._shelf
        return PoolStats(
            total_connections=shelf.total,
            active_connections=shelf.in_use,
            available_connections=shelf.available,
            maintenance_connections=shelf.checking,
            connecting=self._upkeep.maker.under_way,
            waiting=len(shelf.line),
            get_operations=shelf.gets,
            return_operations=shelf.returns,
            create_operations=shelf.creations,
            remove_operations=shelf.removals,
            total_wait_time_ns=round(shelf.line.seconds * 1e9),
            waits=shelf.line.waits,
            wait_timeouts=self._upkeep.wait_timeouts,
            wait_refused=shelf.line.refused,
            connect_failures=self._upkeep.maker.failures,
            health_failures=self._upkeep.health_failures,
            repeated_requests=self._repeated,
        )

    def detailed_status(self) -> PoolDetailedStatus:
        """Its size, and how that came. Call it on the loop."""
        return self._shelf.detailed_status(self._upkeep.clock())

    @property
    def connections(self) -> list[PooledConnection]:
        """All connections, the oldest first."""
        return self._shelf.members()

    @property
    def utilization(self) -> float:
        """The part of the connections that is in use; 0 of none."""
        return self._shelf.utilization

    # Its own

    def _client(self, target: Target, on_lost: Callable[[PooledClient], None]) -> PooledClient:
        return PooledClient(
            self._configs[target],
            target,
            session=self._session,
            middleware=self._middleware,
            registry=self._registry,
            on_lost=on_lost,
        )
