"""`ArtemisClient` for code that blocks: Flask, Django, Celery, scripts. The async client does the work.

Nothing is decided here: every word is the async client's, carried out in a thread of its own (`work`, `core`, `loop`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

from artemis.client.client import ArtemisClient as AsyncClient
from artemis.client.options import ClientOptions
from artemis.client.sync.api import RegistryApi
from artemis.client.sync.balancer import Balancer
from artemis.client.sync.elsewhere import OtherRegion
from artemis.client.sync.iteration import Events, Watch
from artemis.client.sync.listener import Listener
from artemis.client.sync.registration import Registration
from artemis.client.sync.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from random import Random
    from types import TracebackType

    from artemis.client import (
        ConnectionState,
        HealthCheck,
        LinkKind,
        RegistryFilter,
        ServiceView,
        Strategy,
        Transport,
    )
    from artemis.client.discovery.listeners import Callback
    from artemis.client.status import ClientStatus
    from artemis.client.telemetry.contract import Telemetry
    from artemis.model import Instance
    from msgtrans.config.tls import TlsClientConfig


class ArtemisClient:
    """A client of the registry for code that blocks, with the words of `artemis.ArtemisClient`.

    ::

        with ArtemisClient(servers=["http://127.0.0.1:8080"], region_id="local", zone_id="zone1") as client:
            with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=9000)):
                prices = client.service("prices")

    The arguments are those of the async client, which runs in a daemon thread of its own from entering on (or `open`)
    until leaving (or `close`). A program that ends without closing unregisters all the same, except by ``kill -9``,
    ``os._exit``, or SIGTERM without a handler, which end Python on the spot: the lease runs out then. For SIGTERM,
    ``signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))`` is enough; `artemis.script.registered` and ``artemis run``
    see to it. A client that is dropped open warns (``ResourceWarning``) and ends.

    All methods may be called from any thread, several at once, also from one with a running event loop: they block
    their caller, and with it that loop, so async code does better with the async client. Waiting may be interrupted
    (``KeyboardInterrupt``): what was under way is cancelled first, so that nothing half done stays.

    A signal handler may use it whatever it interrupts, but while it is opening only close it. A thread that is no
    daemon and waits in ``events()`` or ``watch()`` keeps the program alive until the client is closed.

    After a ``fork()`` the child's first use starts a thread and connections of its own, with the same options. What
    the parent registered stays the parent's: the child neither renews nor unregisters it. Watches, events and
    listeners of the parent do not go on in the child; balancers do. With a ``transport`` of one's own the child gets
    ``ClosedError`` instead.
    """

    def __init__(
        self,
        *,
        servers: Sequence[str],
        region_id: str | None = None,
        zone_id: str | None = None,
        registry_filters: Sequence[RegistryFilter] = (),
        options: ClientOptions | None = None,
        transport: Transport | None = None,
        tls: TlsClientConfig | None = None,
        cache_dir: str | PathLike[str] | None = None,
        random: Random | None = None,
        telemetry: Telemetry | Sequence[Telemetry] = (),
        lookup_region: str | None = None,
    ) -> None:
        options = options or ClientOptions()
        self._work = Work(
            partial(
                AsyncClient,
                servers=servers,
                region_id=region_id,
                zone_id=zone_id,
                registry_filters=registry_filters,
                options=options,
                transport=transport,
                tls=tls,
                cache_dir=cache_dir,
                random=random,
                telemetry=telemetry,
                lookup_region=lookup_region,
            ),
            close_timeout=options.close_timeout + options.drain_timeout,
            forkable=transport is None,
        )
        self.api = RegistryApi(self._work)
        """The plain operations, for tools: nothing cached, nothing renewed."""

    def __repr__(self) -> str:
        return repr(self._work.client)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Start working, as entering the client does; for programs whose end no ``with`` block can mark."""
        self._work.open()

    def close(self, timeout: float | None = None) -> None:
        """End everything that the client started, unregister first; every thread that waits for the client returns.

        It takes at most ``close_timeout`` and ``drain_timeout`` and a little. After ``timeout`` seconds, if given,
        ``TimeoutError`` is raised, and what was not done by then stays undone. Once more does nothing.
        """
        self._work.close(timeout)

    @property
    def state(self) -> ConnectionState:
        """What is known about the registry, see `ConnectionState`."""
        return self._work.client.state

    @property
    def status(self) -> ClientStatus:
        """What the client is doing at this moment."""
        return self._work.client.status

    @property
    def link(self) -> LinkKind:
        """How changes are heard of now, see `LinkKind`."""
        return self._work.client.link

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._work.client.server

    def region(self, region_id: str) -> OtherRegion:
        """Return the services of another region, as this region's nodes show them; errors as of the async client."""

        async def begin(client: AsyncClient) -> None:
            client.region(region_id)

        self._work.run(begin)
        return OtherRegion(self._work, region_id)

    def events(self) -> Events:
        """Listen to what happens to this client from now on: ``for event in client.events()``."""
        return Events(self._work, lambda client: client.events())

    def registered(
        self, *instances: Instance, health: HealthCheck | None = None, required: bool = True
    ) -> Registration:
        """Return a context inside which the instances are registered; arguments and errors as of the async client."""
        return Registration(self._work, lambda client: client.registered(*instances, health=health, required=required))

    def drain(self) -> None:
        """Take everything out that this client has registered, and wait until the callers have been told."""
        self._work.run(lambda client: client.drain())

    def service(self, service_id: str, *, timeout: float | None = None) -> ServiceView:
        """Return a service with its live instances, from the live cache after the first use.

        Whoever calls a service often keeps a `balancer`, whose choices need no other thread.

        Errors as of the async client, and ``TimeoutError`` after ``timeout`` seconds, if given.
        """
        return self._work.run(lambda client: client.service(service_id), timeout)

    def services(self, *service_ids: str, timeout: float | None = None) -> dict[str, ServiceView]:
        """Return several services by their ids as given, see `service`; those that are new go into one lookup."""
        return self._work.run(lambda client: client.services(*service_ids), timeout)

    def watch(self, *service_ids: str) -> Watch:
        """Follow the changes of services: ``for change in client.watch("orders")``, see `Watch`."""
        return Watch(self._work, lambda client: client.watch(*service_ids))

    def listen(self, service_id: str, callback: Callback) -> Listener:
        """Call ``callback(change, view)`` for what is there and for every change from then on, see `Listener`."""
        return Listener(self._work, lambda client: client.listen(service_id, callback))

    def balancer(self, service_id: str, strategy: Strategy = "round-robin", *, route: str | None = None) -> Balancer:
        """Return a chooser among the live instances of a service: ``client.balancer("orders").next()``."""
        return Balancer(self._work, lambda client: client.balancer(service_id, strategy, route=route))
