"""WebSocket with programs that are not ours, aiohttp and picows, as clients and servers; one port for everything."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import picows
import pytest
from aiohttp import web
from carriers import LIMIT

from msgtrans import CloseReason, Packet, TransportClient, TransportServer, UnifiedPort, decode, encode
from msgtrans.config import (
    NO_RETRY,
    TcpClientConfig,
    TlsClientConfig,
    WebSocketClientConfig,
    WebSocketServerConfig,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from carriers import Certificates
    from conftest import Until

ASK = encode(Packet(1, 1, b"hi"))
ANSWER = encode(Packet(2, 1, b"hi"))


@asynccontextmanager
async def echoing(**options: object) -> AsyncIterator[TransportServer]:
    """A server of ours that echoes requests."""
    server = TransportServer(ws=WebSocketServerConfig(**{"bind_address": "127.0.0.1:0"} | options))
    server.on_request(lambda context: context.payload)
    async with server:
        yield server


# aiohttp


@pytest.mark.parametrize("size", [2, 125, 126, 70_000, 2 << 20, (16 << 20) - 16])
async def test_aiohttp_asks(size: int) -> None:
    """A client of another library gets its answers, offers a subprotocol and compression, and is closed normally."""
    async with echoing() as server, aiohttp.ClientSession() as http:
        async with http.ws_connect(
            f"http://{server.ws_address}/any", protocols=("msgtrans.v1",), compress=15, max_msg_size=0
        ) as peer:
            assert "msgtrans.v1" == peer.protocol
            assert 0 == peer.compress
            (session,) = server.sessions.values()
            await peer.send_bytes(encode(Packet(1, 1, bytes(size))))
            assert encode(Packet(2, 1, bytes(size))) == await peer.receive_bytes(timeout=LIMIT)
            await peer.close(code=4000, message=b"enough")
        await session.wait_closed()
    assert CloseReason.NORMAL == session.close_reason
    assert "code 4000: enough" in str(session.close_error)


async def test_aiohttp_is_closed(until: Until) -> None:
    """A server that stops tells the other library so."""
    async with (
        echoing() as server,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"http://{server.ws_address}/") as peer,
    ):
        await until(lambda: server.sessions)
        stopping = asyncio.ensure_future(server.stop())
        assert aiohttp.WSMsgType.CLOSE == (await peer.receive(timeout=LIMIT)).type
        assert 1000 == peer.close_code
        await asyncio.wait_for(stopping, LIMIT)


@pytest.mark.parametrize("size", [2, 70_000, 2 << 20, (16 << 20) - 16])
async def test_aiohttp_answers(size: int) -> None:
    """A client of ours talks to a server of another library, which compresses nothing, pings, and closes."""
    seen: dict[str, object] = {}

    async def handle(request: web.Request) -> web.WebSocketResponse:
        peer = web.WebSocketResponse(protocols=("json", "msgtrans.v1"), autoping=False, max_msg_size=0)
        await peer.prepare(request)
        seen.update(protocol=peer.ws_protocol, path=request.path_qs, token=request.headers["Authorization"])
        async for message in peer:
            if message.type is aiohttp.WSMsgType.PONG:
                seen["pong"] = bytes(message.data)
                continue
            await peer.ping(b"there?")
            packet = decode(message.data)
            if packet.payload == b"leave":
                await peer.close(code=1001, message=b"going")
            else:
                await peer.send_bytes(encode(Packet(2, packet.message_id, packet.payload)))
        seen["code"] = peer.close_code
        return peer

    app = web.Application()
    app.router.add_get("/chat", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        config = WebSocketClientConfig(
            target_url=f"ws://{host}:{port}/chat?room=1",
            subprotocols=("msgtrans.v1",),
            headers={"Authorization": "Bearer x"},
        )
        async with TransportClient(config) as client:
            assert bytes(size) == (await client.request(bytes(size))).payload
        known = {"protocol": "msgtrans.v1", "path": "/chat?room=1", "token": "Bearer x", "pong": b"there?"}
        assert known.items() <= seen.items()
        async with TransportClient(config) as client:
            await client.send(b"leave")
            await asyncio.wait_for(client.session.wait_closed(), LIMIT)
            assert (CloseReason.NORMAL, None) == (client.session.close_reason, client.session.close_error)
    finally:
        await runner.cleanup()


# picows


class Collected(picows.WSListener):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            self.messages.put_nowait(frame.get_payload_as_bytes())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()


async def test_picows_asks() -> None:
    """A client of bare picows is served."""
    async with echoing() as server:
        transport, listener = await picows.ws_connect(Collected, f"ws://{server.ws_address}/")
        assert isinstance(listener, Collected)
        transport.send(picows.WSMsgType.BINARY, ASK)
        assert ANSWER == await asyncio.wait_for(listener.messages.get(), LIMIT)
        transport.send(picows.WSMsgType.BINARY, ASK[:5], fin=False)
        transport.send(picows.WSMsgType.CONTINUATION, ASK[5:])
        assert ANSWER == await asyncio.wait_for(listener.messages.get(), LIMIT)
        transport.send_close(picows.WSCloseCode.OK)
        await asyncio.wait_for(transport.wait_disconnected(), LIMIT)


async def test_picows_answers() -> None:
    """A client of ours is served by a server of bare picows."""

    class Answering(Collected):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            if frame.msg_type == picows.WSMsgType.BINARY:
                packet = decode(frame.get_payload_as_bytes())
                transport.send(picows.WSMsgType.BINARY, encode(Packet(2, packet.message_id, packet.payload)))
            else:
                super().on_ws_frame(transport, frame)

    server = await picows.ws_create_server(lambda _: Answering(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with TransportClient(f"ws://127.0.0.1:{port}/") as client:
            answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(100)))
            assert [b"%d" % number for number in range(100)] == [answer.payload for answer in answers]
        assert CloseReason.NORMAL == client.session.close_reason


# One port for MsgTrans, HTTP and WebSocket


class Http(asyncio.Protocol):
    """Answers every request with 200."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhttp")
        self.transport.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_one_port_for_everything(secure: bool, certificates: Certificates, until: Until) -> None:
    """MsgTrans, HTTP and WebSocket on one port of one server, plain and inside TLS."""
    context = None
    tls = TlsClientConfig(ca_file=certificates.authority_file) if secure else None
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server_file)
    server = TransportServer()
    server.on_request(lambda asked: b"%s %s" % (asked.session.protocol.encode(), asked.payload))
    config = WebSocketServerConfig(path="/msgtrans", idle_timeout=12.5, keepalive=30, nodelay=False)
    async with server:
        unified = UnifiedPort(msgtrans=server.protocol_factory(), http=Http, websocket=server.websocket_factory(config))
        listening = await asyncio.get_running_loop().create_server(unified, "127.0.0.1", 0, ssl=context)
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        ws, http = ("wss", "https") if secure else ("ws", "http")
        web_socket = WebSocketClientConfig(target_url=f"{ws}://{address}/msgtrans", tls=tls, retry_config=NO_RETRY)
        async with TransportClient(web_socket) as client:
            assert f"{ws} hi".encode() == (await client.request(b"hi")).payload
            (session,) = server.sessions.values()
            assert (ws, 12.5) == (session.protocol, session.config.idle_timeout)
        async with TransportClient(TcpClientConfig(target_address=address, tls=tls)) as client:
            assert (await client.request(b"hi")).payload == b"tcp hi"
        trust = ssl.create_default_context(cafile=certificates.authority_file)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session_of_http:
            async with session_of_http.get(f"{http}://{address}/") as response:
                assert "http" == await response.text()
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session_of_http.ws_connect(f"{http}://{address}/elsewhere")
            assert 404 == caught.value.status
        assert (1, 1, 2) == (unified.stats.msgtrans, unified.stats.http, unified.stats.websocket)
        listening.close()
        unified.close()
    await until(lambda: not server.sessions)
