"""What clusters of either mode and of several sizes do: registrations, heartbeats, lookups, changes on peers, memory.

Each node is a process of its own, and so is what loads them, with connections to all of them. A lookup is of a service
of ten instances. Rates are those of the whole cluster with its load on this machine, so they show what replication
takes from the processors that all share, not what more machines would do. A change is registered at one node, 50 a
second, and seen when all others have told a subscriber of it; with one node, when it has itself. `3x2` are three nodes
of two workers each.

    python benchmarks/cluster_modes.py [--mesh 1 3 5 9 1x2 3x2] [--engine 1 3 5 9 1x2 3x2] [--instances 10000] [--quick]
                                       [--json | --markdown] [--write FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import msgspec
import uvloop
from cluster_visibility import measure as visible
from figures import machine, markdown, print_table
from scaling_load import Flow
from scaling_nodes import Nodes, nodes_of
from scaling_terms import Mode

from artemis.testing.nats_servers import nats_server

CONNECTIONS = 8
"""Of each kind of load to each node."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster did: a second, all nodes together; `lookup_p99` and the times of changes in milliseconds, memory
    of a node with its workers in MiB."""

    mode: Mode
    nodes: int
    workers: int
    instances: int
    registrations: float
    heartbeats: float
    heartbeats_batched: float
    lookups: float
    lookup_p99: float
    change_p50: float
    change_p99: float
    memory_empty: float
    memory_full: float


async def measure(mode: Mode, count: int, workers: int, instances: int, seconds: float) -> Figures:
    """Measure one cluster."""
    more = {"workers": workers} if workers > 1 else {}
    async with nodes_of(mode, count, services=instances // 10, **more) as nodes:
        empty = _memory(nodes)
        await nodes.fill(instances)
        await asyncio.sleep(2.0)
        full = _memory(nodes)
        others = nodes.addresses[1:] or nodes.addresses
        took = await visible(nodes.addresses[0], others, round(100 * seconds), 50.0, 0)

        async def rate(flow: Flow) -> tuple[float, float]:
            told = (await nodes.load(flow, seconds=seconds)).told[0]
            return told.rate * flow.per_message, told.p99

        whole = Flow(kind="lookup", count=instances, connections=CONNECTIONS, in_flight=4)
        lookups, p99 = await rate(whole)
        beating = msgspec.structs.replace(whole, kind="heartbeat")
        heartbeats, _ = await rate(msgspec.structs.replace(beating, count=CONNECTIONS * count))
        each = 100 * CONNECTIONS * count
        batched, _ = await rate(msgspec.structs.replace(beating, count=min(each, instances), per_message=100))
        registrations, _ = await rate(msgspec.structs.replace(whole, kind="register"))
    return Figures(
        mode=mode,
        nodes=count,
        workers=workers,
        instances=instances,
        registrations=registrations,
        heartbeats=heartbeats,
        heartbeats_batched=batched,
        lookups=lookups,
        lookup_p99=p99,
        change_p50=took["p50 ms"],
        change_p99=took["p99 ms"],
        memory_empty=empty,
        memory_full=full,
    )


def _memory(nodes: Nodes) -> float:
    found = nodes.memory()
    return sum(found) / len(found) / 2**20


def lines_of(found: list[Figures]) -> list[list[str]]:
    """Return the lines of a table."""
    return [
        [
            each.mode,
            f"{each.nodes}",
            f"{each.workers}",
            f"{each.registrations:,.0f}",
            f"{each.heartbeats:,.0f}",
            f"{each.heartbeats_batched:,.0f}",
            f"{each.lookups:,.0f}",
            f"{each.lookup_p99:.1f}",
            f"{each.change_p50:.1f}",
            f"{each.change_p99:.1f}",
            f"{each.memory_empty:.0f}",
            f"{each.memory_full:.0f}",
        ]
        for each in found
    ]


COLUMNS = (
    "mode",
    "nodes",
    "workers",
    "registrations/s",
    "heartbeats/s",
    "of 100, /s",
    "lookups/s",
    "p99 ms",
    "change, p50 ms",
    "p99 ms",
    "empty, MiB",
    "full, MiB",
)


def size_of(text: str) -> tuple[int, int]:
    """Read nodes and workers of each, as `3` or `3x2`."""
    nodes, _, workers = text.partition("x")
    try:
        found = int(nodes), int(workers or 1)
    except ValueError:
        found = 0, 0
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not nodes, as 3, or nodes and workers of each, as 3x2")
    return found


def main() -> int:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    sizes = [(1, 1), (3, 1), (5, 1), (9, 1), (1, 2), (3, 2)]
    parser.add_argument("--mesh", type=size_of, nargs="*", default=sizes, metavar="NODES[xWORKERS]")
    parser.add_argument("--engine", type=size_of, nargs="*", default=sizes, metavar="NODES[xWORKERS]")
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--quick", action="store_true", help="1 and 3 nodes, a second of each load")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep them as JSON")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/cluster.md")
    options = parser.parse_args()
    if options.quick:
        options.mesh, options.engine, options.instances, options.seconds = [(1, 1), (3, 1)], [(3, 1)], 5_000, 1.0
    if options.instances % 1_000:
        parser.error("--instances must be a multiple of 1000")
    if nats_server() is None and options.engine:
        print("there is no nats-server; the engine is left out", file=sys.stderr)
        options.engine = []
    cases: list[tuple[Mode, int, int]] = [("mesh", *size) for size in options.mesh]
    cases += [("engine", *size) for size in options.engine]
    found = []
    for case in cases:
        found.append(uvloop.run(measure(*case, options.instances, options.seconds)))
        print("  ".join(lines_of(found[-1:])[0]), file=sys.stderr, flush=True)
    told = {**machine(), "clusters": msgspec.to_builtins(found)}
    if options.write is not None:
        options.write.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(told))
        return 0
    if options.markdown:
        print(markdown(COLUMNS, lines_of(found)))
        return 0
    print(f"{options.instances} instances; rates of all nodes together, memory of one")
    print_table("", COLUMNS, lines_of(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
