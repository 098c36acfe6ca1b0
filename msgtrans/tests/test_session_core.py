"""The session over a link in memory: what holds whatever carries it, with every pause under the test's control."""

from __future__ import annotations

import asyncio

import pytest
from memory_link import MemoryLink, open_session, turn

from msgtrans import (
    Closed,
    CloseReason,
    Context,
    Established,
    MessageReceived,
    Packet,
    SessionClosedError,
    SessionConfig,
    SessionState,
    TransportClient,
    TransportTimeoutError,
    decode,
    encode,
)
from msgtrans.endpoint import Endpoint
from msgtrans.holding import RELEASE
from msgtrans.session import Session


async def test_one_write_per_turn() -> None:
    """What one turn of the loop sends leaves in one write, in order."""
    session, link, _ = open_session()
    asked = [asyncio.create_task(session.request(b"%d" % number)) for number in range(5)]
    await asyncio.gather(*(session.send(b"message") for _ in range(5)))
    await turn()
    assert len(link.writes) == 1
    assert sorted(packet.message_id for packet in link.sent()) == list(range(1, 11))
    for task in asked:
        task.cancel()


async def test_what_follows_a_single_packet_leaves_at_once() -> None:
    """After a read of one packet the first frame does not wait for the end of the turn; the others are gathered."""
    session, link, _ = open_session()
    session.receive([Packet(2, 1)])
    for number in range(3):
        session.send_nowait(b"%d" % number)
    assert len(link.writes) == 1
    await turn()
    assert len(link.writes) == 2
    assert [b"0", b"1", b"2"] == [packet.payload for packet in link.sent()]


async def test_one_write_per_read() -> None:
    """All answers of plain handlers to one read leave in one write."""
    session, link, endpoint = open_session()
    endpoint.on_request(lambda context: context.payload)
    session.receive([Packet(1, number, b"x", biz_type=3) for number in range(100)])
    assert len(link.writes) == 1
    assert [Packet(2, number, b"x", biz_type=3) for number in range(100)] == link.sent()


async def test_a_request_in_line_times_out_and_is_never_sent() -> None:
    """The timeout of a request covers waiting to be sent; the next in line goes on."""
    session, link, endpoint = open_session(SessionConfig(high_water=100))
    link.blocked = True
    for _ in range(2):
        await session.send(bytes(100))
        await turn()
    assert session.congested
    with pytest.raises(TransportTimeoutError):
        await session.request(b"never sent", timeout=0.01)
    cancelled, last = (asyncio.create_task(session.send(payload)) for payload in (b"cancelled", b"last"))
    await turn()
    cancelled.cancel()
    link.unblock()
    await last
    await turn()
    assert [bytes(100), bytes(100), b"last"] == [packet.payload for packet in link.sent()]
    assert endpoint.stats().request_timeouts == 1


async def test_a_blocked_link_gets_no_more_until_it_is_free() -> None:
    """While the link is behind, frames are gathered here, and follow in one write."""
    session, link, _ = open_session()
    link.blocked = True
    for number in range(5):
        await session.send(b"%d" % number)
        await turn()
    assert len(link.writes) == 1
    link.unblock()
    assert len(link.writes) == 2
    assert [b"0", b"1", b"2", b"3", b"4"] == [packet.payload for packet in link.sent()]


async def test_answers_stop_at_high_water_for_a_session_that_only_answers() -> None:
    """Requests behind high_water of answers are held, reading pauses, and all goes on when the link is free."""
    session, link, endpoint = open_session(SessionConfig(high_water=1000))
    endpoint.on_request(lambda _: bytes(400))
    link.blocked = True
    session.receive([Packet(1, number) for number in range(10)])
    await turn()
    assert link.calls == ["pause"]
    assert session.stats().outbound_bytes <= 2 * (1000 + 416)  # high_water here, and in the link
    while link.calls[-1] == "pause":
        link.unblock()
        await turn()
    assert list(range(10)) == [packet.message_id for packet in link.sent()]
    assert link.calls == ["pause", "resume"]


async def test_responses_pass_held_requests() -> None:
    """A response is never stuck behind requests that wait for a handler."""
    session, link, endpoint = open_session(SessionConfig(max_concurrent_handlers=1))
    go_on = asyncio.Event()

    @endpoint.on_request
    async def answer(context: Context) -> bytes:
        await go_on.wait()
        return context.payload

    asked = asyncio.create_task(session.request(b""))
    await turn()
    session.receive([Packet(1, 1, b"a"), Packet(1, 2, b"b"), Packet(2, 1, b"answer")])
    assert (await asked).payload == b"answer"
    later = asyncio.create_task(session.request(b""))
    await turn()
    session.receive([Packet(1, 3, b"c"), Packet(2, 2, b"answer")])
    assert (await later).payload == b"answer"
    go_on.set()
    for _ in range(3):
        await turn()
    assert [b"a", b"b", b"c"] == [packet.payload for packet in link.sent() if packet.packet_type == 2]


async def test_progress_keeps_a_slow_link_alive() -> None:
    """write_timeout ends a link that stands still, not one that is slow."""
    session, link, endpoint = open_session(SessionConfig(write_timeout=1.0))
    link.blocked = True
    await session.send(bytes(1000))
    for _ in range(6):
        await asyncio.sleep(0.2)
        link.waiting -= 10
    assert session.is_open
    await asyncio.wait_for(session.wait_closed(), 30)
    assert session.close_reason == CloseReason.TIMEOUT
    assert endpoint.stats().write_timeouts == 1


async def test_an_unfinished_packet_must_grow() -> None:
    """packet_timeout begins anew with every 64 KiB, with every packet, and while we are the ones who do not read."""
    session, link, endpoint = open_session(SessionConfig(event_queue_size=1))
    events = endpoint.events()
    link.inside_packet = True

    def sweep(now: float) -> None:
        endpoint.sweeping.look_at(session, now)

    for now in range(0, 1000, 20):  # a large packet that goes on, or many small ones
        session.bytes_received += 40_000
        if now > 500:
            session.receive([Packet(2, 1)])
            session.bytes_received -= 39_000
        sweep(now)
    session.receive([Packet(0, 1, b"first"), Packet(0, 2, b"held")])
    for now in range(1000, 1100, 20):
        sweep(now)
    await anext(events)
    await turn()
    for now in (1100, 1129):
        sweep(now)
    assert session.is_open
    sweep(1131)
    await session.wait_closed()
    assert session.close_reason == CloseReason.TIMEOUT
    assert endpoint.stats().packet_timeouts == 1


async def test_a_process_that_stood_still_closes_nobody_for_it() -> None:
    """Only time in which packets could be read counts as silence; who is silent after a stall goes all the same."""
    session, link, endpoint = open_session(SessionConfig(idle_timeout=20, packet_timeout=20))
    sweeping, start = endpoint.sweeping, session.active_at
    link.inside_packet = True

    def sweep(due: float, now: float) -> None:
        """Seconds from the start on."""
        sweeping._due = start + due
        sweeping.begin(start + now)
        sweeping.look_at(session, start + now)

    sweep(5, 5)
    sweep(10, 70)  # first it stands still once, then again soon after
    sweep(75, 100)
    assert session.is_open
    sweep(104, 104)  # 10 seconds to the first stall, 5 to the second one, and 4
    assert session.is_open
    sweep(105, 109)  # late, by less than what counts
    await session.wait_closed()
    assert CloseReason.TIMEOUT is session.close_reason
    assert (1, 0) == (endpoint.stats().idle_timeouts, endpoint.stats().packet_timeouts)


async def test_a_process_that_stood_still_waits_for_the_rest_of_a_packet() -> None:
    """The time that a packet may take to arrive leaves out what passed before anything could be read."""
    session, link, endpoint = open_session(SessionConfig(packet_timeout=20))
    sweeping, start = endpoint.sweeping, session.active_at
    link.inside_packet = True
    for due, now in ((5, 5), (10, 70), (75, 75), (80, 84)):  # 5 seconds, then a stall, then 14
        assert session.is_open
        sweeping._due = start + due
        sweeping.begin(start + now)
        sweeping.look_at(session, start + now)
    assert session.is_open
    sweeping.look_at(session, start + 85)
    await session.wait_closed()
    assert (CloseReason.TIMEOUT, 1) == (session.close_reason, endpoint.stats().packet_timeouts)


async def test_sessions_that_come_and_go_unseen_are_left_out() -> None:
    """A stream that nobody reads stays bounded and loses no message; who is seen to come is seen to go."""
    endpoint = Endpoint(SessionConfig(event_queue_size=4))
    events, loop = endpoint.events(), asyncio.get_running_loop()

    def come(number: int) -> Session:
        link = MemoryLink(endpoint.config)
        link.session = Session(number, link, endpoint, loop, 1)
        endpoint.session_opened(link.session)
        return link.session

    first, second = come(1), come(2)
    assert (await anext(events)).session is first
    second.receive([Packet(0, 1, b"kept"), Packet(0, 2, b"kept"), Packet(0, 3, b"kept"), Packet(0, 4, b"held")])
    for number in range(3, 1003):
        come(number).lost(None)
    first.lost(None)
    second.lost(None)
    endpoint.hub.end()
    seen = [(type(event), getattr(event, "session", second).id) async for event in events]
    expected = [(Established, 2), *[(MessageReceived, 2)] * 3, (Closed, 1), (Closed, 2)]
    assert expected == seen
    assert endpoint.stats().unseen_sessions == 1000


async def test_leaving_out_makes_room() -> None:
    """A session that waits because of a full stream goes on when the stream shrinks by leaving another out."""
    endpoint = Endpoint(SessionConfig(event_queue_size=1))
    events = endpoint.events()
    sessions = []
    for number in (1, 2):
        link = MemoryLink(endpoint.config)
        link.session = Session(number, link, endpoint, asyncio.get_running_loop(), 1)
        endpoint.session_opened(link.session)
        sessions.append(link.session)
    sessions[0].receive([Packet(0, 1, b"waits")])
    sessions[1].lost(None)
    assert isinstance(await anext(events), Established)
    await turn()
    event = await anext(events)
    assert isinstance(event, MessageReceived)
    assert event.context.payload == b"waits"


async def test_a_graceful_close_writes_what_stands_in_line() -> None:
    """Closing gracefully sends what is queued and in line, and only then says that it is finished."""
    session, link, _ = open_session(SessionConfig(high_water=100))
    link.blocked = True
    await session.send(bytes(200))
    sending = asyncio.create_task(session.send(b"in line"))
    await turn()
    closing = asyncio.create_task(session.close())
    await turn()
    assert "finish" not in link.calls
    link.unblock()
    await sending
    await closing
    assert [bytes(200), b"in line"] == [packet.payload for packet in link.sent()]
    assert link.calls[-1] == "finish"
    assert session.state == SessionState.CLOSED


async def test_a_graceful_close_that_cannot_write_is_forced() -> None:
    """When the link stays blocked, closing ends with an abort after graceful_timeout."""
    session, link, _ = open_session(SessionConfig(graceful_timeout=0.05))
    link.blocked = True
    await session.send(b"stuck")
    await session.close()
    assert link.calls[-1] == "abort"
    assert session.close_reason == CloseReason.FORCED


async def test_a_cancelled_close_is_forced() -> None:
    """Whoever cancels a graceful close gets the session closed all the same."""
    session, link, _ = open_session()
    link.blocked = True
    await session.send(b"stuck")
    closing = asyncio.create_task(session.close())
    await turn()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await session.wait_closed()
    assert link.calls[-1] == "abort"


async def test_packets_after_the_close_began_are_discarded() -> None:
    """What arrives while closing is counted, not handled; so is the rest of a read whose handler closed."""
    session, _, endpoint = open_session()
    seen: list[bytes] = []

    @endpoint.on_message
    def take(context: Context) -> None:
        seen.append(context.payload)
        context.session.abort()

    session.receive([Packet(0, 1, b"first"), Packet(0, 2, b"second")])
    session.receive([Packet(0, 3, b"third")])
    await session.wait_closed()
    assert seen == [b"first"]
    assert endpoint.stats().discarded == 2
    with pytest.raises(SessionClosedError, match="forced"):
        await session.send(b"")


async def test_requests_refused_by_the_codec_are_forgotten() -> None:
    """A request that cannot be encoded leaves nothing behind."""
    session, _, _ = open_session()
    for wrong in ({"biz_type": 256}, {"ext_header": bytes(70_000)}, {"flags": -1}):
        with pytest.raises(Exception, match=r"biz_type|ext header"):
            await session.request(b"", **wrong)
    assert session.stats().pending_requests == 0


@pytest.mark.parametrize(("wrong", "name"), [("text", "str; encode it"), (None, "NoneType"), ([1], "list")])
async def test_payloads_of_a_wrong_type(wrong: object, name: str) -> None:
    """What is not bytes is a TypeError that says which argument; nothing is sent."""
    session, link, _ = open_session()
    with pytest.raises(TypeError, match=f"payload must be bytes, not {name}"):
        await session.request(wrong)
    with pytest.raises(TypeError, match="payload must be bytes"):
        session.send_nowait(wrong)
    with pytest.raises(TypeError, match=f"ext_header must be bytes, not {name}" if wrong else "payload"):
        await session.send(b"" if wrong else wrong, ext_header=wrong)
    await turn()
    assert (session.stats().pending_requests, link.writes) == (0, [])


async def test_payloads_like_bytes() -> None:
    """bytearray and memoryview are sent as the bytes they hold, whatever their items are."""
    session, link, _ = open_session()
    for payload in (bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"abcd").cast("I")):
        session.send_nowait(payload, ext_header=payload)
        session.send_nowait(payload)
    await turn()
    assert [(b"abcd", b"abcd"), (b"abcd", b"")] * 3 == [(packet.payload, packet.ext_header) for packet in link.sent()]


async def test_a_gone_link_is_harmless() -> None:
    """After closing, everything on a session is refused or does nothing."""
    session, link, endpoint = open_session()
    await session.close()
    session.abort()
    await session.close(graceful=False)
    assert not session.stats().outbound_bytes
    assert (session.protocol, session.peer_address, session.local_address) == ("memory", None, None)
    assert endpoint.stats().connections_open == 0
    assert link.calls.count("abort") == 0


async def test_who_does_not_wait_any_more_leaves_the_line() -> None:
    """What timed-out and cancelled requests and sends had in line is dropped, and nothing of it is sent."""
    session, link, _ = open_session(SessionConfig(high_water=1000))
    link.blocked = True
    for payload in (bytes(2000), bytes(3000)):  # the first for the link, which takes no more then
        session.send_nowait(payload)
        await turn()
    assert session.congested
    waiting = [asyncio.create_task(session.request(bytes(984), timeout=0.01)) for _ in range(3)]
    waiting += [asyncio.create_task(session.request(bytes(984))) for _ in range(3)]
    sending = asyncio.create_task(session.send(bytes(984)))
    await turn()
    assert session.stats().waiting_bytes == 7000
    for task in waiting[:3]:
        with pytest.raises(TransportTimeoutError):
            await task
    assert session.stats().waiting_bytes == 4000
    for task in (*waiting[3:], sending):
        task.cancel()
    await turn()
    assert session.stats().waiting_bytes == 0
    assert session.stats().pending_requests == 0
    link.unblock()
    await turn()
    assert [2000, 3000] == [len(packet.payload) for packet in link.sent()]


async def test_an_answer_before_its_request_has_left_drops_that() -> None:
    """A response to a request that stands in line ends the request, which is not sent any more."""
    session, link, _ = open_session(SessionConfig(high_water=1000))
    link.blocked = True
    for _ in range(2):
        session.send_nowait(bytes(2000))
        await turn()
    asking = asyncio.create_task(session.request(b"?", message_id=77))
    await turn()
    session.receive([Packet(2, 77, b"!")])
    assert (await asking).payload == b"!"
    assert session.stats().waiting_bytes == 0


async def test_reading_goes_on_for_awaited_answers_up_to_a_bound() -> None:
    """Held packets stop reading when no answer is awaited, or when they reach max_inbound; else reading goes on."""
    session, link, endpoint = open_session(SessionConfig(max_concurrent_handlers=1, max_inbound=10_000))
    gate = asyncio.Event()

    @endpoint.on_message
    async def take(_: Context) -> None:
        await gate.wait()

    session.receive([Packet(0, 1, b"taken"), Packet(0, 2, b"held")])
    assert link.calls == ["pause"]
    asking = asyncio.create_task(session.request(b"?"))
    await turn()
    assert link.calls == ["pause", "resume"]
    session.receive([Packet(0, 3, bytes(9_000))])
    assert not session.stats().reading_paused
    session.receive([Packet(0, 4, bytes(1_000)), Packet(2, 1, b"!")])
    assert link.calls == ["pause", "resume", "pause"]
    assert (await asking).payload == b"!"
    gate.set()
    for _ in range(3):
        await turn()
    assert link.calls == ["pause", "resume", "pause", "resume"]
    assert endpoint.stats().read_pauses == 2


async def test_running_handlers_are_bounded_in_bytes() -> None:
    """No more coroutine handlers run at once than max_inbound bytes of messages allow, and one in any case."""
    session, _, endpoint = open_session(SessionConfig(max_inbound=10_000))
    gate = asyncio.Event()

    @endpoint.on_request
    async def answer(_: Context) -> bytes:
        await gate.wait()
        return b""

    session.receive([Packet(1, number, bytes(4_000)) for number in range(1, 11)])
    assert session.stats().running_handlers == 3
    assert session.stats().reading_paused
    gate.set()
    for _ in range(3):
        await turn()
    gate.clear()
    session.receive([Packet(1, 11, bytes(20_000)), Packet(1, 12)])
    assert session.stats().running_handlers == 1
    gate.set()
    await turn()


async def test_what_was_held_is_handled_over_several_turns() -> None:
    """However much is held, one turn of the loop handles a bounded part of it."""
    session, _, endpoint = open_session(SessionConfig(event_queue_size=1))
    events, handled = endpoint.events(), 0
    session.receive([Packet(0, 0)] * 5001)

    @endpoint.on_message
    def count(_: Context) -> None:
        nonlocal handled
        handled += 1

    await anext(events)
    parts = []
    while handled < 5000:
        before = handled
        await asyncio.sleep(0)
        parts.append(handled - before)
    assert max(parts) <= RELEASE


async def test_a_lost_session_tells_what_was_written() -> None:
    """Requests fail with `written`: True once given to the link, False in our queue or line, and those never leave."""
    session, link, _ = open_session(SessionConfig(high_water=100))
    link.blocked = True
    tasks = []
    for payload in (b"written", bytes(200), b"in line"):  # the second is queued behind a link that takes no more
        tasks.append(asyncio.create_task(session.request(payload)))
        await turn()
    session.peer_finished()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [True, False, False] == [isinstance(e, SessionClosedError) and e.written for e in results]
    assert [b"written"] == [packet.payload for packet in link.sent()]


async def test_an_ending_session_hands_over_messages_that_never_left() -> None:
    """In `session_ending` an endpoint takes unwritten one-way messages, queued or in line; the answers still leave."""
    session, link, endpoint = open_session(SessionConfig(high_water=100))
    taken: list[bytes] = []
    endpoint.session_ending = lambda ending: taken.extend(ending.take_messages())
    link.blocked = True
    await session.send(b"written")
    await turn()
    endpoint.on_request(lambda context: context.payload)
    session.receive([Packet(1, 9, b"answer")])
    await session.send(bytes(200))
    in_line = asyncio.create_task(session.forward(encode(Packet(0, 77, b"in line"))))
    await turn()
    session.peer_finished()
    assert [bytes(200), b"in line"] == [decode(frame).payload for frame in taken]
    await in_line
    assert [b"written", b"answer"] == [packet.payload for packet in link.sent()]


async def test_streams_outlive_attempts_that_come_to_nothing() -> None:
    """A stream made before connecting goes on when a connection ends before `connect` could open its session."""
    client = TransportClient("tcp://127.0.0.1:1")
    events = client.events()
    link = MemoryLink(client.config)
    link.session = client.admit(link)
    link.session.lost(None)
    following = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    assert not following.done()
    link.session = client.admit(link)
    assert client.session_opened(link.session)
    assert await following == Established(link.session)
    link.session.lost(None)
    assert [Closed] == [type(event) async for event in events]
