"""Chunked framing, by example and against httptools as the oracle."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.server.http.framing import ChunkedBody, ChunkError


def read(data: bytes, step: int | None = None) -> tuple[bytes, bool, int]:
    """The decoded body, whether it ended, and how many bytes it took; fed in pieces of `step` bytes."""
    body, used = ChunkedBody(), 0
    for at in range(0, len(data), step or max(len(data), 1)):
        piece = data[at : at + (step or len(data))]
        taken = body.feed(piece)
        used += taken
        if body.done:
            break
    return bytes(body.data), body.done, used


def chunked(parts: list[bytes]) -> bytes:
    """`parts` in chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_any_split_gives_the_same_body(parts, step):
    """Wherever reads cut the stream, the body is the same and ends at the same byte."""
    data = chunked(parts)
    assert read(data + b"GET / HTTP/1.1\r\n", step) == (b"".join(parts), True, len(data))


def test_extensions_and_trailers_are_skipped():
    """Chunk extensions and trailers are allowed by RFC 9112 and mean nothing to us."""
    data = b"5;name=value\r\nhello\r\n0\r\nDigest: x\r\nOther: y\r\n\r\n"
    assert read(data) == (b"hello", True, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\nX\r\n",
        b"5 5\r\nhello\r\n",
        b"fffffffffffffffff\r\n",
        b"5;" + b"x" * 5000,
        b"0\r\n" + b"a: b\r\n" * 5000,
    ],
)
def test_broken_framing_is_refused(data):
    """Whatever another reader might take for a different boundary is an error here."""
    with pytest.raises(ChunkError):
        read(data)


def test_a_body_of_countless_tiny_chunks_is_refused():
    """Twenty thousand chunks are plenty."""
    with pytest.raises(ChunkError):
        read(b"1\r\nx\r\n" * 20_001)


class Oracle:
    """Collects what httptools makes of a chunked request."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = 0

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete += 1


@given(
    st.lists(
        st.sampled_from(
            [b"5\r\nhello\r\n", b"5", b"\r\n", b"\n", b"0\r\n", b"hello", b";a=b", b"A\r\n", b" ", b"0123456789"]
        ),
        max_size=8,
    )
)
def test_nothing_is_accepted_that_httptools_refuses(pieces):
    """Whenever we see the end of a body, httptools sees a body with the same bytes."""
    data = b"".join(pieces)
    try:
        ours, done, used = read(data)
    except ChunkError:
        return
    if not done:
        return
    oracle = Oracle()
    parser = httptools.HttpRequestParser(oracle)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data[:used])
    assert (oracle.body, oracle.complete) == (ours, 1)
