"""The UDP socket of a QUIC listener: what begins a connection, what must not, and what a stranger costs."""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from quic_peer import RawQuicPeer, first_flight
from udp_proxy import udp_proxy

from msgtrans import QuicClientConfig, QuicServerConfig, TransportClient, TransportServer
from msgtrans.adapters.quic import endpoint
from msgtrans.adapters.quic.datagrams import TOKEN_LIFETIME, Tokens, parse_long
from msgtrans.adapters.quic.endpoint import CALM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Until

ANY = "127.0.0.1:0"


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[TransportServer]:
    server = TransportServer(quic=QuicServerConfig(bind_address=ANY, **options))
    server.on_request(lambda context: context.payload)
    async with server:
        yield server


class Stranger:
    """A UDP socket that is no QUIC client. answers: what came back."""

    def __init__(self, server: TransportServer) -> None:
        self.answers: list[bytes] = []
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(tuple(server.quic_address))
        self.loop.add_reader(self.socket.fileno(), self._readable)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.remove_reader(self.socket.fileno())
        self.socket.close()

    def _readable(self) -> None:
        self.answers.append(self.socket.recv(9216))

    async def say(self, data: bytes) -> None:
        """Send; wait for the socket if the system takes no more."""
        await self.loop.sock_sendall(self.socket, data)


def unfinished(server: TransportServer) -> int:
    [(_, listener)] = server._listeners
    return listener._terms.unfinished


async def answered(server: TransportServer, payload: bytes = b"served") -> bool:
    async with TransportClient(QuicClientConfig.insecure(server.uris[0])) as client:
        return (await client.request(payload)).payload == payload


async def test_junk_begins_nothing(until: Until) -> None:
    """Datagrams that are no QUIC, too short, or for nobody, get no answer and leave nothing behind."""
    generator = random.Random(1)  # noqa: S311 - a pattern, not a secret
    initial = first_flight()
    junk = [generator.randbytes(generator.randrange(1, 1500)) for _ in range(500)]
    junk += [bytes((0x40,)) + data for data in junk[:50]]  # a short header, for a connection that is not there
    junk += [b"", b"\x00", b"\xff", b"\xc0", initial[:1199], initial[:6], bytes(1500)]
    junk += [b"\xe0" + initial[1:]]  # of the handshake, for a connection that is not there
    async with serving() as server:
        with Stranger(server) as stranger:
            for data in junk:
                if len(data) < 1200 or not data[0] & 0x80:
                    await stranger.say(data)
            assert await answered(server)
            assert [] == stranger.answers
        await until(lambda: unfinished(server) == 0)
        assert 1 == server.stats().connections_total


async def test_a_client_whose_first_datagrams_are_lost_gets_there() -> None:
    """Its next begins no handshake: that is not answered, nothing is kept, and the client sends the first again."""
    async with serving() as server, udp_proxy(server.quic_address) as proxy:
        seen: list[int] = []
        proxy.fate = lambda data, to_server: (0,) if not to_server or seen.append(len(data)) or len(seen) > 2 else ()
        async with TransportClient(QuicClientConfig.insecure(f"127.0.0.1:{proxy.port}")) as client:
            assert b"there" == (await client.request(b"there")).payload
        stats = server.stats()
        assert (0, 1, 0) == (unfinished(server), stats.connections_total, stats.handshake_failures)


@pytest.mark.parametrize("size", [0, 7])
async def test_ids_that_are_too_short_begin_nothing(size: int) -> None:
    """A client makes up an id of 8 bytes at least for the server (RFC 9000, 7.2)."""
    first = first_flight()
    short = first[:5] + bytes((size,)) + bytes(size) + first[6 + first[5] :]
    async with serving() as server:
        with Stranger(server) as stranger:
            await stranger.say(short.ljust(1200, b"\0"))
            assert await answered(server)
            assert [] == stranger.answers
        assert (0, 1) == (unfinished(server), server.stats().connections_total)


async def test_versions_are_negotiated(until: Until) -> None:
    """A version that is not spoken is answered with those that are, if the datagram is as large as must be."""
    initial = first_flight()
    foreign = initial[:1] + b"\x1a\x2a\x3a\x4a" + initial[5:]
    async with serving() as server:
        with Stranger(server) as stranger:
            await stranger.say(foreign[:1199])
            await stranger.say(initial[:1] + bytes(4) + initial[5:])  # itself an answer of that kind
            await stranger.say(foreign)
            await until(lambda: stranger.answers)
            assert await answered(server)
            [answer] = stranger.answers
            header, asked = parse_long(answer), parse_long(initial)
            assert header is not None
            assert asked is not None
            assert (0, asked.source, asked.destination) == (header.version, header.destination, header.source)
            assert answer.endswith(b"\0\0\0\1")
        assert 0 == unfinished(server)


async def test_addresses_are_proved_when_asked_for() -> None:
    """With `validate_addresses` a client comes back with a token, which costs nothing here; then it is served."""
    async with serving(validate_addresses=True) as server:
        with Stranger(server) as stranger:
            for _ in range(CALM):
                await stranger.say(first_flight())
            assert await answered(server)
            assert 0 == unfinished(server)
            assert {0xF0} == {answer[0] & 0xF0 for answer in stranger.answers}  # Retry, each smaller than what came
        assert 1 == server.stats().connections_total


async def test_addresses_are_proved_while_many_handshakes_are_under_way(until: Until) -> None:
    """Beyond some unfinished handshakes strangers get no memory any more, and clients are served all the same."""
    async with serving(max_connections=1000) as server:
        with Stranger(server) as stranger:
            for number in range(CALM + 20):
                await stranger.say(first_flight())
                await until(lambda number=number: unfinished(server) >= min(number + 1, CALM))
            assert CALM == unfinished(server)
            assert await answered(server)
            assert any(answer[0] & 0xF0 == 0xF0 for answer in stranger.answers)


async def test_unfinished_handshakes_are_bounded(until: Until) -> None:
    """As many as connections may be open; more are dropped and counted, and room comes with their timeout."""
    async with serving(max_connections=5, accept_timeout=0.2) as server:
        with Stranger(server) as stranger:
            for _ in range(8):
                await stranger.say(first_flight())
            await until(lambda: server.stats().connections_refused == 3)
            assert 5 == unfinished(server)
            await until(lambda: unfinished(server) == 0)
            assert 5 == server.stats().handshake_failures
        assert await answered(server)


async def test_few_connections_begin_in_one_turn(until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what comes together a few begin at once, some wait for further turns, and the rest is dropped and counted."""
    monkeypatch.setattr(endpoint, "AT_ONCE", 2)
    monkeypatch.setattr(endpoint, "WAITING", 5)
    flights = [first_flight() for _ in range(12)]
    async with serving() as server:
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            for flight in flights:  # without a turn of the loop in between
                stranger.sendto(flight, tuple(server.quic_address))
            await until(lambda: unfinished(server) == 7)
            assert 5 == server.stats().connections_refused
            assert await answered(server)


async def test_a_full_listener_says_so() -> None:
    """Beyond max_connections a client is turned away with a sentence; when one goes, there is room."""
    async with serving(max_connections=1) as server:
        client = TransportClient(QuicClientConfig.insecure(server.uris[0]))
        async with client:
            await client.request(b"")
            async with RawQuicPeer.connected(*server.quic_address, hello=False) as peer:
                await peer.until(lambda: peer.closed)
                assert (6, "no session: the server is full or stopping") == (
                    peer.closed.error_code,
                    peer.closed.reason_phrase,
                )
            assert (await client.request(b"undisturbed")).payload == b"undisturbed"
        assert 1 == server.stats().connections_refused
        assert await answered(server)


async def test_mutated_datagrams_break_nothing(until: Until) -> None:
    """Datagrams of a handshake and of an open connection with bits turned, doubled or cut disturb nobody."""
    generator = random.Random(2)  # noqa: S311 - a pattern, not a secret

    def spoil(data: bytes) -> bytes:
        spoiled = bytearray(data)
        for _ in range(generator.randrange(4)):
            spoiled[generator.randrange(len(spoiled))] ^= 1 << generator.randrange(8)
        return (
            bytes(spoiled[: generator.randrange(1, len(spoiled) + 1)]) if generator.random() < 0.2 else bytes(spoiled)
        )

    async with serving(accept_timeout=0.2) as server:
        for _ in range(8):
            configuration = QuicConfiguration(server_name="localhost")
            client = QuicConnection(configuration=configuration)
            client.connect(tuple(server.quic_address), monotonic())
            with Stranger(server) as stranger:
                for _ in range(3):
                    for data, _ in client.datagrams_to_send(monotonic()):
                        await stranger.say(spoil(data))
                        await stranger.say(data)
                        await stranger.say(data)
                    await asyncio.sleep(0.001)
                    while stranger.answers:
                        client.receive_datagram(stranger.answers.pop(0), tuple(server.quic_address), monotonic())
        assert await answered(server)
        await until(lambda: unfinished(server) == 0)


async def test_replayed_datagrams_change_nothing() -> None:
    """Somebody who repeats a connection's datagrams from another address gets no answer, and the session goes on."""
    async with serving() as server, RawQuicPeer.connected(*server.quic_address) as peer:
        for number in (b"\1", b"\2"):
            peer.quic.send_stream_data(
                0, peer.wire(b"\1\0\1\0" + bytes(3) + number + bytes(8))[1 if number == b"\1" else 0 :]
            )
            copies = [data for data, _ in peer.quic.datagrams_to_send(monotonic())]
            with Stranger(server) as stranger:
                for data in copies:
                    peer.socket.send(data)
                peer.transmit()
                assert 16 == len(await peer.read(16))
                for data in copies:
                    await stranger.say(data)
                assert await answered(server)
                assert [] == stranger.answers


# Without sockets


@given(st.binary(max_size=200))
def test_any_bytes_have_a_header_or_none(data: bytes) -> None:
    """Whatever stands in a datagram, reading its header raises nothing."""
    header = parse_long(data)
    if header is not None:
        assert data[6 : 6 + data[5]] == header.destination


def test_the_header_of_an_initial() -> None:
    """Version, ids and token stand where the RFC says; cut before the token's end there is none."""
    wire = b"\xc0\0\0\0\1" + b"\4dest" + b"\3src" + b"\x40\5token" + bytes(100)
    header = parse_long(wire)
    assert (1, b"dest", b"src", True, b"token") == header
    for size in range(len(wire) - 101):
        assert parse_long(wire[:size]) is None
    handshake = parse_long(b"\xe0" + wire[1:])
    assert handshake is not None
    assert not handshake.initial
    other = parse_long(wire[:1] + b"\0\0\0\2" + wire[5:])
    assert (2, b"dest", b"src", False, b"") == other


def test_tokens_are_for_one_address_and_a_short_time() -> None:
    """A token is taken from where it was sent, for the id that was chosen, while it is fresh; not if forged."""
    tokens = Tokens(b"k" * 32)
    token = tokens.make("127.0.0.1", 5000, b"original", b"chosen..", 100.0)
    assert b"original" == tokens.check("127.0.0.1", 5000, token, b"chosen..", 100.0 + TOKEN_LIFETIME)
    for host, port, shown, chosen, now in (
        ("127.0.0.2", 5000, token, b"chosen..", 100.0),
        ("127.0.0.1", 5001, token, b"chosen..", 100.0),
        ("127.0.0.1", 5000, token, b"another.", 100.0),
        ("127.0.0.1", 5000, token, b"chosen..", 101.0 + TOKEN_LIFETIME),
        ("127.0.0.1", 5000, token[:-1] + b"?", b"chosen..", 100.0),
        ("127.0.0.1", 5000, b"?" + token[1:], b"chosen..", 100.0),
        ("127.0.0.1", 5000, b"", b"chosen..", 100.0),
        ("127.0.0.1", 5000, token[:20], b"chosen..", 100.0),
    ):
        assert tokens.check(host, port, shown, chosen, now) is None
    assert Tokens(b"j" * 32).check("127.0.0.1", 5000, token, b"chosen..", 100.0) is None
    on_ipv6 = tokens.make("::1", 5000, b"original", b"chosen..", 100.0)
    assert b"original" == tokens.check("::1", 5000, on_ipv6, b"chosen..", 100.0)


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
async def test_names_and_ipv6(host: str) -> None:
    """A name is listened to on all its addresses, with one port; IPv6 works, also with tokens."""
    config = QuicServerConfig(bind_address=f"{host}:0", validate_addresses=True)
    server = TransportServer(quic=config)
    server.on_request(lambda context: str(context.session.peer_address).encode())
    async with server:
        assert 1 == len({address.port for address in server.addresses})
        for target in (*server.uris, f"quic://{host}:{server.quic_address.port}"):
            async with TransportClient(QuicClientConfig.insecure(target)) as client:
                assert (await client.request(b"")).payload.decode() == str(client.session.local_address)
