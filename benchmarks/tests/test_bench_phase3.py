"""The figures that the performance plan asks for, `benchmarks/phase3.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import phase3
import pytest
from phase3 import CONNECTED, PAIRS, POOL, Found, Measured, rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor times of other processes are Linux's")
PROGRAM = Path(phase3.__file__)


def found(*, rate: float, batched_us: float, unbatched_us: float, grown: tuple[int, int]) -> Found:
    """One round in which all that is batched has one rate and latency, and the rest half the rate and another."""
    fast, slow = Measured(rate, batched_us, batched_us, 5.0), Measured(rate / 2, unbatched_us, unbatched_us, 9.0)
    cases = {case: [fast if case.mode == "batched" and case != CONNECTED else slow] for case in (*PAIRS, *POOL)}
    return Found(cases, dict(zip(("batched", "unbatched"), grown, strict=True)))


def test_the_rows_say_what_is_met() -> None:
    """A row is met when its figure reaches what the plan asks, absolutely or beside the unbatched path."""
    good = rows(found(rate=13_000, batched_us=40, unbatched_us=100, grown=(70, 100)))
    poor = rows(found(rate=900, batched_us=90, unbatched_us=100, grown=(130, 100)))

    assert [True] * 7 == [row.met for row in good]
    assert [False] * 7 == [row.met for row in poor]


def test_the_rows_show_figures_beside_doing_without() -> None:
    """Rates are told as multiples, latency and memory as changes."""
    shown = {row.name: row.beside for row in rows(found(rate=8000, batched_us=40, unbatched_us=100, grown=(110, 100)))}

    assert "2.00 times" == shown["phase3_connection_pool_performance"]
    assert "2.00 times" == shown["phase3_protocol_throughput"]
    assert "-60 %" == shown["phase3_io_latency, p50"]
    assert "2.00 times" == shown["phase3_end_to_end_performance"]
    assert "+10 %" == shown["memory"]


def test_the_command_does_all_of_the_work() -> None:
    """Every case runs on real connections, and every message sent arrives: the client ends the program if not."""
    command = [sys.executable, str(PROGRAM), "--rounds", "1", "--seconds", "0", "--json"]

    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    assert {tuple(case) for case in (*PAIRS, *POOL)} == {(case["work"], case["mode"]) for case in told["medians"]}
    assert all(case["per_second"] > 0 and case["cpu_us"] > 0 for case in told["medians"])
