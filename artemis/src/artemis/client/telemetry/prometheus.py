"""The numbers of clients in a registry of prometheus_client (``artemis-registry[metrics]``).

======================================== ========= ==================================================================
name                                     type      labels beside ``client``, and meaning
======================================== ========= ==================================================================
``artemis_client_calls_total``           counter   ``operation``, ``outcome``: calls, with their repeats, by how they
                                                   ended; heartbeats are ``registry.heartbeat``
``artemis_client_call_seconds``          histogram ``operation``: what a call took, with its repeats and pauses
``artemis_client_attempts_total``        counter   ``operation``, ``via``, ``outcome``: requests to one node each
``artemis_client_events_total``          counter   ``event``: as ``registration-refused``, see `artemis.client.events`
``artemis_client_link_switches_total``   counter   ``link``: how often changes were heard of this way from then on
``artemis_client_pushes_total``          counter   ``link``: pushes received
``artemis_client_events_missed_total``   counter   events that slow listeners did not get
``artemis_client_dropped_entries_total`` counter   unusable entries left out of answers
``artemis_client_older_answers_total``   counter   answers and pushes older than what is shown, left out
``artemis_client_state``                 gauge     ``state``: 1 for the one it is in, else 0
``artemis_client_link``                  gauge     ``link``: the same
``artemis_client_services``              gauge     services in use
``artemis_client_view_age_seconds``      gauge     age of the oldest view of them; absent without one
``artemis_client_instances_held``        gauge     instances that the guard keeps in views
``artemis_client_leases``                gauge     ``state``: registrations of this client
======================================== ========= ==================================================================

Not here: serving them, which is prometheus_client's ``start_http_server`` or ``make_asgi_app``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from artemis.client.connection import ConnectionState
from artemis.client.events import LinkChanged
from artemis.client.links.link import LinkKind
from artemis.client.telemetry.contract import CallTelemetry, Telemetry
from artemis.client.telemetry.logs import action_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from artemis.client.events import ClientEvent
    from artemis.client.telemetry.contract import AttemptEnded, CallEnded
    from artemis.client.telemetry.readings import ClientReading, Readings

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram: an answer takes a millisecond, a call with all its repeats ten seconds."""


class PrometheusTelemetry(Telemetry):
    """Shows one client in a registry of prometheus_client; several clients may share the registry.

    ``registry`` is the library's own unless given. ``client`` is the value of the label ``client``; unless given it is
    the smallest number from 1 that no open client has. Counters stay when the client is left, gauges go. A client of a
    name that an open one has replaces its gauges.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, client: str | None = None) -> None:
        self._families = families(REGISTRY if registry is None else registry)
        self._wanted = client
        self._client = client or ""
        self._reading: Readings | None = None

    def opened(self, client: Readings) -> None:
        """See `Telemetry.opened`; in the child of a fork it is for the second time, and the first client is gone."""
        self.closed()
        self._reading = client
        self._client = self._families.begin(self._wanted, client)

    def closed(self) -> None:
        """See `Telemetry.closed`."""
        if self._reading is not None:
            self._families.end(self._client, self._reading)

    def call(self, operation: str) -> CallTelemetry:
        """See `Telemetry.call`."""
        return _Call(self._families, self._client, operation)

    def event(self, event: ClientEvent) -> None:
        """See `Telemetry.event`."""
        self._families.events.labels(self._client, action_of(type(event))).inc()
        if isinstance(event, LinkChanged):
            self._families.switches.labels(self._client, event.new.value).inc()


class _Call(CallTelemetry):
    def __init__(self, families: Families, client: str, operation: str) -> None:
        self._families = families
        self._labels = (client, operation)

    def attempted(self, attempt: AttemptEnded) -> None:
        self._families.attempts.labels(*self._labels, attempt.via, attempt.outcome).inc()

    def ended(self, call: CallEnded) -> None:
        self._families.calls.labels(*self._labels, call.outcome).inc()
        self._families.seconds.labels(*self._labels).observe(call.seconds)


class Families(Collector):
    """All metrics of one registry. Shared by the clients in it, whose numbers it reads at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by = ("client", "operation")
        self.calls = Counter(
            "artemis_client_calls", "Calls to the registry by how they ended.", (*by, "outcome"), registry=registry
        )
        self.seconds = Histogram(
            "artemis_client_call_seconds", "Seconds of a call with its repeats.", by, registry=registry, buckets=SECONDS
        )
        self.attempts = Counter(
            "artemis_client_attempts", "Requests to one node each.", (*by, "via", "outcome"), registry=registry
        )
        self.events = Counter(
            "artemis_client_events", "What happened to clients.", ("client", "event"), registry=registry
        )
        self.switches = Counter(
            "artemis_client_link_switches",
            "How often changes were heard of in this way from then on.",
            ("client", "link"),
            registry=registry,
        )
        self._open: dict[str, Readings] = {}
        self._lock = threading.Lock()  # scrapes come from any thread
        registry.register(self)

    def begin(self, wanted: str | None, client: Readings) -> str:
        """Show a client from now on; return its name."""
        with self._lock:
            name = wanted or next(each for each in map(str, count(1)) if each not in self._open)
            self._open[name] = client
            return name

    def end(self, name: str, client: Readings) -> None:
        """Show a client no longer."""
        with self._lock:
            if self._open.get(name) is client:
                del self._open[name]

    def describe(self) -> Iterable[Metric]:
        """Return the families without numbers, so that registering them asks no client."""
        return [*_gauges({}), *_counters({})]

    def collect(self) -> Iterator[Metric]:
        """Read every open client."""
        with self._lock:
            clients = dict(self._open)
        readings = {name: client.now() for name, client in clients.items()}
        yield from _gauges(readings)
        yield from _counters(readings)


def _gauges(readings: dict[str, ClientReading]) -> Iterator[Metric]:
    state = GaugeMetricFamily("artemis_client_state", "1 for the state it is in.", labels=("client", "state"))
    link = GaugeMetricFamily("artemis_client_link", "1 for how changes are heard of.", labels=("client", "link"))
    services = GaugeMetricFamily("artemis_client_services", "Services in use.", labels=("client",))
    age = GaugeMetricFamily("artemis_client_view_age_seconds", "Age of the oldest view.", labels=("client",))
    held = GaugeMetricFamily(
        "artemis_client_instances_held", "Instances that the guard keeps in views.", labels=("client",)
    )
    leases = GaugeMetricFamily("artemis_client_leases", "Registrations by state.", labels=("client", "state"))
    for name, reading in readings.items():
        for one in ConnectionState:
            state.add_metric((name, one.value), one is reading.state)
        for kind in LinkKind:
            link.add_metric((name, kind.value), kind is reading.link)
        services.add_metric((name,), reading.services)
        if reading.oldest_age is not None:
            age.add_metric((name,), reading.oldest_age)
        held.add_metric((name,), reading.held)
        for lease_state, number in reading.leases.items():
            leases.add_metric((name, lease_state), number)
    yield from (state, link, services, age, held, leases)


def _counters(readings: dict[str, ClientReading]) -> Iterator[Metric]:
    pushes = CounterMetricFamily("artemis_client_pushes", "Pushes received.", labels=("client", "link"))
    missed = CounterMetricFamily(
        "artemis_client_events_missed", "Events that slow listeners did not get.", labels=("client",)
    )
    dropped = CounterMetricFamily(
        "artemis_client_dropped_entries", "Unusable entries left out of answers.", labels=("client",)
    )
    outdated = CounterMetricFamily(
        "artemis_client_older_answers", "Answers and pushes older than what is shown, left out.", labels=("client",)
    )
    for name, reading in readings.items():
        for kind, number in reading.pushes.items():
            pushes.add_metric((name, kind), number)
        missed.add_metric((name,), reading.missed)
        dropped.add_metric((name,), reading.dropped)
        outdated.add_metric((name,), reading.outdated)
    yield from (pushes, missed, dropped, outdated)


_families: WeakKeyDictionary[CollectorRegistry, Families] = WeakKeyDictionary()
_making = threading.Lock()


def families(registry: CollectorRegistry) -> Families:
    """Return the families of a registry, made at the first use."""
    with _making:
        found = _families.get(registry)
        if found is None:
            found = _families[registry] = Families(registry)
        return found
