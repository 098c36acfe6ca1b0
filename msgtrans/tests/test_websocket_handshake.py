"""The upgrade as a pure function, both sides."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import ConnectError
from msgtrans.adapters.websocket import handshake
from msgtrans.adapters.websocket.handshake import Accepted, Refused
from msgtrans.config import WebSocketServerConfig
from msgtrans.config.websocket import parse_websocket_url

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
RAW_KEY = b"the sample nonce"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the example of RFC 6455, section 1.3
URI = "ws://host/"
ANY = WebSocketServerConfig()


def asking(start: str = "GET /any?q=1 HTTP/1.1", **changes: str | None) -> bytes:
    """The head of a good request, with other headers; None leaves one out."""
    headers: dict[str, str | None] = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": KEY.decode(),
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return "\r\n".join([start, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]).encode()


def answering(status: str = "101 Switching Protocols", **changes: str | None) -> bytes:
    """The head of a good answer, with other headers; None leaves one out."""
    headers: dict[str, str | None] = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-accept": ACCEPT,
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return "\r\n".join(lines).encode()


def refusal(head: bytes, config: WebSocketServerConfig = ANY) -> tuple[int, str]:
    """Status and the rest of a refusal."""
    verdict = handshake.judge(head, config)
    assert isinstance(verdict, Refused)
    start, _, rest = verdict.response.decode().partition("\r\n")
    head_text, _, body = rest.partition("\r\n\r\n")
    assert "Connection: close" in head_text
    assert f"Content-Length: {len(body)}" in head_text
    assert verdict.why in body
    return int(start.split(" ")[1]), rest


def test_the_answer_has_only_what_it_must() -> None:
    """A request for any path is granted with three headers, and nothing is negotiated."""
    expected = (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
    )
    deflate = asking(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
    for head in (asking(), deflate, asking("GET / HTTP/1.1"), asking("GET /a/b%20c HTTP/1.1")):
        assert Accepted(expected, None) == handshake.judge(head, ANY)


@pytest.mark.parametrize(
    "changes",
    [
        {"connection": "keep-alive, Upgrade"},
        {"connection": "UPGRADE"},
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"origin": "https://anywhere"},
        {"content_length": "0"},
    ],
)
def test_what_clients_really_send(changes: dict[str, str]) -> None:
    """Lists of tokens in any case are understood, as browsers and proxies send them."""
    assert isinstance(handshake.judge(asking(**changes), ANY), Accepted)


@pytest.mark.parametrize(
    ("offered", "configured", "chosen"),
    [
        (None, (), None),
        ("other", (), None),
        ("msgtrans.v1", (), "msgtrans.v1"),
        ("other, msgtrans.v1", (), "msgtrans.v1"),
        ("MSGTRANS.V1", (), None),
        ("json, msgtrans.v1", ("json",), "json"),
        ("msgtrans.v1, json", ("json",), "msgtrans.v1"),
        ("other", ("json",), None),
    ],
)
def test_a_subprotocol_is_chosen_only_when_offered(
    offered: str | None, configured: tuple[str, ...], chosen: str | None
) -> None:
    """The first name on offer that we know is echoed; without one, the answer names none."""
    config = WebSocketServerConfig(subprotocols=configured)
    verdict = handshake.judge(asking(sec_websocket_protocol=offered), config)
    assert isinstance(verdict, Accepted)
    assert chosen == verdict.subprotocol
    named = f"Sec-WebSocket-Protocol: {chosen}\r\n".encode() in verdict.response
    assert named == (chosen is not None)
    assert (b"Sec-WebSocket-Protocol" in verdict.response) == (chosen is not None)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (asking("GET / HTTP/1.0"), 505),
        (asking("GET / HTTP/2"), 505),
        (asking("POST / HTTP/1.1"), 405),
        (asking("GET * HTTP/1.1"), 400),
        (asking("GET /\xff HTTP/1.1"), 400),
        (asking("GET  / HTTP/1.1"), 400),
        (asking(host=None), 400),
        (asking() + b"\r\nHost: other", 400),
        (asking() + b"\r\nsec-websocket-key: " + KEY, 400),
        (asking() + b"\r\n folded: no", 400),
        (asking() + b"\r\nbad name: x", 400),
        (asking() + b"\r\nno colon", 400),
        (asking() + b"\r\nx: a\nb: c", 400),
        (asking() + b"\r\nx: \x00", 400),
        (asking() + b"\r\nx: y" * 200, 400),
        (asking(content_length="5"), 400),
        (asking(transfer_encoding="chunked"), 400),
        (asking(upgrade=None), 426),
        (asking(upgrade="h2c"), 426),
        (asking(connection=None), 426),
        (asking(connection="keep-alive"), 426),
        (asking(sec_websocket_version=None), 426),
        (asking(sec_websocket_version="8"), 426),
        (asking(sec_websocket_key=None), 400),
        (asking(sec_websocket_key="c2hvcnQ="), 400),
        (asking(sec_websocket_key="not base64, not at all!!"), 400),
        (asking(sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="), 400),
    ],
)
def test_refusals(head: bytes, status: int) -> None:
    """What is no good request gets a proper answer that closes."""
    assert status == refusal(head)[0]


def test_a_refused_version_tells_the_right_one() -> None:
    """426 says which version, or which protocol, is spoken here."""
    assert "Sec-WebSocket-Version: 13\r\n" in refusal(asking(sec_websocket_version="8"))[1]
    assert "Upgrade: websocket\r\n" in refusal(asking(upgrade=None))[1]


def test_the_path_is_checked_when_there_is_one() -> None:
    """With `path`, others are not found; the query does not matter."""
    config = WebSocketServerConfig(path="/msgtrans")
    assert isinstance(handshake.judge(asking("GET /msgtrans?token=x HTTP/1.1"), config), Accepted)
    status, rest = refusal(asking("GET /other HTTP/1.1"), config)
    assert status == 404
    assert "/msgtrans" in rest


def test_origins_are_checked_when_some_are_allowed() -> None:
    """Browsers of other origins are refused; clients without one are not browsers."""
    config = WebSocketServerConfig(allowed_origins=("https://Here.example",))
    for origin in (None, "https://here.example"):
        assert isinstance(handshake.judge(asking(origin=origin), config), Accepted)
    for origin in ("null", "http://here.example", "https://there.example"):
        assert refusal(asking(origin=origin), config)[0] == 403


def test_what_users_see_of_a_request() -> None:
    """Path, query and headers by lower-case name, repeated ones joined."""
    seen = handshake.http_request(asking() + b"\r\nX-Many: a\r\nx-many:  b ", "json")
    assert ("/any", "q=1", "json", "a, b") == (seen.path, seen.query, seen.subprotocol, seen.headers["x-many"])


@given(st.binary(max_size=200))
def test_a_server_survives_anything(data: bytes) -> None:
    """Whatever bytes a head has, there is an answer."""
    for head in (data, asking() + b"\r\n" + data):
        assert isinstance(handshake.judge(head, ANY), Accepted | Refused)


@given(st.binary(max_size=200))
def test_a_client_survives_anything(data: bytes) -> None:
    """Whatever bytes an answer has, it is good or a ConnectError."""
    for head in (data, answering() + b"\r\n" + data):
        with suppress(ConnectError):
            assert handshake.check_response(URI, head, RAW_KEY, ()) is None


def test_what_can_become_a_request() -> None:
    """Bytes that no HTTP request begins with are known at once."""
    for good in (b"G", b"GET", b"GET ", b"GET / HT", b"OPTIONS * "):
        assert handshake.can_be_request(good)
    for bad in (b"\x01", b"\x16\x03\x01", b"get / ", b"G\x00", b"SOMETHINGVERYLONGWITHOUTASPACE"):
        assert not handshake.can_be_request(bad)


def test_a_client_asks() -> None:
    """Exactly the headers of the standard, what is offered, and those of the config."""
    asked = handshake.request(parse_websocket_url("ws://host:81/p?q"), RAW_KEY, ("a", "b"), {"Authorization": "T"})
    expected = (
        b"GET /p?q HTTP/1.1\r\nHost: host:81\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Protocol: a, b\r\n"
        b"Authorization: T\r\n\r\n"
    )
    assert expected == asked
    assert b"Protocol" not in handshake.request(parse_websocket_url("wss://host"), RAW_KEY, (), {})
    assert isinstance(handshake.judge(asked[:-4], ANY), Accepted)


@pytest.mark.parametrize(
    ("changes", "offered", "chosen"),
    [
        ({}, (), None),
        ({}, ("msgtrans.v1",), None),
        ({"sec_websocket_protocol": "msgtrans.v1"}, ("json", "msgtrans.v1"), "msgtrans.v1"),
        ({"connection": "keep-alive, upgrade"}, (), None),
    ],
)
def test_good_answers(changes: dict[str, str], offered: tuple[str, ...], chosen: str | None) -> None:
    """A server may choose a subprotocol that was offered, or none."""
    assert chosen == handshake.check_response(URI, answering(**changes), RAW_KEY, offered)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"upgrade": None}, "without upgrading"),
        ({"connection": "close"}, "without upgrading"),
        ({"sec_websocket_accept": None}, "Accept"),
        ({"sec_websocket_accept": KEY.decode()}, "Accept"),
        ({"sec_websocket_extensions": "permessage-deflate"}, "extensions"),
        ({"sec_websocket_protocol": "json"}, "'json'"),
        ({"broken header": "x"}, "malformed"),
    ],
)
def test_bad_answers(changes: dict[str, str | None], says: str) -> None:
    """An answer that is not what was asked for is an error that names it and that retrying cannot help."""
    with pytest.raises(ConnectError, match=says) as caught:
        handshake.check_response(URI, answering(**changes), RAW_KEY, ("msgtrans.v1",))
    assert not caught.value.retriable


@pytest.mark.parametrize(
    ("status", "headers", "body", "retriable", "says"),
    [
        ("401 Unauthorized", {}, b"who are you?\nreally", False, "401 Unauthorized; who are you?"),
        ("404 Not Found", {}, b"", False, "404 Not Found"),
        ("429 Too Many Requests", {}, b"", True, "429"),
        ("503 Service Unavailable", {}, b"\x1b[31mfull", True, " [31mfull"),
        ("302 Found", {"location": "ws://there/"}, b"", False, "points to ws://there/"),
        ("500 Oops", {"transfer_encoding": "chunked"}, b"5\r\nhello", True, "500 Oops"),
    ],
)
def test_refused(status: str, headers: dict[str, str], body: bytes, retriable: bool, says: str) -> None:
    """A refusal tells the status and the first line of its body; only 5xx and 429 are worth another attempt."""
    error = handshake.refused(URI, answering(status, **headers), body)
    assert retriable == error.retriable
    assert says in str(error)
    assert "\x1b" not in str(error)
    assert "really" not in str(error)


def test_when_to_wait_for_a_body() -> None:
    """A client waits for the first line, for what is announced, and for no more than it looks at."""
    announced = answering("404 Not Found", content_length="5")
    assert handshake.wants_body(URI, announced, b"1234")
    assert not handshake.wants_body(URI, announced, b"12345")
    assert not handshake.wants_body(URI, announced, b"1\n")
    unknown = answering("404 Not Found")
    assert handshake.wants_body(URI, unknown, b"")
    assert not handshake.wants_body(URI, unknown, bytes(1024))
    assert not handshake.wants_body(URI, answering("404 Not Found", transfer_encoding="chunked"), b"")
