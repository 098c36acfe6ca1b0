"""A node is taken out of service while Java services are registered at it: they go to another, and none is lost."""

import asyncio
import json
import urllib.request

from typer.testing import CliRunner

from artemis.cli.app import app
from artemis.testing import running_cluster
from artemis.testing.clusters import nodes_known_to
from artemis.testing.histories_observed import until
from artemis.testing.java import Deadlines, JavaClient, JavaSettings

FAST = JavaSettings(
    first_heartbeat=0.05,
    heartbeat_check=0.05,
    heartbeat_interval=0.2,
    health_check=0.1,
    socket_timeout=5.0,
    connect_timeout=5.0,
    ping_timeout=5.0,
)


def bean(number: int) -> dict[str, object]:
    """An instance as an application hands it to the SDK."""
    address = f"10.0.0.{number}"
    return {
        "regionId": "local",
        "zoneId": "zone1",
        "serviceId": "orders",
        "instanceId": address,
        "ip": address,
        "port": 8080,
        "url": f"http://{address}:8080/",
        "status": "up",
    }


async def test_java_services_renew_elsewhere_before_their_node_ends() -> None:
    """By the refusals that Java knows; the drain waits for them, and lookups show all of them all the time."""
    async with running_cluster(2, lease_ttl=4, self_preservation=False) as cluster:
        clients = [
            JavaClient(cluster.urls[0], region_id="local", zone_id="zone1", settings=FAST, deadlines=Deadlines())
            for _ in range(4)
        ]
        try:
            for number, client in enumerate(clients):
                await client.start()
                await client.registry.register(bean(number))
            watcher = clients[0].discovery
            everybody = {f"10.0.0.{number}" for number in range(4)}
            await clients[0].until(lambda: all(client.registry.registrations for client in clients), 20)
            await watcher.service("orders")
            await until_seen(clients[0], everybody)
            command = ["cluster", "leave", "--drain", "--yes", "--server", cluster.urls[0]]
            result = await asyncio.to_thread(CliRunner().invoke, app, command)
            assert (0, True) == (result.exit_code, "has left and ended" in result.output), result.output
            assert {cluster.urls[1]} == await asyncio.to_thread(nodes_known_to, cluster.urls[1])
            await until_seen(clients[0], everybody)
            await until(lambda: everybody == shown(cluster.urls[1]))
        finally:
            for client in clients:
                await client.stop()


async def until_seen(client: JavaClient, everybody: set[str]) -> None:
    """Wait until the copy of a Java client has exactly these."""

    async def seen() -> bool:
        copy = await client.discovery.service("orders")
        return set(copy.instance_ids) == everybody

    async with asyncio.timeout(30):
        while True:
            if await seen():
                return
            await asyncio.sleep(0.05)


def shown(url: str) -> set[str]:
    """What a node shows."""
    asked = f"{url}/api/discovery/service.json?serviceId=orders&regionId=local"
    with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - http
        return {each["instanceId"] for each in json.load(answer)["service"]["instances"] or ()}
