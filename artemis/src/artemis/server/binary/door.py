"""Operations over MsgTrans: biz_type names the operation, the payload is its request in JSON or MessagePack.

The ext header carries options as `name=value` pairs joined by `;`: `format`, `json` (the default) or `msgpack`, and
`token` for what operators do; unknown names are ignored, so that later versions can add some. An answer names its
format the same way, unless it is JSON; one that shows data says which data it is and how old.
Every logical and formal failure is an answer with `responseStatus`, as over HTTP. docs/protocol.md is the contract.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.mesh.wire import IN_NO_CLUSTER, MESH_CODES
from artemis.model import (
    ConfirmResponse,
    MalformedBody,
    ResponseStatus,
    SubscribeResponse,
    decode,
    decode_msgpack,
    encode,
    encode_msgpack,
)
from artemis.model.responses import BAD_REQUEST, INTERNAL_SERVICE_ERROR, RATE_LIMITED, SUCCESS, failure
from artemis.model.wire import WireStruct
from artemis.server.admin import AdminGuard, Denial
from artemis.server.batches import SMALL_BODY, Call, is_large, read_and_call
from artemis.server.binary.headers import (
    MSGPACK_HEADER,
    PositionHeaders,
    elsewhere_header,
    named_format,
    offer_headers,
    option,
)
from artemis.server.binary.subscriptions import CONFIRM, MAX_REQUEST, NAMES, Subscriptions
from artemis.server.gate import Gate
from artemis.server.node import Node
from artemis.server.operations import OPERATIONS, Operation
from artemis.server.operators import denied, guarded, has_token
from artemis.server.recognition import HeartbeatMemory
from artemis.server.turns import in_turns
from msgtrans import Context, Reply, Session

if TYPE_CHECKING:
    from artemis.server.workers.barrier import Barrier

_TOO_LARGE_ANSWER = "the answer does not fit into a packet; ask for less at once, or over HTTP"

#: Bytes made between two turns of the loop of an answer that may be large.
_PIECE = 64 * 1024


class BareResponse(WireStruct, kw_only=True):
    """The answer to what names no operation, or cannot be read."""

    response_status: ResponseStatus | None = None


class BinaryDoor:
    """The request handler of a `TransportServer`; synchronous for small requests, a coroutine for large ones.

    `now` gives the node's monotonic milliseconds. `report` is told of exceptions that no handler expected, as
    (operation name, traceback text). `counters` counts what went wrong, by name, `requests` all requests by operation.
    `max_body_size`: bytes of a request. `max_answer_size`: bytes that fit into one packet. `gate` refuses requests
    above the rate limits, `guard` operations of operators. `offer` is the port of UDP where the node speaks QUIC, which
    clients are told of, None for nowhere. `subscriptions` are to be told of sessions that end.
    """

    def __init__(
        self,
        node: Node,
        now: Callable[[], int],
        report: Callable[[str, str], None],
        counters: Counter[str],
        requests: Counter[str],
        *,
        max_body_size: int,
        max_answer_size: int,
        gate: Gate,
        guard: AdminGuard,
        offer: int | None = None,
        operations: tuple[Operation, ...] = OPERATIONS,
    ) -> None:
        self._node = node
        self._now = now
        self._report = report
        self._counters = counters
        self._requests = requests
        self._max_body_size = max_body_size
        self._max_answer_size = max_answer_size
        self._gate = gate
        self._guard = guard
        #: Answers what nodes of a cluster ask each other; None on a node that is in none.
        self.mesh: Callable[[Context], bytes] | None = None
        #: What holds answers until the other workers of the machine have what they are about, None without others.
        self.barrier: Barrier | None = None
        #: What gets the numbers of those workers, before an operation shows the machine's.
        self.gather: Callable[[], Awaitable[None]] | None = None
        self._position = PositionHeaders(node)
        self._offers = offer_headers(offer)
        self.subscriptions = Subscriptions(node, counters)
        self._calls = {operation.code: Call.of(operation, node) for operation in operations}
        self._operations = {operation.code: operation for operation in operations}

    def __call__(self, context: Context) -> bytes | Reply | Coroutine[None, None, bytes | Reply]:
        """Answer one request."""
        operation = self._operations.get(context.biz_type)
        header = context.ext_header
        packed = bool(header) and named_format(header) != "json"
        if operation is None:
            return self._answer_unlisted(context, packed=packed)
        self._requests[operation.name] += 1
        payload = context.payload
        objection = ""
        if packed and named_format(header) != "msgpack":
            objection, packed = _unknown_format(header), False
        elif len(payload) > self._max_body_size:
            objection = f"a request may have {self._max_body_size} bytes at most"
        if objection:
            return self._refuse(objection, packed=packed)
        now = self._now()
        caller = _address(context.session) if self._gate.per_caller else ""
        refusal = self._gate.refuse(operation, caller, now)
        if refusal is None and operation.admin:
            refusal = self._deny(operation, context, page_only=has_token(operation))
        if refusal is not None:
            return self._reply(operation, refusal, packed=packed)
        if operation.recognisable:
            memory = _memory(context.session)
            digest = memory.digest(payload)
            if memory.renew(self._node, digest, now):
                return Reply(operation.success_msgpack, ext_header=MSGPACK_HEADER) if packed else operation.success_json
            call = memory.caller(self._node, digest)
        else:
            call = self._calls[operation.code]
            if operation.admin and has_token(operation):
                call = guarded(operation, call, self._guard, _token(context), self._counters)
        if len(payload) > SMALL_BODY or operation.json_pieces is not None or (operation.adds_up and self.gather):
            return self._answer_large(operation, call, payload, packed=packed)
        try:
            request = (decode_msgpack if packed else decode)(operation.request_type, payload)
        except MalformedBody as error:
            return self._refuse(str(error), packed=packed)
        if is_large(request):
            return self._answer_large(operation, call, payload, packed=packed)
        barrier = self.barrier
        mark = 0 if barrier is None else barrier.mark()
        try:
            reply = self._reply(operation, call.whole(request, now), packed=packed)
        except Exception:  # noqa: BLE001 - whatever a handler does, the peer gets an answer and the log the trace
            return self._failed(operation, packed=packed)
        return reply if barrier is None or not barrier.behind(mark) else _held(barrier, reply)

    async def _answer_large(self, operation: Operation, call: Call, payload: bytes, *, packed: bool) -> bytes | Reply:
        """As above with a turn of the loop for everybody else between slices."""
        barrier = self.barrier
        mark = 0 if barrier is None else barrier.mark()
        try:
            if operation.adds_up and self.gather is not None:
                await self.gather()
            response = await in_turns(read_and_call(operation, call, payload, self._now, msgpack=packed))
            if barrier is not None and barrier.behind(mark):
                await barrier.wait()
            if operation.json_pieces is not None:
                return await self._collect(operation, response)
            return self._reply(operation, response, packed=packed)
        except MalformedBody as error:
            return self._refuse(str(error), packed=packed)
        except Exception:  # noqa: BLE001 - as in __call__
            return self._failed(operation, packed=packed)

    async def _collect(self, operation: Operation, response: object) -> bytes | Reply:
        """An answer made bit by bit; always JSON, which is kept encoded for every service."""
        assert operation.json_pieces is not None  # noqa: S101 - the caller has looked
        # Before the first piece: what changes from now on may be shown or not.
        position = self._shown(operation, response, packed=False)
        parts: list[bytes] = []
        size = 0
        for piece in operation.json_pieces(response, _PIECE):
            parts.append(piece)
            size += len(piece)
            if size > self._max_answer_size:
                return self._refuse(_TOO_LARGE_ANSWER, packed=False)
            await asyncio.sleep(0)
        answer = b"".join(parts)
        return Reply(answer, ext_header=position) if position else answer

    def _reply(self, operation: Operation, response: object, *, packed: bool) -> bytes | Reply:
        answer = operation.encode_msgpack(response) if packed else operation.encode_json(response)
        if len(answer) > self._max_answer_size:
            return self._refuse(_TOO_LARGE_ANSWER, packed=packed)
        if operation.shows_data:
            return Reply(answer, ext_header=self._shown(operation, response, packed=packed))
        if operation.offers:
            return Reply(answer, ext_header=self._offers[packed])
        return Reply(answer, ext_header=MSGPACK_HEADER) if packed else answer

    def _shown(self, operation: Operation, response: object, *, packed: bool) -> bytes:
        """The ext header of an answer; which data it shows and how old that is, if it does."""
        if operation.shows_data:
            place = getattr(response, "elsewhere", None)
            if place is not None:
                return elsewhere_header(place, packed=packed)
            status = response.response_status  # type: ignore[attr-defined]  # all answers have one
            if status is SUCCESS or (status is not None and status.error_code == SUCCESS.error_code):
                return self._position.at(self._now, packed=packed)
        return MSGPACK_HEADER if packed else b""

    def _answer_unlisted(self, context: Context, *, packed: bool) -> bytes | Reply:
        """Answer the operations of a session and of the mesh, which are in no table; there are no others."""
        if context.biz_type in MESH_CODES:
            return IN_NO_CLUSTER if self.mesh is None else self.mesh(context)
        name = NAMES.get(context.biz_type)
        if name is None:
            return self._refuse(f"there is no operation {context.biz_type}", packed=packed)
        self._requests[name] += 1
        if packed and named_format(context.ext_header) != "msgpack":
            return self._refuse(_unknown_format(context.ext_header), packed=False)
        if len(context.payload) > MAX_REQUEST:
            return self._refuse(f"a request for subscriptions may have {MAX_REQUEST} bytes at most", packed=packed)
        if self._gate.per_caller and self._gate.crowded(name, _address(context.session), self._now()):
            status = failure(RATE_LIMITED, "Request is rate limited.")
            limited = ConfirmResponse if context.biz_type == CONFIRM else SubscribeResponse
            return _encoded(limited(response_status=status), packed=packed)
        try:
            answer = self.subscriptions.answer(
                context.session, context.biz_type, context.payload, self._now(), packed=packed
            )
        except MalformedBody as error:
            return self._refuse(str(error), packed=packed)
        return _encoded(answer, packed=packed)

    def _deny(self, operation: Operation, context: Context, *, page_only: bool) -> msgspec.Struct | None:
        """Say why an operation of operators is denied to this peer, None when it is not.

        With `page_only` the token is looked at later: the request may carry it.
        """
        denial: Denial | None = None
        opening = context.session.http_request
        if opening is not None:
            # Over WebSocket the peer may be any page that a browser shows.
            headers = opening.headers
            origin, host = headers.get("origin", "").encode(), headers.get("host", "").encode()
            denial = self._guard.judge_page(origin, host, secure=context.session.info().secure)
        if denial is None and not page_only:
            denial = self._guard.judge(_token(context))
        if denial is None:
            return None
        self._counters["denied"] += 1
        return denied(operation, denial)

    def _refuse(self, text: str, *, packed: bool) -> bytes | Reply:
        self._counters["malformed_request"] += 1
        return _encoded(BareResponse(response_status=failure(BAD_REQUEST, text)), packed=packed)

    def _failed(self, operation: Operation, *, packed: bool) -> bytes | Reply:
        self._counters["internal_error"] += 1
        self._report(operation.name, traceback.format_exc())
        status = failure(INTERNAL_SERVICE_ERROR, "the server failed; its log has the details")
        return _encoded(operation.response_type(response_status=status), packed=packed)


async def _held(barrier: Barrier, reply: bytes | Reply) -> bytes | Reply:
    await barrier.wait()
    return reply


def _memory(session: Session) -> HeartbeatMemory:
    """The memory of a session, kept in its slot for application state."""
    if not isinstance(session.data, HeartbeatMemory):
        session.data = HeartbeatMemory()
    return session.data


def _token(context: Context) -> bytes:
    return option(context.ext_header, b"token") or b""


def _address(session: Session) -> str:
    """The address of a session's peer, without its port."""
    address = session.peer_address
    return "" if address is None else str(address[0]) if isinstance(address, tuple) else address


def _encoded(response: object, *, packed: bool) -> bytes | Reply:
    if packed:
        return Reply(encode_msgpack(response), ext_header=MSGPACK_HEADER)
    return encode(response)


def _unknown_format(header: bytes) -> str:
    return f"format {named_format(header)!r} is not known; use json or msgpack"
