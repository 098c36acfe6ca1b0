"""What single operations of a cluster cost, as the model of `scaling` takes it: processor time, bytes and memory.

Four parts: cores of two nodes in this process, without sockets; one real node and its clients; four real nodes of a
mesh, whose links lead through proxies that count bytes; a node in this process with its real carrier, and others that
read, on a nats-server. Processor time is what Linux counts for a thread, so other programs hardly show in it. A node
that waits is woken by what comes: that costs by itself, and is taken off everything else. What small differences are
taken from differs by a third from round to round, so each cost is the median of three rounds. Takes five minutes;
without nats-server the engine is left out.

    python benchmarks/scaling_costs.py [--instances 20000] [--rounds 3] [--quick] [--json] [--write FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop
from figures import machine, print_table
from scaling_cores import Core, MeshWorld, instance
from scaling_engine import engine
from scaling_load import Flow
from scaling_nodes import carried, nodes_of
from scaling_terms import TIMINGS, Costs

from artemis.cluster.digests import BUCKETS, bucket_of
from artemis.testing.nats_servers import nats_server

RATE = 500.0
"""Changes a second, each a message of its own."""
MESH = 4
"""Nodes of the mesh that is measured."""
CONNECTIONS = 1_000


def cores(instances: int) -> dict[str, float]:
    """Measure two cores: what is encoded and decoded, merged and shown."""
    services = max(1, instances // 10)
    world = MeshWorld(2)
    a, b = world.cores
    for at in range(0, instances, 500):
        a.register((instance(number, services) for number in range(at, min(at + 500, instances))), world.now)
        world.carry()
    for _ in range(60):
        world.tick()
    assert len(b.node.registry) == instances
    gc.collect()
    gc.freeze()
    whole = [instance(number, services, 1) for number in range(0, instances, max(1, instances // 2_000))]
    world.forget()
    for each in whole:
        a.register([each], world.now)
        world.carry()
    changes = len(whole)
    told, taken = a.spent["told"] / changes, b.spent["taken Changes"] / changes
    found = {
        "content": float(len(msgspec.json.encode(whole[0]))),
        "change_told": told,
        "core_change_taken": taken,
        "core_register": a.spent["register"] / changes,
    }
    for _ in range(30):
        world.tick()
    world.forget()
    beats = 0
    for _ in range(3):
        for at in range(0, instances, 1_000):
            a.heartbeat((instance(number, services) for number in range(at, min(at + 1_000, instances))), world.now)
            world.tick()
            beats += min(1_000, instances - at)
        for _ in range(12):
            world.tick()
    found["renewal_told"] = a.spent["told"] / beats
    found["renewal_taken"] = b.spent["taken Renewals"] / beats
    found["renewal_bytes"] = world.bytes["Renewals"] / beats
    world.forget()
    b.replica.want(a.name)
    world.tick()
    assert world.messages == {"Digest": 1, "Repair": 1} | ({"Renewals": 2} if "Renewals" in world.messages else {})
    found["exchange_bytes"] = float(world.bytes["Digest"] + world.bytes["Repair"])
    scattered = compared(world, services, instances, buckets=50) - compared(world, services, instances, buckets=1)
    found["digest"] = max(0.0, scattered) / (2 * 49 * instances / BUCKETS)
    sizes = {"content", "renewal_bytes", "exchange_bytes"}
    found = {name: value if name in sizes else value / 1e3 for name, value in found.items()}
    return found | {"view_instance": view(services=1, instances=2_000)}


def compared(world: MeshWorld, services: int, instances: int, *, buckets: int) -> float:
    """Return what it takes until two nodes are alike again of which one has missed 50 changes in so many buckets; in
    these both tell of all their records."""
    a, b = world.cores
    chosen: dict[int, list[int]] = {}
    for number in range(instances):
        one = instance(number, services)
        chosen.setdefault(bucket_of(one.service_id or "", one.instance_id or ""), []).append(number)
    numbers = [number for bucket in list(chosen.values())[:buckets] for number in bucket[: 50 // buckets]]
    for _ in range(30):
        world.tick()
    spent = []
    for turn in range(5):
        world.held = True
        for number in numbers:
            a.register([instance(number, services, 2 + turn)], world.now)
        a.replica.flush(world.now)
        a.replica.take()  # nobody gets it
        world.held = False
        world.forget()
        b.replica.want(a.name)
        world.tick()
        while b.replica.exchanging:
            world.tick()
        spent.append(sum(core.spent.total() for core in world.cores))
        assert a.replica.digest == b.replica.digest
    return statistics.median(spent)


def view(services: int, instances: int) -> float:
    """Return the microseconds that each instance of a large service adds to an answer that is made anew."""
    core = Core("alone", 1_000)
    core.register((instance(number, services) for number in range(instances)), 1_000)
    spent = 0
    for turn in range(20):
        core.register([instance(0, services, turn)], 1_000)
        began = time.thread_time_ns()
        made = core.node.catalog.view("demo.service0")
        spent += time.thread_time_ns() - began
        assert made.instance_count == instances
    return spent / 20 / instances / 1e3


async def doors(instances: int, seconds: float) -> dict[str, float]:
    """Measure one node and its clients."""
    async with nodes_of("mesh", 1, services=instances // 10) as nodes:
        empty = nodes.memory()[0]
        await nodes.fill(instances)
        await asyncio.sleep(2.0)
        rest = (await nodes.rest(seconds)).processor[0]

        async def cost(flow: Flow) -> tuple[float, float]:
            """Return microseconds of a message, and the share of time in which the node waits."""
            window = await nodes.load(flow, seconds=seconds)
            rate = flow.rate or window.told[0].rate
            return (window.processor[0] - rest) / rate * 1e6, 1 - window.processor[0]

        # A node that is overrun never waits, so it is woken by nothing.
        single, _ = await cost(Flow(kind="heartbeat", count=64, connections=64))
        many, _ = await cost(Flow(kind="heartbeat", count=6_400, per_message=100, connections=64))
        lookup, _ = await cost(Flow(kind="lookup", count=instances, connections=64))
        register, _ = await cost(Flow(kind="register", count=instances, connections=64))
        slow, waits = await cost(Flow(kind="heartbeat", count=64, connections=64, rate=RATE))
        wake = (slow - single) / waits
        registered = (register + wake) / 1e6
        before = nodes.memory()[0]
        idle = Flow(kind="heartbeat", count=CONNECTIONS, connections=CONNECTIONS, rate=CONNECTIONS)
        connected = (await nodes.load(idle, seconds=1.0)).memory[0]
        waiting = Flow(kind="subscribe", count=1, connections=CONNECTIONS, rate=CONNECTIONS)
        watched = await nodes.load(waiting, seconds=seconds)
        changing = Flow(kind="register", count=1, connections=1, rate=20.0)
        pushed = await nodes.load(waiting, changing, seconds=seconds)
    used = pushed.processor[0] - watched.processor[0] - changing.rate * registered
    return {
        "wake": wake,
        "register": register,
        "heartbeat_message": (single - many / 100) / 0.99,
        "heartbeat_instance": (many - single) / 99,
        "lookup": lookup,
        "push": used / (changing.rate * CONNECTIONS) * 1e6,
        "rest": rest * 1e6,
        "memory_node": empty,
        "memory_connection": max(0.0, connected - before) / CONNECTIONS,
        "memory_subscriber": max(0.0, max(watched.memory[0], pushed.memory[0]) - before) / CONNECTIONS,
    }


async def mesh(instances: int, seconds: float, alone: dict[str, float]) -> dict[str, float]:
    """Measure the links of a mesh, from what one node costs beside what it costs `alone`."""
    links = MESH - 1
    async with nodes_of("mesh", MESH, services=instances // 10, counted=True) as nodes:
        empty = nodes.memory()
        last = nodes.cluster.nodes[links]
        await asyncio.to_thread(last.stop)
        await asyncio.to_thread(last.restart)
        started = nodes.cpu()[links]
        await nodes.fill(instances)
        await asyncio.sleep(4.0)
        full = nodes.memory()
        rest = await nodes.rest(2 * seconds)
        changing = Flow(kind="register", count=instances, connections=64, rate=RATE, only=[0])
        changes = await nodes.load(changing, seconds=seconds)
        beating = Flow(kind="heartbeat", count=instances, connections=instances // 100, per_message=100, only=[0])
        beating.rate = instances / 100
        await asyncio.sleep(2.0)
        beats = await nodes.load(beating, seconds=seconds)
        lines = sum(carried(nodes.cluster, links, other) for other in range(links))
        given = nodes.cpu()[:links]
        await asyncio.to_thread(last.stop)
        await asyncio.to_thread(last.restart)
        copied = nodes.cpu()
        more = sum(carried(nodes.cluster, links, other) for other in range(links))
    others = range(1, MESH)
    # Each of both ends takes part in two exchanges where one alone would be begun.
    exchanges = alone["exchange_bytes"] / (TIMINGS.exchange / 1_000)
    changed = [(changes.processor[node] - rest.processor[node]) / RATE * 1e6 for node in range(MESH)]
    woken = [alone["wake"] * (1 - used) for used in changes.processor]
    renewals = beating.rate * 100
    return {
        "change_sent": max(0.0, changed[0] - woken[0] - alone["register"] - alone["change_told"]) / links,
        "change_taken": sum(changed[node] - woken[node] for node in others) / links,
        "change_bytes": sum(c - r for c, r in zip(changes.links, rest.links, strict=True)) / links / RATE,
        "renewal_bytes": sum(b - r for b, r in zip(beats.links, rest.links, strict=True)) / links / renewals,
        "renewal_taken": sum(beats.processor[node] - rest.processor[node] for node in others) / links / renewals * 1e6,
        "link_rest": max(0.0, sum(rest.processor) / MESH - alone["rest"] / 1e6) / links * 1e6,
        "link_rest_bytes": (sum(rest.links) / 2 - exchanges) / links,
        "copy_taken": (copied[links] - started) / instances * 1e6,
        "copy_given": sum(copied[node] - given[node] for node in range(links)) / instances * 1e6,
        "copy_bytes": (more - lines) / instances,
        "memory_lease": sum((f - e) / instances for f, e in zip(full, empty, strict=True)) / MESH,
        "memory_link": max(0.0, sum(empty) / MESH - alone["memory_node"]) / links,
    }


async def engine_memory(instances: int, found: dict[str, float]) -> dict[str, float]:
    """Measure what nodes with the engine have in memory beside what those of a mesh have."""
    async with nodes_of("engine", 3, services=instances // 10) as nodes:
        empty = statistics.mean(nodes.memory())
        await nodes.fill(instances)
        await asyncio.sleep(2.0)
        full = statistics.mean(nodes.memory())
    return {
        "memory_engine": max(0.0, empty - found["memory_node"]),
        "memory_entry": max(0.0, (full - empty) / instances - found["memory_lease"]),
    }


async def measure(instances: int, seconds: float) -> dict[str, float]:
    """Measure everything; those of the engine are missing where there is none."""
    gc.unfreeze()
    gc.collect()
    found = await asyncio.to_thread(cores, 2 * instances)
    gc.unfreeze()
    gc.collect()
    found |= await doors(instances, seconds)
    found |= await mesh(instances, seconds, found)
    if nats_server() is not None:
        found |= await engine(instances // 2, seconds, RATE, found["wake"])
        found |= await engine_memory(instances, found)
    return found


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return each cost's median."""
    return {name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instances", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="8 000 instances, one round, half a minute")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep them, for scaling.py --costs FILE")
    options = parser.parse_args()
    instances, seconds, rounds = (8_000, 0.8, 1) if options.quick else (options.instances, 1.6, options.rounds)
    if instances < 8_000 or instances % 1_000:
        parser.error("--instances must be a multiple of 1000, and 8000 at least")
    if rounds < 1:
        parser.error("--rounds must be 1 at least")
    found = medians([uvloop.run(measure(instances, seconds)) for _ in range(rounds)])
    if options.write is not None:
        options.write.write_text(json.dumps({**machine(), "costs": found}, indent=1) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(found))
        return 0
    known = Costs.__struct_fields__
    units = [[name, f"{value:,.1f}"] for name, value in sorted(found.items(), key=lambda one: order(one[0]))]
    print(f"microseconds and bytes; {instances} instances, twice as many in the cores; {rounds} rounds")
    print_table("", ("cost", ""), units)
    missing = [name for name in known if name not in found]
    if missing:
        print(f"not measured, as there is no nats-server: {', '.join(missing)}")
    return 0


def order(name: str) -> int:
    """Return the place of a cost: as the model lists them, then what it does not take."""
    fields = Costs.__struct_fields__
    return fields.index(name) if name in fields else len(fields)


if __name__ == "__main__":
    sys.exit(main())
