"""A server that accepts no more and goes on with what it has: what its workers do when others take over."""

from __future__ import annotations

import asyncio
import gc
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from msgtrans import ConnectError, Context, TransportServer

if TYPE_CHECKING:
    from carriers import Carrier

    from .conftest import Until

STREAMS = ["tcp", "tls", "ws", "wss"]


def echo(context: Context) -> bytes:
    return context.payload


@pytest.mark.parametrize("carrier", STREAMS, indirect=True)
async def test_open_sessions_go_on_and_nobody_new_comes(carrier: Carrier) -> None:
    """What connects after that is refused; sessions and their requests do not notice."""
    server = carrier.server()
    server.on_request(echo)
    async with server, carrier.client(server) as client:
        assert b"before" == (await client.request(b"before")).payload
        await server.stop_listening()
        with pytest.raises(ConnectError, match="nothing listens there"):
            await carrier.client(server).connect()
        assert b"after" == (await client.request(b"after")).payload


@pytest.mark.parametrize("carrier", ["ws", "wss"], indirect=True)
async def test_a_handshake_under_way_is_waited_for(carrier: Carrier, until: Until) -> None:
    """A connection that is not upgraded yet still becomes a session."""
    async with carrier.server() as server, carrier.raw(server, opened=False) as peer:
        (acceptor,) = [listener._acceptor for _, listener in server._listeners]
        await until(lambda: acceptor.deadlines)
        stopping = asyncio.ensure_future(server.stop_listening())
        await until(lambda: not server._listeners[0][1]._listening._servers[0].is_serving())
        assert not stopping.done()
        await peer.open("localhost")
        await stopping
        await until(lambda: server.sessions)


@pytest.mark.parametrize("carrier", ["ws"], indirect=True)
async def test_a_peer_that_says_nothing_is_not_waited_for_long(carrier: Carrier, until: Until) -> None:
    """Its handshake goes on, until the server stops."""
    async with carrier.server() as server, carrier.raw(server, opened=False) as peer:
        (acceptor,) = [listener._acceptor for _, listener in server._listeners]
        await until(lambda: acceptor.deadlines)
        await server.stop_listening()
        assert 1 == len(acceptor.deadlines)
        await server.stop()
        assert b"" == await peer.read_to_end()


async def test_a_listener_that_cannot_rest_is_closed() -> None:
    """Transports of plug-ins need not know more than to close; stopped servers have nothing to do."""

    class Plain:
        closed = False

        def close(self) -> None:
            self.closed = True

        async def wait_closed(self) -> None:
            pass

    server, plain = TransportServer(), Plain()
    await server.stop_listening()
    server._listeners.append(("plain", plain))
    await server.stop_listening()
    assert plain.closed
    await server.stop()


async def test_a_server_that_stops_while_connections_come_in_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever turn of the loop they come in: each is closed, and nothing is raised where nobody sees it."""
    for turns in range(6):
        async with TransportServer(tcp="127.0.0.1:0") as server:
            coming = [socket.socket() for _ in range(3)]
            for peer in coming:
                peer.setblocking(False)
                with suppress(BlockingIOError):
                    peer.connect(tuple(server.tcp_address))
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop()
            for peer in coming:
                with suppress(ConnectionResetError):
                    assert b"" == await asyncio.get_running_loop().sock_recv(peer, 1)
                peer.close()
    gc.collect()
    assert [] == caplog.records
