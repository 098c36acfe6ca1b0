"""The doors of a node: HTTP, WebSocket and MsgTrans, all behind one port, and MsgTrans over QUIC beside it, on UDP. How
they are made, counted and closed.

A new way in is made here. Not here: when they open and close (`app`), and what each of them does (`http`, `websocket`,
`binary`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from artemis.server.binary.door import BinaryDoor
from artemis.server.clock import now_ms
from artemis.server.http.application import Application
from artemis.server.http.calls import Calls
from artemis.server.http.door import HttpDoor
from artemis.server.http.limits import HttpLimits
from artemis.server.http.pages import Pages
from artemis.server.http.routes import Routes
from artemis.server.quic_door import QuicDoor
from artemis.server.websocket.door import WebSocketDoor
from artemis.server.websocket.heartbeats import Heartbeats
from artemis.server.websocket.limits import WebSocketLimits
from artemis.server.websocket.sessions import session_policy
from msgtrans import CloseReason, CodecOptions, Session, SessionConfig, TransportServer
from msgtrans.adapters.unified_port import UnifiedPort
from msgtrans.config import WebSocketServerConfig

if TYPE_CHECKING:
    import socket

    from artemis.cluster.mesh.accepting import Reception
    from artemis.server.admin import AdminGuard
    from artemis.server.certificates import Certificates
    from artemis.server.config import ServeConfig
    from artemis.server.gate import Gate
    from artemis.server.metrics import Metrics
    from artemis.server.node import Node
    from artemis.server.workers.barrier import Barrier
    from msgtrans import ServerTls

#: Seconds without a packet after which a MsgTrans session ends.
_SESSION_IDLE = 300.0
#: The doors, as statistics name them; the last one is there with a certificate only.
_NAMES = ("http", "websocket", "msgtrans")
_QUIC = "quic"
#: Seconds between two looks at connections that are about to say what they are, and looks that must find none.
_LOOK = 0.02
_CALM = 2


class Secured(NamedTuple):
    """What doors have with a certificate: sockets to speak QUIC on, none for no QUIC, and the port to tell clients
    of, None for none; another worker of the machine may speak it."""

    certificates: Certificates
    bound: Sequence[socket.socket]
    offer: int | None


class Doors:
    """Owned by the assembly, on its event loop: connections come by `accept`; the end is `drain`, `wait_closed`,
    `abort`, each once.

    `gate` and `guard` are asked about every request, `report` is told what failed: the operation and the traceback.
    `limits` and `websocket_limits` bound connections; the limit of bodies and messages comes from `config`.
    With `secured`, connections of `accept` may be inside TLS, and `start` opens the door for QUIC.
    `counters` are what was turned away and `requests` what was answered, by door.
    """

    def __init__(
        self,
        node: Node,
        config: ServeConfig,
        gate: Gate,
        guard: AdminGuard,
        metrics: Metrics,
        *,
        limits: HttpLimits | None,
        websocket_limits: WebSocketLimits | None,
        report: Callable[[str, str], None],
        secured: Secured | None = None,
    ) -> None:
        self._node, self._config, self._gate, self._guard, self._report = node, config, gate, guard, report
        self._loop = asyncio.get_running_loop()
        self._limits = msgspec.structs.replace(limits or HttpLimits(), body_size=config.max_body_size)
        self._websocket_limits = msgspec.structs.replace(
            websocket_limits or WebSocketLimits(), message_size=config.max_body_size
        )
        names = (*_NAMES, _QUIC) if secured is not None and secured.bound else _NAMES
        self.counters: dict[str, Counter[str]] = {name: Counter() for name in names}
        self.requests: dict[str, Counter[str]] = {name: Counter() for name in names}
        self._secured = secured
        self._offer = None if secured is None else secured.offer
        self._reception: Reception | None = None
        #: What holds answers until the other workers of the machine have what they are about, None without others.
        self.barrier: Barrier | None = None
        self.http = self._make_http(metrics)
        self.msgtrans = TransportServer(session=self._session(), max_connections=config.max_connections)
        self.binary = self._make_binary("msgtrans", self.msgtrans)
        self.quic: QuicDoor | None = None
        self._over_quic: BinaryDoor | None = None
        if secured is not None and secured.bound:
            self.quic = QuicDoor(secured.certificates, secured.bound, self._session(), config.max_connections)
            self._over_quic = self._make_binary(_QUIC, self.quic.server)
        self.websocket = self.http.websocket = self._make_websocket()
        node.stream.clock, node.stream.later = self._loop.time, self._loop.call_soon
        self._port = UnifiedPort(
            msgtrans=self.msgtrans.protocol_factory(),
            http=self.http,
            websocket=self.websocket,
            deadline=self._limits.head_deadline,
            max_connections=config.max_connections,
        )

    # -- what comes in

    async def start(self) -> None:
        """Let in what does not come by `accept`. Raises `CertificateError`."""
        if self.quic is not None:
            await self.quic.start()

    def accept(self) -> asyncio.BaseProtocol:
        """Return what speaks on a new connection."""
        return self._port()

    def receive(self, reception: Reception) -> None:
        """Let other nodes in: what they say comes on MsgTrans sessions."""
        self._reception = reception
        self.binary.mesh = reception.answer
        self.msgtrans.on_message(reception.take)
        if self.quic is not None and self._over_quic is not None:  # nodes do not meet there, which they are told
            self._over_quic.mesh = reception.answer
            self.quic.server.on_message(reception.take)

    @property
    def tls(self) -> ServerTls | None:
        """What to listen with for those who come by TLS, None without a certificate."""
        return None if self._secured is None else self._secured.certificates.tls

    def hold_answers(self, barrier: Barrier) -> None:
        """Hold the answers of what changed something until the other workers of the machine know it."""
        self.barrier = self.http.calls.barrier = barrier
        for door in (self.binary, self._over_quic):
            if door is not None:
                door.barrier = barrier
        self._heartbeats.barrier = barrier

    def gather_first(self, gather: Callable[[], Awaitable[None]]) -> None:
        """Have the numbers of the other workers of the machine before those of the machine are shown."""
        self.http.calls.gather = gather
        for door in (self.binary, self._over_quic):
            if door is not None:
                door.gather = gather

    def bound_connections(self, limit: int) -> None:
        """Let at most `limit` connections be open; those that are stay."""
        self.msgtrans.max_connections = self._port.max_connections = limit
        if self._secured is not None:
            self._secured.certificates.tls.bound_handshakes(limit)
        if self.quic is not None:
            self.quic.bound_connections(limit)

    def tick(self) -> None:
        """Let a second pass."""
        self.http.tick(time.time())
        self.websocket.tick()

    # -- what is known of them

    @property
    def telling(self) -> bool:
        """Whether subscribers are being told of changes at this moment."""
        over_quic = self._over_quic is not None and self._over_quic.subscriptions.pushing
        return bool(self.websocket.telling or self.binary.subscriptions.pushing or over_quic)

    def open_connections(self) -> dict[str, int]:
        """Return how many connections are open, by door."""
        return {
            "http": self.http.open_connections,
            "websocket": self.websocket.open_connections,
            "msgtrans": self.msgtrans.stats().connections_open,
            **({} if self.quic is None else {_QUIC: self.quic.open_connections}),
        }

    def client_sessions(self) -> int:
        """Return how many sessions clients have, without those of other nodes."""
        binary = self.msgtrans.stats().connections_open + (0 if self.quic is None else self.quic.open_connections)
        return len(self.websocket.sessions) + binary - (0 if self._reception is None else self._reception.open)

    def refuse_sessions(self, *, refuse: bool) -> None:
        """Let no further WebSocket sessions begin, or let them again."""
        self.websocket.refusing = refuse

    def send_away(self, most: int) -> int:
        """Close some WebSocket sessions; return how many are left."""
        return self.websocket.send_away(most)

    def sessions(self) -> Mapping[str, int]:
        """Return what became of all MsgTrans sessions, and of handshakes of TLS."""
        everything = [self.msgtrans.stats()]
        if self._secured is not None:
            everything.append(self._secured.certificates.tls.counters)
        if self.quic is not None:
            everything.append(self.quic.server.stats())
        found: Counter[str] = Counter()
        for counters in map(msgspec.structs.asdict, everything):
            for name in counters:
                found[name] += counters[name]
        if self._secured is not None:  # each file is read for TCP and for QUIC
            certificates = self._secured.certificates
            found["certificate_reloads"], found["certificate_failures"] = certificates.reloads, certificates.failures
        return found

    def certificate(self) -> Mapping[str, float]:
        """Return when the certificate ends, in seconds since 1970; nothing without one."""
        if self._secured is None:
            return {}
        return {"certificate_expiry_timestamp_seconds": self._secured.certificates.expires}

    def connections(self) -> Mapping[str, int]:
        """Return what became of all connections of the port."""
        stats: Mapping[str, int] = msgspec.structs.asdict(self._port.stats)
        return stats

    # -- the end

    async def decided(self, seconds: float) -> None:
        """Wait until all connections have said what they are, at most so long: those that came last are about to."""
        until, calm = self._loop.time() + seconds, 0
        while calm < _CALM and self._loop.time() < until:
            await asyncio.sleep(_LOOK)
            calm = 0 if self._port.undecided else calm + 1

    def drain(self) -> None:
        """Take no new work; what is under way goes on."""
        self._port.close()
        self.http.drain()
        self.websocket.drain()
        if self.quic is not None:
            self.quic.drain()

    async def wait_closed(self) -> None:
        """Wait until what is under way has ended; for as long as that takes."""
        ending = [self.msgtrans.stop()] if self.quic is None else [self.msgtrans.stop(), self.quic.stop()]
        await asyncio.gather(*ending)
        await self.http.wait_closed()
        await self.websocket.wait_closed()

    async def abort(self) -> None:
        """End what is still there."""
        await self.http.abort()
        self.websocket.abort()
        if self.quic is not None:
            await self.quic.abort()

    # -- how each is made

    def _make_http(self, metrics: Metrics) -> HttpDoor:
        prefix, counters = self._config.path_prefix, self.counters["http"]
        routes = Routes(prefix=prefix, guard=self._guard)
        calls = Calls(
            self._node,
            now_ms,
            self._limits.body_size,
            self._report,
            counters,
            self.requests["http"],
            self._gate,
            self._guard,
            offer=self._offer,
        )
        pages = Pages(self._node, metrics, now_ms, prefix)
        application = Application(calls, routes, pages.table(), counters)
        return HttpDoor(calls, routes, application, self._limits, counters, self._loop)

    def _session(self) -> SessionConfig:
        """What holds for MsgTrans sessions."""
        return SessionConfig(codec=CodecOptions(max_inflated_size=self._limits.body_size), idle_timeout=_SESSION_IDLE)

    def _make_binary(self, name: str, server: TransportServer) -> BinaryDoor:
        """Let `server` answer; `name` is the door that it is counted as."""
        door = BinaryDoor(
            self._node,
            now_ms,
            self._report,
            self.counters[name],
            self.requests[name],
            max_body_size=self._limits.body_size,
            max_answer_size=server.config.codec.max_payload_size,
            gate=self._gate,
            guard=self._guard,
            offer=self._offer,
        )
        server.on_request(door)

        @server.on_disconnect
        def ended(session: Session, reason: CloseReason) -> None:
            """A session is gone."""
            door.subscriptions.ended(session, reason)
            if self._reception is not None:
                self._reception.ended(session)

        return door

    def _make_websocket(self) -> WebSocketDoor:
        node, counters = self._node, self.counters["websocket"]
        over_websocket = WebSocketServerConfig(
            max_connections=self._config.max_connections, idle_timeout=_SESSION_IDLE, keepalive=None
        )
        self._heartbeats = Heartbeats(node, now_ms, self._report, counters, self.requests["websocket"], self._gate)
        return WebSocketDoor(
            self._heartbeats,
            node.stream,
            session_policy(self._config),
            self._websocket_limits,
            now=now_ms,
            age=lambda: (node.age(now_ms()), node.missing_nodes) if node.serves_discovery else None,
            region=node.identity.region,
            copied=lambda region: node.regions.known(region) is not None,
            msgtrans=self.msgtrans.websocket_factory(over_websocket),
            report=self._report,
            counters=counters,
            loop=self._loop,
            prefix=self._config.path_prefix,
        )
