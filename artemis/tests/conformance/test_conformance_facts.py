"""Facts seen in the originals, or listed among their defects, that need more than one question (spec 12, 13)."""

import itertools
import json

import pytest
from cases import (
    DELTA,
    HEARTBEAT,
    LOOKUP,
    REGISTER,
    SERVICES,
    UNREGISTER,
    hold,
    instance,
    instances,
    lookup,
    shown,
)
from listening import Listener, listen
from ways import Http, http

from artemis.server.clock import now_ms, wall_ms

SUBSCRIBE = {"discoveryData": None, "regionId": None, "serviceId": "Demo.Orders", "zoneId": None}


@pytest.fixture
async def connection(server) -> Http:
    """A plain connection to `server`."""
    opened = await http(server)
    yield opened
    await opened.close()


async def _subscribed(wire: Listener) -> None:
    wire.send(SUBSCRIBE)
    await wire.ping()


@pytest.mark.one_process("the test itself lets its time pass")
async def test_an_expired_lease_is_back_with_its_next_heartbeat(server, connection):
    """The originals answer data-not-found until it is registered again; here the record is known and revived."""
    hold(server, instance())
    async with listen(server, "/discovery/instance-change") as wire:
        await _subscribed(wire)
        server.node.tick(now_ms() + 60_000, wall_ms() + 60_000)
        assert "delete" == json.loads(await wire.message())["changeType"]
        assert [] == (await connection.call(LOOKUP, lookup("demo.orders")))["services"][0]["instances"]
        answer = await connection.call(HEARTBEAT, instances(instance()))
        assert "success" == answer["responseStatus"]["status"]
        assert "new" == json.loads(await wire.message())["changeType"]
    found = await connection.call(LOOKUP, lookup("demo.orders"))
    assert [shown().value] == found["services"][0]["instances"]


async def test_registering_again_without_a_change_tells_nobody(server, connection):
    """The originals push `new` each time (defect 6)."""
    hold(server, instance())
    async with listen(server, "/discovery/instance-change") as wire:
        await _subscribed(wire)
        for _ in range(3):
            await connection.call(REGISTER, instances(instance()))
            await connection.call(HEARTBEAT, instances(instance()))
        await wire.ping()
        assert wire.messages.empty()


@pytest.mark.parametrize("operation", [REGISTER, HEARTBEAT])
async def test_changed_content_is_pushed_in_words_that_java_understands(server, connection, operation):
    """As `new` with the whole instance, which the SDK puts in the place of the old one (spec 9.5)."""
    hold(server, instance())
    async with listen(server, "/discovery/instance-change") as wire:
        await _subscribed(wire)
        await connection.call(operation, instances(instance(url="http://other/")))
        change = json.loads(await wire.message())
    assert ("new", "http://other/") == (change["changeType"], change["instance"]["url"])


@pytest.mark.one_process("the test itself begins the reload")
async def test_a_reload_is_a_change_of_an_instance_that_is_none(server):
    """The words of its fields are the original's; its url is a literal (spec 1.4)."""
    hold(server, instance())
    async with listen(server, "/discovery/instance-change") as wire:
        await _subscribed(wire)
        server.node.catalog.reload("demo.orders")
        change = json.loads(await wire.message())
    fake = dict.fromkeys(shown().value) | {
        "serviceId": "demo.orders",
        "instanceId": "reload",
        "ip": "0.0.0.0",
        "url": "http://serviceId/reload",
        "port": 0,
    }
    assert ("reload", fake) == (change["changeType"], change["instance"])


async def test_a_service_id_in_other_letters_breaks_no_delta(connection):
    """The originals throw (defect 8)."""
    version = (await connection.call(SERVICES, {}))["version"]
    await connection.call(REGISTER, instances(instance(serviceId="Demo.Orders")))
    await connection.call(REGISTER, instances(instance(serviceId="DEMO.orders")))
    answer = await connection.call(DELTA, {"version": version})
    assert "success" == answer["responseStatus"]["status"]
    assert ["10.0.0.7"] == [change["instance"]["instanceId"] for change in next(iter(answer["delta"].values()))]


async def test_a_delta_of_a_delta_is_empty(connection):
    """Its version is the newest; what changed content is in it, once."""
    await connection.call(REGISTER, instances(instance()))
    version = (await connection.call(SERVICES, {}))["version"]
    await connection.call(REGISTER, instances(instance(url="http://a/")))
    await connection.call(REGISTER, instances(instance(url="http://b/")))
    first = await connection.call(DELTA, {"version": version})
    changes = next(iter(first["delta"].values()))
    assert ["http://b/"] == [change["instance"]["url"] for change in changes]
    second = await connection.call(DELTA, {"version": first["version"]})
    assert ({}, first["version"]) == (second["delta"], second["version"])


@pytest.mark.one_process("the test itself lets its time pass")
async def test_expiry_of_many_is_seen_by_who_watches(serve):
    """Of 3 000 instances that expire together each is told as deleted, or the service as to be looked up again."""
    many = [instance(number, serviceId="demo.orders") for number in range(3000)]
    async with serve(self_preservation=False) as server:
        connection = await http(server)
        await connection.call(REGISTER, instances(*many))
        async with listen(server, "/discovery/instance-change") as wire:
            await _subscribed(wire)
            while server.node.tick(now_ms() + 60_000, wall_ms() + 60_000):
                await wire.ping()
            gone: set[str] = set()
            while len(gone) < 3000:
                change = json.loads(await wire.message())
                if change["changeType"] == "reload":
                    break
                assert "delete" == change["changeType"]
                gone.add(change["instance"]["instanceId"])
        found = await connection.call(LOOKUP, lookup("demo.orders"))
        await connection.close()
    assert [] == found["services"][0]["instances"]


async def test_new_and_delete_of_one_instance_never_swap(server, connection):
    """In the originals twenty threads may swap them (defect 7)."""
    async with listen(server, "/discovery/instance-change") as wire:
        await _subscribed(wire)
        for _ in range(50):
            await connection.call(REGISTER, instances(instance()))
            await connection.call(UNREGISTER, instances(instance()))
        await connection.call(REGISTER, instances(instance(url="http://last/")))
        last = ""
        kinds = []
        while last != "http://last/":
            change = json.loads(await wire.message())
            kinds.append(change["changeType"])
            last = change["instance"]["url"]
    assert all(one != other for one, other in itertools.pairwise(kinds))
    assert "new" == kinds[-1]
