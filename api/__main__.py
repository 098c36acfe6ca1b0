"""The commands: `python -m api check` (part of `make lint`) and `python -m api write` (`make api`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from api.guard import Verdict, first, judge
from api.public import DISTRIBUTIONS, Distribution
from api.record import Record, RecordError, parse, render
from api.surface import SurfaceError, read
from api.versions import is_released, written

ROOT: Final = Path(__file__).parent.parent
SHOWN: Final = 40


def main(arguments: list[str] | None = None) -> int:
    """Compare or write the records; 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m api", description="The guard of the public API.")
    parser.add_argument("command", choices=["check", "write"])
    parser.add_argument("--root", type=Path, default=ROOT, help="of the repository")
    given = parser.parse_args(arguments)
    good = [_one(distribution, given.root, write=given.command == "write") for distribution in DISTRIBUTIONS]
    return 0 if all(good) else 1


def _one(distribution: Distribution, root: Path, *, write: bool) -> bool:
    file = distribution.record_file(root)
    try:
        surface = read(distribution, root)
        version = written(distribution.version_file(root).read_text())
        released = is_released(version, (root / "CHANGELOG.md").read_text())
        recorded = parse(file.read_text()) if file.exists() else None
    except (SurfaceError, RecordError, ValueError, OSError) as error:
        _say(f"{distribution.name}: {error}")
        return False
    if recorded is None:
        if write:
            _write(distribution, file, first(surface, version, released=released))
        else:
            _say(f"{distribution.name}: there is no {file.relative_to(root)}; run `make api`.")
        return write
    verdict = judge(recorded, surface, version, released=released)
    if verdict.reason and not (write and verdict.renewable):
        _tell(distribution, verdict)
        return False
    if write:
        for change in verdict.stale:
            _say(f"{distribution.name}: recorded: {change}")
        _write(distribution, file, verdict.record)
    return True


def _tell(distribution: Distribution, verdict: Verdict) -> None:
    changes = verdict.refusals or verdict.stale
    for change in changes[:SHOWN]:
        _say(f"{distribution.name}: {change}")
    if len(changes) > SHOWN:
        _say(f"{distribution.name}: and {len(changes) - SHOWN} more")
    _say(f"{distribution.name}: {verdict.reason}")


def _write(distribution: Distribution, file: Path, record: Record) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(render(distribution.name, record))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
