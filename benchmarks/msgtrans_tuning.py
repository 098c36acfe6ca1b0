"""What a monitor costs, and what tuning brings: beside doing without, on real connections.

Each figure is from a process of its own with server and clients in it; who comes first changes with each round. Figures
are medians of processor time; ratios are medians of those within a round. "tuned" has what the tuner decides for that
load, set from the start.

    python benchmarks/msgtrans_tuning.py [--rounds 5] [--seconds 1] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from operator import truediv
from statistics import median

import uvloop

from msgtrans import Monitor, PerformanceConfig, SessionConfig, TransportClient, TransportServer
from msgtrans.tuning import Tuning

KIB = 1 << 10
REQUESTS = ("requests", "nothing", "sampling", "details", "tuning")
LOADS = {
    REQUESTS[0]: REQUESTS[1:],
    "messages of 64 B": ("as it is", "tuned"),
    "messages of 32 KiB": ("as it is", "tuned"),
}
SIZES = {"messages of 64 B": 64, "messages of 32 KiB": 32 * KIB}
BATCHES = {"messages of 64 B": 100, "messages of 32 KiB": 8}
CLIENTS, IN_FLIGHT = 4, 64


async def requests(kind: str, seconds: float) -> float:
    """Microseconds of this process for a request and its answer of 32 bytes, 64 in flight, watched as `kind` says."""
    server = TransportServer(tcp="127.0.0.1:0")
    monitor = tuning = None
    if kind in {"sampling", "details"}:
        monitor = Monitor(server, PerformanceConfig(enable_detailed_monitoring=kind == "details"))
    elif kind == "tuning":
        tuning = Tuning(server)
    server.on_request(lambda context: context.payload)
    async with server, TransportClient(server.uris[0]) as client:
        if monitor is not None:
            monitor.start()
        if tuning is not None:
            tuning.start()
        done = 0

        async def ask(until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                await client.request(bytes(32))
                done += 1

        await asyncio.gather(*(ask(time.perf_counter() + seconds / 4) for _ in range(IN_FLIGHT)))
        done, begun = 0, time.process_time()
        await asyncio.gather(*(ask(time.perf_counter() + seconds) for _ in range(IN_FLIGHT)))
        used = time.process_time() - begun
        if monitor is not None:
            monitor.stop()
        if tuning is not None:
            tuning.stop()
    return used / done * 1e6


async def messages(load: str, kind: str, seconds: float) -> float:
    """Microseconds of this process for a one-way message, sent by four clients as fast as they are taken."""
    room = max(2 * SIZES[load], 256 * KIB)
    config = SessionConfig(batch_size=BATCHES[load] if kind == "tuned" else 32, high_water=room, max_outbound=4 * room)
    arrived = 0
    payload = bytes(SIZES[load])
    server = TransportServer(tcp="127.0.0.1:0", session=config)

    @server.on_message
    def count(_: object) -> None:
        nonlocal arrived
        arrived += 1

    async with server:
        clients = [TransportClient(server.uris[0], session=config) for _ in range(CLIENTS)]
        await asyncio.gather(*(client.connect() for client in clients))

        async def send(client: TransportClient, until: float) -> None:
            while time.perf_counter() < until:
                await client.send(payload)
                if not client.session.congested:
                    continue
                await asyncio.sleep(0)

        await asyncio.gather(*(send(client, time.perf_counter() + seconds / 4) for client in clients))
        before, begun = arrived, time.process_time()
        await asyncio.gather(*(send(client, time.perf_counter() + seconds) for client in clients))
        used, moved = time.process_time() - begun, arrived - before
        await asyncio.gather(*(client.close(graceful=False) for client in clients))
    return used / max(1, moved) * 1e6


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        load, kind = arguments.one
        work = requests(kind, arguments.seconds) if load in REQUESTS else messages(load, kind, arguments.seconds)
        print(uvloop.run(work))
        return
    seen: dict[str, dict[str, list[float]]] = {load: {kind: [] for kind in kinds} for load, kinds in LOADS.items()}
    for turn in range(arguments.rounds):
        for load, kinds in LOADS.items():
            first = turn % len(kinds)
            for kind in kinds[first:] + kinds[:first]:
                command = [sys.executable, __file__, "--seconds", str(arguments.seconds), "--one", load, kind]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seen[load][kind].append(float(done.stdout))
    told = {
        load: {
            kind: {"us": median(values), "ratio": median(map(truediv, values, kinds[LOADS[load][0]]))}
            for kind, values in kinds.items()
        }
        for load, kinds in seen.items()
    }
    if arguments.json:
        print(json.dumps(told))
        return
    print("microseconds of processor time for each, and the ratio to the first of its kind")
    for load, kinds in told.items():
        for kind, figures in kinds.items():
            print(f"{load:20} {kind:10} {figures['us']:12.1f} {figures['ratio']:8.2f}")


if __name__ == "__main__":
    main()
