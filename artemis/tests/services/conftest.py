"""What needs more than a user may do, or more time than `make test` has; `make test-services` runs it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artemis.testing.namespaces import Network, why_not
from artemis.testing.nats_servers import NatsServer

collect_ignore_glob = [] if "ARTEMIS_TEST_SERVICES" in os.environ else ["*.py"]


@pytest.fixture
def network() -> Iterator[Network]:
    """Give a network of namespaces, or skip the test where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    with Network() as one:
        yield one


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """Give a file with a cluster secret, which nodes beyond loopback need."""
    path = tmp_path / "secret"
    path.write_text("a secret that all nodes of this test share\n")
    return str(path)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., NatsServer]]:
    """Give what starts a nats-server, which ends with the test."""
    with_test: list[NatsServer] = []

    def one(**config: object) -> NatsServer:
        server = NatsServer(tmp_path / f"alone{len(with_test)}", **config)
        with_test.append(server)
        server.start()
        return server

    yield one
    for server in with_test:
        server.kill()
