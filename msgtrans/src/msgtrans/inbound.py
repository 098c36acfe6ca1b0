"""The reading half of a session: packets go to handlers, waiting requests or event streams, and answers go out.

Not here: packets that nobody has room for (`holding`), the wire, and waiting for answers to requests of our own.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from typing import TYPE_CHECKING, Final

from msgtrans.codec import encode_fields
from msgtrans.errors import SessionClosedError, TransportError
from msgtrans.given import cost
from msgtrans.handlers import Context, Reply
from msgtrans.holding import Holding
from msgtrans.info import SessionState
from msgtrans.packet import PLAIN_MARKER as _PLAIN
from msgtrans.packet import REQUEST, RESPONSE, Packet, pack_header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterator

    from msgtrans.endpoint import Endpoint
    from msgtrans.link import Link

logger = logging.getLogger("msgtrans.session")


_OPEN: Final = SessionState.OPEN


class Inbound(Holding):
    """Base of `Session`, never used alone."""

    __slots__ = ("bytes_received", "id", "packets_received")

    def __init__(
        self, session_id: int, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int
    ) -> None:
        super().__init__(link, endpoint, loop, first_message_id)
        self.id = session_id
        self.packets_received = self.bytes_received = 0

    def receive(self, packets: list[Packet]) -> None:
        """Take the packets of one read; everything answered meanwhile leaves in one write."""
        received = len(packets)
        self.packets_received += received
        self._active_at = self._loop.time()
        self._alone = received == self._alone_at or self._at_once
        if self._state is not _OPEN:
            self._endpoint.counters.discarded += len(packets)
        elif self._held:
            self._hold_behind(self._held, packets)
        elif self._throttle is not None:
            self._receive_throttled(packets)
        else:
            self._flush_scheduled = not self._at_once
            self._dispatch(iter(packets))
            self._write_out()

    def _dispatch(self, packets: Iterator[Packet]) -> None:
        endpoint, pending = self._endpoint, self._pending
        on_request, on_message = endpoint.request_handler, endpoint.message_handler
        codec = self._config.codec
        limit = -1 if self._written else codec.max_payload_size
        at_once = self._at_once
        for packet in packets:
            kind = packet.packet_type
            if kind == RESPONSE:
                waiter = pending.answer(packet.message_id)
                if waiter is None or waiter.done():
                    endpoint.counters.stray_responses += 1
                else:
                    waiter.set_result(packet)
                continue
            handler, flags = on_request if kind == REQUEST else on_message, packet.flags
            if (handler is None or self._congested or self._working or flags) and self._must_wait(kind, flags):
                if self._no_room(packet, packets):
                    return
                continue
            if not self._takes:  # a handler closed it
                endpoint.counters.discarded += 1
                continue
            context = Context(
                self,  # type: ignore[arg-type]  # only Session derives from this
                packet.message_id,
                packet.payload,
                packet.biz_type,
                packet.ext_header,
                flags,
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
                    if flags or at_once:
                        self._append_answer(frame, flags)
                        continue
                    self._out.append(frame)
                    self._out_bytes += len(frame)
                    if self._out_bytes > self._high:
                        self._congested = True
                elif type(answer) is Reply and context.unanswered and limit >= 0:
                    self._reply(context, answer)
                elif answer is not None or context.unanswered:
                    self._settle(context, answer, request=kind == REQUEST)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - logged and counted there
                self._failed(context, error)

    def _reply(self, context: Context, answer: Reply) -> None:
        frame = encode_fields(
            RESPONSE,
            context.message_id,
            answer.payload,
            context.biz_type if answer.biz_type is None else answer.biz_type,
            answer.ext_header,
            answer.flags,
            answer.compression,
            self._config.codec,
        )
        context.unanswered = False
        self._append_answer(frame, answer.flags | context.flags)

    def _offer(self, context: Context) -> None:
        request, endpoint = context.unanswered, self._endpoint
        answer = endpoint.offer_request(context) if request else endpoint.offer_message(context)
        self._settle(context, answer, request=request)

    def _settle(self, context: Context, answer: object, *, request: bool) -> None:
        """Do what a handler returned; of a one-way message only work that goes on matters."""
        if answer is None:
            if context.unanswered:
                self._give_out(context)
            return
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
        elif request:
            raise TypeError(f"a request handler returned {type(answer).__name__}; return bytes, a Reply or None")

    def _failed(self, context: Context, error: Exception | asyncio.CancelledError) -> None:
        if isinstance(error, asyncio.CancelledError):  # of a future that the handler looked at; nobody cancels us here
            error = RuntimeError(f"the handler raised {error!r}")
        where = (self.id, context.biz_type, context.message_id)
        if isinstance(error, TransportError) and error.refusal:
            self._endpoint.counters.refused += 1
            logger.debug("refused: session %d, biz_type %d, message %d: %s", *where, error)
        else:
            self._endpoint.counters.handler_errors += 1
            logger.error("handler failed: session %d, biz_type %d, message %d", *where, exc_info=error)
        self._ask_hook(context, error)

    def _refuse(self, packet: Packet, error: TransportError) -> None:
        """A rate limit turns a request away; the hook may still answer it."""
        logger.debug("refused: session %d, biz_type %d: %s", self.id, packet.biz_type, error)
        context = Context(
            self,  # type: ignore[arg-type]  # only Session derives from this
            packet.message_id,
            packet.payload,
            packet.biz_type,
            packet.ext_header,
            packet.flags,
            packet.compression,
            unanswered=True,
        )
        self._ask_hook(context, error)

    def _ask_hook(self, context: Context, error: Exception) -> None:
        hook = self._endpoint.error_handler
        if hook is None or not context.unanswered:
            return
        try:
            self._settle(context, hook(context, error), request=True)
        except Exception:
            logger.exception("the on_error hook failed: session %d, biz_type %d", self.id, context.biz_type)

    def _start(self, context: Context, work: Awaitable[object], *, request: bool) -> None:
        self._started += 1
        task = start_task(self._loop, self._run(context, work, self._started, request=request))
        if not task.done():
            if self._tasks is None:
                self._tasks = {}
            self._working = True
            size = self._tasks[task] = cost(context)
            self._running_bytes += size
            task.add_done_callback(self._task_done)

    async def _run(self, context: Context, work: Awaitable[object], number: int, *, request: bool) -> None:
        self._begun = number
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
            self.go_on()
        elif not self._tasks and self._state is SessionState.CLOSED:
            self._endpoint.session_finished(self)  # type: ignore[arg-type]  # as above


if sys.version_info >= (3, 12):

    def start_task(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task that has already run as far as it gets without waiting."""
        return asyncio.Task(work, loop=loop, eager_start=True)

else:

    def start_task(loop: asyncio.AbstractEventLoop, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task; before Python 3.12 it starts in the next turn of the loop."""
        return loop.create_task(work)
