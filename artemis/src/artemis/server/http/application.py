"""The ASGI application: every operation once more, and what is not an operation (health, metrics, the front page).

Plain ASGI on purpose: the operations come from the table, and a web framework would only stand between. Management,
OpenAPI and the
console are applications of their own that can be mounted here when they come.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from artemis.server.http.answer import CORS_FIELDS, Answer, elsewhere_fields, position_fields, preflight, problem
from artemis.server.http.calls import PIECE, Outcome, Pieces
from artemis.server.http.cold import GONE
from artemis.server.http.head import HeadError, RequestHead, head_of_scope
from artemis.server.http.packing import FROM_SIZE
from artemis.server.http.routes import Routes
from artemis.server.turns import in_turns

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope

    from artemis.server.http.calls import Calls
    from artemis.server.operations import Operation

#: A page makes its answer at once; it may not wait for anything.
Page = Callable[[], Answer]


#: The page that adds up, as some operations do.
METRICS = b"/metrics"


class DisconnectedError(Exception):
    """The peer has gone while its request was read."""


class PeerGoneError(Exception):
    """The peer has gone while its answer was made."""


class Application:
    """Answers whatever the hot path does not.

    `pages` maps paths to what GET answers there. The connection in front bounds heads and bodies.
    `counters` counts refusals by status.
    """

    def __init__(self, calls: Calls, routes: Routes, pages: Mapping[str, Page], counters: Counter[str]) -> None:
        self._calls = calls
        self._routes = routes
        self._counters = counters
        self._pages = {path.encode(): page for path, page in pages.items()}

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """ASGI 3 entry; only HTTP comes here."""
        if scope["type"] != "http":
            return
        gone = (scope.get("state") or {}).get(GONE, _never)
        try:
            await self._answer(scope, receive, _while_there(send, gone))
        except PeerGoneError:
            return  # nobody is left to answer
        except asyncio.CancelledError:
            if not gone():
                raise  # else the process ends, and this answer was cut off before

    async def _answer(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        try:
            head = head_of_scope(cast("dict[str, object]", scope))
        except HeadError as error:
            await _send(send, problem(400, str(error)), with_body=True)
            return
        operation = self._routes.find(head.path)
        if operation is None:
            if self._calls.gather is not None and self._routes.without_prefix(head.path) == METRICS:
                await self._calls.gather()
            await self._show(head, self._page(head), send)
            return
        client = scope["client"]
        caller = client[0] if client else ""
        refusal = self._routes.refuse(operation, head, self._calls.body_limit)
        if refusal is None and operation.adds_up and self._calls.gather is not None:
            await self._calls.gather()
        if refusal is not None:
            if refusal.status >= 400:
                self._counters[f"status_{refusal.status}"] += 1
            await _send(send, refusal, with_body=head.method != b"HEAD")
        elif head.method == b"POST":
            await self._post(operation, head, caller, receive, send)
        else:
            await self._respond(operation, head, self._calls.get(operation, head.query, caller), send)

    def _page(self, head: RequestHead) -> Answer:
        page = self._pages.get(self._routes.without_prefix(head.path))
        if page is None:
            self._counters["status_404"] += 1
            return problem(
                404, f"there is nothing at {head.path.decode('ascii', 'replace')}; GET / lists what there is"
            )
        if head.method == b"OPTIONS":
            return preflight(head.preflight_method, head.preflight_headers)
        if head.method not in {b"GET", b"HEAD"}:
            self._counters["status_405"] += 1
            return problem(405, "use GET here", (b"Allow", b"GET, HEAD, OPTIONS"))
        return page()

    async def _show(self, head: RequestHead, page: Answer, send: ASGISendCallable) -> None:
        with_body = head.method != b"HEAD"
        if len(page.body) < FROM_SIZE:
            await _send(send, page, with_body=with_body)
        else:
            await _stream(send, page, _slices(page.body), packed=head.accepts_gzip, with_body=with_body)

    async def _post(
        self, operation: Operation, head: RequestHead, caller: str, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        try:
            body = b"".join([part async for part in _body(receive)])
        except DisconnectedError:
            return
        barrier = self._calls.barrier
        mark = 0 if barrier is None else barrier.mark()
        outcome = self._calls.post(operation, head, body, caller)
        if isinstance(outcome, Generator):
            outcome = await in_turns(outcome)
        if barrier is not None and barrier.behind(mark):
            await barrier.wait()
        await self._respond(operation, head, outcome, send)

    async def _respond(self, operation: Operation, head: RequestHead, outcome: Outcome, send: ASGISendCallable) -> None:
        with_body = head.method != b"HEAD"
        if isinstance(outcome, Answer):
            await _send(send, outcome.for_operators() if operation.admin else outcome, with_body=with_body)
            return
        whole = Answer(200, cors=not operation.admin)
        if operation.shows_data and not (isinstance(outcome, Pieces) and outcome.failed):
            place = outcome.elsewhere if isinstance(outcome, Pieces) else None
            whole.fields = position_fields(self._calls.position()) if place is None else elsewhere_fields(place)
        if isinstance(outcome, bytes) and (len(outcome) < FROM_SIZE or not head.accepts_gzip):
            whole.body = outcome
            await _send(send, whole, with_body=with_body)
        else:
            pieces = outcome.iterator if isinstance(outcome, Pieces) else _slices(outcome)
            await _stream(send, whole, pieces, packed=head.accepts_gzip, with_body=with_body)


def _never() -> bool:
    return False


def _while_there(send: ASGISendCallable, gone: Callable[[], bool]) -> ASGISendCallable:
    """The same `send`, but it ends the making of an answer that nobody will get. Raises PeerGoneError."""

    async def send_if_there(event: ASGISendEvent) -> None:
        if gone():
            raise PeerGoneError
        await send(event)

    return send_if_there


async def _body(receive: ASGIReceiveCallable) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise DisconnectedError
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


async def _stream(
    send: ASGISendCallable, answer: Answer, pieces: Iterator[bytes], *, packed: bool, with_body: bool
) -> None:
    """Send an answer bit by bit, with a turn of the loop for everybody else between the pieces."""
    if packed:
        answer.fields = (*answer.fields, (b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding"))
    await _start(send, answer, length=None)
    for piece in (_gzip(pieces) if packed else pieces) if with_body else ():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _slices(body: bytes) -> Iterator[bytes]:
    view = memoryview(body)
    for at in range(0, len(body), PIECE):
        yield bytes(view[at : at + PIECE])


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield packer.compress(piece)  # often empty, and still the end of a piece of work
    yield packer.flush()


async def _start(send: ASGISendCallable, answer: Answer, length: int | None) -> None:
    fields = [(b"content-type", answer.content_type), *(CORS_FIELDS if answer.cors else ()), *answer.fields]
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    if answer.close:
        fields.append((b"connection", b"close"))
    headers = [(name.lower(), value) for name, value in fields]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers, "trailers": False})


async def _send(send: ASGISendCallable, answer: Answer, *, with_body: bool) -> None:
    await _start(send, answer, len(answer.body))
    await send({"type": "http.response.body", "body": answer.body if with_body else b"", "more_body": False})
