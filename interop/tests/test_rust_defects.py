"""What versions of the Rust crate cannot do, seen with them: what the peer profiles are for (specification 8).

Not here: that the profiles help (`test_rust_servers`, `test_rust_clients`).
"""

from __future__ import annotations

import asyncio

import pytest
from rust_peers import LIMIT, Peer, connected, ends, serving

from msgtrans import CloseReason, ConnectError, SessionClosedError, TransportClient
from msgtrans.config import NO_RETRY

pytestmark = pytest.mark.skipif(
    not Peer("1.0.0", "tcp").program.exists(), reason="`make test-interop` builds the peers"
)


async def test_a_packet_above_8192_bytes_ends_a_connection_of_1_0_0():
    """It takes what it has not read yet for the end of the connection (8.1)."""
    async with connected(Peer("1.0.0", "tcp"), peer_profile="modern") as (program, client):
        reasons = ends(client)
        await asyncio.sleep(0.2)  # it loses what comes before it listens to its own events (8.3)
        with pytest.raises(SessionClosedError):
            await client.request(bytes(9000))
        assert CloseReason.NORMAL == await asyncio.wait_for(reasons.get(), LIMIT)
        assert "Normal" == (await program.line("closed"))["reason"]


async def test_packets_of_one_write_are_lost_by_1_0_0():
    """Of what one of its reads delivers it takes the first packet (8.1)."""
    async with connected(Peer("1.0.0", "tcp"), peer_profile="modern") as (_, client):
        got: list[bytes] = []
        client.on_message(lambda context: got.append(context.payload))
        await asyncio.sleep(0.2)  # as above
        for index in range(10):
            client.session.send_nowait(b"%d" % index)
        await asyncio.sleep(0.2)  # so that the next packet is read by itself
        assert b"barrier" == (await client.request(b"barrier")).payload
    assert [b"0"] == got


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


@pytest.mark.parametrize("version", ["1.0.10", "2.0"])
async def test_application_protocols_that_a_rust_server_does_not_have_are_refused(version: str):
    """1.0 has none on QUIC, 2.0 one of its own, and both refuse all others with a clear error here (case 14)."""
    peer = Peer(version, "quic")
    async with serving(peer) as (_, port):
        target = peer.target(port, peer_profile="modern", alpn=("h3",), retry_config=NO_RETRY)
        with pytest.raises(ConnectError, match="application protocols"):
            await TransportClient(target).connect()
