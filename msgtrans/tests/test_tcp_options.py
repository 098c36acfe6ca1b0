"""Options of TCP listeners and connections: defaults, ranges, presets, and that each of them acts."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from msgtrans import (
    Address,
    ConfigurationError,
    ConnectError,
    SessionConfig,
    TcpClientConfig,
    TcpServerConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
)
from msgtrans.adapters import sockets
from msgtrans.adapters.registry import TransportRegistry
from msgtrans.adapters.tcp import TcpTransport
from msgtrans.config import NO_RETRY, RetryConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.link import Link
    from msgtrans.transport import ClientConfig, Host, Listener, ServerConfig

    from .conftest import Until

ANY = "127.0.0.1:0"


def echo_server(*configs: TcpServerConfig, **options: object) -> TransportServer:
    server = TransportServer(listen=configs or (TcpServerConfig(bind_address=ANY),), **options)
    server.on_request(lambda context: context.payload)
    return server


def client_of(address: Address, **options: object) -> TransportClient:
    options.setdefault("retry_config", NO_RETRY)
    return TransportClient(TcpClientConfig(target_address=str(address), **options))


async def asked(client: TransportClient) -> bytes:
    async with client:
        return (await client.request(b"hello")).payload


def listening_sockets(server: TransportServer) -> list[socket.socket]:
    return [found for _, listener in server._listeners for each in listener._servers for found in each.sockets]


# What is listed


def test_defaults() -> None:
    """Defaults are those of the specification; where they differ, the docstrings say why."""
    server = TcpServerConfig()
    assert ("127.0.0.1:8080", 1000, True, 60) == (
        server.bind_address,
        server.max_connections,
        server.nodelay,
        server.keepalive,
    )
    assert (30, 300, False, True) == (server.accept_timeout, server.idle_timeout, server.reuse_port, server.reuse_addr)
    client = TcpClientConfig(target_address="h:1")
    assert (10, True, 60, None) == (
        client.connect_timeout,
        client.nodelay,
        client.keepalive,
        client.local_bind_address,
    )
    session = client.session_config(SessionConfig())
    assert (30, 30) == (session.packet_timeout, session.write_timeout)
    retry = client.retry_config
    assert (msgspec.UNSET, 0.5, 2.0, 30.0, True) == (  # three of an address, without end where one is kept connected
        retry.max_retries,
        retry.retry_interval,
        retry.backoff_multiplier,
        retry.max_retry_interval,
        retry.jitter,
    )


def test_presets() -> None:
    """The presets set what the specification lists."""
    fast = TcpClientConfig.high_performance("h:1")
    assert (65_536, 65_536, 5, 30) == (
        fast.read_buffer_size,
        fast.write_buffer_size,
        fast.connect_timeout,
        fast.keepalive,
    )
    quick = TcpClientConfig.low_latency("h:1")
    assert (4096, 4096, 3) == (quick.read_buffer_size, quick.write_buffer_size, quick.connect_timeout)
    reliable = TcpClientConfig.reliable("h:1")
    assert (30, 120) == (reliable.connect_timeout, reliable.keepalive)
    assert (
        RetryConfig(max_retries=10, retry_interval=1, backoff_multiplier=1.5, max_retry_interval=60, jitter=True)
        == reliable.retry_config
    )


@pytest.mark.parametrize(
    ("config", "field", "values"),
    [
        (TcpServerConfig(), "max_connections", (0, -1, 1.5, True)),
        (TcpServerConfig(), "read_buffer_size", (0, 65_537)),
        (TcpServerConfig(), "write_buffer_size", (0, "1")),
        (TcpServerConfig(), "keepalive", (0, -1, 0.5)),
        (TcpServerConfig(), "accept_timeout", (0, -1, float("inf"), None)),
        (TcpServerConfig(), "idle_timeout", (0, float("nan"))),
        (TcpServerConfig(), "backlog", (0,)),
        (TcpServerConfig(), "notsent_lowat", (0, 4095)),
        (TcpClientConfig(target_address="h:1"), "notsent_lowat", (0, 4095)),
        (TcpServerConfig(), "bind_address", ("", "h", "h:65536", "udp://h:1", None, 8080)),
        (TcpClientConfig(target_address="h:1"), "target_address", ("", "h:0", "h", None)),
        (TcpClientConfig(target_address="h:1"), "read_buffer_size", (0, 65_537)),
        (TcpClientConfig(target_address="h:1"), "write_buffer_size", (0,)),
        (TcpClientConfig(target_address="h:1"), "connect_timeout", (0, -1)),
        (TcpClientConfig(target_address="h:1"), "read_timeout", (0,)),
        (TcpClientConfig(target_address="h:1"), "write_timeout", (0,)),
        (TcpClientConfig(target_address="h:1"), "local_bind_address", ("h", 5)),
    ],
)
def test_ranges(config: TcpServerConfig | TcpClientConfig, field: str, values: tuple[object, ...]) -> None:
    """A value that cannot work is refused with the name of its option."""
    for value in values:
        with pytest.raises(ConfigurationError, match=f"^{field}: ") as caught:
            config.replace(**{field: value})
        assert field == caught.value.field


@pytest.mark.parametrize("seconds", [0, -1])
def test_bind_timeout_has_a_range(seconds: float) -> None:
    """A time that is none is refused."""
    with pytest.raises(ConfigurationError, match=r"^bind_timeout: "):
        TransportServer(bind_timeout=seconds)


# Listeners


async def test_max_connections_is_per_listener(until: Until) -> None:
    """A listener that is full turns connections away; the others of its server do not."""
    config = TcpServerConfig(bind_address=ANY)
    async with echo_server(config.replace(max_connections=1), config) as server:
        narrow, wide = server.addresses
        async with client_of(narrow) as first:
            await first.request(b"")
            with pytest.raises(ConnectionError):
                await asked(client_of(narrow))
            assert b"hello" == await asked(client_of(wide))
            assert server.stats().connections_refused == 1
        await until(lambda: not server.sessions)
        assert b"hello" == await asked(client_of(narrow))


@pytest.mark.parametrize("on", [True, False])
async def test_socket_options(on: bool, until: Until) -> None:
    """nodelay and keepalive act on the sockets of both sides."""
    config = TcpServerConfig(bind_address=ANY, nodelay=on, keepalive=33 if on else None)
    async with (
        echo_server(config) as server,
        client_of(server.tcp_address, nodelay=on, keepalive=44 if on else None) as client,
    ):
        await client.request(b"")
        (session,) = server.sessions.values()
        for end, seconds in ((session, 33), (client.session, 44)):
            connection = end._link.get_extra_info("socket")
            assert on == bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            assert on == bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            if on:
                assert seconds == connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)


@pytest.mark.parametrize("on", [True, False])
async def test_reuse_addr(on: bool) -> None:
    """reuse_addr acts on the listening socket."""
    async with echo_server(TcpServerConfig(bind_address=ANY, reuse_addr=on)) as server:
        (listening,) = listening_sockets(server)
        assert on == bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))


async def test_reuse_port() -> None:
    """With reuse_port two servers listen on one port; without it the second is refused."""
    config = TcpServerConfig(bind_address=ANY, reuse_port=True)
    async with echo_server(config) as first:
        same = config.replace(bind_address=str(first.tcp_address))
        async with echo_server(same) as second:
            assert first.tcp_address == second.tcp_address
        with pytest.raises(ConnectError, match="port is in use"):
            await echo_server(same.replace(reuse_port=False)).start()


async def test_backlog() -> None:
    """backlog is what the system queues."""
    async with echo_server(TcpServerConfig(bind_address=ANY, backlog=7)) as server:
        (listening,) = listening_sockets(server)
        told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert (7,) == struct.unpack_from("I", told, 28)  # tcpi_sacked: of a listening socket, its backlog


@pytest.mark.parametrize("size", [1, 4096])
async def test_read_buffer_size(size: int) -> None:
    """No read takes more than read_buffer_size, and packets larger than that arrive whole."""
    payload = bytes(range(256)) * 40
    config = TcpServerConfig(bind_address=ANY, read_buffer_size=size)
    async with echo_server(config) as server, client_of(server.tcp_address, read_buffer_size=size) as client:
        assert payload == (await client.request(payload)).payload
        (session,) = server.sessions.values()
        for end in (session, client.session):
            assert size == len(end._link.get_buffer(-1))


async def test_write_buffer_size() -> None:
    """write_buffer_size is where sends begin to wait, on either side."""
    config = TcpServerConfig(bind_address=ANY, write_buffer_size=100)
    async with echo_server(config) as server, client_of(server.tcp_address, write_buffer_size=200) as client:
        await client.request(b"")
        (session,) = server.sessions.values()
        for end, size in ((session, 100), (client.session, 200)):
            end.send_nowait(bytes(size - 16))
            end.send_nowait(b"")  # behind the first, which has left or not
            assert size == end.config.high_water
            end.send_nowait(bytes(size))
            assert end.congested


async def test_idle_timeout(until: Until) -> None:
    """A listener closes sessions that are idle for its idle_timeout; what the server says goes before it."""
    config = TcpServerConfig(bind_address=ANY)
    short = config.replace(idle_timeout=0.05)
    async with echo_server(config, short, config.replace(idle_timeout=None)) as server:
        timeouts = []
        for address in server.addresses:
            client = client_of(address)
            await client.connect()
            await client.request(b"")
            timeouts.append(list(server.sessions.values())[-1].config.idle_timeout)
            if address == server.addresses[1]:
                await until(lambda client=client: not client.is_connected)
            await client.close()
        assert [300, 0.05, None] == timeouts
        assert server.stats().idle_timeouts == 1
    server = echo_server(short, session=SessionConfig(idle_timeout=7.0))
    async with server, client_of(server.tcp_address) as client:
        await client.request(b"")
        (session,) = server.sessions.values()
        assert session.config.idle_timeout == 7.0


async def test_bind_timeout() -> None:
    """Starting to listen takes at most bind_timeout, and leaves nothing listening."""

    class Slow(TcpTransport):
        async def listen(self, config: ServerConfig, host: Host) -> Listener:
            if config.bind_address == ANY:
                return await super().listen(config, host)
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    registry = TransportRegistry(plugins=False)
    registry.register(Slow(), override=True)
    server = TransportServer(listen=[ANY, "127.0.0.1:1"], bind_timeout=0.02, registry=registry)
    with pytest.raises(TransportTimeoutError, match=r"starting to listen took longer than 0\.02 s"):
        await server.start()
    assert [] == server.addresses


# Connections


def counting(failures: int, error: Callable[[], Exception]) -> tuple[TransportRegistry, list[ClientConfig]]:
    """A registry whose TCP fails so many times before it connects, and the attempts that were made."""
    attempts: list[ClientConfig] = []

    class Counting(TcpTransport):
        async def connect(self, config: ClientConfig, host: Host) -> Link:
            attempts.append(config)
            if len(attempts) <= failures:
                raise error()
            return await super().connect(config, host)

    registry = TransportRegistry(plugins=False)
    registry.register(Counting(), override=True)
    return registry, attempts


async def test_retries() -> None:
    """retry_config says how often is tried again, and only what can help is."""
    retry = RetryConfig(max_retries=2, retry_interval=0.001)
    async with echo_server() as server:
        config = TcpClientConfig(target_address=str(server.tcp_address), retry_config=retry)
        for failures, retriable, made in ((2, True, 3), (3, True, 3), (1, False, 1)):
            registry, attempts = counting(failures, lambda: ConnectError("no", retriable=retriable))  # noqa: B023
            client = TransportClient(config, registry=registry)
            if failures == 2:
                assert b"hello" == await asked(client)
            else:
                with pytest.raises(ConnectError, match="no"):
                    await client.connect()
            assert made == len(attempts)


async def test_connect_timeout() -> None:
    """An attempt takes at most connect_timeout: here, against a queue that is full."""
    with closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = Address(*full.getsockname())
        waiting = []
        for _ in range(4):  # until the system queues no more
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        with pytest.raises(TransportTimeoutError, match=r"connecting to tcp://.* took longer than 0\.05 s"):
            await client_of(address, connect_timeout=0.05).connect()
        for each in waiting:
            each.close()


async def test_read_timeout(until: Until) -> None:
    """A packet that has begun must arrive within read_timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with client_of(Address(*listening.getsockname()), read_timeout=0.05) as client:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(b"\x01\0\0\0")
                await until(lambda: not client.is_connected)
                assert "receiving the rest of a packet took longer than 0.05 s" in str(client.session.close_error)


async def test_write_timeout(until: Until) -> None:
    """A peer that takes nothing for write_timeout is dropped."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with client_of(Address(*listening.getsockname()), write_timeout=0.05) as client:
            for _ in range(16):
                client.send_nowait(bytes(1 << 20))
            await until(lambda: not client.is_connected)
            assert "writing to a peer that does not read took longer than 0.05 s" in str(client.session.close_error)


async def test_local_bind_address() -> None:
    """Connections come from local_bind_address; an address that is not ours is refused, naming it."""
    async with echo_server() as server:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            local = Address(*probe.getsockname())
        async with client_of(server.tcp_address, local_bind_address=str(local)) as client:
            assert local == client.session.local_address
        with pytest.raises(ConnectError, match=r"from 192\.0\.2\.1:0"):
            await client_of(server.tcp_address, local_bind_address="192.0.2.1:0").connect()


# Names and ports


async def test_ipv6_literals() -> None:
    """IPv6 addresses stand in brackets, in what is given and in what is told."""
    async with echo_server(TcpServerConfig(bind_address="[::1]:0")) as server:
        port = server.tcp_address.port
        assert [f"tcp://[::1]:{port}"] == server.uris
        assert b"hello" == await asked(TransportClient(server.uris[0]))


async def test_names_are_resolved() -> None:
    """A name is listened to on all its addresses and connected to by name."""
    async with echo_server(TcpServerConfig(bind_address="localhost:0")) as server:
        port = server.tcp_address.port
        assert {port} == {address.port for address in server.addresses}
        assert b"hello" == await asked(TransportClient(f"localhost:{port}"))


async def test_one_port_on_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port 0 on a name with two addresses is the same port on both."""

    async def two(host: str) -> list[str]:
        return ["::1", "127.0.0.1"]

    monkeypatch.setattr(sockets, "addresses_of", two)
    async with echo_server(TcpServerConfig(bind_address="both.test:0")) as server:
        port = server.tcp_address.port
        assert [Address("::1", port), Address("127.0.0.1", port)] == server.addresses
        for uri in server.uris:
            assert b"hello" == await asked(TransportClient(uri))


async def test_addresses_this_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may stand for addresses of others: it is listened to on ours, and refused when none is."""
    hosts = ["192.0.2.1", "127.0.0.1"]

    async def found(host: str) -> list[str]:
        return hosts

    monkeypatch.setattr(sockets, "addresses_of", found)
    async with echo_server(TcpServerConfig(bind_address="some.test:0")) as server:
        assert ["127.0.0.1"] == [address.host for address in server.addresses]
    del hosts[1]
    with pytest.raises(ConnectError, match=r"cannot listen on some\.test:0: "):
        await echo_server(TcpServerConfig(bind_address="some.test:0")).start()


async def test_a_port_that_is_taken_on_the_second_address() -> None:
    """When the port the system chose is taken elsewhere, others are tried; a port that was asked for is not."""
    bound: list[tuple[str, int]] = []
    loop = asyncio.get_running_loop()

    async def bind(host: str, port: int) -> asyncio.AbstractServer:
        bound.append((host, port))
        if host == "::1" and len(bound) < 6:
            raise OSError(errno.EADDRINUSE, "in use")
        return await loop.create_server(asyncio.Protocol, host, port)

    servers = await sockets._bind_all(["127.0.0.1", "::1"], 0, bind)
    assert 6 == len(bound)
    assert 1 == len({server.sockets[0].getsockname()[1] for server in servers})
    for server in servers:
        server.close()
    bound.clear()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await sockets._bind_all(["127.0.0.1", "::1"], free, bind)
    assert [("127.0.0.1", free), ("::1", free)] == bound


async def test_connecting_tries_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses of a name, the one that listens is found."""
    if not isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        pytest.skip("uvloop's resolver cannot be replaced")
    resolve = socket.getaddrinfo

    def both(host: str, *rest: object, **options: object) -> list[tuple[object, ...]]:
        if host != "both.test":
            return resolve(host, *rest, **options)
        return resolve("::1", *rest, **options) + resolve("127.0.0.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    async with echo_server() as server:
        assert b"hello" == await asked(TransportClient(f"both.test:{server.tcp_address.port}"))


async def test_names_that_do_not_resolve() -> None:
    """Listening on a name nobody knows is a ConnectError that names it."""
    for name in ("name.invalid", "a..b"):
        with pytest.raises(ConnectError, match=f"cannot listen on {name}:0"):
            await echo_server(TcpServerConfig(bind_address=f"{name}:0")).start()
