"""The library of `fault_shim.c`, compiled. Not here: what it does, and for whom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = shutil.which("gcc") or shutil.which("cc")
needs_shim = pytest.mark.skipif(
    sys.platform != "linux" or COMPILER is None, reason="needs Linux and a compiler for the shim"
)


def make_shim(folder: Path) -> Path:
    """The library, to be loaded before all others with LD_PRELOAD."""
    made = folder / "shim.so"
    source = Path(__file__).with_name("fault_shim.c")
    subprocess.run([COMPILER or "", "-O1", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"], check=True)
    return made
