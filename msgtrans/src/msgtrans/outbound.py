"""The writing half of a session: frames are gathered, and leave once per turn of the loop.

After a read of a single packet, the first frame leaves at once: a peer that asks one thing at a time need not wait for
company that will not come. Whatever else the turn sends is gathered as always.
Of many requests in one turn, each 32 leave together: else the peer would be idle while we ask, and we while it answers.
Commands leave first, then data, in batches: of up to 64 KiB and many packets while the link takes them whole, of few
once it has fallen behind, then of more again. So a link that is behind holds one batch at most, and a command that
comes then is ahead of all the rest.
A link that makes no progress for `write_timeout` is dropped.
Not here: what the frames mean, who waits while there are too many (`queueing`), and how commands get in (`commands`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from msgtrans.errors import TransportTimeoutError
from msgtrans.field_types import check_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.commands import Commands
    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.link import Link

BATCH_BYTES: Final = 64 * 1024  # of a batch, unless a single packet has more
AHEAD: Final = 32  # requests of one turn after which they leave, so that the peer begins while we go on
GROWTH: Final = 32  # times `batch_size` that a batch may grow to


def batch_end(frames: list[bytes], at: int, most: int) -> tuple[int, int]:
    """Where the batch that begins at `at` ends, and its bytes: `most` frames, 64 KiB, or a single frame with more."""
    stop = min(at + most, len(frames))
    size = sum(map(len, frames[at:stop]))
    if size <= BATCH_BYTES:
        return stop, size
    stop, size = at + 1, len(frames[at])
    while stop < len(frames) and stop - at < most and size + len(frames[stop]) <= BATCH_BYTES:
        size += len(frames[stop])
        stop += 1
    return stop, size


class Outbound(ABC):
    """Base of `Session`, never used alone."""

    __slots__ = (
        "_active_at",
        "_alone",
        "_alone_at",
        "_at_once",
        "_batch",
        "_batch_least",
        "_batch_most",
        "_commands",
        "_config",
        "_congested",
        "_drain_waiter",
        "_ending",
        "_endpoint",
        "_flush_scheduled",
        "_high",
        "_kept_to",
        "_link",
        "_loop",
        "_out",
        "_out_bytes",
        "_stall_timer",
        "_write_paused",
        "_writing",
        "_written",
        "bytes_sent",
        "packets_sent",
    )

    def __init__(self, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        self.packets_sent = self.bytes_sent = 0
        self._link: Link = link
        self._endpoint = endpoint
        self._loop = loop
        self._active_at = loop.time()
        self._config = config = link.config
        self._high = config.high_water
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flush_scheduled = False
        optimizations = config.optimizations
        self._at_once = not optimizations.coalescing  # nothing is gathered
        self._alone_at = 1 if optimizations.recognition else 0  # packets of a read that are recognised as a single one
        self._alone = self._at_once  # the last read was a single packet: what it leads to will hardly have company
        self._commands: Commands | None = None
        self._batch_least = config.batch_size if optimizations.batching else 1
        self._batch_most = self._batch_least * GROWTH if optimizations.batching else 1
        self._batch = self._batch_most  # packets that leave in one write, as long as the link takes them
        self._writing = False  # such batches; the link may say meanwhile that it goes on
        self._congested = False  # more than high_water waits here
        self._kept_to = 0  # frames queued before this one are no one-way messages, while congested
        self._write_paused = False  # the link has not passed on all it was given; it gets no more until then
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ending = False  # that timer bounds the end of the session, whatever the link says
        self._written = False  # the link takes nothing more
        self._drain_waiter: asyncio.Future[None] | None = None

    # For the session

    def _append(self, frame: bytes) -> None:
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._out_bytes > self._high:
            self._congested = True
        if not self._flush_scheduled:
            if self._alone:
                self._alone = self._at_once
                self._flush()
            else:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Give the link everything, unless it is or falls behind."""
        if not self._write_paused and (self._out or (self._commands is not None and self._commands.frames)):
            self._active_at = self._loop.time()
        self._write_out()

    def _write_out(self) -> None:
        """As `_flush`, in the same turn as a read, which has noted the time already."""
        self._flush_scheduled = False
        if self._commands is not None and self._commands.frames:
            self._write_commands(self._commands)
        out = self._out
        if out and not self._write_paused:
            if len(out) <= self._batch and self._out_bytes <= BATCH_BYTES:
                self.packets_sent += len(out)
                # First: inside TLS, a link may call `resume_writing` from within `write`.
                self._out, self._out_bytes = [], 0
                self._link.write(out)
            else:
                self._out_bytes -= self._write_batches(out)
                self._kept_to = 0
            if self._congested and self._out_bytes <= self._high:
                self._ease()

    def _write_batches(self, frames: list[bytes]) -> int:
        """Take batches out of `frames` and give them to the link, until it falls behind; the bytes they had."""
        at = taken = 0
        self._writing = True
        try:
            while at < len(frames) and not self._write_paused:
                stop, size = batch_end(frames, at, self._batch)
                batch, at = frames[at:stop], stop
                taken += size
                self.packets_sent += len(batch)
                self._link.write(batch)
                if not self._write_paused and len(batch) == self._batch:
                    self._batch = min(2 * self._batch, self._batch_most)
        finally:
            del frames[:at]
            self._writing = False
        return taken

    def _flush_all(self) -> None:
        """Give the link everything, however much it has, because it will close behind that."""
        behind, self._write_paused = self._write_paused, False
        queued = self._queued()
        if queued:
            self._active_at = self._loop.time()
            self.packets_sent += len(queued)
            self._discard_queued()
            self._link.write(queued)
            if self._congested:
                self._ease()
        self._write_paused = self._write_paused or behind

    def _outbound(self) -> int:
        commands = self._commands.size if self._commands is not None else 0
        return self._out_bytes + commands + self._link.buffered()

    @property
    def batch_limit(self) -> int:
        """Packets of data that leave in one write at present, while there are more; adapts itself."""
        return self._batch

    def limit_batches(self, least: int) -> None:
        """Let batches shrink to `least` packets, from 1 up, instead of `SessionConfig.batch_size`, and grow to 32 times
        that. Does nothing where batching is turned off. Raises ConfigurationError for what is no such number.
        """
        check_count("least", least)
        if self._config.optimizations.batching:
            self._batch_least, self._batch_most = least, least * GROWTH
            self._batch = min(max(self._batch, least), self._batch_most)

    # Of both classes

    def _queued(self) -> list[bytes]:
        """What waits to leave, in the order in which it would."""
        return [*self._commands.frames, *self._out] if self._commands is not None else self._out[:]

    def _keep_queued(self, keep: Callable[[bytes], bool]) -> None:
        """Take out of what waits to leave all that `keep` does not want."""
        self._out[:] = filter(keep, self._out)
        self._out_bytes = sum(map(len, self._out))
        if self._commands is not None:
            self._commands.frames = list(filter(keep, self._commands.frames))
            self._commands.size = sum(map(len, self._commands.frames))
            self._commands.kept_to = 0

    def _discard_queued(self) -> None:
        self._out, self._out_bytes = [], 0
        if self._commands is not None:
            self._commands.frames, self._commands.size, self._commands.kept_to = [], 0, 0

    async def _drained(self) -> None:
        """Wait until the system has taken everything."""
        self._flush_all()
        while self._write_paused:
            self._drain_waiter = self._loop.create_future()
            await self._drain_waiter

    def _drop_outbound(self) -> None:
        """The connection is gone."""
        self._discard_queued()
        self._write_paused = self._congested = False
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        self._wake_drained()

    def _wake_drained(self) -> None:
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)

    # For the link

    def pause_writing(self) -> None:
        """The link could not pass on everything at once."""
        self._write_paused = True
        self._batch = self._batch_least
        if self._stall_timer is None:
            self._watch_progress(None)

    def resume_writing(self) -> None:
        """The link has passed on everything."""
        self._write_paused = False
        if self._stall_timer is not None and not self._ending:
            self._stall_timer.cancel()
            self._stall_timer = None
        self._wake_drained()
        if not self._writing:
            self._flush()

    def _watch_progress(self, before: int | None) -> None:
        written = self.bytes_sent - self._link.buffered()
        timeout = self._config.write_timeout
        if written == before:
            self._endpoint.counters.write_timeouts += 1
            self._give_up(TransportTimeoutError("writing to a peer that does not read", timeout))
        else:
            self._stall_timer = self._loop.call_later(timeout, self._watch_progress, written)

    # What the session adds

    @abstractmethod
    def _ease(self) -> None:
        """No more than `high_water` waits any more."""

    @abstractmethod
    def _write_commands(self, commands: Commands) -> None:
        """Give the link the commands that wait, unless it is or falls behind."""

    @abstractmethod
    def _give_up(self, error: TransportError) -> None:
        """The link makes no progress: drop it."""
