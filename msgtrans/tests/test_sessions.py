"""Sessions over real TCP connections: requests, messages, handlers, closing."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    Closed,
    CloseReason,
    ConfigurationError,
    ConnectError,
    Context,
    Established,
    LocalProtocolError,
    MessageReceived,
    Packet,
    PacketType,
    Reply,
    RequestReceived,
    ResourceError,
    ServerStopped,
    Session,
    SessionClosedError,
    SessionConfig,
    SessionState,
    TcpClientConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    encode,
)
from msgtrans.config import NO_RETRY

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from .conftest import Until

ON_EVERY_CARRIER = True

LIMIT = 30.0


def uri(server: TransportServer) -> str:
    return f"tcp://{server.tcp_address}"


async def connect_and_ask(client: TransportClient) -> None:
    await client.connect()
    await client.request(b"")


async def test_a_request_is_answered(client: TransportClient) -> None:
    """The answer is a response packet with the id and biz_type of the request."""
    assert Packet(PacketType.RESPONSE, 1, b"hello", 42) == await client.request(b"hello", biz_type=42)


async def test_handlers_see_every_field(server: TransportServer, client: TransportClient) -> None:
    """A handler gets payload, biz_type, ext header, flags, id and session, and may answer with all of them."""

    @server.on_request
    def answer(context: Context) -> Reply:
        text = f"{context.message_id} {context.biz_type} {context.flags} {context.compression} {context.session.id}"
        return Reply(text.encode(), ext_header=context.ext_header[::-1], biz_type=9, flags=4)

    seen = await client.request(b"x" * 100, biz_type=5, ext_header=b"abc", flags=0xFFFF, compression=2, message_id=77)
    assert Packet(2, 77, b"77 5 65535 2 1", 9, b"cba", 4) == seen


@pytest.mark.parametrize("code", [1, 2])
async def test_compressed_both_ways(server: TransportServer, client: TransportClient, code: int) -> None:
    """Handlers and requesters see plain bytes whatever the compression on the wire."""

    @server.on_request
    def answer(context: Context) -> Reply:
        return Reply(context.payload, compression=context.compression)

    packet = await client.request(bytes(100_000), compression=code)
    assert (packet.payload, packet.compression) == (bytes(100_000), code)
    assert client.session.bytes_sent < 1000
    assert client.session.bytes_received < 1000


async def test_coroutine_handlers_run_side_by_side(server: TransportServer, client: TransportClient) -> None:
    """1000 concurrent requests answered in random order each get their own answer."""
    waiting: list[tuple[Context, asyncio.Event]] = []
    everyone = asyncio.Event()

    @server.on_request
    async def answer(context: Context) -> bytes:
        turn = asyncio.Event()
        waiting.append((context, turn))
        if len(waiting) == 1000:
            everyone.set()
        await turn.wait()
        return context.payload

    async def release() -> None:
        await everyone.wait()
        for _, turn in sorted(waiting, key=lambda entry: hash((entry[0].message_id, "order"))):
            turn.set()

    releasing = asyncio.create_task(release())
    answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(1000)))
    await releasing
    assert [b"%d" % number for number in range(1000)] == [answer.payload for answer in answers]


async def test_answering_later_from_outside(server: TransportServer, client: TransportClient) -> None:
    """A handler that returns None may answer whenever it suits, once; a second answer is refused."""
    contexts: asyncio.Queue[Context] = asyncio.Queue()
    server.on_request(contexts.put_nowait)
    asked = asyncio.create_task(client.request(b"?", biz_type=3))
    context = await contexts.get()
    context.respond(b"!", ext_header=b"e", flags=1)
    assert Packet(2, 1, b"!", 3, b"e", 1) == await asked
    with pytest.raises(LocalProtocolError, match="answered already"):
        context.respond(b"again")


async def test_server_requests_from_client_with_the_same_id(server: TransportServer, client: TransportClient) -> None:
    """Both sides ask at the same time with the same message id, and each gets its own answer."""
    client.on_request(lambda context: b"client says " + context.payload)
    await client.request(b"")
    (session,) = server.sessions.values()
    ours, theirs = await asyncio.gather(
        client.request(b"a", message_id=20_000), session.request(b"b", message_id=20_000)
    )
    assert (b"a", b"client says b") == (ours.payload, theirs.payload)


async def test_duplicate_ids_are_each_answered(
    server: TransportServer, connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]
) -> None:
    """Two inbound requests with the same id are two requests; a response nobody waits for is dropped and counted."""
    async with connect_raw(server) as peer:
        peer.send(encode(Packet(1, 5, b"one")) + encode(Packet(2, 99, b"stray")) + encode(Packet(1, 5, b"two")))
        assert encode(Packet(2, 5, b"one")) + encode(Packet(2, 5, b"two")) == await peer.read(38)
    assert server.stats().stray_responses == 1


async def test_a_pending_id_cannot_be_chosen(server: TransportServer, client: TransportClient) -> None:
    """The id of a request that waits is refused for another."""
    server.on_request(lambda _: None)
    asked = asyncio.create_task(client.request(b"", message_id=7))
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="message id 7"):
        await client.request(b"", message_id=7)
    with pytest.raises(LocalProtocolError, match="message id 7"):
        await client.send(b"", message_id=7)
    asked.cancel()


async def test_timeouts_are_distinct_and_forget_the_request(server: TransportServer, client: TransportClient) -> None:
    """A request that nobody answers fails with its timeout; the late answer is dropped."""
    contexts: asyncio.Queue[Context] = asyncio.Queue()
    server.on_request(contexts.put_nowait)
    with pytest.raises(TransportTimeoutError, match="request took longer") as caught:
        await client.request(b"", timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.code, caught.value.retriable) == ("TIMEOUT_ERROR", True)
    assert client.session.stats().pending_requests == 0
    (await contexts.get()).respond(b"late")
    server.on_request(lambda _: b"in time")
    assert (await client.request(b"")).payload == b"in time"
    assert (client.stats().stray_responses, client.stats().request_timeouts) == (1, 1)


async def test_different_timeouts_fire_in_their_own_order(server: TransportServer, client: TransportClient) -> None:
    """A short timeout does not wait for a longer one that was asked first."""
    server.on_request(lambda _: None)
    longest, *others = (asyncio.create_task(client.request(b"", timeout=seconds)) for seconds in (60.0, 0.02, 0.07))
    for ended in await asyncio.gather(*others, return_exceptions=True):
        assert isinstance(ended, TransportTimeoutError)
    assert not longest.done()
    longest.cancel()


async def test_cancelling_a_request_removes_it(server: TransportServer, client: TransportClient) -> None:
    """A cancelled request is forgotten, and its answer dropped."""
    contexts: asyncio.Queue[Context] = asyncio.Queue()
    server.on_request(contexts.put_nowait)
    asked = asyncio.create_task(client.request(b""))
    context = await contexts.get()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert client.session.stats().pending_requests == 0
    context.respond(b"")
    server.on_request(lambda _: b"")
    await client.request(b"")
    assert client.stats().stray_responses == 1


async def test_waiting_requests_are_bounded(carrier: Carrier, server: TransportServer) -> None:
    """Beyond max_pending_requests a request fails at once."""
    server.on_request(lambda _: None)
    async with carrier.client(server, session=SessionConfig(max_pending_requests=1)) as client:
        asked = asyncio.create_task(client.request(b""))
        await asyncio.sleep(0)
        with pytest.raises(ResourceError, match="pending requests"):
            await client.request(b"")
        asked.cancel()


async def test_a_lost_connection_fails_requests_at_once(server: TransportServer, client: TransportClient) -> None:
    """Requests that wait do not wait out their timeout when the server drops the connection."""

    @server.on_request
    def drop(context: Context) -> None:
        context.session.abort()

    with pytest.raises(SessionClosedError) as caught:
        await asyncio.wait_for(client.request(b"", timeout=60), LIMIT)
    assert isinstance(caught.value, ConnectionError)
    assert not client.is_connected
    with pytest.raises(SessionClosedError, match="connect again"):
        await client.request(b"")
    for call in (client.send_nowait, client.session.send_nowait):
        with pytest.raises(SessionClosedError):
            call(b"")
    with pytest.raises(SessionClosedError):
        await client.send(b"")


async def test_a_failing_handler_is_logged_and_unanswered(
    server: TransportServer, client: TransportClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that raises costs its requester the answer and nobody else anything."""

    @server.on_request
    def answer(context: Context) -> bytes:
        return context.payload.removeprefix(b"fail") if context.payload != b"fail" else b"%d" % (1 // 0)

    with caplog.at_level(logging.ERROR, "msgtrans"):
        failing = client.request(b"fail", biz_type=6, timeout=0.05)
        answers = await asyncio.gather(failing, client.request(b"ok"), return_exceptions=True)
    assert isinstance(answers[0], TransportTimeoutError)
    assert isinstance(answers[1], Packet)
    assert "session 1, biz_type 6, message 1" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert server.stats().handler_errors == 1


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_the_error_hook_may_answer(
    server: TransportServer, client: TransportClient, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With on_error the requester of a failed handler gets what the hook returns."""

    def fail(context: Context) -> bytes:
        raise ValueError(context.payload.decode())

    async def fail_later(context: Context) -> bytes:
        await asyncio.sleep(0)
        return fail(context)

    server.on_request(fail if kind == "plain" else fail_later)
    server.on_error(lambda _, error: Reply(f"sorry: {error}".encode(), biz_type=255))
    assert Packet(2, 1, b"sorry: broken", 255) == await client.request(b"broken")
    server.on_error(lambda context, _: fail(context))
    with pytest.raises(TransportTimeoutError):
        await client.request(b"broken", timeout=0.05)
    assert "the on_error hook failed" in caplog.text


@pytest.mark.parametrize("answer", ["text", 17, b"x" * 101], ids=["str", "int", "too large"])
async def test_answers_that_cannot_be_sent_are_handler_errors(
    carrier: Carrier, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer of a wrong type or beyond the limits is an error of the handler; the hook can still answer."""
    limits = SessionConfig().codec
    config = SessionConfig(codec=type(limits)(max_payload_size=100))
    async with carrier.server(session=config) as server:
        server.on_request(lambda _: answer)
        server.on_error(lambda _, error: type(error).__name__.encode())
        async with carrier.client(server) as client:
            expected = b"LocalProtocolError" if isinstance(answer, bytes) else b"TypeError"
            assert expected == (await client.request(b"")).payload


async def test_other_bytes_like_answers(server: TransportServer, client: TransportClient) -> None:
    """bytearray and memoryview are answers too."""
    for make in (bytearray, memoryview):
        server.on_request(lambda context, make=make: make(context.payload))
        assert (await client.request(b"abc")).payload == b"abc"


async def test_one_way_messages_keep_their_order(server: TransportServer, client: TransportClient) -> None:
    """10 000 one-way messages arrive, each once, in order; answering one is refused."""
    seen: list[bytes] = []
    contexts: list[Context] = []

    @server.on_message
    def take(context: Context) -> None:
        seen.append(context.payload)
        contexts.append(context)

    for number in range(10_000):
        await client.send(b"%d" % number)
    await client.request(b"barrier")
    assert [b"%d" % number for number in range(10_000)] == seen
    with pytest.raises(LocalProtocolError, match="one-way"):
        contexts[0].respond(b"")


async def test_messages_nobody_takes_are_counted(
    server: TransportServer, client: TransportClient, until: Until
) -> None:
    """Without handler and stream, messages and requests are counted as unhandled."""
    await client.send(b"")
    await client.request(b"")
    server.request_handler = None
    with pytest.raises(TransportTimeoutError):
        await client.request(b"", timeout=0.02)
    await until(lambda: server.stats().unhandled == 2)


async def test_events_of_a_server(carrier: Carrier, server: TransportServer) -> None:
    """Established comes first, then messages and requests, Closed last; the stream ends when the server stops."""
    server.request_handler = None
    events = server.events()
    async with carrier.client(server) as client:
        await client.send(b"one-way", biz_type=1)
        asked = asyncio.create_task(client.request(b"question"))
        seen: list[object] = []
        async for event in events:
            match event:
                case RequestReceived(context):
                    context.respond(b"answer")
                    seen.append(context.payload)
                    break
                case MessageReceived(context):
                    seen.append(context.payload)
                case Established(session):
                    seen.append(session.state)
        assert (await asked).payload == b"answer"
    await server.stop()
    rest = [event async for event in events]
    assert [SessionState.OPEN, b"one-way", b"question"] == seen
    assert [Closed(session, CloseReason.NORMAL, None), ServerStopped()] == rest


async def test_nothing_is_missed_right_after_connecting(carrier: Carrier) -> None:
    """What a server says at once reaches a stream that the client opens after connecting."""
    async with carrier.server() as server:
        server.on_connect(lambda session: session.send_nowait(b"welcome"))
        for _ in range(20):
            async with carrier.client(server) as client:
                async for event in client.events():
                    assert isinstance(event, MessageReceived)
                    assert event.context.payload == b"welcome"
                    break


async def test_connections_made_while_starting_wait_for_the_starter(
    server: TransportServer,
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]],
    until: Until,
) -> None:
    """A peer that connects before start() has returned is established afterwards, unless it ended meanwhile."""
    server._starting = True
    async with connect_raw(server) as gone, connect_raw(server) as peer:
        peer.send(encode(Packet(1, 1, b"early")))
        await until(lambda: len(server._early) == 2)
        server._early[0][0].abort()
        assert await gone.read_to_end() == b""
        assert not server.sessions
        events = server.events()
        server._admit_early()
        assert await peer.read(21) == encode(Packet(2, 1, b"early"))
        assert isinstance(await anext(events), Established)
        assert server.stats().connections_total == 1


async def test_what_a_message_handler_returns_is_no_answer(server: TransportServer, client: TransportClient) -> None:
    """Answers to one-way messages are ignored, from plain functions and from coroutines."""
    done = asyncio.Event()

    async def later(context: Context) -> bytes:
        done.set()
        return b"ignored"

    for handler in (lambda _: Reply(b"ignored"), lambda _: 17, later):
        server.on_message(handler)
        await client.send(b"")
        await client.request(b"")
    await done.wait()
    assert server.stats().handler_errors == 0
    assert client.stats().packets_received == 3


async def test_a_slow_event_consumer_loses_nothing(carrier: Carrier, server: TransportServer) -> None:
    """With room for 4 events, 200 messages all arrive, because reading pauses meanwhile."""
    async with carrier.client(server, session=SessionConfig(event_queue_size=4)) as client:
        events = client.events()
        await client.request(b"")
        (session,) = server.sessions.values()
        for number in range(200):
            session.send_nowait(b"%d" % number)
        seen = []
        async for event in events:
            assert isinstance(event, MessageReceived)
            seen.append(event.context.payload)
            await asyncio.sleep(0)
            assert len(events) <= 4
            if len(seen) == 200:
                break
        assert [b"%d" % number for number in range(200)] == seen
        assert client.stats().read_pauses > 0


async def test_an_abandoned_stream_holds_nobody_up(carrier: Carrier, server: TransportServer, until: Until) -> None:
    """When a full stream is dropped or closed, reading goes on."""
    async with carrier.client(server, session=SessionConfig(event_queue_size=2)) as client:
        events, other = client.events(), client.events()
        await client.request(b"")
        (session,) = server.sessions.values()
        for _ in range(10):
            session.send_nowait(b"x")
        await until(lambda: client.session.stats().reading_paused)
        events.close()
        del other
        assert (await asyncio.wait_for(client.request(b"still there"), LIMIT)).payload == b"still there"


async def test_connection_handlers(carrier: Carrier, server: TransportServer) -> None:
    """on_connect comes before the first message, on_disconnect once and with the reason; both may be coroutines."""
    log: list[object] = []
    gone = asyncio.Event()

    @server.on_connect
    def connected(session: Session) -> None:
        session.data = "state of the application"
        log.append("connected")

    @server.on_disconnect
    async def disconnected(session: Session, reason: CloseReason) -> None:
        log.append((session.data, reason))
        gone.set()

    server.on_message(lambda context: log.append(context.session.data))
    async with carrier.client(server) as client:
        await client.send(b"")
        await client.request(b"")
    await asyncio.wait_for(gone.wait(), LIMIT)
    assert ["connected", "state of the application", ("state of the application", CloseReason.NORMAL)] == log


async def test_failing_connection_handlers_are_counted(
    carrier: Carrier, server: TransportServer, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """An on_connect that raises is logged and counted; the session lives."""

    async def fail_later(session: Session, reason: CloseReason) -> None:
        raise RuntimeError("later")

    server.on_connect(lambda _: 1 // 0)
    server.on_disconnect(fail_later)
    async with carrier.client(server) as client:
        await client.request(b"")
    await until(lambda: server.counters.handler_errors == 2)
    assert "a connection handler failed" in caplog.text


async def test_graceful_close_delivers_everything_queued(carrier: Carrier, server: TransportServer) -> None:
    """Everything sent before a graceful close arrives, also when it is far more than the buffers hold."""
    total = 0
    done = asyncio.Event()

    @server.on_message
    def take(context: Context) -> None:
        nonlocal total
        total += len(context.payload)

    server.on_disconnect(lambda *_: done.set())
    async with carrier.client(server) as client:
        for _ in range(100):
            await client.send(bytes(200_000))
    await asyncio.wait_for(done.wait(), LIMIT)
    assert total == 100 * 200_000


async def test_graceful_close_by_the_server_delivers_answers_of_running_handlers(
    server: TransportServer, client: TransportClient
) -> None:
    """A stopping server lets running handlers answer; the peer sees a normal close."""
    started, go_on = asyncio.Event(), asyncio.Event()

    @server.on_request
    async def answer(context: Context) -> bytes:
        started.set()
        await go_on.wait()
        return b"finished"

    asked = asyncio.create_task(client.request(b""))
    await started.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    go_on.set()
    assert (await asked).payload == b"finished"
    await stopping
    await client.session.wait_closed()
    assert client.session.close_reason == CloseReason.NORMAL
    assert not server.sessions


async def test_a_graceful_close_is_bounded(carrier: Carrier, hasty: SessionConfig, until: Until) -> None:
    """A handler that never ends delays stopping by graceful_timeout and is cancelled then."""
    cancelled = asyncio.Event()
    async with carrier.server(session=hasty) as server:

        @server.on_request
        async def hang(context: Context) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with carrier.client(server) as client:
            asked = asyncio.create_task(client.request(b""))
            await until(lambda: server.sessions and server.sessions[1].stats().running_handlers)
            session = server.sessions[1]
            await asyncio.wait_for(server.stop(), LIMIT)
            assert session.close_reason == CloseReason.FORCED
            assert cancelled.is_set()
            with pytest.raises(SessionClosedError):
                await asked


async def test_a_handler_may_close_its_own_session(server: TransportServer, client: TransportClient) -> None:
    """Closing from inside a coroutine handler does not wait for that handler."""
    closed = asyncio.Event()

    @server.on_request
    async def close(context: Context) -> None:
        await context.session.close()
        closed.set()

    with pytest.raises(SessionClosedError):
        await client.request(b"")
    await asyncio.wait_for(closed.wait(), LIMIT)


async def test_forced_close_drops_what_is_queued(
    server: TransportServer, client: TransportClient, until: Until
) -> None:
    """A forced close ends both sides at once; the reason is FORCED here."""
    await client.request(b"")
    client.send_nowait(b"leaves at once, behind a read of a single packet")
    client.send_nowait(b"never sent")
    await client.close(graceful=False)
    assert client.session.close_reason == CloseReason.FORCED
    assert client.session.state == SessionState.CLOSED
    await client.close()
    await until(lambda: not server.sessions)
    assert server.stats().packets_received <= 2


async def test_closing_by_id_and_all_at_once(carrier: Carrier, server: TransportServer, until: Until) -> None:
    """Sessions close by id, an unknown id is fine, and close_all ends the rest."""
    clients = [carrier.client(server) for _ in range(5)]
    for client in clients:
        await client.connect()
    await until(lambda: len(server.sessions) == 5)
    await server.close_session(1)
    await server.close_session(1000)
    assert sorted(server.sessions) == [2, 3, 4, 5]
    await server.close_all(graceful=False)
    assert not server.sessions
    for client in clients:
        await client.session.wait_closed()
    assert server.stats().connections_total == 5


async def test_answering_after_the_session_closed(carrier: Carrier, until: Until) -> None:
    """A plain late answer is counted; respond() on a closed session says so."""
    contexts: list[Context] = []
    server = carrier.server(session=SessionConfig(graceful_timeout=0.1))
    await server.start()
    gone = asyncio.Event()

    @server.on_request
    async def answer(context: Context) -> bytes:
        contexts.append(context)
        await context.session.wait_closed()
        return b"too late"

    server.on_disconnect(lambda *_: gone.set())
    client = carrier.client(server)
    await client.connect()
    with pytest.raises(TransportTimeoutError):
        await client.request(b"", timeout=0.02)
    client.session.abort()
    await asyncio.wait_for(gone.wait(), LIMIT)
    with pytest.raises(SessionClosedError):
        contexts[0].respond(b"too late")
    await until(lambda: server.stats().late_answers)
    await server.stop()


async def test_broadcast(carrier: Carrier, server: TransportServer, until: Until) -> None:
    """A broadcast reaches every open session, and says how many."""
    clients = [carrier.client(server) for _ in range(3)]
    streams = []
    for client in clients:
        await client.connect()
        streams.append(client.events())
    await until(lambda: len(server.sessions) == 3)
    assert server.broadcast(b"news", biz_type=8, ext_header=b"e") == 3
    for stream in streams:
        async for event in stream:
            assert isinstance(event, MessageReceived)
            assert (event.context.payload, event.context.biz_type) == (b"news", 8)
            break
    for client in clients:
        await client.close()


async def test_a_client_can_connect_again(carrier: Carrier, server: TransportServer) -> None:
    """After closing, the same client object connects anew."""
    client = carrier.client(server)
    for _ in range(2):
        async with client:
            await client.connect()
            assert (await client.request(b"again")).payload == b"again"
        assert not client.is_connected


async def test_connecting_to_nothing() -> None:
    """A refused connection and an unknown name are ConnectErrors that name the address."""
    async with TransportServer(tcp="127.0.0.1:0") as server:
        address = uri(server)
    for target, told in (
        (address, "nothing listens there"),
        ("tcp://name.invalid:1", "does not resolve"),
        ("tcp://a..b:1", "cannot be one"),
    ):
        with pytest.raises(ConnectError, match=told):
            await TransportClient(TcpClientConfig(target_address=target, retry_config=NO_RETRY)).connect()
    with pytest.raises(SessionClosedError, match="not connected"):
        await TransportClient(address).send(b"")


@pytest.mark.parametrize("carrier", ["tcp"], indirect=True)  # whose dialling is patched
async def test_connecting_takes_at_most_connect_timeout(
    server: TransportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that does not come about in time is a TransportTimeoutError."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        pytest.skip("uvloop's loop cannot be patched")

    async def never(*args: object, **options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(loop, "create_connection", never)
    address = str(server.tcp_address)
    config = TcpClientConfig(target_address=address, connect_timeout=0.01, retry_config=NO_RETRY)
    with pytest.raises(TransportTimeoutError, match="connecting"):
        await TransportClient(config).connect()


async def test_names_and_ipv6() -> None:
    """Host names resolve, and IPv6 addresses work in brackets."""
    for bind in ("localhost:0", "[::1]:0"):
        async with TransportServer(tcp=bind) as server:
            server.on_request(lambda context: context.payload)
            for address in server.addresses:
                async with TransportClient(f"tcp://{address}") as client:
                    assert (await client.request(b"hi")).payload == b"hi"
                    assert address == client.session.peer_address


async def test_addresses_and_states(carrier: Carrier, server: TransportServer, client: TransportClient) -> None:
    """Both ends know both addresses, and still after closing."""
    await client.request(b"")
    (session,) = server.sessions.values()
    assert carrier.name == session.protocol
    assert session.peer_address == client.session.local_address
    assert session.local_address == client.session.peer_address == carrier.address(server)
    await client.close()
    assert client.session.peer_address == carrier.address(server)
    assert "closed" in repr(client.session)


async def test_options_reach_the_sockets(until: Until) -> None:
    """nodelay, keepalive, reuse_port, backlog and local_bind_address act on the sockets."""
    import socket

    from msgtrans import TcpServerConfig

    config = TcpServerConfig(bind_address="127.0.0.1:0", nodelay=False, keepalive=33, reuse_port=True)
    sockets = []
    async with TransportServer(tcp=config) as server:
        server.on_connect(lambda session: sockets.append(session._link._transport.get_extra_info("socket")))
        port = server.tcp_address.port
        async with TransportServer(tcp=config.replace(bind_address=f"127.0.0.1:{port}")) as second:
            assert second.tcp_address == server.tcp_address
        target = TcpClientConfig(
            target_address=f"127.0.0.1:{port}", nodelay=False, keepalive=44, local_bind_address="127.0.0.1:0"
        )
        async with TransportClient(target) as client:
            mine = client.session._link._transport.get_extra_info("socket")
            await until(lambda: sockets)
            for connection, seconds in ((sockets[0], 33), (mine, 44)):
                assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == seconds


async def test_connections_are_bounded(carrier: Carrier, until: Until) -> None:
    """Beyond max_connections a connection is closed at once and counted; a free place can be taken again."""
    async with carrier.server(max_connections=1) as server:
        server.on_request(lambda context: context.payload)
        async with carrier.client(server) as first:
            await first.request(b"")
            late = carrier.client(server)
            with pytest.raises((ConnectError, SessionClosedError)):
                await connect_and_ask(late)
        await until(lambda: not server.sessions)
        async with carrier.client(server) as second:
            assert (await second.request(b"in")).payload == b"in"
        assert server.stats().connections_refused == 1


async def test_idle_sessions_are_closed(carrier: Carrier) -> None:
    """A session without packets for idle_timeout ends with reason TIMEOUT; a busy one stays, whatever stops us all."""
    reasons: list[CloseReason] = []
    config = SessionConfig(idle_timeout=0.5)
    async with carrier.server(session=config) as server:
        server.on_request(lambda context: context.payload)
        server.on_disconnect(lambda _, reason: reasons.append(reason))
        async with carrier.client(server) as busy, carrier.client(server) as idle:
            await busy.request(b"")
            asyncio.get_running_loop().call_soon(time.sleep, 1.0)  # as on a machine that is overloaded
            await asyncio.sleep(0.01)
            while idle.is_connected:
                await busy.request(b"")
                await asyncio.sleep(0.01)
            assert busy.is_connected
            assert reasons == [CloseReason.TIMEOUT]
            assert server.stats().idle_timeouts == 1


async def test_binding_a_taken_port() -> None:
    """A port in use is a ConnectError with advice, and the server has no address before it listens."""
    async with TransportServer(tcp="127.0.0.1:0") as server:
        second = TransportServer(tcp=str(server.tcp_address))
        with pytest.raises(ConnectError, match="port is in use"):
            await second.start()
        with pytest.raises(ConnectError, match="start it first"):
            _ = second.tcp_address


async def test_serving_until_cancelled(until: Until) -> None:
    """serve_forever starts, serves, and stops when cancelled; a stopped server starts again."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda context: context.payload)
    for _ in range(2):
        serving = asyncio.create_task(server.serve_forever())
        await until(lambda: server.addresses)
        async with TransportClient(uri(server)) as client:
            await client.request(b"")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert server.addresses == []


def test_a_server_needs_a_positive_bound() -> None:
    """max_connections below 1 is refused by name."""
    with pytest.raises(ConfigurationError, match="max_connections"):
        TransportServer(max_connections=0)
