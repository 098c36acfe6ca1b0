"""A node and its doors in one process: listener, clock, start and a designed end.

Everything that decides anything is elsewhere; here is only what binds it to sockets, time and the process.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.standing import SERVICES, Service, Switch
from artemis.discovery.filters import make_filters
from artemis.model.nodes import UP
from artemis.registry import Cut
from artemis.server.admin import AdminGuard, admin_guard, readable_by_others
from artemis.server.binary.door import BinaryDoor
from artemis.server.binary.subscriptions import Subscriptions
from artemis.server.cluster_metrics import cluster_metrics
from artemis.server.config import ServeConfig, own_url
from artemis.server.data_directory import DirectoryLock, hold
from artemis.server.describe import describe
from artemis.server.gate import Gate
from artemis.server.http.application import Application
from artemis.server.http.calls import Calls
from artemis.server.http.door import HttpDoor
from artemis.server.http.limits import HttpLimits
from artemis.server.http.pages import Pages
from artemis.server.http.routes import Routes
from artemis.server.identity import Identified, identify
from artemis.server.metrics import Metrics, Snapshot
from artemis.server.node import Node, NodeIdentity
from artemis.server.pauses import Pauses
from artemis.server.persistence import LATEST, PREVIOUS, Persistence
from artemis.server.provenance import shown_settings
from artemis.server.rate_limit import rate_limits
from artemis.server.reload import Reconfiguration, node_limits, node_timings, preserve, reconfigured
from artemis.server.turns import in_turns
from artemis.server.websocket.door import WebSocketDoor
from artemis.server.websocket.heartbeats import Heartbeats
from artemis.server.websocket.limits import WebSocketLimits
from artemis.server.websocket.sessions import session_policy
from msgtrans import CloseReason, CodecOptions, Session, SessionConfig, TransportServer
from msgtrans.adapters.unified_port import UnifiedPort
from msgtrans.config import WebSocketServerConfig

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.clustered import Clustered

#: Seconds between two ticks of the node.
_TICK = 0.1
#: Leases that expire in one turn of the loop, about 3 ms, and turns that may then pass until all are told of them.
_TICK_LIMIT = 200
_TELLING_TURNS = 4
#: Seconds without a packet after which a MsgTrans session ends.
_SESSION_IDLE = 300.0
#: The doors, as statistics name them.
_DOORS = ("http", "websocket", "msgtrans")
#: Seconds that a shutdown waits for answers under way.
_DRAIN = 5.0


class ListenError(Exception):
    """The port cannot be had; the text says which and what to do."""


def now_ms() -> int:
    """The node's clock: monotonic milliseconds."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """The wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


class NodeServer:
    """One node with its doors on one port.

    `await start()`, then it serves until `await stop()`; both once. `await claim()` before `start` is for those who may
    give up waiting. Owns its listener, its connections and its timer
    and runs on the loop that called `start`. `limits` and `websocket_limits` bound connections; the limit of
    bodies and messages comes from `config`.
    """

    def __init__(
        self,
        config: ServeConfig,
        log: FilteringBoundLogger,
        limits: HttpLimits | None = None,
        websocket_limits: WebSocketLimits | None = None,
    ) -> None:
        self._config = config
        self._log = log
        self._limits = msgspec.structs.replace(limits or HttpLimits(), body_size=config.max_body_size)
        self._websocket_limits = msgspec.structs.replace(
            websocket_limits or WebSocketLimits(), message_size=config.max_body_size
        )
        self.counters: dict[str, Counter[str]] = {name: Counter() for name in _DOORS}
        self._requests: dict[str, Counter[str]] = {name: Counter() for name in _DOORS}
        #: Asked about every request by all doors; `configure` changes the limits while it serves.
        self.gate = Gate(rate_limits(config))
        #: Where it listens: host and port.
        self.address = (config.host, config.port)
        self.node: Node
        self._pauses: Pauses
        self._kept_operations = 0
        #: The snapshots of a node with a data directory.
        self.persistence: Persistence | None = None
        #: Replica and links of a node with peers.
        self.cluster: Clustered | None = None
        self._http: HttpDoor
        self.websocket: WebSocketDoor
        self._binary: TransportServer
        self._door: BinaryDoor
        self._subscriptions: Subscriptions
        self._port: UnifiedPort
        self._listener: asyncio.Server | None = None
        self._lock: DirectoryLock | None = None
        self._timer: asyncio.Handle | None = None
        self._next_second = 0.0
        self._preserved = {"leases": False, "legacy leases": False}
        self._forced: Mapping[Service, Switch] = {}
        #: Set when an operator lets the node leave its cluster for good; whoever runs it then calls `stop`.
        self.leaving = asyncio.Event()

    @property
    def url(self) -> str:
        """The address as a URL."""
        host, port = self.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def config(self) -> ServeConfig:
        """The options in effect."""
        return self._config

    def reconfigure(self, config: ServeConfig) -> Reconfiguration:
        """Take over what can change while the node runs, and tell what did and what waits for the next start."""
        outcome = reconfigured(self, self._config, config)
        self._config = outcome.config
        settings = shown_settings(outcome.config, self.node.identity.url)
        self.node.about = msgspec.structs.replace(self.node.about, settings=settings)
        return outcome

    def bound_connections(self, limit: int) -> None:
        """Let at most `limit` connections be open; those that are stay."""
        self._binary.max_connections = self._port.max_connections = limit

    async def claim(self) -> None:
        """Take the data directory and the address; nothing is read, written or answered yet. Done by `start` otherwise.

        Another process that is about to leave them is waited for. Can be cancelled, and then has taken nothing. Raises
        `DataDirectoryError` and `ListenError`.
        """
        if self._config.data_dir is not None:
            self._lock = await hold(self._config.data_dir)
        try:
            self._listener = await self._bind()
        except BaseException:
            self._give_up()
            raise

    async def _bind(self) -> asyncio.Server:
        config = self._config
        try:
            return await asyncio.get_running_loop().create_server(
                self._accept, config.host, config.port, backlog=1024, start_serving=False
            )
        except OSError as error:
            advice = "choose another --host" if isinstance(error, socket.gaierror) else "choose another --port"
            text = f"cannot listen on {config.host}:{config.port}: {error.strerror or error}; {advice}"
            raise ListenError(text) from error

    def _give_up(self) -> None:
        """Leave the address and the data directory to others."""
        if self._listener is not None:
            self._listener.close()
        if self._lock is not None:
            self._lock.release()

    async def start(self) -> None:
        """Claim, make the node and serve.

        Raises `ListenError` when the address cannot be had, `DataDirectoryError` when the data directory and
        `AdminTokenError` when the token file cannot be used.
        """
        guard = self._admin_guard()
        if self._listener is None:
            await self.claim()
        try:
            await self._serve(guard)
        except BaseException:
            self._give_up()
            raise

    async def _serve(self, guard: AdminGuard) -> None:
        if self._listener is None:
            raise RuntimeError("claim first")
        loop = asyncio.get_running_loop()
        config = self._config
        host, port = self._listener.sockets[0].getsockname()[:2]
        self.address = (host, port)
        url = own_url(config, port)
        identified = self._identify(url)
        identity = identified.identity
        node_identity = NodeIdentity(
            node_id=identity.node_id, epoch=identity.epoch, region=config.region, zone=config.zone, url=url
        )
        saved = None
        if config.data_dir is not None:
            self.persistence = Persistence(config.data_dir, config.snapshot_interval, self._log)
            self.persistence.told_first(identified.damage, enforced=self._lock is None or self._lock.enforced)
            saved = self.persistence.load(node_identity, identity.previous)
        self.node = Node(
            node_identity,
            timings=node_timings(config),
            limits=node_limits(config),
            allow_registry_from_other_zone=config.allow_registry_from_other_zone,
            allow_discovery_from_other_zone=config.allow_discovery_from_other_zone,
            filters=make_filters(config.filters),
            saved=saved,
            wall_clock=wall_ms,
            now=now_ms(),
            wall=wall_ms(),
        )
        preserve(self, config)
        self._open_doors(loop, guard)
        self._join()
        self.node.about = describe(
            config, url, now_ms(), doors=self._open_connections, sessions=self.websocket.sessions.counts
        )
        # Reading what was saved takes time in which nobody could be heard.
        self.node.pardon(now_ms())
        self._pauses = Pauses(now_ms())
        self._kept_operations = self.node.operations.revision
        self._tick()
        await self._listener.start_serving()
        if self.cluster is not None:
            self.cluster.start()
        if self.persistence is not None:
            self.persistence.start(self._cut)

    def _join(self) -> None:
        """Make what a node with peers has beside the others."""
        if not self._config.clustered:
            return
        from artemis.server.clustered import Clustered

        cluster = self.cluster = Clustered(
            self._config, self.node, now=now_ms, wall=wall_ms, leave=self._leave, log=self._log
        )
        reception = cluster.mesh.reception
        self._door.mesh = reception.answer
        self._binary.on_message(reception.take)

    def _leave(self, operator: str) -> None:
        """Leave the cluster for good."""
        self._log.warning("node leaves the cluster", operator=operator, consequence="it drains and ends")
        self.leaving.set()

    def _ended(self, session: Session, reason: CloseReason) -> None:
        """A MsgTrans session is gone."""
        self._subscriptions.ended(session, reason)
        if self.cluster is not None:
            self.cluster.mesh.reception.ended(session)

    def _identify(self, url: str) -> Identified:
        config = self._config
        return identify(
            config.data_dir,
            url.partition("//")[2].rstrip("/"),
            wall_ms(),
            region=config.region,
            snapshots=(LATEST, PREVIOUS),
        )

    def _admin_guard(self) -> AdminGuard:
        file = self._config.admin_token_file
        guard = admin_guard(self._config.host, file)
        if file is not None and readable_by_others(file):
            self._log.warning("admin token readable by others", file=str(file), advice="chmod 600 it")
        return guard

    def _open_doors(self, loop: asyncio.AbstractEventLoop, guard: AdminGuard) -> None:
        routes = Routes(prefix=self._config.path_prefix, guard=guard)
        calls = Calls(
            self.node,
            now_ms,
            self._limits.body_size,
            self._report,
            self.counters["http"],
            self._requests["http"],
            self.gate,
            guard,
        )
        pages = Pages(self.node, Metrics(self._snapshot), now_ms, self._config.path_prefix)
        application = Application(calls, routes, pages.table(), self.counters["http"])
        self._http = HttpDoor(calls, routes, application, self._limits, self.counters["http"], loop)
        self._binary = TransportServer(
            session=SessionConfig(
                codec=CodecOptions(max_inflated_size=self._limits.body_size), idle_timeout=_SESSION_IDLE
            ),
            max_connections=self._config.max_connections,
        )
        self._door = BinaryDoor(
            self.node,
            now_ms,
            self._report,
            self.counters["msgtrans"],
            self._requests["msgtrans"],
            max_body_size=self._limits.body_size,
            max_answer_size=self._binary.config.codec.max_payload_size,
            gate=self.gate,
            guard=guard,
        )
        self._binary.on_request(self._door)
        self._subscriptions = self._door.subscriptions
        self._binary.on_disconnect(self._ended)
        self.websocket = self._http.websocket = self._websocket_door(loop)
        self.node.stream.clock, self.node.stream.later = loop.time, loop.call_soon
        self._port = UnifiedPort(
            msgtrans=self._binary.protocol_factory(),
            http=self._http,
            websocket=self.websocket,
            deadline=self._limits.head_deadline,
            max_connections=self._config.max_connections,
        )

    def _websocket_door(self, loop: asyncio.AbstractEventLoop) -> WebSocketDoor:
        counters, requests = self.counters["websocket"], self._requests["websocket"]
        over_websocket = WebSocketServerConfig(
            max_connections=self._config.max_connections, idle_timeout=_SESSION_IDLE, keepalive=None
        )
        return WebSocketDoor(
            Heartbeats(self.node, now_ms, self._report, counters, requests, self.gate),
            self.node.stream,
            session_policy(self._config),
            self._websocket_limits,
            now=now_ms,
            age=lambda: self.node.age(now_ms()) if self.node.serves_discovery else None,
            msgtrans=self._binary.websocket_factory(over_websocket),
            report=self._report,
            counters=counters,
            loop=loop,
            prefix=self._config.path_prefix,
        )

    def _accept(self) -> asyncio.BaseProtocol:
        return self._port()

    async def _cut(self, final: bool) -> Cut:
        """Everything the node knows. Pull-outs of servers are ended first, or some subscribers would never be told."""
        await in_turns(self._end_pullouts())
        return self.node.cut(now_ms(), wall_ms(), final=final)

    def _end_pullouts(self) -> Generator[None, None, None]:
        while self.node.pullouts.settle():
            yield

    def _report(self, operation: str, trace: str) -> None:
        self._log.error("operation failed", operation=operation, trace=trace)

    def _open_connections(self) -> dict[str, int]:
        return {
            "http": self._http.open_connections,
            "websocket": self.websocket.open_connections,
            "msgtrans": self._binary.stats().connections_open,
        }

    def _snapshot(self) -> Snapshot:
        stats = self.node.stats()
        sessions = msgspec.structs.asdict(self._binary.stats())
        del sessions["connections_open"]
        return Snapshot(
            requests=self._requests,
            rejected=self.counters,
            connections=msgspec.structs.asdict(self._port.stats),
            sessions=sessions,
            registry={
                **msgspec.structs.asdict(self.node.registry.counters),
                "filter_failures": stats.filter_failures,
                "operations_refused": stats.operations_refused,
            },
            rate_limited=self.gate.refused,
            callers=msgspec.structs.asdict(self.gate.callers.counters),
            snapshots={} if self.persistence is None else self.persistence.counters,
            open_connections=self._open_connections(),
            push={
                **msgspec.structs.asdict(self.node.stream.counters),
                **{f"log_{n}": v for n, v in msgspec.structs.asdict(self.node.log.counters).items()},
            },
            websocket=self.websocket.events(),
            websocket_sessions=self.websocket.sessions.counts(),
            node={
                "instances": stats.instances,
                "services": stats.services,
                "dead_records": stats.dead_records,
                "operations": stats.operations,
                "narrowed_views": len(self.node.narrowed),
                "rate_limit_callers": len(self.gate.callers),
                "push_subscribers": self.node.stream.subscribers,
                "push_subscriptions": self.node.stream.subscriptions,
                "change_log_entries": len(self.node.log),
                "pauses": self._pauses.count,
                "unconfirmed": self.node.stale_since is not None,
                **({} if self.persistence is None else self.persistence.last),
                "long_polls": self._http.polls.waiting,
                "up": stats.status == UP,
                "age_seconds": self.node.age(now_ms()) / 1000,
                "self_preservation_active": stats.self_preservation.active,
                "legacy_self_preservation_active": stats.legacy_self_preservation.active,
            },
            cluster=() if self.node.control is None else cluster_metrics(self.node.control, now_ms()),
        )

    def _tick(self) -> None:
        """Let time pass in the node and the HTTP door; when much is due, it is done over several turns of the loop."""
        loop = asyncio.get_running_loop()
        now = now_ms()
        timings = self.node.registry.timings
        pause = self._pauses.note(now, min(timings.ttl, timings.legacy_ttl))
        if pause:
            self.node.pardon(now)
            self._log.warning("node stood still", milliseconds=pause, consequence="every lease gets a fresh TTL")
        try:
            more = self.node.tick(now, wall_ms(), _TICK_LIMIT)
        except Exception as error:  # noqa: BLE001 - a node whose clock stops would keep every dead lease for ever
            more = False
            self._log.error("tick failed", error=repr(error), exc_info=True)
        if self.cluster is not None:
            self.cluster.tick()
        if loop.time() >= self._next_second:
            self._next_second = loop.time() + 1.0
            self._http.tick(time.time())
            self.websocket.tick()
            self._tell_self_preservation()
            self._tell_switches()
            self._keep_operations()
        self._timer = loop.call_soon(self._go_on, _TELLING_TURNS) if more else loop.call_later(_TICK, self._tick)

    def _go_on(self, turns: int) -> None:
        """Go on with what is due. Subscribers are told first: whoever reads promptly shall not fall behind."""
        if turns and (self.websocket.telling or self._subscriptions.pushing):
            self._timer = asyncio.get_running_loop().call_soon(self._go_on, turns - 1)
        else:
            self._tick()

    def _keep_operations(self) -> None:
        """What operators decided is in a snapshot soon, whatever the interval."""
        if self.persistence is not None and self.node.operations.revision != self._kept_operations:
            self._kept_operations = self.node.operations.revision
            self.persistence.soon()

    def _tell_self_preservation(self) -> None:
        """Log when self-preservation begins or ends, with its numbers and reason."""
        states = dict(zip(("leases", "legacy leases"), self.node.registry.self_preservation(), strict=True))
        for name, state in states.items():
            if state.active != self._preserved[name]:
                self._preserved[name] = state.active
                log = self._log.warning if state.active else self._log.info
                action = "self-preservation began" if state.active else "self-preservation ended"
                log(action, of=name, reason=state.reason, live=state.live, heard=state.heard, hold_ms=state.hold)

    def _tell_switches(self) -> None:
        """Log what operators have switched."""
        forced = self.node.availability.forced
        for service in SERVICES:
            switch = forced.get(service)
            if switch != self._forced.get(service):
                how = {"force": "off"} if switch is None else {"force": switch.direction, "operator": switch.operator}
                self._log.warning("service switched by hand", service=service, **how)
        self._forced = forced

    async def stop(self) -> None:
        """Refuse new work, let what is under way finish for at most 5 s, then close everything."""
        self._log.info("node draining")
        self.node.drain(now_ms())
        if self._listener is not None:
            self._listener.close()
        self._port.close()
        self._http.drain()
        self.websocket.drain()
        if self.cluster is not None:
            await self.cluster.stop(leaving=self.leaving.is_set())
        try:
            async with asyncio.timeout(_DRAIN):
                await self._binary.stop()
                await self._http.wait_closed()
                await self.websocket.wait_closed()
        except TimeoutError:
            self._log.warning("drain timed out", open_connections=self._http.open_connections)
        await self._http.abort()
        self.websocket.abort()
        if self._timer is not None:
            self._timer.cancel()
        if self.persistence is not None:
            await self.persistence.stop(self._cut)
        self._give_up()
        self._log.info("node stopped")
