"""Change visible on a peer: from before a register is sent to one node until another node pushes it to a subscriber.

Each node is a process of its own; the client and the subscriber are this one. Registers come at a steady rate, each
when the one before was answered. `--instances` are registered first and stay.

    python benchmarks/cluster_visibility.py [--nodes 2] [--changes 2000] [--rate 200] [--instances 0] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from load import server

from msgtrans import Context, TransportClient

REGISTER, LOOKUP, SUBSCRIBE = 1, 17, 24
SERVICE = "demo.visibility"
AT_ONCE = 500
"""Instances of one request of those that are registered first."""


def body(ids: list[str], service: str) -> bytes:
    """A registry request for these instances."""
    of_all = {"regionId": "local", "zoneId": "zone1", "serviceId": service, "ip": "10.0.0.1", "port": 80}
    return json.dumps(
        {"instances": [{**of_all, "instanceId": each, "url": f"http://{each}/"} for each in ids]}
    ).encode()


async def shown(client: TransportClient, service: str, count: int) -> None:
    """Wait until the node serves, and shows so many instances of a service."""
    request = {"discoveryConfig": {"serviceId": service}, "regionId": "local", "zoneId": "zone1"}
    while True:
        answer = json.loads((await client.request(json.dumps(request).encode(), biz_type=LOOKUP)).payload)
        if answer["responseStatus"]["status"] == "success" and len(answer["service"]["instances"]) == count:
            return
        await asyncio.sleep(0.05)


async def fill(registering: TransportClient, watching: TransportClient, count: int) -> None:
    """Register instances of other services, and wait until the other node shows them as well."""
    for first in range(0, count, AT_ONCE):
        ids = [f"i{number}" for number in range(first, first + AT_ONCE)]
        await registering.request(body(ids, f"s{first}"), biz_type=REGISTER)
    for first in range(0, count, AT_ONCE):
        await shown(watching, f"s{first}", AT_ONCE)


async def measure(first: str, others: Sequence[str], changes: int, rate: float, instances: int) -> dict[str, float]:
    """Register at the first node, watch at the others; milliseconds until the last of them has told of it."""
    seen: dict[str, list[float]] = {}
    everything = asyncio.Event()

    def note(context: Context) -> None:
        now = time.perf_counter()
        for change in json.loads(context.payload).get("changes", []):
            seen.setdefault(change["instance"]["instanceId"], []).append(now)
        if len(seen) >= changes and all(len(times) >= len(others) for times in seen.values()):
            everything.set()

    sent: dict[str, float] = {}
    async with contextlib.AsyncExitStack() as stack:
        registering, *watching = [
            await stack.enter_async_context(TransportClient(f"tcp://{address}")) for address in (first, *others)
        ]
        await fill(registering, watching[-1], instances)
        for each in watching:
            each.on_message(note)
            await each.request(json.dumps({"serviceIds": [SERVICE]}).encode(), biz_type=SUBSCRIBE)
        for number in range(changes):
            sent[f"i{number}"] = time.perf_counter()
            await registering.request(body([f"i{number}"], SERVICE), biz_type=REGISTER)
            await asyncio.sleep(1 / rate)
        async with asyncio.timeout(30):
            await everything.wait()
    spent = sorted(1000 * (max(seen[each]) - at) for each, at in sent.items())
    return {
        "p50 ms": round(spent[changes // 2], 2),
        "p99 ms": round(spent[changes * 99 // 100], 2),
        "max ms": round(spent[-1], 2),
    }


async def run(addresses: list[str], options: argparse.Namespace) -> dict[str, float]:
    """Wait for all nodes, then measure."""
    for address in addresses:
        async with TransportClient(f"tcp://{address}") as client:
            await shown(client, SERVICE, 0)
    return await measure(addresses[0], addresses[-1:], options.changes, options.rate, options.instances)


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--changes", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--instances", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    addresses: list[str] = []
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as nodes:
        nobody = Path(directory) / "nobody"
        nobody.touch()
        for _ in range(options.nodes):
            # The first one has nobody in its list; each further one dials those before it, and they dial back.
            peers = [f"http://{address}" for address in addresses]
            others = ("--peers", ",".join(peers)) if peers else ("--peers-file", str(nobody))
            _, (host, port) = nodes.enter_context(
                server("-m", "artemis", "serve", "--host", "127.0.0.1", "--port", "0", *others, core=None)
            )
            addresses.append(f"{host}:{port}")
        found = asyncio.run(run(addresses, options))
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    print("  ".join(f"{what} {value:,.2f}" for what, value in found.items()))


if __name__ == "__main__":
    main()
