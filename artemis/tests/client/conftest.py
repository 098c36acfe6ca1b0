"""A node for the tests that need any node, and clients of it."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from artemis import ArtemisClient, ClientOptions
from artemis.testing import running_node_sync

_numbers = count(1)


@pytest.fixture(scope="session")
def node_url() -> Iterator[str]:
    """Run one node for all tests that leave it alone; many of them leave leases behind that nobody renews."""
    with running_node_sync(self_preservation=False) as node:
        yield node.url


@pytest.fixture
def service_id() -> str:
    """Return a service that no other test uses."""
    return f"service-{next(_numbers)}"


@pytest.fixture
def quick() -> ClientOptions:
    """Return options for tests: everything happens several times a second."""
    return ClientOptions(heartbeat_interval=0.3, poll_interval=0.1, attempts=3, backoff=0.02, backoff_limit=0.1)


@pytest.fixture
async def client(node_url: str, quick: ClientOptions) -> AsyncIterator[ArtemisClient]:
    """Open a client of the node."""
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as one:
        yield one


@pytest.fixture
async def other(node_url: str, quick: ClientOptions) -> AsyncIterator[ArtemisClient]:
    """Open a second client of the node."""
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as one:
        yield one
