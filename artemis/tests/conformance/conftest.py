"""A node of region r1, zone z1 with the options of a case: in the test's event loop, and as two workers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog
from machines import Machines, machines

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig


@asynccontextmanager
async def _serving(*, untouched: bool = True, **options: object) -> AsyncIterator[NodeServer]:
    server = NodeServer(ServeConfig(**{"port": 0, "region": "r1", "zone": "z1", **options}), structlog.get_logger())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Machines]:
    """Machines with two workers, each started when it is asked for first."""
    with machines() as running:
        yield running


@pytest.fixture(params=["one process", "two workers"])
def serve(request: pytest.FixtureRequest, two_workers: Machines) -> Callable[..., object]:
    """`async with serve(**options) as server`."""
    if request.param == "one process":
        return _serving
    mark = request.node.get_closest_marker("one_process")
    if mark is not None:
        pytest.skip(f"it is about one process: {mark.args[0]}")
    return two_workers.serving


@pytest.fixture
async def server(serve: Callable[..., object]) -> AsyncIterator[NodeServer]:
    """A node with the default options."""
    async with serve() as running:
        yield running
