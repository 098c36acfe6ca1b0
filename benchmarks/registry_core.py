"""What the core of the registry costs on one core, without any door: operations, memory, stalls.

    python benchmarks/registry_core.py [--instances N] [--rounds N] [--json]

Rates are medians of several rounds. Memory is the growth of the process's resident set over an empty node, for
instances registered one request each at different milliseconds (the dearest way: no two share a stamp), then with every
view of the catalog made. The stalls are the longest single calls of `Node.tick` while all leases go silent, are held by
self-preservation, expire and are swept, with the garbage collector as it
comes, in CPU time, because other processes preempt this one. Ends within about a minute.
"""

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from artemis.model import DiscoveryConfig, Instance, LookupRequest, RegistryRequest, decode, encode
from artemis.server.node import Node, NodeIdentity
from artemis.server.operations import OPERATIONS

WALL = 1_700_000_000_000
PER_SERVICE = 10
BATCH = 1_000
CALLS = 20_000
TICK_LIMIT = 200


def resident() -> int:
    """Return the resident set of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def instance(number: int) -> Instance:
    """Return an instance of about 350 bytes of JSON, ten to a service."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return Instance(
        region_id="region-1",
        zone_id=f"zone-{number % 3}",
        group_id="default",
        service_id=f"com.example.service-{number // PER_SERVICE}",
        instance_id=address,
        machine_name=f"host-{number:06}.example",
        ip=address,
        port=8080,
        protocol="http",
        url=f"http://{address}:8080/api",
        health_check_url=f"http://{address}:8080/health",
        status="up",
        metadata={"version": "1.4.2", "weight": "5"},
    )


def new_node() -> Node:
    """Return a node that serves."""
    identity = NodeIdentity(node_id="node-1", epoch=1, region="region-1", zone="zone-1", url="http://127.0.0.1:8080")
    node = Node(identity, now=0, wall=WALL)
    node.tick(0, WALL)
    return node


def rate(rounds: int, units: int, run: Callable[[], None]) -> float:
    """Return units per second, the median of the rounds."""
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        rates.append(units / (time.perf_counter() - began))
    return statistics.median(rates)


def measure_heartbeats(node: Node, bodies: list[bytes], now: int, rounds: int) -> dict[str, float]:
    """Measure heartbeats on a node that is full."""
    operation = next(operation for operation in OPERATIONS if operation.name == "registry.heartbeat")
    bodies = bodies[:: max(1, len(bodies) // CALLS)][:CALLS]
    singles = [decode(RegistryRequest, body) for body in bodies]
    batch = RegistryRequest(instances=[instance(number) for number in range(BATCH)])
    batch_body = encode(batch)
    plan = node.heartbeat_plan(batch, now)[1]
    single_plan = node.heartbeat_plan(singles[7], now)[1]
    assert plan is not None
    assert single_plan is not None

    def one() -> None:
        for single in singles:
            operation.encode_json(operation.call(node, single, now))

    def one_decoded() -> None:
        for body in bodies:
            operation.encode_json(operation.call(node, decode(RegistryRequest, body), now))

    def one_planned() -> None:
        for _ in range(CALLS):
            node.renew(single_plan, now)

    def many() -> None:
        for _ in range(20):
            node.heartbeat(batch, now)

    def many_decoded() -> None:
        for _ in range(20):
            node.heartbeat(decode(RegistryRequest, batch_body), now)

    def many_planned() -> None:
        for _ in range(500):
            node.renew(plan, now)

    return {
        "heartbeat of one instance, requests/s": rate(rounds, len(bodies), one),
        "  decoded from JSON": rate(rounds, len(bodies), one_decoded),
        "  recognised (plan)": rate(rounds, CALLS, one_planned),
        f"heartbeat of {BATCH} instances, leases/s": rate(rounds, 20 * BATCH, many),
        "  decoded from JSON, leases/s": rate(rounds, 20 * BATCH, many_decoded),
        "  recognised (plan), leases/s": rate(rounds, 500 * BATCH, many_planned),
    }


def measure_lookups(node: Node, now: int, rounds: int) -> dict[str, float]:
    """Measure lookups of one service on a node that is full."""
    operation = next(operation for operation in OPERATIONS if operation.name == "discovery.lookup")
    config = DiscoveryConfig(service_id="com.example.service-1")
    ask = LookupRequest(region_id="region-1", zone_id="zone-1", discovery_configs=[config])
    body = encode(ask)

    def lookup() -> None:
        for _ in range(CALLS):
            operation.encode_json(operation.call(node, ask, now))

    def lookup_decoded() -> None:
        for _ in range(CALLS):
            operation.encode_json(operation.call(node, decode(LookupRequest, body), now))

    return {
        f"lookup of {PER_SERVICE} instances, requests/s": rate(rounds, CALLS, lookup),
        "  from and to JSON bytes": rate(rounds, CALLS, lookup_decoded),
    }


def measure_stalls(node: Node, now: int) -> dict[str, float]:
    """Let all leases go silent, be held, expire and be swept; return the longest tick of each phase in ms."""
    timings = node.registry.timings
    longest = {}
    phases = {
        "go silent": now + timings.ttl - timings.heartbeat + 1,
        "are held": now + timings.ttl + 1,
        "expire": now + timings.ttl + timings.hold + 1,
        "are swept": now + timings.ttl + timings.hold + timings.lifetime + 10_000,
    }
    for phase, at in phases.items():
        worst, calls, more = 0.0, 0, True
        while more:
            began = time.thread_time()
            more = node.tick(at, WALL + at, TICK_LIMIT)
            worst = max(worst, time.thread_time() - began)
            calls += 1
        longest[f"a tick while all {phase} ({calls} ticks)"] = worst * 1000
    return longest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--instances", type=int, default=100_000, help="how many leases the node holds")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each rate")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()

    node = new_node()
    bodies = [encode(RegistryRequest(instances=[instance(number)])) for number in range(args.instances)]
    gc.collect()
    before = resident()
    began = time.perf_counter()
    for now, body in enumerate(bodies, start=1):
        node.register(decode(RegistryRequest, body), now)
    registering = len(bodies) / (time.perf_counter() - began)
    gc.collect()
    memory = {"registered": (resident() - before) / 2**20}
    now = len(bodies) + 1
    began, pieces = time.perf_counter(), time.thread_time()
    count, longest_piece, size = 0, 0.0, 0
    services = next(operation for operation in OPERATIONS if operation.name == "discovery.services")
    assert services.json_pieces is not None
    for piece in services.json_pieces(services.call(node, None, now), 65_536):
        longest_piece = max(longest_piece, time.thread_time() - pieces)
        count += 1
        size += len(piece)
        pieces = time.thread_time()
    everything = time.perf_counter() - began
    del piece
    gc.collect()
    memory["and every view made"] = (resident() - before) / 2**20

    rates = {"register of one instance from JSON, requests/s": registering}
    rates |= measure_heartbeats(node, bodies, now, args.rounds)
    rates |= measure_lookups(node, now, args.rounds)
    stalls = {
        f"a piece of services.json ({size / 2**20:.0f} MiB, {count} pieces, {everything * 1000:.0f} ms)": longest_piece
        * 1000
    }
    stalls |= measure_stalls(node, now)
    if args.json:
        print(json.dumps({"instances": args.instances, "rates": rates, "memory_mib": memory, "longest_ms": stalls}))
        return
    print(f"{args.instances} instances of {len(bodies[0]) - 16} bytes of JSON, {PER_SERVICE} to a service, one core")
    for name, value in rates.items():
        print(f"  {name:<52} {value:>12,.0f}")
    for name, value in memory.items():
        print(f"  memory, {name + ', MiB':<44} {value:>12.1f}")
    for name, value in stalls.items():
        print(f"  longest call, ms: {name:<60} {value:>8.2f}")


if __name__ == "__main__":
    main()
