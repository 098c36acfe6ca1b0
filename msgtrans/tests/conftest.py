"""What the tests of msgtrans share: both event loops, an echo server, a raw peer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest
from carriers import CARRIERS, LIMIT, QUIC, TCP, TLS, WSS, Carrier, Certificates
from fault_shim import make_shim
from hypothesis import HealthCheck, settings

from msgtrans import Context, SessionConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from carriers import RawPeer

    from msgtrans import TransportClient, TransportServer

try:
    import uvloop
except ImportError:
    uvloop = None

# How long an example takes says nothing about the code on a shared machine.
settings.register_profile("msgtrans", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("msgtrans")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on both event loops."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if uvloop is not None:
        factories["uvloop"] = uvloop.new_event_loop
    return factories


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """In modules that say `ON_EVERY_CARRIER = True`, run what uses the transport on all of them."""
    chosen = any("carrier" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if getattr(metafunc.module, "ON_EVERY_CARRIER", False) and "carrier" in metafunc.fixturenames and not chosen:
        metafunc.parametrize("carrier", CARRIERS, indirect=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Files for servers inside TLS, and the authority their clients trust."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes calls to the system fail, for tests marked with `needs_shim`."""
    return make_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """The transport of `server`, `client` and `connect_raw`: TCP, unless a test is parametrised over others."""
    name = getattr(request, "param", TCP)
    return Carrier(name, request.getfixturevalue("certificates") if name in {TLS, WSS, QUIC} else None)


@pytest.fixture
def connect_raw(carrier: Carrier) -> Callable[[TransportServer], AbstractAsyncContextManager[RawPeer]]:
    """Open a raw connection to a server: `async with connect_raw(server) as peer`."""
    return carrier.raw


class Until(Protocol):
    """Wait until a condition holds; fails after `LIMIT` seconds."""

    async def __call__(self, condition: Callable[[], object]) -> None: ...


@pytest.fixture
def until() -> Until:
    """`await until(lambda: ...)` lets the loop turn until the condition holds."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():  # noqa: ASYNC110 - conditions of all kinds, most without an event
                await asyncio.sleep(0)

    return wait


@pytest.fixture
async def server(carrier: Carrier) -> AsyncIterator[TransportServer]:
    """A server that echoes requests, with default settings."""
    server = carrier.server()

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    async with server:
        yield server


@pytest.fixture
async def client(carrier: Carrier, server: TransportServer) -> AsyncIterator[TransportClient]:
    """A client connected to `server`."""
    async with carrier.client(server) as client:
        yield client


@pytest.fixture
def hasty() -> SessionConfig:
    """Settings whose timeouts end a test soon."""
    return SessionConfig(graceful_timeout=0.3, write_timeout=0.2)
