"""The words that clusters are planned in: costs of operations, workloads, what there is to use, and plans.

Times are microseconds of one processor unless a name says otherwise, sizes are bytes. Not here: what follows from what
(`scaling_model`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from artemis.cluster import ClusterTimings

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
