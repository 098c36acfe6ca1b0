"""Request heads: from the bytes of a head, or the fields of an ASGI scope, to the one structure that both HTTP paths
decide on.

Syntax is httptools' business; here is only what the registry wants to know of a head. No I/O, and no bodies: see
`framing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import httptools
import msgspec

from msgtrans.adapters.unified_port import wants_websocket

END_OF_HEAD = b"\r\n\r\n"

#: A header line that asks for another protocol. Most often it is `Upgrade: h2c` of JDK clients, which makes the parser
#: take the body for bytes of the other protocol. We do not speak h2c, so the line goes. What asks for WebSocket comes
#: this far on connections only that were kept from earlier requests; the port sends the others elsewhere.
_UPGRADE_LINE = re.compile(rb"\r\nupgrade[ \t]*:[^\r\n]*", re.IGNORECASE)

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"%b{1,32} [^ \x00-\x20\x7f]+ HTTP/\d\.\d" % _TOKEN)
_REQUEST_LINE_BEGINS = re.compile(rb"%b{1,32}(?: [^\x00-\x1f\x7f]*\r?)?" % _TOKEN)

#: Fields that are kept as they are, and where.
_KEPT = {
    b"access-control-request-method": "preflight_method",
    b"access-control-request-headers": "preflight_headers",
    b"authorization": "authorization",
    b"origin": "origin",
    b"host": "host",
}

_JSON_TYPES = frozenset({b"application/json", b"text/json"})


class HeadError(Exception):
    """The head is not HTTP as RFC 9112 wants it. The connection cannot go on; the text says what was wrong."""


class RequestHead(msgspec.Struct, gc=False):
    """What the registry needs to know of one request's head.

    `target` is the path with its query, however it was written; `body_length` is None for a chunked body and 0 without
    one. `json_body` is false only when every `Content-Type` that was given names something else (v1 Java clients send
    the header twice). `encoding` is the lower-cased `Content-Encoding`, empty for none. `plain`: HTTP/1.1, keep-alive
    and not HEAD, so that the ready-made head of an answer fits. `raw` is the head in bytes with this target, `Upgrade`
    lines removed. `upgrade` is the head as it came when it asks for WebSocket, else empty. `secure`: it came inside
    TLS, which only heads of an ASGI scope tell.
    """

    method: bytes = b""
    target: bytes = b""
    raw: bytes = b""
    body_length: int | None = 0
    keep_alive: bool = True
    plain: bool = False
    http_1_0: bool = False
    json_body: bool = True
    encoding: bytes = b""
    accepts_gzip: bool = False
    expects_continue: bool = False
    fields: int = 0
    preflight_method: bytes = b""
    preflight_headers: bytes = b""
    authorization: bytes = b""
    origin: bytes = b""
    host: bytes = b""
    upgrade: bytes = b""
    secure: bool = False

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def token(self) -> bytes:
        """What came as `Authorization: Bearer`, empty when nothing did (RFC 6750 section 2.1)."""
        scheme, _, token = self.authorization.partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else b""

    @property
    def query(self) -> bytes:
        """The query without its question mark."""
        return self.target.partition(b"?")[2]

    def read_fields(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take in header fields, names in any letter case. Raises `HeadError` for a `Content-Length` that is no
        number."""
        types: list[bytes] = []
        chunked = False
        for name, value in fields:
            self.fields += 1
            match name.lower():
                case b"content-type":
                    # A proxy may have joined repeated headers with a comma.
                    types += [part.partition(b";")[0].strip().lower() for part in value.split(b",")]
                case b"content-length":
                    if not value.isdigit() or len(value) > 18:
                        raise HeadError("Content-Length is not a number")
                    self.body_length = int(value)
                case b"transfer-encoding":
                    chunked = value.strip().lower() == b"chunked"
                    if not chunked:
                        raise HeadError("only chunked is understood as Transfer-Encoding")
                case b"content-encoding":
                    self.encoding = value.strip().lower()
                case b"accept-encoding":
                    self.accepts_gzip = self.accepts_gzip or _accepts_gzip(value)
                case b"expect":
                    self.expects_continue = value.strip().lower() == b"100-continue"
                case kept if kept in _KEPT:
                    setattr(self, _KEPT[kept], value.strip())
                case _:
                    pass
        if chunked:
            self.body_length = None
        if types:
            self.json_body = any(kind in _JSON_TYPES or kind.endswith(b"+json") for kind in types)


def _accepts_gzip(value: bytes) -> bool:
    """Whether an Accept-Encoding value takes gzip (RFC 9110 section 12.5.3, weights other than zero are equal to
    us)."""
    for part in value.lower().split(b","):
        coding, _, weight = part.partition(b";")
        if coding.strip() in {b"gzip", b"x-gzip", b"*"}:
            return weight.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False


class _Collector:
    """The callbacks of one head."""

    __slots__ = ("complete", "fields", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def check_beginning(data: bytes) -> None:
    """Tell early whether `data` can still become a head, so that garbage need not wait for a deadline.

    Raises `HeadError` when the first line, or what there is of it, is not that of a request.
    """
    if data in {b"", b"\r"}:  # half of an empty line, which may stand before a request
        return
    line, end, _ = data.partition(b"\r\n")
    if not (_REQUEST_LINE if end else _REQUEST_LINE_BEGINS).fullmatch(line):
        raise HeadError("the first line is not METHOD TARGET HTTP/VERSION")


def parse_head(raw: bytes) -> RequestHead:
    """Parse one whole head, up to and with its empty line. Raises `HeadError`."""
    whole = raw
    raw = _UPGRADE_LINE.sub(b"", raw)
    asks_upgrade = len(raw) != len(whole)
    seen = _Collector()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT; the method is refused later like any other that no path has
    except httptools.HttpParserError as error:
        raise HeadError(str(error) or "not an HTTP request") from error
    if not seen.complete:
        raise HeadError("the head ends before its empty line")
    target = _origin_form(seen.target)
    if target != seen.target:
        raw = raw.replace(seen.target, target, 1)
    head = RequestHead(method=parser.get_method(), target=target, raw=raw)
    version = parser.get_http_version()
    if version not in {"1.0", "1.1"}:
        raise HeadError(f"HTTP/{version} is not spoken here")
    head.http_1_0 = version == "1.0"
    head.read_fields(seen.fields)
    hosts = sum(name.lower() == b"host" for name, _ in seen.fields)
    if hosts > 1 or not (hosts or head.http_1_0):
        raise HeadError("HTTP/1.1 asks for one Host header")
    if head.http_1_0 and head.body_length is None:
        raise HeadError("HTTP/1.0 has no Transfer-Encoding")
    # The parser's verdict is only valid for a message without a body once it is complete, so the rule of RFC 9112
    # section 9.3 stands here.
    connection = b",".join(value for name, value in seen.fields if name.lower() == b"connection").lower()
    tokens = {token.strip() for token in connection.split(b",")}
    head.keep_alive = b"close" not in tokens and (not head.http_1_0 or b"keep-alive" in tokens)
    head.plain = head.keep_alive and not head.http_1_0 and head.method != b"HEAD"
    if head.method == b"GET" and asks_upgrade and wants_websocket(whole):
        head.upgrade = whole
    return head


def _origin_form(target: bytes) -> bytes:
    """A target as path and query alone (RFC 9112 section 3.2): without the scheme and host that clients of a proxy
    write, and without a fragment, which is not for servers."""
    if target.startswith(b"/"):
        return target.partition(b"#")[0]
    if b"://" not in target:
        return target  # `*`, or the host of a CONNECT
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return target
    path: bytes = url.path or b"/"
    return path if url.query is None else b"%b?%b" % (path, url.query)


def head_of_scope(scope: dict[str, object]) -> RequestHead:
    """The same structure from an ASGI scope, for requests that came through the ASGI server."""
    method, path, query, fields = scope["method"], scope["raw_path"], scope["query_string"], scope["headers"]
    assert isinstance(method, str)  # noqa: S101 - the shapes are those of the ASGI specification
    assert isinstance(path, bytes)  # noqa: S101
    assert isinstance(query, bytes)  # noqa: S101
    head = RequestHead(method=method.encode("ascii"), target=path + b"?" + query if query else path)
    head.read_fields(fields)  # type: ignore[arg-type]
    head.secure = scope.get("scheme") == "https"
    return head
