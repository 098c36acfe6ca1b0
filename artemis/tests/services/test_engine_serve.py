"""Whole nodes around real nats-servers: `artemis serve --cluster nats://...`, killed, cut off and misled."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_clusters import register, shown, until, until_all_show, view

from artemis.testing.clusters import running_cluster_sync
from artemis.testing.nats_servers import NatsServer, nats_server

pytestmark = pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")
TTL = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a server, which ends with the test."""
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


def test_what_is_registered_at_one_node_all_show(server: NatsServer) -> None:
    """And each offers all nodes to clients, as the nodes of a mesh do."""
    with running_cluster_sync(3, engine=server.url, lease_ttl=TTL) as cluster:
        for n, node in enumerate(cluster.nodes):
            register(node.url, f"at-{n}")
        until_all_show(cluster, {"at-0", "at-1", "at-2"})


def test_without_the_engine_all_go_on_and_are_one_again_when_it_is_back(server: NatsServer) -> None:
    """What each accepted meanwhile reaches the others; clients are offered all nodes all the time."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        server.kill()
        until(lambda: bool(view(a.url)["alone"]) and bool(view(b.url)["alone"]), lambda: (a.output, b.output))
        register(a.url, "at-a")
        register(b.url, "at-b")
        assert ({"at-a"}, {"at-b"}) == (shown(a.url), shown(b.url))
        cluster.wait_linked(1.0)
        server.start()
        until_all_show(cluster, {"at-a", "at-b"})
        until(lambda: view(a.url)["alone"] is None, lambda: a.output)


def test_a_node_that_was_killed_comes_back_with_what_it_knew(server: NatsServer, tmp_path: Path) -> None:
    """Read on from its snapshot, with what the others accepted meanwhile."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600, data_dir=tmp_path, snapshot_interval=1) as cluster:
        a, b = cluster.nodes
        register(a.url, "at-a")
        until_all_show(cluster, {"at-a"})
        until((tmp_path / "node1" / "registry.snapshot").exists, lambda: b.output)
        b.kill()
        register(a.url, "meanwhile")
        b.restart()
        assert {"at-a", "meanwhile"} == shown(b.url)
