"""Every benchmark of this folder, one after the other, each in a process of its own: what `make bench` runs.

    python benchmarks/run.py [NAME ...] [--json] [--charts DIRECTORY]

Prints what each prints, then a summary, and writes `results/run.json`: how each ended, how long it took and what it
said; with `--json`, the figures of those that tell them as JSON instead. Charts go to `results/` unless told otherwise;
those of the documentation are renewed with `--charts docs/charts`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from figures import DIRECTORY, machine, print_table, write

HERE = Path(__file__).parent
SHARED = {
    "bench_check.py",
    "charts.py",
    "comparison.py",
    "figures.py",
    "fleet.py",
    "load.py",
    "phase3_sides.py",
    "rounds.py",
    "run.py",
    "scale_connections_figures.py",
    "scale_connections_sides.py",
    "scale_connections_system.py",
    "scaling_checks.py",
    "scaling_cores.py",
    "scaling_engine.py",
    "scaling_load.py",
    "scaling_model.py",
    "scaling_nodes.py",
    "scaling_terms.py",
    "sdk_fleet.py",
    "soak.py",
    "soak_clients.py",
    "soak_link.py",
    "soak_loads.py",
    "soak_payloads.py",
    "soak_peers.py",
    "soak_samples.py",
    "soak_server.py",
    "soak_verdict.py",
    "soak_world.py",
    "watchers.py",
}
ARGUMENTS = {
    "cluster_large": ["--quick"],
    "cluster_modes": ["--quick"],
    "java_fleet": ["--quick"],
    "msgtrans_buffers": ["--rounds", "1"],
    "scale_connections": ["--quick"],
    "scaling_costs": ["--quick"],
    "sdk_restart": ["--quick"],
}
DRAWN = {"msgtrans_peers", "phase3"}
TELLS_JSON = ('"--json"', "from rounds import")  # one of these stands in what knows the option


class Ended(NamedTuple):
    """How a benchmark ended."""

    name: str
    well: bool
    seconds: float
    output: str
    figures: object = None


def main() -> int:
    """Run the named benchmarks, or all; 1 when one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="let benchmarks tell figures as JSON where they can")
    parser.add_argument("--charts", type=Path, default=DIRECTORY, metavar="DIRECTORY")
    arguments = parser.parse_args()
    found = sorted(path for path in HERE.glob("*.py") if path.name not in SHARED)
    chosen = [path for path in found if not arguments.names or path.stem in arguments.names]
    if unknown := set(arguments.names) - {path.stem for path in found}:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(path.stem for path in found)}")
        return 2
    ended = [run(path, arguments.charts.absolute(), as_json=arguments.json) for path in chosen]
    lines = [[one.name, f"{one.seconds:.0f} s", "ended well" if one.well else "FAILED"] for one in ended]
    print_table("Summary", ("benchmark", "took", ""), lines)
    path = write("run", {**machine(), "benchmarks": [one._asdict() for one in ended]})
    print(f"as JSON: {path}; charts: {arguments.charts}")
    failed = [one.name for one in ended if not one.well]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def run(path: Path, charts: Path, *, as_json: bool) -> Ended:
    """Run one benchmark, and print what it prints while it does."""
    print(f"== {path.stem}", flush=True)
    more = list(ARGUMENTS.get(path.stem, []))
    if path.stem in DRAWN:
        more += ["--charts", str(charts)]
    tells = as_json and any(mark in path.read_text(encoding="utf-8") for mark in TELLS_JSON)
    began = time.monotonic()
    code, output = _printing([sys.executable, str(path), *more, *(["--json"] if tells else [])])
    print(flush=True)
    figures = json.loads(output) if tells and not code else None
    return Ended(path.stem, not code, round(time.monotonic() - began, 1), output, figures)


def _printing(command: Sequence[str]) -> tuple[int, str]:
    """Run a command; its exit code, and what it printed."""
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            said.append(line)
    return process.returncode, "".join(said)


if __name__ == "__main__":
    raise SystemExit(main())
