"""Messages that other threads send on a session (case 27, on the wire)."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    Backpressure,
    BackpressureError,
    CodecOptions,
    Compression,
    ConfigurationError,
    Context,
    LocalProtocolError,
    SessionClosedError,
    SessionConfig,
    ThreadSender,
    TransportClient,
    TransportServer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Until

THREADS = 8
TIMES = 300


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def received(server: TransportServer) -> list[Context]:
    """The one-way messages that the server got."""
    contexts: list[Context] = []
    server.on_message(contexts.append)
    return contexts


async def in_threads(work: object, count: int = THREADS) -> None:
    """Run `work(number)` in threads of its own, all at the same time."""
    assert callable(work)
    together = threading.Barrier(count)

    def run(number: int) -> None:
        together.wait()
        work(number)

    loop = asyncio.get_running_loop()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await loop.run_in_executor(None, thread.join)


async def test_eight_threads_lose_nothing_and_keep_their_order(
    client: TransportClient, received: list[Context]
) -> None:
    """Every message of every thread arrives once, those of a thread in its order, and the counters add up (case 27)."""
    async with ThreadSender(client.session) as sender:

        def work(thread: int) -> None:
            for number in range(TIMES):
                sender.send(b"%d %d" % (thread, number))

        await in_threads(work)
    await client.request(b"behind")
    found = [tuple(map(int, context.payload.split())) for context in received]
    assert [(thread, number) for thread in range(THREADS) for number in range(TIMES)] == sorted(found)
    for thread in range(THREADS):
        mine = [number for by, number in found if by == thread]
        assert sorted(mine) == mine
    stats = sender.stats()
    assert (THREADS * TIMES, THREADS * TIMES) == (stats.accepted, stats.sent)
    assert (0, 0, 0, 0) == (stats.refused, stats.dropped, stats.queued, stats.queued_bytes)
    assert 1 <= stats.wakeups <= stats.accepted
    assert 1 <= stats.batches <= stats.accepted


async def test_a_batch_wakes_the_loop_once(client: TransportClient, received: list[Context]) -> None:
    """What is queued before the loop has its turn goes with one wake-up, in one batch."""
    sender = ThreadSender(client.session)
    thread = threading.Thread(target=lambda: [sender.send(b"%d" % number) for number in range(50)])
    thread.start()
    thread.join()  # the loop stands still meanwhile
    await sender.flush()
    await client.request(b"behind")
    assert [b"%d" % number for number in range(50)] == [context.payload for context in received]
    assert (1, 1, 50) == (sender.stats().wakeups, sender.stats().batches, sender.stats().sent)


async def test_everything_about_a_message_travels(client: TransportClient, received: list[Context]) -> None:
    """biz_type, ext header, flags and compression arrive as with `send`; ids count from 1."""
    async with ThreadSender(client.session) as sender:
        for number in range(2):
            sender.send(bytes(999), biz_type=7, ext_header=b"trace", flags=4 + number, compression=Compression.ZLIB)
    await client.request(b"behind")
    assert [(bytes(999), 7, b"trace", 4 + number, Compression.ZLIB, 1 + number) for number in range(2)] == [
        (each.payload, each.biz_type, each.ext_header, each.flags, each.compression, each.message_id)
        for each in received
    ]


async def test_a_full_sender_refuses_in_the_thread(client: TransportClient, received: list[Context]) -> None:
    """At `max_bytes` send raises, in the thread that sends, and counts; once the loop has been there, there is room."""
    sender = ThreadSender(client.session, max_bytes=3 * (160 + 16 + 4))
    for _ in range(3):
        sender.send(b"four")
    with pytest.raises(BackpressureError, match="bytes from other threads"):
        sender.send(b"four")
    assert (3, 1, 3, 540) == (
        sender.stats().accepted,
        sender.stats().refused,
        sender.stats().queued,
        sender.stats().queued_bytes,
    )
    await sender.flush()
    sender.send(b"more")
    await sender.close()
    await client.request(b"behind")
    assert 4 == len(received)


async def test_a_peer_that_does_not_read_holds_the_messages_here(server: TransportServer, until: Until) -> None:
    """Above high_water messages wait in the sender, not in the session, and go on in order when the peer reads."""
    gate, seen = asyncio.Event(), []

    @server.on_message
    async def slowly(context: Context) -> None:
        await gate.wait()
        seen.append(context.payload[:4])

    config = SessionConfig(high_water=1024)
    async with TransportClient(server.uris[0], session=config) as client:
        sender = ThreadSender(client.session, max_bytes=64 << 20)
        expected = []
        while not client.session.congested or sender.stats().queued < 100:
            for _ in range(20):
                expected.append(b"%04d" % len(expected))
                sender.send(expected[-1] + bytes(60_000))
            await asyncio.sleep(0)
        assert client.session.stats().outbound_bytes < 4 << 20
        gate.set()
        await sender.close()
        await client.request(b"behind")
        await until(lambda: len(seen) == len(expected))
    assert expected == sorted(seen)
    assert len(expected) == sender.stats().sent


async def test_mistakes_show_in_the_thread(client: TransportClient) -> None:
    """What cannot be encoded is refused by `send`, and nothing is queued."""
    sender = ThreadSender(client.session)
    with pytest.raises(LocalProtocolError, match="biz_type 300"):
        sender.send(b"", biz_type=300)
    with pytest.raises(TypeError, match="payload must be bytes"):
        sender.send("text")  # type: ignore[arg-type]  # on purpose
    small = SessionConfig(codec=CodecOptions(max_payload_size=10))
    async with TransportClient(client.uri, session=small) as other:
        with pytest.raises(LocalProtocolError, match="exceeds max_payload_size"):
            ThreadSender(other.session).send(bytes(11))
    assert 0 == sender.stats().accepted


async def test_a_session_that_closes_drops_what_is_queued(client: TransportClient) -> None:
    """What the loop did not get to in time is counted as dropped; from then on `send` raises."""
    sender = ThreadSender(client.session)
    for _ in range(5):
        sender.send(b"too late")
    client.session.abort()
    await sender.flush()
    assert (5, 0, 5, 0) == (
        sender.stats().accepted,
        sender.stats().sent,
        sender.stats().dropped,
        sender.stats().queued,
    )
    with pytest.raises(SessionClosedError):
        sender.send(b"later")


async def test_a_closed_sender_takes_nothing(client: TransportClient, received: list[Context]) -> None:
    """`close` hands over what is queued and refuses the rest; the session stays open."""
    sender = ThreadSender(client.session)
    sender.send(b"before")
    await sender.close()
    with pytest.raises(SessionClosedError):
        sender.send(b"after")
    await client.request(b"behind")
    assert [b"before"] == [context.payload for context in received]


async def test_a_session_that_refuses_counts_as_dropped(
    server: TransportServer, received: list[Context], until: Until
) -> None:
    """Under REJECT the session refuses what is above high_water; the counters say how many that were."""
    config = SessionConfig(high_water=1, max_outbound=1 << 20, outbound_strategy=Backpressure.REJECT)
    async with TransportClient(server.uris[0], session=config) as client:
        sender = ThreadSender(client.session, max_bytes=1 << 30)
        for _ in range(400):
            sender.send(bytes(64_000))
        await sender.flush()
        stats = sender.stats()
        assert 400 == stats.accepted == stats.sent + stats.dropped
        assert stats.dropped > 0
        await until(lambda: not client.session.congested)
        await client.request(b"behind")
        assert stats.sent == len(received)


def make_with_backlog(messages: int) -> ThreadSender:
    """A sender whose loop has ended and closed while all of that waited for a peer that does not read."""
    listener = socket.create_server(("127.0.0.1", 0))

    async def make() -> ThreadSender:
        client = TransportClient(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        await client.connect()
        sender = ThreadSender(client.session, max_bytes=1 << 30)
        while not client.session.congested or sender.stats().queued < messages:
            sender.send(bytes(50_000))
            await asyncio.sleep(0)
        draining = sender._draining
        assert draining is not None
        draining.cancel()  # as asyncio.run does
        await asyncio.wait((draining,))
        sender._session = FrozenOpen()  # type: ignore[assignment]  # nobody is left to tell the session of its end
        await client.close(graceful=False)
        return sender

    with listener:
        return asyncio.run(make())


def test_a_loop_that_is_gone_is_told_in_the_thread() -> None:
    """After the loop has closed nothing is queued for nobody, also behind a backlog that is counted as dropped now."""
    sender = make_with_backlog(50)
    before = sender.stats()
    assert before.queued >= 50
    for _ in range(2):
        with pytest.raises(SessionClosedError):
            sender.send(b"")
    stats = sender.stats()
    assert (before.accepted, 0, 0) == (stats.accepted, stats.queued, stats.queued_bytes)
    assert stats.accepted == stats.sent + stats.dropped


def test_a_loop_that_closes_while_a_thread_sends() -> None:
    """A thread that finds the loop closed when it wakes it drops what it has queued, and is told."""

    async def make() -> ThreadSender:
        async with TransportServer(tcp="127.0.0.1:0") as server, TransportClient(server.uris[0]) as client:
            return ThreadSender(client.session)

    sender = asyncio.run(make())
    sender._session = FrozenOpen()  # type: ignore[assignment]  # as it was
    sender._loop = FrozenOpen()  # type: ignore[assignment]  # open when looked at, gone when woken
    with pytest.raises(SessionClosedError, match="loop"):
        sender.send(b"")
    assert (1, 1, 0) == (sender.stats().accepted, sender.stats().dropped, sender.stats().queued)


class FrozenOpen:
    """A session, and a loop, as a thread saw them."""

    is_open = True

    def is_closed(self) -> bool:
        return False

    def call_soon_threadsafe(self, _: object) -> None:
        raise RuntimeError("Event loop is closed")


async def test_handing_over_goes_on_after_somebody_cancelled_it(server: TransportServer, until: Until) -> None:
    """Who cancels all tasks of the loop delays what is queued; nothing of it is lost, and all keeps its order."""
    gate, seen = asyncio.Event(), []

    @server.on_message
    async def slowly(context: Context) -> None:
        await gate.wait()
        seen.append(int(context.payload[:4]))

    config = SessionConfig(high_water=1024)
    async with TransportClient(server.uris[0], session=config) as client:
        sender = ThreadSender(client.session, max_bytes=64 << 20)
        expected = 0
        while not client.session.congested or sender.stats().queued < 100:
            sender.send(b"%04d" % expected + bytes(60_000))
            expected += 1
            await asyncio.sleep(0)
        flushing = asyncio.create_task(sender.flush())
        await asyncio.sleep(0)
        draining = sender._draining
        assert draining is not None
        draining.cancel()
        await asyncio.wait((draining,))
        stats = sender.stats()
        assert (expected, 0) == (stats.sent + stats.queued, stats.dropped)
        gate.set()
        await flushing
        await client.request(b"behind")
        await until(lambda: len(seen) == expected)
    assert list(range(expected)) == sorted(seen)
    assert (expected, expected, 0) == (sender.stats().accepted, sender.stats().sent, sender.stats().queued)


async def test_flushing_ends_while_threads_go_on_sending(client: TransportClient, received: list[Context]) -> None:
    """`flush` waits for what was queued before, not for what comes meanwhile."""
    async with ThreadSender(client.session) as sender:
        stop = threading.Event()

        def work(_: int) -> None:
            while not stop.is_set():
                with suppress(BackpressureError):
                    sender.send(bytes(200))

        working = asyncio.create_task(in_threads(work, 2))
        try:
            for _ in range(3):
                await asyncio.sleep(0)
                accepted = sender.stats().accepted
                await sender.flush()
                stats = sender.stats()
                assert accepted <= stats.sent + stats.dropped
        finally:
            stop.set()
            await working
    assert sender.stats().accepted == sender.stats().sent
    await client.request(b"behind")
    assert len(received) == sender.stats().sent


async def test_flushes_end_in_their_order(client: TransportClient, received: list[Context]) -> None:
    """Each flush ends once its messages are handed over, and who cancels one holds up none of the others."""
    sender = ThreadSender(client.session)
    await sender.flush()
    flushes = []
    for number in range(3):
        sender.send(b"%d" % number)
        flushes.append(asyncio.create_task(sender.flush()))
    await asyncio.sleep(0)
    flushes[1].cancel()
    await asyncio.wait(flushes)
    assert [False, True, False] == [flush.cancelled() for flush in flushes]
    assert 3 == sender.stats().sent


@pytest.mark.parametrize("max_bytes", [0, 1.5, True, float("inf")])
async def test_arguments_are_checked(client: TransportClient, max_bytes: int) -> None:
    """A sender wants a session and a positive number of bytes."""
    with pytest.raises(ConfigurationError, match="max_bytes"):
        ThreadSender(client.session, max_bytes=max_bytes)
    with pytest.raises(ConfigurationError, match=r"client\.session"):
        ThreadSender(client)  # type: ignore[arg-type]  # on purpose
