"""A node with a certificate: every door inside TLS, MsgTrans over QUIC on UDP, and a plain port beside them."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import httpx
import pytest
from doors import instance

from artemis.cluster.mesh.wire import HELLO, Code, Refusal, decode_greeting
from artemis.server.app import NodeServer, offered_port
from artemis.server.claim import ListenError, Wanted, take
from artemis.server.operations import OPERATIONS
from artemis.testing.certificates import CertificateFiles, make_certificate
from msgtrans import (
    CloseReason,
    ConnectError,
    QuicClientConfig,
    TcpClientConfig,
    TlsClientConfig,
    TransportClient,
    TransportError,
    WebSocketClientConfig,
)
from msgtrans.config import NO_RETRY

REGISTER, HEARTBEAT, STATUS, SUBSCRIBE, PUSH, CONFIRM, UP_NODES = 1, 2, 32, 24, 26, 27, 48
SWITCHING = "/api/v1/self-preservation/switch"
OFFERING = ("/api/cluster/up-registry-nodes.json", "/api/cluster/up-discovery-nodes.json", "/api/status/node.json")
WAYS = pytest.mark.parametrize("way", ["tls", "wss", "quic"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """Make an authority and a certificate for this machine."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def secure(start: Callable, certificate: CertificateFiles) -> AsyncIterator[NodeServer]:
    """Run a node with a certificate, and a plain port."""
    async with start(**certificate.options, plain_port=0) as server:
        yield server


def trusting(certificate: CertificateFiles) -> ssl.SSLContext:
    """Return a context that trusts the authority alone."""
    return ssl.create_default_context(cafile=certificate.ca_file)


@contextmanager
def taken_on_udp() -> Iterator[int]:
    """Hold a port of UDP whose number nobody has on TCP; nobody else is given that one, and a node, which reuses it,
    can listen there."""
    with ExitStack() as held:
        while True:
            free = held.enter_context(socket.socket())
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", 0))
            taken = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                taken.bind(free.getsockname())
            except OSError:
                continue
            yield free.getsockname()[1]
            return


class Caller:
    """A MsgTrans client that keeps what is pushed."""

    def __init__(self, client: TransportClient) -> None:
        self.client = client
        self.pushes: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self.ended: asyncio.Future[CloseReason] = asyncio.get_running_loop().create_future()
        client.on_message(lambda context: self.pushes.put_nowait(json.loads(context.payload)))
        client.on_disconnect(lambda _, reason: self.ended.set_result(reason))

    async def call(self, operation: int, content: object, ext_header: bytes = b"") -> dict[str, object]:
        """Call an operation."""
        packet = await self.client.request(json.dumps(content).encode(), biz_type=operation, ext_header=ext_header)
        decoded: dict[str, object] = json.loads(packet.payload)
        return decoded


@asynccontextmanager
async def calling(server: NodeServer, way: str, certificate: CertificateFiles) -> AsyncIterator[Caller]:
    """Connect over `tls`, `wss` or `quic`, or without TLS over `tcp` or `ws`."""
    tls = TlsClientConfig(ca_file=certificate.ca_file)
    host, port = server.address if way in {"tls", "wss", "quic"} else server.plain_address
    config = {
        "tls": lambda: TcpClientConfig(target_address=f"{host}:{port}", tls=tls, retry_config=NO_RETRY),
        "tcp": lambda: TcpClientConfig(target_address=f"{host}:{port}", retry_config=NO_RETRY),
        "wss": lambda: WebSocketClientConfig(
            target_url=f"wss://{host}:{port}/msgtrans", tls=tls, retry_config=NO_RETRY
        ),
        "ws": lambda: WebSocketClientConfig(target_url=f"ws://{host}:{port}/msgtrans", retry_config=NO_RETRY),
        "quic": lambda: QuicClientConfig(target_address=f"{host}:{port}", tls=tls, retry_config=NO_RETRY),
    }[way]()
    client = TransportClient(config)
    caller = Caller(client)
    async with client:
        yield caller


async def registered_and_told(caller: Caller) -> None:
    """Subscribe, register, be told of it, beat and confirm."""
    subscribed = await caller.call(SUBSCRIBE, {"serviceIds": ["demo.orders"]})
    assert "success" == subscribed["responseStatus"]["errorCode"]
    assert "success" == (await caller.call(REGISTER, {"instances": [instance()]}))["responseStatus"]["errorCode"]
    while not (pushed := await asyncio.wait_for(caller.pushes.get(), 30))["changes"]:
        pass
    assert "10.0.0.7" == pushed["changes"][0]["instance"]["instanceId"]
    assert (await caller.call(HEARTBEAT, {"instances": [instance()]}))["failedInstances"] is None
    assert (await caller.call(CONFIRM, {}))["current"]


@pytest.mark.parametrize("way", ["tls", "wss", "quic", "tcp", "ws"])
async def test_every_way_of_msgtrans_has_all_of_it(secure: NodeServer, certificate: CertificateFiles, way: str) -> None:
    """Calls, subscriptions, pushes and confirmations are the same inside TLS, over QUIC and on the plain port."""
    async with calling(secure, way, certificate) as caller:
        await registered_and_told(caller)


async def test_https_tells_of_https_and_quic(secure: NodeServer, certificate: CertificateFiles) -> None:
    """The node's URL is https, and the answers that name nodes or tell of this one say where QUIC is (RFC 7838)."""
    port = secure.address[1]
    connector = aiohttp.TCPConnector(ssl=trusting(certificate))
    async with aiohttp.ClientSession(secure.url, connector=connector) as session:
        for path in OFFERING:
            async with session.post(path, json={}) as answer:
                assert f'msgtrans%2F1=":{port}"' == answer.headers["Alt-Svc"]
                assert f"https://127.0.0.1:{port}" in await answer.text()
            async with session.get(path) as answer:
                assert f'msgtrans%2F1=":{port}"' == answer.headers["Alt-Svc"]
        async with session.post("/api/registry/register.json", json={"instances": []}) as answer:
            assert "Alt-Svc" not in answer.headers
        for page in ("/metrics", "/docs", "/health/ready", "/api/v1/services"):
            async with session.get(page) as answer:
                assert 200 == answer.status
    assert [f"http://127.0.0.1:{secure.plain_address[1]}", f"quic://127.0.0.1:{port}"] == secure.further_urls


async def test_other_clients_speak_https(secure: NodeServer, certificate: CertificateFiles) -> None:
    """So does httpx, and both connections are kept."""
    async with httpx.AsyncClient(base_url=secure.url, verify=trusting(certificate)) as client:
        for _ in range(2):
            answer = await client.post("/api/registry/register.json", json={"instances": [instance()]})
            assert "success" == answer.json()["responseStatus"]["errorCode"]


@pytest.mark.parametrize("plain", [False, True])
async def test_java_sessions_come_in_on_both_ports(
    secure: NodeServer, certificate: CertificateFiles, plain: bool
) -> None:
    """Heartbeats of Java clients over wss, and over ws on the plain port."""
    url = secure.further_urls[0] if plain else secure.url
    async with (
        aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=trusting(certificate))) as session,
        session.post("/api/registry/register.json", json={"instances": [instance()]}),
        session.ws_connect("/ws/registry/heartbeat") as opened,
    ):
        await opened.send_json({"instances": [instance()]})
        assert "success" == (await opened.receive_json())["responseStatus"]["errorCode"]


@pytest.mark.parametrize(("operation", "offered"), [(UP_NODES, True), (49, True), (STATUS, True), (REGISTER, False)])
async def test_msgtrans_tells_of_quic(
    secure: NodeServer, certificate: CertificateFiles, operation: int, offered: bool
) -> None:
    """The same answers have the option `quic`, beside `format`."""
    offer = f"quic={secure.address[1]}".encode() if offered else b""
    for way in ("tls", "quic", "tcp"):
        async with calling(secure, way, certificate) as caller:
            answer = await caller.client.request(b"{}", biz_type=operation)
            assert offer == answer.ext_header
            answer = await caller.client.request(b"\x80", biz_type=operation, ext_header=b"format=msgpack")
            assert (b"format=msgpack;" + offer).rstrip(b";") == answer.ext_header


@pytest.mark.parametrize("certified", [False, True])
async def test_who_serves_no_quic_offers_none(start: Callable, certificate: CertificateFiles, certified: bool) -> None:
    """Without a certificate, and with --no-quic, nothing is bound on UDP and nothing told of."""
    options = {**certificate.options, "quic": False} if certified else {}
    async with start(**options) as server:
        assert [] == server.further_urls
        assert "quic" not in server.counters
        connector = aiohttp.TCPConnector(ssl=trusting(certificate))
        async with (
            aiohttp.ClientSession(server.url, connector=connector) as session,
            session.get(OFFERING[0]) as answer,
        ):
            assert 200 == answer.status
            assert "Alt-Svc" not in answer.headers
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(server.address)


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://n1:443/", 443), ("https://n1/", 443), ("https://n1:8444", 8444), ("http://n1:8080", 8443)],
)
def test_the_port_that_is_offered_is_that_of_the_url(url: str, port: int) -> None:
    """Behind a mapping of ports, clients know that number; unless the URL leads to the plain port."""
    assert port == offered_port(url, 8443)


async def test_statistics_know_the_door(secure: NodeServer, certificate: CertificateFiles) -> None:
    """Requests and open connections are counted for QUIC like for any other door, sessions with those of MsgTrans."""
    async with (
        calling(secure, "quic", certificate) as caller,
        aiohttp.ClientSession(secure.url, connector=aiohttp.TCPConnector(ssl=trusting(certificate))) as session,
    ):
        await caller.call(STATUS, {})
        await caller.call(150, {})
        async with session.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        for line in (
            'artemis_requests_total{door="quic",operation="status.node"} 1.0',
            'artemis_open_connections{door="quic"} 1.0',
            'artemis_rejected_total{door="quic",reason="malformed_request"} 1.0',
            'artemis_msgtrans_events_total{event="connections_total"} 1.0',
            'artemis_msgtrans_events_total{event="certificate_reloads"} 0.0',
        ):
            assert line in lines
        expiry = next(line for line in lines if line.startswith("artemis_certificate_expiry_timestamp_seconds "))
        assert secure.certificates.expires == float(expiry.split()[1])
        async with session.get("/api/v1/status") as answer:
            assert 1 == (await answer.json())["connections"]["quic"]


async def test_limits_hold_over_quic(start: Callable, certificate: CertificateFiles) -> None:
    """Requests are counted by the address of their caller, whatever they come by."""
    async with (
        start(**certificate.options, rate_limit_per_caller=3) as server,
        calling(server, "quic", certificate) as first,
        calling(server, "tls", certificate) as second,
    ):
        codes = [
            (await each.call(UP_NODES, {}))["responseStatus"]["errorCode"] for each in (first, second, first, second)
        ]
        assert ["success", "success", "success", "rate-limited"] == codes


async def test_connections_over_quic_are_bounded(start: Callable, certificate: CertificateFiles) -> None:
    """As many as --max-connections, which changes while the node runs, up and down."""
    async with start(**certificate.options, max_connections=1) as server, AsyncExitStack() as stack:
        await stack.enter_async_context(calling(server, "quic", certificate))
        with pytest.raises(TransportError):
            await (await stack.enter_async_context(calling(server, "quic", certificate))).call(STATUS, {})
        server.bound_connections(2)
        assert await (await stack.enter_async_context(calling(server, "quic", certificate))).call(STATUS, {})


async def test_nodes_do_not_meet_over_quic(start: Callable, certificate: CertificateFiles, tmp_path: Path) -> None:
    """A peer that begins the handshake of the mesh there is told so, as over WebSocket."""
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef")
    async with (
        start(**certificate.options, cluster_secret_file=secret, join_timeout=0) as server,
        calling(server, "quic", certificate) as caller,
    ):
        told = decode_greeting((await caller.client.request(b"x", biz_type=HELLO)).payload)
        assert Refusal(Code.WEBSOCKET, "nodes meet over TCP, not over QUIC") == told


@WAYS
async def test_a_draining_node_ends_sessions_in_order(start: Callable, certificate: CertificateFiles, way: str) -> None:
    """A session hears that the node leaves, and nobody else comes in."""
    async with AsyncExitStack() as stack:
        async with start(**certificate.options) as server:
            caller = await stack.enter_async_context(calling(server, way, certificate))
            await caller.call(STATUS, {})
        assert CloseReason.NORMAL == await asyncio.wait_for(caller.ended, 30)
        with pytest.raises(ConnectError):
            await stack.enter_async_context(calling(server, way, certificate))


async def test_what_is_not_tls_is_dropped(secure: NodeServer, certificate: CertificateFiles) -> None:
    """Plain HTTP at the port with TLS, and datagrams that are not QUIC, are counted and harm nobody."""
    reader, writer = await asyncio.open_connection(*secure.address)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 30)
    writer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for junk in (b"", b"x", b"\xc0" * 1200, b"GET / HTTP/1.1\r\n\r\n"):
            sender.sendto(junk, secure.address)
    async with calling(secure, "quic", certificate) as caller:
        assert await caller.call(STATUS, {})
    assert 1 == secure.doors.sessions()["handshake_failures"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://{}", 200), ("http://{}", 403), ("https://evil.example", 403), ("", 200), ("null", 403)],
)
async def test_only_pages_that_came_inside_tls_operate_a_node_with_tls(
    secure: NodeServer, certificate: CertificateFiles, origin: str, status: int
) -> None:
    """A page of plain HTTP can be anybody's, even with the node's own host and port in its address."""
    host = "{}:{}".format(*secure.address)
    headers = {"Origin": origin.format(host)} if origin else {}
    async with (
        aiohttp.ClientSession(secure.url, connector=aiohttp.TCPConnector(ssl=trusting(certificate))) as session,
        session.post(SWITCHING, json={"enabled": True}, headers=headers) as answer,
    ):
        assert status == answer.status


async def test_pages_of_the_plain_port_operate_by_it(secure: NodeServer) -> None:
    """There, pages of that port are its own, and those of the port with TLS are not."""
    plain = secure.further_urls[0]
    async with aiohttp.ClientSession(plain) as session:
        for origin, status in ((plain, 200), (secure.url, 403)):
            async with session.post(SWITCHING, json={"enabled": True}, headers={"Origin": origin}) as answer:
                assert status == answer.status


@pytest.mark.parametrize(("scheme", "expected"), [("https", "success"), ("http", "no-permission")])
async def test_pages_operate_over_wss_as_over_https(
    secure: NodeServer, certificate: CertificateFiles, scheme: str, expected: str
) -> None:
    """The page that opened the session counts."""
    host = "{}:{}".format(*secure.address)
    config = WebSocketClientConfig(
        target_url=f"wss://{host}/msgtrans",
        tls=TlsClientConfig(ca_file=certificate.ca_file),
        headers={"Origin": f"{scheme}://{host}"},
    )
    async with TransportClient(config) as client:
        code = next(each.code for each in OPERATIONS if each.name == "status.switch-self-preservation")
        answer = json.loads((await client.request(b'{"enabled":true}', biz_type=code)).payload)
        assert expected == answer["responseStatus"]["errorCode"]


async def test_a_port_of_udp_that_is_taken_is_told(start: Callable, certificate: CertificateFiles) -> None:
    """With words that name what to do; without QUIC the node starts there."""
    with taken_on_udp() as port:
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port} of UDP: .*--no-quic"):
            async with start(**certificate.options, port=port):
                pass
        async with start(**certificate.options, port=port, quic=False) as server:
            assert port == server.address[1]


async def test_a_plain_port_that_is_taken_is_told(start: Callable, certificate: CertificateFiles) -> None:
    """By the option that names it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ListenError, match="choose another --plain-port"):
            async with start(**certificate.options, plain_port=taken.getsockname()[1]):
                pass


async def test_a_port_of_the_systems_choice_is_free_on_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another process has that number on UDP, the next one is tried."""
    from artemis.server import claim

    tried: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        bind = claim._bind_udp

        def first_taken(listener: asyncio.Server) -> list[socket.socket]:
            tried.append(listener.sockets[0].getsockname()[1])
            if len(tried) == 1:
                taken.bind(("127.0.0.1", tried[0]))
            return bind(listener)

        monkeypatch.setattr(claim, "_bind_udp", first_taken)
        claimed = await take(None, Wanted("127.0.0.1", 0, udp=True), asyncio.Protocol)
        assert (2, tried[-1]) == (len(tried), claimed.address[1])
        assert claimed.address == claimed.udp[0].getsockname()
        claimed.give_up()


async def test_handshakes_are_bounded_like_connections(start: Callable, certificate: CertificateFiles) -> None:
    """Who connects and says nothing takes the room of a connection until the handshake is late, and no more."""
    async with start(**certificate.options, max_connections=2) as server:
        silent = [await asyncio.open_connection(*server.address) for _ in range(3)]
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(reader.read()) for reader, _ in silent], return_when=asyncio.FIRST_COMPLETED
        )
        assert [b""] == [each.result() for each in done]
        assert (2, 1) == (server.certificates.tls.handshakes, server.doors.sessions()["connections_refused"])
        server.bound_connections(3)
        async with calling(server, "tls", certificate) as caller:
            assert await caller.call(STATUS, {})
        for _, writer in silent:
            writer.close()
