"""How packets travel on QUIC streams: pure functions of what arrives (cases 15 and 16)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import CodecOptions, Packet, RemoteProtocolError, ResourceError, encode
from msgtrans.adapters.quic.mapping import HELLO, MAX_WAITING, TOGETHER, Mapping, StreamMapping, UniMapping, probes

STRICT = CodecOptions(max_payload_size=1000, max_ext_header_size=100)
LENIENT = STRICT.replace(frame_policy="lenient")
LIMIT = 16 + 100 + 1000
V1 = bytes.fromhex("01 00 00 00 00000001 0000 00000002 0000 6869")
M3 = bytes.fromhex("00000012") + V1

packets = st.builds(
    Packet,
    st.integers(0, 2),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=50),
    st.integers(0, 255),
    st.one_of(st.just(b""), st.binary(max_size=20)),
    st.integers(0, 2**16 - 1),
)


def framed(*frames: bytes) -> bytes:
    return b"".join(len(frame).to_bytes(4) + frame for frame in frames)


def uni(codec: CodecOptions = STRICT, max_waiting: int = 100_000) -> UniMapping:
    return UniMapping(codec, server=True, max_waiting=max_waiting)


def stream(codec: CodecOptions = STRICT) -> StreamMapping:
    return StreamMapping(codec)


def sent_on_stream(mapping: Mapping) -> bytes:
    parts = mapping.take(0)
    assert {(0, False)} >= {(stream_id, end) for stream_id, _, end in parts}
    return b"".join(data for _, data, _ in parts)


# All on one stream


def test_the_vector_of_a_frame() -> None:
    """Vector V1 in a frame is vector M3, both ways."""
    mapping = stream()
    assert len(M3) == mapping.write([V1])
    assert M3 == sent_on_stream(mapping)
    assert [Packet(0, 1, b"hi")] == mapping.feed(0, M3)
    assert [] == mapping.take(100)


@given(st.lists(packets, max_size=10), st.data())
def test_frames_cut_anywhere(sent: list[Packet], data: st.DataObject) -> None:
    """Frames split and joined arbitrarily give the packets, in order; in between, it knows that one is unfinished."""
    out = StreamMapping(STRICT)
    out.write([encode(packet) for packet in sent])
    wire = sent_on_stream(out)
    mapping, seen, at = stream(), [], 0
    while at < len(wire):
        size = data.draw(st.integers(1, len(wire) - at))
        seen += mapping.feed(0, wire[at : at + size])
        at += size
    assert sent == seen
    assert (False, 0, None) == (mapping.partial, mapping.kept, mapping.error)


def test_a_frame_of_single_bytes() -> None:
    """Byte by byte, a packet comes with the last; what is kept of it is told."""
    mapping = stream()
    for at in range(len(M3) - 1):
        assert [] == mapping.feed(0, M3[at : at + 1])
        assert (at > 0, at + 1) == (mapping.partial, mapping.kept)
    assert [Packet(0, 1, b"hi")] == mapping.feed(0, M3[-1:])
    assert (False, 0) == (mapping.partial, mapping.kept)


def test_a_client_says_hello() -> None:
    """Its first byte is sent ahead of the first frame, which then lacks it; the second frame is whole."""
    mapping = StreamMapping(STRICT, hello=True)
    mapping.write([V1])
    mapping.write([V1])
    assert HELLO + sent_on_stream(mapping) == M3 + M3
    server = stream()
    assert [] == server.feed(0, HELLO)
    assert (False, 1) == (server.partial, server.kept)
    assert [Packet(0, 1, b"hi")] == server.feed(0, M3[1:])
    server.feed(0, HELLO)
    assert server.partial


def test_a_first_packet_that_hello_does_not_begin() -> None:
    """Before a packet of 16 MiB comes an answer to nothing, which peers ignore."""
    codec = CodecOptions()
    mapping = StreamMapping(codec, hello=True)
    large = encode(Packet(0, 1, bytes(16 << 20)))
    mapping.write([large])
    answer, packet = StreamMapping(codec).feed(0, HELLO + sent_on_stream(mapping))
    assert (2, 0, b"") == (answer.packet_type, answer.message_id, answer.payload)
    assert 16 << 20 == len(packet.payload)


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"", "0 bytes"),
        (V1[:15], "15 bytes"),
        (V1[:17], "17 bytes"),
        (V1 + b".", "1 bytes follow"),
        (b"\2" + V1[1:], "version 2"),
        (V1[:2] + b"\7" + V1[3:], "type 7"),
    ],
)
def test_frames_that_are_no_packets(frame: bytes, error: str) -> None:
    """Strict: refused, and what came before is handed on. Lenient: the body with id 0, or what the original reads."""
    for mapping, data in ((stream(), framed(V1, frame, V1)), (uni(), None)):
        if data is not None:
            assert [Packet(0, 1, b"hi")] == mapping.feed(0, data)
        else:
            assert [] == mapping.feed(2, frame, end=True)
        assert isinstance(mapping.error, RemoteProtocolError)
        assert error in str(mapping.error)
        assert mapping.halted
        assert [] == mapping.feed(0, framed(V1)) == mapping.feed(2, V1, end=True)
    for taken in (stream(LENIENT).feed(0, framed(frame)), uni(LENIENT).feed(2, frame, end=True)):
        [packet] = taken
        if error in {"1 bytes follow", "type 7"}:
            assert Packet(0, 1, b"hi") == packet
        else:
            assert Packet(0, 0, frame) == packet


@pytest.mark.parametrize("codec", [STRICT, LENIENT])
def test_frames_beyond_the_limit(codec: CodecOptions) -> None:
    """A length beyond the limit is refused before anything of the frame came; the limit itself is not."""
    mapping = stream(codec)
    assert [] == mapping.feed(0, framed(V1)[:4][:0] + (LIMIT + 1).to_bytes(4))
    assert f"{LIMIT + 1} bytes is longer than {LIMIT}" in str(mapping.error)
    other = uni(codec)
    assert [] == other.feed(2, bytes(LIMIT))
    assert None is other.error
    assert [] == other.feed(2, b".")
    assert f"{LIMIT + 1} bytes is longer than {LIMIT}" in str(other.error)
    whole = encode(Packet(0, 1, bytes(1000), ext_header=bytes(100)))
    assert [1000] == [len(packet.payload) for packet in stream(codec).feed(0, framed(whole))]
    assert [1000] == [len(packet.payload) for packet in uni(codec).feed(2, whole, end=True)]


def test_the_stream_ends() -> None:
    """Between frames that is a good end, also behind a hello; inside of one, and given up, it is an error."""
    for before in (b"", HELLO, M3):
        mapping = stream()
        mapping.feed(0, before, end=True)
        assert (True, None) == (mapping.ended, mapping.error)
    mapping = stream()
    assert [Packet(0, 1, b"hi")] == mapping.feed(0, M3 + M3[:7], end=True)
    assert (False, "the stream ended inside a packet") == (mapping.ended, str(mapping.error))
    mapping = stream()
    mapping.feed(0, M3)
    mapping.reset(4)
    assert None is mapping.error
    mapping.reset(0)
    assert "gave up" in str(mapping.error)


def test_other_streams_are_ignored() -> None:
    """What comes on streams that the mapping does not use leads to nothing."""
    mapping = stream()
    for stream_id in (2, 3, 4, 1):
        assert [] == mapping.feed(stream_id, V1, end=True)
    other = uni()
    for stream_id in (0, 3, 4, 1):
        assert [] == other.feed(stream_id, V1, end=True)
        other.reset(stream_id)
    assert (None, None, False) == (mapping.error, other.error, other.partial)


@pytest.mark.parametrize("kind", ["stream", "uni"])
def test_inflating_takes_turns(kind: str) -> None:
    """After the cap's worth of inflated bytes it stops, and goes on when asked; the order is kept."""
    codec = STRICT.replace(max_inflated_size=1000)
    squeezed = [encode(Packet(0, number, bytes(900), compression=2), codec) for number in range(1, 6)]
    mapping: Mapping = stream(codec) if kind == "stream" else uni(codec)
    if kind == "stream":
        seen = mapping.feed(0, framed(*squeezed))
    else:
        for number in range(1, 5):
            assert [] == mapping.feed(2 + 4 * number, squeezed[number], end=True)
        seen = mapping.feed(2, squeezed[0], end=True)
    counts = [len(seen)]
    while mapping.more:
        assert mapping.halted
        more = mapping.feed_more()
        counts.append(len(more))
        seen += more
    assert [1, 2, 3, 4, 5] == [packet.message_id for packet in seen]
    assert [2, 2, 1] == counts
    assert [] == mapping.feed_more()


@pytest.mark.parametrize("kind", ["stream", "uni"])
def test_what_comes_while_it_has_more_waits_behind(kind: str) -> None:
    """What is fed before it was asked to go on comes last."""
    codec = STRICT.replace(max_inflated_size=100)
    squeezed = [encode(Packet(0, number, bytes(90), compression=2), codec) for number in range(1, 5)]
    mapping: Mapping = stream(codec) if kind == "stream" else uni(codec)
    if kind == "stream":
        seen = mapping.feed(0, framed(*squeezed))
        seen += mapping.feed(0, M3)
    else:
        for number in range(1, 4):
            mapping.feed(2 + 4 * number, squeezed[number], end=True)
        seen = mapping.feed(2, squeezed[0], end=True)
        seen += mapping.feed(18, V1, end=True)
    while mapping.more:
        seen += mapping.feed_more()
    assert [1, 2, 3, 4, 1] == [packet.message_id for packet in seen]


def test_mislabelled_payloads_are_counted() -> None:
    """Under `raw`, what does not inflate is handed on as it came, and counted."""
    codec = STRICT.replace(on_bad_compression="raw")
    bad = V1[:1] + b"\2" + V1[2:]
    for mapping, seen in (
        (one := stream(codec), one.feed(0, framed(bad))),
        (two := uni(codec), two.feed(2, bad, end=True)),
    ):
        assert [b"hi"] == [packet.payload for packet in seen]
        assert (1, True) == (mapping.bad_compression, mapping.halted)


# A stream for each


@given(st.lists(packets, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_streams_in_any_order_come_in_that_of_their_ids(sent: list[Packet], random: object) -> None:
    """However streams are cut and mixed, packets come in the order of stream ids, and nothing is kept at the end."""
    pieces = []
    for number, packet in enumerate(sent):
        wire = encode(packet)
        cut = random.randint(0, len(wire))
        pieces += [(number, 2 + 4 * number, wire[:cut], False), (number, 2 + 4 * number, wire[cut:], True)]
    order = sorted(pieces, key=lambda piece: (random.random(), piece))
    firsts = {number: (number, stream_id, data, end) for number, stream_id, data, end in pieces if not end}
    mapping, seen, begun = uni(), [], set()
    for number, stream_id, data, end in order:
        if not end:
            if number in begun:
                continue
            begun.add(number)
        elif number not in begun:
            begun.add(number)
            seen += mapping.feed(stream_id, firsts[number][2])
        seen += mapping.feed(stream_id, data, end=end)
    assert sent == seen
    assert (False, 0, None) == (mapping.partial, mapping.kept, mapping.error)


def test_streams_are_used_as_granted() -> None:
    """Each packet takes the next stream and ends it; what is not granted waits, and is counted."""
    for server, first in ((True, 3), (False, 2)):
        mapping = UniMapping(STRICT, server=server, max_waiting=0)
        assert 5 * len(V1) == mapping.write([V1] * 5)
        assert [(first, V1, True), (first + 4, V1, True)] == mapping.take(2)
        assert 3 * len(V1) == mapping.waiting
        assert [] == mapping.take(2)
        assert [first + 8, first + 12, first + 16] == [stream_id for stream_id, _, _ in mapping.take(100)]
        assert 0 == mapping.waiting


def test_large_packets_are_alone_under_way() -> None:
    """Above some size a packet waits until all before it is acknowledged, and those behind it wait for it."""
    small, large = V1, encode(Packet(0, 1, bytes(TOGETHER)))
    mapping = UniMapping(STRICT, server=False, max_waiting=0)
    mapping.write([small, small, large, large, small])
    assert [2, 6] == [stream_id for stream_id, _, _ in mapping.take(100, busy=True)]
    assert [] == mapping.take(100, busy=True)
    for expected in ([10], [14], [18]):
        assert expected == [stream_id for stream_id, _, _ in mapping.take(100, busy=False)]
        assert [] == mapping.take(100, busy=True)
    assert 0 == mapping.waiting


def test_unfinished_streams_are_known() -> None:
    """A gap, and a stream that has not ended, are unfinished packets; what waits behind them is kept."""
    mapping = uni()
    assert [] == mapping.feed(6, V1, end=True)
    assert (True, len(V1)) == (mapping.partial, mapping.kept)
    assert [] == mapping.feed(2, V1[:5])
    assert (True, len(V1) + 5) == (mapping.partial, mapping.kept)
    assert 2 == len(mapping.feed(2, V1[5:], end=True))
    assert (False, 0) == (mapping.partial, mapping.kept)
    assert [] == mapping.feed(10, b"")
    assert mapping.partial
    assert [] == mapping.feed(2, V1, end=True)


def test_a_stream_that_is_given_up_is_a_lost_packet() -> None:
    """Before its packet was handed on, that is an error; after it, nothing."""
    mapping = uni()
    mapping.feed(2, V1, end=True)
    mapping.reset(2)
    assert None is mapping.error
    mapping.feed(10, V1, end=True)
    mapping.reset(6)
    assert "stream 6" in str(mapping.error)


def test_what_waits_behind_a_gap_is_bounded() -> None:
    """In bytes, and in streams; a single packet of the greatest size is always taken."""
    mapping = uni(max_waiting=0)
    largest = encode(Packet(0, 1, bytes(1000), ext_header=bytes(100)))
    assert [] == mapping.feed(6, largest, end=True)
    assert None is mapping.error
    assert [] == mapping.feed(10, V1)
    assert isinstance(mapping.error, ResourceError)
    mapping = uni(LENIENT)
    for number in range(MAX_WAITING):
        mapping.feed(6 + 4 * number, b"", end=True)
    assert None is mapping.error
    mapping.feed(6 + 4 * MAX_WAITING, b"", end=True)
    assert isinstance(mapping.error, ResourceError)


# Finding out


def test_a_probe_goes_both_ways() -> None:
    """A request is sent in both mappings; the one that is answered goes on from there."""
    request = encode(Packet(1, 1, b"who are you?"))
    [on_stream, alone] = probes(request)
    assert [Packet(1, 1, b"who are you?")] == stream().feed(on_stream[0], on_stream[1], end=on_stream[2])
    assert [Packet(1, 1, b"who are you?")] == uni().feed(alone[0], alone[1], end=alone[2])
    after = UniMapping(STRICT, server=False, max_waiting=0, sent=1)
    after.write([V1])
    assert [(6, V1, True)] == after.take(100)
    for no_probe in (V1, encode(Packet(1, 1, bytes(17_000)))):
        assert [] == probes(no_probe)


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=60), st.booleans()), max_size=30), st.booleans())
def test_whatever_comes_is_no_exception(received: list[tuple[int, bytes, bool]], server: bool) -> None:
    """Any bytes on any streams give packets or an error, and what is kept is never negative."""
    ended: set[int] = set()
    for codec in (STRICT, LENIENT):
        for mapping in (StreamMapping(codec, hello=not server), UniMapping(codec, server=server, max_waiting=100)):
            ended.clear()
            for stream_id, data, end in received:
                if stream_id not in ended:
                    mapping.feed(stream_id, data, end=end)
                    while mapping.more:
                        mapping.feed_more()
                if end:
                    ended.add(stream_id)
                assert mapping.kept >= 0
