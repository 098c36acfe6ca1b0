"""The codec: vectors of the specification, limits, policies, and streams cut anywhere."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import (
    CodecOptions,
    Compression,
    ConfigurationError,
    LocalProtocolError,
    Packet,
    PacketDecoder,
    PacketType,
    RemoteProtocolError,
    decode,
    encode,
)

HELLO = b"hello hello hello hello"
LENIENT = CodecOptions(frame_policy="lenient")

PLAIN_VECTORS = {
    "V1": ("01 00 00 00 00000001 0000 00000002 0000 6869", Packet(0, 1, b"hi")),
    "V2": ("01 00 01 00 00000001 0000 00000002 0000 6869", Packet(1, 1, b"hi")),
    "V3": ("01 00 02 00 00000001 0000 00000002 0000 6869", Packet(2, 1, b"hi")),
    "V4": (
        "01 00 01 2a 01020304 0007 00000004 0000 74726163653d37 626f6479",
        Packet(1, 0x01020304, b"body", 42, b"trace=7"),
    ),
    "V5": ("01 00 00 00 ffffffff 0000 00000000 0007", Packet(0, 0xFFFFFFFF, flags=7)),
    "F01": ("01000000 00000001 0000 00000000 0000", Packet(0, 1)),
    "F02": ("01000005 0000002a 0000 0000000b 0000 68656c6c6f20776f726c64", Packet(0, 42, b"hello world", 5)),
    "F03": ("0100010a 00000064 0000 00000004 0000 70696e67", Packet(1, 100, b"ping", 10)),
    "F04": ("0100020a 00000064 0000 00000004 0000 706f6e67", Packet(2, 100, b"pong", 10)),
    "F05": ("01000000 00000007 0009 00000004 0000 726f7574653a616263 64617461", Packet(0, 7, b"data", 0, b"route:abc")),
    "F06": ("010000ff deadbeef 0000 00000000 0000", Packet(0, 0xDEADBEEF, b"", 255)),
    "F07": ("01000014 000000c8 0000 00000006 0002 757267656e74", Packet(0, 200, b"urgent", 20, flags=2)),
    "F08": (
        "0100001e 0000012c 0009 00000007 0004 726f7574653a6d7367 7061796c6f6164",
        Packet(0, 300, b"payload", 30, b"route:msg", 4),
    ),
}
V6 = bytes.fromhex("01 02 00 00 00000002 0000 00000010 0000 789ccb48cdc9c957c8402701680308b1")
V7 = bytes.fromhex("01 01 00 00 00000002 0000 00000015 0000 28b52ffd20176500003068656c6c6f200100994b11")
V8 = bytes.fromhex("01 02 00 00 00000002 0000 00000017 0000 68656c6c6f2068656c6c6f2068656c6c6f2068656c6c6f")

packets = st.builds(
    Packet,
    st.sampled_from([0, 1, 2]),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=300),
    st.integers(0, 255),
    st.binary(max_size=80),
    st.integers(0, 0xFFFF),
    st.sampled_from([0, 1, 2]),
)


def as_sent(packet: Packet) -> Packet:
    """What the receiver sees: a payload that does not shrink travels plain."""
    code = encode(packet)[1]
    return Packet(
        packet.packet_type,
        packet.message_id,
        packet.payload,
        packet.biz_type,
        packet.ext_header,
        packet.flags,
        code,
    )


@pytest.mark.parametrize("name", PLAIN_VECTORS)
def test_vectors_encode_and_decode_exactly(name: str) -> None:
    """Every plain vector of the specification is produced and read byte for byte."""
    text, packet = PLAIN_VECTORS[name]
    assert bytes.fromhex(text) == encode(packet)
    assert packet == decode(bytes.fromhex(text))


@pytest.mark.parametrize(("data", "code"), [(V6, Compression.ZLIB), (V7, Compression.ZSTD)])
def test_compressed_vectors_inflate(data: bytes, code: Compression) -> None:
    """The zlib and zstd vectors give the plain text and keep the code the sender used."""
    assert Packet(0, 2, HELLO, compression=code) == decode(data)


def test_mislabelled_payload_is_an_error_by_default() -> None:
    """A plain body marked as zlib (V8) is refused under the policy `error`."""
    with pytest.raises(RemoteProtocolError, match="zlib"):
        decode(V8)


def test_mislabelled_payload_is_handed_over_raw_and_counted() -> None:
    """V8 is handed over unchanged under the policy `raw`, and counted."""
    decoder = PacketDecoder(CodecOptions(on_bad_compression="raw"))
    assert [Packet(0, 2, HELLO, compression=2)] == decoder.feed(V8)
    assert decoder.bad_compression == 1


@given(packets)
def test_round_trip(packet: Packet) -> None:
    """Whatever can be encoded decodes to the same packet."""
    assert as_sent(packet) == decode(encode(packet))


@given(st.lists(packets, max_size=8), st.data())
def test_a_stream_may_be_cut_anywhere(sent: list[Packet], data: st.DataObject) -> None:
    """The packets of a stream do not depend on where its reads begin and end."""
    stream = b"".join(map(encode, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder = PacketDecoder()
    seen: list[Packet] = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        seen += decoder.feed(memoryview(stream)[start:stop])
    assert [as_sent(packet) for packet in sent] == seen
    assert not decoder.partial
    assert decoder.error is None


@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    """Any bytes at all give packets, an error as data, or wait for more."""
    decoder = PacketDecoder()
    decoder.feed(data)
    if decoder.error is not None:
        assert decoder.feed(encode(Packet(0, 1))) == []


@pytest.mark.parametrize("size", [0, 1, 0xFFFF])
def test_ext_header_sizes(size: int) -> None:
    """Ext headers from nothing to 65 535 bytes travel."""
    packet = Packet(1, 1, b"p", ext_header=b"e" * size)
    assert packet == decode(encode(packet))


@pytest.mark.parametrize("size", [8192, 8193, 65_536, 1 << 20, 16 << 20])
def test_large_payloads_in_small_reads(size: int) -> None:
    """Payloads up to the limit arrive whole from 64 KiB reads, with the next packet behind them."""
    payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stream = encode(Packet(0, 1, payload, ext_header=b"ext")) + encode(Packet(0, 2, b"next"))
    decoder = PacketDecoder()
    seen = [packet for at in range(0, len(stream), 1 << 16) for packet in decoder.feed(stream[at : at + (1 << 16)])]
    assert [Packet(0, 1, payload, ext_header=b"ext"), Packet(0, 2, b"next")] == seen


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_refused(version: int) -> None:
    """Only version 1 is spoken, also when lenient."""
    data = bytes([version]) + encode(Packet(0, 1))[1:]
    for options in (CodecOptions(), LENIENT):
        with pytest.raises(RemoteProtocolError, match=f"version {version}"):
            decode(data, options)


def test_a_packet_cut_short_is_refused_at_every_byte() -> None:
    """No prefix of a packet decodes as a packet, and a stream that ends there knows that it is partial."""
    data = encode(Packet(1, 7, b"payload", 3, b"ext"))
    for size in range(len(data)):
        with pytest.raises(RemoteProtocolError, match="less than"):
            decode(data[:size])
        decoder = PacketDecoder()
        assert decoder.feed(data[:size]) == []
        assert decoder.partial == (size > 0)


@pytest.mark.parametrize(
    ("packet", "names"),
    [
        (Packet(0, 1, b"12345"), "max_payload_size"),
        (Packet(0, 1, b"", ext_header=b"123"), "max_ext_header_size"),
        (Packet(3, 1), "packet type"),
        (Packet(0, 1 << 32), "message_id"),
        (Packet(0, -1), "message_id"),
        (Packet(0, 1, biz_type=256), "biz_type"),
        (Packet(0, 1, flags=1 << 16), "flags"),
        (Packet(0, 1, b"1234", compression=3), "compression code 3"),
    ],
)
def test_encoding_refuses_what_cannot_be_sent(packet: Packet, names: str) -> None:
    """Fields out of range and sizes beyond the limits are our own error, named, before anything is sent."""
    with pytest.raises(LocalProtocolError, match=names):
        encode(packet, CodecOptions(max_payload_size=4, max_ext_header_size=2))


def test_an_ext_header_beyond_the_length_field_is_refused() -> None:
    """65 536 bytes of ext header are refused instead of wrapping to 0."""
    with pytest.raises(LocalProtocolError, match="65536"):
        encode(Packet(0, 1, ext_header=b"x" * 65_536))


@pytest.mark.parametrize("field", ["payload", "ext_header"])
def test_announced_sizes_are_checked_before_the_body_comes(field: str) -> None:
    """A header that announces limit + 1 is an error at once, and nothing of the body is kept."""
    options = CodecOptions(max_payload_size=100, max_ext_header_size=50)
    sizes = {"payload": (101, 0), "ext_header": (0, 51)}[field]
    header = encode(Packet(1, 1, b"x" * sizes[0], ext_header=b"x" * sizes[1]))[:16]
    decoder = PacketDecoder(options)
    assert decoder.feed(encode(Packet(0, 1, b"x" * 100, ext_header=b"y" * 50)) + header) == [
        Packet(0, 1, b"x" * 100, ext_header=b"y" * 50)
    ]
    assert isinstance(decoder.error, RemoteProtocolError)
    assert not decoder.partial


def test_packets_before_an_error_are_delivered_and_nothing_after() -> None:
    """The packets of a read before the bad one come out; the decoder stays closed afterwards."""
    decoder = PacketDecoder()
    good = encode(Packet(0, 1, b"good"))
    assert decoder.feed(good + b"garbage that is long enough" + good) == [Packet(0, 1, b"good")]
    assert isinstance(decoder.error, RemoteProtocolError)
    assert decoder.feed(good) == []


def test_trailing_bytes() -> None:
    """Bytes after a packet that should fill its message: refused when strict, ignored when lenient."""
    data = encode(Packet(0, 1, b"hi")) + b"!"
    with pytest.raises(RemoteProtocolError, match="1 bytes follow"):
        decode(data)
    assert Packet(0, 1, b"hi") == decode(data, LENIENT)


def test_unknown_type_and_compression() -> None:
    """Codes 3 to 255 are errors when strict; lenient reads them as one-way and as uncompressed."""
    data = bytes.fromhex("01 00 07 00 00000001 0000 00000002 0000 6869")
    with pytest.raises(RemoteProtocolError, match="packet type 7"):
        decode(data)
    assert Packet(PacketType.ONE_WAY, 1, b"hi") == decode(data, LENIENT)
    data = bytes.fromhex("01 09 01 00 00000001 0000 00000002 0000 6869")
    with pytest.raises(RemoteProtocolError, match="compression code 9"):
        decode(data)
    assert Packet(1, 1, b"hi") == decode(data, LENIENT)


def test_incompressible_payloads_travel_plain() -> None:
    """A payload that would not shrink is sent as it is, with code 0, never mislabelled."""
    data = encode(Packet(0, 1, b"ab", compression=Compression.ZLIB))
    assert encode(Packet(0, 1, b"ab")) == data


@pytest.mark.parametrize("code", [Compression.ZLIB, Compression.ZSTD])
def test_bombs_stop_at_the_cap(code: Compression) -> None:
    """A payload may inflate to exactly the cap and not to one byte more."""
    options = CodecOptions(max_inflated_size=100_000)
    assert len(decode(encode(Packet(0, 1, bytes(100_000), compression=code)), options).payload) == 100_000
    with pytest.raises(RemoteProtocolError, match="max_inflated_size"):
        decode(encode(Packet(0, 1, bytes(100_001), compression=code)), options)


@pytest.mark.parametrize("code", [Compression.ZLIB, Compression.ZSTD])
def test_corrupt_compressed_payloads(code: Compression) -> None:
    """Flipped, cut and overlong compressed bodies are errors, whatever the cut."""
    whole = encode(Packet(0, 1, HELLO * 20, compression=code))[16:]

    def packet(body: bytes) -> bytes:
        return b"\x01" + bytes([code]) + encode(Packet(0, 1, body))[2:]

    for size in range(1, len(whole)):
        with pytest.raises(RemoteProtocolError):
            decode(packet(whole[:size]))
    with pytest.raises(RemoteProtocolError, match="follow"):
        decode(packet(whole + b"x"))
    with pytest.raises(RemoteProtocolError):
        decode(packet(b"\xff" + whole[1:]))


@pytest.mark.parametrize("code", [1, 2])
def test_empty_compressed_payload(code: int) -> None:
    """An empty body is an empty payload, whatever its code says."""
    data = bytes([1, code]) + encode(Packet(0, 1))[2:]
    assert Packet(0, 1, b"", compression=code) == decode(data)


def test_inflating_pauses_after_the_cap() -> None:
    """One call of feed inflates about the cap and leaves the rest for the next turn of the loop."""
    options = CodecOptions(max_inflated_size=1000)
    stream = encode(Packet(0, 1, bytes(600), compression=2)) * 5
    decoder = PacketDecoder(options)
    calls = [len(decoder.feed(stream))]
    while decoder.more:
        calls.append(len(decoder.feed(b"")))
    assert calls == [2, 2, 1]


def test_inflating_pauses_behind_a_packet_from_several_reads() -> None:
    """The pause also comes when the packet that reaches the cap was itself cut."""
    options = CodecOptions(max_inflated_size=1000)
    stream = encode(Packet(0, 1, bytes(1000), compression=2)) * 2
    decoder = PacketDecoder(options)
    assert decoder.feed(stream[:20]) == []
    assert len(decoder.feed(stream[20:])) == 1
    assert decoder.more
    assert len(decoder.feed(b"")) == 1
    assert not decoder.more


def test_missing_zstd_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, zstd fails with the command that installs it, on both sides."""
    monkeypatch.setitem(__import__("sys").modules, "backports", None)
    monkeypatch.setitem(__import__("sys").modules, "compression", None)
    with pytest.raises(ConfigurationError, match=r"pip install msgtrans\[zstd\]"):
        encode(Packet(0, 1, HELLO, compression=Compression.ZSTD))
    with pytest.raises(ConfigurationError, match=r"pip install msgtrans\[zstd\]"):
        decode(V7)


def test_compressed_bodies_are_standard_streams() -> None:
    """A zlib payload is one RFC 1950 stream that any zlib inflates."""
    assert HELLO * 5 == zlib.decompress(encode(Packet(0, 1, HELLO * 5, compression=2))[16:])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_payload_size": 0},
        {"max_payload_size": 1 << 32},
        {"max_ext_header_size": 65_536},
        {"max_inflated_size": 0},
        {"frame_policy": "guess"},
        {"on_bad_compression": "ignore"},
    ],
)
def test_options_are_validated(wrong: dict[str, object]) -> None:
    """An option outside its range is refused by name."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        CodecOptions(**wrong)
