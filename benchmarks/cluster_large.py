"""A cluster with many instances: how soon it is one again after a partition, and how soon a new node has copied all.

First one of three nodes is cut off by the proxies between them, and both sides register and unregister instances; from
when the links are whole again, all nodes are asked until they show as many. Then a node without a data directory ends
and comes back empty: that is timed until it serves. Leases are long, so nothing is lost by load.

    python benchmarks/cluster_large.py [--instances 100000] [--changes 3000] [--partition 60] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import aiohttp
from cluster_heartbeats import body, cpu, post

from artemis.testing import RunningCluster, running_cluster

BATCH = 500


async def measure(instances: int, changes: int, partition: float) -> dict[str, float]:
    """All figures, in seconds."""
    options = {"lease_ttl": 3_600, "join_timeout": 120, "rate_limits": False}
    figures: dict[str, float] = {}
    async with running_cluster(3, linked=True, **options) as cluster, aiohttp.ClientSession() as session:
        began = time.monotonic()
        await each(session, cluster, 0, "register", range(0, instances, BATCH))
        await equal(session, cluster, instances)
        figures["registered and shown by all"] = time.monotonic() - began
        cluster.split({0}, {1, 2})
        began = time.monotonic()
        more = range(instances, instances + changes, BATCH)
        await each(session, cluster, 0, "register", more)
        await each(session, cluster, 0, "unregister", range(0, changes // 2, BATCH))
        other = range(instances + changes, instances + 2 * changes, BATCH)
        await each(session, cluster, 1, "register", other)
        await each(session, cluster, 1, "unregister", range(changes, changes + changes // 2, BATCH))
        await asyncio.sleep(began + partition - time.monotonic())
        before = [cpu(node) for node in cluster.nodes]
        began = time.monotonic()
        await asyncio.to_thread(cluster.heal)
        expected = instances + changes
        await equal(session, cluster, expected)
        figures["one again after the partition"] = time.monotonic() - began
        used = [cpu(node) - less for node, less in zip(cluster.nodes, before, strict=True)]
        figures["processor time of all nodes for that"] = sum(used)
        node = cluster.nodes[2]
        await asyncio.to_thread(node.stop)
        began = time.monotonic()
        await asyncio.to_thread(node.restart)
        figures["start of a node that copies all"] = time.monotonic() - began
        assert await count(session, node.url) == expected
    async with running_cluster(2, **options) as cluster:
        await asyncio.to_thread(cluster.nodes[1].stop)
        began = time.monotonic()
        await asyncio.to_thread(cluster.nodes[1].restart)
        figures["start of a node with nothing to copy"] = time.monotonic() - began
    return figures


async def each(
    session: aiohttp.ClientSession, cluster: RunningCluster, node: int, operation: str, firsts: range
) -> None:
    """Do this with batches of instances at a node."""
    for first in firsts:
        await post(session, cluster.nodes[node].url, operation, body(first, BATCH))


async def equal(session: aiohttp.ClientSession, cluster: RunningCluster, expected: int) -> None:
    """Wait until all nodes show so many instances."""
    async with asyncio.timeout(300):
        while True:
            if all([await count(session, node.url) == expected for node in cluster.nodes]):
                return
            await asyncio.sleep(0.02)


async def count(session: aiohttp.ClientSession, url: str) -> int:
    """How many instances a node shows."""
    async with session.get(f"{url}/api/v1/status") as answer:
        found = await answer.json()
        return int(found["leases"]["live"])


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument(
        "--changes", type=int, default=3_000, help="registered, and half as many unregistered, on each side"
    )
    parser.add_argument("--partition", type=float, default=60.0, help="seconds")
    parser.add_argument("--quick", action="store_true", help="20 000 instances, 5 s")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.instances, options.partition = 20_000, 5.0
    if options.instances % BATCH or options.changes % (2 * BATCH):
        parser.error(f"instances must be a multiple of {BATCH}, changes one of {2 * BATCH}")
    found = asyncio.run(measure(options.instances, options.changes, options.partition))
    if options.json:
        print(json.dumps(found))
        return
    each = f"{options.changes} registered on each side"
    print(f"{options.instances} instances, 3 nodes, {options.partition:g} s apart, {each}, s")
    for name, value in found.items():
        print(f"{name:40} {value:8.2f}")


if __name__ == "__main__":
    main()
