"""A node among nodes of the Java product: told, telling, copied from, shown (spec 6, 7; design 4.1 "Links")."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from artemis.server.app import NodeServer
from artemis.testing.java import JavaNode, JavaNodeSettings, instance
from artemis.testing.java.beans import Bean

HASTY = {"status_interval": 0.05, "init_interval": 0.05, "batch_delay": 0.1}
# A loaded machine may hold up the test's loop, which has both nodes in it.
PATIENT = {"connect_timeout": 2.0, "socket_timeout": 2.0, "status_timeout": 2.0}


def java_node(*, force_up: bool = True, zone_id: str = "z1", **changes: object) -> JavaNode:
    """Return a Java node of region r1."""
    settings = JavaNodeSettings(**{**HASTY, **PATIENT, **changes})
    return JavaNode(region_id="r1", zone_id=zone_id, force_up=force_up, settings=settings)


def bean(name: str = "a", **changes: object) -> Bean:
    """Return an instance."""
    values = {"regionId": "r1", "zoneId": "z1", "serviceId": "orders", "instanceId": name, "url": f"http://{name}/"}
    return instance({**values, **changes})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that the two nodes bring about."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is plain data
            await asyncio.sleep(0.01)


async def ask(url: str, path: str, **body: object) -> Bean:
    """POST to a node as a client does."""
    async with (
        aiohttp.ClientSession() as session,
        session.request("POST" if "." in path else "GET", f"{url}/api/{path}", json=body) as response,
    ):
        return await response.json()


async def linked(server: NodeServer) -> None:
    """Wait until a node serves, and its peer is known to do so."""
    await until(lambda: server.node.status == "up" and server.node.java.views()[0].standing.registry)


def held(node: JavaNode) -> list[str]:
    """Return the instances that a Java node has."""
    return sorted(str(each["instanceId"]) for each in node.leases.of("orders"))


def own(server: NodeServer) -> list[str]:
    """Return the instances that a node of ours has."""
    return sorted(name for name, _ in server.node.catalog.instances("orders"))


@pytest.mark.parametrize("generation", [1, 2])
async def test_what_clients_ask_is_at_the_java_peer(start, generation):
    """Registrations and removals at once, heartbeats in batches; where its operations are is found out."""
    async with java_node(generation=generation) as java, start(java_peers=(java.url,)) as server:
        await linked(server)
        await ask(server.url, "registry/register.json", instances=[bean("a"), bean("b")])
        await until(lambda: held(java) == ["a", "b"])
        await ask(server.url, "registry/unregister.json", instances=[bean("a")])
        await until(lambda: held(java) == ["b"])
        await ask(server.url, "registry/heartbeat.json", instances=[bean("b")])
        await until(lambda: java.arrived["heartbeat"] == 1)
        assert {"register": 2, "unregister": 1, "heartbeat": 1} == dict(java.arrived)


async def test_a_heartbeat_that_brings_other_content_is_a_registration_there(start):
    """Java nodes take no content from heartbeats."""
    async with java_node() as java, start(java_peers=(java.url,)) as server:
        await linked(server)
        await ask(server.url, "registry/register.json", instances=[bean()])
        await until(lambda: held(java) == ["a"])
        await ask(server.url, "registry/heartbeat.json", instances=[bean(port=81)])
        await until(lambda: java.leases.of("orders")[0]["port"] == 81)


async def test_what_a_java_node_tells_is_known_and_goes_nowhere_else(start):
    """Two Java nodes and one of ours: it passes on nothing that came by replication (spec 7.1)."""
    async with java_node() as one, java_node() as two, start(java_peers=(one.url, two.url)) as server:
        one.urls = [one.url, server.url]
        await until(lambda: one.targets() == [server.url])
        await ask(one.url, "registry/register.json", instances=[bean()])
        await until(lambda: own(server) == ["a"])
        await ask(one.url, "registry/heartbeat.json", instances=[bean()])
        await until(lambda: server.node.registry.counters.renewed >= 1)
        await ask(one.url, "registry/unregister.json", instances=[bean()])
        await until(lambda: own(server) == [])
        assert [0, 0] == [len(view.counters) + view.waiting for view in server.node.java.views()]
        assert (0, 0) == (one.arrived.total(), two.arrived.total())


async def test_a_starting_node_copies_from_a_java_peer_before_it_serves(start):
    """The first of ours that comes into a Java cluster knows all instances when it answers first (spec 7.5)."""
    async with java_node() as java:
        await ask(java.url, "registry/register.json", instances=[bean(str(number)) for number in range(600)])
        async with start(java_peers=(java.url,)) as server:
            assert "starting" == server.node.status
            refused = await ask(server.url, "discovery/lookup.json", discoveryConfigs=[{"serviceId": "orders"}])
            assert "service-unavailable" == refused["responseStatus"]["errorCode"]
            await until(lambda: server.node.status == "up")
            assert 600 == len(server.node.registry)
            assert 0 == java.arrived.total()


async def test_a_node_serves_although_there_is_nothing_to_copy(start):
    """An empty Java cluster is as good as any, and one that is not there is waited for no longer than to join."""
    async with java_node() as java, start(java_peers=(java.url,)) as server:
        await until(lambda: server.node.status == "up")
    async with start(java_peers=("http://127.0.0.1:1",), join_timeout=0.1) as server:
        await until(lambda: server.node.status == "up")
        await until(lambda: server.node.java.views()[0].standing.why.startswith("no connection"))
        (view,) = server.node.java.views()
        assert "unknown" == view.standing.state


async def test_a_java_node_that_starts_copies_from_ours(start):
    """It has no other source; our node is up, and not empty (spec 6.4, 7.5)."""
    async with start() as server, java_node(force_up=False) as java:
        await ask(server.url, "registry/register.json", instances=[bean("a"), bean("b")])
        java.urls = [java.url, server.url]
        await until(lambda: java.status == "up")
        assert ["a", "b"] == held(java)


@pytest.mark.parametrize("how", ["late", "twice", "nonsense", "error"])
async def test_a_peer_that_misbehaves_gets_everything_in_the_end(start, how):
    """Answers that come late, twice, as nonsense or as an error lose nothing, and clients notice nothing."""
    async with java_node() as java, start(java_peers=(java.url,)) as server:
        await linked(server)
        java.misbehave = how
        for name in ("a", "b", "c"):
            answer = await ask(server.url, "registry/register.json", instances=[bean(name)])
            assert "success" == answer["responseStatus"]["status"]
        await until(lambda: java.arrived["register"] >= 2)
        java.misbehave = ""
        await until(lambda: held(java) == ["a", "b", "c"] and server.node.java.views()[0].waiting == 0)
        assert how == "twice" or server.node.java.views()[0].counters["later"]


async def test_clients_are_told_of_java_peers_that_are_up(start):
    """So that a fleet spreads over all nodes while it moves; unless this is switched off."""
    async with java_node(zone_id="z2") as java, start(java_peers=(java.url,)) as server:
        await linked(server)

        async def offered() -> list[str]:
            answer = await ask(server.url, "cluster/up-registry-nodes.json", regionId="r1", zoneId="z1")
            return [node["url"] for node in answer["nodes"]]

        assert [server.url, java.url] == await offered()
        known = (await ask(server.url, "status/cluster.json"))["nodesStatus"]
        assert [(server.url, "up", "z1"), (java.url, "up", "z2")] == [
            (each["node"]["url"], each["status"], each["node"]["zone"]["zoneId"]) for each in known
        ]
        server.reconfigure(server.config.model_copy(update={"offer_java_peers": False}))
        assert [server.url] == await offered()


async def test_peers_come_and_go_while_a_node_runs(start):
    """Also the first and the last of them; what is asked then goes to those that are there."""
    async with java_node() as java, start() as server:
        assert server.node.asked is None
        server.reconfigure(server.config.model_copy(update={"java_peers": (java.url,)}))
        await linked(server)
        await ask(server.url, "registry/register.json", instances=[bean("a")])
        await until(lambda: held(java) == ["a"])
        server.reconfigure(server.config.model_copy(update={"java_peers": ()}))
        await ask(server.url, "registry/register.json", instances=[bean("b")])
        assert ([], None, ["a"]) == (server.node.java.views(), server.node.asked, held(java))


async def test_a_node_that_is_none_of_java_is_refused(start):
    """One of ours is named by --peers; the node says so and tells it nothing."""
    async with start() as other, start(java_peers=(other.url,), join_timeout=0.1) as server:
        await until(lambda: server.node.java.views()[0].standing.state == "refused")
        assert "--peers" in server.node.java.views()[0].standing.why


async def test_operators_see_how_java_peers_stand(start):
    """In the view of the cluster and among the metrics, with what each was told and why one does not serve."""
    async with java_node() as java, start(java_peers=(java.url, "http://127.0.0.1:1")) as server:
        await linked(server)
        await until(lambda: server.node.java.views()[1].standing.state == "unknown")
        await ask(server.url, "registry/register.json", instances=[bean()])
        await until(lambda: server.node.java.views()[0].counters["told"] == 1)
        view = await ask(server.url, "v1/cluster")
        up, down = view["javaPeers"]
        assert (java.url, "up", True, 1, 0) == (up["url"], up["state"], up["servesRegistry"], up["told"], up["lost"])
        assert ("http://127.0.0.1:1", "unknown", False) == (down["url"], down["state"], down["servesRegistry"])
        assert down["why"].startswith("no connection")
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as response:
            text = await response.text()
        assert 'artemis_java_peers{state="up"} 1.0' in text
        assert 'artemis_java_peers{state="unknown"} 1.0' in text
        assert f'artemis_java_peer_events_total{{event="told",peer="{java.url}"}} 1.0' in text


async def test_a_node_without_java_peers_says_nothing_of_them(server):
    """Neither in its view nor among its metrics."""
    assert None is (await ask(server.url, "v1/cluster"))["javaPeers"]
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as response:
        assert "artemis_java" not in await response.text()
