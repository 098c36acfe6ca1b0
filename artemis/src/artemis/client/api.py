"""The operations of a node as plain calls: one message, one answer, nothing remembered.

For tools and for the loops of the SDK. It renews nothing by itself and caches nothing; `ArtemisClient` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.client.caller import Endpoint
from artemis.client.errors import RefusedError
from artemis.model import (
    DiscoveryConfig,
    LookupRequest,
    LookupResponse,
    NodeStatusRequest,
    NodeStatusResponse,
    RegistryRequest,
    RegistryResponse,
    ServicesRequest,
    ServicesResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.client.caller import Caller
    from artemis.model import FailedInstance, Instance, Service, ServiceNodeStatus

REGISTER = Endpoint("registry/register.json", RegistryResponse)
HEARTBEAT = Endpoint("registry/heartbeat.json", RegistryResponse)
UNREGISTER = Endpoint("registry/unregister.json", RegistryResponse)
LOOKUP = Endpoint("discovery/lookup.json", LookupResponse)
SERVICES = Endpoint("discovery/services.json", ServicesResponse)
NODE_STATUS = Endpoint("status/node.json", NodeStatusResponse)


class RegistryApi:
    """Plain calls to the registry, with the client's failover and repeats (artemis spec 2.1-2.4).

    Every call raises ``UnreachableError`` when no node gave a usable answer and ``RefusedError`` when one refused.
    May be used concurrently; cancelling a call leaves open whether the node carried it out.
    """

    def __init__(self, caller: Caller, *, region_id: str | None, zone_id: str | None) -> None:
        self._caller = caller
        self._region_id = region_id
        self._zone_id = zone_id

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._caller.server

    async def register(self, instances: Sequence[Instance]) -> tuple[str, list[FailedInstance]]:
        """Register the instances once; return the node that answered and those it did not accept."""
        return await self._write(REGISTER, instances)

    async def heartbeat(self, instances: Sequence[Instance]) -> tuple[str, list[FailedInstance]]:
        """Renew the leases of the instances; return the node that answered and those it could not renew.

        ``data-not-found`` on a failed instance means: register it again.
        """
        return await self._write(HEARTBEAT, instances)

    async def unregister(self, instances: Sequence[Instance]) -> tuple[str, list[FailedInstance]]:
        """Take the instances out; one that is not there counts as taken out."""
        return await self._write(UNREGISTER, instances)

    async def lookup(
        self, service_ids: Sequence[str], *, region_id: str | None = None, zone_id: str | None = None
    ) -> list[Service]:
        """Look several services up in one message; unknown ones come back without instances.

        ``region_id`` and ``zone_id`` say where the caller is, if not where the client is. ``ValueError`` without any
        region: a node answers callers of its own region alone (spec 6.5).
        """
        self.check_region(region_id)
        request = LookupRequest(
            discovery_configs=[DiscoveryConfig(service_id=service_id) for service_id in service_ids],
            region_id=region_id or self._region_id,
            zone_id=zone_id or self._zone_id,
        )
        answer = (await self._caller.call(LOOKUP, request)).value
        return [service for service in answer.services or () if service is not None]

    def check_region(self, region_id: str | None = None) -> None:
        """Raise ``ValueError`` if neither the call nor the client says which region the caller is in."""
        if not region_id and not self._region_id:
            raise ValueError(
                "a lookup needs the caller's region: ArtemisClient(region_id=...), the same as the node's --region "
                "(`artemis status` shows it)"
            )

    async def services(self) -> list[Service]:
        """Return every service that has live instances."""
        request = ServicesRequest(region_id=self._region_id, zone_id=self._zone_id)
        answer = (await self._caller.call(SERVICES, request)).value
        return [service for service in answer.services or () if service is not None]

    async def node_status(self) -> ServiceNodeStatus:
        """Return the state of the node that the client talks to."""
        answered = await self._caller.call(NODE_STATUS, NodeStatusRequest())
        if answered.value.node_status is None:
            raise RefusedError(answered.node, NODE_STATUS.path, "data-not-found", "the answer has no nodeStatus")
        return answered.value.node_status

    async def _write(
        self, endpoint: Endpoint[RegistryResponse], instances: Sequence[Instance]
    ) -> tuple[str, list[FailedInstance]]:
        answered = await self._caller.call(endpoint, RegistryRequest(instances=list(instances)))
        return answered.node, [failed for failed in answered.value.failed_instances or () if failed is not None]
