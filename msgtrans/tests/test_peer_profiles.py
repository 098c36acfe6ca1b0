"""Peer profiles, conformance case 8, and the interop recordings: with the profile everything arrives, without it not.

The peers are imitations (`legacy_peer`) of the Rust crate 1.0.0.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT
from legacy_peer import LegacyPeer, LegacyWebSocketPeer, legacy_client, legacy_server

from msgtrans import (
    CloseReason,
    CodecOptions,
    ConfigurationError,
    ConnectError,
    Flag,
    LocalProtocolError,
    Optimizations,
    Packet,
    QuicClientConfig,
    QuicServerConfig,
    ResourceError,
    SessionClosedError,
    TcpClientConfig,
    TcpServerConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    WebSocketClientConfig,
    WebSocketServerConfig,
    encode,
)
from msgtrans.config import NO_RETRY, Pacing, SessionConfig
from msgtrans.config.codec import MIB

if TYPE_CHECKING:
    from conftest import Until

LEGACY, RUST = "rust-1.0-legacy", "rust-1.0"
QUICK = Pacing(min_gap=0.0005, settle=0.0)
KINDS = pytest.mark.parametrize("kind", [LegacyPeer, LegacyWebSocketPeer], ids=["tcp", "ws"])
SLOW = 0.004  # seconds a peer needs for an event
DEAF = 0.02  # seconds until somebody listens there


def to_peer(kind: type[LegacyPeer], address: str, **options: object) -> TransportClient:
    """A client of ours to such a server."""
    session = options.pop("session", None)
    if kind is LegacyPeer:
        target = TcpClientConfig(target_address=address, retry_config=NO_RETRY, **options)
    else:
        target = WebSocketClientConfig(target_url=f"ws://{address}/", retry_config=NO_RETRY, **options)
    return TransportClient(target, session=session)


def for_peer(kind: type[LegacyPeer], **options: object) -> TransportServer:
    """A server of ours for such clients, which echoes requests."""
    if kind is LegacyPeer:
        server = TransportServer(tcp=TcpServerConfig(bind_address="127.0.0.1:0", **options))
    else:
        server = TransportServer(ws=WebSocketServerConfig(bind_address="127.0.0.1:0", **options))
    server.on_request(lambda context: context.payload)
    return server


def port_of(server: TransportServer) -> int:
    return int(server.uris[0].rsplit(":", 1)[1])


# What a profile sets


def test_a_profile_is_a_set_of_what_there_is() -> None:
    """Each profile makes the session's config what the specification asks for (2.1 to 2.4, 1.7)."""
    base = SessionConfig()
    assert base == TcpClientConfig(target_address="a:1").session_config(base)

    rust = TcpClientConfig(target_address="a:1", peer_profile=RUST).session_config(base)
    assert (MIB, "strict", "raw") == (
        rust.codec.max_payload_size,
        rust.codec.frame_policy,
        rust.codec.on_bad_compression,
    )
    assert (Flag.FRAGMENTED, True, None, None) == (
        rust.codec.refused_flags,
        rust.codec.compress,
        rust.pacing,
        rust.max_unanswered,
    )
    web = WebSocketClientConfig(target_url="ws://a/", peer_profile=RUST).session_config(base)
    assert ("lenient", 16 * MIB) == (web.codec.frame_policy, web.codec.max_payload_size)
    quic = QuicClientConfig(target_address="a:1", peer_profile=RUST)
    assert ("stream", 16 * MIB) == (quic.chosen_mapping, quic.session_config(base).codec.max_packet_size)

    old = TcpServerConfig(peer_profile=LEGACY).session_config(base)
    assert (8192, 8176, 8, False) == (
        old.codec.max_packet_size,
        old.codec.max_payload_size,
        old.max_unanswered,
        old.codec.compress,
    )
    assert (Pacing(), Optimizations(batching=False)) == (old.pacing, old.optimizations)
    assert (0.002, 0.1) == (Pacing().min_gap, Pacing().settle)
    quic = QuicClientConfig(target_address="a:1", peer_profile=LEGACY)
    assert ("uni", MIB) == (quic.chosen_mapping, quic.session_config(base).codec.max_packet_size)


def test_what_is_set_beside_a_profile_counts() -> None:
    """Pacing and mapping in words replace those of the profile, and of two limits the lesser holds."""
    base = SessionConfig(codec=CodecOptions(max_payload_size=500), max_unanswered=2)
    config = TcpClientConfig(target_address="a:1", peer_profile=LEGACY, pacing=QUICK).session_config(base)
    assert (QUICK, 500, 2) == (config.pacing, config.codec.max_payload_size, config.max_unanswered)
    assert "stream" == QuicClientConfig(target_address="a:1", peer_profile=LEGACY, mapping="stream").chosen_mapping
    assert "/only" == WebSocketServerConfig(peer_profile=RUST, path="/only").path


def test_contradictions_are_refused() -> None:
    """An option that a profile cannot do with is refused by name, and so is an unknown profile."""
    with pytest.raises(ConfigurationError, match=r"nodelay.*rust-1\.0-legacy"):
        TcpServerConfig(peer_profile=LEGACY, nodelay=False)
    with pytest.raises(ConfigurationError, match="nodelay"):
        TcpClientConfig(target_address="a:1", peer_profile=LEGACY, nodelay=False)
    TcpServerConfig(peer_profile=RUST, nodelay=False)
    for profile in (RUST, LEGACY):
        QuicServerConfig(peer_profile=profile)  # serves those that offer nothing
        with pytest.raises(ConfigurationError, match="alpn"):
            QuicClientConfig(target_address="a:1", peer_profile=profile, alpn=("h3",))
    for config in (TcpServerConfig, WebSocketServerConfig, QuicServerConfig):
        with pytest.raises(ConfigurationError, match=r"peer_profile.*'modern' or 'rust-1.0'"):
            config(peer_profile="rust-2")


# The peer is what it imitates, and the profile is what it needs


@KINDS
async def test_without_the_profile_the_first_messages_are_lost(kind: type[LegacyPeer], until: Until) -> None:
    """Case 8, defect 8.3: what is sent at once is lost, and what the profile sends arrives, whoever connects."""
    async with legacy_server(kind, deaf=DEAF) as there:
        async with to_peer(kind, there.address) as client, asyncio.timeout(LIMIT):
            await client.send(b"early")
            await until(lambda: there.peers and there.peers[0].bus._subscribed)
            assert b"hi" == (await client.request(b"hi")).payload
            assert [b"hi"] == [packet.payload for packet in there.peers[0].heard]
        async with to_peer(kind, there.address, peer_profile=LEGACY) as client:
            await client.send(b"early")
            assert b"hi" == (await client.request(b"hi")).payload
            assert [b"early", b"hi"] == [packet.payload for packet in there.peers[1].heard]


@KINDS
@pytest.mark.parametrize("profile", ["modern", LEGACY])
async def test_greetings_of_a_server(kind: type[LegacyPeer], profile: str, until: Until) -> None:
    """Case 8, defect 8.3: a legacy client hears a server's greeting only with the profile."""
    server = for_peer(kind, peer_profile=profile)
    server.on_connect(lambda session: session.send_nowait(b"welcome"))
    async with server, legacy_client(kind, "127.0.0.1", port_of(server), deaf=DEAF) as peer:
        await until(lambda: peer.bus._subscribed)
        (session,) = server.sessions.values()
        await session.send(b"later")
        await until(lambda: peer.heard and peer.heard[-1].payload == b"later")
        expected = [b"welcome", b"later"] if profile == LEGACY else [b"later"]
        assert expected == [packet.payload for packet in peer.heard]


@pytest.mark.parametrize("profile", ["modern", LEGACY])
async def test_packets_that_are_joined_are_lost(profile: str, until: Until) -> None:
    """Case 8, defect 8.1: of packets that arrive in one read the first survives; the profile never joins them."""
    async with legacy_server() as there, to_peer(LegacyPeer, there.address, peer_profile=profile) as client:
        for number in range(12):
            client.send_nowait(b"%d" % number)
        (peer,) = there.peers
        if profile == LEGACY:
            await until(lambda: len(peer.heard) == 12)
            assert [b"%d" % number for number in range(12)] == [packet.payload for packet in peer.heard]
        else:
            await until(lambda: peer.heard)
            with pytest.raises(TransportTimeoutError):
                await asyncio.gather(*(client.request(b"x", timeout=0.2) for _ in range(3)))
            assert len(peer.heard) < 15


@pytest.mark.parametrize("profile", ["modern", LEGACY])
async def test_packets_that_are_too_large_end_the_connection(profile: str) -> None:
    """Case 8, defect 8.1: 8193 bytes are cut and end the connection; the profile refuses them, with words."""
    async with legacy_server() as there, to_peer(LegacyPeer, there.address, peer_profile=profile) as client:
        assert 8176 == len((await client.request(bytes(8176))).payload)
        if profile == LEGACY:
            with pytest.raises(LocalProtocolError, match="8177 bytes exceeds max_payload_size, 8176"):
                await client.request(bytes(8177))
            assert b"ok" == (await client.request(b"ok")).payload
        else:
            with pytest.raises(SessionClosedError):
                await client.request(bytes(8177))
            assert there.peers[0].cut


async def test_larger_packets_are_taken_than_are_sent(until: Until) -> None:
    """A legacy client may send what it could not read itself."""
    server = for_peer(LegacyPeer, peer_profile=LEGACY)
    got: list[bytes] = []
    server.on_message(lambda context: got.append(context.payload))
    async with server, legacy_client(LegacyPeer, "127.0.0.1", port_of(server)) as peer:
        peer.send(Packet(0, 1, bytes(100_000)))
        await until(lambda: got)
        assert [100_000] == [len(payload) for payload in got]


async def test_many_requests_do_not_end_the_dispatcher() -> None:
    """Case 8, defect 8.2: 40 requests at once, only paced, end a slow peer's dispatcher; with the profile 8 are there
    at once, and all are answered."""
    async with legacy_server(step=SLOW) as there:
        async with to_peer(LegacyPeer, there.address, pacing=QUICK) as client:
            answers = await asyncio.gather(
                *(client.request(b"%d" % number, timeout=0.5) for number in range(40)), return_exceptions=True
            )
            assert any(isinstance(answer, TransportTimeoutError) for answer in answers)
            assert not there.peers[0].bus.alive
        async with to_peer(LegacyPeer, there.address, peer_profile=LEGACY) as client:
            answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(40)))
            assert [b"%d" % number for number in range(40)] == [answer.payload for answer in answers]
            assert there.peers[1].bus.alive


async def test_a_dispatcher_that_ended_does_not_see_the_close(until: Until) -> None:
    """Defect 8.2 of the imitation: 40 messages that it sends itself end it, although all of them arrive."""
    server = for_peer(LegacyPeer, peer_profile=LEGACY)
    got: list[bytes] = []
    server.on_message(lambda context: got.append(context.payload))
    async with server, legacy_client(LegacyPeer, "127.0.0.1", port_of(server)) as peer:
        for number in range(40):
            peer.send(Packet(0, number + 1, b"x"))
        await until(lambda: len(got) == 40)
        await server.close_all(graceful=False)
        await until(lambda: peer.gone)
        assert (False, False) == (peer.bus.alive, peer.saw_close)


async def test_a_failed_handshake_ends_the_listener(until: Until) -> None:
    """Defect 8.4 of the imitation: after a plain HTTP request nobody can connect. We never probe, so we never do it."""
    async with legacy_server(LegacyWebSocketPeer) as there:
        async with to_peer(LegacyWebSocketPeer, there.address, peer_profile=LEGACY) as client:
            assert b"a" == (await client.request(b"a")).payload
        host, port = there.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"" == await reader.read()
        writer.close()
        with pytest.raises(ConnectError):
            await to_peer(LegacyWebSocketPeer, there.address, peer_profile=LEGACY).connect()


@KINDS
async def test_both_ways_with_everything(kind: type[LegacyPeer], until: Until) -> None:
    """A slow and deaf legacy client and our server: requests both ways, messages, and a normal end."""
    server = for_peer(kind, peer_profile=LEGACY)
    async with server, legacy_client(kind, "127.0.0.1", port_of(server), deaf=DEAF, step=0.001) as peer:
        await until(lambda: peer.bus._subscribed and server.sessions)
        (session,) = server.sessions.values()
        answers = await asyncio.gather(*(session.request(b"%d" % number, biz_type=7) for number in range(30)))
        assert [(b"%d" % number, 0) for number in range(30)] == [(one.payload, one.biz_type) for one in answers]
        for number in range(1, 11):
            peer.send(Packet(1, number, b"ask"))
            await until(lambda number=number: len(peer.answers) == number)
        peer.disconnect()
        await session.wait_closed()
        assert CloseReason.NORMAL is session.close_reason


@KINDS
async def test_closing_waits_for_what_waits(kind: type[LegacyPeer]) -> None:
    """A client that closes right after sending has everything heard by the peer, and ends well."""
    async with legacy_server(kind, deaf=DEAF) as there:
        client = to_peer(kind, there.address, peer_profile=LEGACY)
        await client.connect()
        for number in range(5):
            client.send_nowait(b"%d" % number)
        session = client.session
        await client.close()
        assert [b"%d" % number for number in range(5)] == [packet.payload for packet in there.peers[0].heard]
        assert CloseReason.NORMAL is session.close_reason


# What waits for its turn


async def test_requests_that_wait_end_like_others(until: Until) -> None:
    """Beyond `max_unanswered` they keep their timeouts, can be cancelled, are bounded, and fail at a close."""
    config = SessionConfig(max_unanswered=2, max_pending_requests=4)
    server = TransportServer(tcp="127.0.0.1:0")
    held: list[object] = []
    server.on_request(held.append)
    async with server, TransportClient(server.uris[0], session=config) as client:
        asked = [asyncio.ensure_future(client.request(b"%d" % number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TransportTimeoutError):
            await client.request(b"late", timeout=0.01)
        assert 1 == client.stats().request_timeouts
        with pytest.raises(ConfigurationError):
            await client.request(b"odd", timeout=-1)
        waiting = [asyncio.ensure_future(client.request(b"w%d" % number)) for number in range(2)]
        await asyncio.sleep(0)
        assert 4 == client.session.pending_requests
        with pytest.raises(ResourceError):
            await client.request(b"more")
        waiting[0].cancel()
        asked[0].cancel()
        await asyncio.wait([waiting[0], asked[0]])
        await until(lambda: len(held) == 3)
        held[2].respond(b"answer")  # of waiting[1], whose turn came
        assert b"answer" == (await waiting[1]).payload
        last = [asyncio.ensure_future(client.request(b"last%d" % number)) for number in range(2)]
        await asyncio.sleep(0)
        await client.close()
        results = await asyncio.gather(asked[1], *last, return_exceptions=True)
        assert [SessionClosedError] * 3 == [type(result) for result in results]
        assert [True, True, False] == [bool(result.written) for result in results]


async def test_what_a_peer_must_not_see_does_not_leave(until: Until) -> None:
    """FRAGMENTED is refused, compression is left out, and a broadcast that does not fit leaves the session out."""
    async with legacy_server() as there, to_peer(LegacyPeer, there.address, peer_profile=LEGACY) as client:
        with pytest.raises(LocalProtocolError, match="flags 0x0001"):
            await client.send(b"x", flags=Flag.FRAGMENTED)
        await client.send(bytes(500), compression=2, flags=Flag.HAS_ROUTE_TAG)
        await until(lambda: there.peers[0].heard)
        assert [(0, bytes(500))] == [(packet.compression, packet.payload) for packet in there.peers[0].heard]

    server = for_peer(LegacyPeer, peer_profile=LEGACY)
    async with server, legacy_client(LegacyPeer, "127.0.0.1", port_of(server)) as peer:
        await until(lambda: server.sessions)
        assert 1 == server.broadcast(b"small")
        assert 0 == server.broadcast(bytes(8177))
        assert 0 == server.broadcast(bytes(500), compression=2)
        assert 0 == server.broadcast(b"x", flags=Flag.FRAGMENTED)
        assert 3 == server.stats().dropped_outbound
        await until(lambda: peer.heard)


# Recordings of the Rust client and server (specification 10)


SAID = bytes.fromhex("0100000000000001000000000002 0000 6869")
ASKED = bytes.fromhex("0100010000000001 0000 00000004 0000 77686174")
REPLIED = bytes.fromhex("0100020000000005 0000 0000000d 0000") + b"from a client"


@KINDS
@pytest.mark.parametrize("profile", [RUST, LEGACY])
async def test_the_recorded_client(kind: type[LegacyPeer], profile: str, until: Until) -> None:
    """The bytes of connect, send, request, reply and disconnect of the Rust client do what they say."""
    server = for_peer(kind, peer_profile=profile)
    got: list[tuple[int, bytes]] = []
    server.on_message(lambda context: got.append((context.message_id, context.payload)))
    async with server, legacy_client(kind, "127.0.0.1", port_of(server), deaf=0.0) as peer:
        await until(lambda: server.sessions)
        (session,) = server.sessions.values()
        peer._handle = lambda packet: got.append((packet.message_id, encode(packet))) if packet else None
        peer.bus._handle = peer._handle
        peer.transport.write(peer.wire(SAID))
        peer.transport.write(peer.wire(ASKED))
        await until(lambda: len(got) == 2)
        assert [(1, b"hi"), (1, bytes.fromhex("0100020000000001 0000 00000004 0000 77686174"))] == got
        asking = asyncio.ensure_future(session.request(b"who?", message_id=5, biz_type=9))
        await until(lambda: len(got) == 3)
        peer.transport.write(peer.wire(REPLIED))
        answer = await asking
        assert (b"from a client", 0) == (answer.payload, answer.biz_type)
        peer.disconnect()
        await session.wait_closed()
        assert CloseReason.NORMAL is session.close_reason


async def test_a_payload_that_says_it_is_compressed_and_is_not(until: Until) -> None:
    """Vector V8, of a default-built Rust peer, is handed over as it came, and counted."""
    mislabelled = bytes.fromhex("0102000000000002000000000017 0000") + b"hello hello hello hello"
    for kind in (LegacyPeer, LegacyWebSocketPeer):
        server = for_peer(kind, peer_profile=RUST)
        got: list[bytes] = []
        server.on_message(lambda context, got=got: got.append(context.payload))
        async with server, legacy_client(kind, "127.0.0.1", port_of(server)) as peer:
            await until(lambda server=server: server.sessions)
            peer.transport.write(peer.wire(mislabelled))
            await until(lambda got=got: got)
            assert ([b"hello hello hello hello"], 1) == (got, server.stats().bad_compression)


async def test_what_is_no_packet_is_a_message_on_websocket(until: Until) -> None:
    """Towards Rust peers text and short or unparsable messages are one-way messages with id 0, as they take them."""
    server = for_peer(LegacyWebSocketPeer, peer_profile=RUST)
    got: list[tuple[int, bytes]] = []
    server.on_message(lambda context: got.append((context.message_id, context.payload)))
    async with server, legacy_client(LegacyWebSocketPeer, "127.0.0.1", port_of(server)) as peer:
        await until(lambda: server.sessions)
        for opcode, payload in ((1, b"text"), (2, b"short"), (2, b"\x02" + bytes(20))):
            peer.transport.write(peer.frame(opcode, payload))
        await until(lambda: len(got) == 3)
        assert [(0, b"text"), (0, b"short"), (0, b"\x02" + bytes(20))] == got


# QUIC


async def test_legacy_peers_over_quic(until: Until) -> None:
    """With the profile a client uses a stream for each packet, and a server finds out; requests go both ways."""
    got: list[bytes] = []
    server = TransportServer(quic=QuicServerConfig(bind_address="127.0.0.1:0", mapping="uni"))
    server.on_request(lambda context: context.payload)
    server.on_message(lambda context: got.append(context.payload))
    async with server:
        target = QuicClientConfig.insecure(server.uris[0]).replace(peer_profile=LEGACY)
        async with TransportClient(target) as client:
            client.on_request(lambda context: context.payload)
            for number in range(5):
                await client.send(b"%d" % number)
            answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(20)))
            assert [b"%d" % number for number in range(20)] == [answer.payload for answer in answers]
            assert [b"%d" % number for number in range(5)] == got
            (session,) = server.sessions.values()
            assert b"you?" == (await session.request(b"you?")).payload
            with pytest.raises(LocalProtocolError):
                await client.send(bytes(MIB))
