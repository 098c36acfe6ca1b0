"""Operations of operators: open on loopback, refused beyond it without a token, else with the right token only."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog
from doors import Wire, get, post

from artemis.model import NodeStatusRequest, NodeStatusResponse, encode, encode_msgpack
from artemis.server.admin import AdminGuard, AdminTokenError, admin_guard, is_loopback, read_token
from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.http.answer import CORS_FIELDS
from artemis.server.http.head import parse_head
from artemis.server.http.routes import Routes
from artemis.server.operations import Operation

SWITCH = Operation(
    code=4000,
    name="test.switch",
    path="test/switch.json",
    request_type=NodeStatusRequest,
    response_type=NodeStatusResponse,
    call=lambda node, request, now: NodeStatusResponse(),  # noqa: ARG005
    encode_json=encode,
    encode_msgpack=encode_msgpack,
    from_query=lambda query: NodeStatusRequest(),  # noqa: ARG005
    admin=True,
)
PATH = "/api/test/switch.json"
TOKEN = b"open-sesame-123"


def refused(guard: AdminGuard, *fields: str, method: str = "POST") -> tuple[int, dict[bytes, bytes]] | None:
    """Status and fields of what the routes answer before the operation, None when they let it pass."""
    request = get(PATH, *fields, method=method) if method != "POST" else post(PATH, b"", *fields)
    answer = Routes((SWITCH,), guard=guard).refuse(SWITCH, parse_head(request), 1000)
    if answer is None:
        return None
    assert not answer.cors
    return answer.status, dict(answer.fields)


def test_a_node_on_loopback_without_a_token_is_open() -> None:
    """Whoever reaches a node that listens on loopback only may do what operators do."""
    assert refused(AdminGuard()) is None
    assert refused(AdminGuard(), method="GET") is None


def test_a_reachable_node_without_a_token_refuses_and_says_what_to_do() -> None:
    """403: no token can help as long as the node has none."""
    guard = AdminGuard(reachable=True)
    assert refused(guard) == (403, {})
    assert refused(guard, "Authorization: Bearer x") == (403, {})
    denial = guard.judge(b"")
    assert denial is not None
    assert "--admin-token-file" in denial.text


@pytest.mark.parametrize("reachable", [False, True])
@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        (["Authorization: Bearer open-sesame-123"], True),
        (["authorization:   bearer   open-sesame-123  "], True),
        ([], False),
        (["Authorization: Bearer open-sesame-124"], False),
        (["Authorization: Bearer open-sesame-1234"], False),
        (["Authorization: Basic open-sesame-123"], False),
        (["Authorization: open-sesame-123"], False),
        (["Authorization: Bearer"], False),
        (["Authorization: Bearer \xff"], False),
    ],
)
def test_with_a_token_only_the_right_one_passes(*, fields: list[str], passes: bool, reachable: bool) -> None:
    """401 with a challenge for everything else, on loopback too: whoever sets a token wants it asked for."""
    expected = None if passes else (401, {b"WWW-Authenticate": b'Bearer realm="artemis"'})
    assert refused(AdminGuard(TOKEN, reachable=reachable), *fields) == expected


def test_pages_of_other_sites_cannot_do_what_operators_do() -> None:
    """A browser says whose page asks; only a page of the node itself passes, by a loopback address while it is open."""
    guard = AdminGuard()
    assert refused(guard, "Origin: http://evil.example") == (403, {})
    assert refused(guard, "Origin: null") == (403, {})
    assert refused(guard, "Origin: http://x") == (403, {})  # x leads here, but is no loopback address
    assert refused(guard, "Origin: http://[x") == (403, {})
    assert refused(AdminGuard(TOKEN), "Origin: http://x", "Authorization: Bearer open-sesame-123") is None
    request = post(PATH, b"", "Origin: http://127.0.0.1:80").replace(b"Host: x", b"Host: 127.0.0.1:80")
    assert Routes((SWITCH,), guard=guard).refuse(SWITCH, parse_head(request), 1000) is None


def test_a_preflight_of_another_site_is_refused() -> None:
    """No page of another site is told that it may send an operator's request."""
    fields = ("Origin: http://evil.example", "Access-Control-Request-Method: POST")
    assert refused(AdminGuard(TOKEN), *fields, method="OPTIONS") == (403, {})


def test_an_option_request_without_a_page_needs_no_token() -> None:
    """OPTIONS tells the methods and nothing else."""
    status, fields = refused(AdminGuard(TOKEN), method="OPTIONS") or (0, {})
    assert status == 200
    assert not set(fields) & {name for name, _ in CORS_FIELDS}


def test_other_methods_are_refused_first() -> None:
    """A method that the path does not have is 405 whoever asks."""
    assert (refused(AdminGuard(TOKEN), method="DELETE") or (0, {}))[0] == 405


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("node.example", False),
        ("localhost.example", False),
    ],
)
def test_only_loopback_addresses_are_loopback(*, host: str, expected: bool) -> None:
    """A name other than localhost may lead anywhere, so it does not count."""
    assert is_loopback(host) == expected
    assert admin_guard(host, None).open == expected


def test_the_first_line_of_the_file_is_the_token(tmp_path: Path) -> None:
    """Blanks around it and further lines do not belong to it."""
    file = tmp_path / "token"
    file.write_bytes(b"  open-sesame-123 \r\nanother\n")
    assert read_token(file) == TOKEN


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "empty"), (b"\nx", "empty"), (b"a b", "ASCII"), (b"a;b", "ASCII"), (b"\xff", "ASCII")]
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """The text names the file and what is wrong with it."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(AdminTokenError, match=said):
        read_token(file)


async def test_a_node_does_not_start_without_its_token_file(tmp_path: Path) -> None:
    """A node whose token cannot be read would be open or useless, so it does not listen at all."""
    config = ServeConfig(port=0, admin_token_file=tmp_path / "missing")
    with pytest.raises(AdminTokenError, match="cannot read"):
        await NodeServer(config, structlog.get_logger()).start()


async def test_a_token_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    """Mounted secrets are often readable by all, so the node starts; the log says what to do."""
    file = tmp_path / "token"
    file.write_text("open-sesame-123")
    for mode, warnings in ((0o644, 1), (0o600, 0)):
        file.chmod(mode)
        with structlog.testing.capture_logs() as logs:
            server = NodeServer(ServeConfig(port=0, admin_token_file=file), structlog.get_logger())
            await server.start()
            await server.stop()
        assert Counter(line["event"] for line in logs)["admin token readable by others"] == warnings


SWITCHING = "/api/v1/self-preservation/switch"


async def test_a_node_asks_for_its_token(start: Callable, connect: Callable, tmp_path: Path) -> None:
    """401 without the token, the operation with it, and neither can be read by pages of other sites."""
    file = tmp_path / "token"
    file.write_bytes(TOKEN)
    file.chmod(0o600)
    async with start(admin_token_file=file) as server:
        wire: Wire = await connect(server)
        for fields, expected in (((), 401), (("Authorization: Bearer open-sesame-123",), 200)):
            await wire.send(post(SWITCHING, b'{"enabled":true}', *fields))
            status, found, body = await wire.answer()
            assert status == expected, body
            assert ("www-authenticate" in found) == (expected == 401)
            assert "access-control-allow-origin" not in found
        await wire.send(get("/api/status/node.json"))
        assert (await wire.answer())[1]["access-control-allow-origin"] == "*"


async def test_operations_for_operators_are_open_on_loopback(wire: Wire) -> None:
    """Without a token a node on loopback does what it is asked on both path families, except by pages of others."""
    for path in (SWITCHING, "/artemis" + SWITCHING):
        await wire.send(post(path, b'{"enabled":true}'))
        assert (await wire.answer())[0] == 200
    await wire.send(post(SWITCHING, b"{}", "Origin: http://evil.example"))
    status, found, _ = await wire.answer()
    assert (status, "access-control-allow-origin" in found) == (403, False)


OUT = {
    "instanceKey": {"regionId": "r1", "serviceId": "demo.orders", "instanceId": "10.0.0.7"},
    "operation": "out",
    "operatorId": "alice",
}
SERVER_OUT = {"serverKey": {"regionId": "r1", "serverId": "10.0.0.7"}, "operation": "out", "operatorId": "alice"}
OPERATE = [("operate-instance", OUT), ("operate-server", SERVER_OUT)]


@pytest.fixture
async def guarded(start: Callable, tmp_path: Path) -> AsyncIterator[NodeServer]:
    """A node that asks for a token."""
    file = tmp_path / "token"
    file.write_bytes(TOKEN)
    file.chmod(0o600)
    async with start(admin_token_file=file) as server:
        yield server


@pytest.mark.parametrize(("name", "body"), OPERATE)
async def test_java_tools_send_the_token_in_the_body(
    guarded: NodeServer, connect: Callable, name: str, body: dict[str, object]
) -> None:
    """The token within the request is as good as one in the head; without it the answer is a 200 that says what to do.

    HTTP 401 means a dead node to clients of the originals.
    """
    wire: Wire = await connect(guarded)
    path = f"/api/management/{name}.json"
    for token, fields, expected in (
        (None, (), "no-permission"),
        ("", (), "no-permission"),
        ("open-sesame-124", (), "no-permission"),
        ("\ud800", (), "no-permission"),
        (None, ("Authorization: Bearer wrong",), "no-permission"),
        ("open-sesame-123", (), "success"),
        ("open-sesame-123", ("Authorization: Bearer wrong",), "success"),
        ("ticket 4711", ("Authorization: Bearer open-sesame-123",), "success"),
    ):
        answer = await wire.post(path, body | {"token": token}, *fields)
        status = answer["responseStatus"]
        assert status["errorCode"] == expected, token
        assert expected == "success" or "--admin-token-file" in status["message"]
    assert guarded.counters["http"]["denied"] == 5
    await wire.send(post(path, json.dumps(body).encode(), "Origin: http://evil.example"))
    assert (await wire.answer())[0] == 403


async def test_a_reachable_node_without_a_token_refuses_in_a_200(
    start: Callable, connect: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the request carries, and the sentence says what the operator of the node must do."""
    monkeypatch.setattr("artemis.server.app.admin_guard", lambda *_: AdminGuard(reachable=True))
    async with start() as server:
        wire: Wire = await connect(server)
        for name, body in OPERATE:
            status = (await wire.post(f"/api/management/{name}.json", body | {"token": "x"}))["responseStatus"]
            assert (status["status"], status["errorCode"]) == ("fail", "no-permission")
            assert "without an admin token" in status["message"]


async def test_the_token_is_in_no_record(start: Callable, connect: Callable, tmp_path: Path) -> None:
    """A token that came in a request is neither shown nor saved; a note in its place is saved as in the originals."""
    file = tmp_path / "token"
    file.write_bytes(TOKEN)
    file.chmod(0o600)
    data = tmp_path / "data"
    data.mkdir()
    async with start(admin_token_file=file, data_dir=data) as server:
        wire: Wire = await connect(server)
        for name, body in OPERATE:
            await wire.post(f"/api/management/{name}.json", body | {"token": TOKEN.decode()})
        note = {"operation": "other", "token": "ticket-4711"}
        await wire.post("/api/management/operate-instance.json", OUT | note, f"Authorization: Bearer {TOKEN.decode()}")
        await wire.send(get("/api/management/all-instance-operations.json"))
        assert TOKEN not in (await wire.answer())[2]
    saved = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert TOKEN not in saved
    assert b"ticket-4711" in saved
