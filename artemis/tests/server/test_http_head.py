"""Request heads: what is taken from them and what is refused."""

import pytest

from artemis.server.http.head import HeadError, check_beginning, parse_head


def head(*lines: bytes) -> bytes:
    """A head of these lines, and a Host."""
    return b"\r\n".join([*lines, b"Host: x"]) + b"\r\n\r\n"


def test_the_head_of_a_java_client():
    """Repeated Content-Type and Accept, gzip and chunked, as the v1 SDK sends them."""
    parsed = parse_head(
        head(
            b"POST /api/registry/register.json HTTP/1.1",
            b"Content-Type: application/json",
            b"Content-Type: application/json",
            b"Accept: application/json",
            b"Accept: application/json",
            b"Content-Encoding: gzip",
            b"Accept-Encoding: gzip,deflate",
            b"Transfer-Encoding: chunked",
            b"Connection: Keep-Alive",
        )
    )
    assert (b"POST", b"/api/registry/register.json") == (parsed.method, parsed.path)
    assert (None, b"gzip", True, True, True) == (
        parsed.body_length,
        parsed.encoding,
        parsed.accepts_gzip,
        parsed.json_body,
        parsed.keep_alive,
    )


def test_upgrade_to_h2c_is_taken_out_of_the_head():
    """JDK clients offer h2c; the parser would take their body for HTTP/2."""
    parsed = parse_head(
        head(
            b"POST /x HTTP/1.1",
            b"Connection: Upgrade, HTTP2-Settings",
            b"Content-Length: 2",
            b"UPGRADE : h2c".replace(b" :", b":"),
            b"HTTP2-Settings: AAEA",
        )
    )
    assert 2 == parsed.body_length
    assert b"h2c" not in parsed.raw


def test_a_header_value_that_talks_of_upgrades_stays():
    """Only the header line named Upgrade goes, never text that looks like it."""
    raw = head(b"GET /x?upgrade:h2c HTTP/1.1", b"X-Note: upgrade: websocket")
    assert raw == parse_head(raw).raw


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([], True),
        ([b"application/json"], True),
        ([b"Application/JSON; charset=utf-8"], True),
        ([b"application/json, application/json"], True),
        ([b"application/problem+json"], True),
        ([b"text/plain"], False),
        ([b"application/x-www-form-urlencoded"], False),
        ([b"text/plain", b"application/json"], True),
    ],
)
def test_content_types(types, expected):
    """Any number of Content-Type headers is fine as long as one of them says JSON."""
    parsed = parse_head(head(b"POST / HTTP/1.1", *(b"Content-Type: " + kind for kind in types)))
    assert expected is parsed.json_body


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"gzip", True), (b"deflate, gzip;q=0.5", True), (b"gzip;q=0", False), (b"br", False), (b"*", True), (b"", False)],
)
def test_accept_encoding(value, expected):
    """gzip is used only for those who take it."""
    assert expected is parse_head(head(b"GET / HTTP/1.1", b"Accept-Encoding: " + value)).accepts_gzip


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Close", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.1", b"x, close", False),
    ],
)
def test_keep_alive(version, connection, expected):
    """HTTP/1.1 connections stay unless told to close, HTTP/1.0 ones close unless told to stay."""
    assert expected is parse_head(head(b"GET / HTTP/" + version, b"Connection: " + connection)).keep_alive


@pytest.mark.parametrize(
    "data",
    [b"", b"\r", b"G", b"GET ", b"GET /a%20b HTT", b"GET / HTTP/1.1\r", b"POST /x HTTP/1.0\r\nHo"],
)
def test_the_beginning_of_a_request_may_go_on(data):
    """What can still become a head is waited for."""
    check_beginning(data)


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01", b"\x02\x00", b"\xff", b" ", b"hello there\r\n", b"GET  / HTTP/1.1\r\n", b"A" * 33, b"GET /\n\n"],
)
def test_garbage_is_told_from_its_first_bytes(data):
    """What cannot become a head any more need not be waited for."""
    with pytest.raises(HeadError):
        check_beginning(data)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00c\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo-Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_bad_heads_are_refused(raw):
    """What is not HTTP, or would leave the end of the message open to opinion, is an error."""
    with pytest.raises(HeadError):
        parse_head(raw)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"/a?b", b"/a?b"),
        (b"/a#f?x", b"/a"),
        (b"/a?b#f", b"/a?b"),
        (b"http://x:80/a?b", b"/a?b"),
        (b"http://[::1]/a?c", b"/a?c"),
        (b"http://x", b"/"),
        (b"http://x?b", b"/?b"),
        (b"*", b"*"),
        (b"//x/a", b"//x/a"),
    ],
)
def test_a_target_is_path_and_query(written: bytes, read: bytes) -> None:
    """However it was written; the bytes that are handed on say the same."""
    head = parse_head(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % written)
    assert (head.target, head.raw) == (read, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % read)
