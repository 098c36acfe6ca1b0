"""Sending faster than the peer takes it: who waits, who is refused, and that nobody blocks for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    BackpressureError,
    Context,
    Packet,
    SessionClosedError,
    SessionConfig,
    TransportServer,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from msgtrans import Session

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]

ON_EVERY_CARRIER = True

SMALL = SessionConfig(high_water=50_000, max_outbound=200_000, graceful_timeout=0.2)


async def test_send_waits_and_keeps_its_order(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """Senders wait while the peer does not read, in line, and everything arrives in order once it does."""
    async with (
        carrier.server(session=SMALL) as server,
        connect_raw(server) as peer,
    ):
        await until(lambda: server.sessions)  # uvloop does not end a TLS handshake on which reading has paused
        peer.writer.transport.pause_reading()
        session = server.sessions[1]
        sending = [asyncio.create_task(session.send(b"%8d" % n + bytes(20_000), message_id=n)) for n in range(1, 1001)]
        await until(lambda: session.congested)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not all(task.done() for task in sending)
        assert session.stats().outbound_bytes <= 2 * (50_000 + 20_024)  # high_water and a packet, here and in the link
        cancelled = sending[500]
        cancelled.cancel()
        peer.writer.transport.resume_reading()
        seen = [int((await peer.read(20_024))[16:24]) for _ in range(999)]
        assert [n for n in range(1, 1001) if n != 501] == seen
        assert not session.congested


def overfill(session: Session) -> None:
    while True:
        session.send_nowait(bytes(50_000))


async def test_send_nowait_and_broadcast_are_refused_at_the_limit(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """At max_outbound send_nowait raises, with the figures, and broadcast leaves the session out."""
    async with (
        carrier.server(session=SMALL) as server,
        connect_raw(server) as peer,
    ):
        await until(lambda: server.sessions)  # uvloop does not end a TLS handshake on which reading has paused
        peer.writer.transport.pause_reading()
        session = server.sessions[1]
        with pytest.raises(BackpressureError) as caught:
            overfill(session)
        assert caught.value.current >= caught.value.limit == 200_000
        assert caught.value.retriable
        assert session.stats().outbound_bytes <= 250_016
        assert server.broadcast(b"news") in {0, 1}

        def refused() -> bool:
            with suppress(BackpressureError):
                overfill(session)
            return server.stats().backpressure_errors >= 100 and not server.broadcast(b"news")

        await until(refused)  # the system takes what its own buffers hold, which differs from machine to machine
        await session.close(graceful=False)
        assert server.broadcast(b"news") == 0


async def fill(send: Callable[[bytes], asyncio.Future[int]]) -> None:
    while True:
        await send(bytes(20_000))


async def test_those_in_line_fail_when_the_connection_goes(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """Requests in line fail at once when the session is aborted."""
    async with (
        carrier.server(session=SMALL) as server,
        connect_raw(server) as peer,
    ):
        await until(lambda: server.sessions)  # uvloop does not end a TLS handshake on which reading has paused
        peer.writer.transport.pause_reading()
        session = server.sessions[1]
        filling = asyncio.create_task(fill(session.send))
        await until(lambda: session.congested and session.stats().outbound_bytes > 50_000)
        asking = asyncio.create_task(session.request(b""))
        await asyncio.sleep(0)
        session.abort()
        for task in (asking, filling):
            with pytest.raises(SessionClosedError):
                await task


async def test_both_sides_send_at_once_without_deadlock(carrier: Carrier) -> None:
    """Each side sends 64 MiB one-way at the same time, far beyond all buffers; everything arrives."""
    got = {"server": 0, "client": 0}
    chunk, count = bytes(1 << 20), carrier.many(64)

    def counting(name: str) -> Callable[[Context], None]:
        def take(context: Context) -> None:
            got[name] += len(context.payload)

        return take

    async with carrier.server() as server:
        server.on_message(counting("server"))
        server.on_request(lambda context: context.payload)
        async with carrier.client(server) as client:
            client.on_message(counting("client"))
            client.on_request(lambda context: context.payload)
            await client.request(b"")
            session = server.sessions[1]

            async def send(send_one: Callable[[bytes], asyncio.Future[int]]) -> None:
                for _ in range(count):
                    await send_one(chunk)

            await asyncio.wait_for(asyncio.gather(send(client.send), send(session.send)), 30)
            await asyncio.gather(client.request(b""), session.request(b""))
    assert {"server": count << 20, "client": count << 20} == got


async def test_both_sides_ask_at_once_without_deadlock(carrier: Carrier) -> None:
    """Each side has 64 requests of 1 MiB answered with 1 MiB at the same time."""
    async with carrier.server() as server:
        server.on_request(lambda context: context.payload)
        async with carrier.client(server) as client:
            client.on_request(lambda context: context.payload)
            await client.request(b"")
            session = server.sessions[1]
            asked = [
                end.request(bytes(1 << 20), timeout=20) for _ in range(carrier.many(64)) for end in (client, session)
            ]
            answers = await asyncio.gather(*asked)
    assert all(len(answer.payload) == 1 << 20 for answer in answers)


async def test_a_burst_with_slow_consumers_on_both_sides_loses_nothing(carrier: Carrier) -> None:
    """40 and many more messages each way, consumed slowly through small event queues, all arrive."""
    config = SessionConfig(event_queue_size=3)
    async with carrier.server(session=config) as server:
        server_events = server.events()
        async with carrier.client(server, session=config) as client:
            client_events = client.events()
            await anext(server_events)
            session = server.sessions[1]
            for number in range(400):
                await client.send(b"%d" % number)
                await session.send(b"%d" % number)
            for events in (client_events, server_events):
                for number in range(400):
                    event = await anext(events)
                    assert event.context.payload == b"%d" % number
                    await asyncio.sleep(0)


async def test_a_stopping_server_flushes_to_a_slow_reader(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """What is queued when the server stops still reaches a peer that reads within the graceful timeout."""
    async with carrier.server() as server:
        server.on_request(lambda _: bytes(10_000_000))
        async with connect_raw(server) as peer:
            peer.writer.transport.pause_reading()
            peer.send(encode(Packet(1, 1)))
            await until(lambda: server.sessions and server.sessions[1].packets_sent)
            stopping = asyncio.create_task(server.stop())
            await asyncio.sleep(0)
            peer.writer.transport.resume_reading()
            assert len(await peer.read_to_end()) == 10_000_016
            peer.abort()
            await stopping


async def test_handlers_that_ask_back_get_their_answers(carrier: Carrier) -> None:
    """More requests than handlers may run, each handler asking its peer back, are all answered."""
    async with carrier.server(session=SessionConfig(max_concurrent_handlers=4)) as server:

        @server.on_request
        async def ask_back(context: Context) -> bytes:
            return (await context.session.request(context.payload)).payload

        async with carrier.client(server) as client:
            client.on_request(lambda context: context.payload.upper())
            answers = await asyncio.gather(*(client.request(b"n%d" % n, timeout=5) for n in range(100)))
    assert [b"N%d" % n for n in range(100)] == [answer.payload for answer in answers]
    assert server.stats().request_timeouts == 0


async def test_a_one_way_sender_that_does_not_read_is_held_up(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """Messages sent back to a peer that does not read them are not read without end, however large they are."""
    async with (
        carrier.server(session=SMALL) as server,
        connect_raw(server) as peer,
    ):

        @server.on_message
        async def send_back(context: Context) -> None:
            with suppress(SessionClosedError):
                await context.session.send(context.payload)

        peer.writer.transport.pause_reading()
        peer.send(encode(Packet(0, 1, bytes(100_000))) * carrier.many(500))
        await until(lambda: server.sessions and server.sessions[1].stats().reading_paused)
        stats = server.sessions[1].stats()
        assert stats.outbound_bytes + stats.waiting_bytes <= 4_000_000  # of 50: uvloop reads 32 times 64 KiB in a turn
        peer.writer.transport.resume_reading()
        for _ in range(carrier.many(500)):
            await peer.read(100_016)
