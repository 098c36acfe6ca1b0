"""The Java-shaped client against a real node: what a fleet of Java services does, end to end (spec 9)."""

import pytest

from artemis.server.app import NodeServer
from artemis.testing.java import Deadlines, JavaClient, JavaSettings, Kind
from artemis.testing.java.beans import instance

FAST = {"first_heartbeat": 0.05, "heartbeat_check": 0.05, "heartbeat_interval": 0.2, "health_check": 0.1}


def settings(**changes: object) -> JavaSettings:
    """Settings of the SDK, its heart beating faster."""
    # A loaded machine may hold up the test's loop, which serves node and client, for more than 100 ms.
    return JavaSettings(**{**FAST, "socket_timeout": 5.0, "connect_timeout": 5.0, "ping_timeout": 5.0, **changes})


def bean(number: int = 7, **changes: object) -> dict[str, object]:
    """An instance as an application hands it to the SDK."""
    address = f"10.0.{number >> 8}.{number & 255}"
    values = {
        "regionId": "r1",
        "zoneId": "z1",
        "serviceId": "Demo.Orders",
        "instanceId": address,
        "ip": address,
        "port": 8080,
        "url": f"http://{address}:8080/orders",
        "status": "up",
    }
    return {**values, **changes}


@pytest.fixture
async def java(request):
    """A maker of started Java clients of region r1, zone z1; all are stopped at the end."""
    clients: list[JavaClient] = []

    async def make(server: NodeServer, **changes: object) -> JavaClient:
        client = JavaClient(
            server.url, region_id="r1", zone_id="z1", settings=settings(**changes), deadlines=Deadlines()
        )
        clients.append(client)
        await client.start()
        return client

    yield make
    for client in clients:
        await client.stop()


@pytest.mark.parametrize("generation", [1, 2])
async def test_a_registered_instance_becomes_visible_with_a_heartbeat(server, java, generation):
    """Register unregisters; the heartbeat's reply makes the SDK register, with the instance out of the reply."""
    client = await java(server, generation=generation)
    await client.registry.register(bean(metadata={"b": "2", "a": "1"}))
    assert 0 == len(server.node.registry)
    await client.until(lambda: client.deadlines.times[Kind.REGISTER].count == 1)
    copy = await client.discovery.service("demo.orders")
    found = list(copy.instances.values())
    assert [instance(bean(metadata={"b": "2", "a": "1"}))] == found
    assert [server.url] == client.registry._addresses.nodes
    replies = client.registry.replies
    await client.until(lambda: client.registry.replies >= replies + 3)
    assert 1 == client.deadlines.times[Kind.REGISTER].count
    assert {} == dict(client.deadlines.missed)


async def test_subscribers_see_what_comes_and_goes(server, java):
    """new and delete reach the copy of a service that another client holds, by the lower-case id they carry."""
    watcher, owner = await java(server), await java(server)
    seen: list[tuple[str, list[str]]] = []
    await watcher.discovery.service("Demo.Orders", lambda kind, copy: seen.append((kind, copy.instance_ids)))
    await owner.registry.register(bean(1))
    await watcher.until(lambda: ("new", ["10.0.0.1"]) in seen)
    await owner.registry.register(bean(2))
    await watcher.until(lambda: ("new", ["10.0.0.1", "10.0.0.2"]) in seen)
    await owner.registry.unregister(bean(1))
    await watcher.until(lambda: ("delete", ["10.0.0.2"]) in seen)
    assert 0 == watcher.deadlines.events["pushes without effect"]


async def test_forty_unknown_instances_come_back_in_small_messages(server, java):
    """A reply above the client's 8 KiB buffer would kill the connection; it comes as several, none of them lost."""
    client = await java(server)
    beans = [bean(n, metadata={"build": "x" * 200}) for n in range(40)]
    await client.registry.register(*beans)
    await client.until(lambda: len(server.node.registry) == 40)
    assert 40 == client.deadlines.events["instances registered from a reply"]
    assert 0 == client.deadlines.events["connections lost"]
    replies = client.registry.replies
    await client.until(lambda: client.registry.replies >= replies + 2)
    assert 40 == client.deadlines.events["instances registered from a reply"]


async def test_a_fleet_survives_a_restart_of_its_node(start, java):
    """After a restart with nothing kept, heartbeats bring back all instances, and the subscriber sees them."""
    async with start() as server:
        client = await java(server, heartbeat_interval=0.1, retry_interval=0.02, attempts=2)
        await client.registry.register(bean(1), bean(2))
        await client.until(lambda: len(server.node.registry) == 2)
        copy = await client.discovery.service("demo.orders")
        assert 2 == len(copy.instances)
    async with start(port=server.address[1]) as restarted:
        await client.until(lambda: len(restarted.node.registry) == 2)
        await client.until(lambda: client.discovery.session.connected)
        await client.discovery.reload()
        assert 2 == len(copy.instances)
        await client.registry.unregister(bean(2))
        await client.until(lambda: copy.instance_ids == ["10.0.0.1"])


async def test_an_old_session_is_renewed_with_its_subscriptions(server, java):
    """Sessions are replaced when they have lived long enough; what is pushed after that still arrives."""
    watcher = await java(server, session_ttl=0.3, reconnects=1000)
    copy = await watcher.discovery.service("demo.orders")
    await watcher.until(lambda: watcher.deadlines.events["session renewed"] >= 4)
    owner = await java(server)
    await owner.registry.register(bean(3))
    await watcher.until(lambda: copy.instance_ids == ["10.0.0.3"])
    assert 0 == watcher.deadlines.events["connections lost"]


async def test_filters_withhold_instances(server, java):
    """What a registry filter takes out is not heartbeaten and so never registered."""
    client = await java(server)
    client.registry.filters.append(lambda beans: beans.__delitem__(slice(1, None)))
    await client.registry.register(bean(1), bean(2))
    await client.until(lambda: client.registry.replies >= 3)
    assert 1 == len(server.node.registry)


async def test_a_refused_zone_is_not_registered_again_and_again(start, java):
    """no-permission in a reply is only noted; the SDK registers for data-not-found and unknown alone."""
    async with start(allow_registry_from_other_zone=False) as server:
        client = await java(server)
        await client.registry.register(bean(1, zoneId="elsewhere"))
        await client.until(lambda: client.registry.replies >= 2)
        assert 0 == client.deadlines.times[Kind.REGISTER].count
        assert client.deadlines.events["heartbeat: other failures"] >= 2
