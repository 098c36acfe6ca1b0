"""Makes the connections of a pool: carries out what `flow.balancing.Targets` decides, some at a time.

Owned by a `ConnectionPool`, of one loop: a task per attempt.
Not here: how many there are to be, and who gets them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from msgtrans.client import TransportClient
from msgtrans.errors import ConnectError, SessionClosedError, TransportConnectionError, TransportError
from msgtrans.events import CloseReason
from msgtrans.flow.balancing import GiveUp, Targets, Try, Wait
from msgtrans.pool.outages import PROVEN, Outages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msgtrans.adapters.registry import TransportRegistry
    from msgtrans.config import RetryConfig, SessionConfig
    from msgtrans.flow.balancing import Target
    from msgtrans.middleware import Middleware
    from msgtrans.pool.members import Member
    from msgtrans.session import Session
    from msgtrans.transport import ClientConfig

AT_ONCE: Final = 16  # attempts
logger = logging.getLogger("msgtrans.pool")


class PooledClient(TransportClient):
    """A connection of a pool: a `TransportClient` that the pool connects and closes.

    target: its address. member: what the pool keeps of it, None before it is open. closed_here: whether our side
    has closed it. on_lost: called when it has ended.
    """

    def __init__(
        self,
        config: ClientConfig,
        target: Target,
        *,
        session: SessionConfig | None,
        middleware: Iterable[Middleware],
        registry: TransportRegistry,
        on_lost: Callable[[PooledClient], None],
    ) -> None:
        super().__init__(config, session=session, middleware=middleware, registry=registry)
        self.target = target
        self.member: Member[PooledClient] | None = None
        self.closed_here = False
        self._on_lost = on_lost

    @property
    def connection_id(self) -> int:
        """As in the pool's events; -1 before it is open."""
        return self.member.id if self.member is not None else -1

    @property
    def has_session(self) -> bool:
        """Whether there is or was a connection."""
        return self._session is not None

    async def open(self) -> None:
        """Connect, with one attempt."""
        async with self._connecting:
            await self._connect()

    async def close(
        self,
        *,
        graceful: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Session.close`
    ) -> None:
        """Also notes that it was not the server's doing."""
        self.closed_here = self.closed_here or self.is_connected
        await super().close(graceful=graceful, timeout=timeout)

    def session_closed(self, session: Session) -> None:
        """Also tells the pool."""
        super().session_closed(session)
        self._on_lost(self)


class Maker:
    """The attempts of one pool.

    targets: the addresses. retry: as they have it. make: a new client for one of them. on_made, on_failed: an attempt
    has ended so; `under_way` does not count it any more. failures: attempts that came to nothing, and connections that
    the server closed at once. error: of the latest, or of a connection that was lost since; None when
    one was made since. outages: which servers are down.
    An address that was given up is tried again after `max_retry_interval`.
    """

    def __init__(
        self,
        targets: Targets,
        retry: RetryConfig,
        make: Callable[[Target], PooledClient],
        *,
        clock: Callable[[], float],
        on_made: Callable[[PooledClient], None],
        on_failed: Callable[[str, TransportError], None],
    ) -> None:
        self.targets = targets
        self.failures = 0
        self.error: TransportError | None = None
        self.outages = Outages()
        self._patience = retry.max_retry_interval
        self._failed_at = -math.inf
        self._make = make
        self._clock = clock
        self._on_made = on_made
        self._on_failed = on_failed
        self._attempts: dict[asyncio.Task[None] | None, Try] = {}
        self._stopping = False

    @property
    def under_way(self) -> int:
        """Attempts now."""
        return len(self._attempts)

    def begin_anew(self) -> None:
        """Before a pool that was closed starts again: neither pauses nor errors of its former life count."""
        self.targets.begin_anew()
        self.error = None

    def begin(self, count: int, now: float) -> float:
        """Begin up to `count` attempts, as many as may begin now; when to call again for the rest.

        Infinity: when an attempt has ended.
        """
        for _ in range(min(count, AT_ONCE - len(self._attempts))):
            match self.targets.decide(now):
                case Try() as attempt:
                    task = asyncio.get_running_loop().create_task(self._attempt(attempt))
                    self._attempts[task] = attempt
                    task.add_done_callback(self._on_done)
                case Wait(until):
                    return until
                case GiveUp():
                    return self._hope_again(now)
        return math.inf

    def next_at(self, now: float) -> float:
        """When the next attempt may begin; infinity while that hangs on those under way."""
        times = self.targets.ready_at(now)
        return min(times.values()) if times else self._failed_at + self._patience

    def left(self, client: PooledClient, reason: str, since: float, now: float) -> TransportError | None:
        """A connection, open since then, has left the pool for that reason. The error when it was of no use."""
        session = client.session
        if reason == "unhealthy":
            error: TransportError = TransportConnectionError(f"a connection to {client.uri} failed its health check")
            useful = False
        elif reason == "broken" and not client.closed_here and session.close_reason is not CloseReason.FORCED:
            error = session.close_error or SessionClosedError(f"the connection to {client.uri} ended")
            useful = session.packets_received > 0 or now - since >= self._patience
        else:
            self.targets.left(client.target)
            return None
        self.error = error
        self.targets.lost(client.target, now, error, proven=useful and error.retriable)
        if session.packets_received > 0 or now - since >= PROVEN or reason == "unhealthy":
            return None
        self.failures += 1
        self._failed_at = now
        self.outages.dropped(client.uri, error, now)
        return error

    async def stop(self) -> None:
        """Cancel all attempts."""
        self._stopping = True
        attempts = [task for task in self._attempts if task is not None]
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        now = self._clock()
        for attempt in self._attempts.values():
            self.targets.abandoned(attempt, now)
        self._attempts.clear()
        self._stopping = False

    def _hope_again(self, now: float) -> float:
        """All addresses are given up. If that is some time ago, nothing is from the next call on."""
        at = self._failed_at + self._patience
        if now >= at:
            self.targets.hope_again()
        return max(at, now)

    async def _attempt(self, attempt: Try) -> None:
        target = attempt.target
        client = self._make(target)
        failure = None
        try:
            await client.open()
        except TransportError as error:
            failure = error
        except Exception as error:
            logger.exception("connecting to %s failed unexpectedly", target.uri)
            failure = ConnectError(f"connecting to {target.uri} failed unexpectedly: {error!r}")
            failure.__cause__ = error
        except asyncio.CancelledError:  # by `stop`, or by whoever else
            if client.has_session:
                client.session.abort()
            raise
        del self._attempts[asyncio.current_task()]  # cancelled, it is left to `_on_done`, also one that never began
        if failure is not None:
            self._fail(attempt, failure)
            return
        self.error = None
        self.targets.connected(attempt, self._clock())
        self.outages.made(target.uri)
        self._on_made(client)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        attempt = self._attempts.get(task) if task.cancelled() and not self._stopping else None
        if attempt is not None:
            del self._attempts[task]
            uri = attempt.target.uri
            self._fail(attempt, ConnectError(f"connecting to {uri} was cancelled", retriable=True))

    def _fail(self, attempt: Try, error: TransportError) -> None:
        self.failures += 1
        self.error = error
        self._failed_at = self._clock()
        self.targets.failed(attempt, self._failed_at, error)
        self.outages.failed(attempt.target.uri, error)
        self._on_failed(attempt.target.uri, error)
