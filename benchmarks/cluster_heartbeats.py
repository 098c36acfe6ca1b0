"""What a heartbeat costs in a cluster: processor time at the node that gets it and at each peer, bytes on the links.

All heartbeats go to one node, in requests of 100 as those of busy clients. From the processor time of each node, and
from the bytes, comes off what is used at rest. The links lead through proxies, which count their bytes and whose own
time counts for nobody. One node alone is the comparison.

    python benchmarks/cluster_heartbeats.py [--nodes 1 3 5 7] [--instances 20000] [--seconds 10] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

import aiohttp
import msgspec

from artemis.testing import RunningCluster, RunningNode, running_cluster
from artemis.testing.histories_clients import instance_of
from artemis.testing.links import BACK, FORTH

BATCH = 100
INTERVAL = 5.0
"""Seconds between two heartbeats of an instance."""


async def measure(nodes: int, instances: int, seconds: float) -> dict[str, float]:
    """The figures of one size."""
    options = {"lease_ttl": 120, "peer_beat": 1}  # so that nothing expires at rest
    async with running_cluster(nodes, linked=nodes > 1, **options) as cluster, aiohttp.ClientSession() as session:
        url = cluster.nodes[0].url
        bodies = [body(n, BATCH) for n in range(0, instances, BATCH)]
        for each in bodies:
            await post(session, url, "register", each)
        await asyncio.sleep(10.0)  # until what the registrations brought about is done
        idle = carried(cluster)
        rest = await spent(cluster, seconds)
        before = carried(cluster)
        began = time.monotonic()
        beating = asyncio.create_task(beat(session, url, bodies, seconds))
        busy = await spent(cluster, seconds)
        beats = await beating
        took = time.monotonic() - began
        await asyncio.sleep(2.0)
        sent = carried(cluster) - before - (before - idle) * (took + 2.0) / seconds
    cost = [(more - less) / beats * 1e6 * took for more, less in zip(busy, rest, strict=True)]
    figures = {"heartbeats": beats, "us at the node": cost[0]}
    if nodes > 1:
        figures["us at each peer"] = sum(cost[1:]) / (nodes - 1)
        figures["bytes to each peer"] = sent / beats / (nodes - 1)
    return figures


async def beat(session: aiohttp.ClientSession, url: str, bodies: list[bytes], seconds: float) -> int:
    """Renew all instances in turn, each every `INTERVAL` seconds; how many heartbeats that were."""
    begun, sent = time.monotonic(), 0
    while True:
        due = begun + sent * INTERVAL / len(bodies)
        if due - begun >= seconds:
            return sent * BATCH
        await asyncio.sleep(due - time.monotonic())
        await post(session, url, "heartbeat", bodies[sent % len(bodies)])
        sent += 1


def body(first: int, count: int) -> bytes:
    """A request for many instances."""
    instances = [msgspec.to_builtins(instance_of(f"s{n // 50}", f"i{n}")) for n in range(first, first + count)]
    return msgspec.json.encode({"instances": instances})


async def post(session: aiohttp.ClientSession, url: str, operation: str, data: bytes) -> None:
    """Do it, and check that it was done."""
    headers = {"Content-Type": "application/json"}
    async with session.post(f"{url}/api/registry/{operation}.json", data=data, headers=headers) as answer:
        found = await answer.json()
        assert found["responseStatus"]["errorCode"] == "success", found


async def spent(cluster: RunningCluster, seconds: float) -> list[float]:
    """The share of a processor that each node uses during so many seconds."""
    began, before = time.monotonic(), [cpu(node) for node in cluster.nodes]
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    return [(cpu(node) - less) / took for node, less in zip(cluster.nodes, before, strict=True)]


def cpu(node: RunningNode) -> float:
    """Seconds of a processor that a node has used, to the nanosecond as Linux knows it of each thread."""
    threads = Path(f"/proc/{node.process.pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def carried(cluster: RunningCluster) -> float:
    """Bytes on the links that go from the first node, both ways."""
    lines = [cluster.line(0, n) for n in range(1, len(cluster.nodes))]
    return sum(line.carried[FORTH] + line.carried[BACK] for line in lines)


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 3, 5, 7])
    parser.add_argument("--instances", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of heartbeats, for each size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {nodes: asyncio.run(measure(nodes, options.instances, options.seconds)) for nodes in options.nodes}
    if options.json:
        print(json.dumps(found))
        return
    print(f"a heartbeat, {options.instances} instances, each every {INTERVAL:g} s")
    for nodes, row in found.items():
        print(f"{nodes} nodes" + "".join(f"  {name} {value:8.1f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
