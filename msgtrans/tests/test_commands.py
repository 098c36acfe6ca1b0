"""Commands leave ahead of data, each class in its order and within its bounds (case 28)."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_link import open_session, turn

from msgtrans import (
    Backpressure,
    BackpressureError,
    Flag,
    Optimizations,
    Packet,
    Reply,
    SessionConfig,
    TransportTimeoutError,
    encode,
)
from msgtrans.outbound import BATCH_BYTES, batch_end

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from msgtrans import Context, Session

    from .conftest import Until

HIGH = Flag.HIGH_PRIORITY


async def test_commands_leave_first() -> None:
    """Of what one turn sends, commands leave before data, and each class keeps its order."""
    session, link, _ = open_session()
    for number in range(4):
        session.send_nowait(b"data %d" % number)
        await session.send(b"command %d" % number, flags=HIGH)
    await turn()
    assert [b"command 0", b"command 1", b"command 2", b"command 3", b"data 0", b"data 1", b"data 2", b"data 3"] == [
        packet.payload for packet in link.sent()
    ]


@pytest.mark.parametrize("queued", [100, 10_000])
async def test_a_command_is_behind_one_batch_at_most(queued: int) -> None:
    """However much data waits, a command that comes later has no more than one batch of it ahead (case 28)."""
    session, link, _ = open_session(SessionConfig(high_water=1 << 20))
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    for number in range(queued):
        session.send_nowait(b"%d" % number)
    await turn()
    link.unblock(room=0)
    before = len(link.sent())
    assert 1 + 32 == before
    asked = asyncio.create_task(session.request(b"command", flags=HIGH))
    await turn()
    link.unblock()
    sent = link.sent()
    assert b"command" == sent[before].payload
    assert [b"%d" % number for number in range(queued)] == [
        packet.payload for packet in sent if not packet.packet_type
    ][1:]
    asked.cancel()


async def test_large_data_leaves_in_small_batches() -> None:
    """A batch has 64 KiB at most: of large packets, a link that falls behind holds no more than that, or one packet."""
    session, link, _ = open_session(SessionConfig(high_water=8 << 20))
    for _ in range(8):
        session.send_nowait(bytes(20_000))
    session.send_nowait(bytes(200_000))
    session.send_nowait(b"last")
    await turn()
    assert [3, 3, 2, 1, 1] == link.batches()


async def test_batches_adapt() -> None:
    """Batches are large while the link takes them whole, begin small when it has fallen behind, and grow again."""
    session, link, _ = open_session(SessionConfig(high_water=1 << 20, batch_size=4))
    assert 128 == session.batch_limit
    link.blocked = True
    session.send_nowait(b"")
    await turn()
    assert 4 == session.batch_limit
    for _ in range(200):
        session.send_nowait(b"")
    link.unblock()
    assert [1, 4, 8, 16, 32, 64, 76] == link.batches()
    session.limit_batches(16)
    assert (128, 16 * 32) == (session.batch_limit, session._batch_most)


async def test_a_link_that_goes_on_while_it_is_written_to() -> None:
    """A link may pause and go on within one write, as inside TLS: nothing is lost, doubled or out of order."""
    session, link, _ = open_session(SessionConfig(high_water=1 << 20, batch_size=4))
    write = link.write

    def write_and_go_on(packets: list[bytes]) -> None:
        write(packets)
        session.pause_writing()
        session.resume_writing()

    link.write = write_and_go_on  # type: ignore[method-assign]
    for number in range(300):
        session.send_nowait(b"%d" % number, flags=HIGH if number >= 200 else 0)
    await turn()
    assert [b"%d" % number for number in [*range(200, 300), *range(200)]] == [packet.payload for packet in link.sent()]
    assert (300, 0) == (session.packets_sent, session.stats().outbound_bytes)


@given(st.lists(st.integers(16, 2 * BATCH_BYTES), min_size=1, max_size=200), st.integers(1, 64))
def test_batches_are_whole_and_bounded(sizes: list[int], most: int) -> None:
    """Batches follow each other without a gap; each has no more packets than it may, and 64 KiB or one packet."""
    frames, at = [bytes(size) for size in sizes], 0
    while at < len(frames):
        stop, size = batch_end(frames, at, most)
        assert sum(sizes[at:stop]) == size
        assert 1 <= stop - at <= most
        assert size <= BATCH_BYTES or stop - at == 1
        assert stop == len(sizes) or stop - at == most or size + sizes[stop] > BATCH_BYTES
        at = stop


@pytest.mark.parametrize("kind", ["bytes", "reply", "later", "flagged"])
async def test_answers_are_of_the_class_of_their_request(kind: str) -> None:
    """The answer to a command leaves ahead of data, however the handler gives it; so does one that has the flag."""
    session, link, endpoint = open_session()
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    session.send_nowait(b"data")

    async def later(_: object) -> bytes:
        return b"answer"

    handlers = {
        "bytes": lambda _: b"answer",
        "reply": lambda _: Reply(b"answer"),
        "later": later,
        "flagged": lambda _: Reply(b"answer", flags=HIGH),
    }
    endpoint.on_request(handlers[kind])
    session.receive([Packet(1, 1, b"", flags=0 if kind == "flagged" else HIGH), Packet(1, 2, b"")])
    await turn()
    link.unblock()
    in_order = [(b"answer", 1), (b"data", 2), (b"answer", 2)]
    if kind == "flagged":
        in_order = [(b"answer", 1), (b"answer", 2), (b"data", 2)]
    assert [(b"first", 1), *in_order] == [(packet.payload, packet.message_id) for packet in link.sent()]


async def test_other_flags_make_no_command() -> None:
    """Only HIGH_PRIORITY makes a command."""
    session, link, endpoint = open_session()
    endpoint.on_request(lambda context: context.payload)
    session.send_nowait(b"data")
    session.send_nowait(b"tagged", flags=Flag.HAS_ROUTE_TAG)
    session.receive([Packet(1, 1, b"asked", flags=Flag.HAS_ROUTE_TAG)])
    await turn()
    assert [b"data", b"tagged", b"asked"] == [packet.payload for packet in link.sent()]


async def test_forwarded_and_broadcast_frames() -> None:
    """Encoded packets are commands if they carry the flag."""
    session, link, _ = open_session()
    await session.forward(encode(Packet(0, 1, b"data")))
    await session.forward(encode(Packet(0, 2, b"forwarded", flags=HIGH)))
    assert session.offer_frame(encode(Packet(0, 3, b"offered", flags=HIGH)))
    await turn()
    assert [b"forwarded", b"offered", b"data"] == [packet.payload for packet in link.sent()]


@pytest.mark.parametrize("flags", [HIGH, 0], ids=["command", "data"])
@pytest.mark.parametrize("carrier", ["tcp", "tls", "ws"], indirect=True)
async def test_an_answer_passes_data_that_waits(
    carrier: Carrier, connect_raw: Callable[..., AbstractAsyncContextManager[RawPeer]], until: Until, flags: int
) -> None:
    """On real connections, ahead of the answer to a command is only what its link had already; to others, all."""
    async with carrier.server(session=SessionConfig(high_water=64 << 20, max_outbound=64 << 20)) as server:
        written: list[int] = []

        @server.on_connect
        def take_little(session: Session) -> None:
            session._link.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 30_000)

        @server.on_request
        def answer(context: Context) -> bytes:
            written.append(context.session.packets_sent)
            return b"answer"

        async with connect_raw(server) as peer:
            peer.send(encode(Packet(0, 1)))  # a WebSocket session begins with its first packet at the latest
            await until(lambda: server.sessions)  # inside TLS the peer may be done with the handshake first
            (session,) = server.sessions.values()
            count = 0
            while session.stats().outbound_bytes < 1 << 20:  # the system takes no more, and the link has a batch
                session.send_nowait(bytes(10_000 - 16))
                count += 1
                if count % 16 == 0:
                    await asyncio.sleep(0)
            peer.send(encode(Packet(1, 7, b"asked", flags=flags)))
            ahead = 0
            while (await peer.read(16))[2] != 2:
                await peer.read(10_000 - 16)
                ahead += 1
            assert b"answer" == await peer.read(6)
            assert (written[0] if flags else count) == ahead
            assert written[0] < count


# Bounds


async def blocked(strategy: Backpressure, waiting: int = 3):
    """A session whose link takes nothing, with `waiting` commands of 40 bytes, above a bound of 100."""
    session, link, endpoint = open_session(SessionConfig(outbound_strategy=strategy, command_high_water=100))
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    for number in range(waiting):
        session.send_nowait(b"command %d" % number + bytes(15), flags=HIGH)
    assert not session.congested
    return session, link, endpoint


def told(link) -> list[bytes]:
    return [packet.payload.rstrip(b"\0") for packet in link.sent()]


async def test_block() -> None:
    """Commands above their bound wait in a line of their own; those that do not wait raise, and data goes on."""
    session, link, endpoint = await blocked(Backpressure.BLOCK)
    with pytest.raises(BackpressureError, match="outbound bytes of commands"):
        session.send_nowait(b"", flags=HIGH)
    assert 1 == endpoint.stats().backpressure_errors
    sending = asyncio.create_task(session.send(b"command 3", flags=HIGH))
    asking = asyncio.create_task(session.request(b"command 4", flags=HIGH))
    dropped = asyncio.create_task(session.send(b"cancelled", flags=HIGH))
    await turn()
    assert 9 * 3 + 16 * 3 == session.stats().waiting_bytes
    dropped.cancel()
    await session.send(b"data")
    await turn()
    assert not sending.done()
    link.unblock()
    await sending
    await turn()
    commands = [b"command %d" % number for number in range(5)]
    assert commands == [payload for payload in told(link) if payload.startswith(b"command")]
    assert 0 == session.stats().waiting_bytes
    session.receive([Packet(2, 7, b"answer")])
    assert b"answer" == (await asking).payload


async def test_a_request_that_waits_in_line_times_out() -> None:
    """A command that asks and finds no room within its timeout never leaves."""
    session, link, _ = await blocked(Backpressure.BLOCK)
    with pytest.raises(TransportTimeoutError):
        await session.request(b"late", flags=HIGH, timeout=0.01)
    link.unblock()
    await turn()
    assert b"late" not in told(link)


async def test_drop_newest() -> None:
    """Under DROP_NEWEST, one-way commands above the bound are dropped and counted, with and without waiting."""
    session, link, endpoint = await blocked(Backpressure.DROP_NEWEST)
    await session.send(b"lost", flags=HIGH)
    session.send_nowait(b"lost", flags=HIGH)
    assert not session.offer_frame(encode(Packet(0, 9, b"lost", flags=HIGH)))
    link.unblock()
    assert [b"first", b"command 0", b"command 1", b"command 2"] == told(link)
    assert (3, 3) == (session.stats().dropped_outbound, endpoint.stats().dropped_outbound)


async def test_drop_oldest() -> None:
    """Under DROP_OLDEST, the oldest one-way commands make way; requests and data stay."""
    session, link, _ = await blocked(Backpressure.DROP_OLDEST, waiting=2)
    session.send_nowait(b"data")
    asking = asyncio.create_task(session.request(b"asks" + bytes(30), flags=HIGH))
    await turn()
    await session.send(b"newest", flags=HIGH)
    link.unblock()
    assert [b"first", b"command 1", b"asks", b"newest", b"data"] == told(link)
    assert 1 == session.stats().dropped_outbound
    asking.cancel()


async def test_reject() -> None:
    """Under REJECT, commands above the bound raise, requests too; below it, data being full does not matter."""
    session, link, _ = await blocked(Backpressure.REJECT)
    for call in (session.send, session.request):
        with pytest.raises(BackpressureError, match="outbound bytes of commands"):
            await call(b"", flags=HIGH)
    link.unblock()
    await session.send(b"again", flags=HIGH)
    await turn()
    assert b"again" == told(link)[-1]
    assert 0 == session.pending_requests


async def test_full_of_data_is_not_full_of_commands() -> None:
    """While data is above high_water, commands are taken and answered; requests of the data class wait."""
    session, link, endpoint = open_session(SessionConfig(high_water=100))
    endpoint.on_request(lambda context: context.payload)
    link.blocked = True
    session.send_nowait(b"first")
    await turn()
    session.send_nowait(bytes(200))
    assert session.congested
    session.receive([Packet(1, 1, b"urgent", flags=HIGH), Packet(1, 2, b"waits")])
    await session.send(b"command", flags=HIGH)
    link.unblock()
    await turn()
    assert [b"first", b"urgent", b"command", b"", b"waits"] == told(link)


async def test_commands_that_are_not_read_are_held() -> None:
    """A peer that asks with the flag and reads no answers is read no further, and answered when it reads again."""
    session, link, endpoint = await blocked(Backpressure.BLOCK, waiting=0)
    endpoint.on_request(lambda context: context.payload)
    session.receive([Packet(1, number, bytes(24), flags=HIGH) for number in range(10)])
    assert (["pause"], 120) == (link.calls[-1:], session._commands.size)
    link.unblock()
    await turn()
    assert list(range(10)) == [packet.message_id for packet in link.sent() if packet.packet_type == 2]


# The end


async def test_a_graceful_close_writes_both_classes() -> None:
    """Closing gracefully sends what is queued and in line, commands first."""
    session, link, _ = await blocked(Backpressure.BLOCK)
    sending = asyncio.create_task(session.send(b"command 3", flags=HIGH))
    await turn()
    session.send_nowait(b"data")
    closing = asyncio.create_task(session.close())
    await turn()
    link.unblock()
    await sending
    await closing
    assert [b"first", b"command 0", b"command 1", b"command 2", b"command 3", b"data"] == told(link)
    assert 6 == session.packets_sent


async def test_what_never_left_is_told_apart() -> None:
    """When the connection goes, a command that waits never left, and one-way commands can be taken over."""
    session, _, endpoint = await blocked(Backpressure.BLOCK, waiting=2)
    taken: list[bytes] = []
    endpoint.session_ending = lambda session: taken.extend(session.take_messages())  # type: ignore[method-assign]
    session.send_nowait(b"data")
    queued = asyncio.create_task(session.request(b"queued" + bytes(30), flags=HIGH))
    await turn()
    in_line = asyncio.create_task(session.request(b"in line", flags=HIGH))
    await turn()
    session.lost(None)
    results = await asyncio.gather(queued, in_line, return_exceptions=True)
    assert [False, False] == [error.written for error in results]
    assert [b"command 0", b"command 1", b"data"] == [frame[16:].rstrip(b"\0") for frame in taken]


# Turned off


async def test_without_batching() -> None:
    """Without batching, each packet leaves in a write of its own, at the end of the turn."""
    session, link, endpoint = open_session(SessionConfig(optimizations=Optimizations(batching=False)))
    endpoint.on_request(lambda context: context.payload)
    for number in range(3):
        session.send_nowait(b"%d" % number)
    session.send_nowait(b"command", flags=HIGH)
    assert [] == link.writes
    await turn()
    session.receive([Packet(1, number, b"asked") for number in range(3)])
    session.limit_batches(50)
    assert ([1] * 7, 1) == (link.batches(), session.batch_limit)
    assert [b"command", b"0", b"1", b"2", b"asked", b"asked", b"asked"] == told(link)


async def test_without_coalescing() -> None:
    """Without coalescing, each packet leaves in a write of its own, at once, answers to one read included."""
    session, link, endpoint = open_session(SessionConfig(optimizations=Optimizations(coalescing=False)))
    for number in range(3):
        session.send_nowait(b"%d" % number)
        assert number + 1 == len(link.writes)
    seen: list[int] = []

    def answer(context: object) -> bytes | Reply:
        seen.append(len(link.writes))
        return b"" if len(seen) < 3 else Reply(b"")

    endpoint.on_request(answer)
    session.receive([Packet(1, number, b"asked") for number in range(5)])
    assert ([3, 4, 5, 6, 7], [1] * 8) == (seen, link.batches())


async def test_without_recognition() -> None:
    """Without recognition, what follows a read of a single packet is gathered like everything else."""
    session, link, _ = open_session(SessionConfig(optimizations=Optimizations(recognition=False)))
    session.receive([Packet(2, 1)])
    session.send_nowait(b"0")
    session.send_nowait(b"1")
    await turn()
    assert [2] == link.batches()
