"""One HTTP connection: reads messages, answers the hot ones itself, gives the others to the ASGI server, keeps the
order.

A `HttpConnection` belongs to its transport and to the `HttpDoor` that made it. It always knows the exact message
boundary, so a request
that is not hot can be given away whole without touching what follows. Nothing here parses a body or knows an
operation: see `calls`.
"""

from __future__ import annotations

import asyncio
import math
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, cast

from artemis.server.http.answer import Answer, head_bytes, problem
from artemis.server.http.framing import ChunkedBody, ChunkError
from artemis.server.http.head import END_OF_HEAD, HeadError, RequestHead, check_beginning, parse_head
from artemis.server.http.routes import too_large
from artemis.server.recognition import HeartbeatMemory

if TYPE_CHECKING:
    from artemis.server.http.calls import Steps
    from artemis.server.http.cold import ColdRequests
    from artemis.server.http.door import HttpDoor
    from artemis.server.operations import Operation

#: Requests of one connection that are answered in one turn of the loop.
_REQUESTS_PER_TURN = 128

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Phase(IntEnum):
    """What the connection waits for."""

    IDLE = 0  #: the next request
    HEAD = 1  #: the rest of a head
    BODY = 2  #: the rest of a body
    BUSY = 3  #: an answer that is made in steps
    LINGER = 4  #: the peer to notice that we are done with it
    CLOSED = 5


class KnownHead(NamedTuple):
    """The last head that named a hot operation and was found good, and the size of a request with it, in bytes."""

    raw: bytes
    size: int
    head: RequestHead
    operation: Operation


class HttpConnection(asyncio.Protocol):
    """The server's side of one connection. All methods run on the event loop's thread."""

    __slots__ = (
        "_asked_to_close",
        "_body",
        "_body_left",
        "_chunks",
        "_cold",
        "_eof",
        "_head",
        "_known",
        "_loop",
        "_operation",
        "_out",
        "_out_size",
        "_refusal",
        "_rest",
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
        self.phase = Phase.IDLE
        self.deadline = math.inf
        self.memory = HeartbeatMemory()
        self.write_paused = False
        self._rest = b""
        self._known: KnownHead | None = None
        self._head = RequestHead()
        self._operation: Operation | None = None
        self._refusal: Answer | None = None
        self._body: list[bytes] = []
        self._body_left = 0
        self._chunks: ChunkedBody | None = None
        self._cold: ColdRequests | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._eof = False
        self._asked_to_close = False
        self._loop = door.loop

    # -- what the transport tells
    # ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with the idle deadline running."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports only quack like one
        self.deadline = self._loop.time() + self.door.limits.head_deadline
        self.door.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; a request in steps stops at its next step."""
        self.phase = Phase.CLOSED
        self.door.closed(self)
        if self._cold is not None:
            self._cold.connection_lost(exc)
        self._rest = b""
        self._body.clear()
        self._out.clear()

    def eof_received(self) -> bool:
        """The peer will send no more. True keeps our side open until the answers that are under way have left."""
        self._eof = True
        return self.phase is Phase.BUSY or (self._cold is not None and self._cold.unanswered > 0)

    def pause_writing(self) -> None:
        """The peer does not read: stop reading from it, and give it `write_deadline` to go on."""
        self.write_paused = True
        self.deadline = self._loop.time() + self.door.limits.write_deadline
        self.transport.pause_reading()
        if self._cold is not None:
            self._cold.pause_writing()

    def resume_writing(self) -> None:
        """The peer reads again: go on with what it had sent."""
        self.write_paused = False
        if self._cold is not None:
            self._cold.resume_writing()
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Handle every whole request in `data` and write their answers with one call."""
        known = self._known
        if (
            known is not None
            and len(data) == known.size
            and data.startswith(known.raw)
            and self.phase is Phase.IDLE
            and not self._rest
            and not self.write_paused
        ):
            # Nearly every read of a busy connection is exactly one request with the same head as the one before.
            self.deadline = self.door.idle_until
            self._head, self._operation = known.head, known.operation
            self._on_message(data[len(known.raw) :])
            if self._out:
                self._flush()
            return
        if self.phase >= Phase.LINGER:
            return
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if self.phase is Phase.BUSY or self.write_paused:
            self._rest = data
            return
        try:
            self._read(data)
        except (HeadError, ChunkError) as error:
            self.door.counters["malformed_request"] += 1
            self._refuse(problem(400, f"not a request of HTTP: {error}", close=True))
        if self._out:
            self._flush()

    # -- reading
    # --------------------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        at, end = 0, len(data)
        last = self.door.answered + _REQUESTS_PER_TURN
        while at < end:
            if self.door.answered >= last and self.phase is Phase.IDLE:
                # A long pipeline: others first.
                self.phase = Phase.BUSY
                self.deadline = math.inf
                self.transport.pause_reading()
                self._loop.call_soon(self._next_turn)
                self._rest = data[at:]
                return
            if self.phase is Phase.BODY:
                at = self._read_body(data, at)
            else:
                while data.startswith(b"\r\n", at):  # RFC 9112 section 2.2: empty lines before a request are skipped
                    at += 2
                stop = data.find(END_OF_HEAD, at)
                if stop < 0:
                    self._wait_for_head(data[at:])
                    return
                stop += 4
                self._on_head(data[at:stop])
                at = stop
            if self.phase >= Phase.BUSY or self.write_paused:
                self._rest = data[at:]
                return
        if self.phase <= Phase.HEAD:
            self.phase = Phase.IDLE
            self.deadline = self.door.idle_until if self._cold is None or not self._cold.unanswered else math.inf

    def _wait_for_head(self, data: bytes) -> None:
        if len(data) > self.door.limits.head_size:
            self._head_too_large()
            return
        check_beginning(data)
        if data and self.phase is not Phase.HEAD:
            self.phase = Phase.HEAD
            self.deadline = self._loop.time() + self.door.limits.head_deadline
        self._rest = data

    def _head_too_large(self) -> None:
        self.door.counters["status_431"] += 1
        limits = self.door.limits
        text = f"a request's head may have {limits.head_size} bytes and {limits.head_fields} fields at most"
        self._refuse(problem(431, text, close=True))

    def _on_head(self, raw: bytes) -> None:
        known = self._known
        if known is not None and known.raw == raw and (self._cold is None or not self._cold.unanswered):
            # Clients send the same head again and again; it was found good once.
            self._head, self._operation = known.head, known.operation
        elif not self._on_new_head(raw):
            return
        length = self._head.body_length
        if length:
            self.phase = Phase.BODY
            self._body_left = length
            self.deadline = self.door.body_until
        elif length is None:
            self.phase = Phase.BODY
            self._chunks = ChunkedBody()
            self.deadline = self.door.body_until
        else:
            self._on_message(b"")

    def _on_new_head(self, raw: bytes) -> bool:
        """Parse and check a head that was not just seen. False when it has been answered already."""
        door = self.door
        if len(raw) > door.limits.head_size:
            self._head_too_large()
            return False
        head = self._head = parse_head(raw)
        if head.fields > door.limits.head_fields:
            self._head_too_large()
            return False
        operation = door.routes.find(head.path)
        if operation is None or not operation.hot or (self._cold is not None and self._cold.unanswered):
            # Behind an unanswered request of the ASGI server even a hot one goes there: answers keep their order.
            self._operation = None
            if self._cold is None:
                self._cold = door.cold_requests(self)
            self._flush()
            self._cold.take_head(head.raw)
            return True
        refusal = door.routes.refuse(operation, head, door.limits.body_size)
        if refusal is not None:
            if refusal.status >= 400:
                door.counters[f"status_{refusal.status}"] += 1
            if refusal.close or head.expects_continue:
                self._refuse(refusal)
                return False
            # The answer comes when the body is through, so that the connection can go on behind it.
            self._refusal = refusal
        self._operation = operation
        if refusal is not None:
            return True
        if head.expects_continue and head.body_length != 0:
            self._flush()
            self.transport.write(_CONTINUE)
        elif head.body_length is not None and head.method != b"HEAD":
            self._known = KnownHead(raw, len(raw) + head.body_length, head, operation)
        return True

    def _read_body(self, data: bytes, at: int) -> int:
        """Take body bytes from `data`; returns where the body's part of it ends."""
        if (chunks := self._chunks) is not None:
            used = chunks.feed(data[at:] if at else data)
            if self._operation is None and self._cold is not None:
                chunks.data.clear()
                self._cold.take_body(data[at : at + used])
            elif chunks.size > self.door.limits.body_size:
                self.door.counters["status_413"] += 1
                self._refuse(too_large(self.door.limits.body_size))
            if chunks.done and self.phase is Phase.BODY:
                self._chunks = None
                self._on_message(bytes(chunks.data))
            return at + used
        piece = data[at : at + self._body_left]
        self._body_left -= len(piece)
        if self._operation is None and self._cold is not None:
            self._cold.take_body(piece)
        elif self._body_left or self._body:
            self._body.append(piece)
            if not self._body_left:
                body = b"".join(self._body)
                self._body.clear()
                self._on_message(body)
        else:
            self._on_message(piece)
        if self._operation is None and not self._body_left and self.phase is Phase.BODY:
            self._on_message(b"")
        return at + len(piece)

    # -- answering
    # ------------------------------------------------------------------------------------------------------------

    def _on_message(self, body: bytes) -> None:
        """A request is here whole."""
        self.phase = Phase.IDLE
        operation, head, door = self._operation, self._head, self.door
        door.answered += 1
        if operation is None:
            return  # the ASGI server has it
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            self._answer(refusal)
            return
        if head.method == b"POST":
            outcome = door.calls.post(operation, head, body, self.memory)
        else:
            outcome = door.calls.get(operation, head.query)
        if type(outcome) is bytes:
            self._answer_ok(outcome)
        elif isinstance(outcome, Answer):
            self._answer(outcome)
        else:
            self.phase = Phase.BUSY
            self.deadline = math.inf
            self.transport.pause_reading()
            self._flush()
            self._step(outcome)  # type: ignore[arg-type]  # what is neither bytes nor Answer is Steps

    def _step(self, steps: Steps) -> None:
        """Do one slice of a long answer, then let everybody else have a turn."""
        if self.phase is not Phase.BUSY:
            steps.close()
            return
        try:
            next(steps)
        except StopIteration as stop:
            self.phase = Phase.IDLE
            if isinstance(stop.value, Answer):
                self._answer(stop.value)
            else:
                self._answer_ok(stop.value)
            self._flush()
            self._go_on()
        else:
            self._loop.call_soon(self._step, steps)

    def _next_turn(self) -> None:
        if self.phase is Phase.BUSY:
            self.phase = Phase.IDLE
            self._go_on()

    def _answer_ok(self, body: bytes) -> None:
        """200 with a JSON body: nearly every answer there is, so its head is ready made."""
        head, door = self._head, self.door
        packed = b""
        if head.accepts_gzip and len(body) >= door.packed.from_size:
            body, packed = door.packed.pack(body)
        if not packed and head.plain and not self._asked_to_close:
            size = len(body)
            self._out.append(b"%b%d\r\n\r\n%b" % (door.ok_head, size, body))
            self._out_size += size
            if self._out_size > door.limits.write_buffer:
                self._flush()
        else:
            fields = ((b"Content-Encoding", packed), (b"Vary", b"Accept-Encoding")) if packed else ()
            self._answer(Answer(200, body, fields))

    def _answer(self, answer: Answer) -> None:
        head = self._head
        keep_alive = head.keep_alive and not answer.close and not self._asked_to_close
        start = head_bytes(answer, self.door.date, keep_alive=keep_alive, http_1_0=head.http_1_0)
        self._send(start if head.method == b"HEAD" else start + answer.body)
        if not keep_alive:
            self._close_after_answer()

    def _refuse(self, answer: Answer) -> None:
        """Answer and end the connection although the peer may still be sending: nothing behind this point can be
        understood."""
        if self._cold is not None and self._cold.unanswered:
            # An earlier request still waits for its answer: this one cannot be said in order, so only the end remains.
            self._asked_to_close = True
            self.phase = Phase.LINGER
            self.deadline = self.door.body_until
            return
        start = head_bytes(answer, self.door.date, keep_alive=False)
        self._send(start if self._head.method == b"HEAD" else start + answer.body)
        self._close_after_answer()

    def _close_after_answer(self) -> None:
        self._flush()
        self._body.clear()
        self._rest = b""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.LINGER
        self.deadline = self._loop.time() + self.door.limits.linger
        if self._eof or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    def _send(self, data: bytes) -> None:
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > self.door.limits.write_buffer:
            self._flush()

    def _flush(self) -> None:
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self.transport.write(data)

    # -- the rest
    # -------------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Read on after a pause, starting with what had been read already."""
        if self.phase >= Phase.BUSY or self.write_paused:
            return
        if not self.transport.is_closing():
            self.transport.resume_reading()
        self.deadline = math.inf if self._cold is not None and self._cold.unanswered else self.door.idle_until
        if self._rest:
            rest, self._rest = self._rest, b""
            self.data_received(rest)
        if self._eof and self.phase <= Phase.HEAD and not (self._cold is not None and self._cold.unanswered):
            self.close()

    def cold_answered(self) -> None:
        """The ASGI server has sent the answer to one of its requests."""
        assert self._cold is not None  # noqa: S101 - it is the caller
        if self._cold.unanswered or self.phase is Phase.CLOSED:
            return
        if self._eof or self._asked_to_close:
            self.transport.close()
        elif self.phase is Phase.IDLE:
            self.deadline = self.door.idle_until

    def overdue(self) -> None:
        """The deadline has passed: say so where an answer can still be understood, and end the connection."""
        match self.phase:
            case Phase.HEAD | Phase.BODY if self._cold is None or not self._cold.unanswered:
                self.door.counters["slow_request"] += 1
                self._refuse(problem(408, "the request took too long to arrive; send it faster", close=True))
            case _ if self.write_paused:
                self.door.counters["slow_reader"] += 1
                self.transport.abort()
            case Phase.LINGER:
                self.transport.abort()
            case _:
                self.close()

    def close(self) -> None:
        """End the connection now; what is written still leaves."""
        if self.phase is not Phase.CLOSED:
            self._flush()
            self.transport.close()

    def drain(self) -> None:
        """Shutdown: an idle connection ends now, another one after its answer."""
        if self.phase is Phase.IDLE and not (self._cold is not None and self._cold.unanswered):
            self.close()
        else:
            self._asked_to_close = True
