"""What the processes of `scale_connections.py` tell, added up, and the table of it.

Not here: measuring.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from figures import print_table
from scale_connections_sides import quantile
from scale_connections_system import MIB, Plan

Told = dict[str, object]
Lines = Iterator[list[str]]
SIDES = (("server", "server_once"), ("clients", "clients_once"), ("kernel", "kernel"))


def total(told: Iterable[Told], name: str) -> int:
    """The sum of a number that all tell."""
    return sum(int(str(one[name])) for one in told)


def most(told: Iterable[Told], name: str) -> float:
    """The largest of them."""
    return max(float(str(one[name])) for one in told)


def histogram(told: Iterable[Told]) -> Counter[int]:
    """The times of all."""
    found = Counter[int]()
    for one in told:
        times = one["times"]
        assert isinstance(times, dict)
        found.update({int(step): count for step, count in times.items()})
    return found


def percentiles(times: Counter[int], longest: float) -> dict[str, float]:
    """Of times, in seconds."""
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {**{name: min(quantile(times, share), longest) for name, share in shares.items()}, "max": longest}


def loops(told: list[Told]) -> dict[str, float]:
    """The worst of the loops of one side."""
    names = ("late_p50", "late_p99", "late_max", "turn_max", "collection_max", "full_collections")
    return {name: most(told, name) for name in names}


def show(plan: Plan, figures: Mapping[str, object]) -> None:
    """A table of what was found."""
    parts = {name: found for name, found in figures.items() if isinstance(found, dict)}
    lines = [
        line
        for name, lines_of in (
            ("ramp", ramp_lines),
            ("memory", lambda found: memory_lines(found, plan.connections)),
            ("requests", request_lines),
            ("loops", loop_lines),
            ("broadcast", broadcast_lines),
            ("cut", cut_lines),
            ("reload", reload_lines),
            ("close", close_lines),
            ("remains", remain_lines),
        )
        if name in parts
        for line in lines_of(parts[name])
    ]
    print_table(f"{plan.connections:,} connections, {plan.workers} workers, {plan.clients} clients", ("", ""), lines)


def times(found: Mapping[str, float]) -> str:
    """Percentiles in milliseconds."""
    return ", ".join(f"{name} {found[name] * 1000:,.1f}" for name in ("p50", "p99", "p999", "max")) + " ms"


def ramp_lines(found: Mapping[str, Any]) -> Lines:
    """Making them."""
    yield ["connecting", f"{found['seconds']:.1f} s, {found['per_second']:,.0f}/s"]
    yield ["one connection", times(found)]
    yield ["connections of the workers", ", ".join(f"{count:,}" for count in found["of_workers"])]


def memory_lines(found: Mapping[str, Any], connections: int) -> Lines:
    """Memory of each connection."""
    each = {name: f"{value / connections / 1024:.2f}" for name, value in found.items()}
    yield ["server memory of one", f"{each['server']} KiB, shared pages once {each['server_once']}"]
    yield ["client memory of one", f"{each['clients']} KiB, shared pages once {each['clients_once']}"]
    yield ["kernel memory, both ends", f"slabs {each['slab']} KiB, TCP buffers {each['buffers']} KiB"]
    yield ["what this machine has less", f"{each['kernel']} KiB, of no process here; others may have it"]


def request_lines(found: Mapping[str, Any]) -> Lines:
    """Traffic on all."""
    yield ["requests", f"{found['answered']:,} in {found['seconds']:.0f} s, {found['per_second']:,.0f}/s"]
    yield ["answered when planned", f"{found['of_planned'] * 100:.0f} %; the others later: too little processor time"]
    yield ["one request", times(found)]
    yield ["processors in use", f"server {found['server_cpu']:.2f}, clients {found['client_cpu']:.2f}"]


def loop_lines(found: Mapping[str, Any]) -> Lines:
    """How the loops fared."""
    for side, one in found.items():
        ms = {name: f"{value * 1000:,.1f}" for name, value in one.items()}
        yield [f"loops of {side}, late", f"p50 {ms['late_p50']}, p99 {ms['late_p99']}, max {ms['late_max']} ms"]
        yield [f"loops of {side}, longest", f"turn {ms['turn_max']} ms, collection {ms['collection_max']} ms"]


def broadcast_lines(found: Mapping[str, Any]) -> Lines:
    """One message to all."""
    yield ["broadcast, until the last has it", f"{found['seconds'] * 1000:,.0f} ms"]
    yield ["broadcast, each", times(found)]
    took, computed = found["of_a_worker"] * 1000, found["computed_of_a_worker"] * 1000
    yield ["broadcast, in a worker", f"{took:,.0f} ms, of them computing {computed:,.0f}"]


def cut_lines(found: Mapping[str, Any]) -> Lines:
    """Some gone and back."""
    yield [f"{found['cut']:,} cut, until all are back", f"{found['seconds_until_all_were_back']:.2f} s"]
    yield ["each until answered again", times(found)]


def reload_lines(found: Mapping[str, Any]) -> Lines:
    """Workers replaced."""
    yield ["workers replaced", f"{found['seconds']:.1f} s"]
    yield ["each until answered again", times(found)]


def close_lines(found: Mapping[str, Any]) -> Lines:
    """The end."""
    yield ["closing", f"{found['seconds']:.1f} s, {found['per_second']:,.0f}/s"]


def remain_lines(found: Mapping[str, Any]) -> Lines:
    """What is left."""
    objects = f"{found['objects']:,} objects in a worker"
    yield ["remains", f"{found['sessions']} sessions, {found['descriptors']} descriptors, {objects}"]
    yield ["server memory kept for the next", f"{found['server_kept'] / MIB:.0f} MiB, until it is trimmed"]
    sides = (f"{side} {found[name] / MIB:.0f}" for side, name in SIDES)
    yield ["memory that remains, MiB", ", ".join(sides)]
