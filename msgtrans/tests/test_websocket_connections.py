"""WebSocket connections: the upgrade on real sockets, closing in every way, pings, and peers that mean no good."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT, WS, WSS, Carrier, frame

from msgtrans import (
    CloseReason,
    ConfigurationError,
    ConnectError,
    Context,
    Packet,
    RemoteProtocolError,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    encode,
)
from msgtrans.config import NO_RETRY, WebSocketClientConfig, WebSocketServerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import RawPeer, RawWebSocketPeer
    from conftest import Until

    from msgtrans import Session

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawWebSocketPeer]]

both = pytest.mark.parametrize("carrier", [WS, WSS], indirect=True)

ASK = encode(Packet(1, 1, b"hi"))
ANSWER = encode(Packet(2, 1, b"hi"))
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + KEY
).encode() + b"\r\n"


@pytest.fixture
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """Plain WebSocket, unless a test is parametrised."""
    name = getattr(request, "param", WS)
    return Carrier(name, request.getfixturevalue("certificates") if name == WSS else None)


def echo(context: Context) -> bytes:
    return context.payload


@asynccontextmanager
async def serving(
    session: SessionConfig | None = None, *, max_connections: int = 10_000, **options: object
) -> AsyncIterator[TransportServer]:
    """A plain echo server with these options of its listener."""
    config = WebSocketServerConfig(**{"bind_address": "127.0.0.1:0"} | options)
    server = TransportServer(ws=config, session=session, max_connections=max_connections)
    server.on_request(echo)
    async with server:
        yield server


def connecting(server: TransportServer, path: str = "/", **options: object) -> TransportClient:
    """A client of that server that tries once."""
    url = f"ws://{server.ws_address}{path}"
    return TransportClient(WebSocketClientConfig(target_url=url, **{"retry_config": NO_RETRY} | options))


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """The port of a server that says `answer` to one request, and nothing more."""
    ended = asyncio.Event()

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.write_eof()
            await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(answer_one, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.wait_for(ended.wait(), LIMIT)


async def only(server: TransportServer, until: Until) -> Session:
    """The one session of a server."""
    await until(lambda: server.sessions)
    return next(iter(server.sessions.values()))


# The upgrade


@pytest.mark.parametrize("cut", [1, 7, len(UPGRADE) - 1, len(UPGRADE), len(UPGRADE) + 1, len(UPGRADE) + 10])
async def test_early_frames_and_split_heads(carrier: Carrier, cut: int) -> None:
    """A head may come in pieces, and frames may come right behind it."""
    async with serving() as server, carrier.raw(server, opened=False) as peer:
        data = UPGRADE + frame(2, ASK)
        peer.send_wire(data[:cut])
        await peer.writer.drain()
        await asyncio.sleep(0)
        peer.send_wire(data[cut:])
        head = await asyncio.wait_for(peer.reader.readuntil(b"\r\n\r\n"), LIMIT)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert ANSWER == await peer.read(18)


async def test_the_request_is_known(carrier: Carrier, until: Until) -> None:
    """A server's session tells the path, query, headers and subprotocol of the upgrade; also when it is closed."""
    async with serving(path="/chat") as server:
        async with connecting(server, "/chat?room=1", headers={"X-Who": "me"}, subprotocols=("msgtrans.v1",)) as client:
            session = await only(server, until)
            assert client.session.http_request is None
        await session.wait_closed()
        request = session.http_request
        assert request is not None
        assert ("/chat", "room=1", "me") == (request.path, request.query, request.headers["x-who"])
        assert request.subprotocol == "msgtrans.v1"


async def test_the_uris_of_a_server_lead_to_it() -> None:
    """A listener that serves one path has it in its URIs, so that a client can be made from them."""
    async with serving(path="/packets") as server:
        assert [f"ws://{server.ws_address}/packets"] == server.uris
        async with TransportClient(server.uris[0]) as client:
            assert (await client.request(b"hi")).payload == b"hi"


async def test_a_subprotocol_that_is_not_chosen(carrier: Carrier) -> None:
    """A client works when the server chooses none of what it offers."""
    async with serving() as server, connecting(server, subprotocols=("json",)) as client:
        assert b"hi" == (await client.request(b"hi")).payload


async def test_a_refused_client_is_told_why(carrier: Carrier) -> None:
    """The error has the status and what the server says; it is counted, and others are served."""
    async with serving(path="/here") as server:
        with pytest.raises(ConnectError, match="404 Not Found; Nothing is here; WebSocket is at /here") as caught:
            await connecting(server, "/there").connect()
        assert not caught.value.retriable
        assert server.stats().upgrade_errors == 1
        async with connecting(server, "/here") as client:
            await client.request(b"")


@pytest.mark.parametrize("options", [{"max_connections": 1}, {"server": 1}], ids=["full listener", "full server"])
async def test_a_full_server_refuses(carrier: Carrier, options: dict[str, int]) -> None:
    """One connection too many is refused with 503, which is worth another attempt, and counted; then there is room."""
    listener = {"max_connections": options.get("max_connections", 1000)}
    config = WebSocketServerConfig(bind_address="127.0.0.1:0", **listener)
    async with TransportServer(ws=config, max_connections=options.get("server", 1000)) as server:
        async with connecting(server):
            with pytest.raises(ConnectError) as caught:
                await connecting(server).connect()
            assert caught.value.retriable
            assert server.stats().connections_refused == 1
        async with connecting(server):
            assert server.stats().connections_open == 1


@pytest.mark.parametrize(
    "garbage", [b"\x01\x00\x01", b"\x16\x03\x01\x02\x00", b"\x00" * 100_000, b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n"]
)
async def test_garbage_instead_of_an_upgrade(carrier: Carrier, garbage: bytes, until: Until) -> None:
    """Whatever is not an upgrade is answered with an HTTP error and closed at once, and counted."""
    async with serving() as server:
        async with carrier.raw(server, opened=False) as peer:
            peer.send_wire(garbage)
            answer = await peer.reader.read(1 << 16) if len(garbage) < 1000 else b"HTTP/1.1 400 "
            assert answer.startswith(b"HTTP/1.1 4")
            await until(lambda: server.stats().upgrade_errors == 1)
        async with connecting(server) as client:
            await client.request(b"")


async def test_an_endless_head(carrier: Carrier, until: Until) -> None:
    """A head that does not end is refused at 16 KiB."""
    async with serving() as server, carrier.raw(server, opened=False) as peer:
        peer.send_wire(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 2728 + b"z")
        assert (await peer.reader.readline()).startswith(b"HTTP/1.1 431 ")
        await until(lambda: server.stats().upgrade_errors == 1)


async def test_leaving_in_the_middle_of_a_head(carrier: Carrier, until: Until) -> None:
    """A peer that leaves while it asks is counted; one that never said anything is not."""
    async with serving() as server:
        for sent in (b"", b"GET / HT"):
            async with carrier.raw(server, opened=False) as peer:
                peer.send_wire(sent)
                await peer.writer.drain()
        await until(lambda: server.stats().upgrade_errors == 1)
        assert server.stats().connections_total == 0


async def test_silent_clients(carrier: Carrier, until: Until) -> None:
    """Clients that say nothing, or half of it, delay nobody, and are closed at the deadline, and counted."""
    async with serving(accept_timeout=0.3) as server:
        async with carrier.raw(server, opened=False) as silent, carrier.raw(server, opened=False) as slow:
            slow.send_wire(UPGRADE[:50])
            async with connecting(server) as client:
                assert b"hi" == (await client.request(b"hi")).payload
                for peer in (silent, slow):
                    assert (await asyncio.wait_for(peer.reader.read(), LIMIT)).startswith(b"HTTP/1.1 408 ")
                assert b"still" == (await client.request(b"still")).payload
        assert server.stats().upgrade_timeouts == 2
        assert server.stats().upgrade_errors == 0


async def test_each_silent_client_has_its_own_deadline(carrier: Carrier, until: Until) -> None:
    """Clients that come at different times are closed at different times; those that leave are forgotten."""
    async with serving(accept_timeout=0.2) as server:
        async with carrier.raw(server, opened=False) as first:
            async with carrier.raw(server, opened=False):
                await asyncio.sleep(0.1)
            async with carrier.raw(server, opened=False) as second:
                assert (await asyncio.wait_for(first.reader.read(), LIMIT)).startswith(b"HTTP/1.1 408 ")
                assert server.stats().upgrade_timeouts == 1
                assert (await asyncio.wait_for(second.reader.read(), LIMIT)).startswith(b"HTTP/1.1 408 ")
        assert server.stats().upgrade_timeouts == 2


async def test_stopping_drops_those_that_are_not_upgraded(carrier: Carrier) -> None:
    """A server that stops does not wait for silent clients."""
    async with serving() as server, carrier.raw(server, opened=False) as silent:
        silent.send_wire(UPGRADE[:10])
        await silent.writer.drain()
        await asyncio.sleep(0.01)
        await asyncio.wait_for(server.stop(), LIMIT)
        assert b"" == await silent.read_to_end()


@pytest.mark.parametrize(
    ("answer", "says", "retriable"),
    [
        (b"\x00\x01garbage", "does not speak HTTP", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 OK; hello", False),
        (b"HTTP/1.1 503 Busy\r\n\r\ncome back later", "503 Busy; come back later", True),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "without upgrading", False),
        (b"HTTP/1.1 101 X\r\n" + b"x: y\r\n" * 4000, "over 16384 bytes", False),
        (b"HTTP/1.1 101 Switch", "during the upgrade", True),
        (b"", "during the upgrade", True),
    ],
)
async def test_what_servers_may_answer(carrier: Carrier, answer: bytes, says: str, retriable: bool) -> None:
    """A client tells what is wrong with an answer, and whether another attempt can help."""

    async with answering(answer) as port:
        config = WebSocketClientConfig(target_url=f"ws://127.0.0.1:{port}/", retry_config=NO_RETRY)
        with pytest.raises(ConnectError, match=says) as caught:
            await TransportClient(config).connect()
        assert retriable == caught.value.retriable


async def test_a_server_that_does_not_answer(carrier: Carrier) -> None:
    """Connecting takes at most connect_timeout, upgrade included; the connection is dropped then."""
    dropped = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            await reader.read()
        except ConnectionError:
            pass
        writer.close()
        dropped.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        config = WebSocketClientConfig(target_url=f"ws://127.0.0.1:{port}/", connect_timeout=0.1, retry_config=NO_RETRY)
        with pytest.raises(TransportTimeoutError, match="connecting to ws://"):
            await TransportClient(config).connect()
        await asyncio.wait_for(dropped.wait(), LIMIT)


async def test_a_greeting_right_behind_the_answer(carrier: Carrier) -> None:
    """What a server says at once is delivered, after Established, however its frames are cut."""
    async with serving() as server:
        server.on_connect(lambda session: session.send_nowait(b"welcome"))
        for _ in range(20):
            async with connecting(server) as client:
                got = asyncio.get_running_loop().create_future()
                client.on_message(lambda context, got=got: got.set_result(context.payload))
                assert b"welcome" == await asyncio.wait_for(got, LIMIT)


async def test_without_picows(carrier: Carrier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, using WebSocket says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "picows", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'msgtrans\[ws\]'"):
        await TransportServer(ws="127.0.0.1:0").start()
    with pytest.raises(ConfigurationError, match=r"pip install 'msgtrans\[ws\]'"):
        await TransportClient("ws://127.0.0.1:1/").connect()


# Closing


@both
async def test_closing_sends_a_close_frame_and_waits_for_the_other(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """A graceful close ends with a Close frame of code 1000, behind everything queued, and the peer's is awaited."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        await session.send(b"last")
        closing = asyncio.ensure_future(session.close())
        assert (2, True, encode(Packet(0, 20_000, b"last"))) == await peer.next_frame()
        assert (8, True, struct.pack(">H", 1000)) == await peer.next_frame()
        assert not closing.done()
        peer.send_wire(frame(8, struct.pack(">H", 1000)))
        await asyncio.wait_for(closing, LIMIT)
        assert (-1, True, b"") == await peer.next_frame()
    assert CloseReason.NORMAL == session.close_reason
    assert session.close_error is None


@both
@pytest.mark.parametrize(
    ("payload", "echoed", "error"),
    [
        (b"", 1000, None),
        (struct.pack(">H", 1000), 1000, None),
        (struct.pack(">H", 1001) + b"bye", 1000, None),
        (struct.pack(">H", 1011) + b"my fault", 1000, "code 1011: my fault"),
        (struct.pack(">H", 4999), 1000, "code 4999"),
    ],
)
async def test_the_peer_closes(
    carrier: Carrier,
    server: TransportServer,
    connect_raw: ConnectRaw,
    until: Until,
    payload: bytes,
    echoed: int,
    error: str | None,
) -> None:
    """Any Close frame is answered with one, and is a normal end; what it says can be read."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(8, payload))
        assert (8, True, struct.pack(">H", echoed)) == await peer.next_frame()
        assert (-1, True, b"") == await peer.next_frame()
        await session.wait_closed()
    assert CloseReason.NORMAL == session.close_reason
    assert error is None if session.close_error is None else error in str(session.close_error)
    assert server.stats().protocol_errors == 0


async def test_a_peer_that_closes_while_it_is_answered(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """Answers that are on their way when the peer's Close frame comes still leave, before ours."""
    go = asyncio.Event()

    @server.on_request
    async def slow(context: Context) -> bytes:
        await go.wait()
        return context.payload

    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(2, ASK) + frame(8, struct.pack(">H", 3000)))
        await until(lambda: not session.is_open)
        go.set()
        assert (2, True, ANSWER) == await peer.next_frame()
        assert (8, True, struct.pack(">H", 1000)) == await peer.next_frame()
        await session.wait_closed()
    assert CloseReason.NORMAL == session.close_reason
    assert "3000" in str(session.close_error)


@both
async def test_a_peer_that_goes_without_a_word(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """The end of the stream without a Close frame is a normal end, as Rust peers make it."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send(ASK)
        assert ANSWER == await peer.read(18)
        end_stream(peer)
        await session.wait_closed()
    assert (CloseReason.NORMAL, None) == (session.close_reason, session.close_error)


def end_stream(peer: RawPeer) -> None:
    """End the stream without a Close frame."""
    if peer.transport.can_write_eof():
        peer.transport.write_eof()
    else:
        peer.transport.close()


@both
async def test_a_peer_that_closes_and_drops(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """A Close frame without a code and the end of the stream right behind it are a normal end."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(8, b""))
        await peer.writer.drain()
        peer.transport.close()
        await session.wait_closed()
    assert (CloseReason.NORMAL, None) == (session.close_reason, session.close_error)


@pytest.mark.parametrize("sent", [frame(2, ASK)[:-1], frame(2, ASK)[:1], frame(2, ASK[:5], last=False)])
async def test_a_peer_that_vanishes_inside_a_message(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until, sent: bytes
) -> None:
    """The end of the stream inside a frame or a message is an error."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(sent)
        peer.transport.write_eof()
        await session.wait_closed()
    assert CloseReason.ERROR == session.close_reason
    assert isinstance(session.close_error, RemoteProtocolError)
    assert server.kept == 0


async def test_a_reset_is_an_error(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """A connection that is reset without a Close frame ended with an error; after one, normally."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.reset()
        await session.wait_closed()
    assert CloseReason.ERROR == session.close_reason
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(8, b""))
        assert 8 == (await peer.next_frame())[0]
        peer.reset()
        await session.wait_closed()
    assert CloseReason.NORMAL == session.close_reason


@both
@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(1, b"text"), 1003),
        (frame(2, b"short"), 1008),
        (frame(0, ASK), 1002),
        (frame(15, b""), 1002),
        (bytes((0x82, 0xFF)) + (1 << 40).to_bytes(8), 1009),
    ],
)
async def test_violations(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until, wire: bytes, code: int
) -> None:
    """What came before is answered, then the Close frame says why, although the peer goes on sending."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(2, ASK) + wire + frame(2, ASK) * 1000)
        assert (2, True, ANSWER) == await peer.next_frame()
        opcode, _, payload = await peer.next_frame()
        assert (8, code) == (opcode, int.from_bytes(payload[:2]))
        assert len(payload) > 2
        assert str(session.close_error).startswith(payload[2:].decode())
        assert (-1, True, b"") == await peer.next_frame()
        peer.transport.abort()
        await session.wait_closed()
    assert CloseReason.ERROR == session.close_reason
    assert server.stats().protocol_errors == 1


async def test_a_violator_that_stays_is_dropped(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """A peer that was told to go has graceful_timeout for it."""
    async with serving(SessionConfig(graceful_timeout=0.1)) as server, connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(1, b"text"))
        await asyncio.wait_for(session.wait_closed(), LIMIT)
    assert CloseReason.ERROR == session.close_reason


async def test_both_close_at_once(carrier: Carrier, server: TransportServer, client: TransportClient) -> None:
    """Two Close frames that cross are a normal end on both sides."""
    (session,) = server.sessions.values()
    await asyncio.wait_for(asyncio.gather(client.close(), session.close()), LIMIT)
    assert (CloseReason.NORMAL, CloseReason.NORMAL) == (session.close_reason, client.session.close_reason)


async def test_a_client_sees_the_code_of_its_server(carrier: Carrier, until: Until) -> None:
    """A client that broke a rule of the server reads its code and reason in `close_error`."""
    async with serving(max_message_size=200) as server, connecting(server) as client:
        with pytest.raises(SessionClosedError):
            await client.request(bytes(500))
        assert CloseReason.NORMAL == client.session.close_reason
        assert "code 1009" in str(client.session.close_error)


# Pings


@both
async def test_pings_are_answered(carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw) -> None:
    """A ping is answered with what it carried, also inside a fragmented message; of several at once only the last."""
    async with connect_raw(server) as peer:
        peer.send_wire(frame(9, b"one"))
        assert (10, True, b"one") == await peer.next_frame()
        peer.send_wire(frame(2, ASK[:5], last=False) + frame(9, b"two") + frame(9, b"three"))
        assert (10, True, b"three") == await peer.next_frame()
        peer.send_wire(frame(10, b"unasked") + frame(0, ASK[5:]))
        assert (2, True, ANSWER) == await peer.next_frame()


async def test_a_silent_peer_is_pinged_and_given_up(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """A peer that answers pings stays; one that does not ends with TIMEOUT, and is counted."""
    async with serving(ping_interval=0.05, pong_timeout=0.2) as server, connect_raw(server) as peer:
        session = await only(server, until)
        for _ in range(3):
            assert (9, True, b"") == await peer.next_frame()
            peer.send_wire(frame(10, b""))
        assert session.is_open
        await asyncio.wait_for(session.wait_closed(), LIMIT)
        assert CloseReason.TIMEOUT == session.close_reason
        assert isinstance(session.close_error, TransportTimeoutError)
        assert server.stats().ping_timeouts == 1


async def test_any_sign_of_life_is_enough(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """A peer that sends anything after a ping is alive, even half a frame."""
    async with serving(ping_interval=0.05, pong_timeout=0.2) as server, connect_raw(server) as peer:
        session = await only(server, until)
        data = frame(2, ASK)
        for at in range(5):
            assert (9, True, b"") == await peer.next_frame()
            peer.send_wire(data[at : at + 1])
        assert session.is_open
        peer.send_wire(data[5:])
        assert ANSWER == await peer.read(18)


async def test_clients_ping_too(carrier: Carrier, until: Until) -> None:
    """Two of ours keep each other alive with pings and pongs."""
    async with (
        serving(ping_interval=0.02, pong_timeout=0.5) as server,
        connecting(server, ping_interval=0.02, pong_timeout=0.5) as client,
    ):
        await until(lambda: client.session.bytes_sent >= 60)
        assert client.is_connected
        assert (0, 0) == (client.stats().ping_timeouts, server.stats().ping_timeouts)


async def test_a_client_gives_up_on_a_server_that_hangs(carrier: Carrier) -> None:
    """A server that answers the upgrade and nothing else is given up after ping_interval and pong_timeout."""

    done = asyncio.Event()
    async with serving() as server:
        host, port = server.ws_address

        async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream, down = await asyncio.open_connection(host, port)
            down.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await upstream.readuntil(b"\r\n\r\n"))
            await done.wait()
            writer.close()
            down.close()

        async with await asyncio.start_server(through, "127.0.0.1", 0) as listening:
            config = WebSocketClientConfig(
                target_url=f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/",
                ping_interval=0.05,
                pong_timeout=0.05,
            )
            async with TransportClient(config) as client:
                await asyncio.wait_for(client.session.wait_closed(), LIMIT)
                assert CloseReason.TIMEOUT == client.session.close_reason
                assert client.stats().ping_timeouts == 1
            done.set()


async def test_without_pings(carrier: Carrier, connect_raw: ConnectRaw, until: Until) -> None:
    """With ping_interval None nobody pings."""
    async with serving(ping_interval=None, pong_timeout=0.01) as server, connect_raw(server) as peer:
        session = await only(server, until)
        peer.send(ASK)
        assert (2, True, ANSWER) == await peer.next_frame()
        assert session.is_open


# Peers that mean no good


async def test_a_ping_flood_from_a_peer_that_does_not_read(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """Pongs are never queued: what waits for such a peer stays small, and it gets the last one."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.transport.pause_reading()
        flood = frame(9, bytes(125)) * 5000
        for _ in range(20):
            peer.send_wire(flood)
            await peer.writer.drain()
        peer.send_wire(frame(9, b"last"))
        await until(lambda: session.bytes_received >= 20 * len(flood))
        assert session.stats().outbound_bytes < 200_000
        peer.transport.resume_reading()
        async with asyncio.timeout(LIMIT):
            while (await peer.next_frame())[2] != b"last":
                pass


async def test_a_pong_waits_for_a_peer_that_does_not_read(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """While the system takes no more, one pong waits at most: that of the last ping."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.transport.pause_reading()
        await session.send(bytes(8 << 20))
        await until(lambda: session.bytes_sent and session.stats().outbound_bytes)
        before = session.bytes_sent
        for text in (b"one", b"two", b"three"):
            peer.send_wire(frame(9, text))
            received = session.bytes_received
            await until(lambda received=received: session.bytes_received > received)
        assert before == session.bytes_sent
        peer.transport.resume_reading()
        assert (2, True, encode(Packet(0, 20_000, bytes(8 << 20)))) == await peer.next_frame()
        assert (10, True, b"three") == await peer.next_frame()
        peer.send(ASK)
        assert (2, True, ANSWER) == await peer.next_frame()


async def test_a_flood_of_empty_fragments(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, client: TransportClient, until: Until
) -> None:
    """300 000 empty fragments take no memory, and others are served meanwhile."""
    async with connect_raw(server) as peer:
        await until(lambda: len(server.sessions) == 2)
        session = server.sessions[max(server.sessions)]
        peer.send_wire(frame(2, ASK[:1], last=False))
        flood = frame(0, b"", last=False, mask=bytes(4)) * 50_000
        for _ in range(6):
            peer.send_wire(flood)
            await peer.writer.drain()
            await client.request(b"")
            assert server.kept < 100
        peer.send_wire(frame(0, ASK[1:]))
        assert ANSWER == await peer.read(18)
        assert session.is_open


async def test_incomplete_messages_of_all_sessions_are_bounded(
    carrier: Carrier, connect_raw: ConnectRaw, until: Until
) -> None:
    """When the kept bytes of all are too many, the session that keeps most is dropped, and counted; others go on."""
    server = TransportServer(ws="127.0.0.1:0", max_buffered=17 << 20)
    server.on_request(echo)
    async with server, connect_raw(server) as one, connect_raw(server) as other:
        big = frame(2, bytes(10 << 20), mask=bytes(4))
        one.send_wire(big[:-1])
        await until(lambda: server.kept == len(big) - 1)
        other.send_wire(big[:-1])
        assert b"" == await one.read_to_end()
        assert server.stats().kept_overflows == 1
        await until(lambda: server.kept == len(big) - 1)
        assert len(server.sessions) == 1
    assert server.kept == 0


@both
async def test_both_sides_send_64_mib_at_once(
    carrier: Carrier, server: TransportServer, client: TransportClient, until: Until
) -> None:
    """Nobody waits for the other: everything arrives on both sides."""
    (session,) = server.sessions.values()
    got = {"server": 0, "client": 0}
    server.on_message(lambda context: got.__setitem__("server", got["server"] + len(context.payload)))
    client.on_message(lambda context: got.__setitem__("client", got["client"] + len(context.payload)))
    payload = bytes(1 << 20)

    async def send(sender: TransportClient | Session) -> None:
        for _ in range(64):
            await sender.send(payload)

    async with asyncio.timeout(30):
        await asyncio.gather(send(session), send(client))
        await until(lambda: got == {"server": 64 << 20, "client": 64 << 20})


@both
@pytest.mark.parametrize("max_frame_size", [16 << 20, 1 << 20])
async def test_the_largest_payload_both_ways(carrier: Carrier, max_frame_size: int) -> None:
    """16 MiB of payload go there and back, in as many frames as it takes."""
    server = TransportServer(listen=[carrier.listener(max_frame_size=max_frame_size)])
    server.on_request(echo)
    async with server, TransportClient(carrier.target(server, max_frame_size=max_frame_size)) as client:
        payload = bytes(range(256)) * (1 << 16)
        assert payload == (await client.request(payload)).payload


async def test_one_byte_at_a_time(carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw) -> None:
    """A message that comes byte by byte is one message."""
    async with connect_raw(server) as peer:
        for byte in frame(2, ASK):
            peer.send_wire(bytes((byte,)))
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert ANSWER == await peer.read(18)


async def test_bytes_are_counted_as_on_the_wire(
    carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """Heads of frames and control frames count."""
    async with connect_raw(server) as peer:
        session = await only(server, until)
        peer.send_wire(frame(2, ASK) + frame(9, b"p"))
        await peer.next_frame()
        await peer.next_frame()
        assert (len(ASK) + 6 + 7, len(ANSWER) + 2 + 3) == (session.bytes_received, session.bytes_sent)


async def test_connections_share_readers(carrier: Carrier, server: TransportServer, connect_raw: ConnectRaw) -> None:
    """Frames of many connections that are cut in each other's middle do not mix."""
    async with connect_raw(server) as one, connect_raw(server) as two, connect_raw(server) as three:
        peers = (one, two, three)
        for turn in range(20):
            wires = [frame(2, encode(Packet(1, number, b"%d %d" % (number, turn)))) for number in range(3)]
            for part in (slice(0, 3 + turn), slice(3 + turn, None)):
                for peer, wire in zip(peers, wires, strict=True):
                    peer.send_wire(wire[part])
                    await peer.writer.drain()
                    await asyncio.sleep(0)
            for number, peer in enumerate(peers):
                answer = encode(Packet(2, number, b"%d %d" % (number, turn)))
                assert answer == await peer.read(len(answer))
