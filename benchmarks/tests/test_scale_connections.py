"""Very many connections at the same time, `benchmarks/scale_connections.py`, with some hundred of them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import figures
import pytest
import scale_connections
from scale_connections_sides import bucket, quantile
from scale_connections_system import Plan, lacking, numbers, raise_limit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.0/8 and /proc are Linux's")
MANY = Plan(connections=100_000, workers=8, clients=6)
ENOUGH = {
    "fs/nr_open": [1_048_576],
    "fs/file-nr": [1000, 0, 2_000_000],
    "fs/file-max": [2_000_000],
    "net/core/somaxconn": [4096],
    "net/ipv4/ip_local_port_range": [32_768, 60_999],
}
MEMORY = 24 * 1024**3


def missing(limit: int = 20_000, available: int = MEMORY, **settings: list[int]) -> list[str]:
    """What a system lacks that has enough but for these settings."""
    system = {**ENOUGH, **{name.replace("__", "/"): value for name, value in settings.items()}}
    return lacking(MANY, limit, available, lambda name: system.get(name, []))


def test_a_system_with_room_lacks_nothing() -> None:
    """A process may open 20 000 files, and there is no firewall that tracks connections."""
    assert [] == missing()


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (missing(limit=4096), "ulimit -Hn 16867"),
        (missing(limit=4096, fs__nr_open=[10_000]), "sysctl -w fs.nr_open=16867"),
        (missing(**{"fs__file-max": [100_000]}), "sysctl -w fs.file-max=203800"),
        (missing(net__core__somaxconn=[128]), "sysctl -w net.core.somaxconn=1024"),
        (missing(net__ipv4__ip_local_port_range=[60_000, 60_999]), "net.ipv4.ip_local_port_range"),
        (missing(net__netfilter__nf_conntrack_max=[65_536]), "sysctl -w net.netfilter.nf_conntrack_max=115000"),
        (missing(available=1024**3), "fewer --connections"),
    ],
)
def test_each_limit_is_told_with_what_to_set(found: list[str], advice: str) -> None:
    """What a limit is too low for is one sentence, which says how to raise it."""
    assert advice in found[-1]


def test_a_system_with_little_room_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program ends at once, with 2 and the sentences."""
    monkeypatch.setattr(scale_connections, "available", lambda: 1024**2)

    assert 2 == scale_connections.main(["--connections", "300"])

    assert "fewer --connections" in capsys.readouterr().out


def test_numbers_of_proc_are_bytes() -> None:
    """Lines without a number, and with further words, are left out."""
    text = "Slab:             900 kB\nHugePages_Total:       2\n55e-7ff ---p 00000000 00:00 0   [rollup]\n"

    assert {"Slab": 900 * 1024, "HugePages_Total": 2} == numbers(text)


def test_a_histogram_keeps_times_to_two_percent() -> None:
    """Quantiles are as near as its steps are wide."""
    times = Counter(bucket(number / 1000) for number in range(1, 1001))

    assert 0.5 == pytest.approx(quantile(times, 0.5), rel=0.02)
    assert 0.99 == pytest.approx(quantile(times, 0.99), rel=0.02)
    assert 0.0 == quantile(Counter(), 0.5)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where figures go."""
    monkeypatch.setattr(figures, "DIRECTORY", tmp_path)
    raise_limit()
    return tmp_path / "scale_connections.json"


def test_all_of_it_with_some_connections(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Connections are held and asked on, reached by a broadcast, cut and made again, moved to new workers, closed."""
    words = "--connections 300 --hold 1.5 --period 1 --cut 100 --reload"

    ended = scale_connections.main(words.split())

    assert 0 == ended, capfd.readouterr().out
    told = json.loads(results.read_text(encoding="utf-8"))
    assert 300 == sum(told["ramp"]["of_workers"]) == told["broadcast"]["to"]
    assert told["requests"]["answered"] >= 400
    assert 100 == told["cut"]["cut"]
    assert "reload" in told
    assert (0, {}) == (told["remains"]["sessions"], told["problems"])


def test_a_connection_that_is_lost_is_told(
    results: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Connections that are cut while nobody is told to make them again let the program end with 1."""

    async def cut(run: scale_connections.Run) -> None:
        await run.desks[0].tell("cut", count=3)

    monkeypatch.setattr(scale_connections.Run, "cut", cut)

    ended = scale_connections.main(["--connections", "50", "--hold", "0.5", "--period", "0.5"])

    assert 1 == ended
    problems = json.loads(results.read_text(encoding="utf-8"))["problems"]
    assert 3 == sum(count for problem, count in problems.items() if problem.startswith("connections lost"))
    assert "FAILED" in capfd.readouterr().out


def test_a_run_that_takes_too_long_is_ended(results: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All processes are ended, and what was found until then is told."""
    ended = scale_connections.main(["--connections", "50", "--hold", "100", "--within", "3"])

    assert 1 == ended
    told = json.loads(results.read_text(encoding="utf-8"))
    assert {"it did not end within 3 s": 1} == told["problems"]
    assert "broadcast" not in told
