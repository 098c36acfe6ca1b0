"""What carries out the commands of a node's core over NATS, and keeps at it for ever: servers, bucket, subjects.

There are two things to lose, and each comes back by itself: the connection, with which all is lost, and the bucket,
without which nodes still hear each other. Whatever happens, the core is told by `opened` and `lost`, and goes on by
itself in between. Not here: what a core does (`artemis.cluster.engine`), and who is a member.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.engine.port import Command, Core, Position, Tell, Told
from artemis.cluster.mesh.pauses import MeshTimings, Pauses
from artemis.cluster.nats.beats import Beats
from artemis.cluster.nats.bucket import Bucket, BucketOptions
from artemis.cluster.nats.calls import Calls
from artemis.cluster.nats.clock import EngineClock
from artemis.cluster.nats.connection import Connection, ConnectionTimings
from artemis.cluster.nats.denials import Denials, Use
from artemis.cluster.nats.ending import end
from artemis.cluster.nats.login import Login
from artemis.cluster.nats.names import Names
from artemis.cluster.nats.session import Session, SessionTimings
from artemis.cluster.nats.trouble import EngineState, TroubleError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.nats.servers import Servers

_READING = 0.01
"""Seconds between two looks at whether a node that ends has read what it has put."""

_MARKS = 300_000
"""Milliseconds between two times that this node gives the bucket another identity, which has all nodes read it anew."""

_BEHIND = (
    "the bucket has more than this node is brought, whichever server it asks: its servers may not keep the same, as"
    " after one was killed; delete it, and the nodes fill a new one"
)

_TRIES = 3
"""Attempts to open a bucket over one server, before it is tried over another one."""


class CarrierTimings(msgspec.Struct, frozen=True, kw_only=True):
    """How long is waited for what; see each."""

    connection: ConnectionTimings = ConnectionTimings()
    session: SessionTimings = SessionTimings()
    pauses: MeshTimings = MeshTimings()


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which engine, who this node is to it, and whose the bucket is. `ca_file`: the authorities that vouch for servers
    with TLS, those of the system if None."""

    servers: Servers
    bucket: BucketOptions
    login: Login = Login()
    ca_file: str | None = None


class Carrier:
    """Owned by the assembly, on one event loop: `start`, then `stop`, each once; `tick` about every 100 ms.

    `node` and `epoch` are this node's, `now` gives monotonic milliseconds, `wall` those of the wall clock, `heard` gets
    what nodes say of themselves; what those say to the core that `admits` does not know is dropped. `barred` says why
    this node is to leave the bucket alone, empty while it need not, `position` how far a former life had read. `state`
    and `why` tell how it stands with the engine. `counters` only grow.
    """

    def __init__(
        self,
        core: Core,
        options: EngineOptions,
        *,
        node: str,
        epoch: int,
        heard: Callable[[str, int, bytes], None],
        now: Callable[[], int],
        wall: Callable[[], int],
        log: FilteringBoundLogger,
        admits: Callable[[str], bool] = lambda _: True,
        barred: Callable[[], str] = str,
        position: Position | None = None,
        timings: CarrierTimings | None = None,
    ) -> None:
        self.state = EngineState.CONNECTING
        self.why = "no server was reached yet"
        self.counters: Counter[str] = Counter()
        self._core, self._options = Calls(core, self._failed, position), options
        self._node, self._epoch = node, epoch
        self._heard, self._admits, self._barred = heard, admits, barred
        self._now, self._wall, self._log = now, wall, log
        self._timings = timings or CarrierTimings()
        self._names = Names.of(options.bucket.cluster)
        self._chance = random.Random().random  # noqa: S311 - spreads attempts, keeps no secret
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._beats: Beats | None = None
        self._session: Session | None = None
        # What nodes may not say to each other over this connection; the state is told as if the bucket were denied.
        self._denials = Denials(self._names)
        self._stands = self.state, self.why
        self._listening: asyncio.Task[None] | None = None
        # Why puts were denied over this connection, until one is answered: an opening tells nothing of that.
        self._denied_puts: TroubleError | None = None
        # When this node gave the bucket another identity, None for never.
        self._marked: int | None = None
        self._flushing: asyncio.Handle | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = False
        # How many messages have come over this connection, and when the last one did.
        self._received = 0
        self._came = now()

    # -- what the assembly calls

    def start(self) -> None:
        """Begin to reach for the engine."""
        self._running = self._loop.create_task(self._run())

    async def stop(self, farewell: bytes = b"") -> None:
        """Do the puts that there are, tell the others of them, say farewell and leave; takes `drain` and what closing
        takes."""
        self.turn()
        if self._session is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timings.pauses.drain):
                    await self._session.quiet.wait()
                    while self._session is not None and self._core.untold:
                        await asyncio.sleep(_READING)
                        self.turn()
        self.turn()
        if farewell:
            self.say(farewell)
        self._stopping = True
        if self._running is not None:
            closing = 2 * self._timings.connection.close + 1.0
            await end([self._running], pause=closing)
        if self._flushing is not None:
            self._flushing.cancel()

    @property
    def server(self) -> str:
        """Return the URL of the server that this node is connected to, empty if it is to none."""
        return "" if self._connection is None else self._connection.url

    @property
    def connected(self) -> bool:
        """Whether nodes hear each other here."""
        return self._beats is not None and not self._denials

    @property
    def quiet(self) -> int:
        """Return for how many milliseconds nothing came from the engine, which has something to say every second while
        there is a bucket."""
        return self._now() - self._came

    @property
    def under_way(self) -> int:
        """Return how many puts have no answer yet."""
        return 0 if self._session is None else self._session.under_way

    def clock(self, now: int) -> tuple[int, int] | None:
        """Return what the engine's clock shows at least, and by how much it may show more, in milliseconds; None while
        there is no bucket."""
        return None if self._session is None else self._session.clock(now)

    def soon(self) -> None:
        """Send what there is at the end of this turn of the loop: for whoever hears of a change."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.turn)

    def say(self, beat: bytes, node: str | None = None) -> None:
        """Say something of this node to all others, or to one, if they can be reached."""
        if self._beats is not None:
            self._beats.say(beat, node)

    def tick(self) -> None:
        """Let time pass."""
        if self._connection is not None:
            self._connection.check()
            if self._connection.received != self._received:
                self._received, self._came = self._connection.received, self._now()
        self._core.tick(self._now(), self._wall())
        if self._session is not None:
            self._session.tick()
            self._session.bar(self._barred())
        self._look_at_denials()
        self.turn()

    def turn(self) -> None:
        """Send what changed in this turn of the loop, and what was asked for."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._core.flush(self._now())
        for command in self._core.take():
            self._carry(command)
        if self._session is not None:
            self._session.pump()

    # -- connections

    async def _run(self) -> None:
        timings, pauses = self._timings, Pauses(self._timings.pauses)
        options, attempt = self._options, int(self._chance() * 1_000)
        while True:
            connection = Connection(
                options.servers.url(attempt),
                options.login,
                name=f"artemis {self._node}",
                ca_file=options.ca_file,
                timings=timings.connection,
            )
            since = self._now()
            try:
                connection.denies = self._denied
                await connection.open()
                self._connection = connection
                self.counters["connections"] += 1
                await self._hear(connection)
            except TroubleError as trouble:
                self._be(trouble.state, trouble.why)
                lasting = trouble.lasting
            finally:
                self._connection = None
                await connection.close()
                self.counters.update({f"messages_{name}": count for name, count in connection.counters.items()})
            attempt += 1
            if self._now() - since >= timings.pauses.steady * 1_000:
                pauses.worked()
            # All servers are tried at once, before anything is waited for.
            if lasting or pauses.failed or attempt % len(options.servers.addresses) == 0:
                await asyncio.sleep(pauses.next(self._chance(), refused=lasting))

    async def _hear(self, connection: Connection) -> None:
        """Have a connection until it is lost or of no use; raises TroubleError."""
        self._denials = Denials(self._names)
        beats = Beats(
            connection,
            self._names,
            self._node,
            self._epoch,
            told=self._told,
            beat=self._heard,
            after=self.turn,
            tried=self._tried,
            counters=self.counters,
        )
        working = None
        try:
            await beats.start()
            self._beats = beats
            working = self._loop.create_task(self._work(connection))
            ends: list[asyncio.Future[None] | asyncio.Future[str]] = [working, connection.lost]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._beats = None
            beats.close()
            tasks = [task for task in (working, self._listening) if task is not None]
            self._listening = None
            await end(tasks, pause=1.0)
        if connection.lost.done():
            raise TroubleError(EngineState.CONNECTING, connection.lost.result())
        working.result()

    # -- the bucket

    async def _work(self, connection: Connection) -> None:
        """Open the bucket again and again, until another server may know more; raises TroubleError."""
        self._denied_puts = None
        pauses, several = Pauses(self._timings.pauses), len(self._options.servers.addresses) > 1
        while True:
            options, clock = self._options.bucket, EngineClock()
            bucket = Bucket(connection, self._names, options, clock, self._now, lambda: self._core.known, self._marks)
            try:
                self._check_barred()
                opening = await bucket.open()
                if bucket.unmarked:
                    advice = "let the other nodes read all of it: artemis cluster repair"
                    self._log.warning("engine bucket put back", reason=bucket.unmarked, advice=advice)
                session = Session(
                    connection,
                    bucket,
                    self._core,
                    now=self._now,
                    turn=self.soon,
                    answers=self._be_answered,
                    full=self._be_full,
                    behind=self._be_behind,
                    timings=self._timings.session,
                    counters=self.counters,
                )
                try:
                    await session.start()
                    pauses.worked()
                    self._session = session
                    self.counters["openings"] += 1
                    self._core.opened(opening, self._now())
                    self._be_opened()
                    self.turn()
                    trouble = await asyncio.shield(session.ended)
                    self._denied_puts = session.denied or self._denied_puts
                finally:
                    self._leave(session, connection)
                    await session.close()
            except TroubleError as error:
                trouble = error
            self._be(trouble.state, trouble.why)
            if several and not trouble.lasting and pauses.failed >= _TRIES:
                raise trouble
            await asyncio.sleep(pauses.next(self._chance(), refused=trouble.lasting))

    def _marks(self) -> bool:
        """Tell whether this node may give the bucket another identity now, which it then does."""
        now = self._now()
        if self._marked is not None and now - self._marked < _MARKS:
            return False
        self._marked = now
        return True

    def _check_barred(self) -> None:
        barred = self._barred()
        if barred:
            raise TroubleError(EngineState.FOREIGN, barred)

    def _leave(self, session: Session, connection: Connection) -> None:
        """Tell the core what is lost, after which it has nothing done until the next opening."""
        if self._session is not session:
            return
        self._session = None
        if session.ended.done():
            trouble = session.ended.result()
        else:
            lost = connection.lost
            trouble = TroubleError(EngineState.CONNECTING, lost.result() if lost.done() else "this node ends")
        self._be(trouble.state, trouble.why)
        self._core.lost(trouble.why, self._now())

    # -- its own

    def _carry(self, command: Command) -> None:
        if isinstance(command, Tell):
            if self._beats is not None:
                self._beats.tell(command.node, command.message)
        elif self._session is not None:
            self._session.carry(command)

    def _told(self, node: str, message: Told) -> None:
        if not self._admits(node):
            self.counters["unadmitted"] += 1
            return
        self._core.receive(node, message, self._now())

    def _be_opened(self) -> None:
        denied = self._denied_puts
        if denied is None:
            self._be(EngineState.READY, "")
        else:
            self._be(denied.state, denied.why)

    def _be_answered(self) -> None:
        if self._denied_puts is not None:
            self._denied_puts = None
            self._be(EngineState.READY, "")

    def _be_full(self, full: bool, why: str) -> None:
        self._be(EngineState.FULL if full else EngineState.READY, why)

    def _be_behind(self, behind: bool) -> None:
        if behind:
            self._be(EngineState.BEHIND, _BEHIND)
        elif self._stands[0] is EngineState.BEHIND:
            self._be(EngineState.READY, "")

    def _be(self, state: EngineState, why: str) -> None:
        """Be in a state, and say so when it is another one."""
        self._stands = state, why
        self._show()

    def _show(self) -> None:
        """Tell how it stands with the bucket, or what nodes may not say to each other while there is nothing worse."""
        state, why = self._stands
        denied = self._denials.why if state.open else ""
        if denied:
            state, why = EngineState.REFUSED, f"{self.server}: {denied}"
        changed, self.state, self.why = state is not self.state, state, why
        if not changed or self._stopping:
            return
        if state is EngineState.READY:
            self._log.info("engine ready", server=self.server)
        else:
            self._log.warning("engine not ready", state=str(state), reason=why)

    def _denied(self, text: str) -> None:
        """Nodes that may not speak or listen do not hear each other, whatever the bucket says."""
        self._denials.take(text, self._now())
        self._show()

    def _tried(self, use: Use, subject: str) -> None:
        self._denials.tried(use, subject, self._now())

    def _look_at_denials(self) -> None:
        """Try again what was denied, and notice what is permitted now."""
        denials, beats = self._denials, self._beats
        denials.tick(self._now())
        self._show()
        due = denials.due(self._now())
        if due and beats is not None and (self._listening is None or self._listening.done()):
            self._listening = self._loop.create_task(_listen(beats, due))

    def _failed(self, where: str, error: Exception) -> None:
        self.counters["failures"] += 1
        self._log.error("engine failure", where=where, exc_info=error)


async def _listen(beats: Beats, subjects: list[str]) -> None:
    """Subscribe once more. That the connection has ended meanwhile is told elsewhere."""
    with contextlib.suppress(TroubleError):
        for subject in subjects:
            await beats.listen(subject)
