"""A registry is killed and restarted under thousands of clients of the SDK: how fast they are back, and how evenly.

One node in a process of its own, with a sampler in its loop (see `registry_push`), and several processes full of
clients; each client registers an instance and follows a service, and all look up all the time. The node is killed
(SIGKILL), stays away for a while, and starts again, empty, at the same port. Times count from when it listens again.
Then the same with clients that wait just as long as others, but in step: the jitter is all that differs.

The clients share the machine's cores with the node, so what comes to it in a moment is what they can send, and a
registration takes as long as theirs. `late` is how late a client process was in its own schedule.

    python benchmarks/sdk_restart.py [--clients 2000] [--processes 4] [--away 5] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import uvloop
from load import resident, server
from registry_push import serve, stalls
from sdk_fleet import SERVICES, Report

WINDOW = 0.1
"""Seconds in which connections and registrations are counted together."""
PATIENCE = 120.0
"""Seconds after which clients that are not back count as lost."""
FLEET = Path(__file__).with_name("sdk_fleet.py")


async def measure(clients: int, processes: int, away: float, *, jitter: bool) -> dict[str, float]:
    """All figures of one kind of clients."""
    figures: dict[str, float] = {}
    with node() as (process, (host, port)):
        each = clients // processes
        begin = time.monotonic()
        fleets = [await fleet(f"http://{host}:{port}", n * each, each, clients, jitter) for n in range(processes)]
        try:
            for one in fleets:
                assert await line(one) == "ready"
            figures["start of all clients s"] = time.monotonic() - begin
            await asyncio.gather(*(report(one) for one in fleets))
            await asyncio.sleep(3.0)
            quiet = await asyncio.gather(*(report(one) for one in fleets))
            assert not any(one["failed"] for one in quiet), "lookups failed before anything happened"
            process.kill()
            process.wait()
            await asyncio.sleep(away)
            with node(port) as (again, _):
                came = time.monotonic()
                await stalls(again)
                figures |= await back(fleets, clients, came)
                figures |= {f"node: {name}": value for name, value in (await stalls(again)).items()}
                figures["node: MiB"] = resident(again) / 2**20
        finally:
            for one in fleets:
                one.kill()
                await one.wait()
    return figures


async def back(fleets: list[asyncio.subprocess.Process], clients: int, came: float) -> dict[str, float]:
    """Wait until all are registered and linked again, and a little longer for those who come twice."""
    whole = Report(connected=[], registered=[], linked=[], lookups=0, failed=0, fewer=0, late=0.0)
    until = came + PATIENCE
    while time.monotonic() < until:
        await asyncio.sleep(0.5)
        for one in await asyncio.gather(*(report(one) for one in fleets)):
            for times, more in ((whole[name], one[name]) for name in ("connected", "registered", "linked")):
                times += [at - came for at in more if at >= came]
            whole["lookups"] += one["lookups"]
            whole["failed"] += one["failed"]
            whole["fewer"] += one["fewer"]
            whole["late"] = max(whole["late"], one["late"])
        if len(whole["registered"]) >= clients and len(whole["linked"]) >= clients:
            until = min(until, time.monotonic() + 3.0)
    figures: dict[str, float] = {}
    for name in ("registered", "linked"):
        times = sorted(whole[name])
        for share in (0.5, 0.95, 1.0):
            at = int(clients * share) - 1
            figures[f"{name} again, {share:.0%} s"] = times[at] if at < len(times) else float("inf")
    figures["connections"] = len(whole["connected"])
    figures[f"most connections in {WINDOW * 1000:.0f} ms"] = densest(whole["connected"])
    figures[f"most registrations in {WINDOW * 1000:.0f} ms"] = densest(whole["registered"])
    figures["lookups"] = whole["lookups"]
    figures["failed lookups"] = whole["failed"]
    figures["lookups that showed fewer"] = whole["fewer"]
    figures["clients late ms"] = whole["late"] * 1000
    return figures


def densest(times: list[float]) -> int:
    """The most of these within one window."""
    return max(Counter(int(at / WINDOW) for at in times).values(), default=0)


def node(port: int = 0) -> server:  # type: ignore[valid-type]
    """A node with a sampler in its loop."""
    return server(__file__, "--serve", str(port), core=None)


async def fleet(url: str, first: int, count: int, everyone: int, jitter: bool) -> asyncio.subprocess.Process:
    """A process full of clients."""
    arguments = [url, str(first), str(count), str(everyone), *([] if jitter else ["in-step"])]
    return await asyncio.create_subprocess_exec(
        sys.executable, str(FLEET), *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 26
    )


async def report(process: asyncio.subprocess.Process) -> Report:
    """What happened in a process since this was asked last."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    found: Report = json.loads(await line(process))
    return found


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    text = (await process.stdout.readline()).decode().strip()
    if not text:
        raise SystemExit("a client process ended")
    return text


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--away", type=float, default=5.0, help="seconds between the kill and the new start")
    parser.add_argument("--quick", action="store_true", help="400 clients, about a minute")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        uvloop.run(serve(20.0, options.serve))
        return
    if options.quick:
        options.clients, options.processes = 400, 2
    if options.clients % (SERVICES * options.processes):
        parser.error(f"--clients has to be a multiple of {SERVICES} times --processes")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * options.clients + 1000), hard))
    found = {
        name: asyncio.run(measure(options.clients, options.processes, options.away, jitter=jitter))
        for name, jitter in (("full jitter", True), ("in step", False))
    }
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    print(f"{options.clients} clients" + "".join(f"{name:>20}" for name in found).rjust(60))
    for what in found["full jitter"]:
        print(f"{what:40}" + "".join(f"{figures[what]:>20,.2f}" for figures in found.values()))


if __name__ == "__main__":
    main()
