"""Answers: the one structure both HTTP paths send, and the headers that go with every answer of the API. No I/O."""

from __future__ import annotations

import http
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from artemis.discovery import Elsewhere
from artemis.model import ResponseStatus
from artemis.model.responses import (
    BAD_REQUEST,
    DATA_NOT_FOUND,
    INTERNAL_SERVICE_ERROR,
    NO_PERMISSION,
    RATE_LIMITED,
    SERVICE_UNAVAILABLE,
)

#: The original sends these with every answer (spec section 2). They open what needs no credentials, so they do not
#: go with the answers of operations for operators.
CORS_FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Access-Control-Expose-Headers", b"*"),
    (b"Access-Control-Allow-Credentials", b"true"),
)
JSON_TYPE = b"application/json"


#: What an operation says in `responseStatus`, as a status of HTTP and the seconds to come back after.
_STATUSES: dict[str | None, tuple[int, bytes]] = {
    BAD_REQUEST: (400, b""),
    NO_PERMISSION: (403, b""),
    DATA_NOT_FOUND: (404, b""),
    RATE_LIMITED: (429, b"10"),
    SERVICE_UNAVAILABLE: (503, b"5"),
    INTERNAL_SERVICE_ERROR: (500, b""),
}


#: What stands in a header as it is; of all else the bytes are percent-encoded.
_PLAIN = "!#$&'()*+,./:;=?@[]^_`{|}~-"


class Position(NamedTuple):
    """Of what an answer shows: its cursor, its age in milliseconds, and how many other nodes that age leaves out, as
    they are missing (design 6)."""

    cursor: str
    age: int
    missing: int


def position_fields(position: Position) -> tuple[tuple[bytes, bytes], ...]:
    """What goes with every answer that shows data; of missing nodes only where there are some."""
    cursor, age, missing = position
    told = ((b"Artemis-Cursor", cursor.encode("ascii")), (b"Artemis-Age-Ms", b"%d" % age))
    return (*told, (b"Artemis-Missing-Nodes", b"%d" % missing)) if missing else told


def elsewhere_fields(place: Elsewhere) -> tuple[tuple[bytes, bytes], ...]:
    """What goes with an answer that shows a copy of another region: the same, the region, and what found no room."""
    told = position_fields(Position(place.cursor, place.age, place.missing))
    named = (*told, (b"Artemis-Region", quote(place.region, safe=_PLAIN).encode("ascii")))
    return (*named, (b"Artemis-Left-Out", b"%d" % place.left_out)) if place.left_out else named


def offer_fields(port: int) -> tuple[tuple[bytes, bytes], ...]:
    """What tells that MsgTrans is spoken over QUIC at a port of UDP (RFC 7838)."""
    return ((b"Alt-Svc", b'msgtrans%%2F1=":%d"' % port),)


class Answer(msgspec.Struct, gc=False):
    """Status, body and the header fields beyond type, length and CORS.

    `close`: the connection cannot be used afterwards. `cors`: pages of other sites may read it.
    """

    status: int = 200
    body: bytes = b""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = JSON_TYPE
    close: bool = False
    cors: bool = True

    def for_operators(self) -> Answer:
        """The same without what lets pages of other sites read it."""
        return msgspec.structs.replace(self, cors=False)


def problem(status: int, message: str, *fields: tuple[bytes, bytes], close: bool = False) -> Answer:
    """An answer for what is wrong with the transport itself (spec section 1.1): 4xx with a sentence that says what to
    do."""
    body = msgspec.json.encode({"error": http.HTTPStatus(status).phrase, "message": message, "status": status})
    return Answer(status, body, fields, close=close)


def not_done(outcome: ResponseStatus) -> Answer:
    """An answer for what is not done of the operations that the originals lack: as for all that is wrong with HTTP."""
    status, retry_after = _STATUSES.get(outcome.error_code, (500, b""))
    fields = [(b"Retry-After", retry_after)] if retry_after else []
    return problem(status, outcome.message or "", *fields)


def preflight(requested_method: bytes, requested_headers: bytes) -> Answer:
    """The answer to a CORS preflight: 200, the asked-for method and headers echoed (spec section 2)."""
    fields: list[tuple[bytes, bytes]] = [(b"Access-Control-Max-Age", b"3600")]
    if requested_method:
        fields.append((b"Access-Control-Allow-Methods", requested_method))
    if requested_headers:
        fields.append((b"Access-Control-Allow-Headers", requested_headers))
    return Answer(200, b"", tuple(fields))


def head_bytes(answer: Answer, date: bytes, *, keep_alive: bool, http_1_0: bool = False) -> bytes:
    """The status line and all header fields of an answer, up to and with the empty line."""
    status = http.HTTPStatus(answer.status)
    lines = [
        b"HTTP/1.1 %d %b" % (answer.status, status.phrase.encode()),
        b"Content-Type: " + answer.content_type,
        *(b"%b: %b" % field for field in (CORS_FIELDS if answer.cors else ())),
        *(b"%b: %b" % field for field in answer.fields),
        b"Date: " + date,
        b"Content-Length: %d" % len(answer.body),
    ]
    if not keep_alive:
        lines.append(b"Connection: close")
    elif http_1_0:
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n"
