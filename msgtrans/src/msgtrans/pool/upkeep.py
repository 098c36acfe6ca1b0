"""Keeps a pool of connections as its shelf says: makes, closes and checks them, and wakes who waits.

Owned by a `ConnectionPool`, of one loop: one timer, a task per attempt, health check and close.
Not here: the decisions (`pool.shelf`, `pool.expansion`, `flow.balancing`), what users see (`pool.connections`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from msgtrans.errors import (
    ConfigurationError,
    ConnectError,
    ResourceError,
    SessionClosedError,
    TransportConnectionError,
    TransportError,
)
from msgtrans.pool.events import PoolError
from msgtrans.pool.health import HealthCheck, awaitable
from msgtrans.pool.making import AT_ONCE, Maker, PooledClient
from msgtrans.pool.members import Member
from msgtrans.pool.shelf import Shelf

if TYPE_CHECKING:
    from msgtrans.config import RetryConfig
    from msgtrans.flow.balancing import Target, Targets

PoolShelf: TypeAlias = Shelf[PooledClient, asyncio.Future[Member[PooledClient]]]
LOOKS: Final = (0.02, 5.0)  # seconds between two looks at what is idle, at least and at most
logger = logging.getLogger("msgtrans.pool")


class Upkeep:
    """Carries out what `shelf` wants.

    targets, retry: where to connect to, and how often. make: a client for an address, that calls what it is given when
    its connection has ended. health_check: None for none; it is due after `health_interval` seconds and has
    `check_timeout`. shortest: seconds, of all times after which something is to happen to what is idle.
    """

    def __init__(
        self,
        shelf: PoolShelf,
        targets: Targets,
        retry: RetryConfig,
        make: Callable[[Target, Callable[[PooledClient], None]], PooledClient],
        *,
        health_check: HealthCheck | None,
        health_interval: float,
        check_timeout: float,
        shortest: float,
    ) -> None:
        self.clock: Callable[[], float] = time.monotonic  # that of uvloop counts milliseconds
        self.shelf = shelf
        self.maker = Maker(
            targets,
            retry,
            lambda target: make(target, self._on_lost),
            clock=self.clock,
            on_made=self._on_made,
            on_failed=self._on_failed,
        )
        self.running = False
        self.wait_timeouts = self.health_failures = 0
        self._health_check = health_check
        self._health_interval = health_interval
        self._check_timeout = check_timeout
        self._period = min(max(shortest / 4, LOOKS[0]), LOOKS[1])
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._settling: list[asyncio.Future[None]] = []
        self._closings: set[asyncio.Task[None]] = set()
        self._checks: set[asyncio.Task[None]] = set()
        self._warned_of_check = False

    async def start(self) -> None:
        """As `ConnectionPool.start`."""
        if self.running:
            await self.settled()
            return
        self.running = True
        self.maker.begin_anew()
        self.shelf.begin()
        try:
            await self.settled()
            self.check_running()
        except BaseException:
            await self.close(graceful=False)
            raise

    async def close(self, *, graceful: bool = True) -> None:
        """As `ConnectionPool.close`."""
        if not self.running:
            return
        self.running = False
        self._schedule(math.inf)
        self._fail_waiters(_closed)
        clients = self.shelf.clear(self.clock()) + self._tidy(graceful=graceful)
        try:
            await self.maker.stop()
            for check in self._checks:
                check.cancel()
            await asyncio.gather(*self._checks, return_exceptions=True)
            await asyncio.gather(*(client.close(graceful=graceful) for client in clients), *self._closings)
        finally:
            for client in clients:
                if client.is_connected:
                    client.session.abort()
            self._settle()
            self._end_events()

    def _end_events(self) -> None:
        """Once the last connection is given back: until then there is more to tell."""
        if not (self.running or self.shelf.total):
            self.shelf.events.end()

    def check_running(self) -> None:
        """Raise SessionClosedError while the pool is not open."""
        if not self.running:
            raise SessionClosedError("the pool is not open; call start() first or use `async with`")

    def give_back(self, client: PooledClient) -> None:
        """Somebody is done with `client`. Raises as `ConnectionPool.release`."""
        shelf, now = self.shelf, self.clock()
        shelf.give_back(client, now)
        if shelf.line:
            self._serve(now)
        if shelf.leaving:
            self.look()
        if not self.running:
            self._end_events()

    async def wait(self, timeout: float, now: float) -> Member[PooledClient]:  # noqa: ASYNC109 - as `get`
        """Stand in line for `timeout` seconds. Raises as `ConnectionPool.get`."""
        loop, line, until = asyncio.get_running_loop(), self.shelf.line, now + timeout
        waiter: asyncio.Future[Member[PooledClient]] = loop.create_future()
        key = line.join(waiter)
        while True:
            member = await self._next(key, waiter, until)
            if not self.running:
                self.give_back(member.client)
                raise _closed()
            if member.client.is_connected:
                line.served(self.clock() - now)
                return member
            waiter = loop.create_future()
            line.rejoin(key, waiter)  # it broke on the way here
            self.give_back(member.client)

    async def _next(self, key: int, waiter: asyncio.Future[Member[PooledClient]], until: float) -> Member[PooledClient]:
        """What is handed to `waiter`, who stands in line."""
        now = self.clock()
        timer = asyncio.get_running_loop().call_later(max(until - now, 0), self._time_out, waiter)
        try:
            if self.shelf.may_want_more():
                self.look()
            if self._is_cut_off() and self.maker.next_at(now) > until:
                raise self._no_connection()
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back(waiter.result().client)  # it came at the same time
            raise
        finally:
            timer.cancel()
            self.shelf.line.leave(key)

    def _time_out(self, waiter: asyncio.Future[Member[PooledClient]]) -> None:
        if waiter.done():
            return
        self.wait_timeouts += 1
        shelf = self.shelf
        if not shelf.total:
            waiter.set_exception(self._no_connection())
        else:
            error = ResourceError("use of pooled connections", shelf.in_use, shelf.goal)
            error.__cause__ = self.maker.error
            waiter.set_exception(error)

    def _fail_waiters(self, error: Callable[[], TransportError]) -> None:
        for waiter in self.shelf.line.clear():
            if not waiter.done():
                waiter.set_exception(error())

    def _is_cut_off(self) -> bool:
        """Whether there is no connection, none under way, and an error that says why."""
        return not self.shelf.total and not self.maker.under_way and self.maker.error is not None

    def _no_connection(self) -> TransportError:
        cause = self.maker.error
        error = ConnectError(
            f"the pool has no connection and can make none: {cause or 'no attempt has come to an end yet'}",
            retriable=cause.retriable if cause is not None else None,
        )
        error.__cause__ = cause
        return error

    async def settled(self) -> None:
        """Have what is missing made, and wait until no attempt is under way."""
        settled = asyncio.get_running_loop().create_future()
        self._settling.append(settled)
        self.look()
        await settled

    def _settle(self) -> None:
        if self.maker.under_way and self.running:
            return
        settling, self._settling = self._settling, []
        for settled in settling:
            if settled.done():
                continue
            if self._is_cut_off():
                settled.set_exception(self._no_connection())
            else:
                settled.set_result(None)

    def look(self) -> None:
        """Do what is to be done now, and see to it that somebody looks again when there is more."""
        if not self.running:
            self._tidy()
            return
        shelf, maker, now = self.shelf, self.maker, self.clock()
        self._serve(now)
        shelf.making = maker.under_way
        shelf.grow(now)
        self._tidy()
        due = maker.begin(shelf.missing(), now)
        shelf.making = maker.under_way
        self._settle()
        self._schedule(min(due, shelf.may_grow_at(now), shelf.look_at, now + self._period))

    def _serve(self, now: float) -> None:
        for waiter, member in self.shelf.serve(now):
            waiter.set_result(member)

    def _schedule(self, at: float) -> None:
        """Look again at that time, or earlier if that was planned; infinity: not any more."""
        if self._timer is not None:
            if self._timer_at <= at < math.inf:
                return
            self._timer.cancel()
            self._timer = None
        if at < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(at - self.clock(), 0), self._on_time)
            self._timer_at = at

    def _on_time(self) -> None:
        self._timer = None
        now = self.clock()
        self.shelf.sweep(now)
        self.shelf.shrink(now)
        self._begin_checks(now)
        if self.maker.outages:
            self.shelf.tell_open(self._seen)
        self.look()

    def _seen(self, client: PooledClient, since: float) -> None:
        self.maker.outages.seen(client.uri, since, self.clock(), used=client.session.packets_received > 0)

    def _begin_checks(self, now: float) -> None:
        if self._health_check is None or not self.running:
            return
        for member in self.shelf.to_check(now, self._health_interval, AT_ONCE):
            check = asyncio.get_running_loop().create_task(self._check(member, self._health_check))
            self._checks.add(check)
            check.add_done_callback(self._checks.discard)

    async def _check(self, member: Member[PooledClient], health_check: HealthCheck) -> None:
        error: BaseException | None = None
        try:
            async with asyncio.timeout(self._check_timeout):
                await awaitable(health_check(member.client))
        except Exception as raised:  # noqa: BLE001 - whatever it is, that is what the check says
            error = raised
        except asyncio.CancelledError as raised:
            error = raised
            if not self.running:
                raise
        finally:
            self.shelf.checked(member, self.clock(), healthy=error is None)
        if error is not None:
            self._failed_check(member.client.uri, error)
        self.look()
        self._begin_checks(self.clock())

    def _failed_check(self, uri: str, error: BaseException) -> None:
        self.health_failures += 1
        failure = TransportConnectionError(f"the health check of a connection failed: {error!r}")
        failure.__cause__ = error
        self.shelf.events.emit(PoolError(uri, failure))
        strange = not isinstance(error, TransportError | OSError) or isinstance(error, ConfigurationError)
        if strange and not self._warned_of_check:
            self._warned_of_check = True
            logger.warning(
                "the health check raised what is no TransportError: a connection to %s is replaced; told once",
                uri,
                exc_info=error,
            )
        else:
            logger.info("a connection to %s is replaced: %r", uri, error)

    def _tidy(self, *, graceful: bool = True) -> list[PooledClient]:
        """Close what has left, in the background; what that is."""
        leaving, self.shelf.leaving = self.shelf.leaving, []
        now = self.clock() if leaving else 0.0
        for member in leaving:
            client, lost = member.client, member.reason in {"broken", "unhealthy"}
            error = self.maker.left(client, member.reason, member.created_at, now)
            if error is not None:
                self.shelf.events.emit(PoolError(client.uri, error))
            closing = asyncio.get_running_loop().create_task(client.close(graceful=graceful and not lost))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        return [member.client for member in leaving]

    def _on_made(self, client: PooledClient) -> None:
        client.member = self.shelf.add(client, self.clock())
        self.look()

    def _on_failed(self, uri: str, error: TransportError) -> None:
        self.shelf.events.emit(PoolError(uri, error))
        self.look()
        if self._is_cut_off():
            self._fail_waiters(self._no_connection)

    def _on_lost(self, client: PooledClient) -> None:
        if client.member is not None:
            self.shelf.lost(client.member, self.clock())
            if self.shelf.leaving:
                asyncio.get_running_loop().call_soon(self.look)  # this may be in the middle of something


def _closed() -> SessionClosedError:
    return SessionClosedError("the pool of connections was closed")
