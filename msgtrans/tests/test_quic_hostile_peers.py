"""QUIC clients that send frames and datagrams as no client should: bounded memory, others served."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from quic_forger import Forger, stream, varint
from quic_peer import RawQuicPeer, first_flight

from msgtrans import (
    CloseReason,
    Packet,
    QuicClientConfig,
    QuicServerConfig,
    RemoteProtocolError,
    Session,
    SessionConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Until

ANY = "127.0.0.1:0"
REQUEST = encode(Packet(1, 1, b"hi"))
ANSWER = encode(Packet(2, 1, b"hi"))


@asynccontextmanager
async def serving(session: SessionConfig | None = None, **options: object) -> AsyncIterator[TransportServer]:
    """A server that echoes, with another client that must not notice anything."""
    server = TransportServer(quic=QuicServerConfig(bind_address=ANY, **options), session=session)
    server.on_request(lambda context: context.payload)
    async with server, TransportClient(QuicClientConfig.insecure(str(server.quic_address))) as other:
        assert (await other.request(b"before")).payload == b"before"
        yield server
        assert (await other.request(b"undisturbed")).payload == b"undisturbed"


async def the_other_session(server: TransportServer, until: Until) -> Session:
    await until(lambda: len(server.sessions) == 2)
    return list(server.sessions.values())[1]


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (stream(0, 1 << 61, b"x"), b"StreamReceiveLimit"),
        (stream(0, 5 << 20, b"x"), b"StreamReceiveLimit"),
        (stream(4 * 100, 0, b"x"), b"stream limit 100 exceeded"),
        (stream(2 + 4 * 103, 0, b"x"), b"stream limit 103 exceeded"),
        (stream(1, 0, b"x"), b""),  # a stream that only the server may open
        (stream(0, 0, b"abc", end=True) + stream(0, 5, b"x"), b""),  # beyond its end
        (b"\x02" + varint(1 << 30) + b"\0\0\0", b"AckOfUnsentPacket"),
        (b"\x1e", b""),  # the handshake is done, which only servers say
        (b"\x18\x02\x02\x08" + bytes(8) + bytes(16) + b"\x18\x02\x02\x08" + bytes(8) + b"\1" * 16, b""),
        (b"\x19" + varint(1 << 20), b""),  # retires an id that was never issued
        (b"\x30datagram", b"not enabled"),
        (b"\x40\x99", b"unknown frame"),
        (b"\x12" + varint(1 << 61), b""),  # more streams than there can be
    ],
    ids=lambda value: value[:6].hex() if isinstance(value, bytes) else None,
)
async def test_frames_that_break_the_protocol(frame: bytes, words: bytes, until: Until) -> None:
    """Each ends its connection at once, with the code of the RFC, and no other."""
    async with serving() as server, Forger.connected(*server.quic_address) as peer:
        session = await the_other_session(server, until)
        peer.send(frame)
        closed = await peer.until_closed()
        assert 0x1C == closed[0]
        assert words in closed
        await asyncio.wait_for(session.wait_closed(), 30)
        assert CloseReason.ERROR == session.close_reason


async def test_a_flood_of_probes_ends_its_connection(until: Until) -> None:
    """The library answers each PATH_CHALLENGE in a datagram of its own: a thousand in a second are enough."""
    async with serving() as server, Forger.connected(*server.quic_address) as peer:
        session = await the_other_session(server, until)
        probes = [b"\x1a" + os.urandom(8) for _ in range(100)]
        peer.acknowledges = False
        async with asyncio.timeout(30):
            while peer.closed is None:  # some may be lost on the way, and a busy machine takes its time
                peer.send(*probes)
                await asyncio.sleep(0)
        closed = await peer.until_closed()
        assert (0x1D, 2) == (closed[0], closed[1])
        assert b"the peer asks for answers without end" in closed
        await asyncio.wait_for(session.wait_closed(), 30)
        assert (CloseReason.ERROR, RemoteProtocolError) == (session.close_reason, type(session.close_error))
        assert 1 == server.stats().protocol_errors


async def test_probes_now_and_then_are_answered(until: Until) -> None:
    """A few of them at a time, as clients on the move send, are no flood."""
    async with serving() as server, Forger.connected(*server.quic_address) as peer:
        await the_other_session(server, until)
        for number in range(20):
            before = peer.received
            peer.send(*(b"\x1a" + os.urandom(8) for _ in range(3)))
            await peer.peer.until(lambda before=before: peer.received >= before + 3)
            assert peer.closed is None, number
        peer.send(stream(0, 0, len(REQUEST).to_bytes(4) + REQUEST))
        session = list(server.sessions.values())[1]
        await until(lambda: session.packets_sent == 1)


async def test_a_peer_that_acknowledges_nothing(until: Until) -> None:
    """It goes on sending, so it is no silent one, but what it is sent is not kept for longer than for such a one."""
    async with (
        serving(max_idle_timeout=0.4, keep_alive_interval=0.1) as server,
        Forger.connected(*server.quic_address) as peer,
    ):
        session = await the_other_session(server, until)
        peer.acknowledges = False
        peer.send(stream(0, 0, len(REQUEST).to_bytes(4) + REQUEST))
        while session.is_open:
            peer.send(b"\1")
            await asyncio.sleep(0.02)
        await asyncio.wait_for(session.wait_closed(), 30)
        assert (CloseReason.TIMEOUT, TransportTimeoutError) == (session.close_reason, type(session.close_error))
        assert "waiting for the peer to acknowledge" in str(session.close_error)


async def test_streams_that_are_not_ours(until: Until) -> None:
    """Data on all other streams that a client may open, never ended, is not kept, and the session goes on."""
    async with serving() as server, Forger.connected(*server.quic_address) as peer:
        session = await the_other_session(server, until)
        peer.send(stream(0, 0, b"\0"))
        for stream_id in (*range(4, 4 * 100, 4), *range(2, 4 * 103, 4)):
            for part in range(3):
                peer.send(stream(stream_id, part * 1000, bytes(1000)))
            await until(lambda expected=stream_id: peer.received or expected < 0)
        await until(lambda: session.bytes_received >= 3000)
        peer.send(stream(0, 1, (len(REQUEST).to_bytes(4) + REQUEST)[1:]))
        await until(lambda: session.packets_sent == 1)
        assert (0, None) == (server.kept, peer.closed)


async def test_tiny_streams_by_the_thousand(until: Until) -> None:
    """A packet on a stream each, thousands one after the other: all are answered, and nothing is left of them."""
    count = 3000
    async with serving() as server, RawQuicPeer.connected(*server.quic_address, hello=False) as peer:
        session = await the_other_session(server, until)
        for number in range(count):
            await peer.until(lambda number=number: number < peer.quic.max_concurrent_uni_streams)
            peer.send_stream(2 + 4 * number, REQUEST, end=True)
        await peer.until(lambda: len(peer.ended) == count)
        assert {ANSWER} == {bytes(peer.streams[3 + 4 * number]) for number in range(count)}
        assert (count, 0) == (session.packets_received, session.kept)
        await until(lambda: not session._link._quic.open_outbound_streams)
        assert not session._link._quic._created_local_stream_ids


async def test_packets_from_many_addresses(until: Until) -> None:
    """A connection whose packets come from hundreds of addresses is one session; none of these is remembered for it."""
    async with serving() as server, Forger.connected(*server.quic_address) as peer:
        session = await the_other_session(server, until)
        ids = len(server_socket(server)._links)
        home = peer.peer.socket
        try:
            for number in range(300):
                peer.peer.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                peer.peer.socket.bind((f"127.0.1.{1 + number % 250}", 0))
                peer.peer.socket.connect(tuple(server.quic_address))
                peer.send(b"\1", bytes(1200))
                peer.peer.socket.close()
                await asyncio.sleep(0)
        finally:
            peer.peer.socket = home
        peer.send(stream(0, 0, len(REQUEST).to_bytes(4) + REQUEST))
        await until(lambda: session.packets_sent == 1)
        assert 2 == len(server.sessions)
        assert ids >= len(server_socket(server)._links) - 2


async def test_datagrams_as_large_as_can_be(until: Until) -> None:
    """65 507 bytes, an Initial in front of junk and junk alone, are read in part, and begin no more than others."""
    async with serving(accept_timeout=0.2) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.connect(tuple(server.quic_address))
            for data in (first_flight(), b"\x40" + bytes(8), b"\xff", b""):
                for _ in range(5):
                    stranger.send(data.ljust(65_507, b"\0"))
                    await asyncio.sleep(0)
        await until(lambda: server_socket(server)._terms.unfinished == 0)
        assert 1 == len(server.sessions)


async def test_an_address_that_is_not_proved_gets_little() -> None:
    """What goes to an address before it has answered is at most three times of what came from there."""
    async with serving(accept_timeout=0.5) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
            victim.setblocking(False)
            victim.connect(tuple(server.quic_address))
            first = first_flight()
            victim.send(first)
            got, loop = 0, asyncio.get_running_loop()
            until = loop.time() + 0.6
            while loop.time() < until:
                try:
                    async with asyncio.timeout(max(until - loop.time(), 0.001)):
                        got += len(await loop.sock_recv(victim, 65535))
                except TimeoutError:
                    break
            assert 0 < got <= 3 * len(first)


def server_socket(server: TransportServer):
    """The socket of the only listener."""
    [(_, listener)] = server._listeners
    return listener._sockets[0]
