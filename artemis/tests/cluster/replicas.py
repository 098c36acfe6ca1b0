"""A small world for tests of the replication core: replicas, their clocks, and links that tests break by hand."""

from collections.abc import Callable, Iterable

from artemis.cluster import ClusterTimings, Message, Replica, decode_message, encode_message
from artemis.model import Instance
from artemis.registry import Change, NodeTimings, Origin, Registry

WALL = 1_700_000_000_000
TIMINGS = NodeTimings(ttl=8_000, legacy_ttl=30_000, heartbeat=2_000, hold=24_000, grace=4_000, lifetime=60_000)


def instance(name: str, service: str = "s", **fields: object) -> Instance:
    """Return a valid instance of region r."""
    values: dict[str, object] = {"region_id": "r", "service_id": service, "instance_id": name, "url": "http://x"}
    return Instance(**(values | fields))


class Peer:
    """One node: a registry and its replica, with what callers were told of its changes."""

    def __init__(self, name: str, epoch: int, world: "World", offset: int = 0) -> None:
        self.name = name
        self.offset = offset
        wall = WALL + world.now + offset
        self.registry = Registry(Origin(name, epoch), "r", timings=world.timings, now=world.now, wall=wall)
        self.told: list[Change] = []
        self.registry.on_change(self.told.append)
        self.begin(world)

    def begin(self, world: "World") -> None:
        """Begin to replicate."""
        wall = WALL + world.now + self.offset
        self.replica = Replica(self.registry, None, world.cluster, rows=world.rows, now=world.now, wall=wall)

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due."""
        while self.registry.tick(now, wall, 100):
            pass
        self.replica.tick(now, wall)

    def shows(self, service: str = "s") -> dict[str, bytes]:
        """Return what callers see of a service."""
        entry = self.registry.services.get(service)
        leases = {} if entry is None else entry.leases
        return {name: lease.record.content for name, lease in sorted(leases.items()) if lease.live}


class World:
    """Some nodes, one clock for all, and links that deliver at once, in order, unless cut or held.

    `cut` has the pairs of sender and receiver whose messages are lost, `kept` what was lost. `drop` tells of single
    messages whether they are lost. Nodes in `asleep` stand still: nothing reaches them and their clocks make no tick.
    A message has at most `rows` rows. Nodes that left are remembered for `departure` milliseconds.
    """

    def __init__(
        self,
        names: Iterable[str] = ("a", "b"),
        timings: NodeTimings = TIMINGS,
        rows: int = 200,
        departure: int = TIMINGS.lifetime,
    ) -> None:
        self.now = 1_000
        self.cluster = ClusterTimings(departure=departure)
        self.rows = rows
        self.timings = timings
        self.cut: set[tuple[str, str]] = set()
        self.kept: list[tuple[str, str, Message]] = []
        self.sent: list[tuple[str, str, Message]] = []
        self.drop: Callable[[str, str, Message], bool] = _never
        self.asleep: set[str] = set()
        self.peers: dict[str, Peer] = {}
        for name in names:
            self.add(name)

    def __getitem__(self, name: str) -> Peer:
        """Return a node."""
        return self.peers[name]

    def add(self, name: str, epoch: int = 1, offset: int = 0) -> Peer:
        """Add a node, or put another life in the place of one, and connect it with all others.

        Its wall clock is `offset` milliseconds off.
        """
        peer = self.peers[name] = self.make(name, epoch, offset)
        self.connect(name)
        return peer

    def make(self, name: str, epoch: int, offset: int) -> Peer:
        """Return a new life of a node."""
        return Peer(name, epoch, self, offset)

    def remove(self, name: str) -> None:
        """Let a node leave for good."""
        del self.peers[name]
        for peer in self.peers.values():
            peer.replica.disconnect(name)
            peer.replica.set_members(self.peers)

    def connect(self, name: str) -> None:
        """Connect a node with all others, anew."""
        for one in self.peers.values():
            one.replica.set_members(self.peers)
            if one.name != name:
                one.replica.disconnect(name)
                one.replica.connect(name, self.now)
                self.peers[name].replica.connect(one.name, self.now)

    def part(self, *side: str) -> None:
        """Cut the nodes of one side off from all others."""
        self.cut = {(a, b) for a in self.peers for b in self.peers if (a in side) != (b in side)}

    def heal(self) -> None:
        """Let everything through again."""
        self.cut = set()

    def settle(self) -> None:
        """Carry messages until nobody has anything to say."""
        busy = True
        while busy:
            busy = False
            for source in list(self.peers.values()):
                source.replica.flush(self.now)
                for to, message in source.replica.take():
                    busy = True
                    for target in [to] if to is not None else [name for name in self.peers if name != source.name]:
                        self.carry(source.name, target, message)

    def carry(self, source: str, target: str, message: Message) -> None:
        """Carry one message, if the link does."""
        if (source, target) in self.cut or self.asleep & {source, target} or self.drop(source, target, message):
            self.kept.append((source, target, message))
            return
        self.sent.append((source, target, message))
        self.peers[target].replica.receive(source, decode_message(encode_message(message)), self.now)

    def run(self, duration: int, beats: Iterable[tuple[str, str]] = (), step: int = 100) -> None:
        """Let time pass; `beats` are the pairs of node and instance that heartbeat every two seconds."""
        end = self.now + duration
        while self.now < end:
            self.now += step
            for node, name in beats:
                if self.now % 2_000 < step:
                    self.beat(node, name)
            for peer in self.peers.values():
                if peer.name in self.asleep:
                    continue
                peer.tick(self.now, WALL + self.now + peer.offset)
            self.settle()

    def beat(self, node: str, name: str) -> None:
        """Let an instance heartbeat, and register when it must."""
        registry = self.peers[node].registry
        lease = registry.find("s", name)
        if lease is None or lease.record.removed:
            registry.register(instance(name), self.now)
        else:
            registry.revive(lease, self.now)

    def equal(self) -> bool:
        """Tell whether all nodes know the same, and know that they know it."""
        states = [(peer.shows(), {o: s for o, s in peer.registry.vector.items() if s}) for peer in self.peers.values()]
        return all(state == states[0] for state in states)


def _never(source: str, target: str, message: Message) -> bool:
    return False
