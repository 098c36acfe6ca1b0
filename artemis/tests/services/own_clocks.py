"""Wall clocks that are wrong, for single processes."""

import os
from pathlib import Path

import pytest

FAKETIME = "/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1"


def own_clock(path: Path) -> tuple[Path, dict[str, str]]:
    """A file that says by how many seconds a wall clock is wrong, and the environment of a process that has it."""
    library = Path(FAKETIME.format(os.uname().machine))
    if not library.exists():
        pytest.skip("a clock of its own needs libfaketime: apt-get install libfaketime")
    clock = path / "clock"
    clock.write_text("+0\n")
    return clock, {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
