"""Keeps a number of connections open to a set of addresses: carries out what `flow.balancing.Targets` decides.

Owned by a `ReconnectingClient`, of one loop: one task that sleeps until something is due, and a task per attempt.
Not here: messages, and who waits for a connection.
"""

from __future__ import annotations

import asyncio
import logging
import math
import weakref
from typing import TYPE_CHECKING

import msgspec

from msgtrans.careful import new_session
from msgtrans.errors import ConnectError, SessionClosedError, TransportConnectionError, TransportError
from msgtrans.events import CloseReason
from msgtrans.flow.balancing import Balancer, GiveUp, Target, Targets, Try, Wait
from msgtrans.resilience.states import ClientState, StateChanged, StateStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgtrans.config import SessionConfig
    from msgtrans.config.codec import CodecOptions
    from msgtrans.link import Link
    from msgtrans.reconnecting import ReconnectingClient
    from msgtrans.session import Session
    from msgtrans.stats import EndpointStats
    from msgtrans.transport import ClientConfig, Transport

FIRST_MESSAGE_ID = 1
QUIET = 60.0  # seconds between two warnings about one and the same trouble
logger = logging.getLogger("msgtrans.reconnecting")


class Admission:
    """The host of one attempt: makes the session of the connection, which reads nothing before it is opened."""

    def __init__(self, client: ReconnectingClient, session_id: int) -> None:
        self.codec: CodecOptions = client.codec
        self.config: SessionConfig = client.config
        self.counters: EndpointStats = client.counters
        self.session: Session | None = None
        self._client = client
        self._id = session_id

    def admit(self, link: Link) -> Session:
        """For transports: the session of the connection that was made."""
        self.session = new_session(self._id, link, self._client, asyncio.get_running_loop(), FIRST_MESSAGE_ID)
        link.pause_reading()
        return self.session


class Carrier:
    """An open session, as a candidate for the next message."""

    __slots__ = ("credit", "session", "since", "target", "weight")

    def __init__(self, session: Session, target: Target, since: float) -> None:
        self.session = session
        self.target = target
        self.weight = target.weight
        self.credit = 0
        self.since = since

    @property
    def load(self) -> int:
        """Requests that wait for answers there."""
        return self.session.pending_requests


class Want:
    """A connection that is missing. not_before: of the loop's clock. avoid: where it had better not lead."""

    __slots__ = ("avoid", "not_before")

    def __init__(self, not_before: float, avoid: Target | None = None) -> None:
        self.not_before = not_before
        self.avoid = avoid


class TargetStatus(msgspec.Struct, frozen=True):
    """One address at one moment.

    connections: open, or being made. failures: attempts in a row that came to nothing. breaker: "closed", "open" or
    "half-open", None without. next_attempt: seconds until it may be tried, 0 for now, None while that hangs on attempts
    under way or it is given up. given_up: why, None while it is not.
    """

    uri: str
    connections: int
    failures: int
    breaker: str | None
    next_attempt: float | None
    given_up: TransportError | None


class Keeper:
    """Keeps `count` sessions open.

    ways: transport and config of each of `targets`, in their order. proof: seconds after which a connection on which
    nothing arrived counts as of use all the same. on_open: there is a connection. on_closed: there will be none.
    """

    def __init__(
        self,
        client: ReconnectingClient,
        targets: Targets,
        ways: Sequence[tuple[Transport, ClientConfig]],
        balancer: Balancer,
        *,
        count: int,
        proof: float,
        on_open: Callable[[], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.targets = targets
        self.connect_failures = 0
        self.connections_lost = 0
        self.present = StateChanged(ClientState.CLOSED, "not started")
        self._client = client
        self._ways = dict(zip(targets.all, ways, strict=True))
        self._balancer = balancer
        self._count = count
        self._proof = proof
        self._on_open = on_open
        self._on_closed = on_closed
        self._carriers: dict[Session, Carrier] = {}
        self._ready: list[Carrier] = []
        self._wants: list[Want] = []
        self._attempts: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._last_id = 0
        self._warned_at = -math.inf  # of the loop's clock; what goes wrong soon after is logged at INFO only
        self._streams: weakref.WeakSet[StateStream] = weakref.WeakSet()

    @property
    def running(self) -> bool:
        """Whether lost connections come back."""
        return self._task is not None

    def states(self) -> StateStream:
        """A new stream of what the state is and will be."""
        stream = StateStream(self.present)
        self._streams.add(stream)
        return stream

    def start(self) -> None:
        """Connect, at once, whatever failed before it was closed; when started already, try again what was given up."""
        self._news.set()
        if self._task is not None:
            self.targets.hope_again()
        else:
            self.targets.begin_anew()
            loop = asyncio.get_running_loop()
            self._wants = [Want(loop.time()) for _ in range(self._count)]
            self._change(ClientState.CONNECTING, "started")
            self._task = loop.create_task(self._run())

    async def stop_trying(self) -> None:
        """Make no more connections; those that are open stay."""
        await asyncio.gather(*self.cancel_attempts(), return_exceptions=True)

    def cancel_attempts(self) -> list[asyncio.Task[None]]:
        """As `stop_trying`, without waiting: the tasks that are ending."""
        tasks = [*self._attempts, *([self._task] if self._task is not None else [])]
        self._task = None
        self._wants.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def closed(self) -> None:
        """All connections are closed."""
        if self.present.state is not ClientState.CLOSED:
            self._change(ClientState.CLOSED, "closed")

    def pick(self) -> Carrier | None:
        """The session for the next message, None while there is none."""
        ready = self._ready
        if len(ready) == 1:
            return ready[0]
        return self._balancer.pick(ready) if ready else None

    def pick_any(self) -> Carrier | None:
        """Any session, without taking anyone's turn; None while there is none."""
        return self._ready[0] if self._ready else None

    def status(self) -> list[TargetStatus]:
        """What is known of each address."""
        now = asyncio.get_running_loop().time()
        times = self.targets.ready_at(now)
        return [
            TargetStatus(
                target.uri,
                target.load,
                target.failures,
                target.breaker.state if target.breaker is not None else None,
                times[target] - now if times.get(target, math.inf) < math.inf else None,
                target.given_up,
            )
            for target in self.targets.all
        ]

    def answered(self, carrier: Carrier, *, in_time: bool) -> None:
        """For `count_timeouts`: how a request went. Drops the connections of an address whose breaker that opens."""
        target = carrier.target
        if self.targets.answered(target, asyncio.get_running_loop().time(), in_time=in_time):
            error = TransportConnectionError(f"{target.uri} does not answer: its circuit breaker has opened")
            for other in [other for other in self._ready if other.target is target]:
                other.session.time_out(error)

    def ended(self, session: Session) -> None:
        """A session sends no more."""
        carrier = self._carriers.pop(session, None)
        if carrier is None:
            return
        self._ready.remove(carrier)
        now = asyncio.get_running_loop().time()
        reason = session.close_reason
        uri = carrier.target.uri
        useful = session.packets_received > 0 or now - carrier.since >= self._proof
        error = session.close_error or _ended(uri, reason, useful=useful)
        proven = useful and error.retriable  # a refusal ends the best of connections
        pause = self.targets.lost(carrier.target, now, error, proven=proven)
        if self._task is None:
            return
        self.connections_lost += 1
        self._wants.append(Want(now + pause, carrier.target if reason is CloseReason.NORMAL else None))
        self._news.set()
        if proven:
            self._warned_at = -math.inf
        if not self._ready:
            self._change(ClientState.SUSPENDED, f"connection lost: {error}", uri, error)
        self._tell("lost a connection" if session.close_error is None else f"lost the connection to {uri}", error)

    def look(self) -> None:
        """Something has changed."""
        self._news.set()

    # Its own

    def _change(
        self, state: ClientState, reason: str, uri: str | None = None, error: TransportError | None = None
    ) -> None:
        self.present = StateChanged(state, reason, uri, self._next_attempt(), error)
        for stream in list(self._streams):
            stream.put(self.present)
        self._client.hub.emit(self.present)
        if state is ClientState.CLOSED:
            self._streams.clear()

    def _tell(self, what: str, error: TransportError) -> None:
        """Log what went wrong: as a warning when calls must wait because of it, unless that was said a while ago."""
        if self._ready:
            logger.info("%s: %s; others are open", what, error)
            return
        now = asyncio.get_running_loop().time()
        loud = now - self._warned_at >= QUIET
        if loud:
            self._warned_at = now
        pause = self.present.next_attempt
        then = "no further attempt is due now" if pause is None else f"next attempt in {pause:.1f} s"
        logger.log(logging.WARNING if loud else logging.INFO, "%s: %s; %s", what, error, then)

    def _next_attempt(self) -> float | None:
        now = asyncio.get_running_loop().time()
        ready = min(self.targets.ready_at(now).values(), default=math.inf)
        at = max(ready, min((want.not_before for want in self._wants), default=math.inf))
        return at - now if at < math.inf else None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            due, given_up = self._try_what_is_due(loop.time())
            if given_up is not None and not (self._attempts or self._client.sessions):
                self._give_up(given_up)
                return
            try:
                async with asyncio.timeout_at(due if due < math.inf else None):
                    await self._news.wait()
            except TimeoutError:
                pass

    def _try_what_is_due(self, now: float) -> tuple[float, TransportError | None]:
        """Begin the attempts that may begin. When to look again, and the error if there is nothing left to try."""
        wants, self._wants = self._wants, []
        due, given_up = math.inf, None
        for want in wants:
            decision = self.targets.decide(now, want.avoid) if want.not_before <= now else Wait(want.not_before)
            match decision:
                case Try():
                    self._last_id += 1
                    task = asyncio.get_running_loop().create_task(self._attempt(decision, self._last_id))
                    self._attempts.add(task)
                    continue
                case Wait(until):
                    due = min(due, until)
                case GiveUp(error):
                    given_up = error
            self._wants.append(want)
        return due, given_up

    async def _attempt(self, attempt: Try, session_id: int) -> None:
        clock = asyncio.get_running_loop().time
        try:
            session, link = await self._connect(attempt.target, session_id)
        except TransportError as error:
            self._failed(attempt, clock(), error)
        except asyncio.CancelledError:
            self.targets.abandoned(attempt, clock())
            raise
        except Exception as error:
            logger.exception("connecting to %s failed unexpectedly", attempt.target.uri)
            failure = ConnectError(f"connecting to {attempt.target.uri} failed unexpectedly: {error!r}")
            failure.__cause__ = error
            self._failed(attempt, clock(), failure)
        else:
            self._opened(attempt, clock(), session)
            link.resume_reading()
        finally:
            # Before the next look at what is due, so that giving up does not wait for a task that is over.
            me = asyncio.current_task()
            self._attempts = {task for task in self._attempts if task is not me}
            self._news.set()

    async def _connect(self, target: Target, session_id: int) -> tuple[Session, Link]:
        transport, config = self._ways[target]
        admission = Admission(self._client, session_id)
        link = await transport.connect(config, admission)
        session = admission.session
        if session is None or not session.is_open:
            raise ConnectError(f"{target.uri} closed the connection at once; it may be full or stopping")
        if not self._client.session_opened(session):
            raise session.close_error or ConnectError("a middleware refused the connection")
        if not session.is_open:
            raise ConnectError("a connect handler closed the connection at once")
        return session, link

    def _opened(self, attempt: Try, now: float, session: Session) -> None:
        self.targets.connected(attempt, now)
        carrier = self._carriers[session] = Carrier(session, attempt.target, now)
        self._ready.append(carrier)
        logger.info("connected to %s", attempt.target.uri)
        if len(self._ready) == 1:
            self._change(ClientState.CONNECTED, "connected", attempt.target.uri)
        self._on_open()

    def _failed(self, attempt: Try, now: float, error: TransportError) -> None:
        self.connect_failures += 1
        pause = self.targets.failed(attempt, now, error)
        error.attempts = attempt.target.failures
        self._wants.append(Want(now + pause))
        if not self._ready:
            self._change(self.present.state, f"an attempt failed: {error}", attempt.target.uri, error)
        self._tell("cannot connect", error)

    def _give_up(self, error: TransportError) -> None:
        logger.warning("gave up, there is nothing left to try: %s", error)
        self._task = None
        self._wants.clear()
        self._change(ClientState.CLOSED, f"gave up: {error}", error=error)
        self._on_closed()


def _ended(uri: str, reason: CloseReason | None, *, useful: bool) -> SessionClosedError:
    """What is known of a connection that ended without an error."""
    if useful:
        return SessionClosedError(f"the connection to {uri} ended: {reason}")
    return SessionClosedError(
        f"{uri} ended the connection ({reason}) before anything arrived on it; "
        "it may be full or stopping, or refuse us: check what it wants shown, as a token"
    )
