"""Where figures go: files of results/ (not committed), and tables on the terminal.

Not here: what the figures mean (`comparison.py`), charts (`charts.py`).
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

DIRECTORY = Path(__file__).parent / "results"
WIDTH = 130  # of tables that go to a file


def machine() -> dict[str, object]:
    """When and where figures were taken."""
    return {
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def write(name: str, found: Mapping[str, object]) -> Path:
    """Write `results/NAME.json`."""
    DIRECTORY.mkdir(exist_ok=True)
    path = DIRECTORY / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def print_table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print lines of text; all columns but the first are set to the right."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    shown = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        shown.add_column(name, justify="right" if number else "left", no_wrap=True)
    for line in lines:
        shown.add_row(*line)
    console.print(shown)


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table as the documents have it; all columns but the first are set to the right."""
    rule = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, rule, *lines))
