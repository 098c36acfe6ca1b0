"""The registry of transports: schemes, names, plug-ins, and a plug-in that is installed for real."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from msgtrans import ConfigurationError, ConnectError, SessionConfig, TransportClient, TransportServer
from msgtrans.adapters import registry as registry_module
from msgtrans.adapters.registry import GROUP, TransportRegistry, transports
from msgtrans.adapters.tcp import TcpTransport
from msgtrans.config import NO_RETRY, TcpClientConfig, TcpServerConfig
from msgtrans.transport import TransportInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Until

EXAMPLE = Path(__file__).parents[2] / "examples" / "unix_transport"


class Tunnel(TcpTransport):
    """TCP under a scheme of its own."""

    info = TransportInfo(name="tunnel", schemes=("Tunnel",), description="TCP, renamed.")

    def server_config(self, uri: str) -> TunnelServerConfig:
        return TunnelServerConfig(bind_address=uri.partition("://")[2])

    def client_config(self, uri: str) -> TunnelClientConfig:
        return TunnelClientConfig(target_address=uri.partition("://")[2])


class TunnelServerConfig(TcpServerConfig, frozen=True, kw_only=True):
    """Options of the tunnel's listener."""

    transport: ClassVar[str] = "tunnel"


class TunnelClientConfig(TcpClientConfig, frozen=True, kw_only=True):
    """Options of the tunnel's connection."""

    transport: ClassVar[str] = "tunnel"


class Thief(TcpTransport):
    """Wants a scheme that is taken."""

    info = TransportInfo(name="thief", schemes=("tcp", "steal"), description="Not welcome.")


class Broken:
    """Cannot even be made."""

    def __init__(self) -> None:
        raise RuntimeError("out of order")


@pytest.fixture
def registry() -> TransportRegistry:
    return TransportRegistry(plugins=False)


def plug(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Let these entry points be installed."""
    entries = [EntryPoint(name, value, GROUP) for name, value in values.items()]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: entries if group == GROUP else [])


def test_what_is_built_in(registry: TransportRegistry) -> None:
    """TCP and WebSocket are there, each with its secure scheme, and QUIC, which is always secure."""
    known = {info.name: info.schemes for info in registry.list()}
    assert {"quic": ("quic",), "tcp": ("tcp", "tls"), "websocket": ("ws", "wss")} == known
    assert registry.by_scheme("TLS") is registry.get("tcp")


def test_duplicates_need_override(registry: TransportRegistry) -> None:
    """A name or scheme that is taken is refused, naming it; with override it is replaced."""
    with pytest.raises(ConfigurationError, match="the scheme 'tcp' is taken"):
        registry.register(Thief())
    registry.register(Tunnel())
    with pytest.raises(ConfigurationError, match="the name 'tunnel' and the scheme 'tunnel' is taken"):
        registry.register(Tunnel())
    second, thief = Tunnel(), Thief()
    registry.register(second, override=True)
    assert registry.by_scheme("tunnel") is registry.get("tunnel") is second
    registry.register(thief, override=True)
    assert registry.by_scheme("tcp") is registry.by_scheme("steal") is thief
    assert registry.by_scheme("tls") is registry.get("tcp")


def test_unregistering(registry: TransportRegistry) -> None:
    """A transport that was taken out is unknown by name and scheme."""
    registry.register(Tunnel())
    registry.unregister("tunnel")
    for look in (registry.get, registry.by_scheme, registry.unregister):
        with pytest.raises(ConfigurationError, match="'tunnel' is not known"):
            look("tunnel")


@pytest.mark.parametrize("make", [lambda uri: TransportServer(listen=[uri]), TransportClient])
def test_unknown_schemes(make: type[TransportClient]) -> None:
    """The error lists the schemes that exist, and says where others come from."""
    with pytest.raises(
        ConfigurationError, match=r"scheme 'smoke' is not known; there are quic, tcp, .*plug-ins.*msgtrans"
    ):
        make("smoke://signal")


def test_configs_of_unknown_transports() -> None:
    """A config whose transport is not registered is refused where it is given."""
    with pytest.raises(ConfigurationError, match="'tunnel' is not known; there are quic, tcp, websocket"):
        TransportClient(TunnelClientConfig(target_address="127.0.0.1:1"), registry=TransportRegistry(plugins=False))


async def test_plugins_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plug-in serves URIs and configs of its own, in servers and clients."""
    plug(monkeypatch, tunnel=f"{__name__}:Tunnel")
    registry = TransportRegistry()
    assert "tunnel" in [info.name for info in registry.list()]
    config = TunnelServerConfig(bind_address="127.0.0.1:0")
    server = TransportServer(listen=["tunnel://127.0.0.1:0", config], registry=registry)
    server.on_request(lambda context: context.payload)
    async with server:
        for address in server.addresses:
            for target in (f"tunnel://{address}", TunnelClientConfig(target_address=str(address))):
                async with TransportClient(target, registry=registry) as client:
                    assert (await client.request(b"through")).payload == b"through"


def test_broken_plugins_harm_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Plug-ins that cannot be loaded, made or registered are logged once each, and the others work."""
    plug(
        monkeypatch,
        missing="no_such_module:Transport",
        nameless=f"{__name__}:NoSuchClass",
        broken=f"{__name__}:Broken",
        thief=f"{__name__}:Thief",
        tunnel=f"{__name__}:Tunnel",
    )
    registry = TransportRegistry()
    with caplog.at_level(logging.ERROR, "msgtrans.registry"):
        assert registry.by_scheme("tunnel").info.name == "tunnel"
        assert ["quic", "tcp", "tunnel", "websocket"] == [info.name for info in registry.list()]
    named = [record.args[0] for record in caplog.records]
    assert ["missing", "nameless", "broken", "thief"] == named
    assert "the scheme 'tcp' is taken" in caplog.text
    assert type(registry.by_scheme("tcp")) is TcpTransport


def test_plugins_are_looked_for_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in schemes look for no plug-ins; what is unknown looks once."""
    looked: list[str] = []

    def found(group: str) -> list[EntryPoint]:
        looked.append(group)
        return []

    monkeypatch.setattr(registry_module, "entry_points", found)
    registry = TransportRegistry()
    registry.by_scheme("tcp")
    assert [] == looked
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            registry.by_scheme("nothing")
    assert [GROUP] == looked


def test_configs_of_the_wrong_kind(registry: TransportRegistry) -> None:
    """What is no config is refused, and a client's config does not make a listener."""
    with pytest.raises(ConfigurationError, match="use an address, a URI, or the config"):
        registry.client_config(object())
    with pytest.raises(ConfigurationError, match="put it in `listen`"):
        TransportServer(tcp="ws://127.0.0.1:0")


async def test_a_config_of_the_other_side_cannot_listen() -> None:
    """A transport that is given the config of a client, or of a server, says which one it needs."""
    config = TcpClientConfig(target_address="127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="is a TcpClientConfig; use a TcpServerConfig"):
        await TcpTransport().listen(config, TransportServer())
    with pytest.raises(ConfigurationError, match="is a TcpServerConfig; use a TcpClientConfig"):
        await TcpTransport().connect(TcpServerConfig(), TransportServer())


# The example: Unix sockets


@pytest.fixture
def unix(monkeypatch: pytest.MonkeyPatch) -> Iterator[TransportRegistry]:
    """A registry that knows the example."""
    if not hasattr(os, "fork"):
        pytest.skip("there are no Unix sockets here")
    monkeypatch.syspath_prepend(str(EXAMPLE / "src"))
    import msgtrans_unix

    registry = TransportRegistry(plugins=False)
    registry.register(msgtrans_unix.UnixTransport())
    yield registry
    for name in [name for name in sys.modules if name.startswith("msgtrans_unix")]:
        del sys.modules[name]


def echo_server(registry: TransportRegistry, *listen: object) -> TransportServer:
    server = TransportServer(listen=listen, registry=registry, session=SessionConfig(graceful_timeout=1.0))
    server.on_request(lambda context: context.payload)
    return server


def test_installing_the_plugin(tmp_path: Path) -> None:
    """Installed, its scheme is known to a program that does not import it."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "src", site, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][GROUP].items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    program = """
import asyncio, sys
from msgtrans import TransportClient, TransportServer

async def main(uri):
    server = TransportServer(listen=[uri])
    server.on_request(lambda context: context.payload)
    async with server, TransportClient(uri) as client:
        print((await client.request(b"installed")).payload.decode(), *server.uris)

asyncio.run(main(sys.argv[1]))
"""
    uri = f"unix://{tmp_path}/echo.sock"
    for arguments, told in (
        (["-c", program, uri], f"installed {uri}\n"),
        (["-m", "msgtrans_unix"], "unix: hello over a Unix socket\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (0, told, "") == (done.returncode, done.stdout, done.stderr)


async def test_unix_sockets(unix: TransportRegistry, tmp_path: Path) -> None:
    """A socket file has its mode, serves, has no address, and is gone when the server stops."""
    from msgtrans_unix import UnixServerConfig

    path = tmp_path / "a.sock"
    server = echo_server(unix, UnixServerConfig(path=str(path), mode=0o640))
    async with server, TransportClient(f"unix://{path}", registry=unix) as client:
        assert (await client.request(bytes(100_000))).payload == bytes(100_000)
        assert 0o640 == stat.S_IMODE(path.stat().st_mode)
        assert ([], [f"unix://{path}"]) == (server.addresses, server.uris)
        assert (None, "unix") == (client.session.peer_address, client.session.protocol)
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
async def test_abstract_names(unix: TransportRegistry, tmp_path: Path) -> None:
    """An abstract socket serves without a file, and its name can be used once."""
    uri = f"unix://@{tmp_path}"
    async with echo_server(unix, uri):
        async with TransportClient(uri, registry=unix) as client:
            assert (await client.request(b"x")).payload == b"x"
        with pytest.raises(ConnectError, match="somebody listens there"):
            await echo_server(unix, uri).start()


async def test_socket_files_left_behind(unix: TransportRegistry, tmp_path: Path) -> None:
    """A stale file is taken over; one that is served, or is no socket, is refused and stays."""
    import socket

    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    async with echo_server(unix, f"unix://{path}"):
        second = echo_server(unix, f"unix://{path}")
        with pytest.raises(ConnectError, match="somebody listens there"):
            await second.start()
        async with TransportClient(f"unix://{path}", registry=unix) as client:
            assert (await client.request(b"still")).payload == b"still"
    path.write_text("precious")
    with pytest.raises(ConnectError, match="no socket"):
        await echo_server(unix, f"unix://{path}").start()
    assert path.read_text() == "precious"


async def test_the_file_of_another_stays(unix: TransportRegistry, tmp_path: Path) -> None:
    """A server that stops does not remove a file that another has put in its place."""
    path = tmp_path / "a.sock"
    async with echo_server(unix, f"unix://{path}"):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


async def test_connecting_to_no_socket(unix: TransportRegistry, tmp_path: Path) -> None:
    """Without a server connecting fails, and says so."""
    from msgtrans_unix import UnixClientConfig

    config = UnixClientConfig(path=str(tmp_path / "none"), retry_config=NO_RETRY)
    with pytest.raises(ConnectError, match=r"cannot connect to unix:///.*none: nobody listens there"):
        await TransportClient(config, registry=unix).connect()


async def test_bounds_of_unix_sockets(unix: TransportRegistry, tmp_path: Path, until: Until) -> None:
    """max_connections and idle_timeout act on Unix sockets too."""
    from msgtrans_unix import UnixServerConfig

    path = tmp_path / "a.sock"
    config = UnixServerConfig(path=str(path), max_connections=1, idle_timeout=0.05)
    async with echo_server(unix, config) as server:
        async with TransportClient(f"unix://{path}", registry=unix) as client:
            await client.request(b"")
            with pytest.raises(ConnectionError):
                async with TransportClient(f"unix://{path}", registry=unix) as late:
                    await late.request(b"")
            await until(lambda: not client.is_connected)
        assert (1, 1) == (server.stats().connections_refused, server.stats().idle_timeouts)


@pytest.mark.parametrize("wrong", ["unix://relative", "unix://", "unix:///", "unix://@"])
def test_wrong_paths(unix: TransportRegistry, wrong: str) -> None:
    """A path must be absolute or an abstract name."""
    with pytest.raises(ConfigurationError, match=r"^path: "):
        TransportClient(wrong, registry=unix)


def test_the_shared_registry() -> None:
    """Servers and clients that are given none use the one registry of the module, plug-ins included."""
    assert TransportServer()._registry is transports
