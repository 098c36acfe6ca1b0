"""Machines with copies of one data directory: one of them ends whole, with a sentence, and the other one goes on."""

import asyncio
import shutil
from pathlib import Path

from worker_machines import Machine, mesh
from worker_waits import offered, until_all_show, until_offered

from artemis.testing.node import arguments_of


async def test_a_machine_that_starts_with_a_copy_of_another_ones_data_directory_ends(tmp_path: Path) -> None:
    """All of its workers, before they serve anybody; of the other one none does."""
    async with mesh(2, 1, data=tmp_path, join_timeout=1, peer_beat=0.1) as (a, b):
        connections = [*await a.at_each(), await b.connect()]
        await until_offered(connections, a, b)
        await connections[0].register("kept")
        await until_all_show(connections, {"kept"})
        before = a.processes()
        shutil.copytree(tmp_path / "0", tmp_path / "copy", ignore=shutil.ignore_patterns("node.lock"))
        copy = Machine(
            arguments_of(
                {
                    "workers": 2,
                    "peers": f"{a.url},{b.url}",
                    "data_dir": str(tmp_path / "copy"),
                    "join_timeout": 60,  # none serves before it has met the others, however busy this machine is
                    "peer_beat": 0.1,
                }
            )
        )
        try:
            code = await asyncio.to_thread(copy.process.wait, 60)
        finally:
            copy.kill()
        assert (1, before) == (code, a.processes()), copy.output
        assert "there are two nodes with the id" in copy.output
        assert f"{a.url} stays" in copy.output
        assert "node serves" not in copy.output
        await until_all_show(connections, {"kept"})
        for connection in connections:
            assert {a.url, b.url} == set(await offered(connection, "registry"))
