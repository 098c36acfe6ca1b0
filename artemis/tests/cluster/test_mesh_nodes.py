"""Whole nodes that are each other's peers, in one process and on real sockets."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import structlog
from mesh_nodes import Notes, dialling

from artemis.cluster.mesh.wire import HELLO, Code, Refusal, decode_greeting
from artemis.cluster.messages import Changes, Message
from artemis.model import Instance, RegistryRequest, RegistryResponse, Service, decode
from artemis.model.management import OperateServerRequest, ServerKey
from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.data_directory import DataDirectoryError
from artemis.server.handlers.management import operate_server
from msgtrans import TransportClient


class Node:
    """A node server, and whoever waits for something in it."""

    def __init__(self, **options: object) -> None:
        config = ServeConfig(**{"port": 0, "region": "r1", "zone": "z1", "join_timeout": 5, **options})
        self.server = NodeServer(config, structlog.get_logger())
        self.notes = Notes()

    async def start(self) -> None:
        """Serve; whoever waits looks again after each change of the registry and each tick."""
        await self.server.start()
        self.server.node.registry.on_change(lambda _: self.notes.note())
        cluster = self.server.cluster
        if cluster is not None:
            tick = cluster.tick

            def noted() -> None:
                tick()
                self.notes.note()

            cluster.tick = noted

    def call(self, operation: Callable[[RegistryRequest, int], RegistryResponse], *ids: str) -> str:
        """Call an operation of the node with these instances, and return the status of the answer."""
        request = RegistryRequest(instances=[instance(each) for each in ids])
        return operation(request, time.monotonic_ns() // 1_000_000).response_status.error_code

    def register(self, *ids: str) -> str:
        """Register instances."""
        return self.call(self.server.node.register, *ids)

    def heartbeat(self, *ids: str) -> str:
        """Renew instances."""
        return self.call(self.server.node.heartbeat, *ids)

    def unregister(self, *ids: str) -> str:
        """Unregister instances."""
        return self.call(self.server.node.unregister, *ids)

    @property
    def shown(self) -> set[str]:
        """The ids of the instances that callers see."""
        shown = decode(Service, self.server.node.catalog.view("orders").json)
        return {each.instance_id for each in shown.instances or ()}

    async def until_shown(self, *ids: str) -> None:
        """Wait until callers see exactly these."""
        await self.notes.until(lambda: self.shown == set(ids))

    async def until_linked(self, count: int) -> None:
        """Wait until this many others can be sent to."""
        await self.notes.until(lambda: len(self.server.cluster.mesh.links) == count)


def instance(name: str) -> Instance:
    """An instance of the service that all tests look at."""
    return Instance(
        region_id="r1", zone_id="z1", service_id="orders", instance_id=name, ip="10.0.0.1", port=80, url="http://x"
    )


@asynccontextmanager
async def cluster(tmp_path, count: int, **options: object) -> AsyncIterator[list[Node]]:
    """Nodes of which each later one has all earlier ones in its list, and the first one none; all are linked."""
    nobody = tmp_path / "nobody"
    nobody.write_text("")
    nodes: list[Node] = []
    try:
        for _ in range(count):
            peers = ",".join(node.server.url for node in nodes)
            node = Node(**(options | ({"peers": peers} if nodes else {"peers_file": nobody})))
            nodes.append(node)
            await node.start()
        for node in nodes:
            await node.until_linked(count - 1)
            await node.notes.until(lambda node=node: node.server.node.serving)
        yield nodes
    finally:
        for node in nodes:
            await node.server.stop()


async def test_peers_show_the_same_instances(tmp_path):
    """What is registered or unregistered at one node is so at the others."""
    async with cluster(tmp_path, 3) as (one, two, three):
        assert "success" == one.register("a", "b")
        await two.until_shown("a", "b")
        await three.until_shown("a", "b")
        assert "success" == three.unregister("a")
        await one.until_shown("b")
        await two.until_shown("b")


async def test_a_heartbeat_finds_a_lease_of_another_node(tmp_path):
    """Clients may send their heartbeats to any node."""
    async with cluster(tmp_path, 2) as (one, two):
        one.register("a")
        await two.until_shown("a")
        assert "success" == two.heartbeat("a")


async def test_what_operators_decide_at_one_node_counts_at_all(tmp_path):
    """A machine that is pulled out at one node is hidden by the others, one that joins later too, until it is put back.

    They tell of it at once, like of what clients register.
    """
    out = OperateServerRequest(
        operation="out", operator_id="alice", server_key=ServerKey(region_id="r1", server_id="10.0.0.1")
    )
    async with cluster(tmp_path, 2) as (one, two):
        one.register("a", "b")
        await two.until_shown("a", "b")
        assert "success" == operate_server(one.server.node, out, now()).response_status.error_code
        assert set() == one.shown
        await two.until_shown()
        three = Node(peers=one.server.url)
        await three.start()
        try:
            await three.notes.until(lambda: three.server.node.serving)
            assert (set(), 2) == (three.shown, len(three.server.node.registry))
            back = msgspec.structs.replace(out, operation_complete=True)
            assert "success" == operate_server(three.server.node, back, now()).response_status.error_code
            for node in (one, two, three):
                await node.until_shown("a", "b")
        finally:
            await three.server.stop()


def now() -> int:
    """The monotonic clock in milliseconds."""
    return time.monotonic_ns() // 1_000_000


async def test_changes_of_one_turn_travel_together(tmp_path):
    """A request for many instances, or many requests of one read, make one message for each peer."""
    async with cluster(tmp_path, 2) as (one, two):
        replica, messages = two.server.cluster.replica, []
        receive = replica.receive

        def noted(peer: str, message: Message, now: int) -> None:
            messages.append(message)
            receive(peer, message, now)

        replica.receive = noted
        for number in range(50):
            one.register(f"i{number}", f"j{number}")
        await two.notes.until(lambda: len(two.shown) == 100)
        assert [100] == [len(message.rows) for message in messages if isinstance(message, Changes)]


async def test_a_node_that_joins_gets_what_is_there(tmp_path):
    """A new node shows everything as soon as it serves."""
    async with cluster(tmp_path, 1) as (one,):
        one.register(*(f"i{number}" for number in range(500)))
        two = Node(peers=one.server.url)
        await two.start()
        try:
            assert not two.server.node.serving
            await two.notes.until(lambda: two.server.node.serving)
            assert 500 == len(two.shown)
        finally:
            await two.server.stop()


async def test_a_node_that_stops_takes_nothing_with_it(tmp_path):
    """What it accepted last is at the others when it is gone, and they know at once that it is."""
    async with cluster(tmp_path, 2) as (one, two):
        one.register("a")
        await one.server.stop()
        assert {"a"} == two.shown
        (member,) = two.server.cluster.membership.members.views(time.monotonic_ns() // 1_000_000)
        assert "left" == member.presence
        await two.until_linked(0)


async def test_a_node_that_comes_back_is_linked_again(tmp_path):
    """A node with a data directory is the same node in another life, and gets what happened meanwhile."""
    async with cluster(tmp_path, 1) as (one,):
        data = tmp_path / "two"
        data.mkdir()
        two = Node(peers=one.server.url, data_dir=data)
        await two.start()
        await two.until_linked(1)
        await two.server.stop()
        one.register("a")
        again = Node(peers=one.server.url, data_dir=data)
        await again.start()
        try:
            await again.until_shown("a")
            await one.until_linked(1)
            assert again.server.node.identity.epoch == one.server.cluster.mesh.peers()[0].epoch
            assert again.server.node.identity.node_id == two.server.node.identity.node_id
        finally:
            await again.server.stop()


async def test_what_a_node_of_another_cluster_has_kept_comes_to_nobody(tmp_path):
    """A directory that is of another cluster keeps the node from starting; of its snapshot alone nothing is used."""
    data = tmp_path / "data"
    elsewhere = Node(data_dir=data, peers="http://127.0.0.1:9", cluster_name="one", join_timeout=0.1)
    await elsewhere.start()
    await elsewhere.notes.until(lambda: elsewhere.server.node.serving)
    assert "success" == elsewhere.register("a")
    await elsewhere.server.stop()
    here = {"data_dir": data, "cluster_name": "two", "join_timeout": 0.1}
    with pytest.raises(DataDirectoryError, match="of the cluster 'one'"):
        await Node(peers="http://127.0.0.1:9", **here).start()
    (data / "node.json").unlink()
    node = Node(peers="http://127.0.0.1:9", **here)
    await node.start()
    assert set() == node.shown
    assert 1 == node.server.persistence.counters["set_aside"]
    await node.server.stop()


async def test_a_secret_keeps_others_out(tmp_path):
    """A node with another secret gets nothing, and says why it waits; those with the same are linked."""
    (tmp_path / "ours").write_text("a secret of some length\n")
    (tmp_path / "theirs").write_text("another secret of some length\n")
    async with cluster(tmp_path, 2, cluster_secret_file=tmp_path / "ours") as (one, two):
        one.register("a")
        stranger = Node(peers=one.server.url, cluster_secret_file=tmp_path / "theirs", join_timeout=0.2)
        await stranger.start()
        try:
            await stranger.notes.until(lambda: stranger.server.node.serving)
            await stranger.notes.until(lambda: stranger.server.cluster.mesh.refused)
            (peer,) = stranger.server.cluster.mesh.peers()
            assert (False, "secret") == (peer.connected, peer.refusal)
            assert set() == stranger.shown
        finally:
            await stranger.server.stop()
        await two.until_shown("a")


async def test_a_node_without_peers_is_in_no_cluster():
    """Who dials it is told so; it replicates with nobody and has nothing for that."""
    alone = Node()
    await alone.start()
    try:
        host, port = alone.server.address
        async with TransportClient(f"tcp://{host}:{port}") as client:
            answer = decode_greeting((await client.request(dialling().hello, biz_type=HELLO)).payload)
        assert isinstance(answer, Refusal)
        assert (Code.NO_CLUSTER, None) == (answer.code, alone.server.cluster)
    finally:
        await alone.server.stop()


async def test_pages_in_a_browser_cannot_join(tmp_path):
    """Any page may open a WebSocket to a node on loopback, so nodes meet on TCP alone."""
    async with cluster(tmp_path, 1) as (one,):
        host, port = one.server.address
        async with TransportClient(f"ws://{host}:{port}/msgtrans") as client:
            answer = decode_greeting((await client.request(dialling().hello, biz_type=HELLO)).payload)
        assert isinstance(answer, Refusal)
        assert Code.WEBSOCKET == answer.code


@pytest.mark.parametrize("path_prefix", ["", "/artemis-service"])
async def test_nodes_below_a_prefix_meet_on_their_port(tmp_path, path_prefix):
    """The path of a node's URL is for its pages; its port says who it is."""
    async with cluster(tmp_path, 2, path_prefix=path_prefix) as (one, two):
        one.register("a")
        await two.until_shown("a")
