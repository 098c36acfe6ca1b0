"""Whether the model of `scaling_model` is right: what it predicts beside what is measured, as ratios.

Cores of many nodes in one process, whose costs are taken from two: does what is sent grow with nodes as it says? And
real nodes on this machine, as many as fit, with the costs of `scaling_costs`: processor, bytes, memory, copying.
Not here: the model itself.
"""

from __future__ import annotations

import asyncio
import gc

import msgspec
import uvloop
from scaling_cores import EngineWorld, MeshWorld, instance
from scaling_load import Flow
from scaling_model import plan
from scaling_nodes import Nodes, nodes_of
from scaling_terms import TIMINGS, Costs, Mode, Plan, Room, Workload

REAL = 3
"""Real nodes of a check."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: what the model says of it, and what it was."""

    mode: Mode
    nodes: int
    instances: int
    what: str
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted by measured."""
        return self.predicted / self.measured if self.measured else 0.0


# -- cores of many nodes in one process


def cores(counts: tuple[int, ...], instances: int, seconds: int) -> list[Check]:
    """Check bytes and processor time of a node among so many, in both modes, from the costs of two nodes."""
    checks = []
    for mode in ("mesh", "engine"):
        work = Workload(instances=instances, services=instances // 10, changes=3_600 * 20 / instances, lookups=0)
        costs = _costs_of_two(mode, work, seconds)
        for nodes in counts:
            sent, processor = _run(mode, nodes, work, seconds)
            expected = plan(costs, msgspec.structs.replace(work, watchers=0), mode, nodes)
            used = sum(expected.processor.get(part, 0.0) for part in ("telling", "taking in", "comparing", "rest"))
            checks += [
                Check(mode=mode, nodes=nodes, instances=instances, what=what, predicted=predicted, measured=measured)
                for what, predicted, measured in (
                    ("bytes from a node to the others, a second", _all_sent(expected), sent),
                    ("processor of a core, ms a second", used * 1_000, processor * 1_000),
                )
            ]
    return checks


def _all_sent(expected: Plan) -> float:
    """Return what arrives of a node at the others: with the engine each of them is sent it."""
    return expected.sent if expected.mode == "mesh" else expected.received


def _run(mode: Mode, nodes: int, work: Workload, seconds: int, *, busy: bool = True) -> tuple[float, float]:
    """Return bytes that one node causes and processor seconds of one core, both a second."""
    world = MeshWorld(nodes) if mode == "mesh" else EngineWorld(nodes)
    for at, core in enumerate(world.cores):
        core.register((instance(n, work.services) for n in range(at, work.instances, nodes)), world.now)
    for _ in range(60):
        world.tick()
    turns, changes = round(work.heartbeat * 10), work.changes_s / 10
    for turn in range(-turns, seconds * 10):
        if turn == 0:
            world.forget()
        for at, core in enumerate(world.cores if busy else ()):
            mine = range(at, work.instances, nodes)
            core.heartbeat((instance(n, work.services) for n in mine[turn % turns :: turns]), world.now)
        for number in range(round((turn + turns) * changes), round((turn + turns + 1) * changes) if busy else 0):
            core = world.cores[number % nodes]
            mine = range(number % nodes, work.instances, nodes)
            core.register([instance(mine[number % len(mine)], work.services, turn + turns + 1)], world.now)
            world.carry()
        world.tick()
    sent = world.bytes.total() - world.bytes["Put"] if isinstance(world, EngineWorld) else world.bytes.total()
    spent = sum(core.spent.total() - core.spent["register"] - core.spent["heartbeat"] for core in world.cores)
    return sent / nodes / seconds, spent / nodes / seconds / 1e9


def _costs_of_two(mode: Mode, work: Workload, seconds: int) -> Costs:
    """Return costs, only those of cores, from runs with two nodes: at rest, with heartbeats, with changes as well."""
    calm = msgspec.structs.replace(work, changes=0.0)
    rest_sent, rest_used = _run(mode, 2, calm, seconds, busy=False)
    calm_sent, calm_used = _run(mode, 2, calm, seconds)
    busy_sent, busy_used = _run(mode, 2, work, seconds)
    beats, changes = work.heartbeats_s / 2, work.changes_s / 2
    renewal, change = (calm_used - rest_used) * 1e6 / beats, (busy_used - calm_used) * 1e6 / changes
    zero = dict.fromkeys(Costs.__struct_fields__, 0.0)
    both = {
        "content": work.content,
        "rest": rest_used * 1e6 / 2,
        "renewal_told": renewal / 2,
        "renewal_taken": renewal / 2,
        "renewal_bytes": (calm_sent - rest_sent) / beats,
    }
    if mode == "mesh":
        exchanges = compared_bytes() / (TIMINGS.exchange / 1_000)
        own = {
            "change_told": change / 2,
            "change_taken": change / 2,
            "change_bytes": (busy_sent - calm_sent) / changes,
            "link_rest": rest_used * 1e6 / 2,
            "link_rest_bytes": rest_sent - exchanges,
            "exchange_bytes": exchanges * TIMINGS.exchange / 1_000,
        }
    else:
        own = {
            "put": change / 2,
            "entry": change / 2,
            "entry_bytes": (busy_sent - calm_sent) / changes / 2,
            "told_bytes": rest_sent,
            "member_rest": rest_used * 1e6 / 2,
        }
    return Costs(**{**zero, **both, **own})


def compared_bytes() -> float:
    """Return the bytes of an exchange of two nodes that are alike."""
    world = MeshWorld(2)
    for _ in range(60):
        world.tick()
    return (world.bytes["Digest"] + world.bytes["Repair"]) / world.messages["Digest"]


# -- real nodes


async def real(costs: Costs, mode: Mode, instances: int, seconds: float) -> list[Check]:
    """Check some real nodes with so many instances, which heartbeat, change and are looked up."""
    changes, lookups = 150.0, 3_000.0
    work = Workload(
        instances=instances,
        services=instances // 10,
        per_message=100,
        per_connection=100,
        changes=changes * 3_600 / instances,
        lookups=lookups,
        watchers=0,
        content=costs.content,
    )
    expected = plan(costs, work, mode, REAL, Room(servers=1))
    async with nodes_of(mode, REAL, services=work.services, counted=True) as nodes:
        await nodes.fill(instances)
        await asyncio.sleep(5.0)
        # Not those that heartbeat: a heartbeat that differs from what is there counts as a change.
        share = instances // REAL
        living = share * 9 // 10
        flows = []
        for node in range(REAL):
            first, others = node * share, -(-living // 100)
            beats = living / work.heartbeat / 100
            flows += [
                Flow(kind="heartbeat", first=first, count=living, per_message=100, connections=others, rate=beats),
                Flow(kind="register", first=first + living, count=share - living, connections=16, rate=changes / REAL),
            ]
            flows[-2].only = flows[-1].only = [node]
        asking = Flow(kind="lookup", count=instances, connections=16, rate=lookups)
        seen = await nodes.load(*flows, asking, seconds=seconds)
        copied = await _copy(nodes)
    found = [
        ("processor of a node, % of one", expected.used * 100, sum(seen.processor) / REAL * 100),
        ("memory of a node, MiB", expected.memory / 2**20, sum(seen.memory) / REAL / 2**20),
        ("copying to a new node, s of its processor", _copying(costs, mode, instances), copied),
    ]
    if mode == "mesh":
        link = sum(seen.links) / len(seen.links) / 2
        found.append(("a link, one way, kB/s", expected.link / 1e3, link / 1e3))
    else:
        found += [
            ("processor of the server, % of one", expected.server * 100, seen.server * 100),
            ("a node to the server, kB/s", expected.sent / 1e3, seen.traffic.received / REAL / 1e3),
            ("the server to a node, kB/s", expected.received / 1e3, seen.traffic.sent / REAL / 1e3),
        ]
    return [
        Check(mode=mode, nodes=REAL, instances=instances, what=what, predicted=predicted, measured=measured)
        for what, predicted, measured in found
    ]


def _copying(costs: Costs, mode: Mode, instances: int) -> float:
    return instances * (costs.copy_taken if mode == "mesh" else costs.copy_entry) / 1e6


async def _copy(nodes: Nodes) -> float:
    """Return seconds of a processor that a node takes to copy everything, beside what its start takes."""
    last = nodes.cluster.nodes[-1]
    await asyncio.to_thread(last.stop)
    await asyncio.to_thread(last.restart)
    used = nodes.cpu()[-1]
    async with nodes_of(nodes.mode, 1) as alone:
        start = alone.cpu()[0]
    return used - start


def check(costs: Costs, sizes: tuple[int, ...], counts: tuple[int, ...], seconds: float) -> list[Check]:
    """Check cores in so many nodes, and real ones with so many instances."""
    found = cores(counts, 3_000, 10)
    gc.collect()
    for mode in ("mesh", "engine"):
        for size in sizes:
            found += uvloop.run(real(costs, mode, size, seconds))
    return found
