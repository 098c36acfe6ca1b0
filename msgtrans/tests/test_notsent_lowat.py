"""What the system takes of a session ahead of what it can send: `notsent_lowat`, on every transport."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from carriers import CARRIERS, QUIC

from msgtrans import ConfigurationError, Pacing, TransportClient, TransportServer, UnifiedPort
from msgtrans.config import (
    NO_RETRY,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    WebSocketClientConfig,
    WebSocketServerConfig,
)

if TYPE_CHECKING:
    from carriers import Certificates

    from msgtrans import Session

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells"),
    pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the system has no such option"),
]
ANY = "127.0.0.1:0"


def limit(session: Session) -> int:
    """As the system tells it."""
    connection = session._link.get_extra_info("socket")
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)


async def limits(server: TransportServer, client: TransportClient) -> list[int]:
    """Of both sides of a connection."""
    server.on_request(lambda context: b"%d" % limit(context.session))
    async with client:
        return [int((await client.request(b"")).payload), limit(client.session)]


def client_of(uri: str, size: int | None, tls: TlsClientConfig | None = None, **options: object) -> TransportClient:
    options = {"tls": tls, "retry_config": NO_RETRY, "notsent_lowat": size} | options
    if uri.startswith("ws"):
        return TransportClient(WebSocketClientConfig(target_url=uri, **options))
    return TransportClient(TcpClientConfig(target_address=uri, **options))


@pytest.mark.parametrize("name", [name for name in CARRIERS if name != QUIC])
async def test_what_the_system_takes_ahead(name: str, certificates: Certificates) -> None:
    """notsent_lowat acts on the sockets of both sides, and accepted ones have it of the listening one."""
    tls = TlsServerConfig(certificate_file=certificates.server_file) if name in {"tls", "wss"} else None
    trust = TlsClientConfig(ca_file=certificates.authority_file) if tls is not None else None
    kind = WebSocketServerConfig if name in {"ws", "wss"} else TcpServerConfig
    for size in (5000, None):
        async with TransportServer(listen=kind(bind_address=ANY, tls=tls, notsent_lowat=size)) as server:
            assert [size or 0, 6000] == await limits(server, client_of(server.uris[0], 6000, trust))
            assert [size or 0, 0] == await limits(server, client_of(server.uris[0], None, trust))


async def test_on_paced_connections() -> None:
    """It acts where each packet is written by itself, too."""
    pacing = Pacing(settle=0)
    async with TransportServer(tcp=TcpServerConfig(bind_address=ANY, notsent_lowat=5000, pacing=pacing)) as server:
        assert [5000, 6000] == await limits(server, client_of(server.uris[0], 6000, pacing=pacing))


async def test_an_accepted_connection_keeps_nothing_for_it() -> None:
    """What a listening socket hands down needs no place in each connection."""
    configs = [
        TcpServerConfig(bind_address=ANY, notsent_lowat=5000),
        WebSocketServerConfig(bind_address=ANY, notsent_lowat=5000),
    ]
    async with TransportServer(listen=configs) as server:
        for uri in server.uris:
            async with client_of(uri, None) as client:
                server.on_request(lambda context: context.payload)
                await client.request(b"")
                (session,) = server.sessions.values()
                assert session._link._socket_options is None
                await session.close()


async def test_inside_a_listener_of_others() -> None:
    """Where the listening socket is somebody else's, each WebSocket connection gets its limit by itself."""
    async with TransportServer() as server:
        config = WebSocketServerConfig(notsent_lowat=5000)
        port = UnifiedPort(msgtrans=server.protocol_factory(), websocket=server.websocket_factory(config))
        listening = await asyncio.get_running_loop().create_server(port, "127.0.0.1", 0)
        number = listening.sockets[0].getsockname()[1]
        assert [5000, 0] == await limits(server, client_of(f"ws://127.0.0.1:{number}", None))
        listening.close()
        port.close()


@pytest.mark.parametrize("size", [0, 4095])
def test_too_small(size: int) -> None:
    """Less than 4096 bytes is refused."""
    with pytest.raises(ConfigurationError, match="notsent_lowat"):
        WebSocketServerConfig(notsent_lowat=size)
    with pytest.raises(ConfigurationError, match="notsent_lowat"):
        WebSocketClientConfig(target_url="ws://h:1", notsent_lowat=size)
