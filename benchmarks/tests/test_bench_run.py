"""What `make bench` runs, and what it makes of how benchmarks end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import figures
import pytest
import run


def test_what_is_shared_is_there() -> None:
    """Every module that is left out exists, and none of the rest lacks a main part."""
    programs = [path for path in run.HERE.glob("*.py") if path.name not in run.SHARED]

    assert [] == [name for name in sorted(run.SHARED) if not (run.HERE / name).exists()]
    assert [] == [path.name for path in programs if '__name__ == "__main__"' not in path.read_text(encoding="utf-8")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of benchmarks of our own."""
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(figures, "DIRECTORY", tmp_path / "results")
    (tmp_path / "good.py").write_text('import sys\nprint(\'{"figure": 3}\' if "--json" in sys.argv else "three")\n')
    (tmp_path / "poor.py").write_text('print("one")\nraise SystemExit(4)\n')
    return tmp_path


def summary(folder: Path) -> dict[str, dict[str, object]]:
    """What was written, by benchmark."""
    told = json.loads((folder / "results" / "run.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in told["benchmarks"]}


def test_all_run_and_a_failure_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that fails does not keep the others from running; the exit code and the JSON tell of it."""
    monkeypatch.setattr(sys, "argv", ["run.py"])

    assert 1 == run.main()

    told = summary(folder)
    assert {"good": True, "poor": False} == {name: one["well"] for name, one in told.items()}
    assert "three\n" == told["good"]["output"]
    assert "failed: poor" in capfd.readouterr().out


def test_figures_are_told_as_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--json`, benchmarks that know the option tell figures, which end up in the summary."""
    monkeypatch.setattr(sys, "argv", ["run.py", "good", "--json"])

    assert 0 == run.main()

    assert {"figure": 3} == summary(folder)["good"]["figures"]


def test_an_unknown_name_runs_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The names there are, are told."""
    monkeypatch.setattr(sys, "argv", ["run.py", "goof"])

    assert 2 == run.main()

    assert "no such benchmark: goof; there are good, poor" in capfd.readouterr().out
    assert not (folder / "results").exists()
