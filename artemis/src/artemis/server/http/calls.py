"""From a request's head and body to the bytes of its answer: decode, call the node, encode. No I/O.

Small requests are answered at once. Large ones - thousands of instances, bodies that unpack to megabytes - come back
as a generator that
the caller advances once per loop turn, so that nobody else waits for them.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from artemis.discovery import Elsewhere
from artemis.model import MalformedBody, ResponseStatus, decode, encode
from artemis.model.responses import INTERNAL_SERVICE_ERROR, SUCCESS, failure
from artemis.server.admin import AdminGuard
from artemis.server.batches import SMALL_BODY, Call, call_in_slices, is_large, read_and_call
from artemis.server.gate import Gate
from artemis.server.http.answer import Answer, Position, elsewhere_fields, not_done, offer_fields, problem
from artemis.server.http.head import RequestHead
from artemis.server.http.inflate import GzipError, TooLargeError, inflate_steps
from artemis.server.http.polls import Polls
from artemis.server.http.routes import Routes, query_fields, too_large
from artemis.server.node import Node
from artemis.server.operations import BadParameter, Operation
from artemis.server.operators import guarded, has_token
from artemis.server.recognition import HeartbeatMemory

if TYPE_CHECKING:
    from artemis.server.workers.barrier import Barrier

#: The HTTP status of all answers but those of operations that say otherwise.
OK = 200

#: Bytes of one piece of an answer that is streamed.
PIECE = 64 * 1024


class Pieces:
    """The JSON of an answer that is made while it is sent; only operations that are not hot have such answers.

    `failed`: the answer says that the operation failed, so it shows no data. `elsewhere`: it shows another region.
    """

    __slots__ = ("elsewhere", "failed", "iterator")

    def __init__(self, iterator: Iterator[bytes], *, failed: bool = False, elsewhere: Elsewhere | None = None) -> None:
        self.iterator = iterator
        self.failed = failed
        self.elsewhere = elsewhere


Outcome = bytes | Answer | Pieces
Steps = Generator[None, None, Outcome]


class Calls:
    """Calls operations of one node for the HTTP paths.

    `now` gives the node's monotonic milliseconds; `body_limit` bounds a body in bytes, unpacked; `report` is told of
    exceptions that no handler expected, as (operation name, traceback text). `counters` counts what went wrong, by
    name, `requests` all requests by operation. `gate` refuses requests above the rate limits; the `caller` of a request
    is the address of its peer. `guard` judges the tokens that bodies carry. `offer` is the port of UDP where the node
    speaks QUIC, which clients are told of, None for nowhere.
    """

    def __init__(
        self,
        node: Node,
        now: Callable[[], int],
        body_limit: int,
        report: Callable[[str, str], None],
        counters: Counter[str],
        requests: Counter[str],
        gate: Gate,
        guard: AdminGuard | None = None,
        *,
        offer: int | None = None,
    ) -> None:
        self._offer = () if offer is None else offer_fields(offer)
        self.node = node
        self.body_limit = body_limit
        self._now = now
        self._report = report
        self._counters = counters
        self._requests = requests
        self.gate = gate
        self._guard = guard or AdminGuard()
        #: What holds answers until the other workers of the machine have what they are about, None without others.
        self.barrier: Barrier | None = None
        #: What gets the numbers of those workers, before an operation shows the machine's.
        self.gather: Callable[[], Awaitable[None]] | None = None
        self._calls: dict[str, Call] = {}
        self._position = Position("", 0, 0)

    def polls(self, routes: Routes, loop: asyncio.AbstractEventLoop) -> Polls:
        """The long polls of the same node, counted with the other requests."""
        return Polls(self.node, routes, self.gate, self._now, self._counters, self._requests, loop)

    def position(self) -> Position:
        """Of what answers show now (design 6); the same object until it is another one."""
        node, known = self.node, self._position
        cursor, missing = node.cursor(), node.missing_nodes
        age = 0 if node.as_of is None else node.age(self._now())
        if known.cursor is not cursor or known.age != age or known.missing != missing:
            known = self._position = Position(cursor, age, missing)
        return known

    def get(self, operation: Operation, query: bytes, caller: str = "") -> Outcome:
        """Answer a GET; 400 when a required query parameter is missing."""
        self._requests[operation.name] += 1
        now = self._now()
        refusal = self.gate.refuse(operation, caller, now)
        if refusal is not None:
            return _encoded(operation, refusal)
        try:
            request = operation.read_query(query_fields(query))
        except BadParameter as error:
            self._counters["bad_query"] += 1
            return problem(400, str(error))
        try:
            return self._answer(operation, operation.call(self.node, request, now))
        except Exception:  # noqa: BLE001 - whatever a handler does, the peer gets an answer and the log the trace
            return self._failed(operation)

    def post(
        self,
        operation: Operation,
        head: RequestHead,
        body: bytes,
        caller: str = "",
        memory: HeartbeatMemory | None = None,
    ) -> Outcome | Steps:
        """Answer a POST with its whole body.

        With `memory` a heartbeat that repeats the last one is renewed without parsing.
        """
        self._requests[operation.name] += 1
        now = self._now()
        refusal = self.gate.refuse(operation, caller, now)
        if refusal is not None:
            return _encoded(operation, refusal)
        if memory is not None and operation.recognisable:
            digest = memory.digest(body)
            if memory.renew(self.node, digest, now):
                return operation.success_json
            call = memory.caller(self.node, digest)
        else:
            call = self._calls.get(operation.name) or self._calls.setdefault(
                operation.name, Call.of(operation, self.node)
            )
            if operation.admin and has_token(operation):
                call = guarded(operation, call, self._guard, head.token, self._counters)
        if head.encoding in {b"gzip", b"x-gzip"}:
            return self._unpack_and_answer(operation, call, body)
        if len(body) > SMALL_BODY:
            return self._answer_steps(operation, call, body)
        try:
            request = decode(operation.request_type, body)
        except MalformedBody as error:
            return self._malformed(str(error))
        if is_large(request):
            return self._call_steps(operation, call, request)
        try:
            return self._answer(operation, call.whole(request, now))
        except Exception:  # noqa: BLE001 - whatever a handler does, the peer gets an answer and the log the trace
            return self._failed(operation)

    def _answer(self, operation: Operation, response: object) -> Outcome:
        """The JSON of a response, with how else the node can be reached if the operation tells that."""
        outcome = _encoded(operation, response)
        if operation.offers and self._offer and isinstance(outcome, bytes):
            return Answer(200, outcome, self._offer)
        return outcome

    def _unpack_and_answer(self, operation: Operation, call: Call, packed: bytes) -> Steps:
        try:
            body = yield from inflate_steps(packed, self.body_limit)
        except TooLargeError:
            return self._too_large()
        except GzipError as error:
            return self._malformed(f"the body is not gzip: {error}")
        return (yield from self._answer_steps(operation, call, body))

    def _answer_steps(self, operation: Operation, call: Call, body: bytes) -> Steps:
        if len(body) > self.body_limit:
            return self._too_large()
        try:
            response = yield from read_and_call(operation, call, body, self._now)
            return self._answer(operation, response)
        except MalformedBody as error:
            return self._malformed(str(error))
        except Exception:  # noqa: BLE001 - whatever a handler does, the peer gets an answer and the log the trace
            return self._failed(operation)

    def _call_steps(self, operation: Operation, call: Call, request: msgspec.Struct | None) -> Steps:
        try:
            return _encoded(operation, (yield from call_in_slices(call, request, self._now)))
        except Exception:  # noqa: BLE001 - as above
            return self._failed(operation)

    def _too_large(self) -> Answer:
        self._counters["status_413"] += 1
        return too_large(self.body_limit)

    def _malformed(self, text: str) -> Answer:
        self._counters["malformed_body"] += 1
        return problem(400, text)

    def _failed(self, operation: Operation) -> Answer:
        """`internal-service-error` in a 200, as every logical outcome of the originals (spec 1.2)."""
        self._counters["internal_error"] += 1
        self._report(operation.name, traceback.format_exc())
        status = failure(INTERNAL_SERVICE_ERROR, "the server failed; its log has the details")
        if operation.parameters is not None:
            return not_done(status)
        return Answer(200, encode(operation.response_type(response_status=status)))


def _encoded(operation: Operation, response: object) -> Outcome:
    """The JSON of a response. Bytes show data if the operation does: what failed is an Answer."""
    # An answer that is found only while it is sent has no status of its own: it cannot fail.
    if operation.parameters is not None and _fails(response):
        return not_done(cast("_Judged", response).response_status)
    failed = False
    place: Elsewhere | None = None
    if operation.shows_data:
        place = getattr(response, "elsewhere", None)
        judged = getattr(response, "response_status", SUCCESS)
        failed = judged is not SUCCESS and judged.error_code != SUCCESS.error_code
    if operation.json_pieces is not None:
        return Pieces(operation.json_pieces(response, PIECE), failed=failed, elsewhere=place)
    if operation.http_status is not None and (status := operation.http_status(response)) != OK:
        return Answer(status, operation.encode_json(response))
    body = operation.encode_json(response)
    if place is not None:
        return Answer(200, body, elsewhere_fields(place))
    return Answer(200, body) if failed else body


class _Judged(Protocol):
    """What every answer is, but those that pick."""

    response_status: ResponseStatus


def _fails(response: object) -> bool:
    return bool(getattr(response, "response_status", SUCCESS).status == "fail")
