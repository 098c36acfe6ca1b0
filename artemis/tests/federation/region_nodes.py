"""Nodes of several regions in the test's event loop, and plain questions to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import structlog

from artemis.federation.state import Followed
from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.regions import Regions

PATIENCE = 30.0
"""Seconds after which a test fails; far more than anything takes."""


@asynccontextmanager
async def serving(region: str, **options: object) -> AsyncIterator[NodeServer]:
    """A node of a region, that expires nothing."""
    server = NodeServer(
        ServeConfig(**{"port": 0, "region": region, "lease_ttl": 600.0, **options}), structlog.get_logger()
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Told(NamedTuple):
    """An answer over HTTP: its status, what it says, and its headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def region(self) -> str | None:
        """The region that it shows, None for that of the node."""
        return self.headers.get("artemis-region")

    @property
    def age(self) -> int:
        """How old it may be, in milliseconds."""
        return int(self.headers["artemis-age-ms"])


async def ask(url: str, path: str, body: object = None, **query: str) -> Told:
    """Ask a node, by POST if there is a body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request("GET" if body is None else "POST", f"{url}/api/{path}", params=query, json=body) as response,
    ):
        raw = await response.read()
        return Told(response.status, json.loads(raw), {name.lower(): value for name, value in response.headers.items()})


def instance(region: str, service: str, number: int, **more: object) -> dict[str, object]:
    """An instance as JSON."""
    name = f"{service}-{number}"
    return {
        "regionId": region,
        "zoneId": "zone1",
        "serviceId": service,
        "instanceId": name,
        "url": f"http://{name}/",
        **more,
    }


async def register(url: str, *instances: dict[str, object]) -> None:
    """Register instances."""
    told = await ask(url, "registry/register.json", {"instances": list(instances)})
    assert told.body["responseStatus"]["status"] == "success", told.body


async def unregister(url: str, *instances: dict[str, object]) -> None:
    """Take instances out."""
    told = await ask(url, "registry/unregister.json", {"instances": list(instances)})
    assert told.body["responseStatus"]["status"] == "success", told.body


async def shown(url: str, service: str, region: str) -> list[str]:
    """Return the ids of the instances that a node shows of a service of a region."""
    told = await ask(url, "discovery/service.json", serviceId=service, regionId=region)
    return [one["instanceId"] for one in told.body["service"]["instances"]]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def followed(server: NodeServer, region: str = "eu") -> None:
    """Wait until a node follows a region."""
    regions: Regions = server.node.regions

    def following() -> bool:
        return any(
            each.copy.region == region and each.standing.state is Followed.FOLLOWING for each in regions.followed
        )

    await until(following)


async def holds(server: NodeServer, count: int, region: str = "eu") -> None:
    """Wait until the copy of a region has so many instances."""
    await until(lambda: (copy := server.node.regions.known(region)) is not None and len(copy.registry) == count)
