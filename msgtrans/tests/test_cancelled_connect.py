"""Connecting that is cancelled at any point leaves a client that can connect again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgtrans import TransportClient

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
