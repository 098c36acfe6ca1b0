"""The guard as a whole: what a version allows, what the record shows, what the commands say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api import __main__ as commands
from api.guard import first, judge
from api.public import Distribution
from api.record import Record, RecordError, parse, render
from api.versions import is_released, next_adding, next_breaking, reaches, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.surface import Surface

    SurfaceOf = Callable[..., Surface]

ONE = "__all__ = ['f']\ndef f(a: int = 1) -> int: ...\n"
MORE = "__all__ = ['f', 'g']\ndef f(a: int = 1) -> int: ...\ndef g() -> None: ...\n"
LESS = "__all__ = ['f']\ndef f() -> int: ...\n"


@pytest.mark.parametrize(
    ("promised", "breaking", "adding"),
    [("0.1.0", "0.2.0", "0.1.1"), ("0.9.7", "0.10.0", "0.9.8"), ("1.4.2", "2.0.0", "1.5.0")],
)
def test_versions(promised: str, breaking: str, adding: str) -> None:
    """Before 1.0 a minor release may break and a patch may add; after it a major one, and a minor one."""
    assert (breaking, adding) == (next_breaking(promised), next_adding(promised))
    assert (True, False) == (reaches(breaking, breaking), reaches(promised, breaking))


def test_version_files_and_changelogs() -> None:
    """The version comes from `_version.py`; it is out when the changelog has a section of it."""
    assert written('"""The version."""\n\n__version__ = "0.3.1"\n') == "0.3.1"
    changelog = "# Changelog\n\n## [Unreleased]\n\n## [0.3.0] - 2030-01-02\n"
    assert [True, False] == [is_released(version, changelog) for version in ("0.3.0", "0.3")]


@pytest.mark.parametrize("text", ["", "0.3", "v1"])
def test_what_is_no_version_is_told(text: str) -> None:
    """A version that is none is an error, not a comparison that goes wrong."""
    with pytest.raises(ValueError, match=r"MAJOR\.MINOR\.PATCH"):
        written(text) if not text else next_breaking(text)


def test_records_are_read_as_they_are_written(surface_of: SurfaceOf) -> None:
    """A record shows what is promised, what is gone and what is new, and reading it gives the same record."""
    record = Record("0.1.0", False, surface_of(ONE), surface_of("__all__ = ['f', 'g']\ndef f(): ...\ndef g(): ..."))
    text = render("small", record)
    assert [
        "version 0.1.0 unreleased",
        "- def small.f(a: int = 1) -> int",
        "+ def small.f()",
        "+ def small.g()",
    ] == [line for line in text.splitlines() if line and not line.startswith("#")]
    assert record == parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "first line"),
        ("version 0.1.0", "first line"),
        ("version 0.1.0 released\n\n* x", "line 3 cannot be read"),
    ],
)
def test_a_damaged_record_is_told(text: str, sentence: str) -> None:
    """A record that cannot be read is named with its line."""
    with pytest.raises(RecordError, match=sentence):
        parse(text)


def test_what_breaks_needs_a_version_that_says_so(surface_of: SurfaceOf) -> None:
    """A breaking change is refused, and writing the record is no way out; with the next minor version it is."""
    record = first(surface_of(ONE), "0.1.0", released=False)
    verdict = judge(record, surface_of(LESS), "0.1.0", released=False)
    assert (["small.f: the parameter a is gone"], False) == ([str(one) for one in verdict.refusals], verdict.renewable)
    assert "code written for 0.1.0, and the version is 0.1.0" in verdict.reason
    assert "say 0.2.0 in _version.py" in verdict.reason
    allowed = judge(record, surface_of(LESS), "0.2.0", released=False)
    assert ([], True) == (allowed.refusals, allowed.renewable)
    assert not judge(allowed.record, surface_of(LESS), "0.2.0", released=False).reason


def test_what_was_allowed_is_refused_again_when_the_version_goes_back(surface_of: SurfaceOf) -> None:
    """The record keeps what the last release promised, so a version that is lowered again finds it."""
    record = first(surface_of(ONE), "0.1.0", released=True)
    renewed = judge(record, surface_of(LESS), "0.2.0", released=False).record
    assert judge(renewed, surface_of(LESS), "0.1.0", released=True).refusals


def test_additions_have_to_be_recorded(surface_of: SurfaceOf) -> None:
    """What is new and not recorded is told with what to do; once written, nothing is wrong."""
    record = first(surface_of(ONE), "0.1.0", released=False)
    verdict = judge(record, surface_of(MORE), "0.1.0", released=False)
    assert (["small.g: is new"], [], True) == ([str(one) for one in verdict.stale], verdict.refusals, verdict.renewable)
    assert "run `make api`" in verdict.reason
    assert not judge(verdict.record, surface_of(MORE), "0.1.0", released=False).reason


def test_what_is_new_since_the_release_is_free(surface_of: SurfaceOf) -> None:
    """A name that was never released can go again; it has only to be recorded."""
    record = judge(first(surface_of(ONE), "1.0.0", released=True), surface_of(MORE), "1.1.0", released=False).record
    verdict = judge(record, surface_of(ONE), "1.1.0", released=False)
    assert ([], True) == (verdict.refusals, verdict.renewable)


def test_a_release_promises_what_there_is(surface_of: SurfaceOf) -> None:
    """When the changelog has the version, the record has to say so, and what was new is promised from then on."""
    record = judge(first(surface_of(ONE), "0.1.0", released=True), surface_of(MORE), "0.1.1", released=False).record
    verdict = judge(record, surface_of(MORE), "0.1.1", released=True)
    assert "0.1.1 is released" in verdict.reason
    assert first(surface_of(MORE), "0.1.1", released=True) == verdict.record
    assert judge(verdict.record, surface_of(ONE), "0.1.1", released=True).refusals


def test_a_release_is_no_way_around(surface_of: SurfaceOf) -> None:
    """A changelog that calls a version released does not make a break of that version allowed."""
    record = first(surface_of(ONE), "1.0.0", released=True)
    verdict = judge(record, surface_of(LESS), "1.1.0", released=True)
    assert (1, False) == (len(verdict.refusals), verdict.renewable)


def test_a_released_version_gets_nothing_new(surface_of: SurfaceOf) -> None:
    """Additions after a release need a version of their own."""
    record = first(surface_of(ONE), "1.0.0", released=True)
    verdict = judge(record, surface_of(MORE), "1.0.0", released=True)
    assert ("1.1.0 in _version.py" in verdict.reason, False) == (True, verdict.renewable)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one distribution, and the commands made to look at it."""
    small = Distribution(name="small", package="small", source="src", modules={"small": None})
    monkeypatch.setattr(commands, "DISTRIBUTIONS", (small,))
    package = tmp_path / "src" / "small"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(ONE)
    (package / "_version.py").write_text('__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n")
    return tmp_path


def run(repository: Path, command: str) -> int:
    return commands.main([command, "--root", str(repository)])


def test_the_commands(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`check` fails without a record and passes with one; `write` refuses a break until the version allows it."""
    package = repository / "src" / "small"
    assert (1, 0, 0) == (run(repository, "check"), run(repository, "write"), run(repository, "check"))
    (package / "__init__.py").write_text(LESS)
    capsys.readouterr()
    assert (1, 1) == (run(repository, "check"), run(repository, "write"))
    assert "small: small.f: the parameter a is gone" in capsys.readouterr().err
    (package / "_version.py").write_text('__version__ = "0.2.0"\n')
    assert (1, 0, 0) == (run(repository, "check"), run(repository, "write"), run(repository, "check"))


def test_the_commands_tell_mistakes(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name in `__all__` that does not exist is a sentence and an exit code."""
    (repository / "src" / "small" / "__init__.py").write_text("__all__ = ['gone']")
    assert run(repository, "check") == 1
    assert "small is said to have gone, and has not" in capsys.readouterr().err
