"""Connecting that is cancelled at any point leaves a client that can connect again."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING
from weakref import WeakSet

import pytest
from carriers import LIMIT, TLS, WSS

from msgtrans import TcpClientConfig, TlsClientConfig, TransportClient, WebSocketClientConfig

if TYPE_CHECKING:
    from msgtrans import TransportServer


@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_after_some_turns(server: TransportServer, turns: int) -> None:
    """Cancelled after any number of turns of the loop, a client is not connected, closes, and connects again."""
    client = TransportClient(server.uris[0])
    connecting = asyncio.create_task(client.connect())
    for _ in range(turns):
        await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    assert (not connecting.cancelled()) == client.is_connected
    await client.close()
    async with client:
        assert (await client.request(b"again", timeout=5)).payload == b"again"


@pytest.mark.parametrize("carrier", [TLS, WSS], indirect=True)
async def test_cancelled_during_the_handshake_leaves_nothing(server: TransportServer) -> None:
    """Cancelled at any point of a TLS handshake, a client is let go of within its `connect_timeout`."""
    tls = TlsClientConfig(verify=False)
    target: TcpClientConfig | WebSocketClientConfig = (
        WebSocketClientConfig(target_url=server.uris[0], tls=tls, connect_timeout=0.5)
        if server.uris[0].startswith("wss")
        else TcpClientConfig(target_address=server.uris[0].partition("//")[2], tls=tls, connect_timeout=0.5)
    )
    clients: WeakSet[TransportClient] = WeakSet()
    for turns in range(12):
        client = TransportClient(target)
        clients.add(client)
        connecting = asyncio.create_task(client.connect())
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        await client.close(graceful=False)
    del client, connecting
    async with asyncio.timeout(LIMIT):
        while True:
            gc.collect()
            if not clients:
                break
            await asyncio.sleep(0.05)
