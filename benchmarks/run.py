"""Every benchmark of this folder, one after the other, each in a process of its own: what `make bench` runs.

python benchmarks/run.py [NAME ...]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SHARED = {"fleet.py", "load.py", "rounds.py", "run.py", "sdk_fleet.py", "watchers.py"}
ARGUMENTS = {"cluster_large": ["--quick"], "java_fleet": ["--quick"], "sdk_restart": ["--quick"]}


def main() -> int:
    """Run the named benchmarks, or all; 1 when one failed."""
    found = sorted(path for path in HERE.glob("*.py") if path.name not in SHARED)
    chosen = [path for path in found if not sys.argv[1:] or path.stem in sys.argv[1:]]
    unknown = set(sys.argv[1:]) - {path.stem for path in found}
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(path.stem for path in found)}")
        return 2
    failed = [path.stem for path in chosen if not run(path)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def run(path: Path) -> bool:
    """Run one benchmark; whether it ended well."""
    print(f"== {path.stem}", flush=True)
    done = subprocess.run([sys.executable, str(path), *ARGUMENTS.get(path.stem, [])], check=False)
    print(flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
