"""QUIC connections of sessions, over UDP on this machine (cases 14 to 17)."""

from __future__ import annotations

import asyncio
import random
import select
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from quic_peer import RawQuicPeer
from udp_proxy import udp_proxy

from msgtrans import (
    Closed,
    CloseReason,
    CodecOptions,
    ConfigurationError,
    ConnectError,
    Context,
    MessageReceived,
    Packet,
    QuicClientConfig,
    QuicServerConfig,
    ReconnectingClient,
    RemoteProtocolError,
    RetryConfig,
    Session,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportConnectionError,
    TransportServer,
    TransportTimeoutError,
    encode,
)
from msgtrans.adapters.quic.mapping import HELLO
from msgtrans.config import NO_RETRY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .conftest import Until

ANY = "127.0.0.1:0"
both = pytest.mark.parametrize("mapping", ["stream", "uni"])


def quic_server(session: SessionConfig | None = None, **options: object) -> TransportServer:
    """One that echoes requests."""
    server = TransportServer(quic=QuicServerConfig(bind_address=ANY, **options), session=session)

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    return server


@pytest.fixture
async def serving() -> AsyncIterator[TransportServer]:
    async with quic_server() as server:
        yield server


def client_of(
    server: TransportServer | int, session: SessionConfig | None = None, **options: object
) -> TransportClient:
    address = f"127.0.0.1:{server}" if isinstance(server, int) else str(server.quic_address)
    config = QuicClientConfig.insecure(address).replace(retry_config=NO_RETRY, **options)
    return TransportClient(config, session=session)


async def only_session(server: TransportServer, until: Until) -> Session:
    await until(lambda: server.sessions)
    [session] = server.sessions.values()
    return session


async def end_of(session: Session) -> tuple[CloseReason | None, object]:
    await asyncio.wait_for(session.wait_closed(), 30)
    return session.close_reason, session.close_error


# Both mappings


@both
async def test_requests_both_ways(serving: TransportServer, mapping: str) -> None:
    """Clients ask and are asked, in both mappings; closing is a normal end for both (case 17)."""
    async with client_of(serving, mapping=mapping) as client:
        client.on_request(lambda context: b"client: " + context.payload)
        answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(500)))
        assert [b"%d" % number for number in range(500)] == [answer.payload for answer in answers]
        [session] = serving.sessions.values()
        assert (await session.request(b"asked")).payload == b"client: asked"
        large = bytes(range(256)) * 8192
        assert (await client.request(large)).payload == large
        assert ("quic", True) == (session.info().protocol, session.info().secure)
        assert client.session.local_address == session.peer_address
        assert session.peer_certificate is None
    assert (CloseReason.NORMAL, None) == await end_of(session)
    assert (CloseReason.NORMAL, None) == await end_of(client.session)


@both
async def test_15_more_packets_than_streams_at_once(serving: TransportServer, mapping: str, until: Until) -> None:
    """300 and many more packets sent at once, each way, arrive in order, whatever the peer grants (case 15)."""
    seen: dict[str, list[bytes]] = {"server": [], "client": []}
    serving.on_message(lambda context: seen["server"].append(context.payload))
    async with client_of(serving, mapping=mapping) as client:
        client.on_message(lambda context: seen["client"].append(context.payload))
        await client.request(b"")
        session = await only_session(serving, until)
        for number in range(1000):
            client.send_nowait(b"%d" % number)
            session.send_nowait(b"%d" % number)
        await until(lambda: min(map(len, seen.values())) == 1000)
    assert [b"%d" % number for number in range(1000)] == seen["server"] == seen["client"]


async def test_17_both_mappings_at_one_port(serving: TransportServer, until: Until) -> None:
    """A server tells clients of both kinds apart, at the same time (case 17)."""
    async with client_of(serving, mapping="stream") as modern, client_of(serving, mapping="uni") as legacy:
        answers = await asyncio.gather(*(client.request(b"hi") for client in (modern, legacy, modern, legacy)))
        assert [b"hi"] * 4 == [answer.payload for answer in answers]
        assert {"stream", "uni"} == {session._link.mapping for session in serving.sessions.values()}


@pytest.mark.parametrize("other", ["stream", "uni"])
async def test_a_listener_for_one_mapping(other: str) -> None:
    """With a mapping of its own a server does not find out: what comes in the other is not read."""
    async with quic_server(mapping=other) as server:
        async with client_of(server, mapping=other) as client:
            assert (await client.request(b"understood")).payload == b"understood"
        wrong = "uni" if other == "stream" else "stream"
        async with client_of(server, mapping=wrong, session=SessionConfig(graceful_timeout=0.2)) as client:
            with pytest.raises(TransportTimeoutError):
                await client.request(b"not understood", timeout=0.1)


@pytest.mark.parametrize("there", ["auto", "stream", "uni"])
async def test_a_client_finds_out(there: str) -> None:
    """With "probe" the first request goes both ways, is answered once, and what follows travels as the answer did."""
    seen: list[bytes] = []
    async with quic_server(mapping=there) as server:
        server.on_message(lambda context: seen.append(context.payload))
        async with client_of(server, mapping="probe") as client:
            asked = [asyncio.create_task(client.request(b"%d" % number)) for number in range(5)]
            await asyncio.sleep(0)
            await client.send(b"behind")
            assert [b"%d" % number for number in range(5)] == [(await task).payload for task in asked]
            await client.request(b"last")
            assert client.session._link.mapping in {"stream", "uni"}
            assert there in {"auto", client.session._link.mapping}
        assert [b"behind"] == seen
        assert 0 == client.stats().stray_responses


async def test_a_client_that_cannot_find_out(serving: TransportServer, until: Until) -> None:
    """A first packet that is no request is not sent twice; the mapping is "stream" then."""
    seen: list[bytes] = []
    serving.on_message(lambda context: seen.append(context.payload))
    async with client_of(serving, mapping="probe") as client:
        await client.send(b"a message first")
        assert (await client.request(b"then a request")).payload == b"then a request"
        assert "stream" == client.session._link.mapping
    assert [b"a message first"] == seen


async def test_16_a_server_waits_for_the_stream_of_the_client(serving: TransportServer, until: Until) -> None:
    """What a server sends before it knows how waits, in order, and is bounded by the session's limits (case 16)."""
    async with RawQuicPeer.connected(*serving.quic_address, hello=False) as peer:
        session = await only_session(serving, until)
        session.send_nowait(b"first")
        session.send_nowait(b"second")
        await until(session._link.buffered)
        assert (None, True) == (session._link.mapping, session.stats().outbound_bytes > 0)
        peer.send(encode(Packet(1, 7, b"now")))
        expected = [Packet(0, 20000, b"first"), Packet(0, 20001, b"second"), Packet(2, 7, b"now")]
        data = b"".join(map(encode, expected))
        assert data == await peer.read(len(data))


async def test_16_a_server_sends_first_to_a_client_of_ours(serving: TransportServer) -> None:
    """A client of ours tells its mapping with the handshake, so that servers need not wait for its first packet."""
    serving.on_connect(lambda session: session.send_nowait(b"welcome"))
    async with client_of(serving) as client:
        events = client.events()
        async with asyncio.timeout(30):
            async for event in events:
                if isinstance(event, MessageReceived):
                    assert b"welcome" == event.context.payload
                    break
        events.close()
        assert 0 == serving.stats().packets_received


@both
async def test_a_peer_that_only_listens(mapping: str) -> None:
    """After mapping_fallback_after what waits for a silent client leaves, in the mapping that is said then."""
    async with quic_server(mapping_fallback_after=0.05, mapping_fallback=mapping) as server:
        server.on_connect(lambda session: session.send_nowait(b"news"))
        async with RawQuicPeer.connected(*server.quic_address, hello=False) as peer:
            news = encode(Packet(0, 20000, b"news"))
            if mapping == "uni":
                await peer.until(lambda: peer.streams.get(3) == news and 3 in peer.ended)
            else:  # on a stream that the client has not opened, nothing can be sent
                await peer.until(lambda: peer.closed)
                assert 0 != peer.closed.error_code


# Streams


async def test_15_streams_out_of_order(serving: TransportServer, until: Until) -> None:
    """Packets on streams that end out of order are handled in the order of their ids (case 15)."""
    async with RawQuicPeer.connected(*serving.quic_address, hello=False) as peer:
        requests = {2 + 4 * number: encode(Packet(1, number, b"%d" % number)) for number in range(20)}
        order = sorted(requests, key=lambda stream_id: stream_id * 7 % 80)
        for stream_id in sorted(order):  # an id that was skipped could not be used any more
            peer.quic.send_stream_data(stream_id, requests[stream_id][:10])
        for stream_id in order:
            peer.send_stream(stream_id, requests[stream_id][10:], end=True)
        await peer.until(lambda: len(peer.ended) == 20)
        expected = [encode(Packet(2, number, b"%d" % number)) for number in range(20)]
        assert expected == [bytes(peer.streams[3 + 4 * number]) for number in range(20)]


@pytest.mark.parametrize("unfinished", [b"", encode(Packet(1, 1, b"request"))[:-1]])
async def test_15_an_unfinished_stream_times_out(until: Until, unfinished: bytes) -> None:
    """A stream that begins and does not end closes its session after packet_timeout, and no other (case 15)."""
    async with quic_server(session=SessionConfig(packet_timeout=0.1)) as server:
        async with (
            client_of(server) as other,
            RawQuicPeer.connected(*server.quic_address, hello=False) as peer,
        ):
            await other.request(b"")
            if unfinished:
                peer.quic.send_stream_data(2, unfinished)
            peer.send_stream(6, encode(Packet(1, 2, b"behind")), end=True)  # without the first: a gap
            assert await peer.read_to_end() == b""
            assert (4, "receiving the rest of a packet") == (peer.closed.error_code, peer.closed.reason_phrase[:30])
            assert (await other.request(b"undisturbed")).payload == b"undisturbed"
        assert 1 == server.stats().packet_timeouts


async def test_a_stream_that_is_given_up(serving: TransportServer, until: Until) -> None:
    """A stream that its sender resets has lost a packet: the session ends, with words."""
    for stream_id, hello in ((0, True), (2, False)):
        async with RawQuicPeer.connected(*serving.quic_address, hello=hello) as peer:
            session = await only_session(serving, until)
            peer.send_stream(stream_id, b"\0\0", end=False)
            await until(lambda session=session: session.bytes_received >= 2)
            peer.quic.reset_stream(stream_id, 9)
            peer.transmit()
            reason, error = await end_of(session)
            assert (CloseReason.ERROR, True) == (reason, isinstance(error, RemoteProtocolError))
            await peer.until(lambda peer=peer: peer.closed)
            assert (2, True) == (peer.closed.error_code, "gave up" in peer.closed.reason_phrase)


async def test_a_stream_that_ends_is_half_a_close(serving: TransportServer, until: Until) -> None:
    """A peer that ends its stream gets the answers that are on their way, and then a normal end."""

    @serving.on_request
    async def slowly(context: Context) -> bytes:
        await asyncio.sleep(0.02)
        return context.payload

    async with RawQuicPeer.connected(*serving.quic_address) as peer:
        session = await only_session(serving, until)
        peer.send(encode(Packet(1, 1, b"last words")))
        peer.vanish()
        assert encode(Packet(2, 1, b"last words")) == await peer.read_to_end()
        assert (0, "") == (peer.closed.error_code, peer.closed.reason_phrase)
        assert (CloseReason.NORMAL, None) == await end_of(session)


async def test_a_peer_that_stops_reading_the_stream(serving: TransportServer, until: Until) -> None:
    """STOP_SENDING on the only stream is the beginning of an end in good order, as of Rust peers."""
    async with RawQuicPeer.connected(*serving.quic_address) as peer:
        session = await only_session(serving, until)
        peer.send(encode(Packet(1, 1, b"read")))
        await peer.read(20)
        peer.quic.stop_stream(0, 0)
        peer.transmit()
        assert (CloseReason.NORMAL, None) == await end_of(session)
        await peer.until(lambda: peer.closed)


@both
async def test_15_16_frames_beyond_the_limit(until: Until, mapping: str) -> None:
    """A frame that is longer than any packet may be ends the session before it is kept (cases 15, 16)."""
    codec = CodecOptions(max_payload_size=1000, max_ext_header_size=0)
    async with (
        quic_server(session=SessionConfig(codec=codec)) as server,
        RawQuicPeer.connected(*server.quic_address, hello=mapping == "stream") as peer,
    ):
        session = await only_session(server, until)
        if mapping == "stream":
            peer.send_wire((1017).to_bytes(4))
        else:
            peer.send_stream(2, bytes(1017))
        assert await peer.read_to_end() == b""
        reason, error = await end_of(session)
        assert (CloseReason.ERROR, 2) == (reason, peer.closed.error_code)
        assert "1017 bytes is longer than 1016" in str(error)
        assert 0 == server.kept


# Ends


@pytest.mark.parametrize(
    ("code", "frame_type", "reason", "kind", "words"),
    [
        (0, None, CloseReason.NORMAL, type(None), "None"),
        (0, 0, CloseReason.NORMAL, type(None), "None"),
        (1, None, CloseReason.ERROR, SessionClosedError, "dropped the connection: why"),
        (2, None, CloseReason.ERROR, SessionClosedError, "broke the protocol: why"),
        (77, None, CloseReason.ERROR, SessionClosedError, "with code 77: why"),
        (10, 8, CloseReason.ERROR, TransportConnectionError, "QUIC error 0xa: why"),
    ],
)
async def test_17_what_the_codes_of_a_close_mean(
    serving: TransportServer,
    until: Until,
    code: int,
    frame_type: int | None,
    reason: CloseReason,
    kind: type[object],
    words: str,
) -> None:
    """Code 0 is a normal end, every other an error with the peer's words; it is known at once (case 17)."""
    async with RawQuicPeer.connected(*serving.quic_address) as peer:
        session = await only_session(serving, until)
        peer.close(code, "why", frame_type=frame_type)
        found, error = await end_of(session)
        assert (reason, kind) == (found, type(error))
        assert words in str(error)


@both
async def test_17_closing_waits_for_what_is_under_way(mapping: str, until: Until) -> None:
    """Over a line that is slow and loses a tenth, what was sent right before closing arrives all the same (case 17)."""
    seen: list[int] = []
    chance = random.Random(4)  # noqa: S311 - the same losses each time
    async with quic_server() as server, udp_proxy(server.quic_address) as proxy:
        server.on_message(lambda context: seen.append(context.message_id))
        client = client_of(proxy.port, mapping=mapping, session=SessionConfig(graceful_timeout=20))
        async with client:
            session = await only_session(server, until)
            proxy.fate = lambda _data, _to_server: (0.005,) if chance.random() > 0.1 else ()
            for _ in range(50):
                await client.send(bytes(1000))
        assert list(range(1, 51)) == seen
        proxy.fate = lambda _data, _to_server: (0,)
        assert CloseReason.NORMAL is client.session.close_reason
        session.abort()


async def test_17_a_peer_that_is_gone_without_a_word(until: Until) -> None:
    """After max_idle_timeout without a sign of life the session ends with TIMEOUT, on both sides (case 17)."""
    options = {"max_idle_timeout": 0.3, "keep_alive_interval": None}
    async with quic_server(**options) as server, udp_proxy(server.quic_address) as proxy:
        async with RawQuicPeer.connected(*server.quic_address) as peer:
            session = await only_session(server, until)
            peer.disappear()
            reason, error = await end_of(session)
            assert (CloseReason.TIMEOUT, TransportTimeoutError) == (reason, type(error))
        async with client_of(proxy.port, **options) as client:
            asked = asyncio.create_task(client.request(b"", timeout=60))
            await client.request(b"")
            proxy.fate = lambda _data, _to_server: ()
            reason, error = await end_of(client.session)
            assert (CloseReason.TIMEOUT, TransportTimeoutError) == (reason, type(error))
            await asked


async def test_silence_is_kept_alive(until: Until) -> None:
    """With keep_alive_interval a connection outlives silence that is longer than max_idle_timeout."""
    async with (
        quic_server(max_idle_timeout=0.4, keep_alive_interval=None) as server,
        udp_proxy(server.quic_address) as proxy,
        client_of(proxy.port, max_idle_timeout=0.4, keep_alive_interval=0.1) as client,
    ):
        await client.request(b"")
        before = list(proxy.passed)
        await until(lambda: min(now - then for now, then in zip(proxy.passed, before, strict=True)) >= 12)
        assert (await client.request(b"alive")).payload == b"alive"


async def test_an_abort_tells_the_peer(serving: TransportServer, until: Until) -> None:
    """A session that is dropped ends with FORCED here, and with an error that says so there."""
    async with client_of(serving) as client:
        session = await only_session(serving, until)
        client.session.abort()
        assert (CloseReason.FORCED, None) == await end_of(client.session)
        reason, error = await end_of(session)
        assert (CloseReason.ERROR, "the peer dropped the connection: dropped") == (reason, str(error))


@pytest.mark.parametrize("method", ["datagrams_to_send", "receive_many_datagrams", "handle_timer"])
async def test_a_library_that_cannot_go_on(
    serving: TransportServer, until: Until, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a peer makes the library raise ends that session with an error, and disturbs neither loop nor others.

    As version 2.1.0 does when many streams with large packets lose datagrams: what was in one then is lost for good.
    """
    seen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    silent = client_of(serving, max_idle_timeout=0.3, keep_alive_interval=None)  # its timer ends it, if nothing does
    async with client_of(serving) as other, silent as client:
        await other.request(b"")
        await client.request(b"")
        broken = client.session._link._quic

        def fail(*_: object) -> None:
            monkeypatch.undo()
            raise ValueError("reserved stream is missing")

        monkeypatch.setattr(broken, method, fail)
        with suppress(SessionClosedError):
            await client.request(b"")
        reason, error = await end_of(client.session)
        assert (CloseReason.ERROR, True) == (reason, "reserved stream is missing" in str(error))
        await until(lambda: len(serving.sessions) == 1)
        assert (await other.request(b"undisturbed")).payload == b"undisturbed"
    assert [] == seen


# Too much


@pytest.mark.parametrize("side", ["server", "client"])
@both
async def test_a_sender_waits_for_who_reads_slowly(mapping: str, side: str, until: Until) -> None:
    """While a session does not read, its peer may send what the windows grant and then waits; nothing is lost."""
    narrow = {"session": SessionConfig(max_concurrent_handlers=1)}
    count, size = 400, 64 * 1024  # 25 MiB, beside windows of 1 MiB
    async with quic_server(**(narrow if side == "server" else {})) as server:
        client = client_of(server, mapping=mapping, **(narrow if side == "client" else {}))
        go_on = asyncio.Event()
        seen: list[int] = []

        async def slowly(context: Context) -> None:
            await go_on.wait()
            seen.append(context.payload[0])

        for end in (server, client):
            end.on_message(slowly)
        await client.connect()
        await client.request(b"")
        ours = await only_session(server, until)
        slow, sender = (ours, client.session) if side == "server" else (client.session, ours)
        sent, stands = 0, 0

        async def send() -> None:
            nonlocal sent
            for number in range(count):
                await sender.send(bytes((number % 256,)) * size)
                sent += 1

        sending = asyncio.create_task(send())

        def stuck() -> bool:
            nonlocal stands
            before, now = stands, sent
            stands = now
            return 0 < now == before and sender.stats().outbound_bytes > 0

        await until(stuck)
        assert sent < count
        assert slow.kept < 4 << 20
        assert slow.is_open
        go_on.set()
        await sending
        await until(lambda: len(seen) == count)
        assert [number % 256 for number in range(count)] == seen
        assert (0, 0) == (slow.kept, server.stats().overloads)
        await client.close()


@both
async def test_many_large_requests_at_once(mapping: str) -> None:
    """Sixty-four requests of 1 MiB at the same time, with the defaults of both sides, get their answers."""
    async with quic_server() as server, client_of(server, mapping=mapping) as client:
        server.on_request(lambda context: context.payload)
        payloads = [bytes((number,)) * (1 << 20) for number in range(64)]
        answers = await asyncio.gather(*(client.request(payload, timeout=60) for payload in payloads))
        assert payloads == [answer.payload for answer in answers]


async def test_the_end_of_a_peer_is_noticed_while_nothing_is_read(until: Until) -> None:
    """A session that does not read hears of its end all the same, after all that came before it."""
    narrow = SessionConfig(max_concurrent_handlers=1)
    go_on = asyncio.Event()
    seen: list[bytes] = []
    async with quic_server(session=narrow) as server:

        async def slowly(context: Context) -> None:
            await go_on.wait()
            seen.append(context.payload)

        server.on_message(slowly)
        client = client_of(server)
        await client.connect()
        for number in range(50):
            await client.send(bytes((number,)) * 1000)
        session = await only_session(server, until)
        await until(lambda: session.stats().reading_paused)
        client.session.abort()
        await until(lambda: not server.sessions)
        go_on.set()
        await client.close()


async def test_what_waits_for_a_slow_reader_is_counted(until: Until) -> None:
    """What was taken before a session stopped reading counts as kept, and comes when it reads again."""
    seen: list[int] = []
    go_on = asyncio.Event()
    async with quic_server(session=SessionConfig(max_concurrent_handlers=1)) as server:

        @server.on_message
        async def slowly(context: Context) -> None:
            await go_on.wait()
            seen.append(context.message_id)

        async with client_of(server) as client:
            for _ in range(800):
                await client.send(bytes(1000))
            session = await only_session(server, until)
            await until(lambda: session.kept > 0)
            assert server.kept >= session.kept > 0
            go_on.set()
            await until(lambda: len(seen) == 800)
            assert (0, 0) == (session.kept, server.kept)
    assert list(range(1, 801)) == seen


# Lines


@both
async def test_a_client_that_moves_keeps_its_session(mapping: str, until: Until) -> None:
    """A client whose address changes goes on in the same session; its peer_address is where it connected from."""
    async with (
        quic_server() as server,
        udp_proxy(server.quic_address) as proxy,
        client_of(proxy.port, mapping=mapping) as client,
    ):
        client.on_request(lambda context: context.payload)
        assert (await client.request(b"here")).payload == b"here"
        session = await only_session(server, until)
        address = session.peer_address
        for _ in range(3):
            proxy.move()
            assert (await client.request(b"there")).payload == b"there"
            assert (await session.request(b"and back")).payload == b"and back"
        assert [session] == list(server.sessions.values())
        assert address == session.peer_address


@both
async def test_a_bad_line(mapping: str) -> None:
    """Datagrams that are lost, doubled and overtaken cost time, and no packet, nor the order.

    With a stream for each, large packets go one at a time.
    """
    chance = random.Random(5)  # noqa: S311 - the same each time
    seen: list[bytes] = []

    def fate(_data: bytes, _to_server: bool) -> tuple[float, ...]:
        return tuple(0.01 * chance.random() for _ in range(chance.choice((0, 1, 1, 1, 1, 1, 1, 2))))

    async with quic_server() as server, udp_proxy(server.quic_address) as proxy:
        server.on_message(lambda context: seen.append(context.payload))
        async with client_of(proxy.port, mapping=mapping) as client:
            proxy.fate = fate
            for number in range(100):
                await client.send(b"%d" % number)
            answers = await asyncio.gather(*(client.request(bytes(2000) + b"%d" % n, timeout=60) for n in range(50)))
            assert [bytes(2000) + b"%d" % number for number in range(50)] == [answer.payload for answer in answers]
            assert [b"%d" % number for number in range(100)] == seen
            proxy.fate = lambda _data, _to_server: (0,)


# Connecting


async def test_nobody_listens() -> None:
    """A port without a listener is told at once, and another attempt may help."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match="nothing listens there; check that the server runs") as caught:
        await client_of(port).connect()
    assert caught.value.retriable


async def test_nobody_answers() -> None:
    """A port that says nothing is given up after connect_timeout, and a cancelled attempt leaves nothing behind."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(TransportTimeoutError, match=f"connecting to quic://127.0.0.1:{port} took longer than 0.1"):
            await client_of(port, connect_timeout=0.1).connect()
        with pytest.raises(TransportTimeoutError, match="connecting"):
            await client_of(port, connect_timeout=None, max_idle_timeout=0.2, keep_alive_interval=None).connect()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client_of(port).connect(), 0.05)


async def test_names_that_are_none() -> None:
    """They are told as for other transports."""
    for name in ("no-such-name.invalid", "x" * 64):
        config = QuicClientConfig(target_address=f"{name}:1", retry_config=NO_RETRY)
        with pytest.raises(ConnectError, match="does not resolve"):
            await TransportClient(config).connect()


async def test_the_address_to_connect_from(serving: TransportServer) -> None:
    """local_bind_address is where the server sees the client; one that this machine lacks is told."""
    async with client_of(serving, local_bind_address="127.0.0.3:0") as client:
        await client.request(b"")
        [session] = serving.sessions.values()
        assert session.peer_address is not None
        assert "127.0.0.3" == session.peer_address.host == client.session.local_address.host
    with pytest.raises(ConnectError, match=r"from 203\.0\.113\.1:0"):
        await client_of(serving, local_bind_address="203.0.113.1:0").connect()


async def test_a_port_that_is_taken(serving: TransportServer) -> None:
    """Two listeners cannot have one port, and are told so."""
    with pytest.raises(ConnectError, match="the port is in use"):
        await TransportServer(quic=str(serving.quic_address)).start()


async def test_a_reconnecting_client(until: Until) -> None:
    """It comes back when its server does, on the same port."""
    server = quic_server()
    async with server:
        address = str(server.quic_address)
        async with ReconnectingClient([QuicClientConfig.insecure(address)]) as client:
            assert (await client.request(b"one")).payload == b"one"
            await server.stop()
            again = TransportServer(quic=address)
            again.on_request(lambda context: context.payload + b", again")
            async with again:
                assert (await client.request(b"two", timeout=10)).payload == b"two, again"


async def test_a_reconnecting_client_outlasts_a_full_server(until: Until) -> None:
    """It is turned away for now, not for good: when another client goes, it is served."""
    async with quic_server(max_connections=1) as server, client_of(server) as first:
        await first.request(b"")
        address = QuicClientConfig.insecure(str(server.quic_address))
        retry = RetryConfig(max_retries=None, retry_interval=0.05)
        async with client_of(server) as turned_away:
            await asyncio.wait_for(turned_away.session.wait_closed(), 30)
            assert turned_away.session.close_error.retriable
        client = ReconnectingClient([address], retry=retry)
        entering = asyncio.create_task(client.__aenter__())
        await until(lambda: server.stats().connections_refused >= 3)
        await first.close()
        await asyncio.wait_for(entering, 30)
        try:
            answer = await client.request(b"there is room", timeout=10, idempotent=True)
            assert b"there is room" == answer.payload
        finally:
            await client.close()


async def test_stopping_while_handshakes_are_under_way(until: Until) -> None:
    """A server that stops turns away those who are not in yet, and those who come later find nobody."""
    async with quic_server() as server, udp_proxy(server.quic_address) as proxy:
        port = server.quic_address.port
        proxy.fate = lambda _data, to_server: (0,) if to_server else ()
        client = client_of(proxy.port)
        connecting = asyncio.create_task(client.connect())
        [(_, listener)] = server._listeners
        await until(lambda: listener._terms.unfinished)
        proxy.fate = lambda _data, _to_server: (0,)
        await server.stop()
        try:  # the client may be through with its half of the handshake already
            await connecting
            _, error = await end_of(client.session)
        except ConnectError as refused:
            error = refused
        assert "the peer does not admit us: the server is stopping" in str(error)
        with pytest.raises(ConnectError, match="nothing listens"):
            await client_of(port).connect()


async def test_a_server_that_turns_away_as_it_answers(until: Until) -> None:
    """Its half of the handshake and its close may be read at once: nobody is connected, and the reason is its own.

    So does a Rust server 1.0.4 to 1.0.10 whose next look at whether it should stop falls into the handshake.
    """
    seen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    async with quic_server() as server, udp_proxy(server.quic_address) as proxy:
        held: list[bytes] = []
        proxy.fate = lambda data, to_server: (0,) if to_server else held.append(data) or ()
        client = client_of(proxy.port)
        connecting = asyncio.create_task(client.connect())
        [(_, listener)] = server._listeners
        await until(lambda: listener._terms.unfinished)
        await server.stop()
        await until(lambda: not select.select([proxy.there[-1]], [], [], 0)[0])
        for data in held:
            proxy._send(data, to_server=False)
        with pytest.raises(ConnectError, match="does not admit us: the server is stopping"):
            await asyncio.wait_for(connecting, 30)
    assert [] == seen


async def test_a_listener_at_rest_turns_newcomers_away(until: Until) -> None:
    """They are told at once; handshakes under way become sessions, and open ones end in order when the server stops."""
    release = asyncio.Event()
    async with quic_server() as server, udp_proxy(server.quic_address) as proxy, client_of(server) as client:

        @server.on_request
        async def hold(context: Context) -> bytes:
            if context.payload == b"hold":
                await release.wait()
            return context.payload

        await client.request(b"")
        proxy.fate = lambda _data, to_server: (0,) if to_server else (0.2,)
        coming = client_of(proxy.port)
        connecting = asyncio.create_task(coming.connect())
        [(_, listener)] = server._listeners
        await until(lambda: listener._terms.unfinished)
        resting = asyncio.create_task(server.stop_listening())
        await until(lambda: not listener._sockets[0]._accepting)
        for _ in range(3):
            with pytest.raises(ConnectError, match="does not admit us: the server is stopping") as caught:
                await client_of(server, connect_timeout=5.0).connect()
            assert caught.value.retriable
        await asyncio.gather(connecting, resting)
        assert 3 == server.stats().connections_refused
        asked = [asyncio.create_task(one.request(b"hold")) for one in (client, coming)]
        assert (await coming.request(b"served")).payload == b"served"
        await until(lambda: sum(session.stats().running_handlers for session in server.sessions.values()) == 2)
        stopping = asyncio.create_task(server.stop())
        await until(lambda: not any(session.is_open for session in server.sessions.values()))
        release.set()
        assert [b"hold"] * 2 == [(await request).payload for request in asked]
        await stopping
        for one in (client, coming):
            assert (CloseReason.NORMAL, None) == await end_of(one.session)


async def test_quic_is_told_of_as_other_transports_are() -> None:
    """Information and statistics of sessions, those of the server, and what it is monitored by: as for TCP."""
    server = TransportServer(quic=ANY, tcp=ANY)
    server.on_request(lambda context: context.payload)
    async with server, client_of(server) as client, TransportClient(f"tcp://{server.tcp_address}") as other:
        for one in (client, other):
            await one.request(bytes(1000))
        quic, tcp = sorted(server.sessions.values(), key=lambda session: session.info().protocol)
        assert ("quic", "tcp") == (quic.info().protocol, tcp.info().protocol)
        assert (server.quic_address, client.session.local_address) == (quic.local_address, quic.peer_address)
        assert tcp.stats().packets_received == quic.stats().packets_received == 1
        frame = len(HELLO) + 3  # of a request and its answer, each behind its length
        assert (tcp.stats().bytes_sent + frame, tcp.stats().bytes_received + frame) == (
            quic.stats().bytes_sent,
            quic.stats().bytes_received,
        )
        assert quic.stats().bytes_sent + tcp.stats().bytes_sent == server.stats().bytes_sent
        assert (2, 2, 2) == (
            server.stats().connections_open,
            server.stats().packets_received,
            server.stats().packets_sent,
        )


# Options


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: QuicServerConfig(cert_pem="x"), "key_pem"),
        (lambda: QuicServerConfig(key_pem="x"), "cert_pem"),
        (lambda: QuicServerConfig(mapping="both"), "mapping"),
        (lambda: QuicServerConfig(mapping="uni", mapping_fallback_after=1.0), "mapping_fallback_after"),
        (lambda: QuicServerConfig(keep_alive_interval=30.0), "keep_alive_interval"),
        (lambda: QuicServerConfig(max_unread=1000), "max_unread"),
        (lambda: QuicServerConfig(receive_window=1000), "receive_window"),
        (lambda: QuicServerConfig(alpn=("",)), "alpn"),
        (lambda: QuicServerConfig(bind_address="tcp://127.0.0.1:1"), "bind_address"),
        (lambda: QuicClientConfig(target_address="127.0.0.1:0"), "target_address"),
        (lambda: QuicClientConfig(target_address="h:1", initial_rtt=0.0), "initial_rtt"),
        (lambda: QuicClientConfig(target_address="h:1", local_bind_address="x"), "local_bind_address"),
        (lambda: TransportServer(quic=ANY, workers=2), "workers"),
        (lambda: TransportServer(quic="tcp://127.0.0.1:0"), "quic"),
    ],
)
def test_options_that_cannot_work(make: Callable[[], object], field: str) -> None:
    """They are refused where they are given, by name."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert field == caught.value.field


def test_presets() -> None:
    """What the presets of the specification set."""
    assert 5.0 == QuicClientConfig.high_performance("h:1").connect_timeout
    low = QuicClientConfig.low_latency("h:1")
    assert (0.01, 5.0, 10.0) == (low.initial_rtt, low.keep_alive_interval, low.max_idle_timeout)
    insecure = QuicClientConfig.insecure("h:1")
    assert ("quic://h:1", False, "localhost") == (
        insecure.uri,
        insecure.tls_config.verify,
        insecure.tls_config.server_name,
    )
    assert None is QuicServerConfig.insecure(ANY).tls


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is named, by server and client, with what to install."""
    for name in [name for name in sys.modules if name.startswith(("qh3", "msgtrans.adapters.quic."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qh3", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'msgtrans\[quic\]'"):
        await TransportServer(quic=ANY).start()
    with pytest.raises(ConfigurationError, match=r"pip install 'msgtrans\[quic\]'"):
        await TransportClient("quic://127.0.0.1:1").connect()


async def test_events_of_a_whole_life(serving: TransportServer) -> None:
    """A session over QUIC is told of as any other: Closed comes once, last."""
    events = serving.events()
    async with client_of(serving) as client:
        await client.request(b"")
    seen = []
    async for event in events:
        seen.append(type(event).__name__)
        if isinstance(event, Closed):
            break
    assert ["Established", "Closed"] == seen
