"""Batches without waiting: queued, sent, read, up to the first failure (case 29)."""

from __future__ import annotations

import asyncio
from copy import copy
from typing import TYPE_CHECKING

import pytest
from memory_link import open_session, turn

from msgtrans import (
    BackpressureError,
    ConfigurationError,
    Flag,
    LocalProtocolError,
    MessageReceived,
    Optimizations,
    Packet,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.flow.batching import PacketBatches, ProtocolStats

if TYPE_CHECKING:
    from .conftest import Until


def packets(count: int) -> list[Packet]:
    return [Packet(0, number + 1, b"%d" % number) for number in range(count)]


async def test_a_full_queue_raises() -> None:
    """`send_nowait` raises when as many packets wait as may, and counts it; nothing has left yet (case 29)."""
    session, link, _ = open_session()
    batches = PacketBatches(session, capacity=3)
    for packet in packets(3):
        batches.send_nowait(packet)
    with pytest.raises(BackpressureError, match="packets in a batch queue"):
        batches.send_nowait(Packet(0, 9))
    await turn()
    assert (3, 1, []) == (len(batches), batches.stats.send_errors, link.writes)


async def test_a_batch_is_one_write() -> None:
    """`process_batch` sends up to max packets in order, in one write behind what was sent before, and returns them."""
    session, link, _ = open_session(SessionConfig(batch_size=1))
    batches = PacketBatches(session)
    assert [] == batches.process_batch()
    all_of_them = packets(100)
    assert 100 == batches.batch_write(all_of_them)
    session.send_nowait(b"before")
    assert all_of_them[:40] == batches.process_batch(40)
    assert all_of_them[40:72] == batches.process_batch()
    assert all_of_them[72:] == batches.process_batch(1000)
    assert [1, 40, 32, 28] == link.batches()
    assert [packet.payload for packet in all_of_them] == [packet.payload for packet in link.sent()[1:]]


async def test_a_batch_without_batching() -> None:
    """Where batching is turned off, the packets of a batch leave one by one, in order."""
    session, link, _ = open_session(SessionConfig(optimizations=Optimizations(batching=False)))
    batches = PacketBatches(session)
    batches.batch_write(packets(5))
    assert packets(5) == batches.process_batch()
    assert [1] * 5 == link.batches()


async def test_writing_stops_at_the_first_failure() -> None:
    """`batch_write` returns how many packets were queued: it stops at a full queue, or one that cannot go."""
    session, _, _ = open_session()
    batches = PacketBatches(session, capacity=10)
    assert 2 == batches.batch_write([*packets(2), Packet(1, 5, b"a request"), *packets(3)])
    assert 8 == batches.batch_write(packets(20))
    assert 2 == batches.stats.send_errors
    with pytest.raises(LocalProtocolError, match="type 1 cannot go in a batch"):
        PacketBatches(session).send_nowait(Packet(1, 1))


async def test_a_batch_waits_for_a_slow_peer() -> None:
    """While the peer takes less than it is sent, nothing leaves the queue, which fills and then refuses."""
    session, link, _ = open_session(SessionConfig(high_water=100))
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    batches = PacketBatches(session, capacity=10)
    session.send_nowait(bytes(200))
    assert 10 == batches.batch_write(packets(11))
    assert [] == batches.process_batch()
    link.unblock()
    assert packets(10) == batches.process_batch()
    assert 0 == len(batches)


async def test_commands_in_a_batch() -> None:
    """Packets with the flag leave ahead of the others of their batch."""
    session, link, _ = open_session()
    batches = PacketBatches(session)
    batches.batch_write([Packet(0, 1, b"data"), Packet(0, 2, b"command", flags=Flag.HIGH_PRIORITY)])
    batches.process_batch()
    assert [b"command", b"data"] == [packet.payload for packet in link.sent()]


async def test_a_closed_session() -> None:
    """Batches of a session that has ended raise, and stay queued."""
    session, _, _ = open_session()
    batches = PacketBatches(session)
    batches.batch_write(packets(2))
    session.lost(None)
    with pytest.raises(SessionClosedError):
        batches.process_batch()
    assert 2 == len(batches)


async def test_reading_what_is_here(server: TransportServer, client: TransportClient, until: Until) -> None:
    """`batch_read` returns the messages and requests that have come, up to max, and stops when there is no more."""
    inlet = server.events()
    server.request_handler = None
    batches = PacketBatches(client.session, inlet=inlet)
    assert [] == batches.batch_read()
    sender = PacketBatches(client.session)
    sender.batch_write(packets(50))
    sender.process_batch(50)
    asking = asyncio.create_task(client.request(b"?"))
    await until(lambda: len(inlet) >= 51)
    first, second = batches.batch_read(), batches.batch_read(100)
    assert [b"%d" % number for number in range(50)] + [b"?"] == [context.payload for context in [*first, *second]]
    assert (32, []) == (len(first), batches.batch_read())
    second[-1].respond(b"!")
    assert b"!" == (await asking).payload
    assert (51, 2, 32) == (
        batches.stats.packets_received,
        batches.stats.batch_operations,
        batches.stats.max_batch_size,
    )


async def test_reading_needs_an_inlet() -> None:
    """Without a stream there is nothing to read from, and the error says what to give."""
    session, _, _ = open_session()
    with pytest.raises(ConfigurationError, match=r"^inlet: is missing; give PacketBatches a stream"):
        PacketBatches(session).batch_read()
    with pytest.raises(ConfigurationError, match=r"^capacity"):
        PacketBatches(session, capacity=0)


async def test_the_next_event_without_waiting(server: TransportServer, client: TransportClient, until: Until) -> None:
    """A stream gives the next event, or None when there is none yet."""
    stream = server.events()
    assert stream.next_nowait() is None
    await client.send(b"message")
    await until(lambda: len(stream))
    event = stream.next_nowait()
    assert isinstance(event, MessageReceived)
    assert (b"message", None) == (event.context.payload, stream.next_nowait())


async def test_statistics() -> None:
    """Every figure comes from what happened: counts, bytes, time in the queue, and what follows from them."""
    session, _, _ = open_session()
    times = iter(range(0, 10_000, 1000))
    batches = PacketBatches(session, clock=lambda: next(times))
    empty = copy(batches.stats)
    assert (0, 0, 0) == (empty.average_latency_ns, empty.average_batch_size, empty.error_rate)
    batches.batch_write([*packets(3), Packet(2, 1)])  # queued at 0, 1000, 2000
    batches.process_batch()  # at 3000
    batches.batch_write(packets(1))  # at 4000
    batches.process_batch()  # at 5000
    stats = batches.stats
    assert stats == ProtocolStats(
        packets_sent=4,
        bytes_sent=4 * 17,
        send_errors=1,
        batch_operations=2,
        total_batch_size=4,
        max_batch_size=3,
        total_latency_ns=3000 + 2000 + 1000 + 1000,
        operation_count=4,
    )
    assert (1750, 2, 0.2) == (stats.average_latency_ns, stats.average_batch_size, stats.error_rate)
    assert (2, 4 * 17 * 8 / 2) == (stats.throughput_pps(2), stats.bandwidth_bps(2))
    assert ProtocolStats() == empty


@pytest.mark.parametrize("count", [0, -1, 1.5, float("nan"), float("inf"), True, "5", None])
async def test_counts_are_whole_and_positive(count: int) -> None:
    """A number of packets that is none is refused, and nothing is sent or taken; so is an odd capacity."""
    session, link, endpoint = open_session()
    batches = PacketBatches(session, inlet=endpoint.events())
    batches.send_nowait(Packet(0, 1))
    with pytest.raises(ConfigurationError, match=r"^max_packets: .*; use a whole number from 1 up"):
        batches.process_batch(count)
    with pytest.raises(ConfigurationError, match=r"^max_reads: .*; use a whole number from 1 up"):
        batches.batch_read(count)
    with pytest.raises(ConfigurationError, match=r"^capacity: .*; use a whole number from 1 up"):
        PacketBatches(session, capacity=count)
    assert (1, []) == (len(batches), link.writes)


@pytest.mark.parametrize("wrong", [5, "session", b"", PacketBatches])
async def test_arguments_of_other_kinds_are_refused(wrong: object) -> None:
    """A session, a stream and a clock are needed, and the error says which."""
    session, _, _ = open_session()
    with pytest.raises(ConfigurationError, match=r"^session: .*client\.session"):
        PacketBatches(wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigurationError, match=r"^inlet: .*endpoint\.events"):
        PacketBatches(session, inlet=wrong)  # type: ignore[arg-type]  # on purpose
    if not callable(wrong):
        with pytest.raises(ConfigurationError, match=r"^clock: "):
            PacketBatches(session, clock=wrong)  # type: ignore[arg-type]  # on purpose


async def test_what_is_no_packet_is_refused() -> None:
    """Something else than a packet is refused where it is given, and nothing of it is queued."""
    session, _, _ = open_session()
    batches = PacketBatches(session)
    for wrong in (None, b"x"):
        with pytest.raises(TypeError, match="a Packet is needed"):
            batches.send_nowait(wrong)  # type: ignore[arg-type]  # on purpose
    assert 0 == len(batches)
