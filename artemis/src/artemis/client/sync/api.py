"""The plain operations of the registry for code that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.client.calls.api import Shown
    from artemis.client.registration.versions import KnownVersions
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

    def others(self) -> list[str]:
        """Return the URLs of the nodes that the next call does not go to, and that are not known to have failed."""
        return self._work.client.api.others()

    def another(self) -> str | None:
        """Return one of them at random, None if there is none."""
        return self._work.client.api.another()

    def register(
        self, instances: Sequence[Instance], versions: KnownVersions | None = None
    ) -> tuple[str, list[FailedInstance]]:
        """Register the instances once; return the node that answered and those it did not accept.

        ``versions``, here and below, has what nodes said of the instances before, and takes in what this one says.
        """
        return self._work.run(lambda client: client.api.register(instances, versions))

    def heartbeat(
        self, instances: Sequence[Instance], versions: KnownVersions | None = None
    ) -> tuple[str, list[FailedInstance]]:
        """Renew the leases of the instances; return the node that answered and those it could not renew."""
        return self._work.run(lambda client: client.api.heartbeat(instances, versions))

    def unregister(
        self, instances: Sequence[Instance], versions: KnownVersions | None = None
    ) -> tuple[str, list[FailedInstance]]:
        """Take the instances out; one that is not there counts as taken out."""
        return self._work.run(lambda client: client.api.unregister(instances, versions))

    def lookup(
        self, service_ids: Sequence[str], *, region_id: str | None = None, zone_id: str | None = None
    ) -> list[Service]:
        """Look several services up in one message; return them in the order of ``service_ids``."""
        return self._work.run(lambda client: client.api.lookup(service_ids, region_id=region_id, zone_id=zone_id))

    def show(
        self,
        service_ids: Sequence[str],
        *,
        region_id: str | None = None,
        zone_id: str | None = None,
        node: str | None = None,
    ) -> Shown:
        """Do what `lookup` does; return also which data it is. With ``node`` only that one is asked, once."""
        return self._work.run(
            lambda client: client.api.show(service_ids, region_id=region_id, zone_id=zone_id, node=node)
        )

    def check_region(self, region_id: str | None = None) -> None:
        """Raise ``ValueError`` if neither the call nor the client says which region the caller is in."""
        self._work.client.api.check_region(region_id)

    def services(self) -> list[Service]:
        """Return every service that has live instances."""
        return self._work.run(lambda client: client.api.services())

    def told(self, service_id: str, *, node: str | None = None, cursor: str | None = None) -> ToldResponse:
        """Ask a node whether the subscribers of a service have been told everything up to now, or to a ``cursor``."""
        return self._work.run(lambda client: client.api.told(service_id, node=node, cursor=cursor))

    def node_status(self) -> ServiceNodeStatus:
        """Return the state of the node that the client talks to."""
        return self._work.run(lambda client: client.api.node_status())
