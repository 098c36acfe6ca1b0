"""What versions of the Rust crate cannot do, seen with them: what the peer profiles are for (specification 8).

Not here: that the profiles help (`test_rust_servers`, `test_rust_clients`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from rust_peers import LIMIT, Peer, connected, ends, serving

from msgtrans import CloseReason, ConnectError, SessionClosedError, TransportClient, TransportTimeoutError
from msgtrans.config import NO_RETRY

pytestmark = pytest.mark.skipif(
    not Peer("1.0.0", "tcp").program.exists(), reason="`make test-interop` builds the peers"
)


async def heard(client: TransportClient) -> None:
    """Ask until it answers: it loses what comes before it listens to its own events (8.3)."""
    for _ in range(20):
        with suppress(TransportTimeoutError):
            await client.request(b"heard?", timeout=LIMIT / 20)
            return
    raise AssertionError("the peer does not answer")


async def test_a_packet_above_8192_bytes_ends_a_connection_of_1_0_0():
    """It takes what it has not read yet for the end of the connection (8.1)."""
    async with connected(Peer("1.0.0", "tcp"), peer_profile="modern", pacing=None) as (program, client):
        reasons = ends(client)
        await heard(client)
        with pytest.raises(SessionClosedError):
            await client.request(bytes(9000))
        assert CloseReason.NORMAL == await asyncio.wait_for(reasons.get(), LIMIT)
        assert "Normal" == (await program.line("closed"))["reason"]


async def test_packets_of_one_write_are_lost_by_1_0_0():
    """Of what one of its reads delivers it takes the first packet (8.1); a busy machine reads more than once."""
    async with connected(Peer("1.0.0", "tcp"), peer_profile="modern", pacing=None) as (_, client):
        got: list[bytes] = []
        back = asyncio.Event()

        @client.on_message
        def keep(context):
            got.append(context.payload)
            back.set()

        await heard(client)
        for index in range(10):
            client.session.send_nowait(b"%d" % index)
        await asyncio.wait_for(back.wait(), LIMIT)  # what came in one read has been read now
        await heard(client)
    assert b"0" == got[0]
    assert len(got) < 10


async def test_one_http_request_ends_the_websocket_listener_of_1_0_0():
    """A handshake that fails ends its accept loop: never probe such a port (8.4)."""
    peer = Peer("1.0.0", "ws")
    async with serving(peer) as (_, port):
        async with TransportClient(peer.target(port)) as client:
            assert b"before" == (await client.request(b"before")).payload
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.wait_for(reader.read(), LIMIT)
        writer.close()
        with pytest.raises(ConnectError):
            await TransportClient(peer.target(port, retry_config=NO_RETRY)).connect()


async def test_handshakes_that_last_are_dropped_by_1_0_10():
    """Each 200 ms it looks whether it should stop, and forgets the WebSocket or QUIC handshake that is under way."""
    peer = Peer("1.0.10", "ws")
    async with serving(peer) as (_, port):
        async with TransportClient(peer.target(port)) as client:
            assert b"quick" == (await client.request(b"quick")).payload
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert b"" == await asyncio.wait_for(reader.read(), LIMIT)  # we have not said anything yet
        writer.close()


@pytest.mark.parametrize("version", ["1.0.10", "2.0"])
async def test_application_protocols_that_a_rust_server_does_not_have_are_refused(version: str):
    """1.0 has none on QUIC, 2.0 one of its own, and both refuse all others with a clear error here (case 14)."""
    peer = Peer(version, "quic")
    async with serving(peer) as (_, port):
        async with TransportClient(peer.target(port)):
            pass  # it listens by now
        target = peer.target(port, peer_profile="modern", alpn=("h3",), retry_config=NO_RETRY)
        with pytest.raises(ConnectError, match="application protocols"):
            await TransportClient(target).connect()
