"""Whether MsgTrans got slower: ratios of a short run against those of `baseline.json`; what `make bench-check` runs.

    python benchmarks/bench_check.py [--update] [--rounds 30] [--runs 3]

Programs take turns, and every row is a ratio to a program that does not change with this repository, or to the same
work done another way: the machine's speed falls out. Most rows compare processor time, which a neighbour on the same
machine disturbs least; what waits instead of computing shows in the rows of latency. A row fails when its ratio is
worse than the baseline's by more than the row's tolerance, and is so again in a second run. Exit code 1 names what
got worse.

`--update` writes the baseline anew from several runs, and each row's tolerance from the spread of its rounds and runs
(`comparison.tolerance_for`). A row that spreads too widely to mean anything is left out, with a sentence. All rounds of
all runs are kept in `results/baseline.json`.

Not here: how ratios are compared (`comparison.py`), what is measured (`msgtrans_peers.py`, `phase3.py`,
`msgtrans_idle.py`).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgtrans_peers as peers
from comparison import Better, Outcome, Row, Verdict, confirmed, judge, tolerance_for
from figures import machine, print_table, write
from phase3 import CONNECTED, PACKETS, POOLED, REQUESTS
from phase3 import measure as measure_plan

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
LEAST, MOST = 0.05, 0.50  # of tolerances: what is never asked, and where a row says nothing any more
ONE, MANY, LARGE = peers.Cell(1, 32), peers.Cell(64, 32), peers.Cell(64, 1024)
SECONDS = 0.1  # of each measurement
OTHERS_EVERY = 3  # rounds of the bare programs for each of the rest
IDLE = 2000  # connections

KINDS = {"cpu_us": "CPU", "p50_us": "p50"}
OURS = {peers.TCP: peers.BARE, peers.WEBSOCKET: peers.PICOWS}


class Series(NamedTuple):
    """A row as it was measured: which way is good, and the ratio of every round."""

    better: Better
    rounds: Sequence[float]


Measure = Callable[[], Mapping[str, Series]]


def row_of(found: peers.Rounds, ours: str, theirs: str, cell: peers.Cell, figure: str) -> tuple[str, Series]:
    """A named row of two programs."""
    title, other = peers.PEERS[ours].title, peers.PEERS[theirs].title
    name = f"{KINDS[figure]}, {cell.in_flight} of {cell.size} B, {title} : {other}"
    return name, Series(Better.LOWER, peers.ratio(found, ours, theirs, cell, figure))


def bare_rows(rounds: int) -> dict[str, Series]:
    """MsgTrans beside programs that do the least that can be done."""
    found = peers.measure([*OURS, *OURS.values()], rounds, SECONDS, [ONE, MANY, LARGE])
    rows = [row_of(found, ours, bare, cell, "cpu_us") for cell in (ONE, MANY, LARGE) for ours, bare in OURS.items()]
    return dict([*rows, *(row_of(found, ours, bare, ONE, "p50_us") for ours, bare in OURS.items())])


def library_rows(rounds: int) -> dict[str, Series]:
    """MsgTrans beside the other libraries that are there."""
    there = [name for name in peers.PEERS if name not in OURS.values() and peers.left_out(name) is None]
    found = peers.measure(there, rounds, 2 * SECONDS, [MANY])
    others = [name for name in there if name not in OURS]
    return dict(row_of(found, peers.PEERS[name].ours, name, MANY, "cpu_us") for name in others)


def plan_rows(rounds: int) -> dict[str, Series]:
    """Batching beside doing without, and the pool beside one connection that carries the same requests."""
    found = measure_plan(rounds, SECONDS)
    pairs = {
        "one-way message, batched : unbatched": (PACKETS, PACKETS.without),
        "64 of 32 B, batched : unbatched": (REQUESTS, REQUESTS.without),
        "request, pool : connection for each": (POOLED, CONNECTED),
    }
    return {
        f"CPU, {name}": Series(Better.LOWER, found.ratio(one, other, "cpu_us")) for name, (one, other) in pairs.items()
    }


def idle_rows() -> dict[str, Series]:
    """Memory of an idle session beside that of a bare protocol; memory does not vary, so once."""
    command = [sys.executable, str(HERE / "msgtrans_idle.py"), "--connections", str(IDLE), "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["bytes_per_connection"]
    bare = told.pop("bare protocol")
    return {f"memory, idle, {kind} : bare": Series(Better.LOWER, [size / bare]) for kind, size in told.items()}


def measure_all(rounds: int) -> dict[str, Series]:
    """Every row once."""
    fewer = max(1, rounds // OTHERS_EVERY)
    return bare_rows(rounds) | library_rows(fewer) | plan_rows(fewer) | idle_rows()


def middle(measured: Mapping[str, Series]) -> dict[str, float]:
    """The median of each row's rounds."""
    return {name: median(series.rounds) for name, series in measured.items()}


def new_baseline(runs: Sequence[Mapping[str, Series]]) -> tuple[dict[str, Row], list[str]]:
    """Rows of the medians of all runs, and a sentence for each that is left out."""
    rows, sentences = {}, []
    for name, series in runs[0].items():
        each = [run[name].rounds for run in runs]
        tolerance = tolerance_for(each, least=LEAST)
        if tolerance > MOST:
            sentences.append(f"left out: {name}: spreads by {tolerance:.0%}")
        else:
            rows[name] = Row(round(median(map(median, each)), 4), tolerance, series.better)
    return rows, sentences


def read_baseline(path: Path) -> tuple[str, dict[str, Row]]:
    """The Python that a baseline was taken with, and its rows."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return told["python"], {
        name: Row(row["ratio"], row["tolerance"], Better(row["better"])) for name, row in told["rows"].items()
    }


def write_baseline(path: Path, rows: Mapping[str, Row]) -> None:
    """Write ratios only: what a machine's speed makes of them is no matter of the repository."""
    told = {
        "what": "ratios that make bench-check compares with; make bench-check ARGS=--update renews them",
        "python": ".".join(platform.python_version_tuple()[:2]),
        "rows": {name: {**row._asdict(), "better": row.better.value} for name, row in rows.items()},
    }
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def check(baseline: Mapping[str, Row], measure: Measure) -> tuple[list[Verdict], list[Verdict]]:
    """The verdicts of a run, and those that a second run, which is made only where it is needed, confirms."""
    first = judge(baseline, middle(measure()))
    if not any(verdict.outcome is Outcome.WORSE for verdict in first):
        return first, []
    print("something looks worse; measuring again", flush=True)
    second = judge(baseline, middle(measure()))
    return second, confirmed(first, second)


def show(verdicts: Sequence[Verdict]) -> None:
    """A table of all rows."""
    columns = ("ratio", "baseline", "limit", "now", "change", "")
    print_table("Ratios beside the baseline", columns, [line(verdict) for verdict in verdicts])


def line(verdict: Verdict) -> list[str]:
    """A row of the table."""
    row, change = verdict.baseline, verdict.change
    return [
        verdict.name,
        "" if row is None else f"{row.ratio:.3g}",
        "" if row is None else f"{row.limit:.3g}",
        "" if verdict.ratio is None else f"{verdict.ratio:.3g}",
        "" if change is None else f"{change:+.0%}",
        verdict.outcome.value,
    ]


def update(path: Path, measure: Measure, runs: int) -> None:
    """Measure a new baseline, write it, show it."""
    measured = []
    for number in range(runs):
        print(f"run {number + 1} of {runs}", flush=True)
        measured.append(measure())
    rows, sentences = new_baseline(measured)
    write_baseline(path, rows)
    write(
        "baseline", {**machine(), "runs": [{name: series.rounds for name, series in run.items()} for run in measured]}
    )
    lines = [[name, f"{row.ratio:.3g}", f"{row.tolerance:.0%}", row.better.value] for name, row in rows.items()]
    print_table(f"Baseline of {runs} runs", ("ratio", "baseline", "tolerance", "better"), lines)
    print(*sentences, sep="\n")


def main() -> int:
    """Compare, or renew the baseline; 1 when something got worse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    parser.add_argument("--rounds", type=int, default=30, help="of each measurement beside the bare programs")
    parser.add_argument("--runs", type=int, default=3, help="of which a new baseline is made")
    arguments = parser.parse_args()

    def measure() -> Mapping[str, Series]:
        return measure_all(arguments.rounds)

    if arguments.update:
        update(BASELINE, measure, arguments.runs)
        return 0
    python, baseline = read_baseline(BASELINE)
    if not platform.python_version().startswith(python):
        print(f"The baseline was taken with Python {python}, this is {platform.python_version()}: expect other ratios.")
    verdicts, worse = check(baseline, measure)
    show(verdicts)
    ratios = {verdict.name: {"ratio": verdict.ratio, "outcome": verdict.outcome.name} for verdict in verdicts}
    write("bench_check", {**machine(), "rows": ratios, "worse": [verdict.name for verdict in worse]})
    if not worse:
        print("Nothing got worse.")
        return 0
    print_table("Worse in both runs", ("ratio", "baseline", "limit", "now", "change", ""), list(map(line, worse)))
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
