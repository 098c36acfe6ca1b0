"""The figures that the performance plan asks for, of real work on real connections, beside doing without.

    python benchmarks/phase3.py [--rounds 5] [--seconds 0.3] [--json] [--charts DIRECTORY]

The plan names four tests; here they are rows. A server and a client process for each of two modes, `batched` and
`unbatched` (every packet in a write of its own, at once, on both sides), take turns:

phase3_connection_pool_performance: a task takes a connection of the pool, sends a request, gives it back; 64 tasks, 8
    connections. Without: a connection opened for each request.
phase3_protocol_throughput: one-way messages until the server's handler has seen the last.
phase3_io_latency: a request among 64 that are under way on one connection.
phase3_end_to_end_performance: requests through the pool and one-way messages at the same time, both counted.
memory: the most that client and server of a mode had in memory above what they began with.

Not here: the work itself (`phase3_sides.py`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from comparison import ratios
from figures import machine, print_table, write
from msgtrans_peers import end, line_of, processor_time

SIDES = Path(__file__).with_name("phase3_sides.py")
BATCHED, UNBATCHED = "batched", "unbatched"


class Case(NamedTuple):
    """Some work in a mode."""

    work: str
    mode: str = BATCHED

    @property
    def without(self) -> Case:
        """The same work unbatched."""
        return Case(self.work, UNBATCHED)


PACKETS, REQUESTS, EVERYTHING = Case("packets"), Case("requests"), Case("everything")
PAIRS = [each for case in (PACKETS, REQUESTS, EVERYTHING) for each in (case, case.without)]
BORROW, POOLED, CONNECTED = POOL = Case("borrow"), Case("pooled"), Case("connected")


class Measured(NamedTuple):
    """One case of one round; latencies are 0 where the work has none."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float


class Found(NamedTuple):
    """All rounds of every case, and the growth of memory of each mode in bytes."""

    rounds: Mapping[Case, Sequence[Measured]]
    memory: Mapping[str, int]

    def column(self, case: Case, figure: str) -> list[float]:
        """One figure of a case, round by round."""
        return [measured._asdict()[figure] for measured in self.rounds[case]]

    def ratio(self, one: Case, other: Case, figure: str) -> list[float]:
        """One by the other, round by round."""
        return ratios(self.column(one, figure), self.column(other, figure))


class Row(NamedTuple):
    """A figure of the plan: measured, what the plan asks, beside doing without, what the plan asks of that; the
    processor time of an operation beside doing without; whether all that is asked is met."""

    name: str
    shown: str
    asked: str
    beside: str
    asked_beside: str
    cpu: str
    met: bool


class Sides:
    """A running server and client of a mode."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.server = self._start("serve", mode)
        self.client = self._start("ask", mode, line_of(self.server, mode).strip())
        line_of(self.client, mode)
        self.began = self._memory("VmRSS")

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SIDES), *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self, work: str, seconds: float) -> Measured:
        """Do some work for `seconds`."""
        assert self.client.stdin is not None
        before = processor_time(self.server.pid)
        print(json.dumps({"work": work, "seconds": seconds}), file=self.client.stdin, flush=True)
        told = json.loads(line_of(self.client, self.mode))
        served = (processor_time(self.server.pid) - before) / told["operations"] * 1e6
        return Measured(told["per_second"], told["p50_us"], told["p99_us"], told["client_cpu_us"] + served)

    @property
    def grown(self) -> int:
        """Bytes that both had in memory at the most, above what they began with."""
        return self._memory("VmHWM") - self.began

    def _memory(self, field: str) -> int:
        """A figure of /proc/PID/status, of both processes, in bytes."""
        total = 0
        for process in (self.client, self.server):
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
        return total * 1024

    def end(self) -> None:
        """End both."""
        end(self.client)
        end(self.server)


@contextmanager
def running() -> Iterator[dict[str, Sides]]:
    """Both sides in each mode; none is left behind."""
    with ExitStack() as all_of:
        sides = {}
        for mode in (BATCHED, UNBATCHED):
            sides[mode] = Sides(mode)
            all_of.callback(sides[mode].end)
        yield sides


def measure(rounds: int, seconds: float) -> Found:
    """Every case, `rounds` times in turn; memory is that of what both modes have done, so the pool's cases are last."""
    found: dict[Case, list[Measured]] = {case: [] for case in (*PAIRS, *POOL)}
    with running() as sides:
        for _ in range(rounds):
            for case in PAIRS:
                found[case].append(sides[case.mode].measure(case.work, seconds))
        memory = {mode: side.grown for mode, side in sides.items()}
        for _ in range(rounds):
            for case in POOL:
                found[case].append(sides[case.mode].measure(case.work, seconds))
    return Found(found, memory)


def rows(found: Found) -> list[Row]:
    """The plan's rows. What it asks beside the unbatched path has no baseline of its own that could be repeated; here
    the unbatched path is this library with batching turned off."""

    def rate(case: Case) -> float:
        return median(found.column(case, "per_second"))

    def times(case: Case, figure: str = "per_second", other: Case | None = None) -> float:
        return median(found.ratio(case, other or case.without, figure))

    def latency(figure: str) -> str:
        return f"{median(found.column(REQUESTS, figure)):,.0f} µs"

    def cpu(case: Case, other: Case | None = None) -> str:
        return percent(times(case, "cpu_us", other))

    p50, p99 = times(REQUESTS, "p50_us"), times(REQUESTS, "p99_us")
    grown = found.memory[BATCHED] / max(1, found.memory[UNBATCHED])
    borrowing, pooled, packets, total = (f"{rate(case):,.0f}/s" for case in (BORROW, POOLED, PACKETS, EVERYTHING))
    beside = [f"{ratio:.2f} times" for ratio in (times(POOLED, other=CONNECTED), times(PACKETS), times(EVERYTHING))]
    return [
        Row("borrowed and given back, no request", borrowing, "2 500", "", "", "", rate(BORROW) >= 2500),
        Row(
            "phase3_connection_pool_performance",
            pooled,
            "2 500",
            beside[0],
            "",
            cpu(POOLED, CONNECTED),
            rate(POOLED) >= 2500,
        ),
        Row(
            "phase3_protocol_throughput",
            packets,
            "1 000",
            beside[1],
            "1.5 to 2",
            cpu(PACKETS),
            rate(PACKETS) >= 1000 and times(PACKETS) >= 1.5,
        ),
        Row("phase3_io_latency, p50", latency("p50_us"), "", percent(p50), "-30 to -50 %", cpu(REQUESTS), p50 <= 0.7),
        Row("phase3_io_latency, p99", latency("p99_us"), "", percent(p99), "-50 %", "", p99 <= 0.5),
        Row(
            "phase3_end_to_end_performance",
            total,
            "10 to 12 000",
            beside[2],
            "",
            cpu(EVERYTHING),
            rate(EVERYTHING) >= 12_000,
        ),
        Row("memory", f"{found.memory[BATCHED] / 2**20:.1f} MiB", "", percent(grown), "-20 to -30 %", "", grown <= 0.8),
    ]


def percent(ratio: float) -> str:
    """A ratio as a change."""
    return f"{(ratio - 1) * 100:+.0f} %"


def as_json(found: Found) -> dict[str, object]:
    """Medians of every case, memory, rows."""
    medians = [
        {**case._asdict(), **{figure: median(found.column(case, figure)) for figure in Measured._fields}}
        for case in found.rounds
    ]
    return {"medians": medians, "memory_bytes": dict(found.memory), "rows": [row._asdict() for row in rows(found)]}


def main() -> None:
    """Measure, print, write, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--charts", type=Path, metavar="DIRECTORY", help="also draw a chart, a PNG file")
    arguments = parser.parse_args()
    found = measure(arguments.rounds, arguments.seconds)
    told = {**machine(), "rounds": arguments.rounds, "seconds": arguments.seconds, **as_json(found)}
    write("phase3", told)
    if arguments.charts:
        from charts import draw_phase3

        draw_phase3({tuple(case): median(found.column(case, "per_second")) for case in found.rounds}, arguments.charts)
    if arguments.json:
        print(json.dumps(told))
        return
    print_table(
        f"What the plan asks for; medians of {arguments.rounds} rounds",
        ("", "measured", "asked", "beside without", "asked", "CPU beside", ""),
        [[*row[:-1], "met" if row.met else "missed"] for row in rows(found)],
    )


if __name__ == "__main__":
    main()
