"""Messages of other threads (specification 5.3): queued there, handed to their session by its loop, a batch at a time.

Waking a loop costs more than sending a message, so a thread wakes it only when it finds the queue empty; what comes
until the loop gets there goes with it. Not here: requests, for which `asyncio.run_coroutine_threadsafe` is the way: the
thread waits anyway.
"""

from __future__ import annotations

import asyncio
import logging
import sys
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
from msgtrans.field_types import check_number, shown
from msgtrans.packet import MAX_MESSAGE_ID, ONE_WAY
from msgtrans.session import Session

if TYPE_CHECKING:
    from types import TracebackType

BATCH: Final = 1024  # messages handed over before the loop has its turn
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
        "_ids",
        "_loop",
        "_queue",
        "_sent",
        "_session",
        "_wakeups",
    )

    def __init__(self, session: Session, *, max_bytes: int = 16 * MIB) -> None:
        if not isinstance(session, Session):
            raise ConfigurationError("session", f"is {shown('', session)}; use a Session, as client.session")
        check_number("max_bytes", max_bytes, whole=True)
        if max_bytes < 1:
            raise ConfigurationError("max_bytes", f"is {max_bytes}; use 1 or more")
        self._session = session
        self._codec = session.config.codec
        self._loop = asyncio.get_running_loop()
        self._queue: ConcurrentQueue[bytes] = ConcurrentQueue(max_bytes)
        self._ids = ConcurrentCounter()
        self._wakeups = ConcurrentCounter()
        self._dropped = ConcurrentCounter()
        self._sent = self._batches = 0  # the loop's
        self._draining: asyncio.Task[None] | None = None  # the loop's
        self._closed = False

    def send(
        self, payload: bytes, *, biz_type: int = 0, ext_header: bytes = b"", flags: int = 0, compression: int = 0
    ) -> None:
        """Queue a one-way message. From any thread, the loop's included; never waits.

        It is encoded and compressed here, so mistakes show here. Raises LocalProtocolError (limits), BackpressureError
        while `max_bytes` or more are queued, SessionClosedError when the session is not open or the sender is closed. A
        session that closes before the loop has got there drops the message; `stats().dropped` counts it.
        """
        if self._closed or not self._session.is_open:
            raise SessionClosedError("the session is closed, or this sender is; nothing was queued")
        message_id = (self._ids.increment() - 1) % MAX_MESSAGE_ID + 1
        frame = encode_fields(ONE_WAY, message_id, payload, biz_type, ext_header, flags, compression, self._codec)
        try:
            queued = self._queue.push(frame, len(frame) + COST)
        except ResourceError as error:
            raise BackpressureError("bytes from other threads", error.current, error.limit) from None
        if queued == 1:  # else somebody has woken the loop, and it is not done yet
            self._wakeups.increment()
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError as error:
                self._loop_is_gone(error)

    async def flush(self) -> None:
        """Wait until what was queued before is handed over or dropped. Called in the loop."""
        self._wake()
        if self._draining is not None:
            await asyncio.shield(self._draining)

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
        queue = self._queue.stats()
        return ThreadSenderStats(
            accepted=queue.enqueued,
            refused=queue.refused,
            sent=self._sent,
            dropped=self._dropped.get(),
            queued=queue.current_size,
            queued_bytes=queue.current_weight,
            wakeups=self._wakeups.get(),
            batches=self._batches,
        )

    # Its own, in the loop

    def _wake(self) -> None:
        if self._draining is None and not self._queue.is_empty:
            self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Hand over until nothing is queued. Whoever queues after that finds the queue empty, and wakes the loop."""
        try:
            while frames := self._queue.pop_many(BATCH):
                self._batches += 1
                await self._hand_over(frames)
                await asyncio.sleep(0)  # the others' turn
        finally:
            self._draining = None

    async def _hand_over(self, frames: list[bytes]) -> None:
        session, before = self._session, self._sent
        try:
            for frame in frames:
                try:
                    await session.forward(frame)  # waits while the peer takes less than it is given
                    self._sent += 1
                except TransportError as error:
                    logger.debug("a message of another thread is dropped: %s", error)
                    if not session.is_open:
                        break
        finally:
            left_out = len(frames) - (self._sent - before)
            if left_out:
                self._dropped.increment(left_out)

    def _loop_is_gone(self, error: RuntimeError) -> NoReturn:
        self._closed = True
        self._dropped.increment(len(self._queue.pop_many(sys.maxsize)))
        raise SessionClosedError("the loop of the session is closed; the message is dropped") from error
