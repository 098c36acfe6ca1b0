"""The pipelines of a session: batches, order, commands beside data, and an end that is one (case 28)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from memory_link import MemoryLink, open_session, turn

from msgtrans import (
    Backpressure,
    BackpressureError,
    CloseReason,
    ConfigurationError,
    Flag,
    LocalProtocolError,
    Packet,
    Session,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.flow.pipelines import (
    CAPACITY,
    ActorStats,
    BatchCompleted,
    Connected,
    Failed,
    HealthCheck,
    PacketReceived,
    PacketSent,
    SessionPipelines,
    Shutdown,
)

if TYPE_CHECKING:
    from .conftest import Until


def packet(number: int) -> Packet:
    return Packet(0, number + 1, b"%d" % number)


async def test_batches_are_bounded_and_in_order() -> None:
    """Data leaves in batches of 32 at most, each a write of its own, in order (case 28)."""
    session, link, _ = open_session()
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    for number in range(100):
        pipelines.send_nowait(packet(number))
    async with pipelines:
        await pipelines.send(packet(100))
    assert [32, 32, 32, 5] == link.batches()
    assert [b"%d" % number for number in range(101)] == [sent.payload for sent in link.sent()]
    seen = [event async for event in events]
    assert [32, 32, 32, 5] == [event.packets for event in seen if isinstance(event, BatchCompleted)]
    assert [Connected(1), Shutdown(0)] == [seen[0], seen[-1]]
    assert list(range(1, 102)) == [event.packet_id for event in seen if isinstance(event, PacketSent)]


async def test_a_smaller_batch() -> None:
    """The largest batch can be chosen."""
    session, link, _ = open_session()
    pipelines = SessionPipelines(session, 4)
    for number in range(10):
        pipelines.send_nowait(packet(number))
    async with pipelines:
        pass
    assert [4, 4, 2] == link.batches()
    with pytest.raises(ConfigurationError, match=r"^max_batch_size"):
        SessionPipelines(session, 0)


@pytest.mark.parametrize("load", [0, 40, 1000])
async def test_commands_do_not_depend_on_data(load: int) -> None:
    """However much data waits, a command has one batch of it ahead of it at most (case 28)."""
    session, link, _ = open_session()
    async with SessionPipelines(session) as pipelines:
        for number in range(load):
            pipelines.send_nowait(packet(number))
        await pipelines.send_packet(Packet(0, 0, b"command"))
        await turn()
        payloads = [sent.payload for sent in link.sent()]
        assert payloads.index(b"command") <= 32


async def test_commands_pass_a_blocked_data_pipeline(until: Until) -> None:
    """While the data pipeline waits for its peer, commands are taken and questions answered."""
    session, link, _ = open_session(SessionConfig(high_water=100))
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    async with pipelines:
        link.blocked = True
        session.send_nowait(b"first")
        await turn()
        session.send_nowait(bytes(200))
        for number in range(50):
            await pipelines.send(packet(number))
        await turn()
        await pipelines.send_packet(Packet(0, 0, b"command"))
        health = await pipelines.health_check()
        assert (False, 18) == (health.healthy, health.queued)
        assert health in [event async for event in _here(events)]
        assert (1, 0) == ((await pipelines.get_stats()).packets_sent, (await pipelines.get_stats()).batch_operations)
        link.unblock()
        await until(lambda: 51 == len(link.sent()) - 2)
        assert HealthCheck(healthy=True, queued=0, outbound_bytes=0) == await pipelines.health_check()
    payloads = [sent.payload for sent in link.sent()]
    assert [b"first", b"command", bytes(200), b"0"] == payloads[:4]
    assert [b"%d" % number for number in range(50)] == payloads[3:]


async def _here(events):
    for _ in range(len(events)):
        yield await anext(events)


async def test_a_full_data_pipeline() -> None:
    """The queue of data is bounded: `send_nowait` raises, `send` waits, and can be cancelled."""
    session, _, _ = open_session()
    pipelines = SessionPipelines(session)
    for number in range(1024):
        pipelines.send_nowait(packet(number))
    with pytest.raises(BackpressureError, match="packets in a data pipeline"):
        pipelines.send_nowait(packet(1024))
    waits = asyncio.create_task(pipelines.send(packet(1024)))
    await turn()
    assert not waits.done()
    async with pipelines:
        await waits
    assert 1025 == (await pipelines.shutdown()).packets_sent


async def test_shutdown(server: TransportServer, client: TransportClient) -> None:
    """Shutting down sends what is queued, closes the session, ends both pipelines and answers; more calls raise."""
    seen: list[bytes] = []
    server.on_message(lambda context: seen.append(context.payload))
    pipelines = SessionPipelines(client.session)
    events = pipelines.events()
    pipelines.start()
    for number in range(100):
        await pipelines.send(packet(number))
    stats = await pipelines.shutdown()
    assert [b"%d" % number for number in range(100)] == seen
    assert (100, 4, 25.0) == (stats.packets_sent, stats.batch_operations, stats.average_batch_size)
    assert (False, CloseReason.NORMAL) == (client.session.is_open, client.session.close_reason)
    assert Shutdown(0) == [event async for event in events][-1]
    for call in (pipelines.get_stats, pipelines.health_check):
        with pytest.raises(SessionClosedError, match="have ended"):
            await call()
    with pytest.raises(SessionClosedError):
        await pipelines.send(packet(0))
    assert stats == await pipelines.shutdown()
    others = {task for task in asyncio.all_tasks() if "SessionPipelines" in repr(task)}
    assert set() == others


async def test_shutting_down_what_never_ran() -> None:
    """Pipelines that were never started close their session too."""
    session, link, _ = open_session()
    assert 0 == (await SessionPipelines(session).shutdown()).packets_sent
    assert ("finish", False) == (link.calls[-1], session.is_open)


async def test_shutdown_of_a_blocked_session() -> None:
    """A peer that takes nothing does not keep them from ending: what cannot leave is dropped, and counted."""
    session, link, _ = open_session(SessionConfig(high_water=100, graceful_timeout=0.05))
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    session.send_nowait(bytes(200))
    pipelines.start()
    for number in range(50):
        await pipelines.send(packet(number))
    await pipelines.shutdown()
    assert (CloseReason.FORCED, "abort") == (session.close_reason, link.calls[-1])
    seen = [event async for event in events]
    failed = sum(isinstance(event, Failed) for event in seen)
    assert isinstance(seen[-1], Shutdown)
    assert 50 - pipelines._stats.packets_sent == failed + seen[-1].dropped


async def test_leaving_keeps_the_session(server: TransportServer, client: TransportClient) -> None:
    """The end of the block sends what is queued, ends the pipelines, and leaves the session to whoever made it; it can
    be shut down, which closes it, after that.
    """
    seen: list[bytes] = []
    server.on_message(lambda context: seen.append(context.payload))
    pipelines = SessionPipelines(client.session)
    events = pipelines.events()
    async with pipelines:
        for number in range(100):
            await pipelines.send(packet(number))
    assert Shutdown(0) == [event async for event in events][-1]
    with pytest.raises(SessionClosedError, match="have ended"):
        await pipelines.send(packet(0))
    assert b"still open" == (await client.request(b"still open")).payload
    assert [b"%d" % number for number in range(100)] == seen
    async with SessionPipelines(client.session) as others:
        await others.send(packet(100))
        assert 1 == (await others.shutdown(close_session=False)).packets_sent
    assert client.session.is_open
    await pipelines.shutdown()
    assert not client.session.is_open


async def test_leaving_a_blocked_session() -> None:
    """What the session does not take within its graceful_timeout is dropped and counted, and the session stays."""
    session, link, _ = open_session(SessionConfig(high_water=100, graceful_timeout=0.05))
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    session.send_nowait(bytes(200))
    async with pipelines:
        for number in range(50):
            await pipelines.send(packet(number))
    assert session.is_open
    seen = [event async for event in events]
    assert Shutdown(50) == seen[-1]
    assert not [event for event in seen if isinstance(event, Failed)]
    link.unblock()
    await turn()
    assert [b"first", bytes(200)] == [sent.payload for sent in link.sent()]


async def test_a_session_that_ends_by_itself() -> None:
    """When the session is lost, calls that wait and calls to come fail, and both pipelines end."""
    session, link, _ = open_session(SessionConfig(high_water=100, command_high_water=100))
    pipelines = SessionPipelines(session)
    pipelines.start()
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    await pipelines.send_packet(Packet(0, 0, bytes(200)))
    waiting = [asyncio.create_task(pipelines.send_packet(packet(number))) for number in range(3)]
    await turn()
    session.lost(None)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {SessionClosedError} == {type(result) for result in results[1:]}
    assert isinstance(await pipelines.shutdown(), ActorStats)
    with pytest.raises(SessionClosedError):
        await pipelines.get_stats()


WRONG = [
    (None, TypeError, "a Packet is needed, not NoneType"),
    (b"x", TypeError, "a Packet is needed, not bytes"),
    (Packet(0, 0, "text"), TypeError, "payload must be bytes"),  # type: ignore[arg-type]  # on purpose
    (Packet(0, 0, b"", biz_type=999), LocalProtocolError, "biz_type 999"),
    (Packet(1, 1, b"a request"), LocalProtocolError, "type 1 cannot go in a batch"),
    (Packet(2, 1, b"a response"), LocalProtocolError, "type 2 cannot go in a batch"),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), WRONG)
async def test_a_packet_that_cannot_go(wrong: Packet, kind: type[Exception], words: str) -> None:
    """What cannot be sent is refused to its caller, however it is given, and the pipelines go on."""
    session, link, _ = open_session()
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    async with pipelines:
        for give in (pipelines.send, pipelines.send_packet):
            with pytest.raises(kind, match=words):
                await give(wrong)
        with pytest.raises(kind, match=words):
            pipelines.send_nowait(wrong)
        await pipelines.send(packet(0))
        await pipelines.send_packet(packet(1))
        stats = await pipelines.get_stats()
    refused = 3 if kind is LocalProtocolError else 0  # the others are no packets at all
    assert refused == stats.error_count == len([event async for event in events if isinstance(event, Failed)])
    assert [b"0", b"1"] == sorted(sent.payload for sent in link.sent())


async def test_a_packet_that_the_session_refuses() -> None:
    """A packet that the strategy of the session refuses is told and counted, and the others go on."""
    session, link, _ = open_session(SessionConfig(high_water=100, outbound_strategy=Backpressure.REJECT))
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    async with pipelines:
        link.blocked = True
        session.send_nowait(b"first")
        await turn()
        session.send_nowait(bytes(200))
        await pipelines.send(packet(0))
        await turn()
        link.unblock()
        await pipelines.send(packet(1))
        await turn()
        assert 1 == (await pipelines.get_stats()).error_count
    assert [BackpressureError] == [type(event.error) async for event in events if isinstance(event, Failed)]
    assert [b"1"] == [sent.payload for sent in link.sent()[2:]]


@pytest.mark.parametrize("close_session", [True, False])
async def test_what_was_taken_leaves(close_session: bool) -> None:
    """A packet whose `send` returned leaves before the end, and who waits for room is served or told (case 28)."""
    session, link, _ = open_session()
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    taken: list[int] = []

    async def bring(number: int) -> None:
        with suppress(SessionClosedError):
            while True:
                if number % 3:
                    await pipelines.send(packet(number))
                else:
                    with suppress(BackpressureError):
                        pipelines.send_nowait(packet(number))
                        taken.append(number)
                    await asyncio.sleep(0)
                    continue
                taken.append(number)

    bringing = [asyncio.create_task(bring(number)) for number in range(2000)]
    await turn()
    pipelines.start()
    await turn()
    stats = await pipelines.shutdown(close_session=close_session)
    await asyncio.gather(*bringing)
    assert len(taken) > CAPACITY
    assert sorted(taken) == sorted(int(sent.payload) for sent in link.sent())
    assert (len(taken), 0) == (stats.packets_sent, stats.error_count)
    assert Shutdown(0) == [event async for event in events][-1]
    assert close_session is not session.is_open


@pytest.mark.parametrize("started", [True, False])
async def test_all_who_wait_learn_of_the_end(started: bool) -> None:
    """However many wait for room in either pipeline, all come back when the session is lost, or nothing ever ran."""
    config = SessionConfig(high_water=100, command_high_water=100, graceful_timeout=0.05)
    session, link, _ = open_session(config)
    pipelines = SessionPipelines(session)
    events = pipelines.events()
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    for flags in (0, Flag.HIGH_PRIORITY):
        session.send_nowait(bytes(200), flags=flags)
    if started:
        pipelines.start()
    waiting = [
        asyncio.create_task(give(packet(number)))
        for number in range(3 * CAPACITY)
        for give in (pipelines.send, pipelines.send_packet)
    ]
    await turn()
    if started:
        session.lost(None)
        await turn()
    else:
        await pipelines.shutdown()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(None), SessionClosedError} == set(map(type, results))
    dropped, failed = 0, 0
    async for event in events:
        dropped += event.dropped if isinstance(event, Shutdown) else 0
        failed += isinstance(event, Failed)
    returned = sum(result is None for result in results)
    assert pipelines._stats.packets_sent + dropped <= returned <= pipelines._stats.packets_sent + dropped + failed


async def test_shutdown_behind_commands_that_are_stuck() -> None:
    """Commands that the peer does not take hold the end up for no longer than graceful_timeout."""
    session, link, _ = open_session(SessionConfig(command_high_water=100, graceful_timeout=0.05))
    pipelines = SessionPipelines(session)
    pipelines.start()
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    session.send_nowait(bytes(200), flags=Flag.HIGH_PRIORITY)
    stuck = [asyncio.create_task(pipelines.send_packet(packet(number))) for number in range(2 * CAPACITY)]
    await turn()
    await pipelines.shutdown(close_session=False)
    results = await asyncio.gather(*stuck, return_exceptions=True)
    assert [SessionClosedError] * 2 * CAPACITY == list(map(type, results))
    assert session.is_open


async def test_who_cancels_waiting_for_room_leaves_nothing() -> None:
    """A packet whose `send` was cancelled while it waited for room is not sent, and the next in line is."""
    session, link, _ = open_session()
    pipelines = SessionPipelines(session)
    for number in range(CAPACITY):
        await pipelines.send(packet(number))
    cancelled, behind = (asyncio.create_task(pipelines.send(packet(number))) for number in (5000, 6000))
    await turn()
    cancelled.cancel()
    async with pipelines:
        await behind
    assert [*range(CAPACITY), 6000] == [int(sent.payload) for sent in link.sent()]


@pytest.mark.parametrize("session", [None, 5, "session", Session])
async def test_pipelines_want_a_session(session: object) -> None:
    """Something else than a session is refused, with what to give."""
    with pytest.raises(ConfigurationError, match=r"^session: .*client\.session"):
        SessionPipelines(session)  # type: ignore[arg-type]  # on purpose


async def test_what_was_received() -> None:
    """`received` is a message handler that counts, and tells those who listen."""
    session, _, endpoint = open_session()
    pipelines = SessionPipelines(session)
    endpoint.on_message(pipelines.received)
    session.receive([Packet(0, 7, b"not told")])
    events = pipelines.events()
    session.receive([Packet(0, 8, b"told", ext_header=b"ext")])
    async with pipelines:
        stats = await pipelines.get_stats()
    assert (2, 15) == (stats.packets_received, stats.bytes_received)
    assert stats.uptime_seconds(stats.started_at + 5) == 5
    assert [PacketReceived(8, 7)] == [event async for event in events if isinstance(event, PacketReceived)]


async def test_cancelled_commands() -> None:
    """Who cancels a call leaves the pipelines as they are."""
    session, link, _ = open_session(SessionConfig(command_high_water=100))
    async with SessionPipelines(session) as pipelines:
        link.blocked = True
        session.send_nowait(b"first")
        await turn()
        await pipelines.send_packet(Packet(0, 0, bytes(200)))
        stuck, behind = (asyncio.create_task(pipelines.send_packet(packet(number))) for number in range(2))
        await turn()
        stuck.cancel()
        behind.cancel()
        await turn()
        link.unblock()
        assert 3 == (await pipelines.get_stats()).packets_sent
    assert isinstance(session, Session)
    assert isinstance(link, MemoryLink)
