"""The node that tests are given."""

import json
import urllib.request

import pytest

from artemis.testing import NodeFailedError, RunningNode, running_node, running_node_sync


def status_of(node: RunningNode) -> str:
    """Ask a node for its status."""
    with urllib.request.urlopen(f"{node.url}/api/status/node.json", timeout=5) as response:  # noqa: S310 - http alone
        return str(json.load(response)["nodeStatus"]["status"])


def test_it_is_ready_in_the_block_and_gone_after_it() -> None:
    """On a free port; its last lines are kept."""
    with running_node_sync() as node:
        assert status_of(node) == "up"
        assert node.url == f"http://127.0.0.1:{node.port}"
        assert f"listening {node.url}" in node.output
    assert node.process.returncode == 0


async def test_it_can_be_killed_and_comes_back_on_its_port() -> None:
    """As a crash would; a running one is not started twice."""
    async with running_node() as node:
        url = node.url
        with pytest.raises(RuntimeError, match="is running"):
            node.restart()
        node.kill()
        assert node.process.returncode == -9
        node.restart()
        assert (node.url, status_of(node)) == (url, "up")


async def test_a_node_that_does_not_start_tells_why() -> None:
    """The error holds what the node printed."""
    with pytest.raises(NodeFailedError, match="lease-ttl"):
        async with running_node(lease_ttl=-1):
            pytest.fail("it started")  # pragma: no cover


def test_options_are_those_of_the_command() -> None:
    """Underscores become dashes, and a switch that is off gets its negation."""
    with running_node_sync(region="r9", self_preservation=False, log_level="error") as node:
        arguments = node.process.args
    assert isinstance(arguments, list)
    assert "--no-self-preservation" in arguments
    assert arguments[arguments.index("--region") + 1] == "r9"
    assert arguments[arguments.index("--log-level") + 1] == "error"
