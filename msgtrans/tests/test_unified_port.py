"""The unified port: who gets a connection, with which bytes, and what happens to the rest."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from msgtrans import ConfigurationError, Packet, TransportClient, TransportServer, UnifiedPort, encode
from msgtrans.adapters.unified_port import UnifiedPortStats, wants_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import RawPeer, Until

    ConnectRaw = Callable[[int], AbstractAsyncContextManager[RawPeer]]

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nupgrade: h2c, WebSocket\r\n\r\n"


class Says(asyncio.Protocol):
    """Answers its name and what it read."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.name + b":" + data)


class SaysBuffered(asyncio.BufferedProtocol):
    """The same, as a buffered protocol with a small buffer."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.buffer = bytearray(7)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[:nbytes]))


class Listening:
    """A unified port that listens."""

    def __init__(self, port: UnifiedPort, number: int) -> None:
        self.port = port
        self.number = number


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., asyncio.Future[Listening]]]:
    """`await listen(http=..., ...)` serves a UnifiedPort with an echo server behind it on a free port."""
    async with TransportServer() as packets:
        packets.on_request(lambda context: context.payload)
        started = []

        async def start(**options: object) -> Listening:
            port = UnifiedPort(**{"msgtrans": packets.protocol_factory(), **options})
            listener = await asyncio.get_running_loop().create_server(port, "127.0.0.1", 0)
            started.append((port, listener))
            return Listening(port, listener.sockets[0].getsockname()[1])

        yield start
        for port, listener in started:
            listener.close()
            port.close()
            port.close()


def http() -> asyncio.Protocol:
    return Says(b"http")


def websocket() -> asyncio.Protocol:
    return Says(b"websocket")


async def test_packets_are_told_by_their_first_byte(listen: Callable[..., asyncio.Future[Listening]]) -> None:
    """A client of msgtrans works through the port, from its first byte on."""
    here = await listen(http=http)
    async with TransportClient(f"tcp://127.0.0.1:{here.number}") as client:
        assert (await client.request(b"hello")).payload == b"hello"
    assert here.port.stats.msgtrans == 1


async def test_connections_through_the_port_are_probed(listen: Callable[..., asyncio.Future[Listening]]) -> None:
    """The system probes silent peers of an embedded server too, after 60 s or as told."""
    async with TransportServer() as packets:
        for options, seconds in (({}, 60), ({"keepalive": 33}, 33)):
            here = await listen(msgtrans=packets.protocol_factory(**options))
            async with TransportClient(f"tcp://127.0.0.1:{here.number}") as client:
                packets.on_request(lambda context: context.payload)
                await client.request(b"")
                (session,) = packets.sessions.values()
                connection = session._link._transport.get_extra_info("socket")
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == seconds
                await session.close(graceful=False)


async def test_packets_sent_byte_by_byte(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw
) -> None:
    """The hand-over loses nothing, wherever the first packet is cut."""
    here = await listen()
    async with connect_raw(here.number) as peer:
        for byte in encode(Packet(1, 5, b"cut")):
            peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert encode(Packet(2, 5, b"cut")) == await peer.read(19)


@pytest.mark.parametrize("cut", [1, 3, 20, len(UPGRADE) - 1])
async def test_an_upgrade_goes_to_websocket(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, cut: int
) -> None:
    """A GET whose Upgrade header names websocket, in any case and among others, goes there with every byte."""
    here = await listen(http=http, websocket=websocket)
    async with connect_raw(here.number) as peer:
        for part in (UPGRADE[:cut], UPGRADE[cut:] + b"early frame"):
            peer.send(part)
            await asyncio.sleep(0.001)
        expected = b"websocket:" + UPGRADE + b"early frame"
        assert expected == await peer.read(len(expected))
    assert UnifiedPortStats(websocket=1) == here.port.stats


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
        b"GET /?upgrade:websocket HTTP/1.1\r\nX-Upgrade: websocket\r\nHost: Upgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket2\r\n\r\n",
        b"POST / HTTP/1.1\r\nUpgr",
        b"G_",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000,
    ],
    ids=["h2c", "substrings", "other value", "not get", "not get at once", "tls", "long head"],
)
async def test_everything_else_goes_to_http(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, request_bytes: bytes
) -> None:
    """Other requests go to HTTP untouched, and without waiting for the head when they cannot be an upgrade."""
    here = await listen(http=http, websocket=websocket)
    async with connect_raw(here.number) as peer:
        peer.send(request_bytes)
        assert b"http:" + request_bytes == (await peer.read(5 + len(request_bytes))).replace(b"http:", b"", 0)
    assert here.port.stats.http == 1


async def test_without_a_websocket_hook_http_gets_the_first_bytes(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw
) -> None:
    """Where nobody speaks WebSocket there is nothing to wait for, and HTTP refuses upgrades itself."""
    here = await listen(http=http)
    async with connect_raw(here.number) as peer:
        peer.send(b"GE")
        assert await peer.read(7) == b"http:GE"


async def test_buffered_protocols_get_what_was_read(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw
) -> None:
    """A BufferedProtocol receives the first bytes through its own, smaller buffer, and reads on."""
    here = await listen(http=lambda: SaysBuffered(b""))
    async with connect_raw(here.number) as peer:
        peer.send(UPGRADE)
        assert await peer.read(len(UPGRADE)) == UPGRADE
        peer.send(b"more")
        assert await peer.read(4) == b"more"


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00", UPGRADE])
async def test_without_a_hook_the_connection_is_closed(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, first: bytes
) -> None:
    """Bytes that nobody here understands end in a clean close and a count."""
    here = await listen()
    async with connect_raw(here.number) as peer:
        peer.send(first)
        assert await peer.read_to_end() == b""
    assert here.port.stats.unknown == 1


async def test_packets_without_a_hook(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw
) -> None:
    """A port without msgtrans closes packets too."""
    here = await listen(msgtrans=None, http=http)
    async with connect_raw(here.number) as peer:
        peer.send(b"\x01")
        assert await peer.read_to_end() == b""


@pytest.mark.parametrize("first", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_half_a_head_goes_to_http_at_the_deadline(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, first: bytes
) -> None:
    """Who stops inside a head that could be an upgrade is HTTP's, which can say what is wrong."""
    here = await listen(http=http, websocket=websocket, deadline=0.05)
    async with connect_raw(here.number) as peer:
        peer.send(first)
        assert b"http:" + first == await peer.read(5 + len(first))
    assert UnifiedPortStats(http=1) == here.port.stats
    assert here.port.undecided == 0


@pytest.mark.parametrize("first", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_silent_connections_are_closed_at_the_deadline(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, first: bytes
) -> None:
    """Who says nothing is closed and counted, as is who stops inside a head that nobody else reads."""
    here = await listen(http=None if first else http, websocket=websocket, deadline=0.05)
    async with connect_raw(here.number) as one, connect_raw(here.number) as two:
        one.send(first)
        two.send(first)
        assert await one.read_to_end() == await two.read_to_end() == b""
    assert UnifiedPortStats(silent=2) == here.port.stats
    assert here.port.undecided == 0


async def test_a_connection_that_spoke_has_no_deadline(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw
) -> None:
    """The deadline ends with the hand-over; a later silent connection gets a full one of its own."""
    here = await listen(http=http, deadline=0.05)
    async with connect_raw(here.number) as speaking, connect_raw(here.number) as silent:
        speaking.send(b"P")
        await speaking.read(6)
        assert await silent.read_to_end() == b""
        speaking.send(b"!")
        assert await speaking.read(6) == b"http:!"


async def test_leaving_without_a_word_is_counted(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, until: Until
) -> None:
    """A peer that connects and leaves is no error, only a count."""
    here = await listen()
    async with connect_raw(here.number):
        await until(lambda: here.port.undecided)
    await until(lambda: here.port.stats.gone)
    assert here.port.undecided == 0


async def test_the_port_is_bounded(
    listen: Callable[..., asyncio.Future[Listening]], connect_raw: ConnectRaw, until: Until
) -> None:
    """Beyond max_connections, those handed over included, a connection is closed; a free place can be taken again."""
    here = await listen(http=http, max_connections=2)
    async with connect_raw(here.number) as silent:
        async with connect_raw(here.number) as speaking:
            speaking.send(b"P")
            await speaking.read(6)
            assert here.port.connections == 2
            async with connect_raw(here.number) as late:
                assert await late.read_to_end() == b""
            assert here.port.stats.refused == 1
        await until(lambda: here.port.connections == 1)
        async with connect_raw(here.number) as next_one:
            next_one.send(b"P")
            assert await next_one.read(6) == b"http:P"
        silent.send(b"Q")
        assert await silent.read(6) == b"http:Q"


async def test_a_flood_of_refused_connections_looks_at_the_others_now_and_then() -> None:
    """At the limit, connections turned away do not cost a look at every open one each."""
    looks = 0

    class Open(asyncio.Transport):
        def is_closing(self) -> bool:
            nonlocal looks
            looks += 1
            return False

        def close(self) -> None:
            """Nothing is there to close."""

    port = UnifiedPort(msgtrans=None, max_connections=10_000)
    transports = [Open() for _ in range(11_000)]
    for transport in transports:
        port().connection_made(transport)
    assert port.stats.refused == 1000
    assert looks < 1_000_000  # of ten million, one look at all being 10_000
    port.close()


def test_heads() -> None:
    """Only an Upgrade header with websocket among its values counts."""
    assert wants_websocket(b"GET / HTTP/1.1\r\nUPGRADE:websocket")
    assert wants_websocket(b"GET / HTTP/1.1\r\nUpgrade: a\r\nUpgrade: b , websocket")
    assert not wants_websocket(b"GET /Upgrade:websocket HTTP/1.1\r\nHost: x")
    assert not wants_websocket(b"upgrade: websocket")


@pytest.mark.parametrize("wrong", ["head_limit", "deadline", "max_connections"])
def test_port_options_are_validated(wrong: str) -> None:
    """Limits must be positive."""
    with pytest.raises(ConfigurationError, match=wrong):
        UnifiedPort(msgtrans=None, **{wrong: 0})
