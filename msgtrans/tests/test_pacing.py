"""Writing to peers that take one packet per read: conformance case 8, and a peer that reads as Rust 1.0.0 does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    CodecOptions,
    ConfigurationError,
    LocalProtocolError,
    Packet,
    RemoteProtocolError,
    TransportClient,
    TransportServer,
    decode,
    encode,
)
from msgtrans.config import Pacing, SessionConfig, TcpClientConfig, TcpServerConfig
from msgtrans.paced import PacedLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import RawPeer

BRISK = Pacing(min_gap=0.001, settle=0.0)


class LegacyPeer(asyncio.Protocol):
    """Reads as Rust 1.0.0 does: of each read it takes the first packet and drops the rest; a cut packet ends it."""

    def __init__(self) -> None:
        self.reads: list[bytes] = []
        self.packets: list[Packet] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)
        try:
            packet = decode(data[:8192], CodecOptions(frame_policy="lenient"))
        except RemoteProtocolError:
            self.transport.close()
            return
        self.packets.append(packet)
        if packet.packet_type == 1:
            self.transport.write(encode(Packet(2, packet.message_id, packet.payload)))


@asynccontextmanager
async def legacy_server() -> AsyncIterator[tuple[str, list[LegacyPeer]]]:
    """A server of such peers, and where it listens."""
    peers: list[LegacyPeer] = []

    def accept() -> LegacyPeer:
        peers.append(LegacyPeer())
        return peers[-1]

    listener = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}", peers
    finally:
        listener.close()
        for peer in peers:
            peer.transport.abort()
        await listener.wait_closed()


class StoppedLoop:
    """A clock that moves when told, with the timers that wait for it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = timer.when
            if not timer.cancelled:
                timer.callback()
        self.now = end


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.cancelled = when, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class Wire:
    """A link that notes when what was written, and closed."""

    def __init__(self, loop: StoppedLoop) -> None:
        self.loop, self.writes, self.end = loop, [], ""

    def write(self, packets: list[bytes]) -> None:
        self.writes.append((round(self.loop.now, 6), b"|".join(packets)))

    def buffered(self) -> int:
        return 0

    def finish(self) -> None:
        self.end = "finish"

    def close(self) -> None:
        self.end = "close"

    def abort(self) -> None:
        self.end = "abort"


class Caller:
    """What a paced link tells its session."""

    def __init__(self) -> None:
        self.told = []

    def writing_paused(self) -> None:
        self.told.append("pause")

    def writing_resumed(self) -> None:
        self.told.append("resume")


def paced(pacing: Pacing) -> tuple[PacedLink, Wire, StoppedLoop, Caller]:
    """A link over one that has just been made."""
    loop, session = StoppedLoop(), Caller()
    wire = Wire(loop)
    return PacedLink(wire, pacing, session, loop), wire, loop, session


def test_packets_are_neither_joined_nor_split() -> None:
    """Each packet is a write of its own: the first when the peer has settled, the others a gap apart."""
    connection, wire, loop, session = paced(Pacing(min_gap=0.002, settle=0.1))
    connection.write([b"one", b"two"])
    connection.write([b"three"])
    assert (wire.writes, connection.buffered()) == ([], 11)
    loop.advance(1.0)
    assert [(100.1, b"one"), (100.102, b"two"), (100.104, b"three")] == wire.writes
    assert ["pause", "pause", "resume"] == session.told
    connection.write([b"four"])
    assert (101.0, b"four") == wire.writes[-1]


def test_a_packet_waits_until_the_system_has_taken_the_one_before() -> None:
    """While the system holds a packet back, none follows it; then the next goes in its time."""
    connection, wire, loop, session = paced(BRISK)
    connection.write([b"one", b"two"])
    connection.pause_writing()
    loop.advance(1.0)
    assert [(100.0, b"one")] == wire.writes
    connection.resume_writing()
    assert [(100.0, b"one"), (101.0, b"two")] == wire.writes
    loop.advance(1.0)
    assert ["pause", "resume"] == session.told


@pytest.mark.parametrize("end", ["finish", "close"])
def test_an_end_comes_behind_what_waits(end: str) -> None:
    """Finishing and closing wait for the packets before them; with none, they happen at once."""
    connection, wire, loop, _ = paced(BRISK)
    connection.write([b"one", b"two"])
    getattr(connection, end)()
    assert wire.end == ""
    loop.advance(1.0)
    assert (2, end) == (len(wire.writes), wire.end)
    connection, wire, loop, _ = paced(BRISK)
    getattr(connection, end)()
    assert end == wire.end


def test_aborting_drops_what_waits() -> None:
    """After an abort nothing is written any more."""
    connection, wire, loop, _ = paced(BRISK)
    connection.write([b"one", b"two", b"three"])
    connection.abort()
    loop.advance(1.0)
    assert ([(100.0, b"one")], "abort", 0) == (wire.writes, wire.end, connection.buffered())


async def test_a_peer_that_reads_one_packet_at_a_time_is_served() -> None:
    """A reader that takes one packet per read and 8192 bytes at most answers everything asked in lock step."""
    async with legacy_server() as (address, peers):
        target = TcpClientConfig(target_address=address, pacing=BRISK)
        async with TransportClient(target) as client:
            for number in range(20):
                assert (await client.request(b"%d" % number)).payload == b"%d" % number
        assert len(peers[0].packets) == 20


async def test_packets_too_large_for_the_peer_are_refused() -> None:
    """8192 bytes in all go through, one more is a LocalProtocolError, also when an ext header makes it so."""
    async with (
        legacy_server() as (address, _),
        TransportClient(TcpClientConfig(target_address=address, pacing=BRISK)) as client,
    ):
        assert len((await client.request(bytes(8176))).payload) == 8176
        with pytest.raises(LocalProtocolError, match="8176"):
            await client.request(bytes(8177))
        with pytest.raises(LocalProtocolError, match="max_packet_size, 8192"):
            await client.send(bytes(8176), ext_header=b"x")


async def test_a_server_paces_its_answers(
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]],
) -> None:
    """A server with pacing answers too, and a graceful close waits for what waits."""
    server = TransportServer(tcp=TcpServerConfig(bind_address="127.0.0.1:0", pacing=BRISK))
    server.on_request(lambda context: context.payload)
    async with server, connect_raw(server) as peer:
        peer.send(b"".join(encode(Packet(1, number, b"ab")) for number in range(10)))
        assert await peer.read(18) == encode(Packet(2, 0, b"ab"))
        closing = asyncio.create_task(server.close_all())
        rest = b"".join(encode(Packet(2, number, b"ab")) for number in range(1, 10))
        assert rest == await peer.read(len(rest))
        peer.abort()
        await closing


async def test_backpressure_holds_while_packets_wait() -> None:
    """What waits for its time counts as outbound, and send waits above high_water."""
    config = SessionConfig(high_water=1000)
    async with legacy_server() as (address, _):
        target = TcpClientConfig(target_address=address, pacing=BRISK)
        async with TransportClient(target, session=config) as client:
            for _ in range(50):
                await client.send(bytes(100))
                assert client.session.stats().outbound_bytes <= 2 * (1000 + 116)


def test_pacing_options_are_validated() -> None:
    """Each option outside its range is refused by name, and pacing without nodelay too."""
    for wrong in ({"max_packet_size": 16}, {"min_gap": 0}, {"settle": -1}, {"settle": "long"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            Pacing(**wrong)
    with pytest.raises(ConfigurationError, match="nodelay"):
        TcpServerConfig(pacing=Pacing(), nodelay=False)
    with pytest.raises(ConfigurationError, match="max_packet_size"):
        CodecOptions(max_packet_size=100)
