"""Clusters of real processes, and what users were promised of them, judged by the histories of their clients.

What takes longer, and what needs more than a user may do, is in `services`.
"""

import asyncio
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from artemis.testing import running_cluster, running_cluster_sync
from artemis.testing.clusters import nodes_known_to
from artemis.testing.histories_observed import observed, sdk_callers, until

TTL, SETTLE = 2.0, 4.0
LONG = 60.0
"""The TTL of instances that nobody renews, on a machine that is busy."""
OPTIONS: dict[str, float | bool] = {"lease_ttl": TTL, "self_preservation": False}


async def test_nodes_with_peers_of_each_other_show_the_same(tmp_path: Path) -> None:
    """What is registered or removed at one is so at the other, and a heartbeat at either finds the lease.

    One that is asked to end passes on what it accepted last, and is offered to nobody any more, as it said farewell.
    """
    async with (
        running_cluster(2, peer_suspect=30, peer_down=60, lease_ttl=LONG, self_preservation=False) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "kept", "removed", ttl=LONG, settle=SETTLE) as one,
    ):
        a, b = one.direct
        assert "ok" == await a.register("orders", "i", "x")
        await one.shows(1, "i")
        assert "ok" == await b.register("orders", "j", "x")
        await one.shows(0, "i", "j")
        assert ("ok", "ok") == (await b.heartbeat("orders", "i", "x"), await a.heartbeat("orders", "j", "x"))
        assert "ok" == await b.unregister("orders", "i")
        await one.shows(0, "j")
        await one.shows(1, "j")
        assert "unknown" == await a.heartbeat("orders", "i", "x")
        assert "ok" == await a.register("orders", "last", "x")
        with one.history.fault("stopped", cluster.nodes[0].url):
            assert 0 == await asyncio.to_thread(cluster.nodes[0].stop)
            assert "last" in (await b.lookup("orders") or ())
            # Sooner than the patience with silent nodes: so it was told.
            await until(lambda: {cluster.urls[1]} == nodes_known_to(cluster.nodes[1].url), 10)


async def test_both_sides_of_a_partition_serve_and_then_show_what_is_left(tmp_path: Path) -> None:
    """After the heal both show exactly what was registered and not unregistered on either side."""
    laws = ("kept", "visible", "removed", "converged", "watch")
    async with (
        running_cluster(2, linked=True, **OPTIONS) as cluster,
        observed(cluster, tmp_path / "history.jsonl", *laws, ttl=TTL, settle=SETTLE) as one,
    ):
        a, b = one.direct
        for node in (0, 1):
            one.look(node)
            one.watch(node)
        one.keep("at-a", 0)
        one.keep("at-b", 1)
        for name in ("gone-at-a", "gone-at-b"):
            await a.register("orders", name, "x")

        async def all_shown() -> bool:
            for name in ("gone-at-a", "gone-at-b"):
                await a.heartbeat("orders", name, "x")
            shown = [set(await each.lookup("orders") or ()) for each in one.direct]
            return [{"at-a", "at-b", "gone-at-a", "gone-at-b"}] * 2 == shown

        async with asyncio.timeout(30):
            while not await all_shown():  # noqa: ASYNC110 - other processes show it
                await asyncio.sleep(TTL / 20)
        with one.history.fault("partition"):
            cluster.split({0}, {1})
            assert ("ok", "ok") == (
                await a.unregister("orders", "gone-at-a"),
                await b.unregister("orders", "gone-at-b"),
            )
            one.keep("new-at-a", 0)
            one.keep("new-at-b", 1)
            await until(lambda: [1, 1] == [len(nodes_known_to(node.url)) for node in cluster.nodes])
            await one.shows(0, "at-a", "new-at-a")  # what the other side keeps is given up here
            cluster.heal()
        for node in (0, 1):
            await one.shows(node, "at-a", "at-b", "new-at-a", "new-at-b")
        await one.settle()


async def test_a_killed_node_and_its_return_cost_callers_nothing(tmp_path: Path) -> None:
    """No lookup of the SDK fails, whichever node is killed, and all instances stay."""
    async with (
        running_cluster(3, data_dir=tmp_path, **OPTIONS) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "answered", "kept", ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 3) as callers,
    ):
        everybody = {"sdk-0", "sdk-1", "sdk-2"}
        for node in (0, 1, 2):
            await one.shows(node, *everybody)
            one.look(node)
        for n, node in enumerate(cluster.nodes[:2]):
            with one.history.fault("killed", node.url):
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.restart)
            await one.shows(n, *everybody)
            await asyncio.to_thread(cluster.wait_linked)
        for caller in callers:
            assert everybody == set(await caller.lookup("orders") or ())


def test_clusters_can_be_run_by_code_that_blocks() -> None:
    """Single nodes have options of their own; all have ended after the block, each with 0."""
    with running_cluster_sync(2, each={1: {"zone": "zone2"}}) as cluster:
        arguments = [" ".join(map(str, node.process.args)) for node in cluster.nodes]
        assert [False, True] == ["--zone zone2" in words for words in arguments]
        assert list(cluster.urls) == [node.url for node in cluster.nodes]
        with pytest.raises(RuntimeError, match="linked=True"):
            cluster.cut(0, 1)
    assert [0, 0] == [node.process.returncode for node in cluster.nodes]


def test_a_cluster_without_nodes_is_refused() -> None:
    """Before anything is started."""
    with pytest.raises(ValueError, match="one node at least"), running_cluster_sync(0):
        pytest.fail("it started")  # pragma: no cover


async def test_a_node_that_stood_still_gives_nobody_up_and_says_how_old_it_is(tmp_path: Path) -> None:
    """Its first answers are as old as its pause, and it goes on to name all others, though the links have ended."""
    async with running_cluster(2, peer_suspect=2, peer_down=4) as cluster:
        a, b = cluster.nodes
        await until(lambda: [2, 2] == [len(nodes_known_to(node.url)) for node in cluster.nodes])
        b.pause()
        await asyncio.to_thread(until_alone, a.url)
        await asyncio.sleep(5)  # it is the length of the pause that is tested
        asked = ask_for_age(b.url)
        b.resume()
        assert age_in(asked) >= 5_000
        assert 2 == len(nodes_known_to(b.url))
        await until(lambda: age_of(b.url) < 5_000)
        assert 2 == len(nodes_known_to(b.url))


def until_alone(url: str) -> None:
    """Wait until the node at `url` knows of no other."""
    while len(nodes_known_to(url)) != 1:
        time.sleep(0.05)


def ask_for_age(url: str) -> HTTPConnection:
    """Ask a node for something; it answers when it turns its loop."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/api/v1/services/orders")
    return connection


def age_in(asked: HTTPConnection) -> int:
    """How old the node says that its answer is, in milliseconds."""
    with closing(asked):
        return int(asked.getresponse().headers["artemis-age-ms"])


def age_of(url: str) -> int:
    """How old the node says that its answer is now."""
    return age_in(ask_for_age(url))
