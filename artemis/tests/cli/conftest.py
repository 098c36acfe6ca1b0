"""A node to point the command line at, and a way to run it."""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from typer.testing import CliRunner, Result

from artemis.cli.app import app
from artemis.testing import running_node_sync

_numbers = count(1)
Run = Callable[..., Result]


@pytest.fixture(scope="session")
def cli_node_url() -> Iterator[str]:
    """Run one node for all tests of the command line; its region and zone are ``r`` and ``z``."""
    with running_node_sync(region="r", zone="z", self_preservation=False) as node:
        yield node.url


@pytest.fixture
def run(cli_node_url: str) -> Run:
    """Return a function that runs ``artemis ARGUMENTS`` against the node, in this process."""

    def run_command(*arguments: str, server: str = cli_node_url) -> Result:
        return CliRunner().invoke(app, arguments, env={"ARTEMIS_SERVER": server, "COLUMNS": "200"})

    return run_command


@pytest.fixture
def environment(cli_node_url: str) -> dict[str, str]:
    """Return the environment of a command in a process of its own."""
    return {**os.environ, "ARTEMIS_SERVER": cli_node_url}


@pytest.fixture
def fresh_service() -> str:
    """Return a service that no other test uses."""
    return f"cli-service-{next(_numbers)}"
