"""Those who stand in line for room go on, however many they are and however the room came about."""

from __future__ import annotations

import asyncio
import math
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_link import open_session, turn

from msgtrans import Backpressure, ConfigurationError, Flag, Optimizations, Packet, SessionConfig, encode
from msgtrans.outbound import AHEAD
from msgtrans.packet import ONE_WAY, REQUEST
from msgtrans.queueing import drop_oldest

HIGH = Flag.HIGH_PRIORITY
MANY = 3000  # in one chain of calls they would be more than Python allows


@pytest.mark.parametrize("coalescing", [False, True])
@pytest.mark.parametrize("flags", [0, HIGH])
async def test_very_many_go_on_at_once(flags: int, coalescing: bool) -> None:
    """However many wait to send when the link goes on, all go on, and in their order."""
    config = SessionConfig(high_water=512, command_high_water=512, optimizations=Optimizations(coalescing=coalescing))
    session, link, _ = open_session(config)
    link.blocked = True
    session.send_nowait(bytes(600))
    await turn()
    session.send_nowait(bytes(600), flags=flags)
    sending = [asyncio.create_task(session.send(b"%600d" % number, flags=flags)) for number in range(MANY)]
    await turn()
    assert not any(task.done() for task in sending)
    link.unblock()
    await asyncio.gather(*sending)
    await turn()
    assert list(range(MANY)) == [int(packet.payload) for packet in link.sent()[2:]]
    assert not session.congested


async def test_commands_and_data_go_on_together() -> None:
    """With both lines full and nothing gathered, both empty, each in its order."""
    config = SessionConfig(high_water=512, command_high_water=512, optimizations=Optimizations(coalescing=False))
    session, link, _ = open_session(config)
    link.blocked = True
    for flags in (0, HIGH, 0):
        session.send_nowait(bytes(600), flags=flags)
    sending = [
        asyncio.create_task(session.send(b"%600d" % number, flags=HIGH if number % 2 else 0)) for number in range(1000)
    ]
    await turn()
    link.unblock()
    await asyncio.gather(*sending)
    await turn()
    sent = [int(packet.payload) for packet in link.sent() if packet.payload.strip(b"\0")]
    assert list(range(1, 1000, 2)) == [number for number in sent if number % 2]
    assert list(range(0, 1000, 2)) == [number for number in sent if not number % 2]


async def test_room_that_dropping_made_is_for_those_in_line() -> None:
    """A command request in line goes on as soon as DROP_OLDEST has made room, ahead of the message that made it."""
    config = SessionConfig(command_high_water=1000, outbound_strategy=Backpressure.DROP_OLDEST)
    session, link, _ = open_session(config)
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    for _ in range(2):
        session.send_nowait(bytes(800), flags=HIGH)
    asking = asyncio.create_task(session.request(b"in line", flags=HIGH))
    await turn()
    assert 23 == session.stats().waiting_bytes
    session.send_nowait(b"new", flags=HIGH)
    assert (0, 1) == (session.stats().waiting_bytes, session.stats().dropped_outbound)
    link.unblock()
    await turn()
    assert [b"first", bytes(800), b"in line", b"new"] == [packet.payload for packet in link.sent()]
    session.receive([Packet(2, packet.message_id, b"yes") for packet in link.sent() if packet.packet_type == REQUEST])
    assert b"yes" == (await asking).payload


async def test_room_that_dropping_made_is_for_what_is_held() -> None:
    """A command of the peer that waits for room among our commands is handled once DROP_OLDEST has made it."""
    config = SessionConfig(command_high_water=1000, outbound_strategy=Backpressure.DROP_OLDEST)
    session, link, endpoint = open_session(config)
    seen = []

    @endpoint.on_request
    def note(context: object) -> bytes:
        seen.append(context)
        return b""

    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    for _ in range(2):
        session.send_nowait(bytes(800), flags=HIGH)
    session.receive([Packet(REQUEST, 1, b"held", flags=HIGH)])
    await turn()
    assert (0, ["pause"]) == (len(seen), link.calls)
    session.send_nowait(b"new", flags=HIGH)
    await turn()
    assert (1, ["pause", "resume"]) == (len(seen), link.calls)


async def test_commands_that_are_no_messages_are_not_looked_at_twice() -> None:
    """DROP_OLDEST remembers up to where there are only requests and answers, until what waits is written."""
    config = SessionConfig(command_high_water=2000, outbound_strategy=Backpressure.DROP_OLDEST)
    session, link, _ = open_session(config)
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    asking = [asyncio.create_task(session.request(bytes(84), flags=HIGH)) for _ in range(10)]
    await turn()
    for number in range(30):
        session.send_nowait(b"%84d" % number, flags=HIGH)
    commands = session._commands
    assert commands is not None
    assert (10, 21) == (commands.kept_to, len(commands.frames))
    link.unblock()
    assert 0 == commands.kept_to
    assert list(range(19, 30)) == [int(packet.payload) for packet in link.sent()[11:]]
    for task in asking:
        task.cancel()


FRAMES = st.lists(st.tuples(st.sampled_from([ONE_WAY, REQUEST]), st.integers(0, 40)), max_size=30)


@given(FRAMES, st.integers(0, 30), st.integers(-10, 1500))
def test_the_oldest_messages_make_way(kinds: list[tuple[int, int]], at: int, excess: int) -> None:
    """Of what is queued the oldest one-way messages go, no more than needed, and all else keeps its order."""
    frames = [encode(Packet(kind, 1 + number, bytes(size))) for number, (kind, size) in enumerate(kinds)]
    while at > len(frames) or any(kind == ONE_WAY for kind, _ in kinds[:at]):
        at -= 1
    droppable = deque(frame for frame, (kind, _) in zip(frames, kinds, strict=True) if kind == ONE_WAY)
    gone: list[bytes] = []
    while droppable and sum(map(len, gone)) < excess:
        gone.append(droppable.popleft())
    left = [frame for frame in frames if frame not in gone]
    kept_to, size, messages = drop_oldest(frames, at, excess)
    assert (left, sum(map(len, gone)), len(gone)) == (frames, size, messages)
    assert all(frame[2] != ONE_WAY for frame in frames[:kept_to])


@pytest.mark.parametrize("requests", [AHEAD - 1, AHEAD, AHEAD + 1, 2 * AHEAD])
async def test_requests_that_leave_early_are_activity(requests: int) -> None:
    """A session that sends requests 32 at a time is as little idle as one that sends fewer."""
    session, link, _ = open_session()
    before = session.active_at
    tasks = [asyncio.create_task(session.request(b"")) for _ in range(requests)]
    session._active_at = -math.inf
    await turn()
    assert before <= session.active_at
    assert requests == session.packets_sent == sum(link.batches())
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("batching", [True, False])
@pytest.mark.parametrize("least", [0, -1, 1.5, math.nan, math.inf, True, "5", None])
async def test_batches_of_nothing_are_refused(least: object, batching: bool) -> None:
    """A session cannot be told to write no packets at a time, nor half of one, whether or not it makes batches."""
    session, _, _ = open_session(SessionConfig(optimizations=Optimizations(batching=batching)))
    before = session.batch_limit
    with pytest.raises(ConfigurationError, match=r"^least.*; use a"):
        session.limit_batches(least)  # type: ignore[arg-type]  # on purpose
    assert before == session.batch_limit
