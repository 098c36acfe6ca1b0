"""The example of the README does what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs() -> None:
    """The first Python block is a whole program, and prints what stands below it."""
    text = README.read_text()
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    told = re.search(r"It prints `(.*?)` and `(.*?)`\.", text)
    assert program is not None
    assert told is not None
    done = subprocess.run([sys.executable, "-c", program[1]], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    assert sorted(told.groups()) == sorted(done.stdout.splitlines())


def test_every_public_word_is_documented() -> None:
    """Each public name has a docstring, and the package lists its names in order."""
    import msgtrans

    assert sorted(msgtrans.__all__) == sorted(set(msgtrans.__all__))
    for name in msgtrans.__all__:
        if name not in {"__version__", "Event"}:
            assert getattr(msgtrans, name).__doc__, name
