"""Packets from frames: the receive table of the specification, messages of several frames, limits."""

from __future__ import annotations

import struct
import zlib
from typing import Literal

import pytest
from carriers import frame
from hypothesis import given, settings
from hypothesis import strategies as st

from msgtrans import CodecOptions, Packet, RemoteProtocolError, encode
from msgtrans.adapters.websocket.frames import ReaderPool
from msgtrans.adapters.websocket.messages import Limits, MessageDecoder, PeerClose

PACKET = Packet(1, 7, b"payload", 3, b"ext")
WIRE = encode(PACKET)
V8 = bytes.fromhex("01020000000000020000000000170000") + b"hello hello hello hello"


def decoder(max_frame_size: int = 1 << 24, max_message_size: int = 1 << 26, **codec: object) -> MessageDecoder:
    limits = Limits.of(CodecOptions(**codec), max_message_size)
    return MessageDecoder(ReaderPool(max_frame_size, masked=True), limits)


def squeezed(size: int, number: int = 1) -> bytes:
    """A packet whose payload inflates to so many bytes."""
    body = zlib.compress(bytes(size))
    return struct.pack(">BBBBIHIH", 1, 2, 0, 0, number, 0, len(body), 0) + body


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=300), max_size=6),
    frame_size=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    pings=st.booleans(),
)
async def test_fragmented_and_cut_anywhere(
    payloads: list[bytes], frame_size: int, cuts: list[int], pings: bool
) -> None:
    """However messages are fragmented, cut, and interleaved with pings, their packets come out in order."""
    packets = [Packet(1, number, payload, ext_header=b"e") for number, payload in enumerate(payloads)]
    wire = b""
    for packet in packets:
        data = encode(packet)
        for at in range(0, len(data), frame_size):
            wire += frame(0 if at else 2, data[at : at + frame_size], last=at + frame_size >= len(data))
            wire += frame(9, b"!") if pings else b""
    reading, seen, at = decoder(), [], 0
    for size in [*cuts, len(wire)]:
        seen += reading.feed(wire[at : at + size])
        at += size
    assert packets == seen
    assert (reading.error, reading.partial, reading.kept) == (None, False, 0)
    assert reading.ping == (b"!" if pings and packets else None)


@pytest.mark.parametrize(
    ("wire", "code", "says"),
    [
        (frame(1, b"text"), 1003, "text"),
        (frame(1, b"te", last=False), 1003, "text"),
        (frame(2, b""), 1008, "0 bytes"),
        (frame(2, WIRE[:15]), 1008, "15 bytes"),
        (frame(2, WIRE[:-1]), 1008, "less than the packet"),
        (frame(2, WIRE + b"x"), 1008, "1 bytes follow"),
        (frame(2, WIRE + WIRE), 1008, "follow"),
        (frame(2, b"\x02" + WIRE[1:]), 1008, "version 2"),
        (frame(2, WIRE[:2] + b"\x09" + WIRE[3:]), 1008, "packet type 9"),
        (frame(2, V8), 1008, "does not inflate"),
        (frame(0, WIRE), 1002, "continuation"),
        (frame(2, WIRE[:5], last=False) + frame(2, WIRE), 1002, "inside another"),
        (frame(2, WIRE[:5], last=False) + frame(2, WIRE, last=False), 1002, "inside another"),
        (frame(2, WIRE[:5], last=False) + frame(1, b"t"), 1002, "inside another"),
        (bytes((frame(2, WIRE)[0] | 0x40,)) + frame(2, WIRE)[1:], 1002, "reserved"),
        (bytes((frame(9, b"")[0] | 0x10,)) + frame(9, b"")[1:], 1002, "reserved"),
        (frame(3, b""), 1002, "opcode"),
        (bytes((0x82, 0xFF)) + (1 << 30).to_bytes(8), 1009, "exceeding"),
        *((frame(8, struct.pack(">H", n)), 1002, "") for n in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)),
    ],
)
async def test_strict(wire: bytes, code: int, says: str) -> None:
    """When strict, whatever is not one packet in a binary message ends the session, behind the packets before it."""
    reading = decoder()
    assert [PACKET] == reading.feed(frame(2, WIRE) + wire + frame(2, WIRE))
    assert isinstance(reading.error, RemoteProtocolError)
    assert says in str(reading.error)
    assert (code, True, False, 0) == (reading.close_code, reading.halted, reading.partial, reading.kept)
    assert [] == reading.feed(frame(2, WIRE))


@pytest.mark.parametrize(
    ("wire", "packet"),
    [
        (frame(1, "täxt".encode()), Packet(0, 0, "täxt".encode())),
        (frame(1, b"te\xc3", last=False) + frame(0, b"\xa4t"), Packet(0, 0, "teät".encode())),
        (frame(2, b""), Packet(0, 0, b"")),
        (frame(2, WIRE[:15]), Packet(0, 0, WIRE[:15])),
        (frame(2, WIRE[:-1]), Packet(0, 0, WIRE[:-1])),
        (frame(2, b"\x02" + WIRE[1:]), Packet(0, 0, b"\x02" + WIRE[1:])),
        (frame(2, WIRE + b"trailing"), PACKET),
        (frame(2, WIRE + WIRE), PACKET),
        (frame(2, WIRE[:2] + b"\x09" + WIRE[3:]), Packet(0, 7, b"payload", 3, b"ext")),
    ],
)
async def test_lenient(wire: bytes, packet: Packet) -> None:
    """When lenient, what is no packet is a one-way message with id 0, and bytes behind a packet are ignored."""
    reading = decoder(frame_policy="lenient")
    assert [packet, PACKET] == reading.feed(wire + frame(2, WIRE))
    assert reading.error is None


async def test_text_that_is_not_utf8_is_refused() -> None:
    """Also when lenient, text must be text."""
    reading = decoder(frame_policy="lenient")
    assert [] == reading.feed(frame(1, b"\xff"))
    assert (reading.close_code, reading.halted) == (1007, True)


@pytest.mark.parametrize("policy", ["strict", "lenient"])
async def test_payloads_that_do_not_inflate(policy: Literal["strict", "lenient"]) -> None:
    """They end the session, or are handed over and counted, as `on_bad_compression` says, whatever the frame policy."""
    reading = decoder(frame_policy=policy)
    assert [] == reading.feed(frame(2, V8))
    assert reading.error is not None
    reading = decoder(frame_policy=policy, on_bad_compression="raw")
    assert [V8[16:]] == [packet.payload for packet in reading.feed(frame(2, V8))]
    assert (None, 1, True) == (reading.error, reading.bad_compression, reading.halted)


async def test_messages_are_bounded_before_they_are_kept() -> None:
    """Fragments that add up to more than a message may have end the session; nothing of it is kept."""
    reading = decoder(max_message_size=1000)
    assert [] == reading.feed(frame(2, bytes(600), last=False))
    assert 600 == reading.kept
    reading.feed(frame(0, bytes(401), last=False))
    assert (1009, 0) == (reading.close_code, reading.kept)
    assert "1000 bytes" in str(reading.error)


async def test_messages_are_bounded_by_what_the_codec_takes() -> None:
    """Without a smaller limit, a message may be as long as the largest packet."""
    reading = decoder(max_payload_size=100, max_ext_header_size=10)
    largest = Packet(1, 1, bytes(100), ext_header=bytes(10))
    wire = encode(largest)
    assert [largest] == reading.feed(frame(2, wire[:50], last=False) + frame(0, wire[50:]))
    reading.feed(frame(2, wire, last=False) + frame(0, b"x"))
    assert reading.close_code == 1009


async def test_empty_fragments_take_no_memory() -> None:
    """A flood of empty fragments is read and forgotten."""
    reading = decoder()
    reading.feed(frame(2, WIRE[:3], last=False))
    flood = frame(0, b"", last=False) * 10_000
    for _ in range(5):
        assert [] == reading.feed(flood)
        assert 3 == reading.kept
    assert [PACKET] == reading.feed(frame(0, WIRE[3:]))


async def test_inflating_stops_for_a_turn() -> None:
    """After `max_inflated_size` bytes the rest of a read waits for later turns, also what comes meanwhile."""
    reading = decoder(max_inflated_size=100_000)
    wire = b"".join(frame(2, squeezed(60_000, number)) for number in range(1, 6)) + frame(9, b"p")
    seen = [packet.message_id for packet in reading.feed(wire)]
    assert ([1, 2], True, True, True) == (seen, reading.more, reading.halted, reading.partial)
    assert reading.kept > 0
    assert reading.ping is None
    seen += [packet.message_id for packet in reading.feed(frame(2, encode(Packet(0, 6))))]
    assert ([1, 2, 3, 4], True) == (seen, reading.more)
    seen += [packet.message_id for packet in reading.feed(b"")]
    assert ([1, 2, 3, 4, 5, 6], False, b"p", 0) == (seen, reading.more, reading.ping, reading.kept)


async def test_a_violation_behind_what_waits_comes_in_its_turn() -> None:
    """Packets that wait for a turn are delivered before the error behind them."""
    reading = decoder(max_inflated_size=50_000)
    wire = frame(2, squeezed(50_000)) + frame(2, WIRE) + frame(3, b"")
    assert [1] == [packet.message_id for packet in reading.feed(wire)]
    assert reading.error is None
    assert [PACKET] == reading.feed(b"")
    assert reading.close_code == 1002


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", PeerClose(1005, "")),
        (struct.pack(">H", 1000), PeerClose(1000, "")),
        (struct.pack(">H", 4321) + "später".encode(), PeerClose(4321, "später")),
    ],
)
async def test_a_close_frame_is_the_last(payload: bytes, expected: PeerClose) -> None:
    """A Close frame is told with code and reason; nothing behind it counts, not even a violation."""
    reading = decoder()
    assert [PACKET] == reading.feed(frame(2, WIRE) + frame(8, payload) + frame(2, WIRE) + frame(8, b"") + frame(3, b""))
    assert (expected, None, True) == (reading.peer_close, reading.error, reading.halted)
    assert [] == reading.feed(frame(2, WIRE))


async def test_a_reader_that_has_seen_a_close_frame_is_not_used_again() -> None:
    """The next connection of the same listener can be closed too."""
    pool = ReaderPool(1 << 20, masked=True)
    limits = Limits.of(CodecOptions(), 1 << 20)
    for _ in range(3):
        reading = MessageDecoder(pool, limits)
        reading.feed(frame(8, b""))
        assert (PeerClose(1005, ""), None) == (reading.peer_close, reading.error)


async def test_what_is_held_comes_first() -> None:
    """Bytes that were held are decoded before those fed next, as one stream."""
    reading = decoder()
    wire = frame(2, encode(Packet(0, 1))) + frame(2, encode(Packet(0, 2)))
    reading.hold(wire[:30])
    assert reading.more
    assert [1, 2] == [packet.message_id for packet in reading.feed(wire[30:])]
    assert (False, False) == (reading.more, reading.partial)
