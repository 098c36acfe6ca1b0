"""Whole nodes in the small world of replicas: with operator state, a catalog, a log and requests of clients."""

from replicas import WALL, Peer, World

from artemis.cluster import Replica
from artemis.cluster.operations import ReplicatedOperations
from artemis.model import Instance, RegistryRequest, RegistryResponse
from artemis.registry import read_snapshot
from artemis.server.node import Node, NodeIdentity


class WholeNode(Peer):
    """One node, with its replica. `saved` is the snapshot of its life before."""

    def __init__(self, name: str, epoch: int, world: World, offset: int = 0, saved: bytes | None = None) -> None:
        self.name = name
        self.offset = offset
        wall = WALL + world.now + offset
        identity = NodeIdentity(node_id=name, epoch=epoch, region="r", zone="z", url=f"http://{name}:8080")
        read = None if saved is None else read_snapshot(saved, region="r", node=name, epoch=epoch, previous=epoch - 1)
        self.node = Node(identity, timings=world.timings, saved=read, now=world.now, wall=wall)
        self.registry = self.node.registry
        self.told = []
        self.node.tick(world.now, wall)
        self.begin(world)

    def begin(self, world: World) -> None:
        """Begin to replicate."""
        operators = ReplicatedOperations(self.node.pullouts, self.registry)
        wall = WALL + world.now + self.offset
        self.replica = Replica(self.registry, operators, world.cluster, now=world.now, wall=wall)

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due."""
        while self.node.tick(now, wall):
            pass
        self.replica.tick(now, wall)

    def seen(self, service: str = "s") -> list[str]:
        """Return the instances that callers see of a service."""
        return [name for name, _ in self.node.catalog.instances(service)]

    def decided(self) -> list[tuple[object, ...]]:
        """Return everything that is recorded, as operators see it."""
        operations = self.node.operations
        entries = [*operations.instance_entries(), *operations.server_entries()]
        names = [[(each.operation, each.operator) for each in entry.records.values()] for entry in entries]
        return sorted((entry.target, words) for entry, words in zip(entries, names, strict=True))

    def register(self, world: World, *instances: Instance) -> RegistryResponse:
        """Register instances, as a client does."""
        return self.node.register(RegistryRequest(instances=[*instances]), world.now)

    def save(self, world: World) -> bytes:
        """Return a snapshot of now."""
        return b"".join(self.node.cut(world.now, WALL + world.now + self.offset, final=True).chunks())


class NodeWorld(World):
    """A world of whole nodes."""

    def make(self, name: str, epoch: int, offset: int) -> WholeNode:
        """Return a new life of a node."""
        return WholeNode(name, epoch, self, offset)

    def __getitem__(self, name: str) -> WholeNode:
        """Return a node."""
        peer = self.peers[name]
        assert isinstance(peer, WholeNode)
        return peer

    def restart(self, name: str, saved: bytes | None) -> WholeNode:
        """Put the next life of a node in the place of the present one, with what a snapshot holds."""
        old = self[name]
        peer = WholeNode(name, old.registry.origin.epoch + 1, self, old.offset, saved)
        self.peers[name] = peer
        self.connect(name)
        return peer
