"""`ArtemisClient`: what a service or a caller holds in its hand. It builds the parts and owns their lives.

The deciding is done in the pure modules of this folder, the sending in its loops; nothing of either is here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Self

from artemis.client.background import Background
from artemis.client.balancing.balancer import Balancer, Strategy
from artemis.client.balancing.balancing import Balancing
from artemis.client.calls.api import RegistryApi
from artemis.client.calls.caller import Caller
from artemis.client.calls.transport import HttpTransport, Transport
from artemis.client.clock import elapsed
from artemis.client.connection import Connection, ConnectionState
from artemis.client.discovery.cache import cache_directory
from artemis.client.discovery.discovery import Discovery
from artemis.client.discovery.services import ServiceBook, ServiceView
from artemis.client.discovery.watch import Watch
from artemis.client.events import EventFeed, Events
from artemis.client.forks import AtFork, keep_for_ever, note_closed, note_open
from artemis.client.links.carrier import Carrier
from artemis.client.links.live import Live
from artemis.client.links.opening import NodeOpener
from artemis.client.names import check_encodable, check_text
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
from artemis.client.status import ClientStatus
from artemis.client.telemetry.readings import ClientReading, Readings, books_read
from artemis.client.telemetry.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from types import TracebackType

    from artemis.client.discovery.listeners import Callback, Listener
    from artemis.client.links.link import LinkKind
    from artemis.client.telemetry.contract import Telemetry
    from artemis.model import Instance
    from msgtrans import TlsClientConfig


class ArtemisClient:
    """A client of the registry: registers instances and keeps them, finds services and keeps them current.

    ::

        async with ArtemisClient(servers=["http://127.0.0.1:8080"], region_id="local", zone_id="zone1") as client:
            async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=9000)):
                prices = await client.service("prices")

    - ``servers``: URLs of nodes of one cluster. The client talks to one of them, chosen at random, until it fails; it
      learns the others from the registry, and prefers those of its own zone, see ``address_interval``.
    - ``region_id``, ``zone_id``: where the caller is, as the node's ``--region`` and ``--zone``; lookups need the
      region and carry both, and instances that name none get them.
    - ``lookup_region``: another region whose services are looked up, watched and balanced instead of those of
      ``region_id``; for nodes that have a copy of it (``--federate``). See `region`, which makes such a client.
    - ``registry_filters``: what may keep instances out of the registry, see `RegistryFilter`.
    - ``options``: timings and bounds, see `ClientOptions`.
    - ``transport``: how calls travel while no connection for pushes carries them; HTTP unless given. The client closes
      it. With one that is not an `HttpTransport` there are no such connections, and services are looked up regularly.
    - ``tls``: a ``msgtrans.TlsClientConfig``: what is trusted and shown at ``https://`` nodes, on every kind of
      connection; the system's authorities unless given. ``ConfigurationError`` (a ``ValueError``) for files that cannot
      be used.
    - ``cache_dir``: a directory for services in use, so that a caller can start while the registry is away: a service
      that it does not show within ``cache_wait`` is shown as it was, see ``source`` of `ServiceView`. Made if it is
      missing, for this user alone; several processes may share it, also those with other ``servers`` or another
      ``region_id``. Without it no file is read or written.
    - ``random``: the source of every random choice, for repeatable tests.
    - ``telemetry``: what is told of calls and events and may ask for numbers, one or several: your own `Telemetry`,
      `LogTelemetry`, ``artemis.client.telemetry.prometheus.PrometheusTelemetry`` or
      ``artemis.client.telemetry.opentelemetry.OpenTelemetryTelemetry``.

    Entering opens nothing and does not fail for an absent registry: the first call does. Leaving ends everything that
    the client started; it takes at most ``close_timeout`` and ``drain_timeout`` seconds and a little. If that is
    cancelled, or times out, all has ended the same, only that the registry may not have been told. One event loop;
    all methods may be used concurrently and cancelled. Implements the client of the artemis spec, 9, with the additions
    of design 6.
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
        if isinstance(servers, str):
            raise TypeError("servers is a list of URLs, not one text")
        check_encodable("region_id", region_id or "")
        check_encodable("zone_id", zone_id or "")
        if lookup_region is not None:
            lookup_region = check_text("lookup_region", lookup_region)
            if lookup_region.lower() == (region_id or "").lower():
                lookup_region = None
        options = options or ClientOptions()
        random = random or Random()  # noqa: S311 - spreads load; keeps no secret
        self._options = options
        self._feed = EventFeed(options.event_buffer)
        self._connection = Connection(lost_after=options.lost_after, now=elapsed())
        self._background = Background(self._feed.publish, random=random)
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
            clock=elapsed,
        )
        told = list(telemetry) if isinstance(telemetry, Iterable) else [telemetry]
        self._watching = Watching(told, time.monotonic) if told else None
        if self._watching is not None:
            self._feed.also = self._watching.event
        carries = transport or HttpTransport(max_answer_bytes=options.max_answer_bytes, tls=tls)
        self._live = Live(
            contact=self._contact,
            opener=NodeOpener(http=carries, options=options, tls=tls, random=random, region=lookup_region)
            if isinstance(carries, HttpTransport)
            else None,
            feed=self._feed,
            background=self._background,
            options=options,
            random=random,
        )
        self._caller = Caller(
            contact=self._contact,
            transport=Carrier(carries, lambda: self._live.link, self._live.offered),
            options=options,
            random=random,
            watching=self._watching,
        )
        self.api = RegistryApi(self._caller, region_id=region_id, zone_id=zone_id, lookup_region=lookup_region)
        """The plain operations, for tools: nothing cached, nothing renewed."""
        leases = LeaseBook(limit=options.max_instances, ttl=options.lost_after)
        services = ServiceBook(limit=options.max_services)
        self._leases, self._services = leases, services
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
            on_need=self._live.want,
        )
        self._origin = Origin(region_id, zone_id, node=lambda: self._contact.node, patience=options.attempt_timeout)
        self._contact.on_move(self._registrar.hurry)
        self._live.on_return(self._registrar.hurry)
        self._discovery = Discovery(
            api=self.api,
            book=services,
            feed=self._feed,
            background=self._background,
            options=options,
            random=random,
            clock=elapsed,
            wall=lambda: time.time_ns() // 1_000_000,
            want=self._live.want,
            heard=self._contact.heard,
            directory=None
            if cache_dir is None
            else cache_directory(cache_dir, servers, lookup_region or region_id, options),
        )
        self._live.serve(self._discovery.follow, self._discovery.push)
        self._balancing = Balancing(
            discovery=self._discovery,
            feed=self._feed,
            here=(region_id, zone_id),
            options=options,
            random=random,
            clock=elapsed,
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
        self._elsewhere = partial(
            ArtemisClient,
            region_id=region_id,
            zone_id=zone_id,
            options=options,
            tls=tls,
            cache_dir=cache_dir,
            random=random,
        )
        self._own_transport = transport is not None
        self._region_id = lookup_region or region_id
        self._regions: dict[str, ArtemisClient] = {}
        self._at_fork = AtFork(self._in_child)
        self._entered = False
        self._closing: asyncio.Task[None] | None = None
        self._parting: asyncio.Task[None] | None = None
        self._hurried = False

    def __repr__(self) -> str:
        what = "closed" if self._contact.closed else f"{self.state.value}, {self.link.value}"
        return f"<ArtemisClient of {self.server}: {what}>"

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    def _enter(self) -> None:
        if self._entered:
            raise RuntimeError("a client can be entered once; make a new one")
        self._entered = True
        note_open(self._at_fork)
        self._contact.open()
        self._caller.open()
        self._background.open()
        self._balancing.open()
        if self._watching is not None:
            self._watching.opened(Readings(self._reading))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(asyncio.current_task()), name="artemis client closing")
        cancelled: asyncio.CancelledError | None = None
        while not self._closing.done():
            try:
                await asyncio.wait([self._closing])
            except asyncio.CancelledError as interruption:
                cancelled = interruption
                self._hurried = True
                if self._parting is not None:
                    self._parting.cancel()
        if cancelled is None:
            return self._closing.result()
        if not self._closing.cancelled() and (failure := self._closing.exception()) is not None:
            raise cancelled from failure
        raise cancelled

    async def _close(self, closer: asyncio.Task[None] | None) -> None:
        """End everything, whatever goes wrong with some of it; only the word to the registry can be cut short.

        ``closer`` is who closes; one that is a listener is not waited for.
        """
        self._balancing.close()
        # From the last to the first: the loops end first, so that no heartbeat under way registers again what is about
        # to be taken out.
        async with AsyncExitStack() as ending:
            ending.callback(note_closed, self._at_fork)
            if self._watching is not None:
                ending.callback(self._watching.closed)
            ending.callback(self._feed.close)
            ending.push_async_callback(self._caller.close)
            ending.callback(self._contact.close)
            ending.push_async_callback(self._part)
            ending.push_async_callback(self._discovery.close, closer)
            ending.push_async_callback(self._background.close)
            for client in self._regions.values():
                ending.push_async_callback(client.__aexit__, None, None, None)

    async def _part(self) -> None:
        """Take out what is registered, unless whoever closes has been cancelled, or is meanwhile."""
        self._parting = asyncio.create_task(self._registrar.close(), name="artemis client parting")
        if self._hurried:
            self._parting.cancel()
        try:
            await asyncio.wait([self._parting])
            if not self._parting.cancelled():
                self._parting.result()
        finally:
            self._parting.cancel()
            self._registrar.let_go()

    def _reading(self) -> ClientReading:
        """The numbers of this moment, for telemetry."""
        oldest, held, leases = books_read(self._services, self._leases, elapsed())
        return ClientReading(
            state=self.state,
            node=self.server,
            link=self.link,
            services=len(self._services),
            oldest_age=oldest,
            held=held,
            leases=leases,
            pushes={kind.value: count for kind, count in self._live.pushes.items()},
            dropped=self.api.dropped,
            missed=self._feed.missed,
            outdated=self._discovery.outdated,
        )

    def _in_child(self) -> None:
        """Be closed in the child of a fork: every use raises ``ClosedError``, and what is open stays the parent's."""
        keep_for_ever(self)
        self._background.after_fork()
        self._caller.after_fork()
        self._registrar.after_fork()
        self._balancing.after_fork()
        self._feed.after_fork()

    @property
    def state(self) -> ConnectionState:
        """What is known about the registry, see `ConnectionState`; every change of it is an event.

        Before the first call it is ``SUSPENDED``: nobody has answered yet. After the end it is ``LOST``, which is no
        event.
        """
        return self._contact.state

    @property
    def link(self) -> LinkKind:
        """How changes are heard of now; every change of it is a `LinkChanged`. ``POLL`` while nothing needs more."""
        return self._live.kind

    @property
    def status(self) -> ClientStatus:
        """What the client is doing at this moment."""
        live = self._live
        return ClientStatus(
            state=self.state,
            node=self.server,
            link=live.kind,
            since=time.time() - (elapsed() - live.since),
            leases=len(self._leases),
            # What was asked for in vain before entering is not in use.
            services=len(self._services) if self._background.is_open else 0,
            reason=live.reason,
        )

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._caller.server

    def region(self, region_id: str) -> ArtemisClient:
        """Return a client of the services of another region, as this region's nodes show them; the same one each time.

        ``await client.region("eu").service("orders")``, ``client.region("eu").balancer("orders").next()``: it looks up,
        watches, listens and balances, over a connection of its own. A view is at most its ``age`` behind the other
        region, also while nobody reaches that. The nodes must have a copy of it (``--federate``), else lookups raise
        ``RefusedError``, or ``UnreachableError`` while there is nothing in it yet. It ends with this client, which must
        be open: ``ClosedError``. ``ValueError`` for a blank id, and for a client with a ``transport`` of its own.
        Telemetry is told nothing of it; its `events` tell.
        """
        name = check_text("region_id", region_id)
        key = name.lower()
        if key == (self._region_id or "").lower():
            return self
        self._background.check_open()
        if self._own_transport:
            raise ValueError("a client with a transport of its own talks to its own region alone")
        client = self._regions.get(key)
        if client is None:
            client = self._elsewhere(servers=self._contact.nodes.urls, lookup_region=name)
            client._enter()  # noqa: SLF001 - one of its own kind
            self._regions[key] = client
        return client

    def events(self) -> Events:
        """Listen to what happens to this client from now on: state, failover, registrations, failed lookups."""
        return self._feed.listen()

    def registered(
        self, *instances: Instance, health: HealthCheck | None = None, required: bool = True
    ) -> Registration:
        """Return a context inside which the instance, or all of several, are registered and their leases renewed.

        Missing region and zone come from the client; a missing ``ip`` is the address towards the registry, if there is
        a ``port`` and no ``url`` (see `own_address`); a missing ``instance_id`` and ``url`` are derived from ``ip`` and
        ``port``; a missing ``status`` is ``up``, a missing ``machine_name`` the host's. Raises ``ValueError`` or
        ``TypeError`` naming the field that is missing and cannot be derived, out of range or of a wrong type; what
        follows the first 500 instances is checked when entering.

        ``health`` is a function, plain or async, that is asked every ``health_interval`` whether they are healthy: no
        longer so if it returns False, raises, or takes longer than ``attempt_timeout``. They are withheld then: taken
        out at once, and registered again when it finds them healthy. A plain function runs in a thread.

        ``required=False`` is for services that do without the registry for a while: entering succeeds all the same when
        no node answers or one refuses, and each heartbeat tries again.
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
            required=required,
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

        An unknown service has no instances. The first use raises ``UnreachableError`` or ``RefusedError`` if the lookup
        fails. Where every node hangs that takes ``attempts`` times ``attempt_timeout`` and the waits between them, 12 s
        by default; ``asyncio.timeout`` may end it before. Later uses answer with what was last seen, and ``age`` says
        how old that is. Raises ``LimitError``
        if ``max_services`` are being watched, ``ValueError`` or ``TypeError`` if ``service_id`` is blank or no text,
        and ``ValueError`` if the client has no ``region_id``; so do ``watch``, ``listen`` and a balancer's methods.

        With a ``cache_dir`` the first use of a service that the registry does not show in time answers with what was
        seen before, by this or another process.
        """
        return await self._discovery.service(service_id)

    async def services(self, *service_ids: str) -> dict[str, ServiceView]:
        """Return several services by their ids as given, see `service`; those that are new go into one lookup."""
        return await self._discovery.services(service_ids)

    def watch(self, *service_ids: str) -> Watch:
        """Follow the changes of services: ``async for change in client.watch("orders")``, see `Watch`.

        A change says its ``change_type`` (``new``, ``change``, ``delete``), the ``instance`` and the ``change_time``.
        """
        if not service_ids:
            raise ValueError("nothing to watch: give at least one service id")
        return self._discovery.watch(service_ids)

    def listen(self, service_id: str, callback: Callback) -> Listener:
        """Call ``callback(change, view)`` for what is there and for every change from then on; see `Listener`.

        ``change`` is as of `watch`, ``view`` the whole service at the time of the call. A coroutine function runs on
        the event loop; a plain function runs in a thread, one at a time for all listeners of a client, and may block.
        One that raises is told of the next change all the same; a `ListenerFailed` event says what it raised.
        ``TypeError`` for what cannot be called.
        """
        return self._discovery.listen(service_id, callback)

    def balancer(self, service_id: str, strategy: Strategy = "round-robin", *, route: str | None = None) -> Balancer:
        """Return a chooser among the live instances of a service: ``client.balancer("orders").next()``.

        All balancers of a service share what they know of its instances, and round robin takes turns over all of them.

        - ``strategy``: ``round-robin``, ``random``, ``least-requests``, ``consistent-hash`` or ``power-of-two``, see
          `Strategy`; it chooses within a group of the route rule.
        - ``route``: the route rule to go by, ``default-route-rule`` unless given (spec 5.3). One that leads to no
          instance is an error of the choice, except that ``canary-route-rule`` falls back to the default.
        """
        return Balancer(self._balancing, service_id, strategy, route)
