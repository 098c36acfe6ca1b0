"""Text messages from frames: put together, cut anywhere, and what is against the rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ws import BINARY, CLOSE, PING, PONG, TEXT, frame

from artemis.server.websocket.messages import PeerClose, TextReader
from msgtrans.adapters.websocket.frames import ReaderPool

LIMIT = 1000


def reader() -> TextReader:
    """A reader of messages of up to 1000 bytes."""
    return TextReader(ReaderPool(LIMIT, masked=True), LIMIT)


async def test_messages_come_in_order_and_pings_do_not_disturb_fragments() -> None:
    """A message in fragments may have control frames between them."""
    data = (
        frame(TEXT, b"one")
        + frame(TEXT, b"t", final=False)
        + frame(PING, b"p")
        + frame(0, "wö".encode()[:2], final=False)
        + frame(PONG, b"")
        + frame(0, "wö".encode()[2:])
        + frame(TEXT, b"")
    )
    subject = reader()
    assert subject.feed(data) == [b"one", "twö".encode(), b""]
    assert subject.ping == b"p"
    assert subject.kept == 0


@given(
    st.lists(st.text(max_size=60), max_size=6),
    st.lists(st.integers(min_value=1, max_value=40), max_size=30),
    st.integers(min_value=1, max_value=20),
)
async def test_however_bytes_and_messages_are_cut_the_same_messages_come(
    texts: list[str], reads: list[int], fragment: int
) -> None:
    """Neither the sizes of reads nor those of fragments make a difference."""
    data = b""
    for text in texts:
        payload = text.encode()
        parts = [payload[at : at + fragment] for at in range(0, len(payload), fragment)] or [b""]
        for at, part in enumerate(parts):
            data += frame(0 if at else TEXT, part, final=at == len(parts) - 1)
    subject = reader()
    messages: list[bytes] = []
    for size in reads:
        messages += subject.feed(data[:size])
        data = data[size:]
    messages += subject.feed(data)
    assert messages == [text.encode() for text in texts]
    assert subject.violation is None
    assert subject.kept == 0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(BINARY, b"x"), 1003),
        (frame(BINARY, b"x", final=False), 1003),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xc3", final=False) + frame(0, b"x"), 1007),
        (frame(TEXT, b"x" * (LIMIT + 1)), 1009),
        (frame(TEXT, b"x" * LIMIT, final=False) + frame(0, b"x"), 1009),
        (frame(0, b"x"), 1002),
        (frame(TEXT, b"x", final=False) + frame(TEXT, b"y"), 1002),
        (frame(TEXT, b"x", reserved=0x40), 1002),
        (frame(PING, b"x", reserved=0x10), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"", final=False), 1002),
        (frame(3, b""), 1002),
        (frame(TEXT, b"x", mask=b""), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, b"\x03\xed"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        *((frame(CLOSE, code.to_bytes(2)), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
    ],
)
async def test_what_is_against_the_rules_ends_reading_with_a_code(data: bytes, code: int) -> None:
    """Messages before it are read, nothing behind it is, and nothing is kept."""
    subject = reader()
    assert subject.feed(frame(TEXT, b"before") + data + frame(TEXT, b"behind")) == [b"before"]
    assert subject.violation is not None
    assert subject.violation.code == code
    assert subject.feed(frame(TEXT, b"later")) == []
    assert subject.kept == 0


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", PeerClose(1005, "")),
        (b"\x03\xe8", PeerClose(1000, "")),
        (b"\x03\xe9bye", PeerClose(1001, "bye")),
    ],
)
async def test_a_close_frame_ends_reading(payload: bytes, expected: PeerClose) -> None:
    """What comes behind a Close frame is not read."""
    subject = reader()
    assert subject.feed(frame(TEXT, b"x") + frame(CLOSE, payload) + frame(TEXT, b"y")) == [b"x"]
    assert subject.peer_close == expected
    assert subject.feed(frame(TEXT, b"z")) == []


async def test_bytes_of_what_is_not_whole_are_told() -> None:
    """Fragments and the beginning of a frame are kept, and counted."""
    subject = reader()
    subject.feed(frame(TEXT, b"x" * 100, final=False))
    assert subject.kept >= 100
    subject.feed(frame(0, b"y" * 100)[:50])
    assert subject.kept >= 140
    subject.release()
    assert subject.kept == 0


@given(st.binary(max_size=300))
async def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    """Whatever comes, it becomes messages or a violation."""
    subject = reader()
    assert all(isinstance(message, bytes) for message in subject.feed(data))


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9bye"])
async def test_a_goodbye_on_its_own_takes_no_reader(payload: bytes) -> None:
    """A reader is lost with the Close frame it reads; a thousand peers that leave at once must not cost as many."""
    pool = ReaderPool(LIMIT, masked=True)
    subject = TextReader(pool, LIMIT)
    subject.feed(frame(PING, b""))
    subject.feed(frame(CLOSE, payload))
    assert subject.ended()
    assert subject.peer_close == PeerClose(int.from_bytes(payload[:2]) or 1005, payload[2:].decode())
    assert len(pool) == 1


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff"])
async def test_an_odd_goodbye_is_judged_as_any_frame(payload: bytes) -> None:
    """Half a code or a reason that is no text is a violation, also when nothing else came with it."""
    subject = reader()
    subject.feed(frame(CLOSE, payload))
    assert subject.violation is not None
