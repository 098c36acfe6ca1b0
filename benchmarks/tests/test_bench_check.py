"""What `make bench-check` makes of figures; measuring is left to the programs."""

from __future__ import annotations

import json
from pathlib import Path

import bench_check
import figures
import pytest
from bench_check import Series, check, new_baseline, read_baseline, update, write_baseline
from comparison import Better, Outcome, Row

BASELINE = {"fast": Row(2.0, 0.2, Better.LOWER), "wide": Row(10.0, 0.3, Better.HIGHER)}


class Runs:
    """Measures what it was given, one after the other."""

    def __init__(self, *runs: dict[str, float]) -> None:
        self.left = list(runs)

    def __call__(self) -> dict[str, Series]:
        return {name: Series(BASELINE[name].better, [value]) for name, value in self.left.pop(0).items()}


def test_a_run_within_tolerance_is_measured_once() -> None:
    """No second run is made when nothing looks worse."""
    runs = Runs({"fast": 2.3, "wide": 8.0}, {"fast": 9.0, "wide": 1.0})

    verdicts, worse = check(BASELINE, runs)

    assert [Outcome.SAME, Outcome.SAME] == [verdict.outcome for verdict in verdicts]
    assert [] == worse
    assert 1 == len(runs.left)


def test_what_looks_worse_once_does_not_fail() -> None:
    """A second run that finds the row well again clears it."""
    _, worse = check(BASELINE, Runs({"fast": 3.0, "wide": 10.0}, {"fast": 2.0, "wide": 10.0}))

    assert [] == worse


def test_what_is_worse_twice_is_named() -> None:
    """The rows that both runs find worse are what the command fails with."""
    _, worse = check(BASELINE, Runs({"fast": 3.0, "wide": 10.0}, {"fast": 2.9, "wide": 1.0}))

    assert [("fast", 2.9)] == [(verdict.name, verdict.ratio) for verdict in worse]


def test_a_row_that_spreads_too_widely_is_left_out() -> None:
    """A new baseline keeps the medians of all runs, and leaves out with a sentence what says nothing."""
    steady, wild = [1.0, 1.02, 0.98], [1.0, 3.0, 0.2]
    runs = [{"steady": Series(Better.LOWER, steady), "wild": Series(Better.LOWER, wild)}] * 3

    rows, sentences = new_baseline(runs)

    assert ["steady"] == list(rows)
    assert 1.0 == rows["steady"].ratio
    assert bench_check.LEAST <= rows["steady"].tolerance <= bench_check.MOST
    assert [True] == [sentence.startswith("left out: wild: spreads by ") for sentence in sentences]


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The file keeps every row with its tolerance and direction."""
    write_baseline(tmp_path / "baseline.json", BASELINE)

    assert BASELINE == read_baseline(tmp_path / "baseline.json")[1]


def test_the_committed_baseline_can_be_read() -> None:
    """Every row of it has a ratio, and a tolerance between the least and the most."""
    _, rows = read_baseline(bench_check.BASELINE)

    assert rows
    assert all(row.ratio > 0 for row in rows.values())
    assert all(bench_check.LEAST <= row.tolerance <= bench_check.MOST for row in rows.values())


def test_update_measures_as_often_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--update` makes the baseline of the runs, keeps their rounds and shows it."""
    monkeypatch.setattr(figures, "DIRECTORY", tmp_path / "results")
    runs = Runs({"fast": 2.0}, {"fast": 2.2}, {"fast": 2.1})

    update(tmp_path / "baseline.json", runs, 3)

    assert {"fast": Row(2.1, 0.15, Better.LOWER)} == read_baseline(tmp_path / "baseline.json")[1]
    kept = json.loads((tmp_path / "results" / "baseline.json").read_text(encoding="utf-8"))
    assert [{"fast": [2.0]}, {"fast": [2.2]}, {"fast": [2.1]}] == kept["runs"]
    assert "Baseline of 3 runs" in capsys.readouterr().out
