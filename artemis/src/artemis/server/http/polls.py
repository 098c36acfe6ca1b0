"""Long polls: `GET /api/v1/services/{id}?wait=30s&cursor=...` answers as soon as something has changed (design 6).

A request that waits is an entry in a table and a timer; it has no task and holds no answer. Those whose time has come,
because of a change, the clock or a shutdown, are answered some at a time, so that a change that thousands wait for does
not hold up the loop. Not here: what a caller missed (`artemis.push.log`), and how bytes reach him (`connection`).
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from artemis.discovery import Elsewhere
from artemis.model import ResponseStatus
from artemis.model.responses import RATE_LIMITED, failure
from artemis.push import Cursor, changes_json
from artemis.server.http.answer import Answer, Position, elsewhere_fields, not_done, position_fields, preflight, problem
from artemis.server.http.packing import FROM_SIZE
from artemis.server.http.poll_query import PARAMETERS, Asked, BadQuery, read_poll
from artemis.server.http.routes import PREFIXES, Routes, query_fields
from artemis.server.operations.table import BadParameter, refuse_unknown
from artemis.server.regions import elsewhere

if TYPE_CHECKING:
    from artemis.push import Missed, Wait
    from artemis.server.gate import Gate
    from artemis.server.http.head import RequestHead
    from artemis.server.node import Node
    from artemis.server.operations import Query
    from artemis.server.regions import Showing

NAME = "discovery.changes"
"""What metrics and the OpenAPI document call this request."""

#: Requests that wait; further ones are refused.
MAX_WAITING = 10_000

#: Seconds of answering in one turn of the loop, and changes written into one piece of a large answer.
_TURN = 0.004
_SLICE = 250

#: Answers that are kept while nothing changes, for callers that wait for the same with the same cursor.
_KEPT = 64

_STARTS = tuple(family + b"v1/services/" for family in PREFIXES)

PollSteps = Generator[None, None, Answer]
Finish = Callable[[Answer], None]
_Key = tuple[str, str, bool]  # service in lower case, cursor (empty: everything is shown), packed


class Waiting:
    """One request that waits. Made by `Polls.begin`; `cancel` when its connection is gone."""

    __slots__ = (
        "_called",
        "_cancel_change",
        "_polls",
        "_timer",
        "answer",
        "asked",
        "done",
        "due",
        "finish",
        "held",
        "showing",
    )

    def __init__(self, polls: Polls, showing: Showing, asked: Asked, finish: Finish) -> None:
        self.showing = showing
        self.asked = asked
        self.finish = finish
        self.answer: Answer | None = None
        self.done = False
        self.due = False
        #: Its cursor cannot be answered yet, whatever happens to the service.
        self.held: Wait | None = None
        self._polls = polls
        self._called = False  # for a change, and not answered yet
        self._cancel_change: Callable[[], None] | None = None
        self._timer = polls.loop.call_later(asked.wait, self._expire)

    def watch(self) -> bool:
        """Wait for the next change of the service; False when no more may wait."""
        self._answered()
        self._cancel_change = self.showing.stream.once(self.asked.service, self._changed)
        return self._cancel_change is not None

    def stop_watching(self) -> None:
        """Wait for no change and no time any more: the answer is being made."""
        self._timer.cancel()
        if self.held is not None:
            self.held.cancel()
            self.held = None
        if self._cancel_change is not None:
            self._cancel_change()

    def cancel(self) -> None:
        """Wait no longer; nothing is answered any more."""
        self.done = True
        self._answered()
        self.stop_watching()
        self._polls.forget(self)

    def hurry(self) -> None:
        """Wait no longer, but answer with what there is."""
        if self.held is not None:
            self.held.cancel()
            self.held = None
        self._expire()

    def caught_up(self) -> None:
        """Its cursor can be answered now, or has waited for that long enough."""
        self.held = None
        self._polls.ready(self)

    def _changed(self) -> None:
        self._called = True
        self.showing.stream.answering[self.asked.service] += 1
        self._polls.ready(self)

    def _answered(self) -> None:
        """It is told of the change that it was called for, or waits for another one."""
        if self._called:
            self._called = False
            answering, service = self.showing.stream.answering, self.asked.service
            answering[service] -= 1
            if not answering[service]:
                del answering[service]

    def _expire(self) -> None:
        self.due = True
        self._polls.ready(self)


class _Moment:
    """Answers of one moment of what is shown, and those that are being made: many wait for the same."""

    __slots__ = ("kept", "making", "position")

    def __init__(self) -> None:
        self.position: Position | Elsewhere = Position("", 0, 0)
        self.kept: OrderedDict[_Key, Answer] = OrderedDict()
        self.making: dict[_Key, list[Waiting]] = {}

    def at(self, position: Position | Elsewhere) -> None:
        """Forget everything if it is another moment."""
        if position != self.position:
            self.kept.clear()
            self.making.clear()
            self.position = position

    def keep(self, key: _Key, answer: Answer) -> None:
        """Keep an answer for others."""
        self.kept[key] = answer
        if len(self.kept) > _KEPT:
            self.kept.popitem(last=False)


class Polls:
    """The long polls of one node. Owned by the HTTP door and its event loop.

    `now` gives the node's monotonic milliseconds. `counters` counts refusals by name, `requests` all requests by
    operation. `max_waiting` bounds the requests that wait.
    """

    def __init__(
        self,
        node: Node,
        routes: Routes,
        gate: Gate,
        now: Callable[[], int],
        counters: Counter[str],
        requests: Counter[str],
        loop: asyncio.AbstractEventLoop,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.node = node
        self.loop = loop
        self._routes = routes
        self._gate = gate
        self._now = now
        self._counters = counters
        self._requests = requests
        self._max_waiting = max_waiting
        self._waiting: set[Waiting] = set()
        self._ready: deque[Waiting] = deque()
        self._scheduled = False
        self._draining = False
        self._moments: WeakKeyDictionary[Showing, _Moment] = WeakKeyDictionary()

    @property
    def waiting(self) -> int:
        """How many requests wait now."""
        return len(self._waiting)

    def begin(self, head: RequestHead, caller: str, finish: Finish) -> Answer | Waiting | None:
        """Begin to answer a request, None when its path is not one of these.

        What comes back is the answer, or an entry that waits: it calls `finish` once, unless it is cancelled. `caller`
        is the address of the peer.
        """
        path = self._routes.without_prefix(head.path)
        start = next((start for start in _STARTS if path.startswith(start)), None)
        if start is None or b"/" in path[len(start) :] or len(path) == len(start):
            return None
        query = query_fields(head.query)
        refused = self._refuse(head, query, caller)
        if not isinstance(refused, Answer):
            try:
                refuse_unknown(query, PARAMETERS)
                asked = read_poll(path[len(start) :], query, head)
            except (BadParameter, BadQuery) as error:
                self._counters["bad_query"] += 1
                return problem(400, str(error))
            return self._answer_or_wait(refused, asked, finish)
        if refused.status >= 400:
            self._counters[f"status_{refused.status}"] += 1
        return refused

    def ready(self, entry: Waiting) -> None:
        """For entries: it is time to look."""
        self._ready.append(entry)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._look)

    def forget(self, entry: Waiting) -> None:
        """For entries: it has ended."""
        self._waiting.discard(entry)

    def drain(self) -> None:
        """Shutdown: answer all that wait, with what there is."""
        self._draining = True
        for entry in list(self._waiting):
            self.ready(entry)

    # -- one request

    def _refuse(self, head: RequestHead, query: Query, caller: str) -> Answer | Showing:
        """Return what is asked about, or why there is no answer."""
        if head.method == b"OPTIONS":
            return preflight(head.preflight_method, head.preflight_headers)
        if head.method not in {b"GET", b"HEAD"}:
            return problem(405, "use GET here", (b"Allow", b"GET, HEAD, OPTIONS"))
        self._requests[NAME] += 1
        per_caller = self._gate.per_caller
        if per_caller and not self._gate.callers.take(caller, per_caller, self._now()):
            return not_done(failure(RATE_LIMITED, "Request is rate limited."))
        node = self.node
        region, zone = query.get("regionId") or node.identity.region, query.get("zoneId")
        copy = node.regions.named(region)
        if isinstance(copy, ResponseStatus):
            return not_done(copy)
        status = node.refuse_discovery(region if copy is None else node.identity.region, zone or node.identity.zone)
        if status is not None:
            return not_done(status)
        return node if copy is None else copy

    def _answer_or_wait(self, showing: Showing, asked: Asked, finish: Finish) -> Answer | Waiting:
        if asked.cursor is not None and not self._draining:
            held = self._hold(showing, asked, asked.cursor, finish)
            if held is not None:
                return held
        answer = self._look_up(showing, asked, empty=not asked.wait or self._draining)
        if isinstance(answer, Answer):
            return answer
        if len(self._waiting) >= self._max_waiting:
            return self._busy()
        # Nothing can change between the look above and here, because nothing else runs.
        entry = Waiting(self, showing, asked, finish)
        self._waiting.add(entry)
        if answer is not None:
            entry.stop_watching()
            answer.append(entry)
        elif not entry.watch():
            entry.cancel()
            return self._busy()
        return entry

    def _hold(self, showing: Showing, asked: Asked, cursor: Cursor, finish: Finish) -> Answer | Waiting | None:
        """Wait a little if this node lacks what the caller may know; None when it can answer."""
        catching_up = showing.stream.catching_up
        if not catching_up.needed(asked.service, cursor):
            return None
        if len(self._waiting) >= self._max_waiting:
            return self._busy()
        entry = Waiting(self, showing, asked, finish)
        entry.held = catching_up.wait(asked.service, cursor, entry.caught_up)
        self._waiting.add(entry)
        return entry

    def _busy(self) -> Answer:
        self._counters["status_503"] += 1
        return problem(503, "too many requests wait here; ask another node, or later", (b"Retry-After", b"5"))

    def _look_up(self, showing: Showing, asked: Asked, *, empty: bool) -> Answer | list[Waiting] | None:
        """What there is to answer now; None when that is nothing, unless `empty` answers are wanted.

        A large answer is made in steps; then it is the list of those who wait for it, to be appended to.
        """
        moment = self._moments.setdefault(showing, _Moment())
        moment.at(position := self._position(showing))
        if asked.cursor_text == position.cursor and not empty:
            return None
        log, key, everything = showing.log, (asked.service, asked.cursor_text, asked.packed), ""
        shared = moment.kept.get(key) or moment.making.get(key)
        if shared is not None:
            return shared
        if asked.cursor is None or log.start(asked.service, asked.cursor) is None:
            # All whose cursor is of no use are shown the same.
            key = (asked.service, everything, asked.packed)
            shared = moment.kept.get(key) or moment.making.get(key)
            if shared is not None:
                return shared
        missed = log.since(asked.service, asked.cursor)
        if not (missed.full or missed.changes or empty):
            return None
        steps = _write(missed, position, packed=asked.packed)
        if len(missed.changes) > _SLICE:
            entries = moment.making[key] = []
            self._make(moment, key, steps, entries)
            return entries
        answer = _finished(steps)
        if missed.full or missed.changes:
            moment.keep(key, answer)
        return answer

    def _position(self, showing: Showing) -> Position | Elsewhere:
        copy = showing.copy
        if copy is not None:
            return elsewhere(copy, self._now())
        return Position(showing.cursor(), showing.age(self._now()), showing.missing_nodes)

    def _make(self, moment: _Moment, key: _Key, steps: PollSteps, entries: list[Waiting]) -> None:
        """Make a step of a large answer; in the end it is the answer of all who wait for it."""
        try:
            next(steps)
        except StopIteration as stop:
            if moment.making.get(key) is entries:
                del moment.making[key]
            for entry in entries:
                entry.answer = stop.value
                self.ready(entry)
        else:
            self.loop.call_soon(self._make, moment, key, steps, entries)

    # -- those that waited

    def _look(self) -> None:
        """Answer some of those whose time has come; the others follow in the next turn of the loop."""
        ready, until = self._ready, self.loop.time() + _TURN
        while ready:
            entry = ready.popleft()
            if not entry.done:
                self._answer(entry)
            if self.loop.time() > until:
                break
        self._scheduled = bool(ready)
        if ready:
            self.loop.call_soon(self._look)

    def _answer(self, entry: Waiting) -> None:
        if entry.held is not None and not self._draining:
            return
        answer = entry.answer or self._look_up(entry.showing, entry.asked, empty=entry.due or self._draining)
        if isinstance(answer, list):
            entry.stop_watching()
            answer.append(entry)
        elif answer is not None:
            entry.cancel()
            entry.finish(answer)
        elif not entry.watch():  # what changed looks again as it did before, so he waits on
            entry.cancel()
            entry.finish(self._busy())


def _write(missed: Missed, position: Position | Elsewhere, *, packed: bool) -> PollSteps:
    """Write an answer in steps; what it shows is settled before the first."""
    changes, cursor, age = missed.changes, position.cursor, position.age
    place = position if isinstance(position, Elsewhere) else None
    named = b"" if place is None else b',"regionId":%b' % msgspec.json.encode(place.region)
    packer = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS) if packed and len(changes) > _SLICE else None
    body: list[bytes] = []

    def put(data: bytes) -> None:
        body.append(packer.compress(data) if packer else data)

    put(b'{"ageMs":%d,"changes":[' % age)
    for at in range(0, len(changes), _SLICE):
        if at:
            yield
        put((b"," if at else b"") + changes_json(changes[at : at + _SLICE])[1:-1])
    put(b'],"cursor":%b,"fullSync":%b%b}' % (msgspec.json.encode(cursor), b"true" if missed.full else b"false", named))
    if packer:
        body.append(packer.flush())
    content = b"".join(body)
    fields = position_fields(position) if isinstance(position, Position) else elsewhere_fields(position)
    if packer is None and packed and len(content) >= FROM_SIZE:
        content = zlib.compress(content, level=1, wbits=16 + zlib.MAX_WBITS)
    elif packer is None:
        return Answer(200, content, fields)
    return Answer(200, content, (*fields, (b"Content-Encoding", b"gzip"), (b"Vary", b"Accept-Encoding")))


def _finished(steps: PollSteps) -> Answer:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
