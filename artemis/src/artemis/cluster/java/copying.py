"""The first copy of what a Java peer knows (spec 7.5), for a node that nobody else can tell.

Only what this node does not know is taken: what it knows it was told by clients or by its own kind. An empty answer is
as good as any (defect 11). Not here: when a copy is wanted, and what waits for it (`peers`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.cluster.java.exchange import COPY, Unanswered
from artemis.model import MalformedBody, decode, encode
from artemis.model.replication import RegistryContentRequest, RegistryContentResponse
from artemis.registry import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artemis.cluster.java.exchange import JavaExchange
    from artemis.model import Instance
    from artemis.registry import Registry

_SLICE = 250
"""Instances that are registered between two looks at the rest of the world."""


class Copied:
    """What came of a copy: how many instances were taken over, were known already, could not be registered."""

    def __init__(self) -> None:
        self.taken = self.known = self.refused = 0


async def copy(exchange: JavaExchange, registry: Registry, zone: str, now: Callable[[], int]) -> Copied:
    """Ask a peer for everything and register it here. Raises Unanswered."""
    request = RegistryContentRequest(region_id=registry.region, zone_id=zone)
    body = await exchange.post("replication/registry/services.json", encode(request), COPY)
    try:
        # Beside the loop: a copy is read whole, which takes a second for some hundred thousand instances.
        answer = await asyncio.to_thread(decode, RegistryContentResponse, body)
    except MalformedBody as error:
        raise Unanswered(f"its copy cannot be read: {error}") from error
    if answer is None or answer.response_status.status != "success":
        status = None if answer is None else answer.response_status
        raise Unanswered(f"it gives no copy: {'' if status is None else f'{status.error_code} {status.message}'}"[:200])
    copied = Copied()
    for number, instance in enumerate(_instances(answer)):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        _take(instance, registry, copied, now())
    return copied


def _instances(answer: RegistryContentResponse) -> Iterator[Instance]:
    for service in answer.services or ():
        for instance in (None if service is None else service.instances) or ():
            if instance is not None:
                yield instance


def _take(instance: Instance, registry: Registry, copied: Copied, now: int) -> None:
    lease = registry.find(instance.service_id or "", instance.instance_id or "")
    if lease is not None and (lease.live or lease.record.removed):
        copied.known += 1
        return
    try:
        registry.register(instance, now)
    except RegistryError:
        copied.refused += 1
    else:
        copied.taken += 1
