"""`ArtemisClient`: what a service or a caller holds in its hand. It builds the parts and owns their lives.

The deciding is done in the pure modules of this folder, the sending in its loops; nothing of either is here.
"""

from __future__ import annotations

import asyncio
import time
from random import Random
from typing import TYPE_CHECKING, Self

from artemis.client.background import Background
from artemis.client.balancing.balancer import Balancer, Strategy
from artemis.client.calls.api import RegistryApi
from artemis.client.calls.caller import Caller
from artemis.client.calls.transport import HttpTransport, Transport
from artemis.client.connection import Connection, ConnectionState
from artemis.client.discovery.discovery import Discovery, Watch
from artemis.client.discovery.services import ServiceBook, ServiceView
from artemis.client.events import EventFeed, Events
from artemis.client.forks import AtFork, keep_for_ever, note_closed, note_open
from artemis.client.links.carrier import Carrier
from artemis.client.links.live import Live
from artemis.client.links.opening import NodeOpener
from artemis.client.nodes.addresses import Addresses
from artemis.client.nodes.contact import Contact
from artemis.client.nodes.nodes import Nodes
from artemis.client.options import ClientOptions
from artemis.client.registration.beats import Beats
from artemis.client.registration.drain import Drain
from artemis.client.registration.filters import Filters, RegistryFilter
from artemis.client.registration.health import HealthCheck, HealthProbe
from artemis.client.registration.leases import LeaseBook
from artemis.client.registration.origin import SLICE, Origin
from artemis.client.registration.registrar import Registrar
from artemis.client.registration.registration import Registration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from artemis.client.links.link import LinkKind
    from artemis.model import Instance
    from msgtrans import TlsClientConfig


class ArtemisClient:
    """A client of the registry: registers instances and keeps them, finds services and keeps them current.

    ::

        async with ArtemisClient(servers=["http://127.0.0.1:8080"], region_id="local", zone_id="zone1") as client:
            async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=9000)):
                prices = await client.service("prices")

    - ``servers``: URLs of nodes of one cluster. The client talks to one of them, chosen at random, until it fails.
    - ``region_id``, ``zone_id``: where the caller is, as the node's ``--region`` and ``--zone``; lookups need the
      region and carry both, and instances that name none get them.
    - ``registry_filters``: what may keep instances out of the registry, see `RegistryFilter`.
    - ``options``: timings and bounds, see `ClientOptions`.
    - ``transport``: how messages travel; HTTP unless given. The client closes it. With one that is not an
      `HttpTransport` nothing is pushed, and services are looked up regularly.
    - ``tls``: what is trusted and shown at ``https://`` nodes, on every kind of connection; the system's authorities
      unless given. ``ConfigurationError`` (a ``ValueError``) for files that cannot be used.
    - ``random``: the source of every random choice, for repeatable tests.

    Entering opens nothing and does not fail for an absent registry: the first call does. Leaving ends everything that
    the client started; it takes at most ``close_timeout`` and ``drain_timeout`` seconds and a little. One event loop;
    all methods may be used concurrently and cancelled. Implements the parts of the artemis spec, 9, that HTTP alone can
    carry.
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
        random: Random | None = None,
    ) -> None:
        if isinstance(servers, str):
            raise TypeError("servers is a list of URLs, not one text")
        options = options or ClientOptions()
        random = random or Random()  # noqa: S311 - spreads load; keeps no secret
        self._options = options
        self._random = random
        self._feed = EventFeed(options.event_buffer)
        self._connection = Connection(lost_after=options.lost_after, now=time.monotonic())
        self._background = Background()
        self._contact = Contact(
            nodes=Nodes(
                servers,
                random=random,
                rest=options.node_rest,
                rest_limit=options.node_rest_limit,
                region_id=region_id,
                zone_id=zone_id,
            ),
            connection=self._connection,
            feed=self._feed,
            clock=time.monotonic,
        )
        carries = transport or HttpTransport(max_answer_bytes=options.max_answer_bytes, tls=tls)
        self._live = Live(
            contact=self._contact,
            opener=NodeOpener(http=carries, options=options, tls=tls) if isinstance(carries, HttpTransport) else None,
            feed=self._feed,
            background=self._background,
            options=options,
            random=random,
        )
        self._caller = Caller(
            contact=self._contact,
            transport=Carrier(carries, lambda: self._live.link),
            options=options,
            random=random,
        )
        self.api = RegistryApi(self._caller, region_id=region_id, zone_id=zone_id)
        """The plain operations, for tools: nothing cached, nothing renewed."""
        leases = LeaseBook(limit=options.max_instances, ttl=options.lost_after)
        services = ServiceBook(limit=options.max_services)
        self._registrar = Registrar(
            api=self.api,
            book=leases,
            beats=Beats(options, random, time.monotonic()),
            filters=Filters(registry_filters, self._feed.publish),
            drain=Drain(api=self.api, feed=self._feed, options=options, random=random),
            feed=self._feed,
            background=self._background,
            options=options,
            clock=time.monotonic,
        )
        self._origin = Origin(region_id, zone_id, node=lambda: self._contact.node)
        self._contact.on_move(self._registrar.hurry)
        self._discovery = Discovery(
            api=self.api,
            book=services,
            feed=self._feed,
            background=self._background,
            options=options,
            random=random,
            clock=time.monotonic,
            wall=lambda: time.time_ns() // 1_000_000,
        )
        self._addresses = Addresses(
            caller=self._caller,
            contact=self._contact,
            feed=self._feed,
            background=self._background,
            options=options,
            random=random,
            region_id=region_id,
            zone_id=zone_id,
            discovers=lambda: len(services) > 0,
            registers=lambda: len(leases) > 0,
        )
        self._at_fork = AtFork(self._in_child)
        self._entered = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a client can be entered once; make a new one")
        self._entered = True
        note_open(self._at_fork)
        self._contact.open()
        self._caller.open()
        self._background.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # The loops end first, so that no heartbeat under way registers again what is about to be taken out.
            await self._background.close()
            self._discovery.close()
            await self._registrar.close()
        finally:
            self._contact.close()
            await asyncio.shield(self._caller.close())
            self._feed.close()
            note_closed(self._at_fork)

    def _in_child(self) -> None:
        """Be closed in the child of a fork: every use raises ``ClosedError``, and what is open stays the parent's."""
        keep_for_ever(self)
        self._background.after_fork()
        self._caller.after_fork()
        self._registrar.after_fork()

    @property
    def state(self) -> ConnectionState:
        """What is known about the registry, see `ConnectionState`; every change of it is an event.

        Before the first call it is ``SUSPENDED``: nobody has answered yet.
        """
        return self._connection.state

    @property
    def link(self) -> LinkKind:
        """How changes are heard of now; every change of it is a `LinkChanged`. ``POLL`` while nothing needs more."""
        return self._live.kind

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._caller.server

    def events(self) -> Events:
        """Listen to what happens to this client from now on: state, failover, registrations, failed lookups."""
        return self._feed.listen()

    def registered(self, *instances: Instance, health: HealthCheck | None = None) -> Registration:
        """Return a context inside which the instance, or all of several, are registered and their leases renewed.

        Missing region and zone come from the client; a missing ``ip`` is the address towards the registry, if there is
        a ``port`` and no ``url`` (see `own_address`); a missing ``instance_id`` and ``url`` are derived from ``ip`` and
        ``port``; a missing ``status`` is ``up``, a missing ``machine_name`` the host's. Raises ``ValueError`` or
        ``TypeError`` naming the field that is missing and cannot be derived, out of range or of a wrong type; what
        follows the first 500 instances is checked when entering.

        ``health`` is a function, plain or async, that is asked every ``health_interval`` whether they are healthy: no
        longer so if it returns False, raises, or takes longer than ``attempt_timeout``. They are withheld then: taken
        out at once, and registered again when it finds them healthy. A plain function runs in a thread.
        """
        if not instances:
            raise ValueError("nothing to register: give at least one instance")
        return Registration(
            self._registrar,
            [*map(self._origin.checked, instances[:SLICE]), *instances[SLICE:]],
            origin=self._origin,
            feed=self._feed,
            background=self._background,
            probe=None if health is None else HealthProbe(health, self._options.attempt_timeout),
            health_interval=self._options.health_interval,
        )

    async def drain(self) -> None:
        """Take everything out that this client has registered, and wait until the callers have been told.

        For a service that stops: no new requests come, those under way can be finished, and services can still be
        looked up. Waits for ``close_timeout`` and ``drain_timeout`` seconds at most, and never raises for a registry
        that is silent; the events ``Unregistered`` and ``Drained`` tell.
        """
        await self._registrar.end_all()

    async def service(self, service_id: str) -> ServiceView:
        """Return a service with its live instances, from the live cache after the first use.

        An unknown service has no instances. The first use raises ``UnreachableError`` or ``RefusedError`` if the
        lookup fails; later ones answer with what was last seen, and ``age`` says how old that is. Raises ``LimitError``
        if ``max_services`` are being watched, ``ValueError`` or ``TypeError`` if ``service_id`` is blank or no text,
        and ``ValueError`` if the client has no ``region_id``; so do ``watch`` and a balancer's methods.
        """
        return await self._discovery.service(service_id)

    def watch(self, service_id: str) -> Watch:
        """Follow the changes of a service: ``async for change in client.watch("orders")``, see `Watch`.

        A change says its ``change_type`` (``new``, ``change``, ``delete``), the ``instance`` and the ``change_time``.
        """
        return self._discovery.watch(service_id)

    def balancer(self, service_id: str, strategy: Strategy = "round-robin") -> Balancer:
        """Return a chooser among the live instances of a service: ``client.balancer("orders").next()``.

        ``strategy`` is ``round-robin`` (all round-robin balancers of a service take turns together) or ``random``.
        """
        return Balancer(self._discovery, service_id, strategy, self._random)
