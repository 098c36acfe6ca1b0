"""The end of a session on every transport: nothing is lost, doubled or left behind, whoever ends it and however."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT

from msgtrans import (
    ClientState,
    Closed,
    CloseReason,
    Context,
    MessageReceived,
    Packet,
    RateLimit,
    ReconnectingClient,
    SessionClosedError,
    SessionConfig,
    TransportServer,
    TransportTimeoutError,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]

ON_EVERY_CARRIER = True
HASTY = SessionConfig(graceful_timeout=0.3)


@pytest.mark.parametrize("count", [1, 1000])
async def test_what_was_sent_just_before_closing_arrives_once(carrier: Carrier, until: Until, count: int) -> None:
    """Messages sent right after connecting and right before closing are handled once each; the counters agree."""
    seen: list[int] = []
    async with carrier.server() as server:
        server.on_message(lambda context: seen.append(context.message_id))
        async with carrier.client(server) as client:
            for _ in range(count):
                await client.send(b"just in time")
        await until(lambda: not server.sessions)
        assert list(range(1, count + 1)) == seen
        assert client.stats().packets_sent == count == server.stats().packets_received


async def test_a_greeting_just_before_closing_arrives_once(carrier: Carrier) -> None:
    """What a server sends to a new session and closes behind arrives once each."""
    async with carrier.server() as server:

        @server.on_connect
        async def greet(session: object) -> None:
            for _ in range(100):
                session.send_nowait(b"hello")
            await session.close()

        client = carrier.client(server)
        await client.connect()
        seen = [event async for event in client.events()]
        assert 100 == sum(isinstance(event, MessageReceived) for event in seen)
        assert isinstance(seen[-1], Closed)
        await client.close()


@pytest.mark.parametrize("kind", ["handlers", "events", "rate"])
async def test_what_waits_for_room_outlives_a_graceful_close(carrier: Carrier, until: Until, kind: str) -> None:
    """A peer that sends and closes loses nothing, although nobody has room for it yet; Closed comes behind it."""
    count = 300
    limit = RateLimit(requests_per_second=2000, burst_size=20) if kind == "rate" else None
    config = SessionConfig(max_concurrent_handlers=5, event_queue_size=5, rate_limit=limit)
    seen: list[object] = []
    async with carrier.server(session=config) as server:
        events = server.events()

        async def take(context: Context) -> None:
            await asyncio.sleep(0)
            seen.append(context.payload)

        if kind != "events":
            server.on_message(take)
            server.on_disconnect(lambda _, reason: seen.append(reason))
        async with carrier.client(server, session=HASTY) as client:
            for number in range(count):
                await client.send(b"%d" % number)
        if kind == "events":
            async with asyncio.timeout(LIMIT):
                async for event in events:
                    await asyncio.sleep(0)
                    if isinstance(event, MessageReceived):
                        seen.append(event.context.payload)
                    if isinstance(event, Closed):
                        seen.append(event.reason)
                        break
        await until(lambda: not server.sessions)
        await until(lambda: len(seen) == count + 1)
        assert {b"%d" % number for number in range(count)} == set(seen) - {CloseReason.NORMAL}
        assert server.stats().discarded == 0
        assert server.stats().connections_open == 0


async def test_a_session_that_outlives_its_connection_can_be_dropped(carrier: Carrier, until: Until) -> None:
    """Stopping does not wait for ever for a consumer of what a gone peer has sent."""
    config = SessionConfig(event_queue_size=2, graceful_timeout=0.1)
    async with carrier.server(session=config) as server:
        events = server.events()
        async with carrier.client(server, session=HASTY) as client:
            for _ in range(50):
                await client.send(b"nobody looks")
        await asyncio.wait_for(server.stop(), LIMIT)
        assert not server.sessions
        assert isinstance([event async for event in events if isinstance(event, Closed)][-1], Closed)


async def test_inflating_goes_on_behind_a_close(carrier: Carrier, until: Until) -> None:
    """Compressed messages that take several turns to inflate are all handled, although their sender has closed."""
    seen: list[int] = []
    async with carrier.server() as server:
        server.on_message(lambda context: seen.append(len(context.payload)))
        async with carrier.client(server) as client:
            for _ in range(4):
                await client.send(bytes(9 << 20), compression=2)
        await until(lambda: not server.sessions)
        assert [9 << 20] * 4 == seen
        assert server.stats().protocol_errors == 0


async def test_closing_does_not_wait_for_a_frozen_peer(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """A peer that neither reads nor answers a close delays it by graceful_timeout and a second at most."""
    async with carrier.server(session=SessionConfig(graceful_timeout=0.2)) as server, connect_raw(server) as peer:
        peer.send(encode(Packet(0, 1)))
        await until(lambda: server.sessions and server.stats().packets_received)
        peer.transport.pause_reading()
        (session,) = server.sessions.values()
        await asyncio.wait_for(session.close(), LIMIT)
        assert session.close_reason == CloseReason.NORMAL
        assert not server.sessions


async def test_a_violator_with_answers_on_their_way_is_dropped(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """A peer that breaks the protocol, takes its answers and stays is gone after graceful_timeout."""
    async with carrier.server(session=SessionConfig(graceful_timeout=0.2, high_water=10 << 20)) as server:
        server.on_request(lambda _: bytes(8 << 20))
        async with connect_raw(server) as peer:
            peer.transport.pause_reading()
            peer.send(encode(Packet(1, 1)))
            await until(lambda: server.sessions and server.stats().packets_sent)
            peer.send(b"this is no packet, whatever it is")
            await until(lambda: server.stats().protocol_errors)
            peer.transport.resume_reading()
            await until(lambda: not server.sessions)


async def test_a_handler_that_looks_at_a_cancelled_future(carrier: Carrier) -> None:
    """CancelledError raised by a plain handler is a failure of that handler alone."""
    async with carrier.server() as server:

        @server.on_request
        def answer(context: Context) -> bytes:
            if context.payload == b"cancelled":
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                future.result()
            return context.payload

        async with carrier.client(server) as client:
            asked = [client.request(payload, timeout=0.2) for payload in (b"before", b"cancelled", b"after")]
            before, failed, after = await asyncio.gather(*asked, return_exceptions=True)
            assert (b"before", b"after") == (before.payload, after.payload)
            assert isinstance(failed, TransportTimeoutError)
            assert server.stats().handler_errors == 1


@pytest.mark.parametrize("kind", ["handler", "events"])
async def test_a_session_that_waits_for_us_is_not_idle(carrier: Carrier, until: Until, kind: str) -> None:
    """idle_timeout is for peers: while a handler works or a message waits for its consumer, it does not count."""
    async with carrier.server(session=SessionConfig(idle_timeout=0.2, event_queue_size=1)) as server:
        events = server.events()
        go_on = asyncio.Event()

        async def work(_: Context) -> bytes:
            await go_on.wait()
            return b"done"

        if kind == "handler":
            server.on_request(work)
        async with carrier.client(server, session=HASTY) as client:
            asked = asyncio.create_task(client.request(b""))
            if kind == "events":
                for _ in range(3):
                    await client.send(b"waits")
            async with carrier.client(server, session=HASTY) as idle:
                await until(lambda: not idle.is_connected)
            assert client.is_connected
            if kind == "handler":
                go_on.set()
                assert (await asked).payload == b"done"
            asked.cancel()
        assert server.stats().idle_timeouts == 1
        events.close()


async def test_stopping_that_is_cancelled(carrier: Carrier) -> None:
    """A stop that is given up drops what is open; the server can be started again."""
    server = carrier.server()
    started = asyncio.Event()

    @server.on_request
    async def hang(_: Context) -> None:
        started.set()
        await asyncio.Event().wait()

    await server.start()
    async with carrier.client(server, session=HASTY) as client:
        asked = asyncio.create_task(client.request(b""))
        await started.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.stop(), 0.05)
        with pytest.raises(SessionClosedError):
            await asked
    assert not server.addresses
    server.on_request(lambda context: context.payload)
    async with server, carrier.client(server) as client:
        assert (await client.request(b"again")).payload == b"again"


async def test_closing_a_reconnecting_client_that_is_cancelled(carrier: Carrier, until: Until) -> None:
    """A close that is given up drops what is open and leaves the client closed, with no attempt under way."""
    server = carrier.server()

    @server.on_request
    async def hang(_: Context) -> None:
        await asyncio.Event().wait()

    async with server:
        client = ReconnectingClient([carrier.target(server)])
        held = asyncio.Event()

        @client.on_request
        async def hold(_: Context) -> None:
            held.set()
            await asyncio.Event().wait()

        await client.connect()
        await until(lambda: server.sessions)
        (session,) = server.sessions.values()
        asked = asyncio.create_task(session.request(b""))
        await held.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.close(), 0.05)
        assert client.state is ClientState.CLOSED
        with pytest.raises(SessionClosedError):
            await asked
        await until(lambda: not server.sessions)
        await asyncio.wait_for(client.close(), LIMIT)
