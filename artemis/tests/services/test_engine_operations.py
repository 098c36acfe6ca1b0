"""What operators do to nodes around an engine: take one out of service, back up and restore, upgrade, examine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_clusters import register, shown, until, until_all_show, view
from typer.testing import CliRunner, Result

from artemis.cli.app import app
from artemis.cluster.trial import CLAIM
from artemis.testing.clusters import nodes_known_to, running_cluster_sync
from artemis.testing.nats_servers import NatsServer, nats_server

pytestmark = pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a server, which ends with the test."""
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


def artemis(url: str, *arguments: str) -> Result:
    """Run a command against a node."""
    return CliRunner().invoke(app, arguments, env={"ARTEMIS_SERVER": url, "COLUMNS": "300"})


def test_a_node_leaves_when_the_engine_has_all_that_it_accepted(server: NatsServer, tmp_path: Path) -> None:
    """It is told apart from one that is gone, and what it had comes back from a backup."""
    file = str(tmp_path / "backup")
    with running_cluster_sync(2, engine=server.url, lease_ttl=10, self_preservation=False) as cluster:
        one, other = cluster.nodes
        register(one.url, "a", "b")
        until_all_show(cluster, {"a", "b"})
        assert 0 == artemis(other.url, "doctor").exit_code
        assert 0 == artemis(other.url, "backup", file).exit_code
        left = artemis(one.url, "cluster", "leave", "--drain", "--yes")
        assert (0, True) == (left.exit_code, "has left and ended" in left.output), left.output
        assert 0 == one.process.wait()
        assert {other.url} == nodes_known_to(other.url)
        assert set() == shown(other.url)  # nobody renewed them
        assert 0 == artemis(other.url, "restore", file, "--overwrite").exit_code
        assert {"a", "b"} == shown(other.url)


def test_nodes_around_an_engine_go_to_the_next_version_one_by_one(server: NatsServer, tmp_path: Path) -> None:
    """By releases that speak both; all show the same all the time."""
    old = {CLAIM: "1-1"}
    with running_cluster_sync(
        2, engine=server.url, lease_ttl=600, data_dir=tmp_path / "data", environments={0: old, 1: old}
    ) as cluster:
        register(cluster.urls[0], "kept")
        until_all_show(cluster, {"kept"})
        for number, versions in enumerate(("1-2", "2-2")):
            for node in cluster.nodes:
                node.stop()
                node.restart({CLAIM: versions})
                until_all_show(cluster, {"kept", *(f"new-{each}" for each in range(number))})
                cluster.wait_linked()
            register(cluster.urls[1], f"new-{number}")
            until_all_show(cluster, {"kept", *(f"new-{each}" for each in range(number + 1))})
        until(
            lambda: [2, 2] == [view(node.url)["newestProtocol"] for node in cluster.nodes],
            lambda: [view(node.url) for node in cluster.nodes],
        )
        assert 0 == artemis(cluster.urls[0], "doctor").exit_code
