"""Frames to bytes and back: the codec around picows, without any connection."""

from __future__ import annotations

import os
import struct
import subprocess
import sys

import pytest
from carriers import frame
from hypothesis import given, settings
from hypothesis import strategies as st

from msgtrans.adapters.websocket import frames
from msgtrans.adapters.websocket.frames import Frame, FrameReader, MaskingWriter, PlainWriter, ReaderPool

SIZES = (0, 1, 125, 126, 127, 1500, 8192, 8193, 65535, 65536, 200_000)


def from_server(opcode: int, data: bytes, *, last: bool = True) -> bytes:
    """A frame as a server sends it."""
    masked = frame(opcode, data, last=last, mask=bytes(4))
    head = len(masked) - len(data) - 4
    return bytes((masked[0], masked[1] & 0x7F)) + masked[2:head] + data


def read(data: bytes, reader: FrameReader, cuts: list[int]) -> list[frames.Received]:
    """What a reader makes of data that comes in pieces of these sizes, the rest in one."""
    seen, at = [], 0
    for size in cuts:
        seen += reader.feed(data[at : at + size])
        at += size
    return seen + reader.feed(data[at:])


@pytest.mark.parametrize("size", SIZES)
async def test_a_message_is_framed_as_the_standard_says(size: int) -> None:
    """Servers send the shortest head and the message as it is."""
    message = os.urandom(size)
    assert from_server(2, message) == b"".join(PlainWriter(1 << 20).frames([message]))


@pytest.mark.parametrize("size", SIZES)
def test_text_is_framed_as_the_standard_says(size: int) -> None:
    """A text message of a server is one frame, however long it is."""
    message = b"x" * size
    assert from_server(1, message) == frames.text_frame(message)


@pytest.mark.parametrize("size", SIZES)
async def test_a_client_masks(size: int) -> None:
    """Clients send the same with a mask, and a server reads it."""
    message = os.urandom(size)
    wire = b"".join(MaskingWriter(1 << 20).frames([message, message]))
    head = {0: 2, 1: 4, 2: 10}[(size >= 126) + (size >= 1 << 16)]
    assert wire[:head] == frame(2, message)[:head]
    reader = FrameReader(1 << 20, masked=True)
    assert [message, message] == reader.feed(wire)
    assert reader.tail == 0


@pytest.mark.parametrize("size", [126, 250, 375, 376, 50_001])
async def test_large_messages_travel_in_several_frames(size: int) -> None:
    """A message above the limit leaves in frames of that size; only the last is final."""
    message = os.urandom(size)
    pieces = [message[at : at + 125] for at in range(0, size, 125)]
    expected = [Frame(0 if at else 2, at == len(pieces) - 1, False, piece) for at, piece in enumerate(pieces)]
    for writer, masked in ((PlainWriter(125), False), (MaskingWriter(125), True)):
        reader = FrameReader(125, masked=masked)
        assert expected == reader.feed(b"".join(writer.frames([message])))


@pytest.mark.parametrize("masked", [True, False])
async def test_control_frames(masked: bool) -> None:
    """Control frames are made and read on both sides."""
    writer = MaskingWriter(125) if masked else PlainWriter(125)
    reader = FrameReader(125, masked=masked)
    close = struct.pack(">H", 1001) + b"going"
    wire = writer.control(9, b"p") + writer.control(10, b"") + writer.control(8, close)
    assert [Frame(9, True, False, b"p"), Frame(10, True, False, b""), Frame(8, True, False, close)] == reader.feed(wire)
    assert reader.closed


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 17, 48, 125, 126, 700, 1400, 1535, 1536, 1792, 3000, 70_000]), max_size=12),
    cuts=st.lists(st.integers(0, 5000), max_size=12),
    masked=st.booleans(),
)
async def test_frames_cut_anywhere(sizes: list[int], cuts: list[int], masked: bool) -> None:
    """However the bytes are cut, the same messages come out, and nothing stays in the reader."""
    messages = [bytes((number,)) * size for number, size in enumerate(sizes)]
    wire = b"".join(frame(2, message) if masked else from_server(2, message) for message in messages)
    reader = FrameReader(1 << 20, masked=masked)
    assert messages == read(wire, reader, cuts)
    assert (reader.tail, reader.failure) == (0, None)


async def test_the_tail_is_what_is_not_whole() -> None:
    """A reader tells exactly how many bytes of an unfinished frame it keeps, at every cut."""
    wire = frame(2, bytes(200)) + frame(2, bytes(3))
    for cut in range(len(wire) + 1):
        reader = FrameReader(1 << 20, masked=True)
        reader.feed(wire[:cut])
        whole = 0 if cut < 208 else 208 if cut < len(wire) else len(wire)
        assert cut - whole == reader.tail


async def test_many_small_frames_do_not_grow_the_buffer() -> None:
    """A reader that only sees small frames keeps its smallest buffer, so it can be used again."""
    reader = FrameReader(1 << 20, masked=True)
    message = bytes(48)
    assert [message] * 2000 == reader.feed(frame(2, message) * 2000)
    assert reader.capacity <= 2048


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(3, b""), 1002),
        (frame(11, b""), 1002),
        (frame(9, b"", last=False), 1002),
        (bytes((0x89, 0xFE, 0, 126)) + bytes(130), 1002),
        (from_server(2, b"unmasked"), 1002),
        (bytes((0x82, 0xFE, 0, 125)) + bytes(129), 1002),
        (bytes((0x82, 0xFF)) + (65535).to_bytes(8), 1002),
        (bytes((0x82, 0xFF, 0x80)) + bytes(7), 1002),
        (bytes((0x82, 0xFF)) + (1 << 40).to_bytes(8), 1009),
        (bytes((0x82, 0xFF)) + ((1 << 20) + 1).to_bytes(8), 1009),
        (frame(8, b"\x03"), 1002),
        (frame(8, struct.pack(">H", 999)), 1002),
        (frame(8, struct.pack(">H", 1005)), 1002),
        (frame(8, struct.pack(">H", 1000) + b"\xff"), 1007),
    ],
)
async def test_broken_rules_end_the_reader(wire: bytes, code: int) -> None:
    """What the standard forbids is a failure with the close code it asks for, behind the messages before it."""
    reader = FrameReader(1 << 20, masked=True)
    assert [b"fine"] == reader.feed(frame(2, b"fine") + wire + frame(2, b"behind"))[:1]
    assert reader.failure is not None
    assert code == reader.failure.code
    assert reader.failure.reason


async def test_a_server_must_not_mask() -> None:
    """A masked frame from a server is a failure."""
    reader = FrameReader(1 << 20, masked=False)
    assert [] == reader.feed(frame(2, b"masked"))
    assert reader.failure is not None
    assert reader.failure.code == 1002


async def test_a_reader_is_used_again_only_when_nothing_is_left_in_it() -> None:
    """A pool gives out clean readers again, and throws the others away."""
    pool = ReaderPool(1 << 20, masked=True)
    reader = pool.borrow()
    reader.feed(frame(2, b"whole"))
    pool.give_back(reader)
    assert pool.borrow() is reader
    for wire in (frame(2, b"half")[:-1], frame(2, bytes(100_000)), frame(8, b""), frame(3, b"")):
        reader = pool.borrow()
        reader.feed(wire)
        pool.give_back(reader)
        assert len(pool) == 0
    readers = [pool.borrow() for _ in range(frames.SPARE_READERS + 5)]
    for reader in readers:
        pool.give_back(reader)
    assert len(pool) == frames.SPARE_READERS


def test_masks_differ_from_process_to_process() -> None:
    """Two processes that send the same message do not mask it alike, so nobody can know what is on the wire."""
    program = (
        "import asyncio\n"
        "from msgtrans.adapters.websocket.frames import MaskingWriter\n"
        "async def main():\n"
        "    print(b''.join(MaskingWriter(1000).frames([bytes(16)] * 4)).hex())\n"
        "asyncio.run(main())\n"
    )
    seen = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in range(2)]
    assert seen[0] != seen[1]
