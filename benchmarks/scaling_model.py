"""What a cluster costs: from the measured costs of single operations and a workload to nodes, links and bytes.

Pure functions, no measuring. A node is one process with one event loop: a machine whose workers are nodes of their own
counts as that many. Instances, clients and lookups are spread evenly over the nodes, and every node keeps every record;
both modes have that in common. Times are microseconds of one processor unless a name says otherwise, sizes are bytes.
Not here: how costs are measured (`scaling_costs`), and whether the predictions hold (`scaling_checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from artemis.cluster import ClusterTimings
from artemis.cluster.digests import BUCKETS
from artemis.cluster.handles import MAX_HANDLES

Mode = Literal["mesh", "engine"]

TOLD_AT_MOST = 100_000
"""Heartbeats a second that one node can tell the others of: 10 000 each tick. Those beyond wait, each lease once."""

RENEWALS_EARLY = 5_000
"""Renewals that are told in one message at most, and after which a beat comes before its time."""

MARKERS_AT_MOST = 50
"""Times a second at most that a node says that its changes are in the bucket."""

NODES_AT_MOST: dict[Mode, int] = {"mesh": 65, "engine": 257}
"""Nodes of a cluster at most."""

TIMINGS = ClusterTimings()


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation costs, as `scaling_costs` measures it, on a node that is busy already.

    A node that waits for something to do is woken by whatever comes next, which costs it `wake` beside; the busier it
    is, the more finds it awake.

    At the node that a client talks to, nothing of replication in it: `register` and `lookup` of one instance and of one
    service of ten, `heartbeat_message` and `heartbeat_instance` (a heartbeat of k instances costs one message and k
    instances), `push` (one change told to one subscriber), `view_instance` (each instance of a service whose answer is
    made anew). `content` is the bytes of the instance that it was measured with.

    Between nodes of a mesh: a change costs its node `change_told` once and `change_sent` for each link, each peer
    `change_taken`, each link `change_bytes`; a renewal `renewal_told` once, `renewal_taken` at each peer and
    `renewal_bytes` on each link; `rest` is a node without anybody else, a second, `link_rest` what each further node
    adds to it, `link_rest_bytes` one direction of a link with nothing to tell. `digest` is for one record that an
    exchange compares, at each of the two. A record costs a new node `copy_taken`, who gives it `copy_given`, and
    `copy_bytes` travel. Every `exchange` two nodes compare themselves, for `exchange_bytes`.

    With the engine: `put` (a change at its node, with the reading of its own entry), `entry` (a change at each other),
    `put_bytes` and `entry_bytes` from and to a node; a new node takes `copy_entry` for each; `told` is a message beside
    the bucket at either end (who says it hears it as well), of `told_bytes`; `engine_rest` and each other node's
    `member_rest` come to the rest. The server: `server_put`, `server_entry` for each node that is sent an entry,
    `server_told` for each that is sent a message, `server_rest` a second for each node, `server_memory` and
    `server_disk` for each entry.

    Memory of a node: `memory_node` while empty, then for each lease, other node, subscriber and connection. With the
    engine `memory_engine` comes to it, and for each lease `memory_entry`.
    """

    content: float
    wake: float
    register: float
    heartbeat_message: float
    heartbeat_instance: float
    lookup: float
    push: float
    view_instance: float
    change_told: float
    change_sent: float
    change_taken: float
    change_bytes: float
    renewal_told: float
    renewal_taken: float
    renewal_bytes: float
    rest: float
    link_rest: float
    link_rest_bytes: float
    exchange_bytes: float
    digest: float
    copy_taken: float
    copy_given: float
    copy_bytes: float
    put: float
    put_bytes: float
    entry: float
    entry_bytes: float
    copy_entry: float
    told: float
    told_bytes: float
    engine_rest: float
    member_rest: float
    server_put: float
    server_entry: float
    server_told: float
    server_rest: float
    server_memory: float
    server_disk: float
    memory_node: float
    memory_lease: float
    memory_link: float
    memory_subscriber: float
    memory_connection: float
    memory_engine: float
    memory_entry: float


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What clients do. `heartbeat` is the seconds between two heartbeats of an instance, `per_message` the instances of
    one, `per_connection` those of one client. `changes` is what an instance changes in an hour: a deployment is two, an
    unregister and a register. `watchers` each wait for changes of `watched` services. `content` is the bytes of an
    instance as JSON."""

    instances: int = 1_000_000
    services: int = 20_000
    heartbeat: float = 5.0
    per_message: float = 1.0
    per_connection: float = 1.0
    changes: float = 2.0
    lookups: float = 10_000.0
    watchers: int = 10_000
    watched: float = 10.0
    content: float = 330.0

    def of(self, instances: int) -> Workload:
        """Return as much of everything as so many instances are of those here."""
        share = instances / self.instances
        return msgspec.structs.replace(
            self,
            instances=instances,
            services=max(1, round(self.services * share)),
            lookups=self.lookups * share,
            watchers=round(self.watchers * share),
        )

    @property
    def heartbeats_s(self) -> float:
        """Heartbeats of instances a second."""
        return self.instances / self.heartbeat

    @property
    def changes_s(self) -> float:
        """Changes a second."""
        return self.instances * self.changes / 3_600

    @property
    def pushes_s(self) -> float:
        """Changes told to single subscribers a second."""
        return self.changes_s * self.watchers * self.watched / self.services


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to use. `processor` is the share of one that a node may use on average, the rest is for what comes
    all at once; so it is with the `server_processors` of the engine's leader, which takes puts one after the other but
    brings entries to many nodes at once. `network` is bytes a second of a node and of
    a server, each way. `copy` is the seconds in which a new node must have everything. `delay` is how long a change is
    on its way, in seconds. `servers` keep the bucket. `least` to `nodes` nodes are planned with, as far as there may be
    as many."""

    processor: float = 0.6
    memory: float = 16 * 2.0**30
    network: float = 0.5 * 125e6
    connections: float = 50_000
    copy: float = 600.0
    delay: float = 0.01
    servers: int = 3
    server_processors: float = 4.0
    server_memory: float = 32 * 2.0**30
    server_disk: float = 500e9
    least: int = 3
    nodes: int = 257

    def sizes(self, mode: Mode) -> range:
        """Return how many nodes may be planned with."""
        return range(self.least, min(self.nodes, NODES_AT_MOST[mode]) + 1)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What so many nodes come to, each: `processor` by what it is for, in shares of one; `sent` and `received` bytes a
    second to and from the other nodes or the engine, without clients; `link` bytes a second in one direction of one
    link; `connections` of clients. `links` counts connections among nodes (each pair has two), or to the engine.
    `copy` is the seconds that a new node needs. Of the engine's leader: `server` its processor, `server_sent` and
    `server_received`. `limits` gives what is used of each thing that can end, 1 for all of it."""

    mode: Mode
    nodes: int
    processor: Mapping[str, float]
    sent: float
    received: float
    link: float
    links: int
    connections: float
    memory: float
    copy: float
    server: float
    server_sent: float
    server_received: float
    server_memory: float
    limits: Mapping[str, float]

    @property
    def used(self) -> float:
        """The share of a processor that a node uses."""
        return sum(self.processor.values())

    @property
    def tightest(self) -> str:
        """What ends first."""
        return max(self.limits, key=self.limits.__getitem__)

    @property
    def fits(self) -> bool:
        """Whether nothing ends."""
        return self.limits[self.tightest] <= 1


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


# -- words


def rows(plans: Mapping[str, Plan]) -> list[tuple[str, ...]]:
    """Return a table of plans: a line for each figure, a column for each plan."""
    shown: list[tuple[str, Callable[[Plan], str]]] = [
        ("nodes (processes)", lambda each: f"{each.nodes}"),
        ("links among them, or to the engine", lambda each: f"{each.links}"),
        ("processor of a node, % of one", lambda each: f"{each.used:.0%}"),
    ]
    parts = list(dict.fromkeys(part for each in plans.values() for part in each.processor))
    shown += [(f"of it {part}", lambda each, part=part: _percent(each.processor.get(part))) for part in parts]
    shown += [
        ("a link, one way, Mbit/s", lambda each: f"{each.link * 8e-6:.1f}"),
        ("a node, sent / received, Mbit/s", lambda each: f"{each.sent * 8e-6:.1f} / {each.received * 8e-6:.1f}"),
        ("memory of a node, GiB", lambda each: f"{each.memory / 2**30:.1f}"),
        ("connections of clients at a node", lambda each: f"{each.connections:,.0f}"),
        ("copying to a new node, s", lambda each: f"{each.copy:.0f}"),
        ("processor of the engine's leader", lambda each: _percent(each.server if each.mode == "engine" else None)),
        (
            "the leader, sent / received, Mbit/s",
            lambda each: (
                f"{each.server_sent * 8e-6:.0f} / {each.server_received * 8e-6:.0f}" if each.mode == "engine" else ""
            ),
        ),
        ("what ends first", lambda each: f"{each.tightest} ({each.limits[each.tightest]:.0%})"),
    ]
    return [(name, *(show(each) for each in plans.values())) for name, show in shown]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
