"""Callers see how many nodes an answer leaves out: once a silent node counts as down its age tells nothing of it."""

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable

import aiohttp

from artemis.client import ArtemisClient, ClientOptions
from artemis.testing import running_cluster
from artemis.testing.clusters import RunningCluster

OPTIONS: dict[str, float | str] = {"peer_beat": 0.1, "peer_suspect": 0.3, "peer_down": 1.0, "region": "r1"}
HEADER = "Artemis-Missing-Nodes"


def said(cluster: RunningCluster, path: str) -> str | None:
    """What node 0 says in the header of an answer, None for nothing."""
    with urllib.request.urlopen(cluster.nodes[0].url + path, timeout=10) as answer:  # noqa: S310 - our own node
        found: str | None = answer.headers[HEADER]
        return found


async def confirmed(cluster: RunningCluster) -> dict[str, object]:
    """The answer to a question for a confirmation over WebSocket."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{cluster.nodes[0].url}/ws") as socket:
        await socket.send_json({"type": "confirm"})
        found: dict[str, object] = json.loads(await socket.receive_str())
        return found


async def until(expected: object, look: Callable[[], Awaitable[object]]) -> None:
    """Wait until this is seen."""
    async with asyncio.timeout(30):
        while expected != await look():  # noqa: ASYNC110 - nothing tells of what other processes see
            await asyncio.sleep(0.02)


async def test_every_door_says_how_many_nodes_are_missing() -> None:
    """While nobody is, nothing is said; a node that was killed is missing, and one that says farewell is not."""
    options = ClientOptions(confirm_interval=0.1)
    async with (
        running_cluster(3, **OPTIONS) as cluster,
        ArtemisClient(servers=[cluster.nodes[0].url], region_id="r1", options=options) as client,
    ):

        async def lookup() -> str | None:
            return await asyncio.to_thread(said, cluster, "/api/v1/services/orders")

        async def view() -> int:
            return (await client.service("orders")).missing_nodes

        await until(None, lookup)
        await until(0, view)
        assert "missingNodes" not in await confirmed(cluster)
        await asyncio.to_thread(cluster.nodes[2].stop)
        await asyncio.to_thread(cluster.nodes[1].kill)
        await until("1", lookup)
        for path in (
            "/api/discovery/service.json?regionId=r1&zoneId=zone1&serviceId=orders",
            "/api/v1/services/orders?wait=0ms",
        ):
            assert "1" == await asyncio.to_thread(said, cluster, path)
        assert 1 == (await confirmed(cluster))["missingNodes"]
        await until(1, view)  # of the node's confirmations
        async with ArtemisClient(servers=[cluster.nodes[0].url], region_id="r1") as other:
            assert 1 == (await other.service("orders")).missing_nodes  # of the answer to a lookup
        await asyncio.to_thread(cluster.nodes[1].restart)
        await until(None, lookup)
        await until(0, view)
