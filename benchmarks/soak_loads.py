"""What clients do in the soak program, each a coroutine that works until the world is ending and closes what it opened.

Not here: peers that do not speak the protocol, or not well (`soak_peers.py`); when loads run (`soak_clients.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TypeAlias

from soak_payloads import ANSWER, check, check_answer, make, numbered
from soak_server import BACK, ECHO, LATE, LATE_BY, SILENT, TALLY
from soak_world import ASKING, CARRIERS, STREAMS, Carrier, Sent, World

from msgtrans import (
    Closed,
    Compression,
    ConnectionPool,
    Established,
    EventStream,
    Flag,
    MessageReceived,
    ReconnectingClient,
    ReconnectingConfig,
    ResourceError,
    RetryConfig,
    SessionClosedError,
    SmartPoolConfig,
    ThreadSender,
    TransportClient,
    TransportError,
    TransportTimeoutError,
)
from msgtrans.middleware import fetch_statistics

Load: TypeAlias = Callable[[World], Awaitable[None]]
AGAIN = RetryConfig(max_retries=None, retry_interval=0.1, max_retry_interval=0.5)
COMPRESSIONS = (*[Compression.NONE] * 6, Compression.ZLIB, Compression.ZSTD)
MOST = 500_000  # bytes of a request through a link that cuts, or to be repeated


def loads() -> dict[str, Load]:
    """All loads by name."""
    found: dict[str, Load] = {}
    for carrier in CARRIERS:
        for load in (steady, coming_and_going, hurried, *([cut_off] if carrier.streamed else [])):
            found[f"{load.__name__} {carrier.scheme}"] = _over(load, carrier)
    found["pooled"] = pooled
    found["workers"] = workers
    found["limited"] = limited
    found["statistics"] = statistics
    found["threads"] = threads
    found["events"] = events
    return found


def _over(load: Callable[[World, Carrier], Awaitable[None]], carrier: Carrier) -> Load:
    return lambda world: load(world, carrier)


async def steady(world: World, carrier: Carrier) -> None:
    """A connection that nobody cuts: requests, messages, questions of the server; nothing is lost or comes twice."""
    sent = Sent(world)
    async with world.client(world.config(carrier)) as client:
        await asyncio.gather(
            _ask(world, client, sent, 25.0 * carrier.rate),
            _ask(world, client, sent, 25.0 * carrier.rate, BACK),
            _tell(world, client, sent, 20.0 * carrier.rate),
        )
        told = json.loads((await client.request(b"%d" % sent.stream, biz_type=TALLY)).payload)
        packets = client.session.packets_sent  # not before: messages may have waited to be written, the question too
    sent.compare(f"steady {carrier.scheme}", told, cut=False)
    if told["packets"] != packets:
        world.faults.note(f"steady {carrier.scheme}: {packets} packets left, {told['packets']} came")


async def _ask(world: World, client: TransportClient, sent: Sent, rate: float, biz_type: int = ECHO) -> None:
    """Requests one after the other, and several at once now and then."""
    while await world.pause(rate):
        several = 1 if world.chance.random() < 0.95 else world.chance.randrange(100)
        sizes = [world.size() if several == 1 else world.chance.randrange(200) for _ in range(several)]
        await asyncio.gather(*(_ask_once(world, client, sent, size, biz_type) for size in sizes))


async def _ask_once(world: World, client: TransportClient, sent: Sent, size: int, biz_type: int) -> None:
    payload = sent.payload(size, request=True)
    flags = Flag.HIGH_PRIORITY if size < 200 and world.chance.random() < 0.1 else 0
    code = world.chance.choice(COMPRESSIONS)
    answered = await client.request(payload, biz_type=biz_type, flags=flags, compression=code)
    check_answer(payload, answered.payload)
    sent.answered += 1
    world.seen["requests"] += 1


async def _tell(world: World, client: TransportClient, sent: Sent, rate: float) -> None:
    """Messages, in groups now and then."""
    while await world.pause(rate):
        for _ in range(1 if world.chance.random() < 0.95 else world.chance.randrange(200)):
            await client.send(
                sent.payload(min(world.size(), MOST), request=False), compression=world.chance.choice(COMPRESSIONS)
            )
            world.seen["messages"] += 1


async def cut_off(world: World, carrier: Carrier) -> None:
    """A client that reconnects, on a link that cuts: nothing is executed twice that is not idempotent."""
    sent = Sent(world)
    client = ReconnectingClient(
        [world.config(carrier, cut=True)], session=ASKING, retry=AGAIN, options=ReconnectingConfig(connections=1)
    )
    world.answering(client)
    with world.counting(client):
        try:
            await client.connect()
            await asyncio.gather(
                _ask_cut(world, client, sent, 15.0),
                _ask_cut(world, client, sent, 15.0),
                _ask_again(world, client, carrier, 10.0),
                _tell_cut(world, client, sent, 10.0),
            )
        finally:
            await client.close()
    async with world.client(world.config(carrier)) as plain:
        told = json.loads((await plain.request(b"%d" % sent.stream, biz_type=TALLY)).payload)
    sent.compare(f"cut_off {carrier.scheme}", told, cut=True)


async def _ask_cut(world: World, client: ReconnectingClient, sent: Sent, rate: float) -> None:
    while await world.pause(rate):
        payload = sent.payload(min(world.size(), MOST), request=True)
        try:
            check_answer(payload, (await client.request(payload, biz_type=ECHO, timeout=5.0)).payload)
        except (SessionClosedError, TransportTimeoutError) as error:
            world.went_wrong("cut_off", error, cut=True)
        else:
            sent.answered += 1
            world.seen["requests through cuts"] += 1


async def _ask_again(world: World, client: ReconnectingClient, carrier: Carrier, rate: float) -> None:
    """Requests that may be executed twice: only time or many cuts in a row let them fail."""
    again = Sent(world)
    while await world.pause(rate):
        payload = again.payload(min(world.size(), MOST), request=True)
        try:
            code = world.chance.choice(COMPRESSIONS)
            answered = await client.request(payload, biz_type=ECHO, compression=code, idempotent=True)
            check_answer(payload, answered.payload)
        except (SessionClosedError, TransportTimeoutError) as error:
            world.went_wrong(f"idempotent {carrier.scheme}", error, cut=True)
        else:
            world.seen["idempotent requests"] += 1


async def _tell_cut(world: World, client: ReconnectingClient, sent: Sent, rate: float) -> None:
    while await world.pause(rate):
        try:
            await client.send(sent.payload(min(world.size(), MOST), request=False), timeout=5.0)
        except (SessionClosedError, TransportTimeoutError) as error:
            world.went_wrong("cut_off", error, cut=True)


async def coming_and_going(world: World, carrier: Carrier) -> None:
    """Connections that are opened, used once, and ended in one of several ways."""
    while await world.pause(3.0 * carrier.rate):
        how = world.chance.choice(("close", "close", "abort", "cancel", "leave a request", "unused"))
        client = TransportClient(world.config(carrier), session=ASKING)
        with world.counting(client):
            if how == "cancel":
                await _cancelled(world, client.connect(), world.chance.random() * 0.01)
                await client.close(graceful=False)
                continue
            await client.connect()
            sent = Sent(world)
            if how != "unused":
                await _ask_once(world, client, sent, world.chance.randrange(2000), ECHO)
            if how == "leave a request":
                payload = sent.payload(10, request=True)
                waiting = asyncio.ensure_future(client.request(payload, biz_type=SILENT))
                await asyncio.sleep(0)
                client.session.abort()
                result = (await asyncio.gather(waiting, return_exceptions=True))[0]
                if not isinstance(result, SessionClosedError):
                    world.faults.note(f"a request of an aborted session ended with {result!r}")
            await client.close(graceful=how != "abort")
        world.seen[f"came and went: {how}"] += 1


async def hurried(world: World, carrier: Carrier) -> None:
    """Requests that time out, answers that come too late, and requests that are cancelled."""
    async with world.client(world.config(carrier)) as client:
        sent = Sent(world)
        while await world.pause(4.0 * carrier.rate):
            how = world.chance.choice(("silent", "late", "cancel", "in time"))
            payload = sent.payload(world.chance.randrange(1000), request=True)
            if how == "cancel":
                await _cancelled(world, client.request(payload, biz_type=LATE), world.chance.random() * 0.1)
            elif how == "in time":
                check_answer(payload, (await client.request(payload, biz_type=LATE)).payload)
            else:
                try:
                    kind, patience = (SILENT, 0.2) if how == "silent" else (LATE, LATE_BY / 2)
                    await client.request(payload, biz_type=kind, timeout=patience)
                    if how == "silent":
                        world.faults.note("a request had an answer that was never sent")
                except TransportTimeoutError:
                    world.seen["expected: requests without an answer in time"] += 1
            world.seen[f"hurried: {how}"] += 1


async def _cancelled(world: World, work: Awaitable[object], after: float) -> None:
    """Begin something and cancel it."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=after)
    task.cancel()
    result = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(result, Exception):
        world.faults.note(f"what was cancelled ended with {result!r}")


async def pooled(world: World) -> None:
    """A pool over several transports, partly on links that cut; callers wait for connections."""
    targets = [
        *(world.config(carrier) for carrier in STREAMS[:2]),
        *(world.config(carrier, cut=True) for carrier in STREAMS),
    ]
    size = SmartPoolConfig(initial_size=4, max_size=8, min_connections=2, expansion_cooldown=1, shrink_cooldown=5)
    async with ConnectionPool(targets, config=size, session=ASKING, retry=AGAIN, idle_timeout=20.0) as pool:
        await asyncio.gather(*(_ask_pool(world, pool, 5.0) for _ in range(10)))
        if pool.stats().active_connections:
            world.faults.note(f"a pool has {pool.stats().active_connections} connections in use that nobody uses")


async def _ask_pool(world: World, pool: ConnectionPool, rate: float) -> None:
    sent = Sent(world)
    while await world.pause(rate):
        payload = sent.payload(world.chance.randrange(5000), request=True)
        try:
            async with pool.acquire(timeout=5.0) as client:
                slow = world.chance.random() < 0.1
                check_answer(payload, (await client.request(payload, biz_type=LATE if slow else ECHO)).payload)
        except (SessionClosedError, TransportTimeoutError, ResourceError) as error:
            world.went_wrong("pooled", error, cut=True)
        else:
            world.seen["requests through a pool"] += 1


async def workers(world: World) -> None:
    """Clients of the server with several processes: one that stays, one that is cut and reconnects, a pool."""
    targets = [world.plain("workers"), world.plain("workers", cut=True)]
    client = ReconnectingClient(targets, session=ASKING, retry=AGAIN, options=ReconnectingConfig(connections=4))
    with world.counting(client):
        try:
            await client.connect()
            size = SmartPoolConfig(initial_size=3, max_size=6, min_connections=1)
            async with ConnectionPool(targets, config=size, session=ASKING, retry=AGAIN) as pool:
                again = [_ask_again(world, client, STREAMS[0], 15.0) for _ in range(3)]
                await asyncio.gather(*again, *(_ask_pool(world, pool, 5.0) for _ in range(4)))
        finally:
            await client.close()


async def limited(world: World) -> None:
    """More requests than a server lets through: they wait, and none is lost."""
    sent = Sent(world)
    async with world.client(world.plain("limited")) as client:
        while await world.pause(0.3):
            several = world.chance.randrange(300)
            await asyncio.gather(*(_ask_once(world, client, sent, 20, ECHO) for _ in range(several)))
        told = json.loads((await client.request(b"%d" % sent.stream, biz_type=TALLY)).payload)
    sent.compare("limited", told, cut=False)


async def statistics(world: World) -> None:
    """Somebody who asks the servers how they are."""
    for name in ("tcp", "workers"):
        async with world.client(world.plain(name)) as client:
            while await world.pause(0.5):
                try:
                    await fetch_statistics(client)
                except TransportError as error:
                    world.went_wrong("statistics", error, cut=False)
                if world.chance.random() < 0.3:
                    break


async def threads(world: World) -> None:
    """Messages from another thread: all come, in their order."""
    sent = Sent(world)
    async with world.client(world.config(STREAMS[0])) as client:
        while await world.pause(0.5):
            several = [sent.payload(world.chance.randrange(2000), request=False) for _ in range(100)]
            async with ThreadSender(client.session) as sender:
                await asyncio.to_thread(_send_all, sender, several)
            world.seen["messages of threads"] += len(several)
        told = json.loads((await client.request(b"%d" % sent.stream, biz_type=TALLY)).payload)
    sent.compare("threads", told, cut=False)


def _send_all(sender: ThreadSender, several: list[bytes]) -> None:
    for payload in several:
        sender.send(payload)


async def events(world: World) -> None:
    """A client whose events are read, a little late: the first is Established, the last Closed, none is left out."""
    client = TransportClient(world.config(STREAMS[0]), session=ASKING)
    stream = client.events()
    with world.counting(client):
        async with client:
            reading = asyncio.ensure_future(_read_events(world, stream))
            while await world.pause(0.5):
                await client.request(make(numbered(world.stream(), 1), 50), biz_type=ECHO)
        numbers = await reading
    if any(later != one + 1 for one, later in pairwise(numbers)):
        world.faults.note(f"events told of broadcasts {numbers}")
    if client.stats().unseen_sessions:
        world.faults.note("an event stream that was read has left out a session")


async def _read_events(world: World, stream: EventStream) -> list[int]:
    """The numbers of the broadcasts that it told of."""
    numbers: list[int] = []
    kinds: list[type[object]] = []
    async for event in stream:
        kinds.append(type(event))
        if isinstance(event, MessageReceived):
            numbers.append(check(event.context.payload) & ~ANSWER)
        await asyncio.sleep(world.chance.random() * 0.5)
    if kinds[0] is not Established or kinds[-1] is not Closed:
        world.faults.note(f"events began with {kinds[0]} and ended with {kinds[-1]}")
    world.seen["events"] += len(kinds)
    return numbers
