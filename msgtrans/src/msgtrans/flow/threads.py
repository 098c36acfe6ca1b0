"""Messages of other threads (specification 5.3): queued there, handed to their session by its loop, a batch at a time.

Waking a loop costs more than sending a message, so a thread wakes it only when it finds the queue empty; what comes
until the loop gets there goes with it. Not here: requests, for which `asyncio.run_coroutine_threadsafe` is the way: the
thread waits anyway.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Final, NoReturn, Self

import msgspec

from msgtrans.codec import encode_fields
from msgtrans.containers import ConcurrentCounter, ConcurrentQueue
from msgtrans.errors import (
    BackpressureError,
    ConfigurationError,
    ResourceError,
    SessionClosedError,
    TransportError,
)
from msgtrans.field_types import check_count, shown
from msgtrans.packet import MAX_MESSAGE_ID, ONE_WAY
from msgtrans.session import Session

if TYPE_CHECKING:
    from types import TracebackType

BATCH: Final = 1024  # messages handed over before the loop has its turn
AGAIN: Final = 0.1  # seconds after which handing over goes on, if somebody has cancelled it: not in a loop that ends
COST: Final = 160  # bytes that a message counts with beside its own: what Python needs to hold it
MIB: Final = 1 << 20
logger = logging.getLogger(__name__)


class ThreadSenderStats(msgspec.Struct, frozen=True, kw_only=True):
    """A sender at one moment. accepted = sent + dropped + queued, once the loop has had its turn.

    accepted: messages that `send` took. refused: those for which there was no room. sent: handed to the session, whose
    strategy may still drop them. dropped: taken, but the session closed first, or refused them (strategy REJECT).
    queued, queued_bytes: now. wakeups: how often a thread woke the loop. batches: how often the loop took some out.
    """

    accepted: int
    refused: int
    sent: int
    dropped: int
    queued: int
    queued_bytes: int
    wakeups: int
    batches: int


class ThreadSender:
    """Sends one-way messages on a session, from any thread. Made in the loop of the session.

        async with ThreadSender(session) as sender:
            await asyncio.to_thread(work, sender)  # which calls sender.send(b"...")

    Messages of one thread leave in the order in which it sent them. When the peer takes less than the threads give, up
    to `max_bytes` wait here, each counted with 160 bytes more than its own; default 16 MiB. Then `send` raises.
    Leaving the block hands over what is queued.
    """

    __slots__ = (
        "_batches",
        "_closed",
        "_codec",
        "_draining",
        "_dropped",
        "_flushes",
        "_gone",
        "_handed",
        "_ids",
        "_in_hand",
        "_loop",
        "_queue",
        "_sent",
        "_session",
        "_wakeups",
    )

    def __init__(self, session: Session, *, max_bytes: int = 16 * MIB) -> None:
        if not isinstance(session, Session):
            raise ConfigurationError("session", f"is {shown('', session)}; use a Session, as client.session")
        check_count("max_bytes", max_bytes)
        self._session = session
        self._codec = session.config.codec
        self._loop = asyncio.get_running_loop()
        self._queue: ConcurrentQueue[bytes] = ConcurrentQueue(max_bytes)
        self._ids = count()
        self._dropped = ConcurrentCounter()
        self._wakeups = self._sent = self._batches = 0  # the loop's
        self._in_hand: list[bytes] = []  # taken out of the queue by the loop
        self._handed = 0  # of these: sent or dropped
        self._flushes: deque[tuple[int, asyncio.Future[None]]] = deque()  # behind how many messages each is
        self._draining: asyncio.Task[None] | None = None  # the loop's
        self._closed = False
        self._gone = Lock()  # of the threads that find the loop closed

    def send(
        self, payload: bytes, *, biz_type: int = 0, ext_header: bytes = b"", flags: int = 0, compression: int = 0
    ) -> None:
        """Queue a one-way message. From any thread, the loop's included; never waits.

        It is encoded and compressed here, so mistakes show here. Raises LocalProtocolError (limits), BackpressureError
        while `max_bytes` or more are queued, SessionClosedError when the session is not open, its loop or the sender is
        closed. A session that closes before the loop has got there drops the message; `stats().dropped` counts it.
        """
        if self._closed or not self._session.is_open:
            raise SessionClosedError("the session is closed, or this sender is; nothing was queued")
        if self._loop.is_closed():  # with a backlog nobody would notice: only who finds the queue empty wakes it
            self._loop_is_gone(None)
        message_id = next(self._ids) % MAX_MESSAGE_ID + 1
        frame = encode_fields(ONE_WAY, message_id, payload, biz_type, ext_header, flags, compression, self._codec)
        try:
            queued = self._queue.push(frame, len(frame) + COST)
        except ResourceError as error:
            raise BackpressureError("bytes from other threads", error.current, error.limit) from None
        if queued == 1:  # else somebody has woken the loop, and it is not done yet
            try:
                self._loop.call_soon_threadsafe(self._woken)
            except RuntimeError as error:
                self._loop_is_gone(error)

    async def flush(self) -> None:
        """Wait until what was queued before is handed over or dropped, whatever comes meanwhile. Called in the loop."""
        behind = self._queue.stats().enqueued
        if self._sent + self._dropped.get() < behind:
            handed: asyncio.Future[None] = self._loop.create_future()
            self._flushes.append((behind, handed))
            self._wake()
            await handed

    async def close(self) -> None:
        """Take no further messages, and hand over what is queued. Called in the loop."""
        self._closed = True
        await self.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def stats(self) -> ThreadSenderStats:
        """What was counted so far. From any thread; exact once the threads are silent and the queue is empty."""
        queue, in_hand = self._queue.stats(), self._in_hand[self._handed :]
        return ThreadSenderStats(
            accepted=queue.enqueued,
            refused=queue.refused,
            sent=self._sent,
            dropped=self._dropped.get(),
            queued=queue.current_size + len(in_hand),
            queued_bytes=queue.current_weight + sum(len(frame) + COST for frame in in_hand),
            wakeups=self._wakeups,
            batches=self._batches,
        )

    # Its own, in the loop

    def _woken(self) -> None:
        self._wakeups += 1
        self._wake()

    def _wake(self) -> None:
        if self._draining is None and (self._in_hand or not self._queue.is_empty):
            self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Hand over until nothing is queued. Whoever queues after that finds the queue empty, and wakes the loop."""
        try:
            while self._in_hand or self._take():
                await self._hand_over()
                await asyncio.sleep(0)  # the others' turn
        except asyncio.CancelledError:
            self._loop.call_later(AGAIN, self._wake)
            raise
        finally:
            self._draining = None

    def _take(self) -> bool:
        """Take a batch out of the queue; whether there was one."""
        self._in_hand = self._queue.pop_many(BATCH)
        self._batches += bool(self._in_hand)
        return bool(self._in_hand)

    async def _hand_over(self) -> None:
        """What is in hand, or what is left of it."""
        session, frames = self._session, self._in_hand
        while self._handed < len(frames):
            try:
                await session.forward(frames[self._handed])  # waits while the peer takes less than it is given
                self._sent += 1
                self._handed += 1
            except TransportError as error:
                logger.debug("a message of another thread is dropped: %s", error)
                gone = 1 if session.is_open else len(frames) - self._handed
                self._dropped.increment(gone)
                self._handed += gone
            if self._flushes:
                self._end_flushes()
        self._in_hand, self._handed = [], 0

    def _end_flushes(self) -> None:
        done = self._sent + self._dropped.get()
        while self._flushes and self._flushes[0][0] <= done:
            _, handed = self._flushes.popleft()
            if not handed.done():
                handed.set_result(None)

    def _loop_is_gone(self, error: RuntimeError | None) -> NoReturn:
        self._closed = True
        with self._gone:
            left = len(self._queue.pop_many(sys.maxsize)) + len(self._in_hand) - self._handed
            self._in_hand, self._handed = [], 0
        if left:
            self._dropped.increment(left)
        raise SessionClosedError("the loop of the session is closed; what was queued is dropped") from error
