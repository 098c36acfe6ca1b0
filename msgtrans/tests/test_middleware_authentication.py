"""Who gets in: tokens on every transport, certificates, deadlines, and that nothing passes before."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING

import pytest
import trustme

from msgtrans import (
    AuthenticationError,
    CloseReason,
    ConfigurationError,
    Packet,
    ResourceError,
    SessionClosedError,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    TransportClient,
    TransportError,
    TransportServer,
)
from msgtrans.codec import encode
from msgtrans.config import WebSocketClientConfig
from msgtrans.middleware import AuthenticationMiddleware, Middleware, TokenMiddleware, fixed_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from carriers import Carrier, RawPeer

    from msgtrans import Context, Session
    from msgtrans.handlers import MessageHandler

    from .conftest import Until

TOKENS = fixed_tokens({"s3cret-of-ann": "ann", "s3cret-of-bob": "bob"})


async def verify_slowly(token: str) -> object | None:
    for _ in range(5):
        await asyncio.sleep(0)
    return TOKENS(token)


both = pytest.mark.parametrize("verify", [TOKENS, verify_slowly], ids=["plain", "coroutine"])


def serve(authentication: AuthenticationMiddleware, **listeners: object) -> TransportServer:
    server = TransportServer(**(listeners or {"tcp": "127.0.0.1:0"}), middleware=[authentication])
    server.on_request(lambda context: str(context.session.identity).encode() + context.payload)
    return server


def connect(server: TransportServer, token: str | None = None) -> TransportClient:
    return TransportClient(f"tcp://{server.tcp_address}", middleware=[] if token is None else [TokenMiddleware(token)])


def over_websocket(server: TransportServer, query: str = "", **headers: str) -> TransportClient:
    return TransportClient(WebSocketClientConfig(target_url=f"ws://{server.ws_address}/{query}", headers=headers))


@both
async def test_a_token_comes_first_over_tcp(verify: object) -> None:
    """A client with a TokenMiddleware is known from its first request on, also while the token is being verified."""
    server = serve(AuthenticationMiddleware(verify))
    seen: list[tuple[object, bytes]] = []
    server.on_message(lambda context: seen.append((context.session.identity, context.payload)))
    async with server, connect(server, "s3cret-of-ann") as client:
        for number in range(10):
            client.send_nowait(b"%d" % number)
        assert (await client.request(b"!")).payload == b"ann!"
        client.send_nowait(b"10")
        assert (await client.request(b"?")).payload == b"ann?"
        assert [("ann", b"%d" % number) for number in range(11)] == seen
        assert server.stats().authentication_failures == 0
        assert server.sessions[1].info().identity == "ann"


@both
@pytest.mark.parametrize("token", ["wrong", "", "x" * 9000], ids=["wrong", "empty", "long"])
async def test_a_wrong_token_ends_the_session(
    verify: object, token: str, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """Nothing passes, the session is closed and counted, and the token is not logged."""
    caplog.set_level(logging.DEBUG)
    server = serve(AuthenticationMiddleware(verify))
    reasons: list[tuple[CloseReason, type]] = []
    server.on_disconnect(lambda session, reason: reasons.append((reason, type(session.close_error))))
    async with server, connect(server, token) as client:
        with pytest.raises(SessionClosedError):
            await client.request(b"")
        await until(lambda: reasons)
    assert [(CloseReason.ERROR, AuthenticationError)] == reasons
    stats = server.stats()
    assert stats.authentication_failures == 1
    assert stats.handler_errors == 0
    assert not token or token not in caplog.text


@both
async def test_one_guess_per_connection(verify: object, until: Until) -> None:
    """Tokens that come right behind a wrong one are not tried, even when one of them is good."""
    tried: list[str] = []

    def record(token: str) -> object:
        tried.append(token)
        return verify(token)

    async with serve(AuthenticationMiddleware(record)) as server, connect(server) as client:
        for token in (b"wrong", b"s3cret-of-ann", b"s3cret-of-bob"):
            client.send_nowait(token, biz_type=255, ext_header=b"msgtrans.token")
        with pytest.raises(SessionClosedError):
            await client.request(b"")
        await until(lambda: not server.sessions)
    assert ["wrong"] == tried
    assert server.stats().authentication_failures >= 1


async def test_bytes_that_are_no_text_are_no_token() -> None:
    """A token that is not UTF-8 is wrong."""
    async with serve(AuthenticationMiddleware(TOKENS)) as server, connect(server) as client:
        with pytest.raises(SessionClosedError):
            await client.request(b"\xff", biz_type=255, ext_header=b"msgtrans.token")
    assert server.stats().authentication_failures == 1


async def test_nothing_passes_before_the_token(until: Until) -> None:
    """Who says anything else first is closed; on_error may say why; broadcasts leave strangers out."""
    server = serve(AuthenticationMiddleware(TOKENS))
    server.on_error(lambda _, error: str(error).encode())
    async with server:
        async with connect(server) as client:
            await until(lambda: server.sessions)
            assert server.broadcast(b"for members") == 0
            assert b"The peer is not known" in (await client.request(b"")).payload
            await until(lambda: not client.is_connected)
        async with connect(server) as client:
            await client.send(b"")
            await until(lambda: not client.is_connected)
        async with connect(server, "s3cret-of-bob") as client:
            await client.request(b"")
            assert server.broadcast(b"for members") == 1
    assert (server.stats().authentication_failures, server.stats().refused) == (2, 2)


async def test_a_token_sent_as_a_request_is_answered() -> None:
    """Other clients can ask and learn that they are in; a later token replaces the identity."""
    async with serve(AuthenticationMiddleware(TOKENS, biz_type=7, ext_header=b"")) as server, connect(server) as client:
        assert (await client.request(b"s3cret-of-ann", biz_type=7)).payload == b""
        assert (await client.request(b"!")).payload == b"ann!"
        assert (await client.request(b"s3cret-of-bob", biz_type=7)).payload == b""
        assert (await client.request(b"!")).payload == b"bob!"
        with pytest.raises(SessionClosedError):
            await client.request(b"wrong", biz_type=7)


async def test_strangers_have_until_the_deadline(until: Until) -> None:
    """Who shows nothing is closed at the deadline, all by one timer; who is in stays."""
    authentication = AuthenticationMiddleware(TOKENS, deadline=0.1)
    async with serve(authentication) as server:
        silent = [connect(server) for _ in range(5)]
        async with connect(server, "s3cret-of-ann") as known:
            for client in silent:
                await client.connect()
            await known.request(b"")
            sessions = list(server.sessions.values())
            await until(lambda: len(server.sessions) == 1)
            assert (await known.request(b"!")).payload == b"ann!"
            assert [CloseReason.TIMEOUT] * 5 == [s.close_reason for s in sessions if s.identity is None]
            assert authentication._timer is None
            for client in silent:
                await client.close()
    assert server.stats().authentication_failures == 5


async def test_a_verification_that_hangs_is_bounded_by_the_deadline(until: Until) -> None:
    """Requests behind it do not pass."""

    async def hang(_: str) -> None:
        await asyncio.get_running_loop().create_future()

    async with serve(AuthenticationMiddleware(hang, deadline=0.1)) as server, connect(server, "any") as client:
        with pytest.raises(SessionClosedError):
            await client.request(b"")
    assert server.stats().authentication_failures == 1


@pytest.mark.parametrize("slow", [False, True], ids=["plain", "coroutine"])
async def test_a_verification_that_fails_lets_nobody_in(slow: bool, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of `verify` is a failure of ours, and keeps the peer out."""

    def fail(_: str) -> object:
        raise ZeroDivisionError

    async def fail_later(_: str) -> object:
        raise ZeroDivisionError

    server = serve(AuthenticationMiddleware(fail_later if slow else fail))
    async with server, connect(server, "any") as client:
        with pytest.raises(SessionClosedError):
            await client.request(b"")
    assert server.stats().handler_errors == 1


@both
async def test_optional_authentication_lets_anonymous_peers_in(verify: object) -> None:
    """Without a token the identity is None; a wrong one is refused all the same, and nothing behind it passes."""
    async with serve(AuthenticationMiddleware(verify, optional=True)) as server:
        async with connect(server) as client:
            assert (await client.request(b"!")).payload == b"None!"
        async with connect(server, "s3cret-of-ann") as client:
            assert (await client.request(b"!")).payload == b"ann!"
        async with connect(server, "wrong") as client:
            with pytest.raises(SessionClosedError):
                await client.request(b"!")


@both
async def test_tokens_of_a_websocket_upgrade(verify: object, until: Until) -> None:
    """The Authorization header counts, and a query parameter if one is named; others are closed."""
    authentication = AuthenticationMiddleware(verify, query_parameter="access_token", deadline=5)
    async with serve(authentication, ws="127.0.0.1:0") as server:
        async with over_websocket(server, Authorization="Bearer s3cret-of-ann") as client:
            assert (await client.request(b"!")).payload == b"ann!"
        async with over_websocket(server, "?access_token=s3cret-of-bob") as client:
            assert (await client.request(b"!")).payload == b"bob!"
        for refused in (
            over_websocket(server, Authorization="Bearer wrong"),
            over_websocket(server, "?token=s3cret-of-ann"),
            over_websocket(server, Authorization="Basic s3cret-of-ann"),
        ):
            with pytest.raises(TransportError):
                async with refused:
                    await refused.request(b"!")
        await until(lambda: not server.sessions)
        assert server.stats().authentication_failures == 3


async def test_a_query_parameter_counts_only_when_named() -> None:
    """By default a token in the URL is none."""
    async with serve(AuthenticationMiddleware(TOKENS), ws="127.0.0.1:0") as server:
        client = over_websocket(server, "?token=s3cret-of-ann")
        with pytest.raises(TransportError):
            async with client:
                await client.request(b"!")


def common_name(certificate: Mapping[str, object]) -> object | None:
    names = dict(entry for part in certificate["subject"] for entry in part)
    return names["commonName"] if names.get("commonName") != "eve" else None


async def test_certificates(tmp_path: Path) -> None:
    """The peer's certificate says who it is; without an acceptable one a session is refused, or needs a token."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("server", "ann", "eve"):
        issued = authority.issue_cert("127.0.0.1", common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / f"{name}.pem"))

    tls = TlsServerConfig(
        certificate_file=str(tmp_path / "server.pem"),
        client_ca_file=str(tmp_path / "ca.pem"),
        require_client_certificate=False,
    )
    listener = TcpServerConfig(bind_address="127.0.0.1:0", tls=tls)

    def client(server: TransportServer, name: str | None, *middleware: TokenMiddleware) -> TransportClient:
        tls = TlsClientConfig(
            ca_file=str(tmp_path / "ca.pem"), certificate_file=str(tmp_path / f"{name}.pem") if name else None
        )
        config = TcpClientConfig(target_address=str(server.tcp_address), tls=tls)
        return TransportClient(config, middleware=middleware)

    async with serve(AuthenticationMiddleware(certificate=common_name), tcp=listener) as server:
        async with client(server, "ann") as ann:
            assert (await ann.request(b"!")).payload == b"ann!"
            assert server.sessions[1].info().secure
        for name in ("eve", None):
            stranger = client(server, name)
            with pytest.raises(TransportError):
                async with stranger:
                    await stranger.request(b"!")
        assert server.stats().connections_refused == 2
    either = AuthenticationMiddleware(TOKENS, certificate=common_name)
    async with serve(either, tcp=listener) as server, client(server, None, TokenMiddleware("s3cret-of-bob")) as bob:
        assert (await bob.request(b"!")).payload == b"bob!"


def test_what_to_verify_must_be_said() -> None:
    """Neither token nor certificate, or no time for them, is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        AuthenticationMiddleware()
    with pytest.raises(ConfigurationError, match="deadline"):
        AuthenticationMiddleware(TOKENS, deadline=0)


def test_fixed_tokens() -> None:
    """A known token gives its identity, another nothing."""
    assert ["ann", "bob", None, None] == [
        TOKENS(token) for token in ("s3cret-of-ann", "s3cret-of-bob", "", "s3cret-of-\udcff")
    ]


# Peers that leave, and those that somebody else refuses

ONE_WAY, REQUEST = 0, 1


def packet(kind: int, payload: bytes, *, token: bool = False) -> bytes:
    marks = {"biz_type": 255, "ext_header": b"msgtrans.token"} if token else {}
    return encode(Packet(packet_type=kind, message_id=7, payload=payload, **marks))


class Asked:
    """A verification that takes for ever, and notes how it went."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled = 0

    async def __call__(self, token: str) -> None:
        self.begun.append(token)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # tidying up takes its time too
            self.cancelled += 1
            raise


@pytest.mark.parametrize("carrier", ["tcp", "ws"], indirect=True)
async def test_who_leaves_before_the_verdict_leaves_nothing(carrier: Carrier, until: Until) -> None:
    """A connection reset while its token is verified ends the verification, and nothing of the session is kept."""
    asked, gone = Asked(), []
    authentication = AuthenticationMiddleware(asked)
    server = carrier.server(middleware=[authentication])
    server.on_connect(lambda session: gone.append(weakref.ref(session)))
    async with server:
        for number in range(1, 4):
            async with carrier.raw(server) as peer:
                peer.send(packet(ONE_WAY, b"wrong", token=True) + packet(ONE_WAY, b"behind it"))
                await until(lambda number=number: len(asked.begun) == number)
                peer.reset()
            await until(lambda number=number: asked.cancelled == number)
        await until(lambda: not server.sessions)
        assert not authentication._gates
        assert authentication._timer is None
        await until(lambda: gc.collect() is not None and not any(ref() for ref in gone))
        assert not authentication._outcasts
    assert len(gone) == 3
    assert server.stats().handler_errors == 0


def upgrade(token: str) -> bytes:
    return (
        "GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("carrier", ["ws"], indirect=True)
async def test_who_leaves_behind_an_upgrade_leaves_nothing(carrier: Carrier, until: Until) -> None:
    """The same with a token in the upgrade request, which is verified beside the session."""
    asked = Asked()
    authentication = AuthenticationMiddleware(asked)
    async with carrier.server(middleware=[authentication]) as server:
        async with carrier.raw(server, opened=False) as peer:
            peer.send_wire(upgrade("any"))
            await until(lambda: asked.begun)
            peer.reset()
        await until(lambda: asked.cancelled)
        assert not server.sessions
        assert not authentication._gates
        await until(lambda: not server._background)
    assert server.stats().handler_errors == 0


class Door(Middleware):
    """Lets nobody in."""

    def connected(self, session: Session) -> None:
        raise ResourceError("places", 1, 1)


@pytest.mark.parametrize("carrier", ["ws"], indirect=True)
async def test_a_session_refused_further_in_is_not_verified(
    carrier: Carrier, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """While a token of an upgrade is verified, another middleware may refuse the session: no error, nothing is kept."""
    asked = Asked()
    authentication = AuthenticationMiddleware(asked)
    server = carrier.server(middleware=[authentication, Door()])
    async with server, carrier.raw(server, opened=False) as peer:
        peer.send_wire(upgrade("any"))
        await until(lambda: server.stats().connections_refused)
        await until(lambda: not server._background)
        assert not authentication._gates
        assert authentication._timer is None
    assert not asked.begun
    assert (server.stats().handler_errors, server.stats().authentication_failures) == (0, 0)
    assert not caplog.records


class Late(Middleware):
    """Keeps messages until it is told to let them go."""

    def __init__(self) -> None:
        self.kept = 0
        self.go = asyncio.Event()

    async def message(self, context: Context, call: MessageHandler) -> object:
        self.kept += 1
        await self.go.wait()
        answer = call(context)
        return await answer if asyncio.iscoroutine(answer) else answer


@both
@pytest.mark.parametrize("tokens", [[], [b"wrong"], [b"s3cret-of-ann"]], ids=["none", "wrong", "good but late"])
async def test_nothing_of_a_stranger_passes_after_its_end(
    verify: object,
    tokens: list[bytes],
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]],
    until: Until,
) -> None:
    """What a middleware further out kept until its session was closed is refused, unless that had been let in."""
    late, seen = Late(), []
    authentication = AuthenticationMiddleware(verify)
    server = TransportServer(tcp="127.0.0.1:0", middleware=[late, authentication])
    server.on_message(lambda context: seen.append(context.payload))
    async with server:
        async with connect_raw(server) as peer:
            peer.send(b"".join(packet(ONE_WAY, token, token=True) for token in tokens) + packet(ONE_WAY, b"x") * 2)
            await until(lambda: late.kept == len(tokens) + 2)
            peer.reset()
        await until(lambda: not server.sessions)
        late.go.set()
        await until(lambda: server.stats().refused == len(tokens) + 2)
        assert not authentication._gates
    assert not seen
    assert server.stats().handler_errors == 0


async def test_what_a_known_peer_sent_passes_after_its_end(
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]], until: Until
) -> None:
    """A message of a session that had been let in is delivered, however late."""
    late, seen = Late(), []
    late.go.set()
    server = TransportServer(tcp="127.0.0.1:0", middleware=[late, AuthenticationMiddleware(TOKENS)])
    server.on_message(lambda context: seen.append(context.payload))
    async with server:
        async with connect_raw(server) as peer:
            peer.send(packet(ONE_WAY, b"s3cret-of-ann", token=True))
            await until(lambda: any(session.identity for session in server.sessions.values()))
            late.go.clear()
            peer.send(packet(ONE_WAY, b"x"))
            await until(lambda: late.kept == 2)
            peer.reset()
        await until(lambda: not server.sessions)
        late.go.set()
        await until(lambda: seen)
    assert [b"x"] == seen


@pytest.mark.parametrize("graceful", [False, True])
async def test_a_server_that_stops_ends_verifications(graceful: bool, until: Until) -> None:
    """When `stop` returns, no verification is left, and nobody was let in by its end."""
    asked = Asked()
    server = serve(AuthenticationMiddleware(asked), tcp="127.0.0.1:0", ws="127.0.0.1:0")
    await server.start()
    async with connect(server, "any") as one, over_websocket(server, Authorization="Bearer any") as two:
        await until(lambda: len(asked.begun) == 2)
        assert one.is_connected
        assert two.is_connected
        await server.stop(graceful=graceful, timeout=0.05)
        assert asked.cancelled == 2
    assert server.stats().handler_errors == 0


@pytest.mark.parametrize("optional", [False, True])
async def test_a_later_token_has_the_same_time(optional: bool) -> None:
    """Who is in and shows another token is closed at the deadline if that is not verified by then."""

    def verify(token: str) -> object:
        return TOKENS(token) or Asked()(token)

    server = serve(AuthenticationMiddleware(verify, deadline=0.1, optional=optional))
    async with server, connect(server, None if optional else "s3cret-of-ann") as client:
        await client.request(b"")
        session = server.sessions[1]
        client.send_nowait(b"slow", biz_type=255, ext_header=b"msgtrans.token")
        with pytest.raises(SessionClosedError):
            await client.request(b"")
        await session.wait_closed()
        assert session.close_reason is CloseReason.TIMEOUT
    assert server.stats().authentication_failures == 1


async def test_a_later_token_leaves_broadcasts_as_they_are(until: Until) -> None:
    """Only letting in somebody new turns broadcasts on."""
    async with serve(AuthenticationMiddleware(verify_slowly)) as server, connect(server, "s3cret-of-ann") as client:
        await client.request(b"")
        session = server.sessions[1]
        assert session.in_broadcasts
        session.in_broadcasts = False
        client.send_nowait(b"s3cret-of-bob", biz_type=255, ext_header=b"msgtrans.token")
        await until(lambda: session.identity == "bob")
        assert not session.in_broadcasts


async def test_a_verdict_that_others_wait_for_is_theirs_too(
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]], until: Until
) -> None:
    """When `verify` gives the same future to several sessions, one that leaves does not end it for the others."""
    verdict: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    server = serve(AuthenticationMiddleware(lambda _: verdict))
    async with server, connect(server, "any") as client:
        asking = asyncio.create_task(client.request(b"!"))
        async with connect_raw(server) as peer:
            peer.send(packet(ONE_WAY, b"any", token=True))
            await until(lambda: len(server.sessions) == 2 and server.sessions[2].packets_received)
            peer.reset()
        await until(lambda: len(server.sessions) == 1)
        verdict.set_result("ann")
        assert (await asking).payload == b"ann!"


async def test_a_query_of_too_many_fields_is_a_wrong_token(caplog: pytest.LogCaptureFixture) -> None:
    """It is refused as such, and is no failure of ours; without `query_parameter` nobody looks at it."""
    fields = "&".join(["?a=b"] * 101)
    async with serve(AuthenticationMiddleware(TOKENS, query_parameter="token"), ws="127.0.0.1:0") as server:
        refused = over_websocket(server, fields)
        with pytest.raises(TransportError):
            async with refused:
                await refused.request(b"")
        assert (server.stats().authentication_failures, server.stats().connections_refused) == (1, 1)
        assert server.stats().handler_errors == 0
        assert not caplog.records
    server = serve(AuthenticationMiddleware(TOKENS), ws="127.0.0.1:0")
    async with server, over_websocket(server, fields, Authorization="Bearer s3cret-of-ann") as client:
        assert (await client.request(b"!")).payload == b"ann!"
