"""The packets of a session are handled in the order in which they were sent, whatever their handlers are.

What counts is where handlers begin: those of coroutines go on side by side.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from carriers import TCP, TLS, WS

from msgtrans import (
    CloseReason,
    Context,
    MessageReceived,
    Packet,
    RequestReceived,
    SessionConfig,
    TransportServer,
    encode,
)
from msgtrans.config import Backpressure
from msgtrans.middleware import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from carriers import Carrier, RawPeer

    from msgtrans.handlers import Answer, MessageHandler, RequestHandler

    from .conftest import Until

ON_EVERY_CARRIER = True
COUNT = 40
RESPONSE_SIZE = 16


def batch(pattern: str, count: int = COUNT) -> bytes:
    """Packets of one read: m for a message, r for a request; each carries its number, counted from 1."""
    kinds = [pattern[number % len(pattern)] for number in range(count)]
    return b"".join(
        encode(Packet(1 if kind == "r" else 0, number, b"%d" % number)) for number, kind in enumerate(kinds, 1)
    )


def wanted(count: int = COUNT) -> list[int]:
    return list(range(1, count + 1))


class Plain(Middleware):
    """Passes everything on."""

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        return call(context)

    def message(self, context: Context, call: MessageHandler) -> object:
        return call(context)


class Slow(Middleware):
    """Passes everything on from coroutines."""

    async def request(self, context: Context, call: RequestHandler) -> Answer:  # type: ignore[override]
        answer = call(context)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def message(self, context: Context, call: MessageHandler) -> object:
        answer = call(context)
        return await answer if asyncio.iscoroutine(answer) else answer


class SlowRequests(Plain):
    """Passes requests on from coroutines, messages at once."""

    request = Slow.request


class Seen:
    """The numbers of packets whose handlers have begun, in that order, and a handler of every kind."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def plain(self, context: Context) -> bytes:
        self.numbers.append(int(context.payload))
        return b""

    async def coroutine(self, context: Context) -> bytes:
        self.plain(context)
        await asyncio.sleep(0)
        return b""

    def made(self, context: Context) -> Awaitable[bytes]:
        """Looks plain, and is not."""
        return self.coroutine(context)

    def sometimes(self, context: Context) -> bytes | Awaitable[bytes]:
        return self.coroutine(context) if int(context.payload) % 3 else self.plain(context)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def serve(
    carrier: Carrier, seen: Seen, kinds: tuple[str, str], session: SessionConfig | None = None, *middleware: Middleware
) -> TransportServer:
    """A server whose handlers of requests and of messages are the methods of `seen` with these names."""
    server = carrier.server(session, middleware=middleware)
    server.on_request(getattr(seen, kinds[0]))
    server.on_message(getattr(seen, kinds[1]))
    return server


@pytest.mark.parametrize("carrier", [TCP, TLS, WS], indirect=True)
@pytest.mark.parametrize("middleware", [None, Plain, Slow, SlowRequests])
@pytest.mark.parametrize(
    "kinds",
    [
        ("plain", "coroutine"),
        ("coroutine", "plain"),
        ("plain", "made"),
        ("sometimes", "sometimes"),
        ("plain", "plain"),
        ("coroutine", "coroutine"),
    ],
    ids="-".join,
)
async def test_handlers_begin_in_order(
    carrier: Carrier, seen: Seen, kinds: tuple[str, str], middleware: type[Middleware] | None, until: Until
) -> None:
    """One read of mixed packets, some in pairs: handlers begin in the order of the packets, and all are answered."""
    chain = () if middleware is None else (middleware(),)
    async with serve(carrier, seen, kinds, None, *chain) as server, carrier.raw(server) as peer:
        peer.send(batch("mrrmmr"))
        await peer.read(RESPONSE_SIZE * sum("mrrmmr"[number % 6] == "r" for number in range(COUNT)))
        await until(lambda: len(seen.numbers) == COUNT)
        assert wanted() == seen.numbers
        assert server.stats().read_pauses == 0
        assert server.stats().discarded == 0


async def test_event_streams_are_in_order_too(carrier: Carrier, seen: Seen, until: Until) -> None:
    """A stream gets a request behind messages only when their coroutines have begun."""
    server = carrier.server()
    server.on_message(seen.coroutine)
    async with server, carrier.raw(server) as peer:
        events = server.events()

        async def answer() -> None:
            async for event in events:
                match event:
                    case RequestReceived(context):
                        context.respond(seen.plain(context))
                    case MessageReceived():
                        pytest.fail("messages have a handler")

        task = asyncio.ensure_future(answer())
        peer.send(batch("mr"))
        await peer.read(RESPONSE_SIZE * COUNT // 2)
        # The stream is read by a task of its own: what it has is behind, never ahead.
        assert [number for number in wanted() if number % 2] == [number for number in seen.numbers if number % 2]
        assert all(set(range(1, number, 2)) <= set(seen.numbers[: seen.numbers.index(number)]) for number in wanted())
        task.cancel()


async def test_a_request_behind_messages_finds_them_handled(carrier: Carrier, seen: Seen) -> None:
    """A plain request handler sees what the coroutines of the messages before it did in their first step."""
    server = carrier.server()
    server.on_message(seen.coroutine)
    server.on_request(lambda _: b"%d" % len(seen.numbers))
    async with server, carrier.client(server) as client:
        for number in range(10):
            client.send_nowait(b"%d" % number)
        assert (await client.request(b"")).payload == b"10"


@pytest.mark.parametrize("strategy", Backpressure)
async def test_no_strategy_acts_on_it(carrier: Carrier, seen: Seen, strategy: Backpressure, until: Until) -> None:
    """Waiting for a handler to begin is no lack of room: nothing is dropped or refused."""
    session = SessionConfig(inbound_strategy=strategy, event_queue_size=1)
    async with serve(carrier, seen, ("coroutine", "plain"), session) as server, carrier.raw(server) as peer:
        peer.send(batch("rm"))
        await peer.read(RESPONSE_SIZE * COUNT // 2)
        await until(lambda: len(seen.numbers) == COUNT)
        assert wanted() == seen.numbers
        assert (server.stats().overloads, server.stats().dropped_inbound) == (0, 0)


async def test_what_waits_is_bounded(carrier: Carrier, seen: Seen, until: Until) -> None:
    """Under a flood of mixed packets reading pauses at `max_inbound` bytes, and everything is handled in order."""
    count = 3000
    session = SessionConfig(max_inbound=16 * 1024)
    async with serve(carrier, seen, ("plain", "coroutine"), session) as server, carrier.raw(server) as peer:
        peer.send(batch("mr", count))
        await peer.read(RESPONSE_SIZE * count // 2)
        await until(lambda: len(seen.numbers) == count)
        assert wanted(count) == seen.numbers


def by_finishing(peer: RawPeer) -> None:
    peer.finish()


def by_garbage(peer: RawPeer) -> None:
    peer.send_wire(b"\xff" * 32)


@pytest.mark.parametrize(
    ("end", "reason"),
    [(by_finishing, CloseReason.NORMAL), (by_garbage, CloseReason.ERROR)],
    ids=["finishing", "garbage"],
)
async def test_an_end_right_behind_loses_nothing(
    carrier: Carrier,
    seen: Seen,
    end: Callable[[RawPeer], None],
    reason: CloseReason,
    hasty: SessionConfig,
    until: Until,
) -> None:
    """What came before the end of the connection, or before a violation, is handled."""
    ended: list[CloseReason] = []
    server = serve(carrier, seen, ("coroutine", "plain"), hasty)
    server.on_disconnect(lambda _, reason: ended.append(reason))
    async with server, carrier.raw(server) as peer:
        peer.send(batch("rm"))
        end(peer)
        await until(lambda: ended)
        assert ended == [reason]
        await until(lambda: len(seen.numbers) == COUNT)
        assert wanted() == sorted(seen.numbers)
        if end is by_finishing:
            assert wanted() == seen.numbers
        assert server.stats().discarded == 0


async def test_a_task_that_never_begins_holds_nobody_up(
    server: TransportServer, seen: Seen, carrier: Carrier, until: Until
) -> None:
    """A handler that is cancelled before it begins does not stop what is behind it."""

    def cancelling(context: Context) -> Awaitable[bytes]:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: [task.cancel() for task in context.session.running_handlers()])
        return loop.create_future()

    server.on_request(cancelling)
    server.on_message(seen.plain)
    async with carrier.raw(server) as peer:
        peer.send(batch("rm", 2))
        await until(lambda: 2 in seen.numbers)
        peer.send(batch("m", 1))
        await until(lambda: 1 in seen.numbers)
