"""A node of region r1, zone z1 in the test's event loop, with the options of a case."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import structlog

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig


@asynccontextmanager
async def _serving(**options: object) -> AsyncIterator[NodeServer]:
    server = NodeServer(ServeConfig(**{"port": 0, "region": "r1", "zone": "z1", **options}), structlog.get_logger())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
def serve() -> Callable[..., object]:
    """`async with serve(**options) as server`."""
    return _serving


@pytest.fixture
async def server() -> AsyncIterator[NodeServer]:
    """A node with the default options."""
    async with _serving() as running:
        yield running
