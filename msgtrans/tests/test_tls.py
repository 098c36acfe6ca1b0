"""TLS: certificates and their reloading, proofs of both sides, handshakes that fail, and how connections end in it."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import logging
import os
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import trustme

from msgtrans import (
    CloseReason,
    ConfigurationError,
    ConnectError,
    EndpointStats,
    MessageReceived,
    Packet,
    ServerTls,
    SessionClosedError,
    SessionConfig,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    UnifiedPort,
    encode,
)
from msgtrans.config import NO_RETRY
from msgtrans.handshakes import Handshakes
from msgtrans.tls import client_context, refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .conftest import Until

LIMIT = 30.0
MIB = 1 << 20
PASSWORD = "secret"  # noqa: S105 - of a key made here


class Pki:
    """An authority, and PEM files of what it issues, in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.authority = trustme.CA()
        self.folder = folder
        self.name = name
        self.ca_file = str(folder / f"{name}-ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)

    def issue(self, *names: str, days: int = 1) -> trustme.LeafCert:
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        return self.authority.issue_cert(*(names or ("localhost", "127.0.0.1", "::1")), not_after=until)

    def files(self, kind: str = "server", *names: str, days: int = 1) -> tuple[str, str]:
        """A certificate and its key, as two files."""
        issued = self.issue(*names, days=days)
        certificate, key = (str(self.folder / f"{self.name}-{kind}-{part}.pem") for part in ("cert", "key"))
        write(certificate, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        write(key, issued.private_key_pem.bytes())
        return certificate, key

    def server(self, **options: object) -> TlsServerConfig:
        certificate, key = self.files()
        return TlsServerConfig(certificate_file=certificate, key_file=key, **options)

    def client(self, *, certificate: bool = False, **options: object) -> TlsClientConfig:
        if certificate:
            options["certificate_file"], options["key_file"] = self.files("client", "someone@example.org")
        return TlsClientConfig(ca_file=self.ca_file, **options)


def write(path: str, data: bytes) -> None:
    """As careful programs do: whole, under another name, then renamed."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path, "a")


@pytest.fixture
def other(tmp_path: Path) -> Pki:
    return Pki(tmp_path, "b")


@pytest.fixture(autouse=True)
async def silence(request: pytest.FixtureRequest) -> AsyncIterator[list[dict[str, object]]]:
    """Nothing may reach the event loop's exception handler."""
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    yield told
    assert [] == told


@asynccontextmanager
async def serving(
    tls: TlsServerConfig, *, session: SessionConfig | None = None, **options: object
) -> AsyncIterator[TransportServer]:
    config = TcpServerConfig(bind_address="127.0.0.1:0", tls=tls, **options)
    server = TransportServer(tcp=config, session=session)
    server.on_request(lambda context: context.payload)
    async with server:
        yield server


def client_of(
    server: TransportServer, tls: TlsClientConfig, *, session: SessionConfig | None = None, **options: object
) -> TransportClient:
    options.setdefault("retry_config", NO_RETRY)
    return TransportClient(
        TcpClientConfig(target_address=f"tls://{server.tcp_address}", tls=tls, **options), session=session
    )


async def ask(server: TransportServer, tls: TlsClientConfig) -> bytes:
    async with client_of(server, tls) as client:
        return (await client.request(b"hello")).payload


# Plain use


async def test_an_echo(pki: Pki) -> None:
    """A request is answered inside TLS, and both sides know the protocol and what the other has proved."""
    async with serving(pki.server()) as server:
        assert [f"tls://{server.tcp_address}"] == server.uris
        async with client_of(server, pki.client()) as client:
            assert (await client.request(b"hello")).payload == b"hello"
            (session,) = server.sessions.values()
            assert ("tls", "tls") == (session.protocol, client.session.protocol)
            assert session.peer_certificate is None
            assert ("DNS", "localhost") in client.session.peer_certificate["subjectAltName"]


async def test_bare_uris_trust_the_system(pki: Pki) -> None:
    """tls:// without options trusts the authorities of the system, which ours is none of."""
    async with serving(pki.server()) as server:
        with pytest.raises(ConnectError, match=r"not trusted: .*ca_file"):
            await TransportClient(f"tls://{server.tcp_address}").connect()


async def test_large_packets_both_ways_at_once(pki: Pki) -> None:
    """Packets of 16 MiB cross in both directions at the same time."""
    payload = os.urandom(MIB) * 16
    async with serving(pki.server()) as server, client_of(server, pki.client()) as client:
        client.on_request(lambda context: context.payload)
        assert (await client.request(b"first")).payload == b"first"
        (session,) = server.sessions.values()
        answers = await asyncio.gather(client.request(payload, timeout=30), session.request(payload, timeout=30))
        assert [True, True] == [answer.payload == payload for answer in answers]


# Reloading


async def test_changed_files_serve_new_connections(pki: Pki, other: Pki, until: Until) -> None:
    """New certificates are served without a restart, with or without a name from the client; open connections stay."""
    config = pki.server(reload_interval=0.01)
    async with serving(config) as server, client_of(server, pki.client()) as old:
        for theirs, ours in zip(other.files(), (config.certificate_file, config.key_file), strict=True):
            write(ours, read(theirs))
        await until(lambda: server.stats().certificate_reloads)
        assert await ask(server, other.client()) == b"hello"
        assert await ask(server, other.client(server_name="localhost")) == b"hello"
        with pytest.raises(ConnectError, match="not trusted"):
            await ask(server, pki.client())
        assert (await old.request(b"still")).payload == b"still"


async def test_swapped_links_are_seen(pki: Pki, other: Pki, tmp_path: Path, until: Until) -> None:
    """Files behind a directory link that is swapped, as Kubernetes does it, count as changed."""
    for version, issuer in (("1", pki), ("2", other)):
        (tmp_path / version).mkdir()
        for name, file in zip(("tls.crt", "tls.key"), issuer.files(), strict=True):
            (tmp_path / version / name).write_bytes(read(file))
    (tmp_path / "data").symlink_to("1")
    config = TlsServerConfig(
        certificate_file=str(tmp_path / "data" / "tls.crt"),
        key_file=str(tmp_path / "data" / "tls.key"),
        reload_interval=0.01,
    )
    async with serving(config) as server:
        assert await ask(server, pki.client()) == b"hello"
        (tmp_path / "data.new").symlink_to("2")
        (tmp_path / "data.new").replace(tmp_path / "data")
        await until(lambda: server.stats().certificate_reloads)
        assert await ask(server, other.client()) == b"hello"


async def test_half_written_files_change_nothing(pki: Pki, other: Pki, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate without its key is logged once per change and counted; service goes on with the pair before."""
    config = pki.server(reload_interval=None)
    certificate, key = other.files()
    async with serving(config) as server:
        tls = server._listeners[0][1]._tls
        write(config.certificate_file, read(certificate))
        with caplog.at_level(logging.WARNING, "msgtrans"):
            for _ in range(3):
                tls._sweep()
        assert ["key_file: " in record.message for record in caplog.records] == [True]
        assert "is not the key of" in caplog.text
        assert (1, 0) == (server.stats().certificate_failures, server.stats().certificate_reloads)
        assert await ask(server, pki.client()) == b"hello"
        write(config.key_file, read(key))
        tls._sweep()
        assert (1, 1) == (server.stats().certificate_failures, server.stats().certificate_reloads)
        assert await ask(server, other.client()) == b"hello"


async def test_files_that_vanish_change_nothing(pki: Pki) -> None:
    """Without files the loaded certificate stays in use, and they are read when they are back."""
    config = pki.server(reload_interval=None)
    kept = read(config.key_file)
    async with serving(config) as server:
        os.unlink(config.key_file)
        assert not server.reload_certificates()
        assert await ask(server, pki.client()) == b"hello"
        write(config.key_file, kept)
        assert server.reload_certificates()
        assert (1, 1) == (server.stats().certificate_failures, server.stats().certificate_reloads)


async def test_reloading_at_once(pki: Pki, other: Pki) -> None:
    """reload_certificates reads the files now, for signal handlers; plain listeners have nothing to read."""
    config = pki.server(reload_interval=None)
    async with serving(config) as server:
        for theirs, ours in zip(other.files(), (config.certificate_file, config.key_file), strict=True):
            write(ours, read(theirs))
        assert server.reload_certificates()
        assert await ask(server, other.client()) == b"hello"
    async with TransportServer(tcp="127.0.0.1:0") as plain:
        assert plain.reload_certificates()
        assert plain.stats().certificate_reloads == 0


async def test_stopping_ends_the_timer(pki: Pki) -> None:
    """A listener that is closed looks at no files any more."""
    async with serving(pki.server()) as server:
        tls = server._listeners[0][1]._tls
        assert tls._timer is not None
    assert tls._timer is None


async def test_client_authorities_are_reloaded(pki: Pki, other: Pki) -> None:
    """Which client certificates are accepted follows the file, also for clients that resume a TLS 1.2 session."""
    theirs = str(pki.folder / "clients.pem")
    write(theirs, read(pki.ca_file))
    async with serving(pki.server(client_ca_file=theirs, reload_interval=None)) as server:
        loop = asyncio.get_running_loop()
        mine, strange = pki.client(certificate=True), other.client(certificate=True, verify=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(pki.ca_file)
        context.load_cert_chain(mine.certificate_file, mine.key_file)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        session = await loop.run_in_executor(None, handshake, server, context, None)
        assert session.id
        assert await ask(server, mine) == b"hello"
        write(theirs, read(other.ca_file))
        assert server.reload_certificates()
        assert await ask(server, strange) == b"hello"
        with pytest.raises((ConnectError, SessionClosedError), match="refused our certificate"):
            await ask(server, mine)
        with pytest.raises(ssl.SSLError):
            await loop.run_in_executor(None, handshake, server, context, session)


def handshake(server: TransportServer, context: ssl.SSLContext, session: ssl.SSLSession | None) -> ssl.SSLSession:
    """Connect, blocking, and return the session, to be resumed later."""
    with (
        socket.create_connection(server.tcp_address, LIMIT) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection,
    ):
        connection.sendall(encode(Packet(1, 1, b"x")))
        connection.recv(17)
        return connection.session


async def test_embedding(pki: Pki, other: Pki, until: Until) -> None:
    """Who listens by himself, as with the unified port, has the same reloading."""
    config = pki.server(reload_interval=0.01)
    server = TransportServer()
    server.on_request(lambda context: context.payload)
    port = UnifiedPort(msgtrans=server.protocol_factory())
    async with server:
        with ServerTls(config) as tls:
            listening = await asyncio.get_running_loop().create_server(port, "127.0.0.1", 0, ssl=tls.context)
            address = f"tls://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            for issuer in (pki, other):
                target = TcpClientConfig(target_address=address, tls=issuer.client(), retry_config=NO_RETRY)
                async with TransportClient(target) as client:
                    assert (await client.request(b"in")).payload == b"in"
                for theirs, ours in zip(other.files(), (config.certificate_file, config.key_file), strict=True):
                    write(ours, read(theirs))
                tls.reload()
            assert tls.counters.certificate_reloads >= 2
            listening.close()
        await until(lambda: not port.connections)
        assert tls._timer is None


# Proofs of clients


async def test_client_certificates(pki: Pki) -> None:
    """With client_ca_file clients prove themselves, and the session tells who they are."""
    async with serving(pki.server(client_ca_file=pki.ca_file)) as server:
        async with client_of(server, pki.client(certificate=True)) as client:
            await client.request(b"")
            (session,) = server.sessions.values()
            assert (("email", "someone@example.org"),) == session.peer_certificate["subjectAltName"]
        for tls, told in (
            (pki.client(), "wants a certificate of ours; set certificate_file"),
            (pki.client(certificate=True).replace(certificate_file=None, key_file=None), "wants a certificate of ours"),
        ):
            with pytest.raises((ConnectError, SessionClosedError), match=told):
                await ask(server, tls)


async def test_wrong_client_certificates(pki: Pki, other: Pki, until: Until) -> None:
    """A certificate of a stranger is refused, counted, and the client is told that it was its certificate."""
    async with serving(pki.server(client_ca_file=pki.ca_file)) as server:
        stranger = other.client(certificate=True).replace(ca_file=pki.ca_file)
        with pytest.raises((ConnectError, SessionClosedError), match="refused our certificate"):
            await ask(server, stranger)
        assert server.stats().handshake_failures == 1
        assert server.stats().connections_total == 0


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_optional_client_certificates(pki: Pki, other: Pki, version: str) -> None:
    """Not required, a certificate may be missing, and the session tells; a wrong one is refused all the same."""
    config = pki.server(client_ca_file=pki.ca_file, require_client_certificate=False)
    async with serving(config) as server:
        for certificate in (False, True):
            async with client_of(server, pki.client(certificate=certificate, minimum_version=version)) as client:
                await client.request(b"")
                (session,) = server.sessions.values()
                assert certificate == (session.peer_certificate is not None)
        with pytest.raises((ConnectError, SessionClosedError), match="refused our certificate"):
            await ask(server, other.client(certificate=True).replace(ca_file=pki.ca_file))


# Handshakes that fail


def raw(server: TransportServer) -> socket.socket:
    return socket.create_connection(server.tcp_address, LIMIT)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        encode(Packet(1, 1, b"x")),
        b"\x16\x03\x01\x02\x00\x01",
        os.urandom(99),
    ],
    ids=["silent", "http", "packet", "half a hello", "noise"],
)
@pytest.mark.parametrize("stays", [True, False], ids=["stays", "vanishes"])
async def test_what_is_no_handshake(pki: Pki, until: Until, said: bytes, stays: bool) -> None:
    """Silence and garbage end at accept_timeout at the latest, are counted, and delay nobody."""
    async with serving(pki.server(), accept_timeout=0.1) as server:
        with raw(server) as peer:
            peer.sendall(said)
            if not stays:
                peer.close()
            assert await ask(server, pki.client()) == b"hello"
            await until(lambda: gc.collect() >= 0 and server.stats().handshake_failures)
            if stays:
                peer.settimeout(LIMIT)
                with suppress(ConnectionResetError):
                    while await asyncio.get_running_loop().run_in_executor(None, peer.recv, 99):
                        pass
        assert await ask(server, pki.client()) == b"hello"
        assert (1, 0) == (server.stats().handshake_failures, server.stats().protocol_errors)


async def test_old_versions(pki: Pki) -> None:
    """minimum_version acts on both sides, and the client is told."""
    context = client_context(pki.client())
    async with serving(pki.server(minimum_version="TLSv1.3")) as server:
        async with client_of(server, pki.client()) as client:
            assert client.session._link.get_extra_info("ssl_object").version() == "TLSv1.3"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ConnectError, match="other versions of TLS") as caught:
            await ask(server, pki.client())
        assert not caught.value.retriable
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    old = pki.server(reload_interval=None)
    async with serving(old) as server:
        server._listeners[0][1]._tls.context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await ask(server, pki.client()) == b"hello"
        with pytest.raises(ConnectError, match="TLS handshake"):
            await ask(server, pki.client(minimum_version="TLSv1.3"))


async def test_handshakes_are_bounded(pki: Pki, until: Until) -> None:
    """No more handshakes than max_connections run at once; further connections are closed at once and counted."""
    async with serving(pki.server(), max_connections=2) as server:
        running = server._listeners[0][1]._tls._handshakes
        with raw(server), raw(server):
            await until(lambda: len(running) == 2)
            with pytest.raises(ConnectError):
                await ask(server, pki.client())
            assert server.stats().connections_refused == 1
        await until(lambda: gc.collect() >= 0 and not len(running))
        assert await ask(server, pki.client()) == b"hello"


async def test_stopping_does_not_wait_for_handshakes(pki: Pki, until: Until) -> None:
    """A server stops although somebody is silent in a handshake that may take minutes."""
    async with serving(pki.server(), accept_timeout=600) as server:
        running = server._listeners[0][1]._tls._handshakes
        with raw(server):
            await until(lambda: len(running) == 1)
            async with asyncio.timeout(LIMIT):
                await server.stop()
            assert [] == server.addresses


def test_handshakes_count_each_failure_once() -> None:
    """A handshake takes room until its connection is gone or its time is over, and fails once."""
    counters, now = EndpointStats(), [0.0]
    running = Handshakes(2, 5.0, counters, lambda: now[0])
    assert [True, True, False] == [running.begin(key) for key in (1, 2, 3)]
    running.done(1)
    running.failed(2)
    running.failed(2)
    assert (1, 1, 1) == (len(running), counters.handshake_failures, counters.connections_refused)
    assert running.begin(4)
    now[0] = 5.0
    assert running.begin(5)
    running.gone(4)
    running.gone(2)
    assert (1, 2) == (len(running), counters.handshake_failures)
    running.gone(5)
    assert (0, 3) == (len(running), counters.handshake_failures)


# What clients are told


async def test_names_must_match(pki: Pki) -> None:
    """A certificate for another name is refused for good, unless that name is asked for or nothing is checked."""
    certificate, key = pki.files("named", "service.example.org")
    async with serving(TlsServerConfig(certificate_file=certificate, key_file=key)) as server:
        with pytest.raises(ConnectError, match=r"not trusted: .*127\.0\.0\.1.*server_name") as caught:
            await ask(server, pki.client())
        assert not caught.value.retriable
        assert await ask(server, pki.client(server_name="service.example.org")) == b"hello"
        assert await ask(server, TlsClientConfig(verify=False)) == b"hello"


async def test_unknown_and_expired_certificates(pki: Pki, other: Pki) -> None:
    """Certificates of strangers and of yesterday are refused, saying so."""
    async with serving(pki.server()) as server:
        with pytest.raises(ConnectError, match=r"not trusted: .*certificate.*ca_file") as caught:
            await ask(server, other.client())
        assert not caught.value.retriable
    certificate, key = pki.files("expired", days=-1)
    async with serving(TlsServerConfig(certificate_file=certificate, key_file=key)) as server:
        with pytest.raises(ConnectError, match=r"certificate has expired; have .* renewed"):
            await ask(server, pki.client())


async def test_plain_servers(pki: Pki) -> None:
    """A server that does not speak TLS is recognised by what it says, or by its closing."""
    async with TransportServer(tcp="127.0.0.1:0") as server:
        with pytest.raises(ConnectError, match="does that port speak TLS"):
            await ask(server, pki.client())

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready when you are\r\n" * 10)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as talking:
        target = f"tls://127.0.0.1:{talking.sockets[0].getsockname()[1]}"
        with pytest.raises(ConnectError, match="does that port speak TLS") as caught:
            await TransportClient(TcpClientConfig(target_address=target, retry_config=NO_RETRY)).connect()
        assert not caught.value.retriable


async def test_silent_servers(pki: Pki) -> None:
    """connect_timeout covers the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = TcpClientConfig(
            target_address=f"tls://127.0.0.1:{listening.getsockname()[1]}",
            tls=pki.client(),
            connect_timeout=0.05,
            retry_config=NO_RETRY,
        )
        with pytest.raises(TransportTimeoutError, match="connecting"):
            await TransportClient(target).connect()


@pytest.mark.parametrize("name", ["", ".example.org"])
def test_impossible_server_names(name: str) -> None:
    """A name that TLS cannot ask for is refused with the option's name."""
    with pytest.raises(ConfigurationError, match=r"^server_name"):
        TlsClientConfig(server_name=name)


def test_alerts_are_explained() -> None:
    """An alert says what to do; other errors are none."""
    error = ssl.SSLError(1, "x")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert "set certificate_file (alert certificate required)" in refusal(error)
    error.reason = "TLSV1_ALERT_INTERNAL_ERROR"
    assert refusal(error) == "the peer refused it (alert internal error)"
    error.reason = "WRONG_VERSION_NUMBER"
    assert (None, None) == (refusal(error), refusal(OSError()))


# How sessions end


async def test_closing_delivers_what_is_queued(pki: Pki) -> None:
    """A graceful close delivers 1 MiB that was queued before it, from either side."""
    payload, count = bytes(16 * 1024), 64
    async with serving(pki.server()) as server:
        got: list[int] = []
        server.on_message(lambda context: got.append(len(context.payload)))
        client = client_of(server, pki.client())
        await client.connect()
        await client.request(b"")
        for _ in range(count):
            client.send_nowait(payload)
        (session,) = server.sessions.values()
        await client.close()
        await session.wait_closed()
        assert [len(payload)] * count == got
        assert CloseReason.NORMAL == session.close_reason

        async with client_of(server, pki.client()) as client:
            stream = client.events()
            await client.request(b"")
            (session,) = server.sessions.values()
            for _ in range(count):
                session.send_nowait(payload)
            await session.close()
            messages = [event async for event in stream if isinstance(event, MessageReceived)]
            assert (count, CloseReason.NORMAL) == (len(messages), client.session.close_reason)


@pytest.mark.parametrize("farewell", [True, False], ids=["close_notify", "bare end"])
@pytest.mark.parametrize(("cut", "reason"), [(0, CloseReason.NORMAL), (7, CloseReason.ERROR)])
async def test_ends_of_the_stream(pki: Pki, until: Until, farewell: bool, cut: int, reason: CloseReason) -> None:
    """An end between packets is normal, with or without close_notify, as on TCP; inside a packet it is an error."""
    async with serving(pki.server()) as server:
        ended: list[tuple[CloseReason, int]] = []
        server.on_disconnect(lambda session, reason: ended.append((reason, session.packets_received)))
        loop = asyncio.get_running_loop()
        context = client_context(pki.client())

        def speak() -> None:
            with socket.create_connection(server.tcp_address, LIMIT) as plain:
                connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
                packet = encode(Packet(1, 1, b"x" * 100))
                connection.sendall(packet + packet[:cut])
                connection.recv(116)
                if farewell:
                    connection.unwrap().close()
                else:
                    connection.shutdown(socket.SHUT_WR)  # of the socket, TLS is not told
                    connection.close()

        with suppress(OSError):
            await loop.run_in_executor(None, speak)
        await until(lambda: ended)
        assert [(reason, 1)] == ended


async def test_a_reset_is_an_error(pki: Pki, until: Until) -> None:
    """A connection that is reset ends its session with an error."""
    async with serving(pki.server()) as server:
        ended: list[CloseReason] = []
        server.on_disconnect(lambda _, reason: ended.append(reason))
        client = client_of(server, pki.client())
        await client.connect()
        await client.request(b"")
        connection = client.session._link.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.session.abort()
        await until(lambda: ended)
        assert [CloseReason.ERROR] == ended
        await client.close()


# Files


def encrypted(pki: Pki, password: bytes) -> TlsServerConfig:
    from cryptography.hazmat.primitives import serialization

    config = pki.server()
    key = serialization.load_pem_private_key(read(config.key_file), None)
    write(
        config.key_file,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        ),
    )
    return config


def test_encrypted_keys(pki: Pki) -> None:
    """An encrypted key needs its password, and nobody is asked for it on a terminal."""
    config = encrypted(pki, PASSWORD.encode())
    ServerTls(config.replace(key_password=PASSWORD))
    with pytest.raises(ConfigurationError, match=r"^key_password: .*is encrypted; give key_password"):
        ServerTls(config)
    for wrong in ("wrong", "x" * 5000):
        with pytest.raises(ConfigurationError, match=r"^key_password: .*cannot be decrypted"):
            ServerTls(config.replace(key_password=wrong))


def test_one_file_for_both(pki: Pki) -> None:
    """Certificate and key may be in one file."""
    file = str(pki.folder / "both.pem")
    pki.issue().private_key_and_cert_chain_pem.write_to_path(file)
    ServerTls(TlsServerConfig(certificate_file=file))
    client_context(TlsClientConfig(certificate_file=file, ca_file=pki.ca_file))


@pytest.mark.parametrize(
    ("field", "content", "told"),
    [
        ("certificate_file", None, "does not exist"),
        ("key_file", None, "does not exist"),
        ("client_ca_file", None, "does not exist"),
        ("certificate_file", b"", "are both whole and PEM"),
        ("key_file", b"nonsense", "are both whole and PEM"),
        ("client_ca_file", b"nonsense", "holds no certificates"),
    ],
)
def test_unusable_files(pki: Pki, field: str, content: bytes | None, told: str) -> None:
    """A file that cannot be used is named."""
    config = pki.server(client_ca_file=str(pki.folder / "clients.pem"))
    write(config.client_ca_file, read(pki.ca_file))
    file = getattr(config, field)
    os.unlink(file)
    if content is not None:
        write(file, content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        ServerTls(config)
    assert file in str(caught.value)


def test_a_key_of_another_kind_than_the_certificate(pki: Pki) -> None:
    """Is said to be not its key, as any other that does not match."""
    config = pki.server()
    other = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.RSA)
    write(config.key_file, other.private_key_pem.bytes())
    with pytest.raises(ConfigurationError, match=r"key_file: .* is not the key of"):
        ServerTls(config)


def test_a_certificate_without_a_key(pki: Pki) -> None:
    """One file for both that holds no key is said to lack it."""
    with pytest.raises(ConfigurationError, match=r"key_file: is missing, and .* holds no private key"):
        ServerTls(TlsServerConfig(certificate_file=pki.ca_file))


def test_a_folder_is_no_file(pki: Pki) -> None:
    """What cannot be read says why."""
    with pytest.raises(ConfigurationError, match=r"ca_file: .*cannot be read"):
        client_context(TlsClientConfig(ca_file=str(pki.folder)))
    with pytest.raises(ConfigurationError, match=r"ca_file: .*cannot be read"):
        client_context(TlsClientConfig(ca_file="null\0byte"))


def test_client_contexts_are_kept_until_files_change(pki: Pki, other: Pki) -> None:
    """A client reads its files when it connects, and not again while they stay as they are."""
    config = pki.client()
    first = client_context(config)
    assert client_context(config) is first
    write(config.ca_file, read(other.ca_file))
    assert client_context(config) is not first


@pytest.mark.parametrize(
    "wrong",
    [{"minimum_version": "SSLv3"}, {"reload_interval": 0}, {"reload_interval": -1}, {"certificate_file": ""}],
)
def test_wrong_server_options(wrong: dict[str, object]) -> None:
    """Values that cannot work are refused with their name."""
    with pytest.raises(ConfigurationError, match=f"^{next(iter(wrong))}"):
        TlsServerConfig(certificate_file="x").replace(**wrong)


def test_a_key_needs_its_certificate() -> None:
    """A client's key without a certificate is refused; so is requiring TLS without options for it."""
    with pytest.raises(ConfigurationError, match=r"^certificate_file"):
        TlsClientConfig(key_file="x")
    with pytest.raises(ConfigurationError, match=r"^tls: is missing"):
        TransportServer(listen=["tls://127.0.0.1:0"])
