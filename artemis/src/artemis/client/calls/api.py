"""The operations of a node as plain calls: one message, one answer, nothing remembered.

For tools and for the loops of the SDK. It renews nothing by itself and caches nothing; `ArtemisClient` does.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from artemis.client.calls.answers import (
    Endpoint,
    check_counted,
    check_listed,
    check_looked_up,
    check_told,
    check_written,
)
from artemis.client.calls.sieve import Sieve
from artemis.client.names import service_key
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
    ToldRequest,
    ToldResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.client.calls.caller import Caller
    from artemis.client.registration.versions import KnownVersions
    from artemis.model import FailedInstance, Instance, Service, ServiceNodeStatus

REGISTER = Endpoint("registry/register.json", RegistryResponse, check_written)
HEARTBEAT = Endpoint("registry/heartbeat.json", RegistryResponse, check_written)
UNREGISTER = Endpoint("registry/unregister.json", RegistryResponse, check_written)
LOOKUP = Endpoint("discovery/lookup.json", LookupResponse, check_looked_up)
SERVICES = Endpoint("discovery/services.json", ServicesResponse, check_listed)
NODE_STATUS = Endpoint("status/node.json", NodeStatusResponse, check_told)
TOLD = Endpoint("v1/told", ToldResponse, check_counted)

logger = logging.getLogger("artemis.client")


@dataclass(frozen=True, slots=True)
class Shown:
    """Services as one node showed them: what it is, where it stood, and how many seconds old its data may have been.

    ``cursor`` is None where the node does not say; ``missing`` is how many other nodes the age leaves out.
    """

    node: str
    services: list[Service]
    cursor: str | None
    age: float
    missing: int = 0


class RegistryApi:
    """Plain calls to the registry, with the client's failover and repeats (artemis spec 2.1-2.4).

    Every call raises ``UnreachableError`` when no node gave a usable answer and ``RefusedError`` when one refused.
    An answer without what was asked for is not usable. Entries of an answer that nobody can use, as an instance without
    an id or a url, are left out: see ``dropped``.
    May be used concurrently; cancelling a call leaves open whether the node carried it out.
    """

    def __init__(
        self, caller: Caller, *, region_id: str | None, zone_id: str | None, lookup_region: str | None = None
    ) -> None:
        self._caller = caller
        self._elsewhere = lookup_region is not None
        self._region_id = lookup_region or region_id
        self._zone_id = zone_id
        self.sieve = Sieve(logger)
        """What keeps out entries that nobody can use, for what nodes push as well."""

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._caller.server

    def others(self) -> list[str]:
        """Return the URLs of the nodes that the next call does not go to, and that are not known to have failed."""
        return self._caller.others()

    def another(self) -> str | None:
        """Return one of them at random, None if there is none."""
        return self._caller.another()

    @property
    def dropped(self) -> int:
        """How many entries were left out of answers and pushes; one that comes with every answer counts each time."""
        return self.sieve.dropped

    async def register(
        self, instances: Sequence[Instance], versions: KnownVersions | None = None
    ) -> tuple[str, list[FailedInstance]]:
        """Register the instances once; return the node that answered and those it did not accept.

        ``versions``, here and below, has what nodes said of the instances before, and takes in what this one says.
        """
        return await self._write(REGISTER, instances, versions)

    async def heartbeat(
        self, instances: Sequence[Instance], versions: KnownVersions | None = None
    ) -> tuple[str, list[FailedInstance]]:
        """Renew the leases of the instances; return the node that answered and those it could not renew.

        ``data-not-found`` on a failed instance means: register it again. Of one that has a version the node does not
        look at the content.
        """
        return await self._write(HEARTBEAT, instances, versions)

    async def unregister(
        self, instances: Sequence[Instance], versions: KnownVersions | None = None
    ) -> tuple[str, list[FailedInstance]]:
        """Take the instances out; one that is not there counts as taken out."""
        return await self._write(UNREGISTER, instances, versions)

    async def lookup(
        self, service_ids: Sequence[str], *, region_id: str | None = None, zone_id: str | None = None
    ) -> list[Service]:
        """Look several services up in one message; return them in the order of ``service_ids``.

        Unknown ones come back without instances, blank ids not at all (spec 2.2).

        ``region_id`` and ``zone_id`` say where the caller is, if not where the client is. ``ValueError`` without any
        region: a node answers callers of its own region (spec 6.5), and those who name one of which it has a copy.
        """
        return (await self.show(service_ids, region_id=region_id, zone_id=zone_id)).services

    async def show(
        self,
        service_ids: Sequence[str],
        *,
        region_id: str | None = None,
        zone_id: str | None = None,
        node: str | None = None,
    ) -> Shown:
        """Do what `lookup` does; return also which data it is. With ``node`` only that one is asked, once."""
        self.check_region(region_id)
        request = LookupRequest(
            discovery_configs=[DiscoveryConfig(service_id=service_id) for service_id in service_ids],
            region_id=region_id or self._region_id,
            zone_id=zone_id or self._zone_id,
        )
        answered = await (
            self._caller.call(LOOKUP, request) if node is None else self._caller.ask(node, LOOKUP, request)
        )
        shown: dict[str, Service] = {}
        for service in answered.value.services or ():
            if service is not None:
                shown.setdefault(service_key(service.service_id), service)
        keys = [service_key(service_id) for service_id in service_ids]
        usable = self.sieve.services(answered.node, [shown[key] for key in dict.fromkeys(keys) if key])
        found = {service_key(service.service_id): service for service in usable}
        services = [found[key] for key in keys if key]
        return Shown(answered.node, services, answered.cursor, answered.age, answered.missing)

    def check_region(self, region_id: str | None = None) -> None:
        """Raise ``ValueError`` if neither the call nor the client says which region the caller is in."""
        if not region_id and not self._region_id:
            raise ValueError(
                "a lookup needs the caller's region: ArtemisClient(region_id=...), the same as the node's --region "
                "(`artemis status` shows it)"
            )

    async def services(self) -> list[Service]:
        """Return every service that has live instances; ``ValueError`` for a client of another region's services."""
        if self._elsewhere:
            raise ValueError(
                f"only services of the nodes' own region are listed whole; of {self._region_id!r} nodes show pages: "
                f"GET /api/v1/services?regionId={self._region_id}"
            )
        request = ServicesRequest(region_id=self._region_id, zone_id=self._zone_id)
        answered = await self._caller.call(SERVICES, request)
        return self.sieve.services(answered.node, answered.value.services or ())

    async def node_status(self) -> ServiceNodeStatus:
        """Return the state of the node that the client talks to."""
        told = (await self._caller.call(NODE_STATUS, NodeStatusRequest())).value.node_status
        return cast("ServiceNodeStatus", told)  # an answer without one is not usable, see `check_told`

    async def told(self, service_id: str, *, node: str | None = None, cursor: str | None = None) -> ToldResponse:
        """Ask a node, once, how many of those it pushes a service to lack something (docs/push.md).

        It is the current one unless ``node`` is given; with the ``cursor`` of another's answer, something up to that.

        A node of Java does not know the question: that is an ``UnreachableError`` or a ``RefusedError`` as well, and
        the client stays with it.
        """
        request = ToldRequest(service_id=service_id, cursor=cursor)
        return (await self._caller.ask(node or self._caller.server, TOLD, request)).value

    async def _write(
        self,
        endpoint: Endpoint[RegistryRequest, RegistryResponse],
        instances: Sequence[Instance],
        versions: KnownVersions | None,
    ) -> tuple[str, list[FailedInstance]]:
        request = RegistryRequest(instances=list(instances))
        if versions is not None:
            request.versions = [*versions.of(instances)]
        answered = await self._caller.call(endpoint, request)
        if versions is not None:
            versions.learn(instances, answered.value.versions or ())
        return answered.node, [failed for failed in answered.value.failed_instances or () if failed is not None]
