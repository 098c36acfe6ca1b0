"""What is known of a connection, the events of servers, and the budget of closing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    Closed,
    CloseReason,
    Context,
    Established,
    ServerStarted,
    ServerStopped,
    SessionConfig,
    SessionState,
    TransportClient,
    TransportServer,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import RawPeer

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]


async def test_both_ends_tell_the_same(server: TransportServer, client: TransportClient) -> None:
    """Addresses, counters and times of both ends of a connection agree, and times are Unix seconds."""
    before = time.time()
    for _ in range(3):
        await client.request(b"1234")
    here, there = client.session.info(), server.sessions[1].info()
    assert (here.local_address, here.peer_address) == (there.peer_address, there.local_address)
    assert (3, 3, 60, 60) == (here.packets_sent, here.packets_received, here.bytes_sent, here.bytes_received)
    assert (3, 3, 60, 60) == (there.packets_received, there.packets_sent, there.bytes_received, there.bytes_sent)
    assert (1, "tcp", False, SessionState.OPEN, None, None) == (
        there.session_id,
        there.protocol,
        there.secure,
        there.state,
        there.closed_at,
        there.identity,
    )
    for info in (here, there):
        assert before - 5 < info.established_at < time.time() + 1
        assert before - 0.1 <= info.last_activity <= time.time() + 0.1


async def test_activity_is_noted_both_ways(server: TransportServer, client: TransportClient, until: Until) -> None:
    """Reading and writing both count as activity; silence does not."""
    await client.request(b"")
    session = server.sessions[1]
    seen = session.active_at
    await asyncio.sleep(0.01)
    assert session.active_at == seen
    client.send_nowait(b"")
    await until(lambda: session.packets_received == 2)
    read = session.active_at
    assert read > seen
    await asyncio.sleep(0.01)
    session.send_nowait(b"")
    await until(lambda: session.packets_sent == 2)
    assert session.active_at > read


async def test_a_closed_session_still_tells(server: TransportServer, client: TransportClient, until: Until) -> None:
    """What was known stays known after the end, with the time of it."""
    await client.request(b"1234")
    session = server.sessions[1]
    peer = session.peer_address
    await client.close()
    await until(lambda: session.state is SessionState.CLOSED)
    info = session.info()
    assert (SessionState.CLOSED, peer, 1, 20) == (info.state, info.peer_address, info.packets_sent, info.bytes_sent)
    assert info.closed_at is not None
    assert info.established_at <= info.closed_at <= time.time()


async def test_a_server_tells_when_it_starts_and_stops(server: TransportServer) -> None:
    """Streams made before the start begin with ServerStarted; every stream ends with ServerStopped, after Closed."""
    other = TransportServer(tcp="127.0.0.1:0")
    events = other.events()
    for _ in range(2):
        async with other:
            uris = other.uris
            client = TransportClient(uris[0])
            await client.connect()
            while not other.sessions:  # noqa: ASYNC110 - until the server has accepted it
                await asyncio.sleep(0)
        seen = [event async for event in events]
        assert [ServerStarted(uris), Established, Closed, ServerStopped()] == [
            seen[0],
            type(seen[1]),
            type(seen[2]),
            *seen[3:],
        ]
        await client.close()
        events = other.events()


async def fill(server: TransportServer, peers: int, until: Until) -> None:
    """Queue more for every session than the system takes."""
    await until(lambda: len(server.sessions) == peers)
    for session in server.sessions.values():
        while not session.stats().outbound_bytes:
            session.send_nowait(bytes(1 << 20))
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["close_all", "stop"])
async def test_closing_all_keeps_its_budget(how: str, connect_raw: ConnectRaw, until: Until) -> None:
    """Peers that do not read cannot delay it: they are dropped at the timeout, and the reason says so."""
    reasons: list[CloseReason] = []
    server = TransportServer(tcp="127.0.0.1:0", session=SessionConfig(graceful_timeout=60))
    server.on_disconnect(lambda _, reason: reasons.append(reason))
    async with server, connect_raw(server) as one, connect_raw(server) as two:
        one.writer.transport.pause_reading()
        two.writer.transport.pause_reading()
        await fill(server, 2, until)
        async with asyncio.timeout(30), TransportClient(f"tcp://{server.tcp_address}") as good:
            await until(lambda: len(server.sessions) == 3)
            await (server.close_all(timeout=0.1) if how == "close_all" else server.stop(timeout=0.1))
            await until(lambda: not good.is_connected)
        assert not server.sessions
        assert [CloseReason.FORCED, CloseReason.FORCED, CloseReason.NORMAL] == sorted(reasons)


async def test_the_budget_is_graceful_timeout_by_default(
    hasty: SessionConfig, connect_raw: ConnectRaw, until: Until
) -> None:
    """Without a timeout, sessions get their graceful_timeout."""
    reasons: list[CloseReason] = []
    server = TransportServer(tcp="127.0.0.1:0", session=hasty.replace(write_timeout=30))
    server.on_disconnect(lambda _, reason: reasons.append(reason))
    async with server, connect_raw(server) as peer:
        peer.writer.transport.pause_reading()
        await fill(server, 1, until)
        async with asyncio.timeout(30):
            await server.close_all()
        assert [CloseReason.FORCED] == reasons


async def test_a_close_that_is_under_way_keeps_to_a_later_budget(connect_raw: ConnectRaw, until: Until) -> None:
    """close_all also ends what others began to close with more time."""
    server = TransportServer(tcp="127.0.0.1:0", session=SessionConfig(graceful_timeout=60))
    async with server, connect_raw(server) as peer:
        peer.writer.transport.pause_reading()
        await fill(server, 1, until)
        session = server.sessions[1]
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await server.close_all(timeout=0.05)
            await closing
        assert session.close_reason is CloseReason.FORCED


async def test_cancelling_close_all_drops_the_sessions(connect_raw: ConnectRaw, until: Until) -> None:
    """Who cannot wait any longer leaves no session half closed."""
    server = TransportServer(tcp="127.0.0.1:0", session=SessionConfig(graceful_timeout=60))
    async with server, connect_raw(server) as peer:
        peer.writer.transport.pause_reading()
        await fill(server, 1, until)
        closing = asyncio.create_task(server.close_all())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await until(lambda: not server.sessions)


async def test_a_handler_that_hangs_is_bounded_by_the_timeout_of_a_close(until: Until) -> None:
    """`close(timeout=...)` of a client and of a session bound what their handlers may still do."""
    async with TransportServer(tcp="127.0.0.1:0") as server:

        @server.on_message
        async def hang(_: Context) -> None:
            await asyncio.get_running_loop().create_future()

        async with TransportClient(f"tcp://{server.tcp_address}") as client:
            await client.send(b"")
            await until(lambda: server.sessions and server.sessions[1].stats().running_handlers)
            session = server.sessions[1]
            async with asyncio.timeout(30):
                await session.close(timeout=0.05)
            assert session.close_reason is CloseReason.FORCED
            await client.close(timeout=0.05)


async def test_sessions_may_stay_out_of_broadcasts(until: Until) -> None:
    """A session that wants no broadcasts gets none."""
    async with (
        TransportServer(tcp="127.0.0.1:0") as server,
        TransportClient(f"tcp://{server.tcp_address}"),
        TransportClient(f"tcp://{server.tcp_address}"),
    ):
        await until(lambda: len(server.sessions) == 2)
        server.sessions[1].in_broadcasts = False
        assert server.broadcast(b"") == 1
