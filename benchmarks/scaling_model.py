"""What a cluster costs: from the measured costs of single operations and a workload to nodes, links and bytes.

Pure functions, no measuring. A node is one process with one event loop: a machine whose workers are nodes of their own
counts as that many. Instances, clients and lookups are spread evenly over the nodes, and every node keeps every record;
both modes have that in common. Times are microseconds of one processor unless a name says otherwise, sizes are bytes.
Not here: how costs are measured (`scaling_costs`), and whether the predictions hold (`scaling_checks`).
"""

from __future__ import annotations

import msgspec
from scaling_terms import (
    MARKERS_AT_MOST,
    RENEWALS_EARLY,
    TIMINGS,
    TOLD_AT_MOST,
    Costs,
    Mode,
    Plan,
    Room,
    Workload,
)

from artemis.cluster.digests import BUCKETS
from artemis.cluster.handles import MAX_HANDLES


class Shares(msgspec.Struct, frozen=True):
    """What falls to one of so many nodes, and to all others, a second."""

    heartbeats: float
    changes: float
    lookups: float
    pushes: float
    other_heartbeats: float
    other_changes: float

    @classmethod
    def of(cls, work: Workload, nodes: int) -> Shares:
        """Return those of a workload."""
        others = (nodes - 1) / nodes
        return cls(
            work.heartbeats_s / nodes,
            work.changes_s / nodes,
            work.lookups / nodes,
            work.pushes_s / nodes,
            work.heartbeats_s * others,
            work.changes_s * others,
        )


def plan(costs: Costs, work: Workload, mode: Mode, nodes: int, room: Room = Room()) -> Plan:  # noqa: B008 - immutable
    """Return what so many nodes come to."""
    return _mesh(costs, work, nodes, room) if mode == "mesh" else _engine(costs, work, nodes, room)


def fewest(costs: Costs, work: Workload, mode: Mode, room: Room) -> Plan | None:
    """Return the plan with the fewest nodes that fits, None when none does."""
    plans = (plan(costs, work, mode, nodes, room) for nodes in room.sizes(mode))
    return next((each for each in plans if each.fits), None)


def most(costs: Costs, work: Workload, mode: Mode, room: Room) -> tuple[int, str]:
    """Return how many instances any number of nodes can have, all else in proportion, and what ends beyond."""
    low, high = 0, 1_000
    while high <= 10**9 and fewest(costs, work.of(high), mode, room) is not None:
        low, high = high, high * 2
    while high - low > max(1_000, low // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if fewest(costs, work.of(middle), mode, room) is not None else (low, middle)
    return low, nearest(costs, work.of(high), mode, room).tightest


def nearest(costs: Costs, work: Workload, mode: Mode, room: Room) -> Plan:
    """Return the plan that is least beyond what there is, where none fits."""
    plans = [plan(costs, work, mode, nodes, room) for nodes in room.sizes(mode)]
    return min(plans, key=lambda each: each.limits[each.tightest])


# -- what both modes have in common


def _awake(costs: Costs, work: Workload, shares: Shares, processor: dict[str, float], events: float) -> None:
    """Add what waking up comes to; `events` come a second beside those of clients.

    What comes finds a node that is used for a share u of the time waiting in 1 - u of all cases, and wakes it then: u =
    work + events * wake * (1 - u).
    """
    used = sum(processor.values())
    waking = (shares.heartbeats / work.per_message + shares.changes + shares.lookups + events) * costs.wake / 1e6
    processor["waking up"] = max(0.0, (used + waking) / (1 + waking) - used)


def _clients(costs: Costs, work: Workload, shares: Shares) -> dict[str, float]:
    """Return what clients use of their node's processor."""
    messages = shares.heartbeats / work.per_message
    heartbeats = messages * costs.heartbeat_message + shares.heartbeats * costs.heartbeat_instance
    # An answer is made anew when it is asked for after a change, at each node.
    made = min(work.changes_s, shares.lookups) * work.instances / work.services
    return {
        "heartbeats": heartbeats / 1e6,
        "registrations": shares.changes * costs.register / 1e6,
        "lookups": (shares.lookups * costs.lookup + made * costs.view_instance) / 1e6,
        "pushes": shares.pushes * costs.push / 1e6,
    }


def _memory(costs: Costs, work: Workload, mode: Mode, nodes: int) -> float:
    lease, links = costs.memory_lease + work.content - costs.content, (nodes - 1) * costs.memory_link
    if mode == "engine":
        lease, links = lease + costs.memory_entry, costs.memory_engine
    clients = work.instances / work.per_connection * costs.memory_connection + work.watchers * costs.memory_subscriber
    return costs.memory_node + work.instances * lease + links + clients / nodes


def _limits(
    costs: Costs, work: Workload, mode: Mode, nodes: int, room: Room, *, processor: float, traffic: float, copy: float
) -> dict[str, float]:
    shares = Shares.of(work, nodes)
    connections = (work.instances / work.per_connection + work.watchers) / nodes
    return {
        "processor of a node": processor / room.processor,
        "memory of a node": _memory(costs, work, mode, nodes) / room.memory,
        "network of a node": traffic / room.network,
        "connections of a node": connections / room.connections,
        "time to copy to a new node": copy / room.copy,
        "heartbeats told by a node": shares.heartbeats / TOLD_AT_MOST if nodes > 1 else 0.0,
        "handles of a node": work.instances / nodes / MAX_HANDLES if nodes > 1 else 0.0,
    }


# -- mesh


def _mesh(costs: Costs, work: Workload, nodes: int, room: Room) -> Plan:
    shares, links = Shares.of(work, nodes), nodes - 1
    more = work.content - costs.content
    told = shares.heartbeats * costs.renewal_told + shares.changes * costs.change_told
    told += links * shares.changes * costs.change_sent
    taken = shares.other_heartbeats * costs.renewal_taken + shares.other_changes * costs.change_taken
    # Changes that are on their way make buckets differ, in which every record is told of; asked once, answered once.
    differing = min(BUCKETS, work.changes_s * room.delay * 2)
    compared = 2 * differing * work.instances / BUCKETS / (TIMINGS.exchange / 1_000)
    processor = _clients(costs, work, shares)
    if links:
        processor |= {
            "telling": told / 1e6,
            "taking in": taken / 1e6,
            "comparing": compared * costs.digest / 1e6,
        }
    processor["rest"] = (costs.rest + links * costs.link_rest) / 1e6
    _awake(costs, work, shares, processor, shares.other_changes)
    link = shares.heartbeats * costs.renewal_bytes + shares.changes * (costs.change_bytes + more)
    link += costs.link_rest_bytes
    copy = work.instances * (costs.copy_taken / 1e6) if links else 0.0
    copy = max(copy, work.instances * (costs.copy_bytes + more) / room.network) if links else 0.0
    exchanges = (costs.exchange_bytes / (TIMINGS.exchange / 1_000) + compared / 2 * 8) if links else 0.0
    traffic = links * link + exchanges
    processor_used = sum(processor.values())
    return Plan(
        mode="mesh",
        nodes=nodes,
        processor=processor,
        sent=traffic,
        received=traffic,
        link=traffic / links if links else 0.0,
        links=nodes * links,
        connections=work.instances / work.per_connection / nodes,
        memory=_memory(costs, work, "mesh", nodes),
        copy=copy,
        server=0.0,
        server_sent=0.0,
        server_received=0.0,
        server_memory=0.0,
        limits=_limits(costs, work, "mesh", nodes, room, processor=processor_used, traffic=traffic, copy=copy),
    )


# -- engine


def _engine(costs: Costs, work: Workload, nodes: int, room: Room) -> Plan:
    shares, others = Shares.of(work, nodes), nodes - 1
    more = work.content - costs.content
    messages = 1_000 / TIMINGS.beat + min(MARKERS_AT_MOST, shares.changes)
    processor = _clients(costs, work, shares)
    processor |= {
        "telling": (shares.heartbeats * costs.renewal_told + shares.changes * costs.put + 2 * messages * costs.told)
        / 1e6,
        "taking in": (
            shares.other_heartbeats * costs.renewal_taken
            + shares.other_changes * costs.entry
            + others * messages * costs.told
        )
        / 1e6,
        "rest": (costs.rest + costs.engine_rest + others * costs.member_rest) / 1e6,
    }
    # A put is answered, and its entry comes back.
    _awake(costs, work, shares, processor, 2 * shares.changes + shares.other_changes + others * messages)
    sent = shares.changes * (costs.put_bytes + more)
    sent += shares.heartbeats * costs.renewal_bytes + messages * costs.told_bytes
    received = work.changes_s * (costs.entry_bytes + more)
    received += shares.other_heartbeats * costs.renewal_bytes + others * messages * costs.told_bytes
    # The leader takes every put, hands it to the others that keep the bucket, and brings it to every node; nodes are
    # taken for spread over all servers in what they tell each other.
    copies = room.servers - 1
    all_messages = messages * nodes * others + shares.heartbeats * nodes * others / RENEWALS_EARLY
    server = work.changes_s * (costs.server_put + nodes * costs.server_entry)
    server += all_messages * costs.server_told / room.servers + nodes * costs.server_rest
    puts = work.changes_s * (costs.put_bytes + more)
    server_sent = (
        copies * puts
        + nodes * received / room.servers
        + work.changes_s * nodes * costs.entry_bytes * (1 - 1 / room.servers)
    )
    server_received = puts + (nodes * sent - puts) / room.servers
    copy = work.instances * max(costs.copy_entry, costs.server_entry) / 1e6
    copy = max(copy, work.instances * (costs.entry_bytes + more) / room.network)
    server_memory = work.instances * costs.server_memory
    limits = _limits(
        costs, work, "engine", nodes, room, processor=sum(processor.values()), traffic=max(sent, received), copy=copy
    )
    limits |= {
        "processor of the engine": server / 1e6 / (room.processor * room.server_processors),
        "puts of the engine": work.changes_s * costs.server_put / 1e6 / room.processor,
        "network of the engine": max(server_sent, server_received) / room.network,
        "memory of the engine": server_memory / room.server_memory,
        "disk of the engine": work.instances * (costs.server_disk + more) / room.server_disk,
    }
    return Plan(
        mode="engine",
        nodes=nodes,
        processor=processor,
        sent=sent,
        received=received,
        link=max(sent, received),
        links=nodes,
        connections=work.instances / work.per_connection / nodes,
        memory=_memory(costs, work, "engine", nodes),
        copy=copy,
        server=server / 1e6,
        server_sent=server_sent,
        server_received=server_received,
        server_memory=server_memory,
        limits=limits,
    )
