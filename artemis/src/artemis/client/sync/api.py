"""The plain operations of the registry for code that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.client.calls.api import Shown
    from artemis.client.sync.work import Work
    from artemis.model import FailedInstance, Instance, Service, ServiceNodeStatus, ToldResponse


class RegistryApi:
    """Plain calls to the registry, as `artemis.client.calls.api.RegistryApi`; each blocks until it is answered."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._work.client.api.server

    @property
    def dropped(self) -> int:
        """How many entries were left out of answers."""
        return self._work.client.api.dropped

    def register(self, instances: Sequence[Instance]) -> tuple[str, list[FailedInstance]]:
        """Register the instances once; return the node that answered and those it did not accept."""
        return self._work.run(lambda client: client.api.register(instances))

    def heartbeat(self, instances: Sequence[Instance]) -> tuple[str, list[FailedInstance]]:
        """Renew the leases of the instances; return the node that answered and those it could not renew."""
        return self._work.run(lambda client: client.api.heartbeat(instances))

    def unregister(self, instances: Sequence[Instance]) -> tuple[str, list[FailedInstance]]:
        """Take the instances out; one that is not there counts as taken out."""
        return self._work.run(lambda client: client.api.unregister(instances))

    def lookup(
        self, service_ids: Sequence[str], *, region_id: str | None = None, zone_id: str | None = None
    ) -> list[Service]:
        """Look several services up in one message; return them in the order of ``service_ids``."""
        return self._work.run(lambda client: client.api.lookup(service_ids, region_id=region_id, zone_id=zone_id))

    def show(self, service_ids: Sequence[str], *, region_id: str | None = None, zone_id: str | None = None) -> Shown:
        """Do what `lookup` does; return also which data it is."""
        return self._work.run(lambda client: client.api.show(service_ids, region_id=region_id, zone_id=zone_id))

    def check_region(self, region_id: str | None = None) -> None:
        """Raise ``ValueError`` if neither the call nor the client says which region the caller is in."""
        self._work.client.api.check_region(region_id)

    def services(self) -> list[Service]:
        """Return every service that has live instances."""
        return self._work.run(lambda client: client.api.services())

    def told(self, service_id: str) -> ToldResponse:
        """Ask the node whether the subscribers of a service have been told everything up to now."""
        return self._work.run(lambda client: client.api.told(service_id))

    def node_status(self) -> ServiceNodeStatus:
        """Return the state of the node that the client talks to."""
        return self._work.run(lambda client: client.api.node_status())
