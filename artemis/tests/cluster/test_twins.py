"""Processes with copies of one data directory: one of them ends, with a sentence, before anything is lost by it."""

import asyncio
import shutil
import time
from pathlib import Path

from artemis.testing import running_cluster
from artemis.testing.node import RunningNode, arguments_of

OPTIONS: dict[str, float | str] = {"region": "r1", "peer_beat": 0.1, "join_timeout": 1.0}


def ended(node: RunningNode) -> tuple[int, str]:
    """Wait until a process has ended by itself; returns its exit code and what it said."""
    code = node.process.wait(timeout=90)
    deadline = time.monotonic() + 30
    while "artemis serve:" not in node.output and time.monotonic() < deadline:
        time.sleep(0.02)
    return code, node.output


def start_copy(source: Path, target: Path, **options: float | str) -> RunningNode:
    """Start a node with a copy of a data directory."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("node.lock"))
    return RunningNode(arguments_of({**OPTIONS, **options, "data_dir": str(target)}))


async def test_a_node_that_starts_with_a_copy_of_another_ones_data_directory_ends(tmp_path: Path) -> None:
    """It says why and what to do, before it has served anybody, and the one that serves goes on."""
    async with running_cluster(2, data_dir=tmp_path, **OPTIONS) as cluster:
        first, second = cluster.nodes
        peers = ",".join(cluster.urls)
        patient = {"peers": peers, "join_timeout": 60.0}  # it meets the others first, however busy this machine is
        copy = await asyncio.to_thread(start_copy, tmp_path / "node0", tmp_path / "copy", **patient)
        try:
            code, said = await asyncio.to_thread(ended, copy)
        finally:
            copy.kill()
        assert (1, None, None) == (code, first.process.poll(), second.process.poll())
        assert "artemis serve: there are two nodes with the id" in said
        assert f"{cluster.urls[0]} stays" in said
        assert "give that one an empty --data-dir" in said
        assert "node serves" not in said
        await asyncio.to_thread(cluster.wait_linked)


async def test_a_copy_that_only_a_third_node_tells_of_serves_nobody_and_ends(tmp_path: Path) -> None:
    """The third node lets it in no sooner than the one that serves is gone, and so the copy never begins."""
    async with running_cluster(2, data_dir=tmp_path, peer_suspect=0.5, peer_down=1.0, **OPTIONS) as cluster:
        patient = {"peers": cluster.urls[1], "join_timeout": 60.0}
        copy = await asyncio.to_thread(start_copy, tmp_path / "node0", tmp_path / "copy", **patient)
        try:
            code, said = await asyncio.to_thread(ended, copy)
        finally:
            copy.kill()
        assert (1, None) == (code, cluster.nodes[0].process.poll())
        assert "it waits until no other node has its id" in said
        assert "give this one an empty --data-dir" in said
        assert "node serves" not in said
        await asyncio.to_thread(cluster.wait_linked)


async def test_a_node_that_was_replaced_while_nobody_reached_it_ends(tmp_path: Path) -> None:
    """Both served apart, and the others follow the later one; the earlier one is told as soon as it is met."""
    async with running_cluster(1, data_dir=tmp_path, peers_file=str(tmp_path / "peers"), **OPTIONS) as cluster:
        first = cluster.nodes[0]
        peers = tmp_path / "peers"
        copy = await asyncio.to_thread(start_copy, tmp_path / "node0", tmp_path / "copy", peers_file=str(peers))
        try:
            await asyncio.to_thread(copy.wait_ready)
            peers.write_text(f"{copy.url}\n")
            code, said = await asyncio.to_thread(ended, first)
            assert (1, None) == (code, copy.process.poll())
            assert f"{copy.url} stays, {cluster.urls[0]} ends" in said
        finally:
            await asyncio.to_thread(copy.stop)


ADVICE = "else give that one an empty --data-dir, or end it, then start this one again"


async def test_a_copy_that_started_apart_and_meets_the_cluster_later_ends(tmp_path: Path) -> None:
    """Although its start is the later one: the node that is linked with others is the one that they know."""
    async with running_cluster(3, data_dir=tmp_path, **OPTIONS) as cluster:
        peers = tmp_path / "peers"
        peers.write_text("")
        copy = await asyncio.to_thread(start_copy, tmp_path / "node0", tmp_path / "copy", peers_file=str(peers))
        try:
            await asyncio.to_thread(copy.wait_ready)
            peers.write_text("".join(f"{url}\n" for url in cluster.urls))
            code, said = await asyncio.to_thread(ended, copy)
        finally:
            copy.kill()
        assert 1 == code
        assert [None] * 3 == [node.process.poll() for node in cluster.nodes]
        assert f"{cluster.urls[0]} stays, {copy.url} ends" in said
        assert said.rstrip().endswith(ADVICE)
        await asyncio.to_thread(cluster.wait_linked)


async def test_a_copy_that_started_apart_and_is_told_of_its_id_by_others_ends(tmp_path: Path) -> None:
    """It never meets the node that it is a copy of, and serves nobody for long."""
    async with running_cluster(2, data_dir=tmp_path, peer_suspect=0.5, peer_down=1.0, **OPTIONS) as cluster:
        peers = tmp_path / "peers"
        peers.write_text("")
        copy = await asyncio.to_thread(
            start_copy, tmp_path / "node0", tmp_path / "copy", peers_file=str(peers), peer_suspect=0.5, peer_down=1.0
        )
        try:
            await asyncio.to_thread(copy.wait_ready)
            peers.write_text(f"{cluster.urls[1]}\n")
            code, said = await asyncio.to_thread(ended, copy)
        finally:
            copy.kill()
        assert (1, None, None) == (code, *[node.process.poll() for node in cluster.nodes])
        assert f"another node has its id: {cluster.urls[1]} says: " in said
        assert said.rstrip().endswith(ADVICE)
        await asyncio.to_thread(cluster.wait_linked)
