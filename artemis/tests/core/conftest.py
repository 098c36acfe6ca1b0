"""Makers of instances, registries and nodes for the tests of the core. Time starts at 0, the wall clock at WALL."""

from collections.abc import Callable

import pytest

from artemis.model import Instance
from artemis.registry import NodeLimits, NodeTimings, Origin, Registry
from artemis.server.node import Node, NodeIdentity

WALL = 1_700_000_000_000


@pytest.fixture
def make_instance() -> Callable[..., Instance]:
    """Return a maker of valid instances; keyword arguments override fields."""

    def make(instance_id: str = "10.0.0.1", **fields: object) -> Instance:
        values: dict[str, object] = {
            "region_id": "r1",
            "zone_id": "z1",
            "service_id": "demo.orders",
            "instance_id": instance_id,
            "ip": "10.0.0.1",
            "port": 8080,
            "url": "http://10.0.0.1:8080/orders",
            "status": "up",
        }
        return Instance(**(values | fields))

    return make


@pytest.fixture
def make_registry() -> Callable[..., Registry]:
    """Return a maker of empty registries of region r1."""

    def make(
        node: str = "n1", epoch: int = 1, timings: NodeTimings | None = None, limits: NodeLimits | None = None
    ) -> Registry:
        return Registry(Origin(node, epoch), "R1", timings=timings, limits=limits, now=0, wall=WALL)

    return make


@pytest.fixture
def make_node() -> Callable[..., Node]:
    """Return a maker of nodes r1/z1 that serve; `started=False` leaves one starting, other arguments are the node's."""

    def make(*, started: bool = True, **arguments: object) -> Node:
        identity = NodeIdentity(node_id="n1", epoch=1, region="r1", zone="z1", url="http://127.0.0.1:8080")
        node = Node(identity, now=0, wall=WALL, **arguments)
        if started:
            node.tick(0, WALL)
        return node

    return make
