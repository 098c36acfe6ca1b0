"""Looks at all sessions of an endpoint now and then, for timeouts that need no timer of their own: one timer, however
many sessions there are. Of many it looks at some in each turn of the loop, so that the others' packets come in between.
Time in which this process stood still, and could hear nobody, is not held against a peer.

Not here: timeouts of requests (`session`), of writing (`outbound`), and of connections that are no sessions yet.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from msgtrans.errors import TransportTimeoutError

if TYPE_CHECKING:
    from msgtrans.endpoint import Endpoint
    from msgtrans.session import Session

PROGRESS: Final = 64 * 1024  # bytes by which an unfinished packet must grow within packet_timeout
LOOKS: Final = 4  # within the shortest timeout; a look that is late by the time between two shows a stall
STALLS: Final = 4  # the latest; with more of them in one silence, the peer has had many turns to be heard
SLICE: Final = 1024  # sessions looked at in one turn; that takes about a millisecond


class Sweeping:
    """Owned by an endpoint."""

    __slots__ = ("_due", "_endpoint", "_idle", "_next", "_shortest", "_stalls", "_unfinished")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._next: asyncio.Handle | None = None
        self._idle = False  # there is an idle_timeout
        self._shortest = math.inf  # seconds, of all timeouts that it looks for
        self._due = math.inf  # when to look next
        self._stalls: deque[tuple[float, float]] = deque(maxlen=STALLS)  # from when until when this process stood still
        self._unfinished: dict[Session, tuple[int, int, float]] = {}  # packets and bytes then, and when that was

    def opened(self, session: Session) -> None:
        """A session is open: look at it from now on."""
        config = session.config
        if config.idle_timeout is not None:
            self._idle = True
        for timeout in (config.idle_timeout, config.packet_timeout):
            if timeout is not None and timeout < self._shortest:
                self._shortest = timeout
                self.stop()
        self._start_if_needed()

    @property
    def rests(self) -> bool:
        """Whether there was nothing to look for: no `idle_timeout`, and no packet that has begun."""
        return self._next is None

    def wake(self) -> None:
        """A packet has begun."""
        if self._next is None and self._endpoint.sessions and self._shortest < math.inf:
            loop = asyncio.get_running_loop()
            self._due = loop.time() + self._shortest / LOOKS
            self._next = loop.call_at(self._due, self._sweep)

    def closed(self, session: Session) -> None:
        """A session is closed."""
        self._unfinished.pop(session, None)

    def stop(self) -> None:
        """Look no more, until another session is open."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def begin(self, now: float) -> None:
        """A look at all sessions begins: notes whether the process has stood still since it was due."""
        if now - self._due >= self._shortest / LOOKS:
            self._stalls.append((self._due, now))

    def look_at(self, session: Session, now: float) -> None:
        """Close a session that has been silent for its `idle_timeout`, or whose peer has begun a packet and neither
        ends nor continues it for its `packet_timeout`.
        """
        timeout, since = session.config.idle_timeout, session.active_at
        if timeout is not None and self._silent(since, now, timeout) and session.is_open and not session.busy:
            self._endpoint.counters.idle_timeouts += 1  # were it busy, it would be our turn
            session.time_out(TransportTimeoutError("waiting for a packet on an idle session", timeout))
        timeout = session.config.packet_timeout
        if timeout is not None and session.awaits_rest:
            self._look_at_rest(session, timeout, now)
        elif self._unfinished:
            self._unfinished.pop(session, None)

    def _look_at_rest(self, session: Session, timeout: float, now: float) -> None:
        packets, size, since = self._unfinished.get(session, (-1, 0, now))
        if session.packets_received != packets or session.bytes_received - size >= PROGRESS:
            self._unfinished[session] = (session.packets_received, session.bytes_received, now)
        elif self._silent(since, now, timeout) and session.is_open:
            self._endpoint.counters.packet_timeouts += 1
            session.time_out(TransportTimeoutError("receiving the rest of a packet", timeout))

    def _silent(self, since: float, now: float, timeout: float) -> bool:
        """Whether a peer could have been heard for that long and was not."""
        if now - since < timeout:
            return False
        stood_still = sum(max(end - max(begin, since), 0.0) for begin, end in self._stalls)
        return now - since - stood_still >= timeout

    def _start_if_needed(self) -> None:
        """A client has no timer while no packet of the server has begun: a program may have very many clients."""
        if self._idle or self._unfinished or self._endpoint.kept:
            self.wake()

    def _sweep(self) -> None:
        self.begin(asyncio.get_running_loop().time())
        self._look_at_some(list(self._endpoint.sessions.values()), 0)

    def _look_at_some(self, sessions: list[Session], at: int) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for session in sessions[at : at + SLICE]:
            self.look_at(session, now)
        at += SLICE
        if at < len(sessions):
            self._next = loop.call_soon(self._look_at_some, sessions, at)
        else:
            self._next = None
            self._start_if_needed()
