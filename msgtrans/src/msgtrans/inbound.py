"""The reading half of a session: packets go to handlers, waiting requests or event streams, and answers go out.

Packets that nobody has room for are held with all requests and messages behind them, and reading pauses while any is
held. Responses are never held: while answers to requests of ours are awaited, as by handlers that ask their peer back,
reading goes on, and holds what comes before them up to `max_inbound` bytes. At that bound it pauses all the same; then
the timeouts of these requests are what lets the session go on.
Not here: the wire, and waiting for answers to requests of our own.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from msgtrans.codec import PLAIN_MARKER as _PLAIN
from msgtrans.codec import pack_header
from msgtrans.errors import SessionClosedError, TransportError
from msgtrans.handlers import Context, Reply
from msgtrans.info import SessionState
from msgtrans.outbound import Outbound
from msgtrans.packet import REQUEST, RESPONSE, Packet
from msgtrans.requests import PendingRequests

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable, Iterator

    from msgtrans.endpoint import Endpoint
    from msgtrans.link import Link

logger = logging.getLogger("msgtrans.session")


_OPEN: Final = SessionState.OPEN
PACKET_COST: Final = 160  # bytes a small packet in memory takes beside its payload and ext header, rounded up
RELEASE: Final = 1024  # held packets handled in one turn of the loop


class Inbound(Outbound):
    """Base of `Session`, never used alone."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_pending",
        "_reading_paused",
        "_running_bytes",
        "_state",
        "_tasks",
        "bytes_received",
        "id",
        "packets_received",
    )

    def __init__(
        self, session_id: int, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int
    ) -> None:
        super().__init__(link, endpoint, loop)
        config = self._config
        self.id = session_id
        self.packets_received = self.bytes_received = 0
        self._state = _OPEN
        self._pending: PendingRequests[asyncio.Future[Packet]] = PendingRequests(
            first_message_id, config.request_timeout, config.max_pending_requests
        )
        self._held: deque[Packet] | None = None
        self._held_bytes = 0
        self._reading_paused = False
        self._tasks: dict[asyncio.Task[None], int] | None = None  # and what their messages take, in bytes
        self._running_bytes = 0  # the sum of these

    def receive(self, packets: list[Packet]) -> None:
        """Take the packets of one read; everything answered meanwhile leaves in one write."""
        received = len(packets)
        self.packets_received += received
        self._active_at = self._loop.time()
        self._alone = received == 1
        if self._state is not _OPEN:
            self._endpoint.counters.discarded += len(packets)
        elif self._held:
            self._hold_behind(self._held, packets)
        else:
            self._flush_scheduled = True
            self._dispatch(iter(packets))
            if self._out:
                self._flush()
            else:
                self._flush_scheduled = False

    def _dispatch(self, packets: Iterator[Packet]) -> None:
        endpoint, pending = self._endpoint, self._pending
        on_request, on_message = endpoint.request_handler, endpoint.message_handler
        limit = self._config.codec.max_payload_size
        for packet in packets:
            kind = packet.packet_type
            if kind == RESPONSE:
                waiter = pending.pop(packet.message_id)
                if waiter is None or waiter.done():
                    endpoint.counters.stray_responses += 1
                else:
                    waiter.set_result(packet)
                continue
            handler = on_request if kind == REQUEST else on_message
            if (handler is None or self._congested or self._tasks) and self._must_wait(kind):
                self._hold(packet, packets)
                return
            if self._state is not _OPEN:  # a handler closed it
                endpoint.counters.discarded += 1
                continue
            context = Context(
                self,  # type: ignore[arg-type]  # only Session derives from this
                packet.message_id,
                packet.payload,
                packet.biz_type,
                packet.ext_header,
                packet.flags,
                packet.compression,
                kind == REQUEST,
            )
            try:
                if handler is None:
                    self._offer(context)
                    continue
                answer = handler(context)
                if type(answer) is bytes and context.unanswered and len(answer) <= limit:
                    context.unanswered = False
                    frame = (
                        pack_header(_PLAIN, RESPONSE, packet.biz_type, packet.message_id, 0, len(answer), 0) + answer
                    )
                    self._out.append(frame)
                    self._out_bytes += len(frame)
                    if self._out_bytes > self._high:
                        self._congested = True
                elif answer is not None:
                    self._settle(context, answer, request=kind == REQUEST)
            except Exception as error:  # noqa: BLE001 - logged and counted there
                self._failed(context, error)

    def _offer(self, context: Context) -> None:
        request, endpoint = context.unanswered, self._endpoint
        answer = endpoint.offer_request(context) if request else endpoint.offer_message(context)
        if answer is not None:
            self._settle(context, answer, request=request)

    def _settle(self, context: Context, answer: object, *, request: bool) -> None:
        """Do what a handler returned; of a one-way message only work that goes on matters."""
        if isinstance(answer, bytes | bytearray | memoryview):
            answer = Reply(bytes(answer))
        if isinstance(answer, Reply):
            if not request:
                return
            try:
                context.respond(
                    answer.payload,
                    ext_header=answer.ext_header,
                    biz_type=answer.biz_type,
                    flags=answer.flags,
                    compression=answer.compression,
                )
            except SessionClosedError:
                self._endpoint.counters.late_answers += 1
        elif inspect.isawaitable(answer):
            self._start(context, answer, request=request)
        elif request and answer is not None:
            raise TypeError(f"a request handler returned {type(answer).__name__}; return bytes, a Reply or None")

    def _failed(self, context: Context, error: Exception) -> None:
        where = (self.id, context.biz_type, context.message_id)
        if isinstance(error, TransportError) and error.refusal:
            self._endpoint.counters.refused += 1
            logger.debug("refused: session %d, biz_type %d, message %d: %s", *where, error)
        else:
            self._endpoint.counters.handler_errors += 1
            logger.error("handler failed: session %d, biz_type %d, message %d", *where, exc_info=error)
        hook = self._endpoint.error_handler
        if hook is None or not context.unanswered:
            return
        try:
            self._settle(context, hook(context, error), request=True)
        except Exception:
            logger.exception("the on_error hook failed: session %d, biz_type %d", self.id, context.biz_type)

    def _start(self, context: Context, work: Awaitable[object], *, request: bool) -> None:
        task = start_task(self._loop, self._run(context, work, request=request))
        if not task.done():
            if self._tasks is None:
                self._tasks = {}
            size = self._tasks[task] = _cost(context)
            self._running_bytes += size
            task.add_done_callback(self._task_done)

    async def _run(self, context: Context, work: Awaitable[object], *, request: bool) -> None:
        try:
            answer = await work
            if request:
                self._settle(context, answer, request=True)
        except Exception as error:  # noqa: BLE001 - logged and counted there
            self._failed(context, error)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if self._tasks is None:
            return
        self._running_bytes -= self._tasks.pop(task, 0)
        if self._held:
            self._release()
        elif not self._tasks and self._state is SessionState.CLOSED:
            self._endpoint.session_finished(self)  # type: ignore[arg-type]  # as above

    def _must_wait(self, kind: int) -> bool:
        endpoint = self._endpoint
        if self._tasks:
            config = self._config
            if len(self._tasks) >= config.max_concurrent_handlers or self._running_bytes >= config.max_inbound:
                return True
            # Handlers of messages may be waiting to send: what they hold counts as what the peer does not take.
            if self._congested and kind != REQUEST and self._running_bytes >= self._high:
                return True
        if kind == REQUEST:
            # A session with sends of its own goes on answering for longer: its peer may be waiting in the same way.
            if self._congested:
                own = bool(self._line) or len(self._pending) > 0
                if self._outbound() > (self._config.max_outbound if own else self._high):
                    return True
            return endpoint.request_handler is None and endpoint.hub.full
        return endpoint.message_handler is None and endpoint.hub.full

    def _hold(self, packet: Packet, rest: Iterator[Packet]) -> None:
        self._held = deque((packet,))
        self._held_bytes = _cost(packet)
        self._endpoint.paused.add(self)  # type: ignore[arg-type]  # as above
        self._hold_behind(self._held, rest)

    def _hold_behind(self, held: deque[Packet], packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.packet_type == RESPONSE:
                self._dispatch(iter((packet,)))
            else:
                held.append(packet)
                self._held_bytes += _cost(packet)
        self._balance_reading()

    def _balance_reading(self) -> None:
        """While packets are held, read on only for answers that are awaited, and only up to `max_inbound`."""
        limit = self._config.max_inbound
        if self._reading_paused:
            if not self._held or (len(self._pending) and self._held_bytes <= limit // 2):
                self._reading_paused = False
                self._link.resume_reading()
        elif self._held and (not len(self._pending) or self._held_bytes >= limit):
            self._reading_paused = True
            self._endpoint.counters.read_pauses += 1
            self._link.pause_reading()

    def _release(self) -> None:
        """Go on with what was held, as far as there is room now."""
        held = self._held
        if not held or self._state is not _OPEN:
            return
        self._flush_scheduled = True
        turn = RELEASE
        while held and self._held is held and not self._must_wait(held[0].packet_type):
            if not turn:
                self._loop.call_soon(self._release)
                break
            turn -= 1
            packet = held.popleft()
            self._held_bytes -= _cost(packet)
            self._dispatch(iter((packet,)))
        if not held:
            self._held = None
            self._endpoint.paused.discard(self)
        self._balance_reading()
        self._flush()

    def make_room(self) -> None:
        """For the endpoint: an event stream has room again."""
        self._loop.call_soon(self._release)

    def _eased(self) -> None:
        if self._held:
            self._loop.call_soon(self._release)


def _cost(message: Packet | Context) -> int:
    """Bytes of memory a message takes, about."""
    return len(message.payload) + len(message.ext_header) + PACKET_COST


if sys.version_info >= (3, 12):

    def start_task(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task that has already run as far as it gets without waiting."""
        return asyncio.Task(work, loop=loop, eager_start=True)

else:

    def start_task(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task; before Python 3.12 it starts in the next turn of the loop."""
        return loop.create_task(work)
