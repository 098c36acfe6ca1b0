"""Conformance cases 6, 7, 12, 13 and 18 to 24 of the specification's section 10 on every transport.

What the tests of sessions, backpressure and hostile peers show already is not repeated; they run on all of them too.

Cases 1 to 5 are in `test_codec`, 8 in `test_pacing`, 11 in the tests of the WebSocket handshake.
"""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT

from msgtrans import (
    Closed,
    CloseReason,
    CodecOptions,
    Context,
    Established,
    MessageReceived,
    Packet,
    RemoteProtocolError,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import Carrier, RawPeer

    from msgtrans import Event, EventStream

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]

ON_EVERY_CARRIER = True
ASKED = encode(Packet(1, 7, b"payload", 3, b"ext header", 4))
ANSWERED = encode(Packet(2, 7, b"payload", 3))


async def to_the_end(events: EventStream) -> list[Event]:
    """The events up to the first Closed."""
    seen: list[Event] = []
    async with asyncio.timeout(LIMIT):
        async for event in events:
            seen.append(event)
            if isinstance(event, Closed):
                break
    return seen


async def test_06_cut_at_every_offset(server: TransportServer, connect_raw: ConnectRaw, until: Until) -> None:
    """A request whose bytes arrive in two reads, cut anywhere, is answered as if it had come whole."""
    async with connect_raw(server) as peer:
        peer.send(ASKED)
        assert await peer.read(len(ANSWERED)) == ANSWERED
        (session,) = server.sessions.values()
        for at in range(1, len(peer.wire(ASKED))):
            data = peer.wire(ASKED)
            before = session.bytes_received
            peer.send_wire(data[:at])
            await until(lambda before=before, at=at: session.bytes_received == before + at)
            peer.send_wire(data[at:])
            assert await peer.read(len(ANSWERED)) == ANSWERED


async def test_06_one_byte_writes(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """Requests that arrive byte by byte are answered."""
    async with connect_raw(server) as peer:
        for _ in range(3):
            for byte in peer.wire(ASKED):
                peer.send_wire(bytes((byte,)))
                await asyncio.sleep(0)
            assert await peer.read(len(ANSWERED)) == ANSWERED


@pytest.mark.parametrize("size", [8192, 8193, 65_536, 1 << 20, (16 << 20) + 16])
async def test_06_exact_sizes_both_ways(carrier: Carrier, size: int) -> None:
    """Packets of exactly these sizes, the last one the limit, arrive whole in both directions."""
    config = SessionConfig(request_timeout=30)
    async with carrier.server(session=config) as server:
        server.on_request(lambda context: context.payload)
        async with carrier.client(server, session=config) as client:
            payload = random.Random(size).randbytes(size - 16)  # noqa: S311 - a pattern, not a secret
            assert (await client.request(payload)).payload == payload
            client.on_request(lambda context: context.payload[::-1])
            (session,) = server.sessions.values()
            assert (await session.request(payload)).payload == payload[::-1]


async def test_07_an_announcement_beyond_the_limit(carrier: Carrier, connect_raw: ConnectRaw) -> None:
    """A header that announces more than the limit ends the session before any body is sent, with one Closed."""
    codec = CodecOptions(max_payload_size=1000, max_ext_header_size=0)
    async with carrier.server(session=SessionConfig(codec=codec)) as server:
        events = server.events()
        async with connect_raw(server) as peer:
            if carrier.name == "quic":
                peer.send_wire(struct.pack(">I", 1017))
            elif carrier.framed:
                peer.send_wire(struct.pack(">BBHI", 0x82, 0xFE, 1017, 0))  # a frame of 16 + 1001 bytes, masked with 0
            else:
                peer.send_wire(struct.pack(">BBBBIHIH", 1, 0, 1, 0, 1, 0, 1001, 0))
            assert await peer.read_to_end() == b""
        established, closed = await to_the_end(events)
        assert isinstance(established, Established)
        assert isinstance(closed, Closed)
        assert (CloseReason.ERROR, True) == (closed.reason, isinstance(closed.error, RemoteProtocolError))
        assert server.kept == 0


@pytest.mark.parametrize("garbage", [b"\x00" * 64, b"\xff" * 5000, b"\x16\x03\x01\x00\x05hello, hello, hello", b"\n"])
async def test_07_13_garbage_instead_of_a_handshake(
    carrier: Carrier, server: TransportServer, client: TransportClient, garbage: bytes
) -> None:
    """Garbage as first bytes closes its connection and disturbs nobody, before and after."""
    await client.request(b"")
    for _ in range(3):
        if carrier.name == "quic":
            (await carrier.connect_and_say(server, garbage)).close()
            continue
        reader, writer = await asyncio.open_connection(*carrier.address(server))
        writer.write(garbage)
        writer.write_eof()
        with suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), LIMIT)
        writer.transport.abort()
    assert (await client.request(b"undisturbed")).payload == b"undisturbed"
    async with carrier.client(server) as late:
        assert (await late.request(b"late")).payload == b"late"


async def test_13_silent_clients_delay_nobody(carrier: Carrier, server: TransportServer, until: Until) -> None:
    """Connections that say nothing, however many, do not keep others from being served."""
    silent = [await carrier.connect_and_say(server, b"") for _ in range(50)]
    async with carrier.client(server) as client:
        assert (await client.request(b"served")).payload == b"served"
    for transport in silent:
        transport.abort()
    await until(lambda: not server.sessions)


@pytest.mark.parametrize("carrier", ["tls", "ws", "wss"], indirect=True)
async def test_13_silent_clients_are_dropped(carrier: Carrier, until: Until) -> None:
    """A client that does not finish its handshake is dropped after accept_timeout, and never becomes a session."""
    async with TransportServer(listen=[carrier.listener(accept_timeout=0.1)]) as server:
        reader, writer = await asyncio.open_connection(*carrier.address(server))
        with suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), LIMIT)
        writer.transport.abort()
        assert (0, 0) == (server.stats().connections_total, len(server.sessions))


async def test_12_large_messages_from_a_raw_peer(server: TransportServer, connect_raw: ConnectRaw) -> None:
    """2 MiB and 16 MiB in one packet come back whole."""
    async with connect_raw(server) as peer:
        for size in (2 << 20, 16 << 20):
            payload = random.Random(size).randbytes(size)  # noqa: S311 - a pattern, not a secret
            peer.send(encode(Packet(1, 1, payload)))
            assert await peer.read(16 + size) == encode(Packet(2, 1, payload))


async def test_19_late_answers_are_dropped(server: TransportServer, client: TransportClient, until: Until) -> None:
    """A timeout given with the call is honoured; the late answer is dropped and counted; the entry is gone."""
    contexts: list[Context] = []
    server.on_request(contexts.append)
    with pytest.raises(TransportTimeoutError) as caught:
        await client.request(b"", timeout=0.02)
    assert caught.value.seconds == pytest.approx(0.02, rel=1 / 64)
    assert client.session.stats().pending_requests == 0
    await until(lambda: contexts)
    contexts[0].respond(b"late")
    server.on_request(lambda context: context.payload)
    assert (await client.request(b"next")).payload == b"next"
    assert client.stats().stray_responses == 1


async def test_19_a_disconnect_fails_all_at_once(server: TransportServer, client: TransportClient) -> None:
    """However long their timeouts, pending requests fail when the connection goes, by close, abort or the peer."""
    server.on_request(lambda _: None)
    asked = [asyncio.create_task(client.request(b"", timeout=3600)) for _ in range(100)]
    await asyncio.sleep(0)
    await client.close(graceful=False)
    results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), LIMIT)
    assert {SessionClosedError} == {type(result) for result in results}


async def test_21_the_server_asks(server: TransportServer, client: TransportClient) -> None:
    """A request by the server is answered by the client's handler; one that nobody answers times out."""
    await client.request(b"")
    (session,) = server.sessions.values()
    client.on_request(lambda context: None if context.payload == b"never" else context.payload.upper())
    assert (await session.request(b"what time is it?")).payload == b"WHAT TIME IS IT?"
    with pytest.raises(TransportTimeoutError):
        await session.request(b"never", timeout=0.02)


async def test_22_closed_comes_once_and_last(carrier: Carrier, until: Until) -> None:
    """Whoever closes, each side sees Established first, then its messages, and Closed once and last."""
    server = carrier.server()
    server.on_request(lambda context: context.payload)
    async with server:
        for graceful in (True, False):
            for closer in ("client", "server"):
                ours = server.events()
                async with carrier.client(server) as client:
                    theirs = client.events()
                    await client.send(b"message")
                    await client.request(b"")
                    (session,) = server.sessions.values()
                    await session.send(b"message")
                    await session.close(graceful=graceful) if closer == "server" else await client.close(
                        graceful=graceful
                    )
                    await client.session.wait_closed()
                    await until(lambda: not server.sessions)
                seen = await to_the_end(ours)
                assert [Established, MessageReceived, Closed] == [type(event) for event in seen]
                assert not len(ours)
                assert isinstance([event async for event in theirs][-1], Closed)


async def test_22_an_abort_is_seen_as_an_end(server: TransportServer, client: TransportClient, until: Until) -> None:
    """A peer that vanishes without a word ends the session at the other side, once."""
    events = server.events()
    await client.request(b"")
    client.session.abort()
    seen = await to_the_end(events)
    assert [Closed] == [type(event) for event in seen if isinstance(event, Closed)]
    await until(lambda: not server.sessions)


async def test_23_a_burst_each_way_keeps_the_session(server: TransportServer, client: TransportClient) -> None:
    """40 messages each way at once, with slow consumers, all arrive, and the session goes on."""
    ours, theirs = server.events(), client.events()
    await client.request(b"")
    (session,) = server.sessions.values()
    for number in range(40):
        client.send_nowait(b"%d" % number)
        session.send_nowait(b"%d" % number)
    for events in (ours, theirs):
        seen = []
        while len(seen) < 40:
            event = await asyncio.wait_for(anext(events), LIMIT)
            if isinstance(event, MessageReceived):
                seen.append(event.context.payload)
            await asyncio.sleep(0)
        assert [b"%d" % number for number in range(40)] == seen
    assert (await client.request(b"alive")).payload == b"alive"


async def test_24_ids_wrap(server: TransportServer, client: TransportClient) -> None:
    """After 0xFFFFFFFF ids go on at 1, skip 0 and those that are pending, and answers still find their requests."""
    pending = client.session._pending
    server.on_request(lambda context: None if context.payload == b"hold" else context.payload)
    held = asyncio.create_task(client.request(b"hold", message_id=1))
    await asyncio.sleep(0)
    pending._next = 0xFFFFFFFF
    answers = [await client.request(b"%d" % number) for number in range(3)]
    assert [0xFFFFFFFF, 2, 3] == [answer.message_id for answer in answers]
    held.cancel()
