"""Fixtures for pytest: a real node on a free port, and clients of it, for the tests of those who use the SDK.

::

    # conftest.py
    pytest_plugins = ["artemis.testing.fixtures"]


    # test_orders.py
    async def test_orders_are_found(artemis_client: ArtemisClient) -> None:
        async with artemis_client.registered(Instance(service_id="orders", ip="127.0.0.1", port=9000)):
            assert len((await artemis_client.service("orders")).instances) == 1

| fixture | gives |
| --- | --- |
| ``artemis_node`` | a node of the test's own (`RunningNode`: ``url``, ``kill()``, ``restart()``, ...) |
| ``artemis_node_session`` | one node for all tests that ask for it; take other services in each |
| ``artemis_client`` | an `artemis.ArtemisClient` of ``artemis_node``, open; needs pytest-asyncio, auto mode or a mark |
| ``artemis_sync_client`` | an `artemis.sync.ArtemisClient` of ``artemis_node``, open |
| ``artemis_node_options`` | what the nodes are started with; a fixture of this name of your own replaces it |

Needs ``artemis-registry[server]`` and pytest. A node takes about half a second of a processor to start, so tests that
leave it alone do well with the one of the session. Not for production, and not for the node's own process: it is a
real one beside the test's.
"""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from artemis.testing.node import NodeFailedError, running_node_sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from artemis import ArtemisClient
    from artemis.sync import ArtemisClient as SyncClient
    from artemis.testing.node import OptionValue, RunningNode

NodeOptions = dict[str, "OptionValue"]
"""Options of ``artemis serve`` with underscores: ``{"lease_ttl": 2, "self_preservation": False}``."""

_REGION = "local"
_ZONE = "zone1"


@pytest.fixture(scope="session")
def artemis_node_options() -> NodeOptions:
    """Return the options of the nodes: none, so their defaults. Replace it in a ``conftest.py`` (session scope)."""
    return {}


@pytest.fixture(scope="session")
def artemis_node_session(artemis_node_options: NodeOptions) -> Iterator[RunningNode]:
    """Run one node for all tests of the session that leave it running."""
    with _node(artemis_node_options) as node:
        yield node


@pytest.fixture
def artemis_node(artemis_node_options: NodeOptions) -> Iterator[RunningNode]:
    """Run a node for one test, which may kill it, stop it and start it again."""
    with _node(artemis_node_options) as node:
        yield node


@pytest.fixture
def artemis_sync_client(artemis_node: RunningNode, artemis_node_options: NodeOptions) -> Iterator[SyncClient]:
    """Open a client for code that blocks, in the region and zone of the node."""
    from artemis.sync import ArtemisClient

    region, zone = _place(artemis_node_options)
    with ArtemisClient(servers=[artemis_node.url], region_id=region, zone_id=zone) as client:
        yield client


@pytest.fixture
def _needs_asyncio(request: pytest.FixtureRequest) -> None:
    """Say it when pytest-asyncio is there and switched off; pytest itself would name no remedy."""
    if not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail("artemis_client needs pytest-asyncio, which is switched off: `-p no:asyncio`?", pytrace=False)


async def _client(
    _needs_asyncio: None, artemis_node: RunningNode, artemis_node_options: NodeOptions
) -> AsyncIterator[ArtemisClient]:
    """Open a client in the region and zone of the node."""
    from artemis import ArtemisClient

    region, zone = _place(artemis_node_options)
    async with ArtemisClient(servers=[artemis_node.url], region_id=region, zone_id=zone) as client:
        yield client


def _without_asyncio() -> None:
    """Say what is missing."""
    pytest.fail("artemis_client needs pytest-asyncio: pip install pytest-asyncio", pytrace=False)


artemis_client: object
if importlib.util.find_spec("pytest_asyncio") is None:
    artemis_client = pytest.fixture(_without_asyncio, name="artemis_client")
else:
    import pytest_asyncio

    artemis_client = pytest_asyncio.fixture(_client, name="artemis_client")


def _place(options: NodeOptions) -> tuple[str, str]:
    return str(options.get("region", _REGION)), str(options.get("zone", _ZONE))


@contextmanager
def _node(options: NodeOptions) -> Iterator[RunningNode]:
    """Run a node; one that does not start is an error of the test in the node's own words, without our stack."""
    running = running_node_sync(**options)
    try:
        node = running.__enter__()
    except NodeFailedError as error:
        pytest.fail(f"the registry node for this test did not start: {error}", pytrace=False)
    try:
        yield node
    finally:
        running.__exit__(None, None, None)
