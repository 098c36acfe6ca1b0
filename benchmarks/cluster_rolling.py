"""A rolling restart under clients of the SDK: how many of their lookups failed, and how many instances were missing.

Each client keeps an instance registered and looks the service up all the time. Then each node is asked to end, and
started again, in turn.

    python benchmarks/cluster_rolling.py [--clients 20] [--nodes 3] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from artemis.testing import running_cluster
from artemis.testing.histories import Completed, Invoked, read_history
from artemis.testing.histories_observed import observed, sdk_callers


async def measure(clients: int, nodes: int) -> dict[str, float]:
    """All figures."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.jsonl"
        async with (
            running_cluster(nodes, data_dir=Path(directory)) as cluster,
            observed(cluster, path, ttl=20, settle=30) as one,
            sdk_callers(one, clients) as callers,
        ):
            for node in range(nodes):
                await one.shows(node, *(f"sdk-{n}" for n in range(clients)))
            for caller in callers:
                await caller.lookup("orders")
            began, at = time.monotonic(), time.monotonic_ns() // 1_000_000
            for node in cluster.nodes:
                with one.history.fault("stopped", node.url):
                    await asyncio.to_thread(node.stop)
                    await asyncio.to_thread(node.restart)
                await asyncio.to_thread(cluster.wait_linked)
            took, until = time.monotonic() - began, time.monotonic_ns() // 1_000_000
        events = read_history(path)
    asked = {e.id for e in events if isinstance(e, Invoked) and e.op == "lookup" and not e.node and at <= e.at < until}
    ends = [e for e in events if isinstance(e, Completed) and e.id in asked]
    return {
        "seconds": took,
        "lookups": len(ends),
        "failed": sum(e.outcome != "ok" for e in ends),
        "with fewer instances": sum(e.outcome == "ok" and len(e.shown or ()) < clients for e in ends),
    }


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options.clients, options.nodes))
    if options.json:
        print(json.dumps(found))
        return
    print(f"a rolling restart of {options.nodes} nodes under {options.clients} clients")
    for name, value in found.items():
        print(f"{name:24} {value:10.0f}")


if __name__ == "__main__":
    main()
