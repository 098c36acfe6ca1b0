"""Watch a server or client: samples with history, for all of it, each protocol, and sessions that one asks for.

    async with server, Monitor(server) as monitor:
        ...
        print(monitor.dashboard().health_score)

One timer per monitor. Without one nothing here costs anything.
Not here: what figures mean (`dashboard`), and how others get them (`families`, `http`, `collector`).
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import logging
import time
from typing import TYPE_CHECKING, Final, Self

import msgspec

from msgtrans.adapters.buffers import buffer_pool
from msgtrans.config.performance import AlertLevels, PerformanceConfig
from msgtrans.errors import ConfigurationError, ResourceError
from msgtrans.field_types import check_seconds, check_type, shown
from msgtrans.middleware.base import Middleware
from msgtrans.monitor.asking import TimedRequests
from msgtrans.monitor.dashboard import Dashboard, assess
from msgtrans.monitor.families import (
    asked_families,
    families,
    monitor_families,
    protocol_families,
    render,
)
from msgtrans.monitor.history import History, Sample
from msgtrans.monitor.latency import Latencies, LatencyHistogram
from msgtrans.monitor.memory import memory_allowed, memory_used
from msgtrans.monitor.together import states_of, sums_of
from msgtrans.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.events import CloseReason
    from msgtrans.handlers import Answer, Context, RequestHandler
    from msgtrans.monitor.families import Family, Labels
    from msgtrans.packet import Packet
    from msgtrans.requests import PendingRequests

WINDOW: Final = 10.0  # seconds that the dashboard looks back
SHARE: Final = 100  # samples take one part in so many of the time, at most
CHECKED: Final = 1.0  # seconds between two looks at the alerts
FOLLOWED: Final = 100  # sessions with a history of their own at once
TOLD: Final = 20  # sessions that Prometheus is told of
logger = logging.getLogger("msgtrans.monitor")


class Monitor:
    """Watches one endpoint while it is entered. Make it before the first session; it belongs to the endpoint's loop.

    config: how closely. alerts: from where on it warns, in the log and in the dashboard; default what config says.
    last_error: of the last session that ended with one, with detailed monitoring. Requests are timed from where they
    come in to the answer of their handler, inside of middleware that is used already; those answered later by hand are
    not. Requests of our own are timed from the call to the answer.
    Raises ConfigurationError for what is no endpoint and, with detailed monitoring, while sessions are open.
    """

    def __init__(
        self, endpoint: Endpoint, config: PerformanceConfig | None = None, *, alerts: AlertLevels | None = None
    ) -> None:
        from msgtrans.endpoint import Endpoint  # which makes monitors itself

        if not isinstance(endpoint, Endpoint):
            raise ConfigurationError(
                "endpoint", f"is {shown('endpoint', endpoint)}; use a TransportServer, a TransportClient or the like"
            )
        check_type("config", config, PerformanceConfig, none=True)
        check_type("alerts", alerts, AlertLevels, none=True)
        self.config = config or PerformanceConfig()
        if self.config.enable_detailed_monitoring and endpoint.sessions:
            raise ConfigurationError(
                "endpoint",
                "has sessions already; make a Monitor before the server starts or the client connects, "
                "or one with PerformanceConfig(enable_detailed_monitoring=False)",
            )
        self.levels = alerts or self.config.alerts
        self.last_error: TransportError | None = None
        self.samples = 0
        self._endpoint = endpoint
        self._histogram = LatencyHistogram() if self.config.enable_detailed_monitoring else None
        self._answers = LatencyHistogram() if self._histogram is not None else None
        self._asking: dict[Session, TimedRequests[asyncio.Future[Packet]]] = {}
        self._history = self._new_history()
        self._protocols: dict[str, History] = {}
        self._ended: dict[str, list[int]] = {}  # by protocol: what sessions that are closed moved
        self._followed: dict[Session, History] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._buffers: tuple[int, int] = (0, 0)  # hits and misses when the alerts were looked at last
        self._alerting: frozenset[str] = frozenset()
        self._checked_at = self._reported_at = time.monotonic()
        self._allowed = memory_allowed()
        self._hits = (0, 0)
        if self._histogram is not None:
            endpoint.use(_Watch(self, self._histogram))

    # Its life

    def start(self) -> None:
        """Begin to sample, in the loop that runs; nothing happens when it does already. In a worker process, what it
        sees goes into the reports of the worker from then on.
        """
        if self._timer is None:
            link = self._endpoint.worker_link
            if link is not None:
                link.figures = self.figures
            self._checked_at = self._reported_at = time.monotonic()
            self._buffers = self._buffer_use()
            self._tick()

    def stop(self) -> None:
        """Sample no more; what was seen stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()

    # What users read

    @property
    def history(self) -> History:
        """Of the whole endpoint."""
        return self._history

    @property
    def protocols(self) -> Mapping[str, History]:
        """Of each protocol that there was a session of, by name; empty without detailed monitoring."""
        return self._protocols

    def follow(self, session: Session) -> History:
        """The history of one session, from now until it is closed; at most 100 sessions at once, else ResourceError."""
        if not isinstance(session, Session):
            raise ConfigurationError("session", f"is {shown('session', session)}; use a Session of this endpoint")
        found = self._followed.get(session)
        if found is None:
            if len(self._followed) >= FOLLOWED:
                raise ResourceError("sessions that are followed", len(self._followed), FOLLOWED)
            found = self._followed[session] = self._new_history()
            found.add(self._sample_of_one(session, time.monotonic()))
        return found

    def asked(self, session: Session | None = None) -> Latencies:
        """How long requests of our own waited for their answers, on one open session since it opened, or in all.

        Empty without detailed monitoring. Requests without an answer do not count.
        """
        if session is None:
            return self._answers.read() if self._answers is not None else Latencies()
        timed = self._asking.get(session)
        return timed.latencies if timed is not None else Latencies()

    def dashboard(self, seconds: float = WINDOW) -> Dashboard:
        """The last seconds, 10 by default, at a glance. Raises ConfigurationError for what is no such time."""
        check_seconds("seconds", seconds)
        used = memory_used()
        memory = (used, self._allowed) if used is not None and self._allowed is not None else None
        return assess(
            self._history.rates(seconds),
            self.levels,
            sessions=len(self._endpoint.sessions),
            memory=memory,
            buffers=self._hits,
        )

    def families(self) -> list[Family]:
        """Everything it knows, for Prometheus."""
        latencies = self._histogram.read() if self._histogram is not None else None
        latest = self._latest()
        return [
            *families(self._endpoint.stats(), started_at=self._endpoint.started_at),
            *protocol_families(latest),
            *monitor_families(self.dashboard(), latencies, self.samples),
            *(asked_families(self.asked(), self._busiest_asking()) if self._answers is not None else ()),
        ]

    def figures(self) -> tuple[dict[str, float], dict[str, float]]:
        """For reports of a worker: what of it adds up over workers, and what is its own."""
        handled = self._histogram.read() if self._histogram is not None else None
        asked = self._answers.read() if self._answers is not None else None
        latest = self._latest()
        return sums_of(self.samples, latest, handled, asked), states_of(self.dashboard(), latest)

    def prometheus(self) -> str:
        """The same as text, to answer a scrape with."""
        return render(self.families())

    # Sampling

    def sample(self) -> None:
        """Take a sample now, beside those of the timer."""
        now, stats = time.monotonic(), self._endpoint.stats()
        self.samples += 1
        self._history.add(
            Sample(
                at=now,
                sessions=stats.connections_open,
                packets_sent=stats.packets_sent,
                packets_received=stats.packets_received,
                bytes_sent=stats.bytes_sent,
                bytes_received=stats.bytes_received,
                errors=stats.errors().total,
                cpu=time.process_time(),
                latencies=self._histogram.read() if self._histogram is not None else None,
                asked=self._answers.read() if self._answers is not None else None,
            )
        )
        if self._histogram is not None:
            self._sample_protocols(now)
        for session, history in list(self._followed.items()):
            history.add(self._sample_of_one(session, now))
            if session.close_reason is not None:
                del self._followed[session]
                self._asking.pop(session, None)

    def _sample_of_one(self, session: Session, now: float) -> Sample:
        return msgspec.structs.replace(_sample_of([session], now), asked=self.asked(session))

    def _sample_protocols(self, now: float) -> None:
        by_protocol: dict[str, list[Session]] = {name: [] for name in self._ended}
        for session in self._endpoint.sessions.values():
            by_protocol.setdefault(session.protocol, []).append(session)
        for name, sessions in by_protocol.items():
            if name not in self._protocols:
                self._protocols[name] = self._new_history()
            self._protocols[name].add(_sample_of(sessions, now, self._ended.get(name, (0, 0, 0, 0))))

    def _tick(self) -> None:
        begun = time.perf_counter()
        self.sample()
        now = time.monotonic()
        if now - self._checked_at >= CHECKED:
            self._check(now)
        interval = self.config.auto_report_interval
        if interval is not None and now - self._reported_at >= interval:
            self._report(now)
        pause = max(self.config.sampling_interval, SHARE * (time.perf_counter() - begun))
        self._timer = asyncio.get_running_loop().call_later(pause, self._tick)

    def _check(self, now: float) -> None:
        """Say which alerts began, and which are over."""
        self._checked_at = now
        hits, misses = self._buffer_use()
        self._hits = (hits - self._buffers[0], misses - self._buffers[1])
        self._buffers = (hits, misses)
        alerts = {alert.what: alert for alert in self.dashboard().alerts}
        for what, alert in alerts.items():
            if what not in self._alerting:
                logger.warning("%s", alert)
        for what in sorted(self._alerting - alerts.keys()):
            logger.info("%s is within its level again", what)
        self._alerting = frozenset(alerts)

    def _report(self, now: float) -> None:
        board, self._reported_at = self.dashboard(now - self._reported_at), now
        logger.info(
            "%d sessions, %.0f requests/s, %.1f Mbit/s, mean %.0f us, p99 %.0f us, errors %.2f %%, CPU %.0f %%, "
            "health %.0f",
            board.active_connections,
            board.current_qps,
            board.network_throughput_mbps,
            board.avg_latency_us,
            board.p99_latency_us,
            board.error_rate_percent,
            board.cpu_usage_percent,
            board.health_score,
        )

    def _latest(self) -> dict[str, Sample]:
        return {name: sample for name, history in self._protocols.items() if (sample := history.latest) is not None}

    def _buffer_use(self) -> tuple[int, int]:
        stats = buffer_pool(asyncio.get_running_loop()).stats().large  # the class that connections use
        return stats.hits, stats.misses

    def _new_history(self) -> History:
        return History(self.config.metrics_history_size, self.config.monitoring_retention)

    def _busiest_asking(self) -> list[tuple[Labels, Latencies]]:
        """Sessions that had answers, those with most of them first."""
        found = [
            (session, timed.latencies) for session, timed in self._asking.items() if timed.answered and session.is_open
        ]
        busiest = heapq.nlargest(TOLD, found, key=lambda each: each[1].count)
        return [
            ((("session", str(session.id)), ("peer", str(session.peer_address or ""))), latencies)
            for session, latencies in busiest
        ]

    def session_began(self, session: Session) -> None:
        """For its middleware: a session is ready."""
        together = self._answers
        if together is None:
            return

        def timed(plain: PendingRequests[asyncio.Future[Packet]]) -> PendingRequests[asyncio.Future[Packet]]:
            self._asking[session] = made = TimedRequests(plain, together, time.perf_counter)
            return made

        session.time_requests(timed)

    def session_ended(self, session: Session) -> None:
        """For its middleware: a session is closed."""
        if session not in self._followed:
            self._asking.pop(session, None)
        if session.close_error is not None:
            self.last_error = session.close_error
        totals = self._ended.setdefault(session.protocol, [0, 0, 0, 0])
        for at, more in enumerate(_traffic(session)):
            totals[at] += more


class _Watch(Middleware):
    """Times requests both ways, and keeps what sessions moved that are closed."""

    def __init__(self, monitor: Monitor, histogram: LatencyHistogram) -> None:
        self._monitor = monitor
        self._record = histogram.record

    def connected(self, session: Session) -> None:
        """Time what is asked on it."""
        self._monitor.session_began(session)

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """Time it."""
        begun = time.perf_counter()
        answer = call(context)
        if answer is None or type(answer) is bytes or not inspect.isawaitable(answer):
            if answer is not None or not context.unanswered:
                self._record(time.perf_counter() - begun)
            return answer
        return self._later(context, begun, answer)

    def disconnected(self, session: Session, reason: CloseReason) -> None:  # noqa: ARG002 - not of interest
        """Keep what it moved."""
        self._monitor.session_ended(session)

    async def _later(self, context: Context, begun: float, work: Awaitable[Answer]) -> Answer:
        answer = await work
        if answer is not None or not context.unanswered:
            self._record(time.perf_counter() - begun)
        return answer


def exposition(endpoint: Endpoint) -> str:
    """The counters of an endpoint without a monitor as Prometheus text."""
    return render(families(endpoint.stats(), started_at=endpoint.started_at))


def _traffic(session: Session) -> tuple[int, int, int, int]:
    return session.packets_sent, session.packets_received, session.bytes_sent, session.bytes_received


def _sample_of(sessions: list[Session], at: float, before: list[int] | tuple[int, ...] = (0, 0, 0, 0)) -> Sample:
    """The traffic of sessions together, on top of `before`."""
    totals = list(before)
    for session in sessions:
        for place, value in enumerate(_traffic(session)):
            totals[place] += value
    sent, received, bytes_sent, bytes_received = totals
    return Sample(
        at=at,
        sessions=sum(session.close_reason is None for session in sessions),
        packets_sent=sent,
        packets_received=received,
        bytes_sent=bytes_sent,
        bytes_received=bytes_received,
    )
