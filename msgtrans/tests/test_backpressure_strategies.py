"""Strategies beyond a bound: what is lost is what they say, and it is counted exactly."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    Backpressure,
    BackpressureError,
    Closed,
    CloseReason,
    ConfigurationError,
    Context,
    Established,
    MessageReceived,
    RequestReceived,
    ResourceError,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportServer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import RawPeer

    from msgtrans import Session

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]

SIZE = 2000  # bytes of a message in these tests


def outbound(strategy: Backpressure) -> SessionConfig:
    return SessionConfig(
        outbound_strategy=strategy, high_water=50_000, max_outbound=100_000_000, graceful_timeout=5, write_timeout=30
    )


def numbered(number: int) -> bytes:
    return b"%08d" % number + bytes(SIZE - 24)


async def flood(session: Session, send: Callable[[Session, int], object]) -> int:
    """Send until nothing more is taken, and a thousand more."""
    number = 0
    while not session.congested:
        send(session, number)
        number += 1
        if number % 10 == 0:
            await asyncio.sleep(0)
    for _ in range(1000):
        send(session, number)
        number += 1
    return number


def nowait(session: Session, number: int) -> None:
    session.send_nowait(numbered(number))


def by_broadcast(session: Session, number: int) -> None:
    session.endpoint.broadcast(numbered(number))  # type: ignore[attr-defined]  # of a server


async def received(peer: RawPeer, last: bytes) -> list[int]:
    """The numbers of all messages up to the one that carries `last`."""
    numbers: list[int] = []
    while True:
        packet = await peer.read(SIZE - 16 + 16)
        if packet[16:24] == last:
            return numbers
        numbers.append(int(packet[16:24]))


@pytest.mark.parametrize("send", [nowait, by_broadcast])
@pytest.mark.parametrize("strategy", [Backpressure.DROP_NEWEST, Backpressure.DROP_OLDEST])
async def test_what_is_dropped_on_the_way_out_is_counted(
    strategy: Backpressure, send: Callable[[Session, int], object], connect_raw: ConnectRaw, until: Until
) -> None:
    """What a slow reader gets and what was dropped for it are all that was sent, and its order is kept."""
    async with (
        TransportServer(tcp="127.0.0.1:0", session=outbound(strategy)) as server,
        connect_raw(server) as peer,
    ):
        peer.writer.transport.pause_reading()
        await until(lambda: server.sessions)
        session = server.sessions[1]
        sent = await flood(session, send)
        assert session.stats().outbound_bytes < 2 * (50_000 + SIZE) + 64 * 1024
        peer.writer.transport.resume_reading()
        reading = asyncio.create_task(received(peer, b"the last"))
        await until(lambda: not session.congested)
        await session.send(b"the last" + bytes(SIZE - 24))
        numbers = await reading
        dropped = session.stats().dropped_outbound
        assert numbers == sorted(numbers)
        assert sent == len(numbers) + dropped
        assert dropped == server.stats().dropped_outbound > 900
        newest_arrived = numbers[-1] == sent - 1
        assert newest_arrived == (strategy is Backpressure.DROP_OLDEST)
        assert server.stats().backpressure_errors == 0


@pytest.mark.parametrize("strategy", [Backpressure.DROP_NEWEST, Backpressure.DROP_OLDEST])
async def test_awaited_sends_do_not_wait_under_a_strategy_that_drops(
    strategy: Backpressure, connect_raw: ConnectRaw, until: Until
) -> None:
    """`send` returns at once however slow the peer is."""
    async with (
        TransportServer(tcp="127.0.0.1:0", session=outbound(strategy)) as server,
        connect_raw(server) as peer,
    ):
        peer.writer.transport.pause_reading()
        await until(lambda: server.sessions)
        session = server.sessions[1]
        async with asyncio.timeout(30):
            while server.stats().dropped_outbound < 100:
                await session.send(numbered(0))
                await asyncio.sleep(0)
        assert session.stats().waiting_bytes == 0
        session.abort()


@pytest.mark.parametrize("strategy", [Backpressure.DROP_NEWEST, Backpressure.DROP_OLDEST])
async def test_requests_and_answers_are_never_dropped(strategy: Backpressure) -> None:
    """Among floods of messages each way, every request is answered."""
    config = outbound(strategy)
    seen = 0

    def count(_: Context) -> None:
        nonlocal seen
        seen += 1

    async with TransportServer(tcp="127.0.0.1:0", session=config) as server:
        server.on_request(lambda context: context.payload)
        async with TransportClient(f"tcp://{server.tcp_address}", session=config) as client:
            client.on_message(count)
            await client.request(b"")
            session = server.sessions[1]
            asked = []
            for _ in range(100):
                asked.append(asyncio.ensure_future(client.request(bytes(SIZE))))
                for number in range(50):
                    session.send_nowait(numbered(number))
                await asyncio.sleep(0)
            answers = await asyncio.gather(*asked)
            await session.close()
            assert len(answers) == 100
            assert 5000 == seen + server.stats().dropped_outbound


async def test_a_burst_that_the_link_takes_is_not_dropped() -> None:
    """More than high_water in one turn of the loop is no reason to drop while the peer keeps up."""
    seen = 0

    def count(_: Context) -> None:
        nonlocal seen
        seen += 1

    async with (
        TransportServer(tcp="127.0.0.1:0", session=outbound(Backpressure.DROP_NEWEST)) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        client.on_message(count)
        client.on_request(lambda _: b"")
        server.on_request(lambda _: b"")
        await client.request(b"")
        session = server.sessions[1]
        for number in range(40):
            session.send_nowait(numbered(number))
        await session.request(b"")
        assert (40, 0) == (seen, server.stats().dropped_outbound)


async def test_rejecting_raises_at_high_water(connect_raw: ConnectRaw, until: Until) -> None:
    """Under REJECT sends, requests and broadcasts are refused at high_water; nothing is lost silently."""
    async with (
        TransportServer(tcp="127.0.0.1:0", session=outbound(Backpressure.REJECT)) as server,
        connect_raw(server) as peer,
    ):
        peer.writer.transport.pause_reading()
        await until(lambda: server.sessions)
        session = server.sessions[1]
        sent = 0

        async def send() -> None:
            nonlocal sent
            while True:
                await session.send(numbered(sent))
                sent += 1
                await asyncio.sleep(0)

        with pytest.raises(BackpressureError) as caught:
            await send()
        assert caught.value.limit == 50_000
        with pytest.raises(BackpressureError):
            session.send_nowait(b"")
        with pytest.raises(BackpressureError):
            await session.request(b"")
        assert server.broadcast(b"") == 0
        assert session.pending_requests == 0
        assert server.stats().backpressure_errors == 4
        peer.writer.transport.resume_reading()
        reading = asyncio.create_task(received(peer, b"the last"))
        await until(lambda: not session.congested)
        await session.send(b"the last" + bytes(SIZE - 24))
        assert list(range(sent)) == await reading


# What comes in


def inbound(strategy: Backpressure, **options: object) -> SessionConfig:
    return SessionConfig(inbound_strategy=strategy, graceful_timeout=0.5).replace(**options)


async def test_a_full_event_stream_without_loss_by_default(until: Until) -> None:
    """Under BLOCK every message reaches a stream that is read late."""
    async with TransportServer(tcp="127.0.0.1:0", session=inbound(Backpressure.BLOCK, event_queue_size=10)) as server:
        events = server.events()
        async with TransportClient(f"tcp://{server.tcp_address}") as client:
            for number in range(100):
                await client.send(b"%d" % number)
            await until(lambda: server.stats().read_pauses)
            assert isinstance(await anext(events), Established)
            seen = [await anext(events) for _ in range(100)]
    assert [b"%d" % number for number in range(100)] == [event.context.payload for event in seen]
    assert server.stats().dropped_inbound == 0


@pytest.mark.parametrize("strategy", [Backpressure.DROP_NEWEST, Backpressure.DROP_OLDEST])
async def test_what_a_full_event_stream_drops_is_counted(strategy: Backpressure, until: Until) -> None:
    """A stream keeps the first or the last messages; those and the dropped ones are all; requests wait."""
    async with TransportServer(tcp="127.0.0.1:0", session=inbound(strategy, event_queue_size=10)) as server:
        events = server.events()
        async with TransportClient(f"tcp://{server.tcp_address}") as client:
            for number in range(100):
                await client.send(b"%d" % number)
            asked = asyncio.create_task(client.request(b"still there?"))
            seen = []
            async for event in events:
                match event:
                    case MessageReceived(context):
                        seen.append(int(context.payload))
                    case RequestReceived(context):
                        context.respond(b"yes")
                        break
                    case _:
                        await until(lambda: server.stats().packets_received == 101)
            assert (await asked).payload == b"yes"
        stats = server.stats()
        assert seen == sorted(seen)
        assert 100 == len(seen) + stats.dropped_inbound
        assert stats.dropped_inbound > 80
        assert (seen[-1] == 99) == (strategy is Backpressure.DROP_OLDEST)
        assert (seen[0] == 0) == (strategy is Backpressure.DROP_NEWEST)


async def test_a_stream_full_of_requests_keeps_them(until: Until) -> None:
    """Under DROP_OLDEST a message for which nothing can make way is dropped itself."""
    config = inbound(Backpressure.DROP_OLDEST, event_queue_size=4)
    async with TransportServer(tcp="127.0.0.1:0", session=config) as server:
        events = server.events()
        async with TransportClient(f"tcp://{server.tcp_address}") as client:
            asked = [asyncio.create_task(client.request(b"%d" % number)) for number in range(3)]
            await until(lambda: len(events) == 4)
            for _ in range(7):
                await client.send(b"")
            await until(lambda: server.stats().dropped_inbound == 7)
            assert isinstance(await anext(events), Established)
            for _ in asked:
                event = await anext(events)
                assert isinstance(event, RequestReceived)
                event.context.respond(event.context.payload)
            assert [b"0", b"1", b"2"] == [(await answer).payload for answer in asked]


@pytest.mark.parametrize("strategy", list(Backpressure)[:3])
async def test_busy_handlers(strategy: Backpressure, until: Until) -> None:
    """Messages beyond what handlers may work on wait, are dropped, or replace each other; each is counted once."""
    config = inbound(strategy, max_concurrent_handlers=2, event_queue_size=5)
    go_on = asyncio.Event()
    seen: list[int] = []
    async with TransportServer(tcp="127.0.0.1:0", session=config) as server:

        @server.on_message
        async def take(context: Context) -> None:
            seen.append(int(context.payload))
            await go_on.wait()

        server.on_request(lambda context: context.payload)
        async with TransportClient(f"tcp://{server.tcp_address}") as client:
            for number in range(50):
                await client.send(b"%d" % number)
            if strategy is Backpressure.BLOCK:
                await until(lambda: server.stats().read_pauses)
            else:
                await until(lambda: server.stats().packets_received == 50)
            asked = asyncio.create_task(client.request(b"later"))
            await asyncio.sleep(0)
            go_on.set()
            assert (await asked).payload == b"later"
        dropped = server.stats().dropped_inbound
        assert seen == sorted(seen)
        assert 50 == len(seen) + dropped
        match strategy:
            case Backpressure.BLOCK:
                assert dropped == 0
            case Backpressure.DROP_NEWEST:
                assert [0, 1] == seen
            case Backpressure.DROP_OLDEST:
                assert [0, 1] == seen[:2]
                assert [47, 48, 49] == seen[-3:]


@pytest.mark.parametrize("request_too", [False, True], ids=["message", "request"])
async def test_rejecting_closes_the_session(request_too: bool, until: Until) -> None:
    """Under REJECT a peer that sends more than anybody takes loses its session, with a ResourceError."""
    config = inbound(Backpressure.REJECT, max_concurrent_handlers=2)
    async with TransportServer(tcp="127.0.0.1:0", session=config) as server:
        closed: list[Closed] = []
        reasons: list[CloseReason] = []

        async def hang(_: Context) -> None:
            await asyncio.get_running_loop().create_future()

        server.on_message(hang)
        server.on_request(hang)
        server.on_disconnect(lambda session, reason: (reasons.append(reason), closed.append(session.close_error)))
        async with TransportClient(f"tcp://{server.tcp_address}") as client:
            with suppress(SessionClosedError):
                for _ in range(10):
                    await client.send(b"")
            if request_too:
                with pytest.raises(SessionClosedError):
                    await client.request(b"")
            await until(lambda: reasons)
        assert [CloseReason.ERROR] == reasons
        assert isinstance(closed[0], ResourceError)
        assert closed[0].resource == "running handlers"
        stats = server.stats()
        assert stats.overloads == 1
        assert 2 + stats.discarded == stats.packets_received


async def test_rejecting_at_a_full_stream(until: Until) -> None:
    """A full event stream is a reason too, and only its own session ends."""
    config = inbound(Backpressure.REJECT, event_queue_size=5)
    async with TransportServer(tcp="127.0.0.1:0", session=config) as server:
        server.on_request(lambda _: b"here")
        events = server.events()
        uri = f"tcp://{server.tcp_address}"
        async with TransportClient(uri) as flooding, TransportClient(uri) as other:
            for _ in range(6):
                await flooding.send(b"")
            await until(lambda: server.stats().overloads)
            await until(lambda: not flooding.is_connected)
            assert (await other.request(b"")).payload == b"here"
        assert len(events)


def test_strategies_are_members_of_the_enumeration() -> None:
    """A misspelt strategy is refused where it is set."""
    for field in ("inbound_strategy", "outbound_strategy"):
        with pytest.raises(ConfigurationError, match=field):
            SessionConfig().replace(**{field: "drop"})
