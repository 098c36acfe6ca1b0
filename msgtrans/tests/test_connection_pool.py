"""A pool of connections over real sockets: borrowing, waiting, breaking, growing, closing."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import pytest
from carriers import CARRIERS

from msgtrans import (
    ConfigurationError,
    ConnectError,
    Context,
    ResourceError,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
)
from msgtrans.adapters.registry import TransportRegistry
from msgtrans.adapters.tcp import TcpTransport
from msgtrans.config import (
    NO_RETRY,
    CircuitBreakerConfig,
    RetryConfig,
    SmartPoolConfig,
    TcpClientConfig,
    TcpServerConfig,
)
from msgtrans.middleware import AuthenticationMiddleware, TokenMiddleware, fixed_tokens
from msgtrans.pool.connections import ConnectionPool
from msgtrans.pool.control import (
    CreateConnection,
    ForceExpand,
    GetConnection,
    GetStats,
    RemoveConnection,
    ReturnConnection,
)
from msgtrans.pool.events import (
    REMEMBERED,
    ConnectionAcquired,
    ConnectionCreated,
    ConnectionReleased,
    ConnectionRemoved,
    PoolError,
    PoolExpanded,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from carriers import Carrier
    from conftest import Until

    from msgtrans.link import Link
    from msgtrans.pool.events import PoolEventStream
    from msgtrans.pool.making import PooledClient
    from msgtrans.transport import ClientConfig, Host

SMALL = SmartPoolConfig(initial_size=2, max_size=4, min_connections=1, expansion_cooldown=0, shrink_cooldown=600)
FIXED = SmartPoolConfig(initial_size=2, max_size=2)
SECONDS = r"timeout: is .*; use (0 or )?a positive, finite number of seconds"
SOON = RetryConfig(max_retries=None, retry_interval=0.01, max_retry_interval=0.02)


def pool_of(*servers: TransportServer, config: SmartPoolConfig = FIXED, **options: object) -> ConnectionPool:
    return ConnectionPool([server.uris[0] for server in servers], config=config, retry=SOON, **options)


async def echoing() -> TransportServer:
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda context: context.payload)
    await server.start()
    return server


def heard(events: PoolEventStream) -> list[object]:
    """What a stream holds."""
    held = [*events._queue]
    events._queue.clear()
    return held


def adds_up(pool: ConnectionPool) -> bool:
    """Whether all counters say the same."""
    stats = pool.stats()
    parts = stats.active_connections + stats.available_connections + stats.maintenance_connections
    return (
        stats.total_connections == parts == len(pool.connections)
        and stats.create_operations - stats.remove_operations == stats.total_connections
        and stats.get_operations - stats.return_operations == stats.active_connections
        and stats.total_operations
        == stats.get_operations + stats.return_operations + stats.create_operations + stats.remove_operations
    )


async def test_borrowing(server: TransportServer, until: Until) -> None:
    """An open connection is borrowed and given back, each step is an event, and the counters say the same."""
    pool = pool_of(server)
    events = pool.events()
    async with pool:
        await until(lambda: len(server.sessions) == 2)
        async with pool.acquire() as client:
            assert b"hello" == (await client.request(b"hello")).payload
            assert (0.5, 1, 1) == (
                pool.utilization,
                pool.stats().active_connections,
                pool.stats().available_connections,
            )
        assert b"again" == (await pool.request(b"again", biz_type=3)).payload
        stats = pool.stats()
        assert (2, 2, 2, 0, 6, 0) == (
            stats.get_operations,
            stats.return_operations,
            stats.create_operations,
            stats.remove_operations,
            stats.total_operations,
            stats.total_wait_time_ns,
        )
        uri = server.uris[0]
        assert [
            ConnectionCreated(0, uri),
            ConnectionCreated(1, uri),
            ConnectionAcquired(0),
            ConnectionReleased(0),
            ConnectionAcquired(1),
            ConnectionReleased(1),
        ] == heard(events)
    assert [ConnectionRemoved(0, "closed"), ConnectionRemoved(1, "closed")] == [event async for event in events]
    assert (True, 0) == (adds_up(pool), pool.stats().total_connections)


async def test_growing_from_100(server: TransportServer, until: Until) -> None:
    """Case 25: 100 real connections grow to 200, 300, 360, 396 and then to max_size, as they are taken into use."""
    config = SmartPoolConfig(max_size=400, expansion_cooldown=0, shrink_cooldown=0)
    pool = pool_of(server, config=config)
    events = pool.events()
    async with pool:
        assert 100 == pool.stats().total_connections
        clients = [await pool.get() for _ in range(400)]
        grown = [(event.from_size, event.to_size) for event in heard(events) if isinstance(event, PoolExpanded)]
        assert [(100, 200), (200, 300), (300, 360), (360, 396), (396, 400)] == grown
        assert 400 == len({id(client) for client in clients if client.is_connected})
        await until(lambda: len(server.sessions) == 400)
        status = pool.detailed_status()
        assert (400, 400, 400, 1.0, 5, 0, 1.1) == (
            status.current_size,
            status.wanted_size,
            status.max_size,
            status.utilization,
            status.expansion_count,
            status.shrink_count,
            status.current_expansion_factor,
        )
        assert pytest.approx((2.0 + 1.5 + 1.2 + 1.1 + 1.1) / 5) == status.avg_expansion_factor
        assert (5, 0) == (status.expansion_frequency, status.shrink_frequency)
        with pytest.raises(ResourceError, match=": 400, and the limit is 400"):
            await pool.get(0)
        for client in clients:
            pool.release(client)
        while pool._shelf.shrink(pool._upkeep.clock()):
            pass
        status = pool.detailed_status()
        assert (100, 2.0, 7) == (status.current_size, status.current_expansion_factor, status.shrink_count)
        assert adds_up(pool)


async def test_giving_back_twice(server: TransportServer) -> None:
    """Case 25: a connection is given back once; a second time, or one of no pool, is refused."""
    async with pool_of(server) as pool, TransportClient(server.uris[0]) as alone:
        client = await pool.get()
        pool.release(client)
        with pytest.raises(ConfigurationError, match="given back already"):
            pool.release(client)
        with pytest.raises(ConfigurationError, match="not of a pool"):
            pool.release(alone)
        assert (2, True) == (pool.stats().available_connections, adds_up(pool))


async def test_waiting_in_line(server: TransportServer) -> None:
    """Those who wait are served in the order in which they came, and the time they waited is counted."""
    async with pool_of(server) as pool:
        clients = [await pool.get(), await pool.get()]
        order: list[int] = []

        async def use(number: int) -> None:
            async with pool.acquire():
                order.append(number)

        tasks = [asyncio.create_task(use(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert (5, []) == (pool.stats().waiting, order)
        for client in clients:
            pool.release(client)
        await asyncio.gather(*tasks)
        stats = pool.stats()
        assert ([0, 1, 2, 3, 4], 5, 0) == (order, stats.waits, stats.waiting)
        assert stats.total_wait_time_ns > 0


async def test_waiting_is_bounded(server: TransportServer) -> None:
    """Whoever waits too long, or finds the line full, gets a ResourceError with the numbers, and is counted."""
    async with pool_of(server, max_waiting=1) as pool:
        clients = [await pool.get(), await pool.get()]
        with pytest.raises(ResourceError, match="pooled connections: 2, and the limit is 2"):
            await pool.get(0.01)
        waiting = asyncio.create_task(pool.get())
        await asyncio.sleep(0)
        with pytest.raises(ResourceError, match="callers waiting for a pooled connection: 1, and the limit is 1"):
            await pool.get()
        pool.release(clients[0])
        assert await waiting is clients[0]
        assert (1, 1) == (pool.stats().wait_timeouts, pool.stats().wait_refused)


async def test_the_timeout_of_a_request_is_for_all_of_it(server: TransportServer) -> None:
    """A request waits for a connection within its timeout, and for its answer within what is left."""
    server.on_request(lambda _: None)
    async with pool_of(server) as pool:
        with pytest.raises(TransportTimeoutError):
            await pool.request(b"never answered", timeout=0.01)
        clients = [await pool.get(), await pool.get()]
        with pytest.raises(ResourceError):
            await pool.request(b"no connection", timeout=0.01)
        assert 2 == len(clients)


async def test_cancelled_in_line(server: TransportServer) -> None:
    """Cancelled while it waits, and even when its connection has come already, a caller loses none and no place."""
    async with pool_of(server) as pool:
        clients = [await pool.get(), await pool.get()]
        tasks = [asyncio.create_task(pool.get()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        pool.release(clients[0])  # for the second: the first is going
        tasks[1].cancel()  # which has it, but does not know yet
        await asyncio.gather(*tasks[:2], return_exceptions=True)
        assert (True, True, clients[0]) == (tasks[0].cancelled(), tasks[1].cancelled(), await tasks[2])
        pool.release(clients[0])
        pool.release(clients[1])
        assert (2, True) == (pool.stats().available_connections, adds_up(pool))


async def test_broken_connections_are_replaced(server: TransportServer, until: Until) -> None:
    """A connection that the server ends while nobody uses it leaves at once, and another takes its place."""
    pool = pool_of(server)
    events = pool.events()
    async with pool:
        await until(lambda: len(server.sessions) == 2)
        heard(events)
        for session in list(server.sessions.values()):
            session.abort()
        await until(lambda: pool.stats().create_operations == 4)
        assert [ConnectionRemoved(0, "broken"), ConnectionRemoved(1, "broken")] == heard(events)[:2]
        clients = [await pool.get(), await pool.get()]
        assert [True, True] == [client.is_connected for client in clients]
        assert adds_up(pool)


async def test_what_breaks_in_use_is_replaced(server: TransportServer, until: Until) -> None:
    """A connection that ends while it is borrowed is not handed out again; who waits gets its successor."""
    async with pool_of(server, config=FIXED.replace(initial_size=1, max_size=1)) as pool:
        client = await pool.get()
        waiting = asyncio.create_task(pool.get())
        await until(lambda: server.sessions)
        next(iter(server.sessions.values())).abort()
        await until(lambda: not client.is_connected)
        with pytest.raises(SessionClosedError):
            await client.request(b"too late")
        pool.release(client)
        successor = await waiting
        assert (True, True) == (successor is not client, successor.is_connected)
        assert (1, 2, True) == (pool.stats().total_connections, pool.stats().create_operations, adds_up(pool))


async def test_what_breaks_on_the_way_is_not_handed_out(server: TransportServer) -> None:
    """A connection that ends between being given and being taken goes back, and the caller gets another."""
    async with pool_of(server) as pool:
        clients = [await pool.get(), await pool.get()]
        waiting = asyncio.create_task(pool.get())
        await asyncio.sleep(0)
        pool.release(clients[0])
        clients[0].session.abort()
        successor = await waiting
        assert (True, True) == (successor is not clients[0], successor.is_connected)


async def test_a_client_closed_by_its_user_is_replaced(server: TransportServer) -> None:
    """Closing a borrowed connection is allowed; the pool makes another."""
    async with pool_of(server, config=FIXED.replace(initial_size=1, max_size=1)) as pool:
        for close in (lambda client: client.close(), lambda client: client.close(graceful=False)):
            async with pool.acquire() as client:
                await close(client)
            async with pool.acquire() as successor:
                assert (True, True) == (successor is not client, successor.is_connected)
        async with pool.acquire() as client:
            client.session.abort()
        (target,) = pool._upkeep.maker.targets.all
        assert (0, True) == (target.failures, adds_up(pool))


async def test_health_checks(server: TransportServer, until: Until) -> None:
    """Idle connections are checked after the interval; one that fails is replaced, and the error is told."""
    sick: set[TransportClient] = set()
    seen: set[TransportClient] = set()

    async def check(client: TransportClient) -> None:
        seen.add(client)
        if client in sick:
            await asyncio.sleep(0)
            raise ValueError("does not know us any more")
        await client.request(b"ping")

    pool = pool_of(server, health_check=check, health_interval=0.01)
    async with pool:
        events = pool.events()
        await until(lambda: len(seen) == 2)
        sick.add(next(iter(seen)))
        await until(lambda: pool.stats().create_operations == 3 and len(seen) == 3)
        errors = [event for event in heard(events) if isinstance(event, PoolError)]
        assert [("ValueError('does not know us any more')",)] == [
            (str(error.error).partition("failed: ")[2],) for error in errors
        ]
        assert isinstance(errors[0].error.__cause__, ValueError)
        assert (1, True) == (pool.stats().health_failures, adds_up(pool))
        async with pool.acquire() as one, pool.acquire() as other:
            assert not {one, other} & sick


async def test_many_connections_are_checked_some_at_a_time(server: TransportServer, until: Until) -> None:
    """Checks follow each other as fast as they end, 16 at most at a time, and each connection is checked once."""
    running: set[TransportClient] = set()
    most, checked = 0, []

    async def check(client: TransportClient) -> None:
        nonlocal most
        running.add(client)
        most = max(most, len(running))
        await client.request(b"ping")
        running.remove(client)
        checked.append(client)

    config = SmartPoolConfig(initial_size=50, max_size=50)
    async with pool_of(server, config=config, health_check=check, health_interval=0.02) as pool:
        await until(lambda: len({*checked}) == 50)
        assert (16, 0, True) == (most, pool.stats().health_failures, adds_up(pool))


async def test_a_server_that_hangs_is_left_alone(until: Until) -> None:
    """A server that accepts and does not answer fails the health checks, and all connections go to the other."""
    hanging, well = await echoing(), await echoing()
    hanging.on_request(lambda _: None)

    async def check(client: TransportClient) -> None:
        await client.request(b"ping", timeout=0.02)

    breaker = CircuitBreakerConfig(failure_threshold=1)
    config = SmartPoolConfig(initial_size=4, max_size=4)
    options = {"config": config, "circuit_breaker": breaker, "health_check": check, "health_interval": 0.02}
    async with hanging, well, pool_of(hanging, well, **options) as pool:
        await until(lambda: len(well.sessions) == 4)
        assert {well.uris[0]} == {connection.uri for connection in pool.connections}
        assert pool.stats().health_failures >= 2


async def test_a_check_that_hangs_fails(server: TransportServer, until: Until) -> None:
    """A health check has `request_timeout`; then its connection is replaced, and closing does not wait for it."""

    async def check(client: TransportClient) -> None:
        await asyncio.Event().wait()

    session = SessionConfig(request_timeout=0.01)
    async with pool_of(server, health_check=check, health_interval=0.01, session=session) as pool:
        await until(lambda: pool.stats().health_failures)
        await until(lambda: pool.stats().maintenance_connections)
    assert (0, True) == (pool.stats().total_connections, adds_up(pool))


async def test_idle_connections_are_closed(server: TransportServer, until: Until) -> None:
    """Connections that nobody uses for idle_timeout are closed, min_connections are kept, and come back when wanted."""
    config = SmartPoolConfig(initial_size=3, max_size=3, min_connections=1)
    async with pool_of(server, config=config, idle_timeout=0.02) as pool:
        await until(lambda: pool.stats().remove_operations >= 2)
        await until(lambda: len(server.sessions) == 1)
        clients = [await pool.get() for _ in range(3)]
        assert (3, 0) == (len({*clients}), pool.detailed_status().expansion_count)


async def test_old_connections_are_replaced(server: TransportServer, until: Until) -> None:
    """After max_lifetime connections are replaced, one that is in use when it is given back."""
    async with pool_of(server, max_lifetime=0.05, chance=lambda: 0.0) as pool:
        client = await pool.get()
        await until(lambda: pool.stats().remove_operations >= 1)
        assert client.is_connected
        await asyncio.sleep(0.05)  # until it is old
        pool.release(client)
        assert "closed" != client.session.state.value  # gracefully
        await until(lambda: not client.is_connected)
        assert adds_up(pool)


async def test_several_servers(until: Until) -> None:
    """Connections are spread evenly over the addresses, and so is the load."""
    first, second = await echoing(), await echoing()
    async with first, second, pool_of(first, second, config=SmartPoolConfig(initial_size=6, max_size=6)) as pool:
        await until(lambda: (len(first.sessions), len(second.sessions)) == (3, 3))
        for _ in range(12):
            await pool.request(b"x")
        received = [sum(session.packets_received for session in server.sessions.values()) for server in (first, second)]
        assert [6, 6] == received


async def test_a_server_that_goes_is_left_alone(until: Until) -> None:
    """When one of two servers stops, its connections come back at the other, and nobody gets a broken one."""
    first, second = await echoing(), await echoing()
    breaker = CircuitBreakerConfig(failure_threshold=1)
    pool = pool_of(first, second, config=SmartPoolConfig(initial_size=4, max_size=4), circuit_breaker=breaker)
    async with first, second, pool:
        await first.stop()
        await until(lambda: len(second.sessions) == 4)
        for _ in range(8):
            assert b"x" == (await pool.request(b"x")).payload
        assert adds_up(pool)


async def test_start_raises_the_real_error() -> None:
    """Where nothing can be connected to, entering raises ConnectError with the cause, and the pool is closed."""
    server = await echoing()
    uri, pool = server.uris[0], pool_of(server)
    await server.stop()
    events = pool.events()
    with pytest.raises(ConnectError, match=r"can make none: .*nothing listens there") as caught:
        await pool.start()
    assert isinstance(caught.value.__cause__, ConnectError)
    assert [uri] * pool.stats().connect_failures == [event.uri for event in heard(events)]
    with pytest.raises(SessionClosedError, match="not open"):
        await pool.get()


async def test_starting_again_after_a_failure() -> None:
    """A start after one that failed tries at once, however long the pause would be; its error is that of now."""
    server = await echoing()
    address, patient = str(server.tcp_address), RetryConfig(retry_interval=600, max_retry_interval=600, jitter=False)
    pool = ConnectionPool(server.uris[0], config=FIXED, retry=patient)
    await server.stop()
    errors = []
    for _ in range(2):
        with pytest.raises(ConnectError, match="nothing listens there") as caught:
            await pool.start()
        errors.append(caught.value.__cause__)
    assert errors[0] is not errors[1]
    server = TransportServer(tcp=address)
    server.on_request(lambda context: context.payload)
    async with server, pool:
        assert b"x" == (await pool.request(b"x")).payload
        assert (2, 4) == (pool.stats().total_connections, pool.stats().connect_failures)


async def test_starting_again_with_nothing_to_make() -> None:
    """A pool that begins without connections starts again, whatever its servers did before it was closed."""
    server = await echoing()
    pool = pool_of(server, config=FIXED.replace(enable_warmup=False, min_connections=0))
    await server.stop()
    async with pool:
        with pytest.raises(ConnectError):
            await pool.get()
    async with pool:
        assert 0 == pool.stats().total_connections


async def test_who_waits_gets_the_real_error(until: Until) -> None:
    """When the only server goes, those in line get the error of the failed attempt, not a timeout; then it heals."""
    server = await echoing()
    address = str(server.tcp_address)
    async with pool_of(server) as pool:
        clients = [await pool.get(), await pool.get()]
        waiting = asyncio.create_task(pool.get(60))
        await asyncio.sleep(0)
        await server.stop()
        await until(lambda: not any(client.is_connected for client in clients))
        for client in clients:
            pool.release(client)
        with pytest.raises(ConnectError, match="can make none: ") as caught:
            await waiting
        assert isinstance(caught.value.__cause__, ConnectError)
        server = TransportServer(tcp=address)
        async with server:
            await until(lambda: pool.stats().total_connections == 2)
            assert (await pool.get()).is_connected
            assert adds_up(pool)


async def test_who_cannot_be_served_in_time_is_told_at_once(until: Until) -> None:
    """While the next attempt is due only after the caller's timeout, it fails at once, with the real error."""
    server = await echoing()
    patient = RetryConfig(max_retries=None, retry_interval=600, max_retry_interval=600, jitter=False)
    pool = ConnectionPool(server.uris[0], config=FIXED.replace(initial_size=1), retry=patient)
    async with pool:
        await server.stop()
        await until(lambda: not pool.stats().total_connections)
        with pytest.raises(ConnectError, match=r"can make none: the connection to .* ended"):
            await pool.get(300)


async def test_a_first_connection_that_takes_long() -> None:
    """While the first attempt hangs, callers whose time is over hear that there is no connection."""
    config = FIXED.replace(enable_warmup=False, min_connections=0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        async with ConnectionPool(f"ws://{host}:{port}/", config=config) as pool:
            with pytest.raises(ConnectError, match="no attempt has come to an end yet"):
                await pool.get(0.01)
            assert (1, 1) == (pool.stats().wait_timeouts, pool.stats().connecting)


async def test_a_hopeless_address_is_given_up_and_tried_again(until: Until) -> None:
    """An error that retrying cannot help is not retried soon; after max_retry_interval somebody may be luckier."""
    server = await echoing()
    hopeless = TcpClientConfig(
        target_address=str(server.tcp_address), local_bind_address="203.0.113.1:0", retry_config=NO_RETRY
    )
    async with server:
        pool = ConnectionPool([hopeless], config=FIXED, retry=RetryConfig(max_retries=0, max_retry_interval=0.5))
        for _ in range(2):
            with pytest.raises(ConnectError, match="can make none"):
                await pool.start()
        maker = pool._upkeep.maker
        now = time.monotonic()
        assert all(target.given_up for target in maker.targets.all)
        assert maker._failed_at + 0.5 == maker.next_at(now) == maker.begin(1, now)
        maker.begin(1, now + 1)
        assert not any(target.given_up for target in maker.targets.all)


async def test_a_server_with_less_room_than_wanted(until: Until) -> None:
    """Where the server takes fewer connections, the pool works with those there are, and goes on trying."""
    server = TransportServer(tcp="127.0.0.1:0", max_connections=2)
    server.on_request(lambda context: context.payload)
    async with server, pool_of(server, config=SmartPoolConfig(initial_size=4, max_size=4)) as pool:
        assert b"x" == (await pool.request(b"x")).payload
        await until(lambda: pool.stats().connect_failures + pool.stats().remove_operations >= 4)
        assert adds_up(pool)


async def test_without_warm_up(server: TransportServer) -> None:
    """Without warm-up a pool begins with min_connections, 0 if need be, and makes what is wanted."""
    config = FIXED.replace(enable_warmup=False, min_connections=0)
    async with pool_of(server, config=config) as pool:
        assert 0 == pool.stats().total_connections
        async with pool.acquire(), pool.acquire():
            assert 2 == pool.detailed_status().wanted_size
        assert 0 == pool.detailed_status().expansion_count


async def test_control_commands(server: TransportServer) -> None:
    """Case 25: every command has an answer, the same as of its method."""
    async with pool_of(server, config=SMALL) as pool:
        client = await pool.control(GetConnection(timeout=1))
        assert isinstance(client, TransportClient)
        assert None is await pool.control(ReturnConnection(client))
        assert 3 == await pool.control(CreateConnection(1))
        assert 4 == await pool.control(ForceExpand())
        with pytest.raises(ResourceError):
            await pool.control(CreateConnection(1))
        with pytest.raises(ResourceError):
            await pool.control(ForceExpand())
        number = pool.connections[0].id
        assert None is await pool.control(RemoveConnection(number))
        assert number not in [connection.id for connection in pool.connections]
        assert pool.stats() == await pool.control(GetStats())
        for wrong in (RemoveConnection(number), CreateConnection(0), "GetStats"):
            with pytest.raises(ConfigurationError):
                await pool.control(wrong)


async def test_connections_are_shown(server: TransportServer) -> None:
    """Each connection has an id, an address, a state, times and how often it was used."""
    async with pool_of(server) as pool:
        async with pool.acquire() as client:
            used, idle = pool.connections
            assert (0, 1, "in-use", 1) == (used.id, idle.id, used.state.value, used.use_count)
            assert ("available", 0, server.uris[0]) == (idle.state.value, idle.use_count, idle.uri)
            borrowed: PooledClient = client
            assert 0 == borrowed.connection_id
        assert pool.connections[0].last_used >= pool.connections[0].created_at


async def test_closing(server: TransportServer, until: Until) -> None:
    """Closing ends connections in use too, those in line are told, and what is borrowed can still be given back."""
    pool = pool_of(server)
    async with pool:
        clients = [await pool.get(), await pool.get()]
        waiting = asyncio.create_task(pool.get())
        await asyncio.sleep(0)
    with pytest.raises(SessionClosedError, match="was closed"):
        await waiting
    await until(lambda: not server.sessions)
    assert [False, False] == [client.is_connected for client in clients]
    for call in (pool.get, pool.create, pool.force_expand):
        with pytest.raises(SessionClosedError, match="not open"):
            await call()
    for client in clients:
        pool.release(client)
    assert (0, True) == (pool.stats().total_connections, adds_up(pool))
    await pool.close()
    async with pool:
        assert b"again" == (await pool.request(b"again")).payload


async def test_closing_is_cancelled(server: TransportServer, until: Until) -> None:
    """Cancelled while it closes, a pool drops what is still open, in use or not."""
    for turns in range(3):
        pool = pool_of(server, health_check=lambda client: client.request(b"x"), health_interval=0.02)
        await pool.start()
        client = await pool.get()
        closing = asyncio.create_task(pool.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await pool.close()
        await until(lambda: not server.sessions)
        pool.release(client)
        assert (0, True) == (pool.stats().total_connections, adds_up(pool))


async def test_starting_twice(server: TransportServer) -> None:
    """Two starts at a time make the connections once; one whose pool is closed meanwhile says so."""
    pool = pool_of(server)
    await asyncio.gather(pool.start(), pool.start())
    assert 2 == pool.stats().create_operations
    await pool.close()
    starting = asyncio.create_task(pool.start())
    await asyncio.sleep(0)
    await pool.close()
    with pytest.raises(SessionClosedError, match="not open"):
        await starting


@pytest.mark.parametrize("carrier", CARRIERS, indirect=True)
async def test_every_carrier(carrier: Carrier, server: TransportServer) -> None:
    """A pool takes whatever a client takes: each transport, plain and inside TLS."""
    async with ConnectionPool([carrier.target(server)], config=FIXED) as pool:
        assert [b"x", b"x", b"x"] == [(await pool.request(b"x")).payload for _ in range(3)]
    assert (2, 2) == (pool.stats().create_operations, pool.stats().remove_operations)


async def test_closing_while_connecting(server: TransportServer) -> None:
    """A start that is cancelled leaves nothing behind, whether its attempts had begun or not."""
    for turns in range(6):
        pool = pool_of(server, config=SmartPoolConfig(initial_size=20, max_size=20))
        starting = asyncio.create_task(pool.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert (0, 0) == (pool.stats().total_connections, pool.stats().connecting)
        assert [0] == [target.load for target in pool._upkeep.maker.targets.all]
        assert adds_up(pool)


async def test_an_unexpected_failure_is_one_of_the_attempt(
    server: TransportServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a transport raises is logged and ends its attempt; the pool goes on, and callers are told."""

    class Faulty(TcpTransport):
        async def connect(self, config: ClientConfig, host: Host) -> Link:
            raise RuntimeError("a bug")

    registry = TransportRegistry(plugins=False)
    registry.register(Faulty(), override=True)
    with pytest.raises(ConnectError, match="failed unexpectedly: RuntimeError"):
        await pool_of(server, registry=registry).start()
    assert "connecting to tcp://" in caplog.text


async def test_a_stream_is_followed(server: TransportServer) -> None:
    """Whoever awaits the next event gets it when it happens, and the stream ends with the pool."""
    async with pool_of(server) as pool:
        stream = pool.events()
        for _ in range(2):
            following = asyncio.create_task(anext(stream))
            await asyncio.sleep(0)
            client = await pool.get()
            assert isinstance(await following, ConnectionAcquired)
            pool.release(client)
            assert isinstance(await anext(stream), ConnectionReleased)
        gone = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    assert {"closed"} == {event.reason async for event in stream}
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_streams_hold_so_many_events(server: TransportServer) -> None:
    """A stream that is read too late misses the oldest events, and says how many; others miss nothing."""
    async with pool_of(server) as pool:
        late, early = pool.events(), pool.events()
        early.close()
        for _ in range(REMEMBERED):
            async with pool.acquire():
                pass
        assert (REMEMBERED, REMEMBERED, 0) == (len(late), late.missed, len(early))
        next_one = asyncio.create_task(anext(pool.events()))
        assert ConnectionAcquired(0) == await anext(late)
        next_one.cancel()


async def test_middleware_is_for_every_connection(server: TransportServer) -> None:
    """Each connection of the pool passes its middleware: here, each shows a token."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.use(AuthenticationMiddleware(fixed_tokens({"s3cret": "alice"})))

    @server.on_request
    def who(context: Context) -> bytes:
        return str(context.session.identity).encode()

    async with server, pool_of(server, middleware=[TokenMiddleware("s3cret")]) as pool:
        assert [b"alice", b"alice"] == [(await pool.request(b"")).payload for _ in range(2)]


async def test_an_acquisition_is_entered_once(server: TransportServer) -> None:
    """What acquire() gives is for one use at a time, so that no connection is forgotten."""
    async with pool_of(server) as pool:
        borrowing = pool.acquire()
        async with borrowing:
            with pytest.raises(ConfigurationError, match="entered already"):
                await borrowing.__aenter__()
        async with borrowing as client:
            assert client.is_connected
        assert adds_up(pool)


@pytest.mark.parametrize("seed", range(3))
async def test_totals_add_up_whatever_happens(server: TransportServer, seed: int, until: Until) -> None:
    """Case 25: users come, ask, give up and break connections, the server drops some: no connection and no count
    is lost, and nobody is handed a broken one.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    config = SmartPoolConfig(
        initial_size=3, max_size=12, min_connections=1, expansion_cooldown=0, shrink_cooldown=0, shrink_threshold=0.5
    )
    broken = 0

    async def use(pool: ConnectionPool) -> None:
        nonlocal broken
        with suppress(ResourceError, SessionClosedError, ConnectError):
            async with pool.acquire(chance.choice([0.001, 1, 5])) as client:
                broken += not client.is_connected
                await client.request(b"x")
                if chance.random() < 0.1:
                    client.session.abort()

    async with pool_of(server, config=config, chance=chance.random) as pool:
        for _ in range(15):
            tasks = [asyncio.create_task(use(pool)) for _ in range(chance.randrange(1, 25))]
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            for task in tasks:
                if chance.random() < 0.2:
                    task.cancel()
            for session in list(server.sessions.values()):
                if chance.random() < 0.05:
                    session.abort()
            assert adds_up(pool)
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (True, 0, 0) == (adds_up(pool), pool.stats().active_connections, pool.stats().waiting)
        await until(lambda: pool.stats().total_connections == pool.detailed_status().wanted_size)
    assert (0, 0, True) == (broken, pool.stats().total_connections, adds_up(pool))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("config", 5),
        ("session", "fast"),
        ("retry", None),
        ("circuit_breaker", 5),
        ("health_check", 5),
        ("health_interval", None),
        ("health_interval", 0),
        ("idle_timeout", -1),
        ("max_lifetime", "1"),
        ("max_waiting", 1.5),
        ("max_waiting", 0),
        ("registry", None),
        ("chance", 0.5),
        ("middleware", 5),
        ("middleware", [TokenMiddleware]),
    ],
)
def test_wrong_options(option: str, value: object) -> None:
    """An option of a wrong type or range is refused, and named."""
    with pytest.raises(ConfigurationError, match=rf"^{option}: "):
        ConnectionPool("tcp://127.0.0.1:1", **{option: value})


@pytest.mark.parametrize("wrong", ["x", math.nan, math.inf, -1, True, b"1"])
async def test_wrong_timeouts(server: TransportServer, wrong: float) -> None:
    """A timeout that is none is refused while connections are free, too, and costs none of them."""
    async with pool_of(server, config=SMALL) as pool:
        for call in (pool.get(wrong), pool.acquire(wrong).__aenter__(), pool.control(GetConnection(wrong))):
            with pytest.raises(ConfigurationError, match=SECONDS):
                await call
        for unfit in (wrong, 0):
            with pytest.raises(ConfigurationError, match=SECONDS):
                await pool.request(b"x", timeout=unfit)
        assert (0, 0) == (pool.stats().active_connections, pool.stats().get_operations)
        pool.release(await pool.get(0))


def test_no_address() -> None:
    """A pool needs an address."""
    with pytest.raises(ConfigurationError, match="name at least one"):
        ConnectionPool([])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("initial_size", 0),
        ("max_size", 99),
        ("min_connections", -1),
        ("expansion_threshold", 0.0),
        ("expansion_threshold", 1.0),
        ("expansion_threshold", 0.3),
        ("expansion_threshold", 0.2),
        ("shrink_threshold", 0.0),
        ("shrink_threshold", 1.0),
        ("shrink_threshold", float("nan")),
        ("expansion_cooldown", -1.0),
        ("shrink_cooldown", float("inf")),
        ("expansion_factors", ()),
        ("expansion_factors", (2.0, 1.0)),
        ("expansion_factors", [2.0]),
    ],
)
def test_wrong_sizes(field: str, value: object) -> None:
    """Case 30: every range of specification 4.3 is checked, and the error names the option."""
    with pytest.raises(ConfigurationError, match=rf"^{field}: "):
        SmartPoolConfig(**{field: value})


def test_presets() -> None:
    """Case 30: the presets have the values of specification 4.3."""
    assert [
        (100, 2000, 0.8, 0.3, 30, 60, 10, True, (2.0, 1.5, 1.2, 1.1)),
        (200, 5000, 0.75, 0.25, 15, 45, 50, True, (2.5, 2.0, 1.5, 1.2, 1.1)),
        (50, 1000, 0.9, 0.2, 60, 120, 5, False, (1.5, 1.3, 1.2, 1.1)),
    ] == [
        msgspec.structs.astuple(config)
        for config in (SmartPoolConfig(), SmartPoolConfig.high_performance(), SmartPoolConfig.conservative())
    ]


async def test_connections_at_the_minimum_are_replaced_before_the_server_ends_them(until: Until) -> None:
    """A pool that nobody uses has fresh connections at any time, and none that its server has ended for idling."""
    server = TransportServer(tcp=TcpServerConfig(bind_address="127.0.0.1:0", idle_timeout=30))
    server.on_request(lambda context: context.payload)
    config = SmartPoolConfig(initial_size=3, max_size=6, min_connections=3)
    async with server, pool_of(server, config=config, idle_timeout=0.05) as pool:
        events = pool.events()
        await until(lambda: pool.stats().remove_operations >= 6)
        removed = [event.reason for event in heard(events) if isinstance(event, ConnectionRemoved)]
        assert {"idle"} == {*removed}
        assert (True, True) == (adds_up(pool), 3 <= pool.stats().total_connections <= 4)


async def test_a_request_that_was_not_written_is_repeated(server: TransportServer) -> None:
    """`request` takes another connection when its own ends first; what was written only where that is allowed."""
    async with pool_of(server) as pool:
        for client in [member.client for member in pool._shelf._idle]:
            client.request = ends_first(client, written=False)  # type: ignore[method-assign]
        assert b"again" == (await pool.request(b"again")).payload
        assert 2 == pool.stats().repeated_requests
        for client in [member.client for member in pool._shelf._idle]:
            client.request = ends_first(client, written=True)  # type: ignore[method-assign]
        with pytest.raises(SessionClosedError):
            await pool.request(b"once")
        assert b"twice" == (await pool.request(b"twice", idempotent=True)).payload
        assert (3, True) == (pool.stats().repeated_requests, adds_up(pool))


def ends_first(client: PooledClient, *, written: bool) -> Callable[..., Awaitable[object]]:
    """A request whose connection ends before the answer."""

    async def request(payload: bytes, **options: object) -> object:
        client.session.abort()
        raise SessionClosedError("the connection is gone", written=written)

    return request


async def test_one_warning_tells_that_a_server_is_down(
    server: TransportServer, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried, a server that is down is one warning, and one line when it is back."""
    address = str(server.tcp_address)
    with caplog.at_level(logging.INFO, "msgtrans.pool"):
        async with pool_of(server) as pool:
            await server.stop()
            await until(lambda: pool.stats().connect_failures > 5)
            again = TransportServer(tcp=address)
            await again.start()
            await until(lambda: pool.stats().total_connections == 2)
        await again.stop()
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "msgtrans.pool"]
    assert ["WARNING", "INFO"] == [level for level, _ in told]
    assert 1 == told[0][1].count(address)
    assert f"the server at tcp://{address} is back" == told[1][1]


async def test_connections_that_are_closed_at_once_are_failures(until: Until, caplog: pytest.LogCaptureFixture) -> None:
    """What a full server closes at once counts as a failure to connect, backs off, and is told once."""
    server = TransportServer(tcp="127.0.0.1:0", max_connections=1)
    config = SmartPoolConfig(initial_size=2, max_size=2)
    async with server, pool_of(server, config=config) as pool:
        events = pool.events()
        await until(lambda: pool.stats().connect_failures >= 3)
        assert any(isinstance(event, PoolError) for event in heard(events))
        server.max_connections = 2
        with caplog.at_level(logging.INFO, "msgtrans.pool"):
            await until(lambda: not pool._upkeep.maker.outages)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert 1 == len(told)
    assert "its max_connections is less than max_size" in told[0]
    assert f"the server at {pool._upkeep.maker.targets.all[0].uri} is back" == caplog.records[-1].getMessage()


async def test_a_check_with_a_bug_is_told_once_with_its_traceback(
    server: TransportServer, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """A check that raises no TransportError is warned of with its traceback, once; its connections are replaced."""

    async def check(client: TransportClient) -> None:
        raise KeyError("oops")

    async with pool_of(server, health_check=check, health_interval=0.01) as pool:
        await until(lambda: pool.stats().health_failures >= 3)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 1 == len(warned)
    assert warned[0].exc_info is not None
    assert warned[0].exc_info[0] is KeyError


async def test_a_check_that_is_no_coroutine_function(
    server: TransportServer, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """What can never be awaited is refused at once; a function whose answer cannot is told of when it is called."""
    for wrong in (bool, print, events_of):
        with pytest.raises(ConfigurationError, match=r"health_check: .*; use an async function"):
            pool_of(server, health_check=wrong)
    async with pool_of(server, health_check=lambda _: None, health_interval=0.01) as pool:
        await until(lambda: pool.stats().health_failures)
    assert "health_check: gave a NoneType; use an async function" in caplog.text


async def events_of(client: TransportClient) -> AsyncIterator[int]:
    """No check: an async generator."""
    yield 1


async def test_checks_and_attempts_that_are_cancelled_from_outside(server: TransportServer, until: Until) -> None:
    """A cancelled attempt is over and another one begins; a check that raises CancelledError has failed."""

    async def check(client: TransportClient) -> None:
        raise asyncio.CancelledError

    async with pool_of(server, config=SMALL) as pool:
        held = [await pool.get() for _ in range(2)]
        waiting = asyncio.create_task(pool.get(5))
        await until(lambda: pool.stats().connecting)
        for task in [*pool._upkeep.maker._attempts]:
            task.cancel()
        held.append(await waiting)
        assert (0, True) == (pool.stats().connecting, pool.stats().connect_failures > 0)
        for client in held:
            pool.release(client)
    async with pool_of(server, health_check=check, health_interval=0.01) as pool:
        await until(lambda: pool.stats().health_failures >= 3)
        assert adds_up(pool)
    assert 0 == pool.stats().total_connections


async def test_whoever_is_first_stays_first(server: TransportServer) -> None:
    """A waiter whose connection breaks on the way to it keeps its place, and nothing is counted until it has one."""
    async with pool_of(server, config=SmartPoolConfig(initial_size=1, max_size=1)) as pool:
        client, order = await pool.get(), []

        async def borrow(number: int) -> None:
            async with pool.acquire(5):
                order.append(number)

        borrowers = [asyncio.create_task(borrow(number)) for number in range(4)]
        await asyncio.sleep(0)
        borrowers.append(cancelled := asyncio.create_task(pool.get(5)))
        await asyncio.sleep(0)
        pool.release(client)
        client.session.abort()
        cancelled.cancel()
        await asyncio.gather(*borrowers, return_exceptions=True)
        assert ([0, 1, 2, 3], 4, True) == (order, pool.stats().waits, adds_up(pool))


async def test_the_last_event_is_that_the_last_connection_left(server: TransportServer) -> None:
    """Streams end when the pool is closed and all is given back; what is handed out while it closes is not given."""
    pool = pool_of(server, config=SmartPoolConfig(initial_size=1, max_size=1))
    events = pool.events()
    await pool.start()
    client, waiting = await pool.get(), asyncio.create_task(pool.get(5))
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.close())
    pool.release(client)
    await closing
    with suppress(SessionClosedError):
        pool.release(await waiting)
    told = [event async for event in events]
    assert ConnectionRemoved(0, "closed") == told[-1]
    assert pool.stats().return_operations == sum(isinstance(event, ConnectionReleased) for event in told)
