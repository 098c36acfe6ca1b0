"""Real nodes whose machines fail them: full disks, clocks that are wrong, processes that hang, and restarts in turn."""

import asyncio
import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from own_clocks import own_clock

from artemis.testing import RunningNode, running_cluster
from artemis.testing.clusters import nodes_known_to
from artemis.testing.histories_observed import observed, sdk_callers, until
from artemis.testing.links import Passes, Weather

TTL, SETTLE = 2.0, 5.0
OPTIONS: dict[str, float | bool] = {"lease_ttl": TTL, "self_preservation": False}


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a file system of its own needs root, on Linux")
    path.mkdir()
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Leave no room."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def metric(node: RunningNode, name: str) -> float:
    """A metric of a node; 0 if it has none of this name."""
    with urllib.request.urlopen(f"{node.url}/metrics", timeout=5) as response:  # noqa: S310 - http alone
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def age_of(node: RunningNode) -> int:
    """How old a node says that its answers are, in milliseconds."""
    with urllib.request.urlopen(f"{node.url}/api/v1/services/orders", timeout=10) as answer:  # noqa: S310 - our own node
        return int(answer.headers["artemis-age-ms"])


async def test_a_full_disk_costs_nothing_but_snapshots(tmp_path: Path) -> None:
    """The node goes on, says that its snapshots fail, and writes them again when there is room."""
    with small_disk(tmp_path / "disk") as disk:
        each = {0: {"data_dir": str(disk / "data"), "snapshot_interval": 0.5}}
        async with (
            running_cluster(2, each=each, **OPTIONS) as cluster,
            observed(cluster, tmp_path / "history.jsonl", "kept", "visible", ttl=TTL, settle=SETTLE) as one,
        ):
            node = cluster.nodes[0]
            one.keep("i", 0)
            for n in (0, 1):
                one.look(n)
                await one.shows(n, "i")
            await asyncio.to_thread(fill, disk / "rest")
            await until(lambda: metric(node, 'artemis_snapshots_total{event="failed"}') > 0)
            one.keep("j", 0)
            for n in (0, 1):
                await one.shows(n, "i", "j")
            await one.settle()
            (disk / "rest").unlink()
            written = metric(node, 'artemis_snapshots_total{event="written"}')
            await until(lambda: metric(node, 'artemis_snapshots_total{event="written"}') > written)
            with one.history.fault("killed", node.url):
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.restart)
            await one.shows(0, "i", "j")


async def test_a_node_whose_clock_is_wrong_serves_no_registry_until_it_is_right(tmp_path: Path) -> None:
    """Its peers drop it, because its stamps would win over theirs; clients are sent elsewhere meanwhile."""
    clock, environment = own_clock(tmp_path)
    ttl = 8.0
    async with (
        running_cluster(3, environments={2: environment}, lease_ttl=ttl, self_preservation=False) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "visible", ttl=ttl, settle=SETTLE) as one,
    ):
        right = set(cluster.urls[:2])
        one.keep("i", 0)
        for n in range(3):
            await one.shows(n, "i")
        with one.history.fault("skew"):
            clock.write_text("+30\n")
            await until(lambda: [right] * 2 == [nodes_known_to(node.url) for node in cluster.nodes[:2]])
            await until(lambda: cluster.urls[2] not in nodes_known_to(cluster.nodes[2].url))
            assert "failed" == await one.direct[2].register("orders", "of-the-future", "x")
            # For longer than any lease lives here and the turns of three nodes to give it up: nothing of it expires.
            await until(lambda: age_of(cluster.nodes[2]) > 3 * 1000 * ttl, 60)
            assert {"i"} == set(await one.direct[2].lookup("orders") or ())
            clock.write_text("+0\n")
            await asyncio.to_thread(cluster.wait_linked)
        for n in range(3):
            await one.shows(n, "i")
            one.look(n)
        await one.settle()


async def test_a_node_that_hung_for_longer_than_a_lease_lives_comes_back_to_the_others(tmp_path: Path) -> None:
    """It takes nothing from them that they keep, and its clients have gone on at the others."""
    laws = ("answered", "visible", "kept", "converged")
    async with (
        running_cluster(3, **OPTIONS) as cluster,
        observed(cluster, tmp_path / "history.jsonl", *laws, ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 2),
    ):
        for node in range(3):
            one.look(node)
        one.keep("plain", 0, 1)
        for node in range(3):
            await one.shows(node, "plain", "sdk-0", "sdk-1")
        with one.history.fault("paused", cluster.nodes[2].url):
            cluster.nodes[2].pause()
            await until(lambda: 2 == len(nodes_known_to(cluster.nodes[0].url)))
            await asyncio.sleep(1.5 * TTL)
            cluster.nodes[2].resume()
        await asyncio.to_thread(cluster.wait_linked)
        for node in range(3):
            await one.shows(node, "plain", "sdk-0", "sdk-1")
        await one.settle()


async def test_a_rolling_restart_fails_no_call(tmp_path: Path) -> None:
    """Three nodes are replaced one after the other under clients of the SDK; each ends with 0."""
    async with (
        running_cluster(3, data_dir=tmp_path, **OPTIONS) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "answered", "visible", ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 6) as callers,
    ):
        everybody = {f"sdk-{n}" for n in range(6)}
        for node in range(3):
            await one.shows(node, *everybody)
            one.look(node)
        for node in cluster.nodes:
            with one.history.fault("stopped", node.url):
                assert 0 == await asyncio.to_thread(node.stop)
                await asyncio.to_thread(node.restart)
            await asyncio.to_thread(cluster.wait_linked)
        for caller in callers:
            assert everybody == set(await caller.lookup("orders") or ())
        await one.settle()


async def test_links_that_are_slow_lose_bytes_and_break(tmp_path: Path) -> None:
    """Delay with jitter, then peers that are half gone, then resets in turn; the cluster is one again each time."""
    laws = ("visible", "kept", "removed", "converged", "watch")
    async with (
        running_cluster(3, linked=True, **OPTIONS) as cluster,
        observed(cluster, tmp_path / "history.jsonl", *laws, ttl=TTL, settle=SETTLE) as one,
    ):
        for node in range(3):
            one.look(node)
            one.watch(node)
            one.keep(f"at-{node}", node)
        await one.direct[2].register("orders", "gone", "x")
        with one.history.fault("bad links"):
            cluster.split({0}, {1}, {2}, weather=Weather(delay=0.1, jitter=0.3, bandwidth=200_000))
            for node in range(3):
                await one.shows(node, "at-0", "at-1", "at-2", "gone")
            cluster.split({0}, {1, 2}, weather=Weather(passes=Passes.LOST))
            await one.direct[1].unregister("orders", "gone")
            await until(lambda: 1 == len(nodes_known_to(cluster.nodes[0].url)))
            cluster.heal()
            cluster.flap({0, 1}, {2}, weather=Weather(passes=Passes.RESET), bad=0.3, fine=0.4)
            await asyncio.sleep(2 * TTL)
            cluster.heal()
        for node in range(3):
            await one.shows(node, "at-0", "at-1", "at-2")
        await one.settle()
