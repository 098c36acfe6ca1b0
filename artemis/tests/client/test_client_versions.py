"""What a client remembers of the versions that nodes tell, and what it is good for when it goes on at another node."""

import asyncio
from collections import Counter

import pytest

from artemis import ArtemisClient, ClientOptions, Instance, Reply, TransportFailure
from artemis.client.names import instance_key
from artemis.client.registration.versions import MAX_VERSION, KnownVersions
from artemis.model import RegistryRequest, decode, encode
from artemis.registry import Reach
from artemis.server.node import Node, NodeIdentity
from artemis.server.operations import OPERATIONS

PATIENCE = 60.0
WALL = 1_700_000_000_000
A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"
BY_PATH = {operation.path: operation for operation in OPERATIONS}


def an_instance(number: int, **fields: object) -> Instance:
    return Instance(region_id="r", service_id="s", instance_id=f"i{number}", ip="127.0.0.1", port=1, **fields)


def test_versions_are_kept_by_instance():
    """In any letter case; what a node does not say leaves what is known."""
    known = KnownVersions({}, 10)
    one, two = an_instance(1), an_instance(2)
    known.learn([one, two], ["5.a", "6.a"])
    known.learn([one, two], ["", "7.a"])
    known.learn([one], ["x" * (MAX_VERSION + 1)])
    assert ["5.a", "7.a", ""] == known.of(
        [Instance(region_id="R", service_id="S", instance_id="I1"), two, an_instance(3)]
    )


def test_versions_of_instances_that_ended_are_bounded():
    """Those of leases stay, whatever else comes and goes."""
    held = an_instance(0)
    known = KnownVersions({instance_key(held)}, 10)
    known.learn([held], ["1.a"])
    for number in range(1, 100):
        known.learn([an_instance(number)], ["2.a"])
        assert len(known) <= 11
    assert ["1.a"] == known.of([held])


class TwoNodes:
    """A transport to two nodes that do not hear of each other unless a test says so; `b`'s clock is behind."""

    def __init__(self) -> None:
        self.nodes = {A: a_node("a", 0), B: a_node("b", -400)}
        self.down: set[str] = set()
        self.taken: Counter[str] = Counter()
        """How many messages of each operation each node has answered, as ``heartbeat http://...``."""
        self.turn = asyncio.Event()

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see Transport
        """Answer as the node does."""
        await asyncio.sleep(0)
        if node in self.down:
            raise TransportFailure("it is down")
        operation = BY_PATH[path]
        answer = operation.call(self.nodes[node], decode(operation.request_type, body), 0)
        if path.startswith("registry/"):
            assert decode(RegistryRequest, body).versions
            self.taken[f"{path.removeprefix('registry/').removesuffix('.json')} {node}"] += 1
        self.turn.set()
        return Reply(
            encode(answer) if operation.json_pieces is None else b"".join(operation.json_pieces(answer, 9_999))
        )

    async def until(self, what: str, more: int = 1) -> None:
        """Wait until ``more`` messages have been answered."""
        goal = self.taken[what] + more
        async with asyncio.timeout(PATIENCE):
            while self.taken[what] < goal:
                self.turn.clear()
                await self.turn.wait()

    def tell(self, source: str, target: str) -> None:
        """Let one node take in what the other knows."""
        theirs = Reach(dict(self.nodes[source].registry.vector), {})
        for record in self.nodes[source].registry.records():
            self.nodes[target].registry.absorb(record, 0, theirs, {}, 0)
        self.nodes[target].registry.rise(theirs, {})

    def content(self, node: str, instance: str = "i1") -> bytes | None:
        """Return what a node shows of an instance."""
        lease = self.nodes[node].registry.find("s", instance)
        return None if lease is None else lease.record.visible

    async def close(self) -> None:
        """Nothing is open."""


def a_node(name: str, offset: int) -> Node:
    identity = NodeIdentity(node_id=name, epoch=1, region="r", zone="z", url=f"http://{name}")
    node = Node(identity, now=0, wall=WALL + offset)
    node.tick(0, WALL + offset)
    return node


@pytest.fixture
def nodes() -> TwoNodes:
    """Return two nodes whose clocks differ."""
    return TwoNodes()


def client_of(nodes: TwoNodes) -> ArtemisClient:
    options = ClientOptions(
        heartbeat_interval=0.02, attempts=2, backoff=0.0, backoff_limit=0.02, address_interval=0.0, drain_timeout=0.0
    )
    return ArtemisClient(servers=[A, B], region_id="r", zone_id="z", transport=nodes, options=options)


async def test_a_change_at_the_next_node_wins_over_what_the_last_one_was_told(nodes):
    """The client hands the version on, so the node whose clock is behind writes a later one all the same."""
    async with client_of(nodes) as client:
        first, second = (client.api.server, B if client.api.server == A else A)
        if first == B:
            nodes.nodes[A], nodes.nodes[B] = nodes.nodes[B], nodes.nodes[A]
        async with client.registered(an_instance(1, url="http://old")) as registration:
            await nodes.until(f"heartbeat {first}", 2)
            nodes.down.add(first)
            await registration.update(an_instance(1, url="http://new"))
            await nodes.until(f"heartbeat {second}", 2)
            nodes.tell(first, second)
            nodes.tell(second, first)
            assert [True, True] == [b"http://new" in (nodes.content(node) or b"") for node in (A, B)]


async def test_an_instance_that_ended_comes_back_at_a_node_whose_clock_is_behind(nodes):
    """Its removal, of which that node has not heard, does not take it out again."""
    async with client_of(nodes) as client:
        first, second = (client.api.server, B if client.api.server == A else A)
        if first == B:
            nodes.nodes[A], nodes.nodes[B] = nodes.nodes[B], nodes.nodes[A]
        async with client.registered(an_instance(1)):
            pass
        assert nodes.content(first) is None
        nodes.down.add(first)
        async with client.registered(an_instance(1)):
            nodes.tell(first, second)
            assert nodes.content(second) is not None


async def test_a_node_that_has_not_heard_of_the_last_change_is_told_again(nodes):
    """It answers the heartbeat with `data-not-found`, and the client registers what it is."""
    async with client_of(nodes) as client:
        first, second = (client.api.server, B if client.api.server == A else A)
        async with client.registered(an_instance(1, url="http://old")) as registration:
            nodes.tell(first, second)
            await registration.update(an_instance(1, url="http://new"))
            assert b"http://old" in (nodes.content(second) or b"")
            nodes.down.add(first)
            await nodes.until(f"register {second}")
            assert b"http://new" in (nodes.content(second) or b"")
            await nodes.until(f"heartbeat {second}", 2)
            assert 1 == nodes.taken[f"register {second}"]
