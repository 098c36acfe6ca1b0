"""A byte stream on which each packet leaves in a write of its own, with pauses between (specification 2.1, 8.1).

Not here: reading, which is as on any stream; and whether a peer needs this.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgtrans.adapters.buffers import READ_SIZE
from msgtrans.adapters.stream import StreamConnection

if TYPE_CHECKING:
    import asyncio

    from msgtrans.config import Pacing
    from msgtrans.transport import Terms


class PacedConnection(StreamConnection):
    """A `StreamConnection` that neither joins nor splits packets. TCP_NODELAY is always on.

    A packet is given to the system only when it has taken the one before.
    """

    __slots__ = ("_ending", "_next_at", "_pacing", "_queue", "_queued", "_stuck", "_timer")

    def __init__(
        self,
        terms: Terms,
        pacing: Pacing,
        *,
        read_size: int = READ_SIZE,
        keepalive: int | None = None,
        notsent_lowat: int | None = None,
    ) -> None:
        super().__init__(terms, read_size=read_size, keepalive=keepalive, notsent_lowat=notsent_lowat)
        self._pacing = pacing
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes in it
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stuck = False  # the system has not taken the last packet yet
        self._ending = ""  # what to do when everything is written: "finish" or "close"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; the first packet waits until the peer has settled."""
        self._next_at = self._terms.loop.time() + self._pacing.settle
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and what waits with it."""
        self._clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The system has not taken the packet."""
        self._stuck = True

    def resume_writing(self) -> None:
        """It has now."""
        self._stuck = False
        self._pump()

    def write(self, packets: list[bytes]) -> None:
        """Send packets, each in its own time."""
        size = sum(map(len, packets))
        if self._session is not None:
            self._session.bytes_sent += size
        self._queue.extend(packets)
        self._queued += size
        self._pump()
        if self._session is not None and (self._queue or self._stuck):
            self._session.pause_writing()

    def buffered(self) -> int:
        """Bytes that wait for their time, or that the system has not taken yet."""
        return self._queued + super().buffered()

    def finish(self) -> None:
        """Send FIN after what waits."""
        self._end("finish")

    def close(self) -> None:
        """Close once everything is written."""
        self._end("close")

    def abort(self) -> None:
        """Close at once."""
        self._clear()
        super().abort()

    def _pump(self) -> None:
        """Write the next packet if its time has come; the timer goes on with the rest."""
        if self._timer is not None or self._stuck:
            return
        if not self._queue:
            self._emptied()
            return
        now = self._terms.loop.time()
        if now >= self._next_at:
            packet = self._queue.popleft()
            self._queued -= len(packet)
            self._next_at = now + self._pacing.min_gap
            self._transport.write(packet)
        self._timer = self._terms.loop.call_at(self._next_at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._pump()

    def _emptied(self) -> None:
        ending, self._ending = self._ending, ""
        if ending == "finish":
            super().finish()
        elif ending == "close":
            super().close()
        elif self._session is not None:
            self._session.resume_writing()

    def _end(self, how: str) -> None:
        self._ending = how
        if not (self._queue or self._stuck):
            self._emptied()

    def _clear(self) -> None:
        self._queue.clear()
        self._queued = 0
        self._ending = ""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
