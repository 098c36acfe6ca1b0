"""One HTTP connection: answers whole requests in order, the hot ones itself, the others through the ASGI server.

One request is worked on at a time. A long answer is made in steps, others having their turn between; meanwhile nothing
more is read. Nothing here parses a request or knows an operation: see `reader` and `calls`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator
from enum import IntEnum
from typing import TYPE_CHECKING, cast

from artemis.server.http.answer import Answer, head_bytes, position_fields, problem
from artemis.server.http.framing import ChunkError
from artemis.server.http.head import HeadError, RequestHead
from artemis.server.http.reader import RefusedError, Request, RequestReader, Waiting
from artemis.server.recognition import HeartbeatMemory

if TYPE_CHECKING:
    from artemis.server.http.calls import Outcome, Steps
    from artemis.server.http.cold import ColdRequests
    from artemis.server.http.door import HttpDoor
    from artemis.server.http.polls import Waiting as Poll
    from artemis.server.operations import Operation
    from artemis.server.workers.barrier import Barrier

#: Work of one connection in one turn of the loop, in requests; 512 bytes of body count as one more, and the first step
#: of a long answer as half of all.
_WORK_PER_TURN = 128

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(IntEnum):
    """What the connection does."""

    READING = 0  #: waits for requests and answers them
    BUSY = 1  #: makes an answer in steps, or waits for the application
    LINGER = 2  #: has said its last word and waits for the peer to notice
    CLOSING = 3  #: waits for what is written to leave
    CLOSED = 4


class HttpConnection(asyncio.Protocol):
    """The server's side of one connection. All methods run on the event loop's thread."""

    __slots__ = (
        "_asked_to_close",
        "_cold",
        "_eof",
        "_head",
        "_loop",
        "_out",
        "_out_size",
        "_poll",
        "_progress",
        "_reader",
        "_shows_data",
        "deadline",
        "door",
        "memory",
        "phase",
        "transport",
        "write_paused",
    )

    def __init__(self, door: HttpDoor) -> None:
        self.door = door
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # connection_made comes first
        self.phase = Phase.READING
        self.deadline = math.inf
        self.memory = HeartbeatMemory()
        self.write_paused = False
        self._reader = RequestReader(door.routes, door.limits)
        self._head = RequestHead()
        self._shows_data = False  # whether the hot answer that comes next does, unless it failed
        self._cold: ColdRequests | None = None
        self._poll: Poll | None = None  # the long poll that waits
        self._out: list[bytes] = []
        self._out_size = 0
        self._progress = 0  # what had arrived, or was still to be sent, when the deadline was set
        self._eof = False
        self._asked_to_close = False
        self._loop = door.loop

    @property
    def gone(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.phase is Phase.CLOSED

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with the deadline for a head running."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports only quack like one
        self.deadline = self._loop.time() + self.door.limits.head_deadline
        self.door.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; an answer in steps stops at its next step."""
        self.phase = Phase.CLOSED
        self.door.closed(self)
        self._end_poll()
        if self._cold is not None:
            self._cold.connection_lost(exc)
        self._out.clear()

    def eof_received(self) -> bool:
        """The peer will send no more. True keeps our side open until the answer that is under way has left.

        Nobody who waits for changes closes half of his connection: he has gone.
        """
        self._eof = True
        if self._poll is not None:
            self._end_poll()
            self.phase = Phase.CLOSING
            return False
        return self.phase is Phase.BUSY and self.transport.can_write_eof()  # TLS has no halves of connections

    def pause_writing(self) -> None:
        """The peer does not read: read no more from it, and drop it when nothing moves for `write_deadline`."""
        self.write_paused = True
        self._progress = self.transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self.door.limits.write_deadline
        self.transport.pause_reading()
        if self._cold is not None:
            self._cold.pause_writing()

    def resume_writing(self) -> None:
        """The peer reads again: go on with what it had sent."""
        self.write_paused = False
        if self.phase is Phase.BUSY:
            self.deadline = math.inf
        if self._cold is not None:
            self._cold.resume_writing()
        if self._poll is not None:
            self._read_behind(self._poll)
        self._loop.call_soon(self._next_turn)

    def data_received(self, data: bytes) -> None:
        """Handle every whole request in `data` and write their answers with one call."""
        reader = self._reader
        known = reader.known
        if (
            known is not None
            and len(data) == known.size
            and self.phase is Phase.READING
            and not self.write_paused
            and reader.empty
            and data.startswith(known.raw)
        ):
            # Nearly every read of a busy connection is exactly one request with the same head as the one before.
            self.deadline = self.door.idle_until
            self._answer_hot(known.head, known.operation, data[len(known.raw) :])
            self._flush()
        elif self.phase is Phase.READING and not self.write_paused:
            reader.feed(data)
            self._serve()
        elif self.phase <= Phase.BUSY:
            reader.feed(data)
            if self._poll is None:
                self.transport.pause_reading()
            else:
                self._read_behind(self._poll)

    # Serving

    def _serve(self) -> bool:
        """Answer whole requests until one is missing bytes, one takes longer, or it is the turn of others.

        Returns whether more is to be read now.
        """
        reader = self._reader
        work = 0
        try:
            while self.phase is Phase.READING and not self.write_paused:
                if work >= _WORK_PER_TURN:
                    self.phase = Phase.BUSY
                    self.deadline = math.inf
                    self._loop.call_soon(self._own_turn)
                    break
                before = reader.waiting
                request = reader.next()
                if request is None:
                    self._wait(before)
                    break
                work += 1 + (len(request.body) >> 9)
                if request.refusal is not None:
                    self._head = request.head
                    self.door.counters[f"status_{request.refusal.status}"] += request.refusal.status >= 400
                    self._answer(request.refusal)
                elif request.operation is None:
                    if request.head.upgrade and self.door.websocket is not None and not self._asked_to_close:
                        self._hand_over(self.door.websocket(), request.head.upgrade)
                    elif not self._answer_poll(request):
                        self._give_away(request)
                elif self._answer_hot(request.head, request.operation, request.body):
                    work += _WORK_PER_TURN // 2
        except (HeadError, ChunkError) as error:
            self._refuse("malformed_request", problem(400, f"not a request of HTTP: {error}"))
        except RefusedError as refused:
            self._refuse(f"status_{refused.answer.status}", refused.answer)
        self._flush()
        return self.phase is Phase.READING and not self.write_paused

    def _wait(self, before: Waiting) -> None:
        """Nothing whole is here: set the deadline for what is missing."""
        waiting = self._reader.waiting
        if waiting is Waiting.NOTHING:
            self.deadline = self.door.idle_until
        elif waiting is not before:
            limits = self.door.limits
            allowed = limits.head_deadline if waiting is Waiting.HEAD else limits.body_deadline
            self.deadline = self._loop.time() + allowed
            self._progress = self._reader.arrived
        if self._reader.wants_continue:
            self._reader.wants_continue = False
            self._flush()
            self.transport.write(_CONTINUE)

    def _answer_hot(self, head: RequestHead, operation: Operation, body: bytes) -> bool:
        """Answer a hot request, or begin to; whether that took a step of a long answer."""
        self._head = head
        self._shows_data = operation.shows_data
        calls = self.door.calls
        caller = self._caller() if calls.gate.per_caller else ""
        barrier = calls.barrier
        mark = 0 if barrier is None else barrier.mark()
        if head.method == b"POST":
            outcome = calls.post(operation, head, body, caller, self.memory)
        else:
            outcome = calls.get(operation, head.query, caller)
        if type(outcome) is not bytes and isinstance(outcome, Generator):
            self._step(outcome, mark)
            return True
        if barrier is not None and barrier.behind(mark):
            self._hold(barrier, outcome)
        else:
            self._send_outcome(outcome)
        return False

    def _hold(self, barrier: Barrier, outcome: Outcome) -> None:
        """Answer when the other workers of the machine have what was changed."""
        self.phase = Phase.BUSY
        self.deadline = math.inf
        barrier.hold(lambda: self._let_go(outcome))

    def _let_go(self, outcome: Outcome) -> None:
        if self.phase is Phase.BUSY:
            self.phase = Phase.READING
            self._send_outcome(outcome)
            self._flush()
            self._next_turn()

    def _caller(self) -> str:
        """The address of the peer, without its port."""
        peer = self.transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def _step(self, steps: Steps, mark: int, *, own_turn: bool = False) -> None:
        """Make a step of a long answer; the next one follows in the next turn of the loop."""
        if self.phase > Phase.BUSY:
            steps.close()
            return
        try:
            next(steps)
        except StopIteration as stop:
            barrier = self.door.calls.barrier
            if barrier is not None and barrier.behind(mark):
                self._hold(barrier, stop.value)
                return
            self.phase = Phase.READING
            self._send_outcome(stop.value)
            if own_turn:
                self._flush()
                self._next_turn()
        else:
            self.phase = Phase.BUSY
            if not self.write_paused:
                self.deadline = math.inf
            self._loop.call_soon(lambda: self._step(steps, mark, own_turn=True))

    def _answer_poll(self, request: Request) -> bool:
        """Answer a long poll, or let it wait; whether it is one."""
        caller = self._caller() if self.door.calls.gate.per_caller else ""
        outcome = self.door.polls.begin(request.head, caller, self._poll_answered)
        if outcome is None:
            return False
        self._head = request.head
        if isinstance(outcome, Answer):
            self._answer(outcome)
        else:
            self._poll = outcome
            self.phase = Phase.BUSY
            self.deadline = math.inf
            if self._eof:
                self._end_poll()
                self.close()
            else:
                self._read_behind(outcome)
        return True

    def _read_behind(self, poll: Poll) -> None:
        """Go on reading while somebody waits, or his leaving is not noticed; who sends much more waits no longer."""
        if self._reader.unread > self.door.limits.behind_wait:
            self.transport.pause_reading()
            poll.hurry()
        elif not self.write_paused:
            self.transport.resume_reading()

    def _poll_answered(self, answer: Answer) -> None:
        """The long poll has its answer."""
        self._poll = None
        if self.phase is Phase.BUSY:
            self.phase = Phase.READING
            self._answer(answer)
            self._flush()
            self._next_turn()

    def _end_poll(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def _give_away(self, request: Request) -> None:
        """Let the ASGI server answer."""
        if self._cold is None:
            self._cold = self.door.cold_requests(self)
        self._flush()
        self._head = request.head
        self.phase = Phase.BUSY
        self.deadline = math.inf
        self._cold.take(request.head, request.body)

    def _hand_over(self, protocol: asyncio.Protocol, head: bytes) -> None:
        """Let WebSocket have the connection for good: a client, or a proxy, goes on with one that it had kept."""
        self._flush()
        self.phase = Phase.CLOSED
        self.door.closed(self)
        if self._cold is not None:
            self._cold.leave()
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        self.transport.resume_reading()
        protocol.data_received(head + self._reader.take_rest())

    def cold_answered(self) -> None:
        """The ASGI server has sent its answer."""
        if self.phase is Phase.BUSY:
            if self._asked_to_close:
                self.close()
            else:
                self._loop.call_soon(self._own_turn)

    def _own_turn(self) -> None:
        """Go on after an interruption of our own making."""
        if self.phase is Phase.BUSY:
            self.phase = Phase.READING
            self._next_turn()

    def _next_turn(self) -> None:
        """Read on, starting with what is here already."""
        if self.phase is not Phase.READING or self.write_paused or self.transport.is_closing():
            return
        if not self._serve():
            return
        if self._eof:
            self.close()
        else:
            self.transport.resume_reading()

    # Answering

    def _send_outcome(self, outcome: Outcome) -> None:
        if type(outcome) is not bytes:
            assert isinstance(outcome, Answer)  # noqa: S101 - hot operations are not answered in pieces
            self._answer(outcome)
            return
        head, door = self._head, self.door
        body, packed = outcome, b""
        if head.accepts_gzip and len(body) >= door.packed.from_size:
            body, packed = door.packed.pack(body)
        if not packed and head.plain and not self._asked_to_close:
            # 200 with a JSON body is nearly every answer there is, so its head is ready made.
            size = len(body)
            start = door.data_head() if self._shows_data else door.ok_head
            self._out.append(b"%b%d\r\n\r\n%b" % (start, size, body))
            self._out_size += size
            if self._out_size > door.limits.write_buffer:
                self._flush()
        else:
            fields = position_fields(door.calls.position()) if self._shows_data else ()
            if packed:
                fields += ((b"Content-Encoding", packed), (b"Vary", b"Accept-Encoding"))
            self._answer(Answer(200, body, fields))

    def _answer(self, answer: Answer) -> None:
        head = self._head
        keep_alive = head.keep_alive and not answer.close and not self._asked_to_close
        start = head_bytes(answer, self.door.date, keep_alive=keep_alive, http_1_0=head.http_1_0)
        if head.method == b"HEAD":
            self._out.append(start)
        elif len(answer.body) <= self.door.limits.write_buffer:
            self._out.append(start + answer.body)
            self._out_size += len(answer.body)
        else:
            # Thousands may be sent the same large answer, so it is not copied for each of them.
            self._out.append(start)
            self._flush()
            self.transport.write(answer.body)
        if not keep_alive:
            self._linger()

    def _refuse(self, reason: str, answer: Answer) -> None:
        """Answer and end the connection although the peer may still be sending: nothing behind can be understood."""
        self.door.counters[reason] += 1
        self._out.append(head_bytes(answer, self.door.date, keep_alive=False) + answer.body)
        self._linger()

    def _linger(self) -> None:
        """Say that this was all, and read and drop what the peer still sends, so that no reset overtakes the answer."""
        self._flush()
        if self.phase >= Phase.CLOSING:
            return
        self.phase = Phase.LINGER
        self.deadline = self._loop.time() + self.door.limits.linger
        if self._eof or not self.transport.can_write_eof():
            self.close()
        else:
            self.transport.write_eof()
            self.transport.resume_reading()

    def _flush(self) -> None:
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self.transport.write(data)

    # Endings

    def overdue(self) -> None:
        """The deadline has passed: allow more time where something moves, else end the connection."""
        limits = self.door.limits
        if self.phase is Phase.LINGER:
            self.transport.abort()
        elif self.write_paused or self.phase is Phase.CLOSING:
            unsent = self.transport.get_write_buffer_size()
            if unsent < self._progress:
                self._progress = unsent
                self.deadline = self._loop.time() + limits.write_deadline
            else:
                self.door.counters["slow_reader"] += 1
                self.transport.abort()
        elif self._reader.waiting is Waiting.NOTHING:
            self.close()
        elif self._reader.waiting is Waiting.BODY and self._reader.arrived >= self._progress + limits.body_progress:
            self._progress = self._reader.arrived
            self.deadline = self._loop.time() + limits.body_deadline
        else:
            self._refuse("slow_request", problem(408, "the request took too long to arrive; send it faster"))

    def close(self) -> None:
        """End the connection; what is written still leaves, as long as the peer takes it."""
        if self.phase < Phase.CLOSING:
            self._flush()
            self.phase = Phase.CLOSING
            self._progress = self.transport.get_write_buffer_size()
            self.deadline = self._loop.time() + self.door.limits.write_deadline
            self.transport.close()

    def drain(self) -> None:
        """Shutdown: an idle connection ends now, another one after its answer."""
        if self.phase is Phase.READING and self._reader.empty:
            self.close()
        else:
            self._asked_to_close = True
