"""The services of another region for code that blocks: what `ArtemisClient.region` of this room returns.

Not here: how a region is asked for; see the async client's `region`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.client.sync.balancer import Balancer
from artemis.client.sync.iteration import Events, Watch
from artemis.client.sync.listener import Listener

if TYPE_CHECKING:
    from artemis.client.balancing.balancer import Strategy
    from artemis.client.client import ArtemisClient
    from artemis.client.connection import ConnectionState
    from artemis.client.discovery.listeners import Callback
    from artemis.client.discovery.services import ServiceView
    from artemis.client.sync.work import Work


class OtherRegion:
    """Looks up, watches, listens to and balances over services of another region, as the nodes of this one show them.

    Made by `region` of the client, which it lives as long as; any thread may use it.
    """

    def __init__(self, work: Work, region_id: str) -> None:
        self._work = work
        self.region_id = region_id
        """The region, as it was given."""

    def __repr__(self) -> str:
        return f"<region {self.region_id} of {self._of(self._work.client)!r}>"

    @property
    def state(self) -> ConnectionState:
        """What is known about the nodes that show it, see `ConnectionState`."""
        return self._of(self._work.client).state

    def events(self) -> Events:
        """Listen to what happens to its services and connection from now on."""
        return Events(self._work, lambda client: self._of(client).events())

    def service(self, service_id: str, *, timeout: float | None = None) -> ServiceView:
        """Return a service with its instances, as of the client."""
        return self._work.run(lambda client: self._of(client).service(service_id), timeout)

    def services(self, *service_ids: str, timeout: float | None = None) -> dict[str, ServiceView]:
        """Return several services by their ids as given, as of the client."""
        return self._work.run(lambda client: self._of(client).services(*service_ids), timeout)

    def watch(self, *service_ids: str) -> Watch:
        """Follow the changes of services, as of the client."""
        return Watch(self._work, lambda client: self._of(client).watch(*service_ids))

    def listen(self, service_id: str, callback: Callback) -> Listener:
        """Call ``callback(change, view)`` for what is there and for every change from then on, as of the client."""
        return Listener(self._work, lambda client: self._of(client).listen(service_id, callback))

    def balancer(self, service_id: str, strategy: Strategy = "round-robin", *, route: str | None = None) -> Balancer:
        """Return a chooser among the live instances of a service, as of the client."""
        return Balancer(self._work, lambda client: self._of(client).balancer(service_id, strategy, route=route))

    def _of(self, client: ArtemisClient) -> ArtemisClient:
        return client.region(self.region_id)
