"""QUIC connections of sessions, over UDP on this machine (cases 14 to 17)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgtrans import CloseReason, Context, QuicClientConfig, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.parametrize("mapping", ["stream", "uni"])


@pytest.fixture
async def serving() -> AsyncIterator[TransportServer]:
    """A server that echoes requests."""
    server = TransportServer(quic="127.0.0.1:0")

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    async with server:
        yield server


def client_of(server: TransportServer, mapping: str) -> TransportClient:
    return TransportClient(QuicClientConfig.insecure(server.uris[0]).replace(mapping=mapping))


async def test_requests_both_ways(serving: TransportServer, mapping: str) -> None:
    """Clients ask and are asked, in both mappings; closing is a normal end for both (case 17)."""
    async with client_of(serving, mapping) as client:
        client.on_request(lambda context: b"client: " + context.payload)
        answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(500)))
        assert [b"%d" % number for number in range(500)] == [answer.payload for answer in answers]
        [session] = serving.sessions.values()
        assert (await session.request(b"asked")).payload == b"client: asked"
        large = bytes(range(256)) * 8192
        assert (await client.request(large)).payload == large
    await session.wait_closed()
    assert (CloseReason.NORMAL, CloseReason.NORMAL) == (client.session.close_reason, session.close_reason)
