"""A connection's bytes, cut into whole requests: heads parsed and judged, bodies measured and bounded. No I/O.

The reader always knows the exact message boundary, so each request can go to whoever answers it, and what is pipelined
behind it waits untouched. Not here: what a body means, and when a peer has taken too long.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from artemis.server.http.answer import Answer, problem
from artemis.server.http.framing import ChunkedBody
from artemis.server.http.head import END_OF_HEAD, RequestHead, check_beginning, parse_head
from artemis.server.http.limits import HttpLimits
from artemis.server.http.routes import Routes, too_large
from artemis.server.operations import Operation


class Waiting(Enum):
    """What the reader waits for."""

    NOTHING = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"


class Request(NamedTuple):
    """A whole request. `operation` is set when it is hot; `refusal` is the answer when its head alone was enough."""

    head: RequestHead
    operation: Operation | None
    body: bytes
    refusal: Answer | None


class KnownHead(NamedTuple):
    """The last head that named a hot operation and was found good, and the size of a request with it, in bytes."""

    raw: bytes
    size: int
    head: RequestHead
    operation: Operation


class RefusedError(Exception):
    """The connection cannot go on behind this; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class RequestReader:
    """Reads the requests of one connection.

    `feed` takes bytes, `next` gives the requests that are whole, one by one. `waiting` tells what is missing; `arrived`
    counts all bytes. `wants_continue` is true when the peer waits for `100 Continue`; whoever sends it clears it.
    """

    __slots__ = (
        "_at",
        "_body",
        "_body_left",
        "_buffer",
        "_chunks",
        "_head",
        "_limits",
        "_operation",
        "_refusal",
        "_routes",
        "arrived",
        "known",
        "waiting",
        "wants_continue",
    )

    def __init__(self, routes: Routes, limits: HttpLimits) -> None:
        self.arrived = 0
        self.known: KnownHead | None = None
        self.waiting = Waiting.NOTHING
        self.wants_continue = False
        self._routes = routes
        self._limits = limits
        self._buffer = b""
        self._at = 0
        self._head: RequestHead | None = None
        self._operation: Operation | None = None
        self._refusal: Answer | None = None
        self._body: list[bytes] = []
        self._body_left = 0
        self._chunks: ChunkedBody | None = None

    @property
    def empty(self) -> bool:
        """Whether everything fed has been given out."""
        return self.waiting is Waiting.NOTHING and self._at >= len(self._buffer)

    @property
    def unread(self) -> int:
        """Bytes that were fed and belong to no request that was given out."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        self.arrived += len(data)
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def take_rest(self) -> bytes:
        """What came behind the last request, for whoever goes on with the connection."""
        rest, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return rest

    def next(self) -> Request | None:
        """The next whole request, or None until more is fed.

        Raises `HeadError`, `ChunkError` or `RefusedError` when the connection cannot go on.
        """
        if self._head is None and not self._read_head():
            return None
        body = self._read_body() if self._chunks is None else self._read_chunks(self._chunks)
        if body is None or self._head is None:
            self.waiting = Waiting.BODY
            return None
        request = Request(self._head, self._operation, body, self._refusal)
        self._head = self._refusal = self._chunks = None
        self.waiting = Waiting.NOTHING
        self.wants_continue = False
        return request

    def _read_head(self) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n", self._at):  # RFC 9112 section 2.2: empty lines before a request are skipped
            self._at += 2
        end = buffer.find(END_OF_HEAD, self._at)
        if end < 0:
            rest = self._buffer = buffer[self._at :]
            self._at = 0
            if len(rest) > self._limits.head_size:
                raise self._head_too_large()
            check_beginning(rest)
            self.waiting = Waiting.HEAD if rest else Waiting.NOTHING
            return False
        raw = buffer[self._at : end + 4]
        self._at = end + 4
        known = self.known
        if known is not None and known.raw == raw:
            # Clients send the same head again and again; it was found good once.
            self._head, self._operation = known.head, known.operation
        else:
            self._head = self._judge(raw)
        length = self._head.body_length
        if length is None:
            self._chunks = ChunkedBody()
        else:
            self._body_left = length
        return True

    def _judge(self, raw: bytes) -> RequestHead:
        """Parse a head that was not just seen and say whether it is worth going on."""
        limits = self._limits
        if len(raw) > limits.head_size:
            raise self._head_too_large()
        head = parse_head(raw)
        if head.fields > limits.head_fields:
            raise self._head_too_large()
        if head.body_length is not None and head.body_length > limits.body_size:
            raise RefusedError(too_large(limits.body_size))
        operation = self._routes.find(head.path)
        self._operation = operation if operation is not None and operation.hot and not operation.admin else None
        if self._operation is not None:
            self._refusal = self._routes.refuse(self._operation, head, limits.body_size)
        if head.expects_continue and not head.http_1_0:
            if self._refusal is not None:
                raise RefusedError(self._refusal)
            self.wants_continue = head.body_length != 0
        elif self._operation is not None and self._refusal is None and head.body_length is not None:
            self.known = KnownHead(raw, len(raw) + head.body_length, head, self._operation)
        return head

    def _head_too_large(self) -> RefusedError:
        limits = self._limits
        text = f"a request's head may have {limits.head_size} bytes and {limits.head_fields} fields at most"
        return RefusedError(problem(431, text))

    def _read_body(self) -> bytes | None:
        if not self._body_left:
            return b""
        piece = self._buffer[self._at : self._at + self._body_left]
        self._at += len(piece)
        self._body_left -= len(piece)
        if not self._body_left and not self._body:
            return piece
        self._body.append(piece)
        if self._body_left:
            return None
        body = b"".join(self._body)
        self._body.clear()
        return body

    def _read_chunks(self, chunks: ChunkedBody) -> bytes | None:
        self._at += chunks.feed(self._buffer[self._at :] if self._at else self._buffer)
        if chunks.size > self._limits.body_size:
            raise RefusedError(too_large(self._limits.body_size))
        return bytes(chunks.data) if chunks.done else None
