"""Who gets in: tokens on every transport, certificates, deadlines, and that nothing passes before."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
import trustme

from msgtrans import (
    AuthenticationError,
    CloseReason,
    ConfigurationError,
    SessionClosedError,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    TransportClient,
    TransportError,
    TransportServer,
)
from msgtrans.config import WebSocketClientConfig
from msgtrans.middleware import AuthenticationMiddleware, TokenMiddleware, fixed_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
