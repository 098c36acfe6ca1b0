"""A link on which each packet leaves in a write of its own, with pauses between (specification 2.1, 8.1 to 8.3).

It stands between a session and the link that carries it, whatever that is; TCP_NODELAY has to be on where it matters.
Not here: reading, which is as ever, and whether a peer needs this.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from msgtrans.config import Address, Pacing, SessionConfig
    from msgtrans.link import HttpRequest, Link


class Writer(Protocol):
    """Who writes to it."""

    def writing_paused(self) -> None:
        """Not everything could leave yet."""
        ...

    def writing_resumed(self) -> None:
        """Everything has left."""
        ...


class PacedLink:
    """A link that neither joins nor splits packets; a packet is passed on only when the system has the one before.

    The first waits until the peer has settled: the time runs from when this is made.
    """

    __slots__ = ("_ending", "_link", "_loop", "_next_at", "_pacing", "_queue", "_queued", "_stuck", "_timer", "_writer")

    def __init__(self, link: Link, pacing: Pacing, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._pacing = pacing
        self._writer: Writer | None = writer
        self._loop = loop
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes in it
        self._next_at = loop.time() + pacing.settle
        self._timer: asyncio.TimerHandle | None = None
        self._stuck = False  # the link has not passed on the last packet yet
        self._ending = ""  # what to do when everything has left: "finish" or "close"

    # What the session calls, and is other than on the link itself

    def write(self, packets: list[bytes]) -> None:
        """Send packets, each in its own time."""
        self._queue.extend(packets)
        self._queued += sum(map(len, packets))
        self._pump()
        if self._writer is not None and (self._queue or self._stuck):
            self._writer.writing_paused()

    def buffered(self) -> int:
        """Bytes that wait for their time, or that the link has not passed on yet."""
        return self._queued + self._link.buffered()

    def finish(self) -> None:
        """Say that nothing more comes, after what waits."""
        self._end("finish")

    def close(self) -> None:
        """Close once everything has left."""
        self._end("close")

    def abort(self) -> None:
        """Close at once."""
        self.clear()
        self._link.abort()

    def clear(self) -> None:
        """Write no more: the connection is gone, or about to."""
        self._queue.clear()
        self._queued = 0
        self._ending = ""
        self._writer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the link tells

    def pause_writing(self) -> None:
        """It has not passed on the packet."""
        self._stuck = True

    def resume_writing(self) -> None:
        """It has now."""
        self._stuck = False
        self._pump()

    # What the link does

    @property
    def protocol(self) -> str:
        """The transport's name."""
        return self._link.protocol

    @property
    def peer_address(self) -> Address | None:
        """Where the peer is."""
        return self._link.peer_address

    @property
    def local_address(self) -> Address | None:
        """Our own end."""
        return self._link.local_address

    @property
    def inside_packet(self) -> bool:
        """Whether what has arrived ends inside a packet."""
        return self._link.inside_packet

    @property
    def config(self) -> SessionConfig:
        """What holds for the session."""
        return self._link.config

    @property
    def http_request(self) -> HttpRequest | None:
        """The request that opened the connection."""
        return self._link.http_request

    @property
    def kept(self) -> int:
        """Bytes of incomplete packets."""
        return self._link.kept

    def get_extra_info(self, name: str) -> object:
        """What the transport knows by that name."""
        return self._link.get_extra_info(name)

    def pause_reading(self) -> None:
        """Deliver no packets."""
        self._link.pause_reading()

    def resume_reading(self) -> None:
        """Deliver packets again."""
        self._link.resume_reading()

    # Its own

    def _pump(self) -> None:
        """Pass on the next packet if its time has come; the timer goes on with the rest."""
        if self._timer is not None or self._stuck or self._writer is None:
            return
        if not self._queue:
            self._emptied(self._writer)
            return
        now = self._loop.time()
        if now >= self._next_at:
            packet = self._queue.popleft()
            self._queued -= len(packet)
            self._next_at = now + self._pacing.min_gap
            self._link.write([packet])
        self._timer = self._loop.call_at(self._next_at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._pump()

    def _emptied(self, writer: Writer) -> None:
        ending, self._ending = self._ending, ""
        if ending == "finish":
            self._link.finish()
        elif ending == "close":
            self._link.close()
        else:
            writer.writing_resumed()

    def _end(self, how: str) -> None:
        self._ending = how
        if self._writer is not None and not (self._queue or self._stuck):
            self._emptied(self._writer)
