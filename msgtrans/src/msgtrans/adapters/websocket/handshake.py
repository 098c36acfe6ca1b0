"""The HTTP upgrade that begins a WebSocket connection, both sides (RFC 6455 section 4, specification 2.2).

Bytes in, a judgement out; randomness is an argument.
Not here: sockets, deadlines, and anything after the upgrade.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha1
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from msgtrans.config.websocket import SUBPROTOCOL
from msgtrans.errors import AuthenticationError, ConnectError, ResourceError
from msgtrans.link import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from msgtrans.config import WebSocketServerConfig
    from msgtrans.config.websocket import WebSocketUrl
    from msgtrans.errors import TransportError

HEAD_LIMIT: Final = 16 * 1024
HEAD_END: Final = b"\r\n\r\n"
HEADERS: Final = 128
BODY_LIMIT: Final = 1024  # bytes of the body of a refusal that a client looks at
TOO_MANY: Final = 429

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?")
_BEGINNING: Final = re.compile(rb"[A-Z]{1,16}(?: .*)?", re.DOTALL)

Headers = dict[str, str]


class Accepted(NamedTuple):
    """A request that is granted. response: what to send. subprotocol: the one chosen, None without."""

    response: bytes
    subprotocol: str | None


class Refused(NamedTuple):
    """A request that is not. response: what to send before closing. why: the same, for the log."""

    response: bytes
    why: str


def can_be_request(beginning: bytes) -> bool:
    """Whether an HTTP request may begin with these bytes; what cannot need not be waited for."""
    return _BEGINNING.fullmatch(beginning) is not None


def judge(head: bytes, config: WebSocketServerConfig) -> Accepted | Refused:
    """What a server answers to a request. head: all before the empty line, at most `HEAD_LIMIT` bytes."""
    try:
        start, headers = parse_head(head)
    except ValueError as error:
        return refuse(400, str(error))
    refused = _not_http(start, headers) or _not_upgrade(headers) or _not_allowed(start, headers, config)
    if refused is not None:
        return refused
    subprotocol = _choose(headers.get("sec-websocket-protocol", ""), (SUBPROTOCOL, *config.subprotocols))
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ",
        accept_value(headers["sec-websocket-key"].encode()),
    ]
    if subprotocol is not None:
        lines += [b"\r\nSec-WebSocket-Protocol: ", subprotocol.encode()]
    return Accepted(b"".join((*lines, HEAD_END)), subprotocol)


def refuse(status: int, why: str, extra: str = "") -> Refused:
    """A refusal. why: a sentence that says what to do. extra: further header lines, each with its end."""
    body = f"{why}\n".encode("latin-1", "replace")
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n{extra}"
        f"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Refused(head.encode() + body, why)


def not_admitted(error: TransportError) -> Refused:
    """The refusal of a good request whose session a middleware did not let in. error: what the session ended with.

    A client that proves who it is (401) or comes later (503) may get in; one that is not wanted (403) does not.
    """
    if isinstance(error, AuthenticationError):
        return refuse(401, str(error), "WWW-Authenticate: Bearer\r\n")
    if isinstance(error, ResourceError):
        return refuse(503, str(error))
    return refuse(500 if error.refusal is False else 403, str(error))


def http_request(head: bytes, subprotocol: str | None) -> HttpRequest:
    """What users see of a request that was granted."""
    start, headers = parse_head(head)
    path, _, query = start.split(b" ")[1].decode("ascii").partition("?")
    return HttpRequest(path, query, headers, subprotocol)


def request(url: WebSocketUrl, key: bytes, subprotocols: Iterable[str], headers: Mapping[str, str]) -> bytes:
    """The request of a client. key: 16 random bytes."""
    lines = [
        f"GET {url.resource} HTTP/1.1",
        f"Host: {url.host_header}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {b64encode(key).decode()}",
    ]
    if offered := ", ".join(subprotocols):
        lines.append(f"Sec-WebSocket-Protocol: {offered}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def check_response(uri: str, head: bytes, key: bytes, offered: tuple[str, ...]) -> str | None:
    """The subprotocol that a server chose with a head that says 101. uri: for messages.

    Raises ConnectError that retrying cannot help when the server does not speak WebSocket as it was asked to.
    """
    _, headers = _response(uri, head)
    chosen = headers.get("sec-websocket-protocol")
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        why = "it says 101 without upgrading to WebSocket"
    elif headers.get("sec-websocket-accept") != accept_value(b64encode(key)).decode():
        why = "its Sec-WebSocket-Accept does not fit; is there a proxy that answers in its place?"
    elif "sec-websocket-extensions" in headers:
        why = f"it uses extensions that were not offered: {headers['sec-websocket-extensions']}"
    elif chosen is not None and chosen not in offered:
        why = f"it chose the subprotocol {chosen!r}, which was not offered; name it in `subprotocols`"
    else:
        return chosen
    raise ConnectError(f"{uri} does not speak WebSocket as asked: {why}", retriable=False)


def status_of(uri: str, head: bytes) -> int:
    """The status of a response. Raises ConnectError when it is none."""
    return _response(uri, head)[0]


def wants_body(uri: str, head: bytes, body: bytes) -> bool:
    """Whether more of a refusal's body may come, and would be of use."""
    headers = _response(uri, head)[1]
    length = headers.get("content-length", "")
    expected = int(length) if length.isdecimal() and len(length) < 9 else BODY_LIMIT
    return len(body) < min(expected, BODY_LIMIT) and b"\n" not in body and "transfer-encoding" not in headers


def refused(uri: str, head: bytes, body: bytes) -> ConnectError:
    """The error of a response that does not say 101: its status, where it points, the first line of its body."""
    status, headers = _response(uri, head)
    start = head.partition(b"\r\n")[0].decode("latin-1")
    parts = [f"{uri} refused the upgrade: {start.partition(' ')[2]}"]
    if location := headers.get("location"):
        parts.append(f"it points to {location}, connect there if that is right")
    text = body.partition(b"\n")[0].decode("utf-8", "replace").strip()
    if text and "transfer-encoding" not in headers:
        parts.append("".join(character if character.isprintable() else " " for character in text[:200]))
    return ConnectError("; ".join(parts), retriable=status >= 500 or status == TOO_MANY)


def accept_value(key: bytes) -> bytes:
    """`Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`."""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def parse_head(head: bytes) -> tuple[bytes, Headers]:
    """The start line, and the headers by lower-case name, repeated ones joined by ", ". Raises ValueError."""
    start, *lines = head.split(b"\r\n")
    if len(lines) > HEADERS:
        raise ValueError(f"there are more than {HEADERS} headers")
    headers: Headers = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"a header line is malformed: {line[:80]!r}")
        key, text = name.decode("ascii").lower(), value.decode("latin-1")
        if key in headers:
            if key in {"host", "content-length", "sec-websocket-key"}:
                raise ValueError(f"the header {key} is repeated")
            text = f"{headers[key]}, {text}"
        headers[key] = text
    return start, headers


def _not_http(start: bytes, headers: Headers) -> Refused | None:
    """Refuse what is not a request that a WebSocket could begin with."""
    parts = start.split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/"):
        return refuse(400, "This is not an HTTP request; WebSocket begins with one.")
    if parts[2] != b"HTTP/1.1":
        return refuse(505, "WebSocket begins with a request of HTTP/1.1.")
    if parts[0] != b"GET":
        return refuse(405, "WebSocket begins with GET.", "Allow: GET\r\n")
    if not _TARGET.fullmatch(parts[1]):
        return refuse(400, "The request's target must be a path.")
    if "host" not in headers:
        return refuse(400, "The header Host is missing.")
    if "transfer-encoding" in headers or headers.get("content-length", "0").strip("0"):
        return refuse(400, "An upgrade has no body.")
    return None


def _not_upgrade(headers: Headers) -> Refused | None:
    """Refuse what does not ask for WebSocket, or for another version of it."""
    if "websocket" not in _tokens(headers, "upgrade") or "upgrade" not in _tokens(headers, "connection"):
        return refuse(
            426,
            "WebSocket is spoken here; send `Connection: Upgrade` and `Upgrade: websocket`.",
            "Upgrade: websocket\r\n",
        )
    if headers.get("sec-websocket-version") != "13":
        return refuse(426, "Version 13 of WebSocket is spoken here.", "Sec-WebSocket-Version: 13\r\n")
    try:
        key = b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (Base64Error, ValueError):
        key = b""
    if len(key) != 16:
        return refuse(400, "Sec-WebSocket-Key must be 16 bytes in base64.")
    return None


def _not_allowed(start: bytes, headers: Headers, config: WebSocketServerConfig) -> Refused | None:
    """Refuse what the listener is not for."""
    path = start.split(b" ")[1].partition(b"?")[0].decode("ascii")
    if config.path is not None and path != config.path:
        return refuse(404, f"Nothing is here; WebSocket is at {config.path}.")
    origin, allowed = headers.get("origin"), config.allowed_origins
    if origin is not None and allowed is not None and origin.lower() not in {known.lower() for known in allowed}:
        return refuse(403, "Pages of this origin may not connect; add it to `allowed_origins`.")
    return None


def _response(uri: str, head: bytes) -> tuple[int, Headers]:
    try:
        start, headers = parse_head(head)
    except ValueError as error:
        raise ConnectError(f"{uri} does not speak WebSocket: {error}", retriable=False) from error
    match = _STATUS.fullmatch(start)
    if match is None:
        raise ConnectError(f"{uri} does not speak HTTP; does a WebSocket server listen there?", retriable=False)
    return int(match[1]), headers


def _tokens(headers: Headers, name: str) -> set[str]:
    return {token.strip().lower() for token in headers.get(name, "").split(",")}


def _choose(offered: str, known: tuple[str, ...]) -> str | None:
    """The first name on offer that we know."""
    return next((name for token in offered.split(",") if (name := token.strip()) in known), None)
