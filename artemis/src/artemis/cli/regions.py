"""What the commands show of another region than the node's own: what the node has copied of it, and how old that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cli.calls import get
from artemis.cli.output import say
from artemis.cli.overview import age_text
from artemis.model import Service
from artemis.model.queries import InstancesResponse

if TYPE_CHECKING:
    from artemis.client import ArtemisClient

PAGE = 1_000
"""Instances asked for at once, the most that a node shows."""


async def is_other(client: ArtemisClient, region: str) -> bool:
    """Tell whether a region that `--region` gave is another one than that of the node."""
    if not region:
        return False
    node = (await client.api.node_status()).node
    own = "" if node is None else node.region_id or (node.zone.region_id if node.zone else "") or ""
    return own.lower() != region.lower()


def copied_services(server: str, region: str) -> tuple[list[Service], int]:
    """Return the services of another region with their instances, and how many milliseconds old they may be.

    They are asked for page by page, so what changes meanwhile may be shown in its old or new state, or not at all.
    """
    found: dict[str, Service] = {}
    page, age = 1, 0
    while True:
        query = {"regionId": region, "page": str(page), "pageSize": str(PAGE)}
        answer = get(server, "v1/instances", InstancesResponse, query)
        age = max(age, answer.age_ms or 0)
        for one in answer.instances or ():
            if one is not None and one.service_id:
                service = found.setdefault(one.service_id.lower(), Service(instances=[], service_id=one.service_id))
                if service.instances is not None:
                    service.instances.append(one)
        if page * PAGE >= answer.total:
            return list(found.values()), age
        page += 1


def say_age(region: str, age_ms: int) -> None:
    """Tell on stderr what is shown."""
    say(f"Shown as this node has copied it from the region {region}, {age_text(age_ms)}.")
