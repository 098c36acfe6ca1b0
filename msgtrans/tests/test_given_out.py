"""Requests that are answered later: they count as work, so a peer cannot make a session owe more than it may."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING

import pytest
from memory_link import open_session, turn

from msgtrans import Backpressure, CloseReason, Flag, Packet, RequestReceived, ResourceError, SessionConfig
from msgtrans.packet import ONE_WAY, REQUEST

if TYPE_CHECKING:
    from carriers import Carrier

    from msgtrans import Context

ON_EVERY_CARRIER = True
FEW = SessionConfig(max_concurrent_handlers=4, event_queue_size=2)


def requests(count: int, begin: int = 1, size: int = 0, flags: int = 0) -> list[Packet]:
    return [Packet(REQUEST, number, bytes(size), flags=flags) for number in range(begin, begin + count)]


@pytest.mark.parametrize("flags", [0, Flag.HIGH_PRIORITY])
async def test_requests_wait_while_as_many_are_given_out(flags: int) -> None:
    """Of requests answered later, as many are given out as handlers may run; the rest wait."""
    session, link, endpoint = open_session(FEW)
    given: list[Context] = []
    endpoint.on_request(given.append)
    session.receive(requests(10, flags=flags))
    await turn()
    assert ([1, 2, 3, 4], ["pause"]) == ([context.message_id for context in given], link.calls)
    given[1].respond()
    await turn()
    assert [1, 2, 3, 4, 5] == [context.message_id for context in given]
    for context in given:
        if context.unanswered:
            context.respond()
    await turn()
    assert ([*range(1, 10)], ["pause"]) == ([context.message_id for context in given], link.calls)
    given[-1].respond()
    await turn()
    assert ([*range(1, 11)], ["pause", "resume"]) == ([context.message_id for context in given], link.calls)
    assert sorted([2, 1, 3, 4, 5, 9]) == sorted(packet.message_id for packet in link.sent())


async def test_the_bytes_of_requests_count() -> None:
    """Large requests wait while those given out have `max_inbound` bytes."""
    session, link, endpoint = open_session(SessionConfig(max_inbound=10_000))
    given: list[Context] = []
    endpoint.on_request(given.append)
    session.receive(requests(5, size=5000))
    await turn()
    assert (2, ["pause"]) == (len(given), link.calls)
    given[0].respond()
    given[1].respond()
    await turn()
    assert 4 == len(given)


async def test_what_nobody_will_answer_does_not_count() -> None:
    """Requests that are ignored, and those that are let go of later, in any thread, make room for others."""
    session, link, endpoint = open_session(FEW)
    given: list[Context] = []
    ignored = 0

    @endpoint.on_request
    def handle(context: Context) -> None:
        nonlocal ignored
        if context.message_id <= 100:
            ignored += 1
        else:
            given.append(context)

    session.receive(requests(100))
    await turn()
    assert (100, []) == (ignored, link.calls)
    session.receive(requests(10, begin=101))
    await turn()
    assert (4, ["pause"]) == (len(given), link.calls)
    thread = threading.Thread(target=given.clear)
    thread.start()
    thread.join()
    gc.collect()  # where references are not counted at once
    await turn()
    assert [105, 106, 107, 108] == [context.message_id for context in given]


async def test_coroutine_handlers_and_requests_given_out_count_together() -> None:
    """A coroutine handler that returns without an answer has given its request out."""
    session, _, endpoint = open_session(FEW)
    given: list[Context] = []
    gate = asyncio.Event()

    @endpoint.on_request
    async def handle(context: Context) -> None:
        given.append(context)
        if context.message_id > 2:
            await gate.wait()

    session.receive(requests(10))
    await turn()
    assert [1, 2, 3, 4] == [context.message_id for context in given]
    gate.set()
    await turn()
    assert 4 == len(given)
    for context in given[:]:
        context.respond()
    await turn()
    assert 8 == len(given)


async def test_streams_hold_requests_besides() -> None:
    """Requests in an event stream are bounded by its size; as many as handlers may run can be taken out unanswered."""
    session, _, endpoint = open_session(FEW)
    events = endpoint.events()
    session.receive(requests(20))
    taken: list[Context] = []
    for _ in range(30):
        await turn()
        event = events.next_nowait()
        if isinstance(event, RequestReceived):
            taken.append(event.context)
    assert 6 == len(taken)
    for context in taken:
        context.respond()
    await turn()
    assert isinstance(events.next_nowait(), RequestReceived)


async def test_messages_do_not_wait_for_answers() -> None:
    """One-way messages are handled while requests are given out; behind one that waits they keep their order."""
    session, _, endpoint = open_session(FEW)
    given: list[Context] = []
    seen: list[int] = []
    endpoint.on_request(given.append)
    endpoint.on_message(lambda context: seen.append(context.message_id))
    session.receive([*requests(4), Packet(ONE_WAY, 100), *requests(1, begin=5), Packet(ONE_WAY, 101)])
    await turn()
    assert (4, [100]) == (len(given), seen)
    given[0].respond()
    await turn()
    assert (5, [100, 101]) == (len(given), seen)


async def test_under_reject_such_a_peer_is_dismissed() -> None:
    """REJECT ends the session of a peer that asks for more, and says what there was too much of."""
    session, _, endpoint = open_session(FEW.replace(inbound_strategy=Backpressure.REJECT))
    given: list[Context] = []
    endpoint.on_request(given.append)
    session.receive(requests(5))
    await turn()
    assert CloseReason.ERROR == session.close_reason
    assert isinstance(session.close_error, ResourceError)
    assert "requests not answered yet" in str(session.close_error)
    assert 4 == len(given)


async def test_a_session_that_ends_forgets_them() -> None:
    """After the end of the session nothing is counted, whatever becomes of its requests."""
    session, _, endpoint = open_session(FEW)
    given: list[Context] = []
    endpoint.on_request(given.append)
    session.receive(requests(6))
    await turn()
    session.lost(None)
    await turn()
    assert session._given is None
    given.clear()
    gc.collect()
    assert 1 == endpoint.counters.read_pauses


async def test_many_requests_are_answered_later(carrier: Carrier) -> None:
    """A client that asks far more at once than may be given out gets all its answers."""
    server = carrier.server(session=SessionConfig(max_concurrent_handlers=16))
    given: list[Context] = []
    most = 0

    def answer() -> None:
        nonlocal most
        most = max(most, len(given))
        for context in given:
            context.respond(context.payload)
        given.clear()

    @server.on_request
    def later(context: Context) -> None:
        if not given:
            asyncio.get_running_loop().call_soon(answer)
        given.append(context)

    async with server, carrier.client(server) as client:
        answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(500)))
    assert list(range(500)) == [int(answer.payload) for answer in answers]
    assert most <= 16
