"""The programs that `benchmarks/msgtrans_peers.py` compares: each runs for a moment where its package is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgtrans_peers
import pytest
from msgtrans_peers import Cell, left_out, measure, processor_time

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor times of other processes are Linux's")
PROGRAM = Path(msgtrans_peers.__file__)


@pytest.mark.parametrize("name", msgtrans_peers.PEERS)
def test_every_program_echoes_what_it_is_asked(name: str) -> None:
    """Client and server of each library start, agree on every byte, and tell figures that are more than nothing."""
    if why := left_out(name):
        pytest.skip(why)

    found = measure([name], 1, 0.1, [Cell(64, 32)])

    assert all(value > 0 for value in found[name][Cell(64, 32)][0])


def test_a_package_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program whose package is not installed is left out, and says which."""
    monkeypatch.setattr(msgtrans_peers, "find_spec", lambda _: None)

    assert "grpc.aio is left out: the package grpc is not installed (make bench does)" == left_out("grpc_aio")


def test_a_broker_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py needs a nats-server, which is no Python package."""
    monkeypatch.setattr(msgtrans_peers, "find_spec", lambda _: True)
    monkeypatch.setattr(msgtrans_peers, "nats_server", lambda: None)

    assert "there is no nats-server" in str(left_out("nats_py"))


def test_the_processor_time_of_another_process_is_seen() -> None:
    """A process that computes takes processor time, and one that sleeps takes hardly any after it has started."""
    code = "import time\nprint(flush=True)\ninput()\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = processor_time(process.pid)
        print(file=process.stdin, flush=True)
        process.stdout.readline()
        after = processor_time(process.pid)
        print(file=process.stdin, flush=True)

    assert before < 0.3 <= after


def test_the_command_prints_ratios_and_draws_charts(tmp_path: Path) -> None:
    """`--json` tells medians of every program and the ratios of MsgTrans to each; `--charts` writes PNG files."""
    pytest.importorskip("matplotlib")
    arguments = ["msgtrans_tcp", "bare_echo", "--rounds", "1", "--seconds", "0", "--json", "--charts", str(tmp_path)]

    done = subprocess.run([sys.executable, str(PROGRAM), *arguments], stdout=subprocess.PIPE, text=True, check=True)

    told = json.loads(done.stdout)
    assert {"msgtrans_tcp", "bare_echo"} == {line["peer"] for line in told["medians"]}
    assert {("msgtrans_tcp", "bare_echo")} == {(line["ours"], line["peer"]) for line in told["ratios"]}
    assert ["peers_cpu.png", "peers_latency.png", "peers_rate.png"] == sorted(path.name for path in tmp_path.iterdir())
    assert all(0 < path.stat().st_size < 60 * 1024 for path in tmp_path.iterdir())


def test_a_name_that_nothing_has_is_refused() -> None:
    """The command names the programs there are."""
    done = subprocess.run([sys.executable, str(PROGRAM), "carrier_pigeon"], capture_output=True, text=True, check=False)

    assert 2 == done.returncode
    assert "no such program: carrier_pigeon; there are msgtrans_tcp" in done.stderr
