"""Peers that reset the connection at the worst moment: the session ends closed, and no foreign exception escapes."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from msgtrans import (
    CloseReason,
    Context,
    Packet,
    SessionClosedError,
    SessionState,
    TransportClient,
    TransportServer,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from carriers import RawPeer

    from .conftest import Until

    ConnectRaw = Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]

LIMIT = 30.0


def reset(connection: socket.socket) -> None:
    """Close with RST, at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("end", ["session", "server"])
async def test_closing_a_session_whose_peer_has_just_reset(server: TransportServer, until: Until, end: str) -> None:
    """A graceful close that meets a reset ends closed like any other."""
    peer = socket.create_connection(server.tcp_address)
    await until(lambda: server.sessions)
    session = server.sessions[1]
    if end == "session":
        reset(peer)
        await asyncio.wait_for(session.close(), LIMIT)
    else:
        stopping = asyncio.create_task(server.stop())
        asyncio.get_running_loop().call_soon(reset, peer)
        await asyncio.wait_for(stopping, LIMIT)
    assert session.state == SessionState.CLOSED
    assert not server.sessions


async def test_a_client_closes_although_its_server_has_just_reset() -> None:
    """A client that closes while the server's reset is on its way is closed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = TransportClient("tcp://{}:{}".format(*listening.getsockname()))
        await client.connect()
        reset(listening.accept()[0])
        await asyncio.wait_for(client.close(), LIMIT)
        assert client.session.state == SessionState.CLOSED


async def test_every_call_on_a_session_whose_peer_has_just_reset(server: TransportServer, until: Until) -> None:
    """Sending, asking, answering and closing raise nothing but errors of this package, at any point of a reset."""
    contexts: list[Context] = []
    server.on_request(contexts.append)
    peer = socket.create_connection(server.tcp_address)
    peer.sendall(encode(Packet(1, 1)))
    await until(lambda: contexts)
    session = server.sessions[1]
    reset(peer)
    session.send_nowait(b"x" * 100)
    contexts[0].respond(b"too late")
    with pytest.raises(SessionClosedError):
        await asyncio.wait_for(session.request(b""), LIMIT)
    await asyncio.wait_for(session.close(), LIMIT)
    assert session.state == SessionState.CLOSED


async def test_answers_after_our_side_is_finished(
    server: TransportServer, connect_raw: ConnectRaw, until: Until
) -> None:
    """Once a graceful close has said that nothing more comes, answering says that the session is closing."""
    contexts: list[Context] = []
    server.on_request(contexts.append)
    async with connect_raw(server) as peer:
        peer.send(encode(Packet(1, 1)) + encode(Packet(1, 2)))
        await until(lambda: len(contexts) == 2)
        session = server.sessions[1]
        closing = asyncio.create_task(session.close())
        assert await peer.read_to_end() == b""
        assert session.state == SessionState.CLOSING
        with pytest.raises(SessionClosedError):
            contexts[0].respond(b"too late")
        peer.abort()
        await asyncio.wait_for(closing, LIMIT)
    assert session.close_reason == CloseReason.NORMAL
