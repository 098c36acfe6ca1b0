"""The messages of the seed's `/ws`: JSON objects told apart by `type` (artemis-rust 2).

`subscribe` and `unsubscribe` with `service_id` or `serviceId`, `*` for all services; `confirm`; `ping`. Synchronous,
no I/O.
Not here: what is pushed, see `artemis.push`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from artemis.model import encode
from artemis.push import EVERYTHING, NOTHING, ChangeStream, Subscriber, read_cursor

_PONG = encode({"type": "pong"})
_ELSEWHERE = "only the region of the node is told of here; subscribe to others over MsgTrans, or use long polls"


class _Message(msgspec.Struct):
    """What peers say; other members are ignored."""

    type: str | None = None
    service_id: str | None = None
    serviceId: str | None = None  # noqa: N815 - as on the wire
    cursor: str | None = None
    region_id: str | None = None
    regionId: str | None = None  # noqa: N815 - as on the wire


_DECODER = msgspec.json.Decoder(_Message)


class NativeMessages:
    """Answers the messages of all `/ws` sessions of one node.

    `region` is that of the node, and the only one that is told of here. `counters` counts what went wrong by reason;
    `age` gives the milliseconds that the node's data may be old and how many missing nodes that leaves out, None while
    it does not serve. Every message has one answer: an acknowledgement, or `error` with a text that says what to do.
    """

    def __init__(
        self, stream: ChangeStream, counters: Counter[str], age: Callable[[], tuple[int, int] | None], region: str
    ) -> None:
        self._stream = stream
        self._region = region.lower()
        self._counters = counters
        self._age = age

    def answer(self, subscriber: Subscriber, message: bytes) -> bytes | None:
        """Answer one message of a session; what it missed since a cursor is pushed after the acknowledgement.

        None for `confirm`: everything pending is to be pushed first, and then `confirmed` is the answer.
        """
        try:
            asked = _DECODER.decode(message)
        except (msgspec.MsgspecError, RecursionError) as error:
            return self._error("malformed_message", f"not a message of this endpoint: {error}")
        service_id = asked.service_id if asked.service_id is not None else asked.serviceId
        region = asked.region_id or asked.regionId or ""
        if region.strip().lower() not in {"", self._region}:
            return self._error("refused_subscription", _ELSEWHERE)
        match asked.type:
            case "ping":
                return _PONG
            case "confirm":
                return None
            case "subscribe" | "unsubscribe" if service_id is None or not service_id.strip():
                return self._error("malformed_message", f"{asked.type} needs service_id, the service or {EVERYTHING}")
            case "subscribe":
                assert service_id is not None  # noqa: S101 - the case before
                return self._subscribe(subscriber, service_id, asked.cursor)
            case "unsubscribe":
                assert service_id is not None  # noqa: S101 - as above
                self._stream.unsubscribe(subscriber, "" if service_id.strip() == EVERYTHING else service_id)
                return encode({"type": "unsubscribed", "service_id": service_id, "serviceId": service_id})
            case None:
                return self._error("malformed_message", "type is missing; send subscribe, unsubscribe, confirm or ping")
            case other:
                text = f"type {other[:100]!r} is not known; send subscribe, unsubscribe, confirm or ping"
                return self._error("malformed_message", text)

    def confirmed(self, subscriber: Subscriber) -> bytes:
        """Say whether a session was sent everything that it had to be told until now; made when it is sent."""
        age = self._age()
        current = age is not None and subscriber.current
        cursor = self._stream.resumable(subscriber)
        milliseconds, missing = age or (0, 0)
        told = {"type": "confirmed", "cursor": cursor, "current": current, "ageMs": milliseconds}
        return encode({**told, "missingNodes": missing} if missing else told)

    def _subscribe(self, subscriber: Subscriber, service_id: str, cursor: str | None) -> bytes:
        start = None if cursor is None else read_cursor(cursor)
        service = service_id.strip()
        if service == EVERYTHING:
            service, refusal = "", self._stream.subscribe_all(subscriber, start)
        else:
            refusal = self._stream.subscribe(subscriber, service, start)
        if refusal is not None:
            return self._error("refused_subscription", refusal)
        # Whoever goes away before he got what he missed must be able to come back for it.
        given = "" if cursor is None or start is NOTHING else cursor
        position = self._stream.position(subscriber, (service,), given)
        return encode({"type": "subscribed", "service_id": service_id, "serviceId": service_id, "cursor": position})

    def _error(self, reason: str, text: str) -> bytes:
        self._counters[reason] += 1
        return encode({"type": "error", "message": text})
