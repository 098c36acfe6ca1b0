"""Sessions that are refused or dismissed: what the peer gets to read, on every transport, and nothing in the logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT, WS, WSS, RawPeer

from msgtrans import (
    AuthenticationError,
    CloseReason,
    ConnectError,
    Context,
    MessageReceived,
    ResourceError,
    Session,
    SessionClosedError,
    TransportClient,
    TransportError,
    TransportServer,
)
from msgtrans.adapters.unified_port import UnifiedPort
from msgtrans.config import NO_RETRY, WebSocketClientConfig
from msgtrans.middleware import AuthenticationMiddleware, Middleware, TokenMiddleware, fixed_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from carriers import Carrier

    from .conftest import Until

ON_EVERY_CARRIER = True
on_websocket = pytest.mark.parametrize("carrier", [WS, WSS], indirect=True)

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ERRORS = {
    "token": (AuthenticationError(), 401, False),
    "limit": (ResourceError("sessions from here", 3, 3), 503, True),
    "taste": (TransportError("not today"), 403, False),
    "bug": (ZeroDivisionError("a bug"), 500, True),
}


class Refusing(Middleware):
    """Lets nobody in."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def connected(self, session: Session) -> None:
        raise self.error


@pytest.fixture(autouse=True)
async def unhandled() -> AsyncIterator[list[dict[str, object]]]:
    """What the loop would log with a traceback; a test fails when there is any."""
    seen: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    yield seen
    assert [] == seen


@on_websocket
@pytest.mark.parametrize("name", ERRORS)
async def test_a_stranger_is_refused_over_http(carrier: Carrier, name: str, until: Until) -> None:
    """A session that middleware does not let in is answered with a status and a sentence, and nothing else."""
    error, status, _ = ERRORS[name]
    async with carrier.server(middleware=[Refusing(error)]) as server:
        async with carrier.raw(server, opened=False) as peer:
            peer.send_wire(UPGRADE)
            head, _, body = (await RawPeer.read_to_end(peer)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (b"\r\nWWW-Authenticate: Bearer" in head) == (status == 401)
        sentence = str(error) if isinstance(error, TransportError) else "a middleware failed, so the session was"
        assert body.decode().startswith(sentence)
        await until(lambda: server.stats().connections_refused == 1)
        assert server.stats().upgrade_errors == 0
        assert server.stats().connections_total == 0


@on_websocket
@pytest.mark.parametrize("name", ERRORS)
async def test_a_refused_client_knows_whether_to_come_back(carrier: Carrier, name: str) -> None:
    """A client gets a ConnectError with the status and the sentence; trying again helps where it is 5xx."""
    error, status, retriable = ERRORS[name]
    async with carrier.server(middleware=[Refusing(error)]) as server:
        with pytest.raises(ConnectError, match=f"refused the upgrade: {status} .*; ") as caught:
            await carrier.client(server).connect()
        assert retriable == caught.value.retriable


async def test_a_bad_bearer_token() -> None:
    """A wrong token in the upgrade request is answered with 401, a good one gets in, on the unified port too."""
    server = TransportServer(ws="127.0.0.1:0", middleware=[AuthenticationMiddleware(fixed_tokens({"good": "ann"}))])
    server.on_request(lambda context: str(context.session.identity).encode())
    async with server:
        unified = UnifiedPort(msgtrans=None, websocket=server.websocket_factory())
        listening = await asyncio.get_running_loop().create_server(unified, "127.0.0.1", 0)
        for port in (server.ws_address.port, listening.sockets[0].getsockname()[1]):

            def connecting(token: str, port: int = port) -> TransportClient:
                headers = {"Authorization": f"Bearer {token}"}
                url = f"ws://127.0.0.1:{port}"
                return TransportClient(WebSocketClientConfig(target_url=url, headers=headers, retry_config=NO_RETRY))

            with pytest.raises(ConnectError, match="401 Unauthorized; The peer is not known here"):
                await connecting("bad").connect()
            async with connecting("good") as client:
                assert (await client.request(b"")).payload == b"ann"
        listening.close()
        unified.close()
        assert server.stats().authentication_failures == 2


@pytest.mark.parametrize("name", ERRORS)
async def test_a_refusal_leaves_no_traceback(carrier: Carrier, name: str, until: Until) -> None:
    """Whatever middleware raises, the connection ends in good order, and the next is served the same way."""
    async with carrier.server(middleware=[Refusing(ERRORS[name][0])]) as server:
        for count in (1, 2):
            async with carrier.raw(server, opened=False) as peer:
                if carrier.upgrades:
                    peer.send_wire(UPGRADE)
                await RawPeer.read_to_end(peer)
            await until(lambda count=count: server.stats().connections_refused == count)


async def test_a_connect_handler_drops_the_session(carrier: Carrier, until: Until) -> None:
    """`abort` in a plain connect handler drops the connection before anything is sent."""
    ended: list[CloseReason] = []
    server = carrier.server()
    server.on_connect(lambda session: session.abort())
    server.on_disconnect(lambda _, reason: ended.append(reason))
    async with server, carrier.raw(server, opened=False) as peer:
        if carrier.upgrades:
            peer.send_wire(UPGRADE)
        assert await RawPeer.read_to_end(peer) == b""
        await until(lambda: ended == [CloseReason.FORCED])


async def test_a_connect_handler_says_goodbye(carrier: Carrier) -> None:
    """What a plain connect handler sends before it ends the session arrives, and then the end."""
    closing: list[asyncio.Future[None]] = []
    server = carrier.server()

    @server.on_connect
    def goodbye(session: Session) -> None:
        session.send_nowait(b"we are closed today")
        closing.append(asyncio.ensure_future(session.close()))

    async with server, carrier.client(server) as client:
        events = client.events()
        async with asyncio.timeout(LIMIT):
            received = [event.context.payload async for event in events if isinstance(event, MessageReceived)]
            await closing[0]
        assert received == [b"we are closed today"]
        assert client.session.close_reason is CloseReason.NORMAL


async def test_a_connect_handler_dismisses_at_once(carrier: Carrier) -> None:
    """A session that is dismissed with something queued for it is opened, so that what is queued arrives."""
    server = carrier.server()

    @server.on_connect
    def dismiss(session: Session) -> None:
        session.send_nowait(b"no more of you")
        session.send_nowait(bytes(300_000))
        session.dismiss(ResourceError("patience", 1, 1))

    async with server, carrier.raw(server) as peer:
        data = await peer.read_to_end()
        assert data.count(b"no more of you") == 1
        assert len(data) == 16 + 14 + 16 + 300_000
        if carrier.upgrades:
            assert peer.closed is not None
            assert peer.closed[:2] == (1011).to_bytes(2)
        if carrier.name == "quic":
            assert (3, "patience") == (peer.closed.error_code, peer.closed.reason_phrase[:8])


async def test_greetings_follow_the_upgrade(carrier: Carrier) -> None:
    """What middleware and connect handlers of both sides send arrives first, in order."""
    seen: list[bytes] = []

    class Greeting(Middleware):
        def connected(self, session: Session) -> None:
            session.send_nowait(b"from middleware")

    server = carrier.server(middleware=[AuthenticationMiddleware(fixed_tokens({"t": "ann"})), Greeting()])
    server.on_connect(lambda session: session.send_nowait(b"from the handler"))
    server.on_request(lambda context: str(context.session.identity).encode())
    async with server:
        client = carrier.client(server, middleware=[TokenMiddleware("t")])
        client.on_message(lambda context: seen.append(context.payload))
        async with client:
            assert (await client.request(b"who am I?")).payload == b"ann"
        assert seen == [b"from middleware", b"from the handler"]


@on_websocket
async def test_a_wrong_token_as_a_message(carrier: Carrier, until: Until) -> None:
    """A client that is dismissed later reads the reason in the Close frame, and is not told to come back."""
    server = carrier.server(middleware=[AuthenticationMiddleware(fixed_tokens({"good": "ann"}))])
    async with server, carrier.client(server, middleware=[TokenMiddleware("bad")]) as client:
        session = client.session
        await until(lambda: session.close_error is not None)
        said = "The peer is not known here; check its token or certificate."
        assert f"the peer closed the connection with code 1008: {said}" == str(session.close_error)
        assert session.close_error is not None
        assert session.close_error.retriable is False
        with pytest.raises(SessionClosedError, match=r"session 1 is \w+ \(normal: .*1008.*\)$") as caught:
            await client.request(b"")
        assert caught.value.retriable is False
        await session.wait_closed()
        assert session.close_reason is CloseReason.NORMAL


@on_websocket
async def test_a_failure_of_the_server_is_worth_another_try(carrier: Carrier, until: Until) -> None:
    """A session that is dismissed for an overload ends with code 1011, which leaves it open to connect again."""
    server = carrier.server()

    @server.on_request
    def refuse(context: Context) -> None:
        context.session.dismiss(ResourceError("patience", 1, 1))

    async with server, carrier.client(server) as client:
        with pytest.raises(SessionClosedError, match=r"1011: patience: 1, .*\); connect again") as caught:
            await client.request(b"")
        assert caught.value.retriable is True


async def test_a_peer_is_not_blamed_for_our_own_end(server: TransportServer, client: TransportClient) -> None:
    """After our own `close` the errors of calls do not say that the peer ended the session."""
    session = client.session
    await client.close()
    with pytest.raises(SessionClosedError, match=r"^session 1 is closed \(normal\); connect again$"):
        await session.request(b"")


async def test_a_peer_that_ends_the_session_is_named(
    server: TransportServer, client: TransportClient, until: Until
) -> None:
    """After the peer's `close` they do."""
    session = client.session
    await until(lambda: server.sessions)
    await server.close_session(1)
    await session.wait_closed()
    with pytest.raises(SessionClosedError, match=r"^session 1 is closed \(normal: the peer ended it\); connect again$"):
        await session.request(b"")
