"""Large packets of several reads, put together in buffers of a pool."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import (
    CodecOptions,
    Compression,
    Context,
    Optimizations,
    Packet,
    PacketDecoder,
    RemoteProtocolError,
    SessionConfig,
    encode,
)
from msgtrans.adapters.buffers import buffer_pool
from msgtrans.assembly import PIECE
from msgtrans.codec import ASSEMBLED, MOST_ASSEMBLED
from msgtrans.pool.buffers import BufferPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from msgtrans import TransportServer

    from .conftest import Until

BYTES = bytes(range(251)) * 3000
NOISE = b"".join(zlib.crc32(number.to_bytes(4, "big")).to_bytes(4, "big") for number in range(40_000))
READ = 64 * 1024
LARGE = Packet(0, 7, BYTES[: 2 * PIECE + 11], ext_header=b"trace")

packets = st.builds(
    Packet,
    st.integers(0, 2),
    st.integers(0, 0xFFFF_FFFF),
    st.sampled_from([0, 5, PIECE, ASSEMBLED - 16, ASSEMBLED - 15, 3 * PIECE - 16, 3 * PIECE, 4 * PIECE + 1]).map(
        lambda size: BYTES[:size]
    ),
    ext_header=st.sampled_from([0, 3, PIECE - 17, PIECE - 16, PIECE - 15, PIECE - 1]).map(lambda size: BYTES[:size]),
    flags=st.integers(0, 0xFFFF),
)


def feed(decoder: PacketDecoder, data: bytes, cuts: list[int]) -> list[Packet]:
    """What a decoder makes of `data` in reads that end at `cuts`, and after 64 KiB at the latest."""
    found, buffer = [], bytearray(READ)
    ends = sorted({*cuts, *range(READ, len(data), READ), len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        view = memoryview(buffer)[: end - start]
        view[:] = data[start:end]
        found += decoder.feed(view)
    return found


@given(st.lists(packets, max_size=4), st.data())
def test_packets_are_the_same_with_and_without_a_pool(sent: list[Packet], data: st.DataObject) -> None:
    """However a stream is cut, pieces give what one buffer gives, and all of them come back."""
    stream = b"".join(map(encode, sent))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    pool = BufferPool()
    decoder = PacketDecoder(buffers=pool)
    assert sent == feed(decoder, stream, cuts)
    assert (None, False, 0) == (decoder.error, decoder.partial, decoder.kept)
    assert pool.stats().get_operations == pool.stats().return_operations
    assert sent == feed(PacketDecoder(), stream, cuts)


def test_what_is_kept_is_the_memory_of_the_pieces() -> None:
    """A packet that is not whole counts with its pieces; before half a piece has come, with its bytes alone."""
    pool, data = BufferPool(), encode(LARGE)
    decoder = PacketDecoder(buffers=pool)
    decoder.feed(data[: PIECE // 2 - 1])
    assert (PIECE // 2 - 1, 0) == (decoder.kept, pool.stats().get_operations)
    decoder.feed(data[PIECE // 2 - 1 : PIECE // 2])
    assert (PIECE, 1) == (decoder.kept, pool.stats().get_operations)
    decoder.feed(data[PIECE // 2 : PIECE + 1])
    assert (2 * PIECE, 2) == (decoder.kept, pool.stats().get_operations)
    decoder.release()
    assert (0, False, 2) == (decoder.kept, decoder.partial, pool.stats().large.cached)


@pytest.mark.parametrize(
    ("size", "borrowed"),
    [(ASSEMBLED, 0), (ASSEMBLED + 1, 3), (3 * PIECE, 3), (MOST_ASSEMBLED, 4), (MOST_ASSEMBLED + 1, 0), (500_000, 0)],
)
def test_the_pool_is_for_packets_of_some_sizes(size: int, borrowed: int) -> None:
    """Up to 128 KiB the allocator is as good, and above 192 KiB better."""
    pool = BufferPool()
    packet = Packet(0, 1, BYTES[: size - 16])
    assert [packet] == feed(PacketDecoder(buffers=pool), encode(packet), [])
    assert borrowed == pool.stats().get_operations


def test_compressed_packets_are_inflated_from_pieces() -> None:
    """A compressed payload of several pieces inflates; one that does not ends the stream, and its pieces come back."""
    pool = BufferPool()
    packet = Packet(1, 9, NOISE + bytes(200_000), compression=Compression.ZLIB)
    data = encode(packet)
    assert ASSEMBLED < len(data) <= MOST_ASSEMBLED
    assert [packet, LARGE] == feed(PacketDecoder(buffers=pool), data + encode(LARGE), [])
    decoder = PacketDecoder(buffers=pool)
    assert [] == feed(decoder, data[:-8] + bytes(8) + encode(LARGE), [])
    assert isinstance(decoder.error, RemoteProtocolError)
    assert pool.stats().get_operations == pool.stats().return_operations


def test_inflating_pauses_behind_a_packet_in_pieces() -> None:
    """What is behind a packet that inflates to the cap waits for the next turn."""
    options = CodecOptions(max_inflated_size=500_000)
    big, small = Packet(0, 1, NOISE + bytes(340_000), compression=Compression.ZLIB), Packet(0, 2, b"behind")
    decoder = PacketDecoder(options, buffers=BufferPool())
    assert [big] == feed(decoder, encode(big) + encode(small), [])
    assert decoder.more
    assert [small] == decoder.feed(b"")


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("carrier", ["tcp", "tls"], indirect=True)
async def test_connections_use_the_pool_of_their_loop(carrier: Carrier, *, on: bool) -> None:
    """Echoed large packets arrive whole; the pool is used if the option says so, and lends nothing in the end."""
    config = SessionConfig(optimizations=Optimizations(buffer_pool=on))
    server = carrier.server(session=config)

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    async with server, carrier.client(server, session=config) as client:
        pool = buffer_pool(client.session._loop)
        assert NOISE == (await client.request(NOISE)).payload
        stats = pool.stats()
        assert on == (stats.get_operations > 0)
        assert stats.get_operations == stats.return_operations


async def test_a_connection_that_ends_inside_a_packet_gives_its_pieces_back(
    carrier: Carrier,
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]],
    until: Until,
) -> None:
    """Pieces of a packet whose rest never comes are kept for others, and counted nowhere any more."""
    server = carrier.server(session=SessionConfig(optimizations=Optimizations(buffer_pool=True)))
    async with server:
        async with connect_raw(server) as peer:
            peer.writer.write(encode(LARGE)[:-1])
            await until(lambda: server.kept == 3 * PIECE)
            (session,) = server.sessions.values()
            pool = buffer_pool(session._loop)
            assert 0 == pool.stats().return_operations
        await until(lambda: not server.sessions)
        assert (0, 3) == (server.kept, pool.stats().large.cached)
