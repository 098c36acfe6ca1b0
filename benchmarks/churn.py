"""Connections that come and go at full speed, and what is left of them: nothing.

For each transport, clients connect, ask, and end in one of several ways: closed by either side, aborted, ended by half,
in the middle of a packet, after garbage, or without a word. Then both processes are looked at: objects, memory,
descriptors and tasks must be what they were after a warm-up (`soak_verdict.py` says what may differ); if not, it ends
with 1.

    python benchmarks/churn.py [--seconds 5] [--visitors 24] [--json]

Not here: hours of it, and load beside it (`soak.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import figures
from soak_payloads import check_answer, make, numbered
from soak_peers import garbage, visit
from soak_samples import Commanded, Faults, sample
from soak_server import ECHO
from soak_verdict import MIB, Broken, Sample, judge, number
from soak_world import CARRIERS, Carrier, World, write_certificates

from msgtrans import TransportClient

HERE = Path(__file__).parent
WARM_UP = 0.3  # of the time for each transport
LINGERING = 1.5  # seconds after which nothing of a closed connection may be left
STAY = 0.05  # seconds that a peer without a session waits for the server at most
WAYS = ("close", "close", "abort", "unused", "garbage", "nothing")


class Found(NamedTuple):
    """rates: connections per second by transport; broken: what was left; quiet: samples by process."""

    rates: dict[str, float]
    broken: list[Broken]
    quiet: dict[str, list[Sample]]
    ended: dict[str, int]


def measure(seconds: float, visitors: int) -> Found:
    """Start a server, and let visitors come and go, over one transport after the other."""
    with tempfile.TemporaryDirectory(prefix="churn-") as name:
        directory = Path(name)
        write_certificates(directory)
        program = [sys.executable, str(HERE / "soak_server.py"), name, "server"]
        with subprocess.Popen(program) as server:
            try:
                found = asyncio.run(_churn(directory, seconds, visitors))
                server.wait(20)
            finally:
                server.kill()
    return found


async def _churn(directory: Path, seconds: float, visitors: int) -> Found:
    faults = Faults()
    faults.install()
    commanded = await Commanded.reach("server", str(directory / "server.sock"))
    told = json.loads((directory / "server.json").read_text(encoding="utf-8"))
    ports = {name: int(uri.rstrip("/").rpartition(":")[2]) for name, uri in told.items()}
    world = World(ports, str(directory / "authority.pem"), faults, random.Random(7))  # noqa: S311 - no secret
    quiet: dict[str, list[Sample]] = {"server": [], "clients": []}
    ways: Counter[str] = Counter()
    began = time.monotonic()

    async def look() -> None:
        await _settle(commanded)
        for name, seen in (
            ("server", await commanded.tell("quiet")),
            ("clients", {**sample(world.endpoints, whole=True), **faults.told()}),
        ):
            quiet[name].append({**seen, "at": time.monotonic() - began})

    for carrier in CARRIERS:
        await _visits(world, carrier, seconds * WARM_UP, visitors, Counter())
    await look()
    rates = {}
    for carrier in CARRIERS:
        before, start = ways.total(), time.monotonic()
        await _visits(world, carrier, seconds, visitors, ways)
        rates[carrier.scheme] = (ways.total() - before) / (time.monotonic() - start)
        await look()
    await commanded.leave()
    broken = [row for name, samples in quiet.items() for row in judge(name, samples)]
    return Found(rates, broken, quiet, dict(ways))


async def _settle(commanded: Commanded) -> None:
    """Wait until the server has seen the end of all, and nothing lingers."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        if not (await commanded.tell("sessions"))["sessions"]:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(LINGERING)


async def _visits(world: World, carrier: Carrier, seconds: float, visitors: int, ways: Counter[str]) -> None:
    ends = time.monotonic() + seconds

    async def come_and_go() -> None:
        while time.monotonic() < ends:
            how = world.chance.choice(WAYS)
            try:
                await _come(world, carrier, how)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                world.faults.note(f"{how} over {carrier.scheme}: {type(error).__name__}: {error}")
            ways[how] += 1

    await asyncio.gather(*(come_and_go() for _ in range(visitors)))


async def _come(world: World, carrier: Carrier, how: str) -> None:
    """One connection."""
    if how in ("garbage", "nothing") and carrier.streamed:
        data = garbage(world.chance) if how == "garbage" else b""
        await visit(world.ports[carrier.scheme], data, world.chance, stay=STAY)
        return
    client = TransportClient(world.config(carrier))
    await client.connect()
    if how != "unused":
        payload = make(numbered(world.stream(), 1), world.chance.randrange(500))
        check_answer(payload, (await client.request(payload, biz_type=ECHO)).payload)
    await client.close(graceful=how != "abort")


def main() -> int:
    """Measure and print; 1 when something was left."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each transport")
    parser.add_argument("--visitors", type=int, default=24, help="at the same time")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.seconds, arguments.visitors)
    if arguments.json:
        told = {"per_second": found.rates, "broken": [row._asdict() for row in found.broken]}
        print(json.dumps(told))
    else:
        show(arguments, found)
    return 1 if found.broken else 0


def show(arguments: argparse.Namespace, found: Found) -> None:
    """Tables."""
    title = f"Connections, {arguments.visitors} at once"
    rates = [[name, f"{rate:,.0f}"] for name, rate in found.rates.items()]
    figures.print_table(title, ("over", "per second"), rates)
    columns = ("left of them", "baseline", *(f"after {name}" for name in found.rates))
    lines = []
    for name, samples in found.quiet.items():
        lines += [
            [f"{name}: {what}", *(f"{number(one, what):,.0f}" for one in samples)]
            for what in ("objects", "descriptors", "tasks", "sessions")
        ]
        lines.append([f"{name}: MiB", *(f"{number(one, 'rss') / MIB:.1f}" for one in samples)])
    figures.print_table(f"{sum(found.ended.values()):,} connections", columns, lines)
    if found.broken:
        rows = [[one.process, f"{one.at:.0f} s", one.what, one.found, one.allowed] for one in found.broken]
        figures.print_table("What broke", ("process", "at", "what", "found", "allowed"), rows)
        for samples in found.quiet.values():
            for words in samples[-1].get("fault_words") or ():  # type: ignore[attr-defined]  # a list of texts
                print(f"fault: {words}")


if __name__ == "__main__":
    raise SystemExit(main())
