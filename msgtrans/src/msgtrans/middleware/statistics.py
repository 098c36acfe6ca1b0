"""What a server tells of itself to whoever asks it over the protocol: `msgtrans top` does (specification 4.4).

A request of the chosen biz_type whose ext header is `msgtrans.statistics` is answered with a `ServerStatistics` as
JSON; everything else passes. Off unless used; put it inside of authentication if not everybody may ask.
Not here: the counters themselves (`stats`).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import msgspec

from msgtrans._version import __version__
from msgtrans.errors import ConfigurationError
from msgtrans.middleware.base import Middleware
from msgtrans.monitor.latency import Latencies
from msgtrans.stats import EndpointStats

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from msgtrans.client import TransportClient
    from msgtrans.endpoint import Endpoint
    from msgtrans.handlers import Answer, Context, RequestHandler
    from msgtrans.monitor.watching import Monitor
    from msgtrans.session import Session
    from msgtrans.workers.link import WorkerLink
    from msgtrans.workers.messages import Group

BIZ_TYPE: Final = 255
EXT_HEADER: Final = b"msgtrans.statistics"
TOLD: Final = 5  # decisions of the tuning
WINDOW: Final = 10.0  # seconds that rates of protocols are over
LISTED: Final = 50  # sessions told of at most
logger = logging.getLogger("msgtrans.middleware")
FRESH: Final = 0.5  # seconds for which an answer is given again, so that asking often costs nothing


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One open session. peer: "host:port", empty where the transport knows no addresses; seconds: since it opened.

    outbound_bytes: queued, and not taken by the system yet. pending: requests of the server's own not answered yet.
    asked: how long those that were answered waited for it, with detailed monitoring; None without any.
    """

    id: int
    protocol: str
    peer: str
    seconds: float
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    outbound_bytes: int
    pending: int
    asked: Latencies | None = None


class WorkerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process of a server. index: its place, from 0; uptime: seconds since this process started.

    ready: whether it listens. reported: seconds since it said what `counters` are; more than a few mean that it hangs.
    """

    index: int
    pid: int
    ready: bool
    uptime: float
    reported: float
    counters: EndpointStats


class ProtocolSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions of one protocol. sessions: open now. The rest: per second, over the last ten seconds."""

    name: str
    sessions: int
    packets_sent: float
    packets_received: float
    bytes_sent: float
    bytes_received: float


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What a server knows of itself that is watched or tuned (`connection=`, `expert=`).

    health: 100 when all is well, down to 0; alerts: "what value, level level". p99_latency_us: microseconds to handle
    requests. All None or empty without a monitor. protocols: with detailed monitoring. decisions: the last 5 of the
    tuning, as "what before -> after: why". asked: as of a session, of all together.
    """

    health: float | None = None
    p99_latency_us: float | None = None
    alerts: list[str] = []
    protocols: list[ProtocolSummary] = []
    decisions: list[str] = []
    asked: Latencies | None = None


class ServerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one moment. time: Unix seconds; uptime: seconds since it started; listeners: URIs.

    sessions: the open ones with the most packets, 50 at most, busiest first; `counters.connections_open` counts all.
    workers: of a server with several processes; then `counters` are the sums of all, those that have ended included,
    and sessions are those of the one that answers, `worker`, None without several. restarts: how often a worker that
    failed was replaced. watched: of the process that answers.
    """

    name: str
    version: str
    time: float
    uptime: float
    listeners: list[str]
    counters: EndpointStats
    sessions: list[SessionSummary]
    workers: list[WorkerSummary] = []
    restarts: int = 0
    watched: Watched = Watched()
    worker: int | None = None


class StatisticsMiddleware(Middleware):
    """Answers requests for statistics. name: how the server calls itself, default "msgtrans".

    biz_type: that of the requests it answers, default 255. An answer is at most half a second old; making one looks at
    every open session, so a new one is made at most twice a second, however many ask. In a worker process it tells of
    all workers: it asks the supervisor, which asks them.
    """

    def __init__(self, biz_type: int = BIZ_TYPE, *, name: str = "msgtrans") -> None:
        if not 0 <= biz_type <= 255:
            raise ConfigurationError("biz_type", f"is {biz_type}; use 0 to 255")
        self._biz_type = biz_type
        self._name = name
        self._answers: WeakKeyDictionary[Endpoint, tuple[float, bytes]] = WeakKeyDictionary()
        self._asking: WeakKeyDictionary[Endpoint, asyncio.Task[bytes]] = WeakKeyDictionary()

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """Answer if it asks for statistics."""
        if context.biz_type != self._biz_type or context.ext_header != EXT_HEADER:
            return call(context)
        endpoint, now = context.session.endpoint, time.monotonic()
        made, answer = self._answers.get(endpoint, (-FRESH, b""))
        if now - made < FRESH:
            return answer
        if endpoint.worker_link is not None:
            return self._ask_group(endpoint, endpoint.worker_link)
        answer = msgspec.json.encode(statistics_of(endpoint, self._name))
        self._answers[endpoint] = (now, answer)
        return answer

    def _ask_group(self, endpoint: Endpoint, link: WorkerLink) -> Awaitable[bytes]:
        """Ask once, however many want to know."""
        task = self._asking.get(endpoint)
        if task is None or task.done():
            task = asyncio.get_running_loop().create_task(self._of_group(endpoint, link))
            self._asking[endpoint] = task
        return asyncio.shield(task)

    async def _of_group(self, endpoint: Endpoint, link: WorkerLink) -> bytes:
        found = statistics_of(endpoint, self._name)
        try:
            found = of_group(found, await link.group())
        except TimeoutError:
            logger.warning("the supervisor does not answer; statistics are those of this worker alone")
        answer = msgspec.json.encode(found)
        self._answers[endpoint] = (time.monotonic(), answer)
        return answer


def statistics_of(endpoint: Endpoint, name: str = "msgtrans") -> ServerStatistics:
    """What `StatisticsMiddleware` tells of `endpoint` now."""
    now = time.time()
    busiest = heapq.nlargest(
        LISTED, endpoint.sessions.values(), key=lambda session: session.packets_sent + session.packets_received
    )
    return ServerStatistics(
        name=name,
        version=__version__,
        time=now,
        uptime=max(0.0, now - endpoint.started_at),
        listeners=endpoint.uris,
        counters=endpoint.stats(),
        sessions=[_summary(session, now) for session in busiest],
        watched=_watched(endpoint),
        worker=endpoint.worker_link.worker.index if endpoint.worker_link is not None else None,
    )


def _watched(endpoint: Endpoint) -> Watched:
    tuned = endpoint.tuning.decisions[-TOLD:] if endpoint.tuning is not None else ()
    decisions = [f"{decision.what} {decision.before} -> {decision.after}: {decision.why}" for decision in tuned]
    if endpoint.monitor is None:
        return Watched(decisions=decisions)
    board = endpoint.monitor.dashboard()
    return Watched(
        health=board.health_score,
        p99_latency_us=board.p99_latency_us,
        alerts=[alert.brief() for alert in board.alerts],
        protocols=[
            ProtocolSummary(
                name=name,
                sessions=history.latest.sessions if history.latest is not None else 0,
                packets_sent=rates.packets_sent,
                packets_received=rates.packets_received,
                bytes_sent=rates.bytes_sent,
                bytes_received=rates.bytes_received,
            )
            for name, history in sorted(endpoint.monitor.protocols.items())
            for rates in (history.rates(WINDOW),)
        ],
        decisions=decisions,
        asked=_asked(endpoint.monitor),
    )


def _asked(monitor: Monitor | None, session: Session | None = None) -> Latencies | None:
    found = monitor.asked(session) if monitor is not None else Latencies()
    return found if found.count else None


def of_group(one: ServerStatistics, group: Group) -> ServerStatistics:
    """The statistics of one worker, made those of all."""
    return msgspec.structs.replace(
        one,
        uptime=group.uptime,
        counters=_counters(group.total),
        workers=[
            WorkerSummary(
                index=worker.index,
                pid=worker.pid,
                ready=worker.ready,
                uptime=worker.uptime,
                reported=worker.reported,
                counters=_counters(worker.counters),
            )
            for worker in group.workers
        ],
        restarts=group.restarts,
    )


def _counters(named: dict[str, int]) -> EndpointStats:
    return msgspec.convert(named, EndpointStats)  # what a worker of another version counts beside is left out


def _summary(session: Session, now: float) -> SessionSummary:
    info, stats = session.info(), session.stats()
    return SessionSummary(
        id=info.session_id,
        protocol=info.protocol,
        peer=str(info.peer_address or ""),
        seconds=max(0.0, now - info.established_at),
        packets_sent=info.packets_sent,
        packets_received=info.packets_received,
        bytes_sent=info.bytes_sent,
        bytes_received=info.bytes_received,
        outbound_bytes=stats.outbound_bytes,
        pending=stats.pending_requests,
        asked=_asked(session.endpoint.monitor, session),
    )


async def fetch_statistics(
    peer: TransportClient | Session, *, biz_type: int = BIZ_TYPE, seconds: float | None = None
) -> ServerStatistics:
    """Ask a peer for its statistics. seconds: how long to wait, default `request_timeout`.

    Raises what `request` raises (TransportTimeoutError when the peer does not answer such requests), and
    msgspec.ValidationError when it answers something else.
    """
    answer = await peer.request(b"", biz_type=biz_type, ext_header=EXT_HEADER, timeout=seconds)
    return msgspec.json.decode(answer.payload, type=ServerStatistics)
