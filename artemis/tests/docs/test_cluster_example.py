"""The example of a cluster runs as it stands: nothing is lost when a node is killed and comes back."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "cluster" / "three_nodes.sh"
SHELL = shutil.which("sh")


@pytest.mark.timeout(150)
@pytest.mark.skipif(SHELL is None, reason="the example is a shell script, and there is no shell")
def test_three_nodes_behave_as_one(unused_tcp_port_factory):
    """What is registered at one is seen at the others, whichever node is killed meanwhile."""
    ports = " ".join(str(unused_tcp_port_factory()) for _ in range(3))
    environment = {**os.environ, "PORTS": ports, "ARTEMIS": f"{sys.executable} -m artemis", "COLUMNS": "200"}
    done = subprocess.run(
        [SHELL, str(SCRIPT)], capture_output=True, text=True, timeout=140, check=False, env=environment
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    first, _, rest = done.stdout.partition("== The first node is killed")
    assert "All nodes that answer know the same." in first
    assert "does not answer from here" in rest
    _, _, back = rest.partition("== It comes back")
    assert ["a", "b"] == [line.split()[0] for line in back.splitlines() if ":700" in line]
    assert 2 == done.stderr.count("knows the same as this node")
