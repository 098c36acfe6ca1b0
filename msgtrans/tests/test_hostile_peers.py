"""Peers that send garbage, too much, or vanish: a clean close, a counter, nobody else disturbed."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    Closed,
    CloseReason,
    CodecOptions,
    Context,
    Established,
    Packet,
    RemoteProtocolError,
    SessionConfig,
    TransportClient,
    TransportConnectionError,
    TransportServer,
    encode,
)
from msgtrans.adapters.buffers import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from msgtrans import Event, EventStream

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]

ON_EVERY_CARRIER = True

V2 = bytes.fromhex("01 00 01 00 00000001 0000 00000002 0000 6869")
V3 = bytes.fromhex("01 00 02 00 00000001 0000 00000002 0000 6869")


async def events_of_one_session(events: EventStream) -> list[Event]:
    """All events up to Closed."""
    seen: list[Event] = []
    async for event in events:
        seen.append(event)
        if isinstance(event, Closed):
            break
    return seen


async def test_vector_v2_is_answered(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """The bytes of vector V2 give back those of V3."""
    async with connect_raw(server) as peer:
        peer.send(V2)
        assert await peer.read(18) == V3


async def test_a_thousand_packets_in_one_write(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """1000 requests in one write give 1000 answers, in order."""
    async with connect_raw(server) as peer:
        peer.send(b"".join(encode(Packet(1, number, b"%d" % number)) for number in range(1000)))
        expected = b"".join(encode(Packet(2, number, b"%d" % number)) for number in range(1000))
        assert expected == await peer.read(len(expected))


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x02" + V2[1:],
        b"\x00" * 64,
        b"\xff" * 5000,
        bytes.fromhex("01 00 07 00 00000001 0000 00000000 0000"),
        bytes.fromhex("01 09 00 00 00000001 0000 00000000 0000"),
        bytes.fromhex("01 02 00 00 00000002 0000 00000017 0000 68656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f"),
    ],
    ids=["http", "version", "zeros", "ones", "type", "compression", "mislabelled"],
)
async def test_garbage_closes_the_session_and_no_other(
    server: TransportServer, client: TransportClient, connect_raw: ConnectRaw, garbage: bytes
) -> None:
    """Garbage ends its session with an error; packets before it are answered; others go on."""
    await client.request(b"")
    events = server.events()
    async with connect_raw(server) as peer:
        peer.send(V2 + garbage)
        assert await peer.read_to_end() in {V3, b""}
    established, closed = await events_of_one_session(events)
    assert isinstance(established, Established)
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.ERROR
    assert isinstance(closed.error, RemoteProtocolError)
    assert closed.session.packets_received == 1
    assert server.stats().protocol_errors == 1
    assert (await client.request(b"undisturbed")).payload == b"undisturbed"


async def test_an_announcement_over_the_limit_is_refused_before_the_body(
    carrier: Carrier, connect_raw: ConnectRaw
) -> None:
    """A header that announces limit + 1 closes the session without waiting for the body."""
    config = SessionConfig(codec=CodecOptions(max_payload_size=1000))
    async with carrier.server(session=config) as server:
        events = server.events()
        async with connect_raw(server) as peer:
            peer.send(struct.pack(">BBBBIHIH", 1, 0, 1, 0, 1, 0, 1001, 0))
            assert await peer.read_to_end() == b""
        closed = (await events_of_one_session(events))[-1]
        assert isinstance(closed, Closed)
        assert "1001" in str(closed.error)


async def test_a_bomb_is_refused(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """A payload that inflates beyond the cap closes its session."""
    config = SessionConfig(codec=CodecOptions(max_inflated_size=100_000))
    bomb = encode(Packet(1, 1, bytes(1_000_000), compression=2))
    async with carrier.server(session=config) as server:
        server.on_request(lambda context: context.payload)
        async with connect_raw(server) as peer:
            peer.send(bomb)
            assert await peer.read_to_end() == b""
        assert server.stats().protocol_errors == 1


async def test_many_compressed_packets_are_inflated_over_several_turns(
    carrier: Carrier, connect_raw: ConnectRaw
) -> None:
    """Compressed packets that together exceed the cap are all answered, in order, a cap's worth per turn."""
    config = SessionConfig(codec=CodecOptions(max_inflated_size=10_000))
    seen: list[int] = []
    turns: set[int] = set()
    async with carrier.server(session=config) as server:
        turn = 0

        def tick() -> None:
            nonlocal turn
            turn += 1
            asyncio.get_running_loop().call_soon(tick)

        @server.on_request
        def answer(context: Context) -> bytes:
            turns.add(turn)
            seen.append(context.message_id)
            return b""

        tick()
        async with connect_raw(server) as peer:
            stream = b"".join(encode(Packet(1, number, bytes(9_000), compression=2)) for number in range(50))
            peer.send(stream)
            await peer.read(16 * 50)
            peer.send(encode(Packet(1, 50)))
            await peer.read(16)
    assert list(range(51)) == seen
    assert len(turns) >= 25


async def test_a_flood_of_small_packets_leaves_turns_to_others(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """However much a peer sends at once, one turn of the loop handles at most one read of it."""
    handled: Counter[int] = Counter()
    turn = 0

    def tick() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(tick)

    async with carrier.server() as server:
        server.on_message(lambda _: handled.update((turn,)))
        server.on_request(lambda context: context.payload)
        async with connect_raw(server) as peer:
            peer.send(encode(Packet(0, 1)) * 100_000 + V2)
            tick()
            assert await peer.read(18) == V3
    assert handled.total() == 100_000
    assert max(handled.values()) <= READ_SIZE // 16


async def test_inflating_waits_for_handlers(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """Compressed packets over the cap are also inflated no faster than coroutine handlers take them."""
    config = SessionConfig(codec=CodecOptions(max_inflated_size=10_000), max_concurrent_handlers=1)
    async with carrier.server(session=config) as server:

        @server.on_request
        async def answer(context: Context) -> bytes:
            await asyncio.sleep(0)
            return context.payload[:2]

        async with connect_raw(server) as peer:
            for _ in range(2):
                peer.send(b"".join(encode(Packet(1, n, bytes(9_000), compression=2)) for n in range(50)))
                expected = b"".join(encode(Packet(2, n, bytes(2))) for n in range(50))
                assert expected == await peer.read(len(expected))


async def test_mislabelled_payloads_under_raw_are_counted(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """Under `raw`, vector V8 reaches the handler unchanged and is counted."""
    config = SessionConfig(codec=CodecOptions(on_bad_compression="raw"))
    async with carrier.server(session=config) as server:
        server.on_request(lambda context: context.payload)
        async with connect_raw(server) as peer:
            peer.send(b"\x01\x02\x01" + encode(Packet(0, 2, b"plain"))[3:])
            assert await peer.read(21) == encode(Packet(2, 2, b"plain"))
        assert server.stats().bad_compression == 1


@pytest.mark.parametrize("carrier", ["tcp"], indirect=True)  # nothing else can close one direction alone
async def test_half_close_is_a_normal_end(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """A peer that sends, closes its side and waits gets its answers, also those of coroutines, then the end."""

    @server.on_request
    async def answer(context: Context) -> bytes:
        await asyncio.sleep(0.01)
        return context.payload

    events = server.events()
    async with connect_raw(server) as peer:
        peer.send(V2)
        peer.writer.write_eof()
        assert await peer.read_to_end() == V3
    seen = await events_of_one_session(events)
    assert [Established, Closed] == [type(event) for event in seen]
    assert isinstance(seen[-1], Closed)
    assert (seen[-1].reason, seen[-1].error) == (CloseReason.NORMAL, None)


async def test_a_reset_is_an_error(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """A peer that resets the connection gives one Closed with reason ERROR."""
    events = server.events()
    async with connect_raw(server) as peer:
        peer.send(V2)
        await peer.read(18)
        peer.reset()
        closed = (await events_of_one_session(events))[-1]
    assert isinstance(closed, Closed)
    assert closed.reason == CloseReason.ERROR
    assert isinstance(closed.error, TransportConnectionError)


async def test_vanishing_inside_a_packet_is_an_error(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """A connection that ends inside a packet gives one Closed with reason ERROR that says so."""
    events = server.events()
    async with connect_raw(server) as peer:
        peer.send(V2)
        await peer.read(18)
        peer.send_wire(peer.wire(V2)[:-1])
        await peer.writer.drain()
        peer.vanish()
        assert await peer.read_to_end() == b""
    seen = await events_of_one_session(events)
    assert [Established, Closed] == [type(event) for event in seen]
    assert isinstance(seen[-1], Closed)
    assert seen[-1].reason == CloseReason.ERROR
    assert "inside a packet" in str(seen[-1].error)


async def test_a_peer_that_only_asks_is_bounded(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """A peer that asks and never reads: its requests stop being read, memory stays bounded, others are served."""
    config = SessionConfig(high_water=100_000, write_timeout=60)
    async with carrier.server(session=config) as server:
        server.on_request(lambda _: bytes(10_000))
        async with connect_raw(server) as peer:
            peer.writer.transport.pause_reading()
            peer.send(encode(Packet(1, 1)) * carrier.many(20_000))
            await until(lambda: server.sessions and server.sessions[1].stats().reading_paused)
            async with carrier.client(server) as other:
                for _ in range(100):
                    await other.request(b"")
                stats = server.sessions[1].stats()
                assert stats.outbound_bytes <= 2 * (100_000 + 10_016)  # high_water and a packet, here and in the link
            peer.writer.transport.resume_reading()
            assert await peer.read(10_016 * carrier.many(20_000)) == encode(Packet(2, 1, bytes(10_000))) * carrier.many(
                20_000
            )


async def test_a_peer_that_never_reads_is_dropped(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """After write_timeout without progress, the session ends with reason TIMEOUT and is counted."""
    config = SessionConfig(high_water=100_000, write_timeout=0.1)
    async with carrier.server(session=config) as server:
        events = server.events()
        server.on_request(lambda _: bytes(100_000))
        async with connect_raw(server) as peer:
            peer.writer.transport.pause_reading()
            peer.send(encode(Packet(1, 1)) * 1000)
            closed = (await asyncio.wait_for(events_of_one_session(events), 30))[-1]
        assert isinstance(closed, Closed)
        assert closed.reason == CloseReason.TIMEOUT
        assert server.stats().write_timeouts == 1


async def test_a_peer_that_breaks_the_protocol_and_does_not_read_is_dropped(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """Writing what is left to a peer that broke the protocol is bounded by graceful_timeout."""
    config = SessionConfig(graceful_timeout=0.1, high_water=50_000_000, max_outbound=50_000_000)
    async with carrier.server(session=config) as server:
        server.on_request(lambda _: bytes(1_000_000))
        async with connect_raw(server) as peer:
            peer.writer.transport.pause_reading()
            peer.send(encode(Packet(1, 1)) * 20 + b"garbage, 16 bytes or more")
            await until(lambda: server.stats().protocol_errors and not server.sessions)


async def test_connections_come_and_go_while_nobody_reads_the_events(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """An event stream stays small however many connections came and went, and nobody is turned away for it."""
    async with carrier.server(session=SessionConfig(event_queue_size=10)) as server:
        events = server.events()
        for number in range(1, 201):
            async with connect_raw(server):
                await until(lambda number=number: server.counters.connections_total == number)
            await until(lambda: not server.sessions)
        assert len(events) <= 12
        stats = server.stats()
        assert (stats.connections_refused, 2 * stats.unseen_sessions) == (0, 400 - len(events))


async def test_pipelined_coroutines_are_bounded(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """At most max_concurrent_handlers run; the rest wait unread and are all answered."""
    running = most = 0
    config = SessionConfig(max_concurrent_handlers=10)
    async with carrier.server(session=config) as server:

        @server.on_request
        async def answer(context: Context) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return context.payload

        async with connect_raw(server) as peer:
            peer.send(encode(Packet(1, 1, b"ab")) * 1000)
            assert await peer.read(18_000) == encode(Packet(2, 1, b"ab")) * 1000
    assert most == 10
    assert server.stats().read_pauses > 0


@pytest.mark.parametrize("begun", [1, 19], ids=["header", "body"])
async def test_a_packet_that_never_ends_closes_its_session(
    carrier: Carrier, connect_raw: ConnectRaw, begun: int
) -> None:
    """A packet that begins and does not go on ends the session with TIMEOUT; one that waits between packets stays."""
    async with carrier.server(session=SessionConfig(packet_timeout=0.1)) as server:
        server.on_request(lambda context: context.payload)
        async with (
            carrier.client(server) as between_packets,
            connect_raw(server) as peer,
        ):
            await between_packets.request(b"")
            events = server.events()
            peer.send(V2)
            peer.send_wire(peer.wire(encode(Packet(1, 1, bytes(100))))[:begun])
            assert await peer.read_to_end() == V3
            closed = (await events_of_one_session(events))[-1]
            assert isinstance(closed, Closed)
            assert closed.reason == CloseReason.TIMEOUT
            assert "the rest of a packet" in str(closed.error)
            assert (await between_packets.request(b"still there")).payload == b"still there"
        assert server.stats().packet_timeouts == 1


async def test_incomplete_packets_of_all_sessions_are_bounded(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """When incomplete packets exceed max_buffered, who keeps most of them is closed and counted; the others go on."""
    config = SessionConfig(codec=CodecOptions(max_payload_size=1_000_000))
    async with carrier.server(session=config, max_buffered=1_400_000) as server:
        server.on_request(lambda context: context.payload[:2])
        async with connect_raw(server) as greedy, connect_raw(server) as other:
            begun = greedy.wire(encode(Packet(1, 1, bytes(1_000_000))))
            greedy.send_wire(begun[:900_000])
            await until(lambda: server.kept >= 900_000 - 14)
            other.send_wire(begun[:600_000])
            assert await greedy.read_to_end() == b""
            await until(lambda: len(server.sessions) == 1)
            other.send_wire(begun[600_000:])
            assert await other.read(18) == encode(Packet(2, 1, bytes(2)))
            assert server.kept == 0
            other.send_wire(begun[:900_000])
            await until(lambda: server.kept >= 900_000 - 14)
        await until(lambda: not server.sessions)
        assert server.kept == 0
    assert server.stats().kept_overflows == 1


async def test_a_dripping_peer_is_closed(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """A packet that grows by a byte now and then makes no progress that counts."""
    async with carrier.server(session=SessionConfig(packet_timeout=0.1)) as server:
        async with connect_raw(server) as peer:
            data = peer.wire(encode(Packet(1, 1, bytes(100_000))))
            peer.send_wire(data[:20])
            await until(lambda: server.sessions)

            def dripped() -> bool:
                peer.send_wire(b".")
                return not server.sessions

            await until(dripped)
        assert server.stats().packet_timeouts == 1
