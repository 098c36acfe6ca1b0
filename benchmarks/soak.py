"""Servers and clients that work for hours, on links that fail and beside peers that misbehave, and do not grow.

    python benchmarks/soak.py [--hours 1] [--period 300] [--swap] [--chart FILE.png]     or: make soak HOURS=1

A server for all transports, a server of several workers, and clients that do everything at once, each in a process of
its own, with about half a processor in all; the servers on uvloop, the clients on asyncio's loop, unless swapped.
Every `period` seconds all of it pauses, connections close, and each process is looked at; the first such moment is the
baseline for the others (`soak_verdict.py` says what may differ).
Samples go to results/soak-TIME.jsonl, one a minute and one for each quiet moment, of each process.
Ends with 1 and the rows that broke when something has grown, went wrong or was lost. SIGINT and SIGTERM end it early,
with a verdict over what was seen.
Not here: what the processes do (`soak_server.py`, `soak_clients.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import figures
from soak_samples import Commanded, descriptors, memory
from soak_server import WORKERS
from soak_verdict import MIB, Broken, Sample, judge, number
from soak_world import write_certificates

HERE = Path(__file__).parent
MINUTE = 60.0
SETTLING = 30.0  # seconds for what was closed to be gone
STARTING = 30.0
LEAST = 3  # quiet moments, however short a run is


class Soak:
    """One run. Owns its processes.

    rows go to `file` as they come; quiet: the samples of quiet moments by process.
    """

    def __init__(self, directory: Path, file: TextIO) -> None:
        self.directory = directory
        self.file = file
        self.quiet: dict[str, list[Sample]] = {}
        self.told: list[Broken] = []
        self.began = time.monotonic()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commanded: dict[str, Commanded] = {}
        self._before: tuple[float, float, float] | None = None

    @property
    def at(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    async def start(self, seed: int, leak: str, *, swap: bool) -> None:
        """Start all processes. swap: the server on asyncio's loop, the clients on uvloop."""
        write_certificates(self.directory)
        leaking = ["--leak", leak] if leak else []
        loops = (["--asyncio"], ["--uvloop"]) if swap else ([], [])
        self._spawn("server", "soak_server.py", str(self.directory), "server", *loops[0], *leaking)
        self._spawn("workers", "soak_server.py", str(self.directory), "workers")
        await self._written("server.json", "workers.json")
        self._spawn("clients", "soak_clients.py", str(self.directory), "--seed", str(seed), *loops[1])
        for name in ("server", *(f"worker-{index}" for index in range(WORKERS)), "clients"):
            self._commanded[name] = await Commanded.reach(name, str(self.directory / f"{name}.sock"))
        self.began = time.monotonic()

    async def load(self, seconds: float, every: float, stop: asyncio.Event) -> None:
        """Have the clients work for a time, or until `stop`; a sample of all now and then."""
        await self._commanded["clients"].tell("load")
        ends = self.at + seconds
        while (left := ends - self.at) > 0 and not stop.is_set():
            try:
                async with asyncio.timeout(min(left, every)):
                    await stop.wait()
            except TimeoutError:
                if ends - self.at > 1:
                    await self._sample("load")
        await self._sample("load")

    async def rest(self, phase: str) -> None:
        """A quiet moment: all ends, and what is left is looked at."""
        await self._commanded["clients"].tell("rest")
        await self._settle()
        for name, sample in (await self._sample(phase)).items():
            if phase == "quiet":
                self.quiet.setdefault(name, []).append(sample)

    def verdict(self) -> list[Broken]:
        """What broke."""
        broken = list(self.told)
        for name, samples in self.quiet.items():
            broken += judge(name, samples)
        return broken

    async def end(self) -> None:
        """End all processes, gracefully, then by force."""
        for commanded in self._commanded.values():
            await commanded.leave()
        for name in reversed(self._processes):
            process = self._processes[name]
            process.terminate() if name == "workers" else None
            try:
                process.wait(20 if name in self._commanded or name == "workers" else 0)
            except subprocess.TimeoutExpired:
                self.told.append(Broken(name, self.at, "end", "did not end", "within 20 s"))
                process.kill()
                process.wait()

    # Its own

    def _spawn(self, name: str, *words: str) -> None:
        self._processes[name] = subprocess.Popen([sys.executable, str(HERE / words[0]), *words[1:]], process_group=0)

    async def _written(self, *names: str) -> None:
        ends = time.monotonic() + STARTING
        while not all((self.directory / name).exists() for name in names):
            if time.monotonic() > ends or any(process.poll() is not None for process in self._processes.values()):
                raise SystemExit("the servers of the soak did not start")
            await asyncio.sleep(0.05)

    async def _settle(self) -> None:
        """Wait until servers have seen the end of all connections, and what they close lingers no more."""
        ends = time.monotonic() + SETTLING
        for name, commanded in self._commanded.items():
            before = self.quiet[name][0] if name in self.quiet else None
            tasks = number(before, "tasks") if before else 0
            while time.monotonic() < ends:
                now = await commanded.tell("sessions")
                if not now["sessions"] and not now["handshakes"] and (not before or number(now, "tasks") == tasks):
                    break
                await asyncio.sleep(0.2)
        await asyncio.sleep(1.2)  # sockets that wait for the peer's end linger for a second

    async def _sample(self, phase: str) -> dict[str, Sample]:
        """Look at all processes; a row for each."""
        found: dict[str, Sample] = {}
        for name, commanded in self._commanded.items():
            found[name] = await commanded.tell("quiet" if phase != "load" else "sample")
        parent = self._processes["workers"].pid
        kinds = descriptors(parent)
        found["supervisor"] = {**memory(parent), "descriptors": sum(kinds.values()), "kinds": kinds}
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        rows: dict[str, Sample] = {}
        for name, sample in found.items():
            rows[name] = {"time": now, "at": round(self.at, 1), "phase": phase, "process": name, **sample}
            self.file.write(json.dumps(rows[name]) + "\n")
        self.file.flush()
        self._progress(phase, rows)
        return rows

    def _progress(self, phase: str, rows: Mapping[str, Sample]) -> None:
        """A line."""
        used = sum(number(row, "processor") for row in rows.values())
        done = sum(number(row, "done") for row in rows.values())
        before, self._before = self._before, (self.at, used, done)
        rates = ""
        if before is not None and (passed := self.at - before[0]) > 0:
            rates = f"{(done - before[2]) / passed:6.0f} done/s, {(used - before[1]) / passed:5.0%} processor, "
        sizes = ", ".join(f"{name} {number(row, 'rss') / MIB:.1f}" for name, row in rows.items())
        faults = sum(number(row, "faults") for row in rows.values())
        sessions = number(rows["server"], "sessions")
        print(
            f"{self.at:7.0f} s {phase:8} {rates}{sessions:.0f} sessions, MiB: {sizes}, {faults:.0f} faults", flush=True
        )


async def run(arguments: argparse.Namespace) -> int:
    """Run for as long as wanted; 1 when something broke."""
    stop = asyncio.Event()
    for number_of in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number_of, stop.set)
    seconds = arguments.hours * 3600
    warm_up = min(MINUTE, seconds / 5)
    period = min(arguments.period, (seconds - warm_up) / 3)
    figures.DIRECTORY.mkdir(exist_ok=True)
    path = figures.DIRECTORY / f"soak-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl"
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"{seconds:.0f} s, a quiet moment every {period:.0f} s; samples: {path}", flush=True)
    with path.open("w", encoding="utf-8") as file:
        soak = Soak(directory, file)
        try:
            await soak.start(arguments.seed, arguments.leak, swap=arguments.swap)
            await soak.load(warm_up, MINUTE, stop)
            await soak.rest("quiet")
            while (soak.at < seconds - period / 2 or len(soak.quiet["server"]) < LEAST) and not stop.is_set():
                await soak.load(period, MINUTE, stop)
                await soak.rest("quiet")
        except (OSError, TimeoutError) as error:
            soak.told.append(Broken("all", soak.at, "a process", f"{type(error).__name__}: {error}", "answers"))
        finally:
            await soak.end()
            shutil.rmtree(directory, ignore_errors=True)
    return report(soak, path, arguments.chart)


def report(soak: Soak, path: Path, chart: Path | None) -> int:
    """Print the verdict; 1 when something broke."""
    broken, last = soak.verdict(), {name: samples[-1] for name, samples in soak.quiet.items()}
    for name, row in last.items():
        for words in row.get("fault_words") or ():  # type: ignore[attr-defined]  # a list of texts
            print(f"fault in {name}: {words}")
    if seen := last.get("clients", {}).get("seen"):
        print("seen:", json.dumps(seen))
    columns = (
        "process",
        "quiet moments",
        "MiB first",
        "MiB last",
        "objects first",
        "objects last",
        "descriptors",
        "tasks",
    )
    lines = []
    for name, samples in soak.quiet.items():
        ends = samples[0], samples[-1]
        cells = [f"{number(one, 'rss') / MIB:.1f}" for one in ends] + [f"{number(one, 'objects'):.0f}" for one in ends]
        cells += [f"{number(ends[1], what):.0f}" for what in ("descriptors", "tasks")]
        lines.append([name, str(len(samples)), *cells])
    figures.print_table("At quiet moments", columns, lines)
    if broken:
        rows = [[one.process, f"{one.at:.0f} s", one.what, one.found, one.allowed] for one in broken]
        figures.print_table("What broke", ("process", "at", "what", "found", "allowed"), rows)
    if chart is not None:
        from charts import draw_soak

        draw_soak(chart, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
        print(f"chart: {chart}")
    moments = min((len(samples) for samples in soak.quiet.values()), default=0)
    if moments < 2:
        print("too few quiet moments for a verdict")
        return 1
    print("verdict: " + ("broken" if broken else f"nothing has grown over {moments} quiet moments in {soak.at:.0f} s"))
    return 1 if broken else 0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--period", type=float, default=300.0, help="seconds between quiet moments")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--swap", action="store_true", help="the server on asyncio's loop, the clients on uvloop")
    parser.add_argument("--chart", type=Path, metavar="FILE.png")
    parser.add_argument("--leak", choices=("objects", "descriptors", "memory", "tasks"), help=argparse.SUPPRESS)
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
