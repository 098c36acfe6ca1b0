"""2 000 Java-shaped clients on a node that holds 100 000 instances: their latencies, and the deadlines they missed.

The node is `artemis serve` on a core of its own. A generator process runs the clients: two WebSockets each, pinged
every second with a second for the pong, a heartbeat every five seconds, HTTP with its 100 ms. Each second a hundredth
of them deploys anew (unregister, heartbeat, register) and a hundredth looks everything up again. This process keeps the
other instances alive over MsgTrans, changes one service that all clients watch, and asks for the node's status a
hundred times a second, with the 100 ms that Java peers have: its longest answer is the longest stall that anybody saw.

A deadline is extended by what the generator itself was late meanwhile, so a missed one is the node's.

    python benchmarks/java_fleet.py [--clients 2000] [--instances 100000] [--seconds 60] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time
import urllib.request

import uvloop
from fleet import SERVICES, SHARED, late, own_instance, run
from load import pin_self, resident, server
from registry_scale import instance

from artemis.testing.java import Deadlines, HttpClient, HttpFailedError, JavaSettings, Kind, OwnLateness, jackson
from msgtrans import TransportClient

PER_SESSION, INTERVAL = 150, 5.0
REGISTER, HEARTBEAT = 1, 2


class Others:
    """The instances that are not the clients': registered in batches, kept alive by batched heartbeats."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._address = address
        self._bodies = [
            # Below 64 KiB: what is larger is read in slices, each time anew.
            jackson({"instances": [instance(n) for n in range(at, min(at + PER_SESSION, count))]})
            for at in range(0, count, PER_SESSION)
        ]
        self._clients: list[TransportClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.beats: list[float] = []

    async def start(self) -> None:
        """Register all, begin to heartbeat."""
        for body in self._bodies:
            client = TransportClient(f"tcp://{self._address[0]}:{self._address[1]}")
            await client.connect()
            self._clients.append(client)
            await client.request(body, biz_type=REGISTER, timeout=30)
        self._tasks = [asyncio.ensure_future(self._keep(number)) for number in range(len(self._bodies))]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.close()

    async def _keep(self, number: int) -> None:
        await asyncio.sleep(INTERVAL * number / len(self._bodies))
        while True:
            due = time.monotonic() + INTERVAL
            start = time.perf_counter()
            answer = await self._clients[number].request(self._bodies[number], biz_type=HEARTBEAT, timeout=30)
            self.beats.append(time.perf_counter() - start)
            if b'"success"' not in answer.payload[-70:]:
                raise SystemExit(answer.payload[:300])
            await asyncio.sleep(due - time.monotonic())


async def probe(url: str, deadlines: Deadlines) -> None:
    """Ask for the node's status a hundred times a second, as a Java peer would."""
    client = HttpClient(JavaSettings(), deadlines, connect_timeout=0.1, socket_timeout=0.1)
    due = time.monotonic()
    try:
        while True:
            try:
                await client.post(f"{url}/api/status/node.json", {}, Kind.STATUS)
            except HttpFailedError:
                deadlines.events["node status failed"] += 1
            due = max(due + 0.01, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
    finally:
        client.close()


async def change(client: TransportClient) -> None:
    """Change the service that everybody watches, every second; the content says when."""
    value = {**own_instance(0), "serviceId": SHARED, "instanceId": "shared", "zoneId": "z1"}
    while True:
        value["metadata"] = {"at": repr(time.monotonic())}
        await client.request(json.dumps({"instances": [value]}).encode(), biz_type=REGISTER, timeout=30)
        await asyncio.sleep(1.0)


async def measure(
    options: argparse.Namespace, process: subprocess.Popen[str], address: tuple[str, int]
) -> dict[str, object]:
    """Fill the node, start the fleet, let it live, collect."""
    url = f"http://{address[0]}:{address[1]}"
    lateness = OwnLateness()
    lateness.start()
    own = Deadlines(lateness)
    others = Others(address, options.instances - options.clients)
    await others.start()
    fleets = [start_fleet(options, url, number) for number in range(options.generators)]
    client = TransportClient(f"tcp://{address[0]}:{address[1]}")
    await client.connect()
    tasks = [asyncio.ensure_future(probe(url, own)), asyncio.ensure_future(change(client))]
    starting = await asyncio.gather(*(asyncio.to_thread(hear, fleet, "ready") for fleet in fleets))
    gc.collect()
    gc.freeze()
    own.clear()
    lateness.clear()
    others.beats.clear()
    cpu, began = node_cpu(process), time.monotonic()
    for fleet in fleets:
        say(fleet, "go")
    await asyncio.sleep(options.seconds)
    used = (node_cpu(process) - cpu) / (time.monotonic() - began)
    for fleet in fleets:
        say(fleet, "stop")
    living = await asyncio.gather(*(asyncio.to_thread(hear, fleet, "done") for fleet in fleets))
    held = await asyncio.to_thread(gauge, url, "artemis_instances")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(asyncio.to_thread(fleet.wait, 60) for fleet in fleets))
    await client.close()
    await others.stop()
    lateness.stop()
    start = Deadlines()
    for report in starting:
        start.merge(report["deadlines"])  # type: ignore[arg-type]
    for report in living:
        own.merge(report["deadlines"])  # type: ignore[arg-type]
    others.beats.sort()
    return {
        "clients": options.clients,
        "instances": held,
        "seconds": options.seconds,
        "waits": rows(own),
        "starting": rows(start),
        "events": dict(own.events),
        "events while starting": dict(start.events),
        "missed": own.missed.total(),
        "missed while starting": start.missed.total(),
        "node core %": round(100 * used, 1),
        "node MiB": round(resident(process) / 2**20, 1),
        f"heartbeat of {PER_SESSION} over MsgTrans p99 ms": round(
            others.beats[int(len(others.beats) * 0.99)] * 1000, 2
        ),
        "own lateness ms": [
            {name: round(seconds * 1000, 1) for name, seconds in who.items()}
            for who in (*(report["late"] for report in living), late(lateness))
        ],
        "generator core %": [round(100 * report["cpu"] / report["seconds"], 1) for report in living],
    }


def rows(deadlines: Deadlines) -> dict[str, dict[str, float]]:
    """A row for each kind that was waited for; milliseconds."""
    found = {}
    for kind, histogram in deadlines.times.items():
        if histogram.count or deadlines.missed[kind]:
            shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
            found[kind.value] = {
                "count": histogram.count,
                **{name: round(histogram.percentile(share) * 1000, 2) for name, share in shares.items()},
                "max": round(histogram.longest * 1000, 2),
                "missed": deadlines.missed[kind],
                "extended": deadlines.extended[kind],
            }
    return found


def start_fleet(options: argparse.Namespace, url: str, number: int) -> subprocess.Popen[str]:
    """A generator process with its share of the clients."""
    share = options.clients // options.generators
    arguments = ["--fleet", url, str(share * number), str(share), str(options.ramp), str(options.churn)]
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def hear(fleet: subprocess.Popen[str], word: str) -> dict[str, object]:
    """The next report of a generator."""
    assert fleet.stdout is not None
    line = fleet.stdout.readline()
    if not line.startswith(word + " "):
        raise SystemExit(f"the generator said {line!r}")
    found: dict[str, object] = json.loads(line.removeprefix(word))
    return found


def say(fleet: subprocess.Popen[str], word: str) -> None:
    """A line for a generator."""
    assert fleet.stdin is not None
    fleet.stdin.write(word + "\n")
    fleet.stdin.flush()


def node_cpu(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time that a process has used (Linux)."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def gauge(url: str, name: str) -> int:
    """One number of /metrics."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " "))))


def show(figures: dict[str, object]) -> None:
    """The figures as a table."""
    waits = figures.pop("waits")
    print(f"{'milliseconds':18}{'count':>9}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}{'missed':>8}{'extended':>10}")
    assert isinstance(waits, dict)
    for kind, row in waits.items():
        print(f"{kind:18}{row['count']:>9,}" + "".join(f"{row[name]:>9,.2f}" for name in ("p50", "p99", "p99.9", "max"))
              + f"{row['missed']:>8,}{row['extended']:>10,}")  # fmt: skip
    starting = figures.pop("starting")
    assert isinstance(starting, dict)
    print("while starting, p99.9: " + ", ".join(f"{kind} {row['p99.9']:,.1f}" for kind, row in starting.items()))
    for name, value in figures.items():
        print(f"{name:40}{value}")


def main() -> None:
    """Run the node, the generator and this process's load; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--ramp", type=float, default=20.0, help="seconds over which clients start")
    parser.add_argument("--churn", type=float, default=0.01, help="share of the clients that deploy anew each second")
    parser.add_argument("--generators", type=int, default=1, choices=(1, 2), help="processes that the clients share")
    parser.add_argument("--quick", action="store_true", help="15 seconds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fleet", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    pin_self(1)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.fleet:
        url, first, count, ramp, churn = options.fleet
        uvloop.run(run(url, int(first), int(count), float(ramp), float(churn)))
        return
    if options.quick:
        options.seconds = 15.0
    assert options.clients <= SERVICES, "a client has a service of its own"
    command = ("-m", "artemis", "serve", "--port", "0", "--region", "r1", "--zone", "z1", "--log-level", "error")
    with server(*command, core=0) as (process, address):
        figures = uvloop.run(measure(options, process, address))
    if options.json:
        json.dump(figures, sys.stdout, indent=2)
        return
    show(figures)


if __name__ == "__main__":
    main()
