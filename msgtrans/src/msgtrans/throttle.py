"""Rate limits of sessions: which packet may pass now, and who goes on when (specification 4.1).

A session that must wait has one timer of its own; sessions that wait for the limit of all of them stand in one line
with one timer, and are let through in turn.
Not here: the arithmetic (`flow.rate_limit`), and holding packets (`holding`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgtrans.errors import ResourceError
from msgtrans.flow.rate_limit import TokenBucket

if TYPE_CHECKING:
    import asyncio

    from msgtrans.config import Backpressure, RateLimit
    from msgtrans.session import Session


class SharedThrottle:
    """The limit for all sessions of one endpoint. Owned by it."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._bucket: TokenBucket | None = None  # made with the first session: it needs the clock of the loop
        self._line: dict[Session, None] = {}  # those that wait, in order
        self._letting_in = False
        self._timer: asyncio.TimerHandle | None = None

    def take(self, now: float) -> bool:
        """Let a packet through if there is a token for it that nobody in line has a right to."""
        if self._bucket is None:
            self._bucket = TokenBucket(self.limit, now)
        if self._line and not self._letting_in:
            return False
        return self._bucket.take(now)

    def stand_in_line(self, session: Session, loop: asyncio.AbstractEventLoop) -> bool:
        """Have the session go on when it is its turn; whether that is new."""
        if session in self._line:
            return False
        self._line[session] = None
        if not self._letting_in:
            self._arm(loop)
        return True

    def leave(self, session: Session) -> None:
        """It waits no more."""
        self._line.pop(session, None)
        if not self._line and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._bucket is not None and self._line:
            now = loop.time()
            self._timer = loop.call_later(self._bucket.wait(now), self._let_in, loop)

    def _let_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give everyone in line the same share of the tokens there are, at least one while they last."""
        self._timer = None
        bucket = self._bucket
        if bucket is None:
            return
        self._letting_in = True
        try:
            share = max(1, bucket.available(loop.time()) // max(1, len(self._line)))
            while self._line and bucket.ready(loop.time()):
                session = next(iter(self._line))
                del self._line[session]
                session.go_on(share)
        finally:
            self._letting_in = False
        self._arm(loop)


class Throttle:
    """The limits that one session is under: its own, and that of all. Owned by the session."""

    __slots__ = ("_bucket", "_limit", "_shared", "_timer")

    def __init__(self, limit: RateLimit | None, shared: SharedThrottle | None, now: float) -> None:
        self._limit = limit
        self._bucket = TokenBucket(limit, now) if limit is not None else None
        self._shared = shared
        self._timer: asyncio.TimerHandle | None = None

    def stops(self, now: float) -> Backpressure | None:
        """None lets a packet through, and counts it; otherwise what is to happen to it."""
        bucket = self._bucket
        if bucket is not None and self._limit is not None and not bucket.ready(now):
            return self._limit.strategy
        if self._shared is not None and not self._shared.take(now):
            return self._shared.limit.strategy
        if bucket is not None:
            bucket.take(now)
        return None

    @property
    def error(self) -> ResourceError:
        """What to tell those who are refused."""
        own = self._limit if self._limit is not None or self._shared is None else self._shared.limit
        rate = math.ceil(own.requests_per_second) if own is not None else 0
        return ResourceError("requests per second", rate, rate)

    def wait(self, session: Session, loop: asyncio.AbstractEventLoop) -> bool:
        """Have the session go on when a packet may pass; whether that is new."""
        now = loop.time()
        if self._bucket is not None and not self._bucket.ready(now):
            if self._timer is not None:
                return False
            self._timer = loop.call_later(self._bucket.wait(now), self._go_on, session)
            return True
        if self._shared is not None:
            return self._shared.stand_in_line(session, loop)
        session.make_room()
        return False

    def forget(self, session: Session) -> None:
        """The session ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._shared is not None:
            self._shared.leave(session)

    def _go_on(self, session: Session) -> None:
        self._timer = None
        session.go_on()
