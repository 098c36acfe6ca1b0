"""Many requests of one turn leave 32 at a time, so that the peer begins while we go on; nothing else changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from memory_link import open_session, turn

from msgtrans import BackpressureError, Flag, Optimizations, SessionClosedError, SessionConfig
from msgtrans.config import Backpressure
from msgtrans.outbound import AHEAD
from msgtrans.packet import Packet

if TYPE_CHECKING:
    from carriers import Carrier
    from memory_link import MemoryLink

    from msgtrans import Context, Session

TOGETHER = SessionConfig(optimizations=Optimizations(batching=False))
AT_ONCE = SessionConfig(optimizations=Optimizations(coalescing=False))


def ask(session: Session, count: int, begin: int = 0) -> list[asyncio.Task[Packet]]:
    """Requests that all begin in the next turn; their payloads are numbers."""
    return [asyncio.create_task(session.request(b"%d" % number)) for number in range(begin, begin + count)]


def numbers(link: MemoryLink) -> list[int]:
    """The payloads written, in their order."""
    return [int(packet.payload) for packet in link.sent()]


async def answer_all(session: Session, link: MemoryLink, tasks: list[asyncio.Task[Packet]]) -> list[int]:
    """Answer what was written, and give what the callers got."""
    session.receive([Packet(2, packet.message_id, packet.payload) for packet in link.sent() if packet.packet_type == 1])
    return [int((await task).payload) for task in tasks]


@pytest.mark.parametrize(
    ("count", "batches"),
    [
        (1, [1]),
        (AHEAD - 1, [AHEAD - 1]),
        (AHEAD, [AHEAD]),
        (AHEAD + 1, [AHEAD, 1]),
        (2 * AHEAD, [AHEAD, AHEAD]),
        (100, [32, 32, 32, 4]),
    ],
)
async def test_requests_leave_in_their_turn(count: int, batches: list[int]) -> None:
    """Each 32 requests of a turn leave together and the rest at its end, in order, and each gets its answer."""
    session, link, _ = open_session()
    tasks = ask(session, count)
    await turn()
    assert batches == link.batches()
    assert list(range(count)) == numbers(link)
    assert count == session.packets_sent
    assert list(range(count)) == await answer_all(session, link, tasks)


async def test_they_leave_within_the_turn() -> None:
    """The first 32 have left before the turn is over in which they were asked; the others have not."""
    session, link, _ = open_session()
    seen: list[list[int]] = []
    tasks = ask(session, AHEAD + 8)
    asyncio.get_running_loop().call_soon(lambda: seen.append(link.batches()))
    await turn()
    assert [[AHEAD]] == seen
    assert [AHEAD, 8] == link.batches()
    await answer_all(session, link, tasks)


async def test_without_batching_a_turn_is_one_flush() -> None:
    """With batching off nothing leaves early: the end of the turn writes all, one packet at a time."""
    session, link, _ = open_session(TOGETHER)
    seen: list[int] = []
    tasks = ask(session, 2 * AHEAD)
    asyncio.get_running_loop().call_soon(lambda: seen.append(len(link.writes)))
    await turn()
    assert [0] == seen
    assert [1] * 2 * AHEAD == link.batches()
    assert list(range(2 * AHEAD)) == await answer_all(session, link, tasks)


async def test_without_coalescing_each_leaves_alone() -> None:
    """With coalescing off each request leaves when it is asked, as ever."""
    session, link, _ = open_session(AT_ONCE)
    tasks = ask(session, 2 * AHEAD)
    await turn()
    assert [1] * 2 * AHEAD == link.batches()
    assert list(range(2 * AHEAD)) == await answer_all(session, link, tasks)


@pytest.mark.parametrize("config", [None, TOGETHER, AT_ONCE], ids=["as usual", "no batching", "no coalescing"])
async def test_while_the_link_is_behind_nothing_leaves(config: SessionConfig | None) -> None:
    """A link that is behind gets no request, whatever their number; all leave in order when it goes on."""
    session, link, _ = open_session(config)
    link.blocked = True
    session.send_nowait(b"0")
    await turn()
    assert [1] == link.batches()
    tasks = ask(session, 2 * AHEAD, begin=1)
    await turn()
    assert ([1], 2 * AHEAD) == (link.batches(), session.pending_requests)
    link.unblock()
    await turn()
    assert list(range(2 * AHEAD + 1)) == numbers(link)
    assert list(range(1, 2 * AHEAD + 1)) == await answer_all(session, link, tasks)


async def test_a_link_that_falls_behind_in_the_turn_gets_no_more() -> None:
    """When the first 32 are more than the link takes, the others wait until it goes on, and none is lost or doubled."""
    session, link, _ = open_session()
    link.room = 0
    tasks = ask(session, 100)
    await turn()
    assert [AHEAD] == link.batches()
    link.unblock()
    await turn()
    assert list(range(100)) == numbers(link)
    assert list(range(100)) == await answer_all(session, link, tasks)


async def test_messages_are_still_gathered_whole() -> None:
    """One-way messages of a turn leave in one write, however many: nobody waits for an answer to them."""
    session, link, _ = open_session()
    for number in range(3 * AHEAD):
        session.send_nowait(b"%d" % number)
    assert [] == link.writes
    await turn()
    assert [3 * AHEAD] == link.batches()
    await asyncio.gather(*(session.send(b"%d" % number) for number in range(3 * AHEAD)))
    await turn()
    assert [3 * AHEAD] * 2 == link.batches()


async def test_messages_between_requests_keep_their_place() -> None:
    """What was sent before a request leaves before it, and what was sent behind it, behind it."""
    session, link, _ = open_session()

    async def both(number: int) -> Packet:
        await session.send(b"%d" % (2 * number))
        return await session.request(b"%d" % (2 * number + 1))

    tasks = [asyncio.create_task(both(number)) for number in range(AHEAD)]
    await turn()
    assert list(range(2 * AHEAD)) == numbers(link)
    await answer_all(session, link, tasks)


async def test_a_command_is_ahead_of_what_has_not_left() -> None:
    """A command that is sent in the same turn leaves with the next 32 requests, ahead of them."""
    session, link, _ = open_session()
    tasks = ask(session, AHEAD - 1)
    asyncio.get_running_loop().call_soon(lambda: session.send_nowait(b"1000", flags=Flag.HIGH_PRIORITY))
    tasks += ask(session, 2, begin=AHEAD - 1)
    await turn()
    assert [1000, *range(AHEAD + 1)] == numbers(link)
    assert [1, AHEAD, 1] == link.batches()
    await answer_all(session, link, tasks)


async def test_a_request_that_cannot_be_encoded_stops_none() -> None:
    """One bad request among many fails alone."""
    session, link, _ = open_session()
    good = ask(session, AHEAD - 1)
    bad = asyncio.create_task(session.request("text"))  # type: ignore[arg-type]
    good += ask(session, 2, begin=AHEAD - 1)
    await turn()
    with pytest.raises(TypeError, match="payload must be bytes"):
        await bad
    assert list(range(AHEAD + 1)) == numbers(link)
    assert list(range(AHEAD + 1)) == await answer_all(session, link, good)


async def test_under_reject_they_may_leave_more_early() -> None:
    """Beyond `high_water` REJECT refuses a request only while the link is behind; until then all leave."""
    config = SessionConfig(high_water=200, outbound_strategy=Backpressure.REJECT)
    session, link, _ = open_session(config)
    tasks = ask(session, 100)
    await turn()
    assert list(range(100)) == numbers(link)
    await answer_all(session, link, tasks)
    link.blocked = True
    results = await asyncio.gather(
        *(asyncio.wait_for(session.request(bytes(50)), 0.01) for _ in range(10)), return_exceptions=True
    )
    assert {TimeoutError, BackpressureError} == set(map(type, results))


async def test_closing_loses_no_message_behind_many_requests() -> None:
    """Right behind 40 requests and a message, close writes the message; requests fail, and say whether they left."""
    session, link, _ = open_session()
    tasks = ask(session, 40)
    await asyncio.sleep(0)
    session.send_nowait(b"1000")
    await session.close()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [SessionClosedError] * 40 == [type(error) for error in errors]
    written = [number for number, error in enumerate(errors) if isinstance(error, SessionClosedError) and error.written]
    assert [*written, 1000] == numbers(link)
    assert list(range(len(written))) == written


@pytest.mark.parametrize("count", [AHEAD - 1, 40, 64, 200])
async def test_closing_right_behind_requests_loses_none(carrier: Carrier, count: int) -> None:
    """Of requests that are closed upon in their turn the peer handles just those whose errors say they were written."""
    seen: list[int] = []
    server = carrier.server()

    @server.on_request
    def note(context: Context) -> None:
        seen.append(int(context.payload))

    async with server:
        async with carrier.client(server) as client:
            tasks = ask(client.session, count)
            await asyncio.sleep(0)
            await client.close()
            errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, SessionClosedError) for error in errors)
        await server.stop()
    written = [number for number, error in enumerate(errors) if isinstance(error, SessionClosedError) and error.written]
    assert written == seen
    assert count // AHEAD * AHEAD <= len(written)


async def test_answers_of_many_requests_come_to_their_callers(carrier: Carrier) -> None:
    """A thousand requests of one turn over a real connection are handled in order and answered each to its caller."""
    seen: list[int] = []
    server = carrier.server()

    @server.on_request
    def echo(context: Context) -> bytes:
        seen.append(int(context.payload))
        return context.payload

    async with server, carrier.client(server) as client:
        answers = await asyncio.gather(*ask(client.session, 1000))
    assert list(range(1000)) == seen == [int(answer.payload) for answer in answers]
