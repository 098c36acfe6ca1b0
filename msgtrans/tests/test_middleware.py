"""Middleware around handlers and event streams, on real connections."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    AuthenticationError,
    CloseReason,
    ConfigurationError,
    Context,
    Established,
    MessageReceived,
    Packet,
    RequestReceived,
    ResourceError,
    SessionClosedError,
    TransportClient,
    TransportError,
    TransportServer,
    TransportTimeoutError,
)
from msgtrans.codec import encode
from msgtrans.middleware import ConnectionLimit, LoggingMiddleware, Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import RawPeer

    from msgtrans import Session
    from msgtrans.handlers import Answer, MessageHandler, RequestHandler

    from .conftest import Until


def connect(server: TransportServer, *middleware: Middleware) -> TransportClient:
    return TransportClient(f"tcp://{server.tcp_address}", middleware=middleware)


def serve(*middleware: Middleware) -> TransportServer:
    server = TransportServer(tcp="127.0.0.1:0", middleware=middleware)
    server.on_request(lambda context: context.payload)
    return server


class Mark(Middleware):
    """Writes its letter before and after everything."""

    def __init__(self, letter: str, log: list[str]) -> None:
        self.letter, self.log = letter, log

    def connected(self, session: Session) -> None:
        self.log.append(f"+{self.letter}")

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        self.log.append(f"{self.letter}(")
        answer = call(context)
        self.log.append(f"){self.letter}")
        return answer

    def message(self, context: Context, call: MessageHandler) -> object:
        self.log.append(f"{self.letter}<")
        return call(context)

    def disconnected(self, session: Session, reason: CloseReason) -> None:
        self.log.append(f"-{self.letter}")


async def test_the_first_used_is_the_outermost(until: Until) -> None:
    """Sessions and messages pass the middleware in order of use, answers and ends in the reverse."""
    log: list[str] = []
    server = serve(Mark("a", log))
    server.use(Mark("b", log))
    server.on_message(lambda _: log.append("handled"))
    server.on_connect(lambda _: log.append("opened"))
    server.on_disconnect(lambda *_: log.append("closed"))
    async with server:
        async with connect(server) as client:
            await client.send(b"")
            assert (await client.request(b"x")).payload == b"x"
        await until(lambda: "closed" in log)
    assert "+a +b opened a< b< handled a( b( )b )a -b -a closed" == " ".join(log)


async def test_middleware_comes_before_sessions() -> None:
    """While sessions are open, none can be added."""
    server = serve()
    async with server, connect(server) as client:
        await client.request(b"")
        with pytest.raises(ConfigurationError, match="Mark comes too late"):
            server.use(Mark("a", []))


async def test_a_client_has_middleware_too() -> None:
    """Requests and messages of the server pass the middleware of the client."""
    log: list[str] = []
    async with serve() as server, connect(server, Mark("c", log)) as client:
        client.on_request(lambda context: context.payload.upper())
        await client.request(b"")
        assert (await server.sessions[1].request(b"x")).payload == b"X"
    assert ["+c", "c(", ")c", "-c"] == log


async def test_event_streams_are_behind_the_middleware() -> None:
    """What no handler takes passes the middleware on its way to the streams."""
    log: list[str] = []
    server = TransportServer(tcp="127.0.0.1:0", middleware=[Mark("a", log)])
    async with server:
        events = server.events()
        async with connect(server) as client:
            await client.send(b"one")
            asked = asyncio.create_task(client.request(b"two"))
            assert isinstance(await anext(events), Established)
            message, request = await anext(events), await anext(events)
            assert isinstance(message, MessageReceived)
            assert isinstance(request, RequestReceived)
            request.context.respond(b"three")
            assert (await asked).payload == b"three"
    assert ["+a", "a<", "a(", ")a", "-a"] == log


class Refuse(Middleware):
    """Refuses what has a payload."""

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        if context.payload == b"later":

            async def fail() -> bytes:
                raise ResourceError("patience", 2, 1)

            return fail()
        if context.payload == b"break":
            raise ZeroDivisionError
        if context.payload:
            raise ResourceError("patience", 2, 1)
        return call(context)

    def message(self, context: Context, call: MessageHandler) -> object:
        raise ResourceError("patience", 2, 1)


async def test_refusals_are_no_failures(caplog: pytest.LogCaptureFixture, until: Until) -> None:
    """A TransportError of a middleware is counted as refused, at once or later; on_error may answer it."""
    async with serve(Refuse()) as server, connect(server) as client:
        await client.send(b"")
        with pytest.raises(TransportTimeoutError):
            await client.request(b"now", timeout=0.05)
        server.on_error(lambda _, error: type(error).__name__.encode())
        assert [b"ResourceError", b"ResourceError", b""] == [
            (await client.request(payload)).payload for payload in (b"now", b"later", b"")
        ]
        assert (server.stats().refused, server.stats().handler_errors) == (4, 0)
        assert not caplog.records
        assert (await client.request(b"break")).payload == b"ZeroDivisionError"
        assert (server.stats().refused, server.stats().handler_errors) == (4, 1)


@pytest.mark.parametrize("late", [False, True], ids=["plain", "coroutine"])
async def test_errors_of_handlers_stay_failures(late: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that raises a TransportError has failed, also behind middleware."""

    def fail(_: Context) -> bytes:
        raise TransportError("mine")

    async def fail_later(_: Context) -> bytes:
        raise TransportError("mine")

    async with serve(Refuse()) as server, connect(server) as client:
        server.on_request(fail_later if late else fail)
        server.on_error(lambda _, error: str(error).encode())
        assert (await client.request(b"")).payload == b"mine"
        assert (server.stats().refused, server.stats().handler_errors) == (0, 1)


class Around(Middleware):
    """Answers some requests itself, and changes the answers to others."""

    async def request(self, context: Context, call: RequestHandler) -> Answer:
        if context.payload == b"cached":
            return b"from the cache"
        answer = call(context)
        if inspect.isawaitable(answer):
            answer = await answer
        assert isinstance(answer, bytes)
        return answer + b"!"


async def test_a_middleware_may_answer_and_wrap(until: Until) -> None:
    """It may answer without the handler, and wrap what a plain or a coroutine handler gives."""
    async with serve(Around()) as server, connect(server) as client:
        assert (await client.request(b"cached")).payload == b"from the cache"
        assert (await client.request(b"plain")).payload == b"plain!"

        @server.on_request
        async def slow(context: Context) -> bytes:
            await asyncio.sleep(0)
            return context.payload

        assert (await client.request(b"slow")).payload == b"slow!"


class Door(Middleware):
    """Lets nobody in."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def connected(self, session: Session) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ResourceError("places", 1, 1), ZeroDivisionError()], ids=["refusal", "failure"])
async def test_refused_sessions_are_never_seen(error: Exception, until: Until) -> None:
    """A session that a middleware refuses is closed without event or handler, and those further out are told."""
    log: list[str] = []
    server = serve(Mark("a", log), Door(error), Mark("b", log))
    server.on_connect(lambda _: log.append("opened"))
    server.on_disconnect(lambda *_: log.append("closed"))
    events = server.events()
    async with server:
        client = connect(server)
        with pytest.raises((TransportError, ConnectionError)):
            async with client:
                await client.request(b"", timeout=5)
        await until(lambda: server.stats().connections_refused == 1)
        assert server.stats().connections_total == 0
        assert server.stats().handler_errors == isinstance(error, ZeroDivisionError)
        assert not server.sessions
    assert ["+a", "-a"] == log
    assert ["ServerStarted", "ServerStopped"] == [type(event).__name__ async for event in events]


async def test_a_client_that_refuses_its_session_raises() -> None:
    """What a middleware of the client raises comes out of connect."""
    async with serve() as server:
        client = connect(server, Door(AuthenticationError()))
        with pytest.raises(AuthenticationError, match="not known here"):
            await client.connect()
        await client.close()


async def test_a_middleware_that_fails_at_the_end_is_counted(until: Until) -> None:
    """An exception in disconnected is logged and counted, and the others are told."""

    class Stumble(Middleware):
        def disconnected(self, session: Session, reason: CloseReason) -> None:
            raise ZeroDivisionError

    log: list[str] = []
    async with serve(Mark("a", log), Stumble()) as server:
        async with connect(server) as client:
            await client.request(b"")
        await until(lambda: "-a" in log)
        assert server.stats().handler_errors == 1


# Logging


async def test_sessions_and_requests_are_logged(caplog: pytest.LogCaptureFixture, until: Until) -> None:
    """Each session is logged with its reason, each request with type, size, duration and outcome; never a payload."""
    caplog.set_level(logging.DEBUG, "msgtrans.sessions")
    server = serve(LoggingMiddleware(), Refuse())

    @server.on_request
    async def answer(context: Context) -> bytes | None:
        if context.biz_type == 1:
            raise ZeroDivisionError
        return None if context.biz_type == 2 else b"fine"

    async with server:
        async with connect(server) as client:
            await client.send(b"secret")
            server.on_error(lambda *_: b"")
            for biz_type, payload in ((0, b""), (1, b""), (3, b"secret")):
                await client.request(payload, biz_type=biz_type)
            with pytest.raises(TransportTimeoutError):
                await client.request(b"", biz_type=2, timeout=0.05)
            server.on_request(lambda _: b"")
            await client.request(b"", biz_type=4)
        await until(lambda: caplog.records[-1].action == "disconnected")
    seen = [
        (record.action, getattr(record, "biz_type", None), getattr(record, "size", None), getattr(record, "outcome", 0))
        for record in caplog.records
        if record.name == "msgtrans.sessions"
    ]
    assert [
        ("connected", None, None, 0),
        ("message", 0, 6, "refused"),
        ("request", 0, 0, "answered"),
        ("request", 1, 0, "failed"),
        ("request", 3, 6, "refused"),
        ("request", 2, 0, "deferred"),
        ("request", 4, 0, "answered"),
        ("disconnected", None, None, 0),
    ] == seen
    first, last = caplog.records[0], caplog.records[-1]
    assert (first.levelno, first.session, first.protocol) == (logging.INFO, 1, "tcp")
    assert (last.reason, last.packets_received) == ("normal", 6)
    assert last.seconds >= 0
    assert "secret" not in caplog.text


async def test_nothing_is_logged_below_the_level(caplog: pytest.LogCaptureFixture) -> None:
    """Where the logger wants neither, requests take no detour."""
    caplog.set_level(logging.WARNING, "msgtrans.sessions")
    async with serve(LoggingMiddleware()) as server, connect(server) as client:
        server.on_message(lambda _: None)
        await client.send(b"")
        await client.request(b"")
    assert not caplog.records


# Limits


async def test_sessions_of_one_address_are_limited(until: Until) -> None:
    """Beyond per_address a session is refused; one that ends makes room for another."""
    async with serve(ConnectionLimit(per_address=2)) as server:
        first, second, third = (connect(server) for _ in range(3))
        for client in (first, second):
            await client.connect()
            await client.request(b"")
        with pytest.raises((TransportError, ConnectionError)):
            async with third:
                await third.request(b"")
        assert server.stats().connections_refused == 1
        await first.close()
        await until(lambda: len(server.sessions) == 1)
        async with third:
            assert (await third.request(b"in")).payload == b"in"
        await second.close()


class Name(Middleware):
    """Believes everybody: who asks with a name has it."""

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        if context.biz_type == 9:
            context.session.identity = context.payload
            return b""
        return call(context)


async def test_sessions_of_one_identity_are_limited(until: Until) -> None:
    """Beyond per_identity the first request after identification ends the session; others are unharmed."""
    async with serve(Name(), ConnectionLimit(per_identity=1)) as server:
        ann, bob, again = (connect(server) for _ in range(3))
        for client, name in ((ann, b"ann"), (bob, b"bob"), (again, b"ann")):
            await client.connect()
            await client.request(name, biz_type=9)
        assert (await ann.request(b"x")).payload == b"x"
        assert (await bob.request(b"x")).payload == b"x"
        with pytest.raises(SessionClosedError):
            await again.request(b"x")
        assert (await ann.request(b"y")).payload == b"y"
        assert (server.stats().refused, server.stats().connections_refused) == (1, 1)
        await ann.close()
        await until(lambda: len(server.sessions) == 1)
        async with again:
            await again.request(b"ann", biz_type=9)
            assert (await again.request(b"z")).payload == b"z"
            await again.request(b"eve", biz_type=9)
            assert (await again.request(b"z")).payload == b"z"
        await bob.close()


class Slow(Middleware):
    """Keeps what comes until it is told to go on."""

    def __init__(self) -> None:
        self.kept = 0
        self.go_on = asyncio.Event()

    async def message(self, context: Context, call: MessageHandler) -> object:
        self.kept += 1
        await self.go_on.wait()
        return call(context)


async def test_sessions_that_are_gone_are_not_counted(
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]], until: Until
) -> None:
    """A message that an outer middleware kept until its session was closed takes no place of its identity."""
    slow, limit, seen = Slow(), ConnectionLimit(per_identity=1, per_address=2), []
    server = serve(slow, Name(), limit)
    server.on_message(lambda context: seen.append(context.payload))
    async with server:
        async with connect_raw(server) as peer:
            peer.send(encode(Packet(packet_type=1, message_id=1, biz_type=9, payload=b"ann")))
            peer.send(encode(Packet(packet_type=0, message_id=2, payload=b"kept")))
            await until(lambda: slow.kept)
            peer.reset()
        await until(lambda: not server.sessions)
        slow.go_on.set()
        await until(lambda: seen)
        assert (limit._identities, limit._identified, limit._addresses) == ({}, {}, {})
        async with connect(server) as client:
            await client.request(b"ann", biz_type=9)
            assert (await client.request(b"in")).payload == b"in"
    assert [b"kept"] == seen


async def test_who_is_too_many_is_refused_once_and_for_all(
    connect_raw: Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]], until: Until
) -> None:
    """However much it sent, it counts as one session refused, and nothing of it passes, not even after its end."""
    slow, seen = Slow(), []
    server = serve(slow, Name(), ConnectionLimit(per_identity=1))
    server.on_message(lambda context: seen.append(context.payload))
    async with server, connect(server) as first:
        await first.request(b"ann", biz_type=9)
        await first.request(b"")
        async with connect_raw(server) as peer:
            request = encode(Packet(packet_type=1, message_id=1, payload=b""))
            message = encode(Packet(packet_type=0, message_id=1, payload=b"kept"))
            named = encode(Packet(packet_type=1, message_id=1, biz_type=9, payload=b"ann"))
            peer.send(named + message + request * 3)
            await until(lambda: server.stats().refused == 3)
            peer.reset()
            await until(lambda: len(server.sessions) == 1)
        assert slow.kept == 1
        slow.go_on.set()
        await until(lambda: server.stats().refused == 4)
        assert (await first.request(b"x")).payload == b"x"
    assert server.stats().connections_refused == 1
    assert not seen


@pytest.mark.parametrize("values", [{}, {"per_address": 0}, {"per_identity": 0}])
def test_limits_must_limit(values: dict[str, int]) -> None:
    """A limit of nothing or of zero is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        ConnectionLimit(**values)
