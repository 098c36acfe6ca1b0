"""Subscriptions over MsgTrans: `discovery.subscribe`, `unsubscribe`, `confirm` and the pushes (docs/protocol.md).

A push is a one-way packet with one `service_change` message. They leave when the session can write; while it cannot,
what happens is coalesced by the change stream, and one task waits for room.
Not here: what a push says; see `artemis.push`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from msgspec import UNSET

from artemis.model import (
    ConfirmRequest,
    ConfirmResponse,
    ResponseStatus,
    SubscribeRequest,
    SubscribeResponse,
    decode,
    decode_msgpack,
)
from artemis.model.responses import BAD_REQUEST, NO_PERMISSION, SERVICE_UNAVAILABLE, SUCCESS, failure
from artemis.push import NOTHING, Cursor, Dialect, Subscriber, encode_cursor, read_cursor
from artemis.server.node import Node
from artemis.server.regions import Showing
from msgtrans import CloseReason, Session
from msgtrans.errors import SessionClosedError, TransportError

SUBSCRIBE = 24
UNSUBSCRIBE = 25
PUSH = 26
CONFIRM = 27

NAMES = {SUBSCRIBE: "discovery.subscribe", UNSUBSCRIBE: "discovery.unsubscribe", CONFIRM: "discovery.confirm"}
"""The operations by biz_type. They are those of a session, so they have no path."""

#: Bytes of a request, and services that it may name; a session may make several.
MAX_REQUEST = 64 * 1024
MAX_SERVICES = 1_000
#: Bytes that a session is given at once, unless one service has more to tell.
_ROOM = 64 * 1024
#: Seconds of writing to sessions in one turn of the loop; the last one may take a few milliseconds more.
_PUSHING = 0.004


_EVERYTHING = ""
_NO_POSITION = encode_cursor(NOTHING)


class Pusher:
    """The pushes of one session about one region, `showing`. Owned by `Subscriptions`, which has it pushed in turns.

    `counters` counts `slow_subscriber`: sessions ended because they fell behind further than can be told.
    """

    __slots__ = ("_counters", "_session", "_waiting", "showing", "subscriber")

    def __init__(
        self, session: Session, showing: Showing, wake: Callable[[Pusher], None], counters: Counter[str]
    ) -> None:
        self.showing = showing
        self.subscriber = Subscriber(Dialect.NATIVE, lambda: wake(self))
        self._session = session
        self._counters = counters
        self._waiting: asyncio.Task[None] | None = None

    @property
    def late(self) -> bool:
        """Whether there are messages that the session has not taken yet."""
        return self._waiting is not None

    def catch_up(self, until: float) -> bool:
        """Send all that there is to tell, at most until this time of the loop; whether that was everything."""
        loop = asyncio.get_running_loop()
        try:
            while self.push() and loop.time() < until:
                pass
        except SessionClosedError:
            return False  # `ended` follows, or has been
        return not self.late and self.subscriber.current

    def push(self) -> bool:
        """Send the next messages; a task goes on when the session takes no more. True: there is more for a later turn.

        Raises SessionClosedError.
        """
        if self._waiting is not None:
            return False
        session, messages = self._session, self._take()
        while messages and not session.congested:
            session.send_nowait(messages.popleft(), biz_type=PUSH)
        if messages or (session.congested and self.subscriber.pending):
            self._waiting = asyncio.get_running_loop().create_task(self._push_slowly(messages))
            self.subscriber.behind = True
            return False
        return self.subscriber.pending

    def _take(self) -> deque[bytes]:
        messages = deque(self.subscriber.take(_ROOM))
        if self.subscriber.lost:
            self._counters["slow_subscriber"] += 1
            self._session.abort()
        return messages

    async def _push_slowly(self, messages: deque[bytes]) -> None:
        """Send the rest one by one, each when there is room, until nothing is left."""
        try:
            while messages or self.subscriber.pending:
                if messages:
                    await self._session.send(messages.popleft(), biz_type=PUSH)
                else:
                    messages = self._take()
        except TransportError:
            # The session has ended for a reason of its own, which it tells whoever looks at it.
            return
        finally:
            self._waiting = None
            self.subscriber.behind = False


class Subscriptions:
    """Who on this door is told of changes. Owned by the door, called from the loop; `counters` as for `Pusher`."""

    def __init__(self, node: Node, counters: Counter[str]) -> None:
        self._node = node
        self._counters = counters
        self._pushers: dict[int, Pusher] = {}
        #: Of sessions that are told of other regions, by their names in lower case.
        self._copied: dict[int, dict[str, Pusher]] = {}
        self._ready: deque[Pusher] = deque()
        self._scheduled = False

    def answer(
        self, session: Session, code: int, payload: bytes, now: int, *, packed: bool
    ) -> SubscribeResponse | ConfirmResponse:
        """Answer one of `NAMES`; `now` is the node's milliseconds. Raises MalformedBody for a payload that cannot be
        read.
        """
        read = decode_msgpack if packed else decode
        if code == CONFIRM:
            asked = read(ConfirmRequest, payload)  # what is no request is told so
            return self._confirm(session, None if asked is None else asked.region_id, now)
        request = read(SubscribeRequest, payload)
        status, cursor = self._judge(session, code, request)
        return SubscribeResponse(response_status=status, cursor=cursor)

    def ended(self, session: Session, reason: CloseReason) -> None:
        """A session is closed: end its subscriptions."""
        _ = reason
        pusher = self._pushers.pop(session.id, None)
        for each in (*([] if pusher is None else [pusher]), *self._copied.pop(session.id, {}).values()):
            each.showing.stream.detach(each.subscriber)

    def _place(self, region: str | None) -> Showing | ResponseStatus:
        """Return what a request is about, or why there is nothing to be told."""
        node = self._node
        if not node.serves_discovery:
            return node.unavailable("discovery")
        copy = node.regions.named(region)
        if copy is not None:
            return copy
        if region and region.strip().lower() != node.identity.region.lower():
            return failure(NO_PERMISSION, node.regions.refused(region, node.identity.region))
        return node

    def _pusher(self, session: Session, showing: Showing) -> Pusher | None:
        """Return the pushes of a session about a region; those of a copy that is no more are still there."""
        if showing.copy is None:
            return self._pushers.get(session.id)
        return self._copied.get(session.id, {}).get(showing.copy.region.lower())

    def _confirm(self, session: Session, region: str | None, now: int) -> ConfirmResponse:
        """Push what is to be told now; in the order of the session the answer comes behind it.

        What takes longer than a few milliseconds, or than the session takes at once, is pushed in later turns, and the
        answer is that the session is not current.
        """
        showing = self._place(region)
        if isinstance(showing, ResponseStatus):
            return ConfirmResponse(response_status=showing)
        pusher = self._pusher(session, showing)
        cursor: str | None
        if pusher is not None and pusher.showing is not showing:
            text = f"the copy of the region {region!r} was begun anew; subscribe again"
            return ConfirmResponse(response_status=failure(SERVICE_UNAVAILABLE, text))
        if pusher is None or pusher.catch_up(asyncio.get_running_loop().time() + _PUSHING):
            current, cursor = True, showing.cursor()
        else:
            current, cursor = False, None if pusher.late else showing.stream.resumable(pusher.subscriber)
        return ConfirmResponse(
            response_status=SUCCESS,
            age_ms=showing.age(now),
            current=current,
            cursor=cursor,
            missing_nodes=showing.missing_nodes,
            region_id=UNSET if showing.copy is None else showing.copy.region,
        )

    def _judge(
        self, session: Session, code: int, request: SubscribeRequest | None
    ) -> tuple[ResponseStatus, str | None]:
        """Do what a request asks for; returns the outcome and the cursor to go on from."""
        if request is None or not (request.service_ids or request.all):
            return failure(BAD_REQUEST, "Request is null or request.serviceIds is empty."), None
        showing = self._place(request.region_id)
        if isinstance(showing, ResponseStatus):
            return showing, None
        services = [_EVERYTHING] if request.all else [service or " " for service in request.service_ids or ()]
        if len(services) > MAX_SERVICES:
            return failure(BAD_REQUEST, f"One request may name {MAX_SERVICES} services at most."), None
        if code == UNSUBSCRIBE:
            pusher = self._pusher(session, showing)
            if pusher is not None and pusher.showing is showing:
                for service in services:
                    showing.stream.unsubscribe(pusher.subscriber, service)
            return SUCCESS, showing.cursor()
        cursor = None if request.cursor is None else read_cursor(request.cursor)
        status = self._subscribe(session, showing, services, cursor)
        if status is not SUCCESS:
            return status, None
        given = "" if request.cursor is None or cursor is NOTHING else request.cursor
        return status, self._position(session, showing, services, given)

    def _position(self, session: Session, showing: Showing, services: list[str], given: str) -> str:
        """The cursor that a session can go on from, whatever becomes of the pushes that it has not been sent yet."""
        pusher = self._pusher(session, showing)
        if pusher is None:
            return given or showing.cursor()
        if pusher.late:
            return given or _NO_POSITION
        return showing.stream.position(pusher.subscriber, services, given)

    def _subscribe(
        self, session: Session, showing: Showing, services: list[str], cursor: Cursor | None
    ) -> ResponseStatus:
        stream = showing.stream
        pusher = self._pusher(session, showing)
        if pusher is None or pusher.showing is not showing:
            if not session.is_open:
                return SUCCESS  # it ends before it could be told anything
            pusher = self._begin(session, showing)
        for service in services:
            if service == _EVERYTHING:
                refusal = stream.subscribe_all(pusher.subscriber, cursor)
            else:
                refusal = stream.subscribe(pusher.subscriber, service, cursor)
            if refusal is not None:
                return failure(BAD_REQUEST, f"{service!r}: {refusal}")
        return SUCCESS

    def _begin(self, session: Session, showing: Showing) -> Pusher:
        former = self._pusher(session, showing)
        if former is not None:
            former.showing.stream.detach(former.subscriber)
        pusher = Pusher(session, showing, self._wake, self._counters)
        if showing.copy is None:
            self._pushers[session.id] = pusher
        else:
            self._copied.setdefault(session.id, {})[showing.copy.region.lower()] = pusher
        showing.stream.attach(pusher.subscriber)
        return pusher

    # -- pushing

    @property
    def pushing(self) -> bool:
        """Tell whether there are sessions that are still to be written to."""
        return self._scheduled

    def _wake(self, pusher: Pusher) -> None:
        """There is something to push. Done in the next turns, a number of sessions each, so that nobody waits long."""
        self._ready.append(pusher)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._push)

    def _push(self) -> None:
        loop, ready = asyncio.get_running_loop(), self._ready
        until = loop.time() + _PUSHING
        while ready:
            pusher = ready.popleft()
            try:
                if pusher.push():
                    ready.append(pusher)
            except SessionClosedError:
                continue  # `ended` follows, or has been
            if loop.time() > until:
                break
        self._scheduled = bool(ready)
        if self._scheduled:
            loop.call_soon(self._push)
