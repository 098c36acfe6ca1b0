"""A node in one process: what it is made of, in which order that begins, and in which order it ends.

Everything that decides anything is elsewhere, and so are the parts: what is held alone (`claim`), ways in (`doors`),
time (`ticks`), what is known from before (`remembering`), other nodes (`clustering`). Here is only what binds them
together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from artemis.discovery.filters import make_filters
from artemis.registry import Cut
from artemis.server.admin import AdminGuard, admin_guard, readable_by_others
from artemis.server.certificates import Certificates
from artemis.server.claim import Claim, Wanted, take
from artemis.server.clock import now_ms, wall_ms
from artemis.server.config import ServeConfig
from artemis.server.describe import describe
from artemis.server.doors import Doors, Secured
from artemis.server.gate import Gate
from artemis.server.http.limits import HttpLimits
from artemis.server.metrics import Metrics, Snapshot
from artemis.server.node import Node, NodeIdentity
from artemis.server.numbers import numbers
from artemis.server.provenance import shown_settings
from artemis.server.rate_limit import rate_limits
from artemis.server.reload import Reconfiguration, node_limits, node_timings, preserve, recognise, reconfigured
from artemis.server.remembering import cluster_name, data_directory, remember
from artemis.server.retirement import Retirement
from artemis.server.ticks import Ticks
from artemis.server.turns import in_turns
from artemis.server.vitals import VitalsWatch
from artemis.server.websocket.door import WebSocketDoor
from artemis.server.websocket.limits import WebSocketLimits
from artemis.server.workers.shares import shared_out

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.registry.restore import Saved
    from artemis.server.clustering import Clustering
    from artemis.server.federated import Federated
    from artemis.server.mixed import Mixed
    from artemis.server.persistence import Persistence
    from artemis.server.workers.place import Place
    from artemis.server.workers.totals import Totals

#: Seconds that a shutdown waits for answers under way.
_DRAIN = 5.0
#: Seconds that new connections have for their first bytes, once others of the machine take the next ones.
_DECIDED = 1.0


class NodeServer:
    """One node with its doors on one port.

    `await start()`, then it serves until `await stop()`; both once. `await claim()` before `start` is for those who may
    give up waiting. Owns all its parts and runs on the loop that called `start`. `limits` and `websocket_limits` bound
    connections; the limit of bodies and messages comes from `config`. `place` is that of one worker of several.
    """

    def __init__(
        self,
        config: ServeConfig,
        log: FilteringBoundLogger,
        limits: HttpLimits | None = None,
        websocket_limits: WebSocketLimits | None = None,
        *,
        place: Place | None = None,
    ) -> None:
        self._config = config
        self._place = place
        self._log = log
        self._limits, self._websocket_limits = limits, websocket_limits
        #: Asked about every request by all doors; `configure` changes the limits while it serves.
        self.gate = Gate(rate_limits(self.share(config)))
        #: Where it listens: host and port; and without TLS, if it does both.
        self.address = (config.host, config.port)
        self.plain_address: tuple[str, int] | None = None
        self.node: Node
        self.doors: Doors
        #: The snapshots of a node with a data directory.
        self.persistence: Persistence | None = None
        #: What a node with others has beside it.
        self.cluster: Clustering | None = None
        #: The Java side of a node that has Java peers, or had.
        self.mixed: Mixed | None = None
        #: The copies of other regions of a node that shows some, or did.
        self.federated: Federated | None = None
        #: What a node with a certificate serves with.
        self.certificates: Certificates | None = None
        self._metrics = Metrics(self._numbers)
        self._claim: Claim | None = None
        self._rested = False
        self._ticks: Ticks
        self._vitals: VitalsWatch
        #: Set when an operator lets the node leave its cluster for good; whoever runs it then calls `stop`.
        self.leaving = asyncio.Event()
        #: Set when the node has to end, with why in `failure`; whoever runs it then calls `stop`.
        self.failing = asyncio.Event()
        self.failure = ""

    @property
    def url(self) -> str:
        """The address as a URL."""
        return _url(self._config.scheme, self.address)

    @property
    def further_urls(self) -> list[str]:
        """What else it listens on, as URLs: without TLS, and for QUIC."""
        further = [] if self.plain_address is None else [_url("http", self.plain_address)]
        return further + ([_url("quic", self.address)] if self._config.serves_quic else [])

    @property
    def config(self) -> ServeConfig:
        """The options in effect."""
        return self._config

    @property
    def websocket(self) -> WebSocketDoor:
        """The door for WebSocket sessions, once it serves."""
        return self.doors.websocket

    @property
    def counters(self) -> Mapping[str, Counter[str]]:
        """What was turned away, by door, once it serves."""
        return self.doors.counters

    def share(self, config: ServeConfig) -> ServeConfig:
        """Return the options with this process' part of those limits that hold for the machine; all of them if it is
        alone."""
        return config if self._place is None else shared_out(config, self._place)

    def reconfigure(self, config: ServeConfig) -> Reconfiguration:
        """Take over what can change while the node runs, and tell what did and what waits for the next start."""
        outcome = reconfigured(self, self._config, config)
        self._config = outcome.config
        settings = shown_settings(outcome.config, self.node.identity.url)
        self.node.about = msgspec.structs.replace(self.node.about, settings=settings)
        return outcome

    def mix(self, config: ServeConfig) -> None:
        """Have these Java peers from now on, also if there were none before."""
        if self.mixed is not None:
            self.mixed.reconfigure(config)
        elif config.java_peers:
            self._mix(config, first=False).start()

    def federate(self, config: ServeConfig) -> None:
        """Show these other regions from now on, also if there were none before."""
        if self.federated is None:
            if not config.federate:
                return
            from artemis.server.federated import Federated

            self.federated = Federated(config, self.node, self._log)
        self.federated.reconfigure(config)

    def bound_connections(self, limit: int) -> None:
        """Let at most `limit` connections be open; those that are stay."""
        self.doors.bound_connections(limit)

    # -- the start

    async def claim(self) -> None:
        """Take the data directory and the address; nothing is read, written or answered yet. Done by `start` otherwise.

        Another process that is about to leave them is waited for. Can be cancelled, and then has taken nothing. Raises
        `DataDirectoryError`, `ListenError` and `CertificateError`.
        """
        config = self._config
        self.certificates = self._read_certificate()
        tls = None if self.certificates is None else self.certificates.tls
        wanted = Wanted(config.host, config.port, tls, config.plain_port, udp=config.serves_quic, place=self._place)
        self._claim = await take(data_directory(config, self._place), wanted, self._accept)

    async def start(self) -> None:
        """Claim, make the node and serve.

        Raises `ListenError` when the address cannot be had, `DataDirectoryError` when the data directory,
        `AdminTokenError` when the token file and `CertificateError` when the certificate cannot be used.
        """
        guard = self._admin_guard()
        if self._claim is None:
            await self.claim()
        try:
            await self._serve(guard)
        except BaseException:
            self._give_up()
            raise

    async def _serve(self, guard: AdminGuard) -> None:
        """The order of the start."""
        claim = self._claim
        if claim is None:
            raise RuntimeError("claim first")
        self.address, self.plain_address = claim.address, claim.plain_address
        # What is known from before: who this node is, and what its last snapshot holds.
        known = remember(self._config, self._place, self.address[1], self._log, enforced=claim.enforced)
        identity, saved, self.persistence = known
        self.node = self._make_node(identity, saved)
        self.node.cluster_name = cluster_name(self._config)
        preserve(self, self._config)
        recognise(self, self._config)
        # All that stands around the node; nothing of it answers or asks anybody yet.
        self.doors = self._make_doors(guard, claim)
        self._join(saved)
        if self._config.java_peers:
            self._mix(self._config, first=True)
        self._vitals = VitalsWatch(
            self.node,
            self.doors,
            self.persistence,
            config=lambda: self._config,
            pauses=lambda: self._ticks.pauses,
            wall=wall_ms,
        )
        self.node.about = describe(
            self._config,
            identity.url,
            now_ms(),
            doors=self.doors.open_connections,
            sessions=self.websocket.sessions.counts,
            vitals=self._vitals.read,
        )
        if self._place is not None:
            self._add_up(self._place.totals)
        # Reading what was saved takes time in which nobody could be heard.
        self.node.pardon(now_ms())
        # What can fail first; then time, callers, other nodes, and snapshots of what comes of it.
        await self.doors.start()
        retirement = Retirement(self.node, self.doors, self._leave_retired, self._log)
        self._ticks = Ticks(self.node, self.doors, self.cluster, self.persistence, retirement, self._log)
        self._ticks.start()
        self._vitals.start()
        if self._place is None or not self._place.again:
            await self.open()
        if self.cluster is not None:
            self.cluster.start()
        if self.mixed is not None:
            self.mixed.start()
        self.federate(self._config)
        if self.persistence is not None:
            self.persistence.start(self._cut)

    async def open(self) -> None:
        """Let callers in. Done by `start`, but for a worker that was started again: others of its machine serve, so
        whoever comes to it waits until it has what they have."""
        if self._claim is not None:
            await self._claim.start_serving()

    # -- the end

    async def stop(self) -> None:
        """Refuse new work, let what is under way finish for at most 5 s, then close everything."""
        self._log.info("node draining")
        if self._rested:
            await self._let_go()
        self.node.drain(now_ms())
        if self._claim is not None:
            self._claim.close()
        self.doors.drain()
        if self.cluster is not None:
            await self.cluster.stop(leaving=self.leaving.is_set())
        if self.mixed is not None:
            await self.mixed.stop()
        if self.federated is not None:
            await self.federated.stop()
        if not self._rested:
            await self._let_go()
        await self.doors.abort()
        self._ticks.stop()
        await self._vitals.stop()
        if self.persistence is not None:
            # Last, so that it holds what came until the end; and then the next process may have the directory.
            await self.persistence.stop(self._cut)
        self._give_up()
        self._log.info("node stopped")

    async def rest(self) -> None:
        """Let no more connections in: others of the machine do. `stop` then serves those that there are until they have
        ended, as their clients are at home with the next worker, and are not to hear that this one drains."""
        self._rested = True
        if self._claim is not None:
            await self._claim.rest()
        await self.doors.decided(_DECIDED)

    async def _let_go(self) -> None:
        """Let what is under way finish."""
        self.doors.drain()
        try:
            async with asyncio.timeout(_DRAIN):
                await self.doors.wait_closed()
        except TimeoutError:
            self._log.warning("drain timed out", open_connections=self.doors.http.open_connections)

    def _give_up(self) -> None:
        if self._claim is not None:
            self._claim.give_up()

    # -- how the parts are made

    def _admin_guard(self) -> AdminGuard:
        file = self._config.admin_token_file
        guard = admin_guard(self._config.host, file)
        if file is not None and readable_by_others(file):
            self._log.warning("admin token readable by others", file=str(file), advice="chmod 600 it")
        return guard

    def _read_certificate(self) -> Certificates | None:
        certificate, key = self._config.tls_certificate_file, self._config.tls_key_file
        if certificate is None or key is None:
            return None
        certificates = Certificates(certificate, key, self._config.max_connections, self._log)
        if readable_by_others(key):
            self._log.warning("TLS key readable by others", file=str(key), advice="chmod 600 it")
        return certificates

    def _make_node(self, identity: NodeIdentity, saved: Saved | None) -> Node:
        config = self._config
        return Node(
            identity,
            timings=node_timings(config),
            limits=node_limits(config),
            allow_registry_from_other_zone=config.allow_registry_from_other_zone,
            allow_discovery_from_other_zone=config.allow_discovery_from_other_zone,
            filters=make_filters(config.filters),
            saved=saved,
            first_version=None if self._place is None else self._place.first_version(wall_ms()),
            wall_clock=wall_ms,
            now=now_ms(),
            wall=wall_ms(),
        )

    def _make_doors(self, guard: AdminGuard, claim: Claim) -> Doors:
        secured = None
        if self.certificates is not None:
            offer = offered_port(self.node.identity.url, self.address[1]) if self._config.serves_quic else None
            secured = Secured(self.certificates, claim.udp, offer)
        return Doors(
            self.node,
            self.share(self._config),
            self.gate,
            guard,
            self._metrics,
            limits=self._limits,
            websocket_limits=self._websocket_limits,
            report=self._report,
            secured=secured,
        )

    def _join(self, saved: Saved | None) -> None:
        """Make what a node with others has beside it; `saved` is what it knew before."""
        if not self._config.clustered and self._place is None:
            return
        from artemis.cluster.engine.port import Position
        from artemis.server.clustering import clustering

        bucket = None if saved is None else saved.header.bucket
        self.cluster = clustering(
            self._config,
            self.node,
            position=None if bucket is None else Position(*bucket),
            now=now_ms,
            wall=wall_ms,
            leave=self._leave,
            end=self._fail,
            log=self._log,
            place=self._place,
        )
        self.cluster.enter(self.doors)

    def _add_up(self, totals: Totals) -> None:
        """Show the numbers of the machine where those of one worker would be."""
        totals.own = self._metrics.own
        totals.doors, totals.sessions = self.doors.open_connections, self.websocket.sessions.counts
        self._metrics.families = totals.families
        self.node.about = msgspec.structs.replace(
            self.node.about, doors=totals.open_doors, sessions=totals.open_sessions, workers=totals.workers
        )
        self.doors.gather_first(totals.gather)

    def _mix(self, config: ServeConfig, *, first: bool) -> Mixed:
        """Make what a node with Java peers has beside it; at its `first` start it copies from them."""
        from artemis.server.mixed import Mixed

        cluster = self.cluster
        self.mixed = Mixed(
            config,
            self.node,
            copied_from=lambda: "" if cluster is None else cluster.copied_from,
            copy=first,
            now=now_ms,
            log=self._log,
        )
        return self.mixed

    # -- what the parts call

    def _accept(self) -> asyncio.BaseProtocol:
        """There are no doors yet when the address is claimed, and no connections."""
        return self.doors.accept()

    def _leave(self, operator: str) -> None:
        """Leave the cluster for good; all workers of a machine do, and are told so."""
        self._log.warning("node leaves the cluster", operator=operator, consequence="it drains and ends")
        if self._place is None:
            self.leaving.set()
        else:
            self._place.leave("")

    def _leave_retired(self, operator: str) -> None:
        """The same, when nothing is left to wait for here."""
        retiring = self.node.retiring
        if self._place is None or retiring is None:
            self._leave(operator)
        else:
            self._log.info("worker has handed over what it served", operator=operator)
            self._place.leave(str(retiring.asked))

    def _fail(self, why: str) -> None:
        """End, because there is no going on."""
        if not self.failing.is_set():
            self.failure = why
            self._log.error("node cannot go on", reason=why, consequence="it drains and ends")
            self.failing.set()

    async def _cut(self, final: bool) -> Cut:
        """Everything the node knows. Pull-outs of servers are ended first, or some subscribers would never be told."""
        await in_turns(self._end_pullouts())
        position = None if self.cluster is None else self.cluster.position
        bucket = None if position is None else (position.identity, position.sequence, position.at)
        return self.node.cut(now_ms(), wall_ms(), final=final, cluster=cluster_name(self._config), bucket=bucket)

    def _end_pullouts(self) -> Generator[None, None, None]:
        while self.node.pullouts.settle():
            yield

    def _numbers(self) -> Snapshot:
        return numbers(self.node, self.doors, self.gate, self.persistence, self._ticks.pauses)

    def _report(self, operation: str, trace: str) -> None:
        self._log.error("operation failed", operation=operation, trace=trace)


def offered_port(url: str, port: int) -> int:
    """The port of UDP that a node tells its clients of: they know the node by its URL, so that is where the number is
    looked for; `port` is the one that it listens on."""
    parts = urlsplit(url)
    return (parts.port or 443) if parts.scheme == "https" else port


def _url(scheme: str, address: tuple[str, int]) -> str:
    host, port = address
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
