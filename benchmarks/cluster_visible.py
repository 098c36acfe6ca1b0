"""How soon a change is visible: registered at one node of three, told to who waits at each of them.

Each run registers an instance and counts from before the request is sent until a long poll at a node has brought it.
The node that it is registered at is what there is without replication.

    python benchmarks/cluster_visible.py [--runs 200] [--nodes 3] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import aiohttp
import msgspec

from artemis.testing import running_cluster
from artemis.testing.histories_clients import instance_of


async def measure(runs: int, nodes: int) -> dict[str, dict[str, float]]:
    """Milliseconds at the node itself and at its peers."""
    async with running_cluster(nodes) as cluster, aiohttp.ClientSession() as session:
        urls = [node.url for node in cluster.nodes]
        taken: list[list[float]] = [[] for _ in urls]
        for run in range(-5, runs):
            service = f"s{run}"
            cursors = [(await poll(session, url, service))["cursor"] for url in urls]
            waiting = [
                asyncio.create_task(heard(session, url, service, cursor))
                for url, cursor in zip(urls, cursors, strict=True)
            ]
            await asyncio.sleep(0.05)  # until all wait
            began = time.perf_counter()
            await register(session, urls[0], service)
            for n, at in enumerate(await asyncio.gather(*waiting)):
                if run >= 0:
                    taken[n].append(at - began)
    peers = [each for one in taken[1:] for each in one]
    return {"the node itself": figures(taken[0]), "its peers": figures(peers)}


async def poll(session: aiohttp.ClientSession, url: str, service: str, cursor: str = "") -> dict[str, object]:
    """What a node shows of a service, or what has changed since."""
    query = {"cursor": cursor, "wait": "30s"} if cursor else {}
    async with session.get(f"{url}/api/v1/services/{service}", params=query) as answer:
        found: dict[str, object] = await answer.json()
        return found


async def heard(session: aiohttp.ClientSession, url: str, service: str, cursor: object) -> float:
    """When a node has told of the one change that there is."""
    answer = await poll(session, url, service, str(cursor))
    at = time.perf_counter()
    changes = answer["changes"]
    assert isinstance(changes, list)
    assert len(changes) == 1
    return at


async def register(session: aiohttp.ClientSession, url: str, service: str) -> None:
    """Register an instance."""
    body = {"instances": [msgspec.to_builtins(instance_of(service, "i", "x"))]}
    async with session.post(f"{url}/api/registry/register.json", json=body) as answer:
        status = (await answer.json())["responseStatus"]
        assert status["errorCode"] == "success", status


def figures(seconds: list[float]) -> dict[str, float]:
    """Percentiles in milliseconds."""
    ordered = sorted(seconds)
    return {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
        for name, share in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0))
    }


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options.runs, options.nodes))
    if options.json:
        print(json.dumps(found))
        return
    print(f"a change is visible, {options.nodes} nodes, {options.runs} runs, ms")
    for where, row in found.items():
        print(f"{where:16}" + "".join(f"  {name} {value:7.1f}" for name, value in row.items()))


if __name__ == "__main__":
    main()
