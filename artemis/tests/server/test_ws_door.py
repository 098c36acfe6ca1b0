"""How WebSocket connections of a node begin and end: handshakes, paths, limits, pings, life times, shutdown."""

import asyncio
import itertools
import json

import aiohttp
import pytest
from doors import Wire, instance
from ws import ALL_CHANGES, CHANGES, CLOSE, HEARTBEAT, PING, PONG, TEXT, Dial, Start, frame, masked, until, upgrade

from artemis.server.app import NodeServer
from artemis.server.config import ServeConfig
from artemis.server.websocket.limits import WebSocketLimits
from artemis.server.websocket.sessions import SessionPolicy
from msgtrans import TransportClient

V2 = "/artemis/websocket"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (HEARTBEAT, "registry"),
        (CHANGES, "discovery"),
        (ALL_CHANGES, "discoveries"),
        (f"{V2}/registry/heartbeat", "registry"),
        (f"{V2}/discovery/instance-change", "discovery"),
        (f"{V2}/discovery/all-instance-change", "discoveries"),
        ("/ws", "native"),
        ("/ws?client=x", "native"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/artemis-service"])
async def test_every_endpoint_is_there_on_both_path_families_with_and_without_the_prefix(
    start: Start, dial: Dial, path: str, name: str, prefix: str
) -> None:
    """The session is counted under the endpoint's name (spec 3)."""
    async with start(path_prefix=prefix) as server:
        for number, target in enumerate({path, prefix + path}, start=1):
            await dial(server, target)
            assert number == server.websocket.sessions.counts()[name]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (upgrade("/nowhere"), 404),
        (upgrade("/ws/"), 404),
        (upgrade("/artemis-service/ws"), 404),
        (upgrade("/api/registry/heartbeat.json"), 404),
        (upgrade("/ws", version=8), 426),
        (upgrade("/ws", key="short"), 400),
        (upgrade("/ws").replace(b"Connection: keep-alive, Upgrade\r\n", b""), 426),
        (upgrade("/ws").replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (upgrade("/ws", "Content-Length: 4"), 400),
        (upgrade("/ws", "Bad Header: x"), 400),
        (upgrade("/ws", f"X: {'x' * 17_000}"), 431),
    ],
)
async def test_a_handshake_that_cannot_be_granted_is_refused_with_a_sentence(
    server: NodeServer, wire: Wire, request_bytes: bytes, status: int
) -> None:
    """It is counted by its status, and the connection ends."""
    await wire.send(request_bytes)
    answered, fields, body = await wire.answer()
    assert answered == status
    assert fields["connection"] == "close"
    assert body.endswith(b"\n")
    assert await wire.closed() == b""
    assert server.counters["websocket"] == {f"status_{status}": 1}


async def test_any_origin_is_welcome(server: NodeServer, dial: Dial) -> None:
    """As with the original (spec 3); no subprotocol and no extension is chosen that we do not speak."""
    offers = ("Origin: https://elsewhere.example", "Sec-WebSocket-Protocol: v12.stomp", "X-Forwarded-For: 1.2.3.4")
    socket = await dial(server, "/ws", *offers, "Sec-WebSocket-Extensions: permessage-deflate")
    assert "protocol" not in socket.head.lower().replace("switching protocols", "")
    assert "extensions" not in socket.head.lower()


async def test_frames_that_come_with_the_request_are_read(server: NodeServer, dial: Dial) -> None:
    """Also when they end inside a frame."""
    early = frame(TEXT, b'{"type":"ping"}') * 2 + frame(PING, b"now")
    socket = await dial(server, "/ws", early=early[:-3])
    assert [await socket.json() for _ in range(2)] == [{"type": "pong"}] * 2
    await socket.raw(early[-3:])
    assert await socket.frame() == (PONG, b"now")


@pytest.mark.parametrize(("path", "subprotocols"), [("/msgtrans", ()), ("/ws", ("msgtrans.v1",))])
async def test_msgtrans_speaks_over_websocket_too(server: NodeServer, path: str, subprotocols: tuple[str, ...]) -> None:
    """On a path of its own, or by subprotocol on any (design 4.2)."""
    from msgtrans.config import WebSocketClientConfig

    url = f"{server.url.replace('http', 'ws')}{path}"
    async with TransportClient(WebSocketClientConfig(target_url=url, subprotocols=subprotocols)) as client:
        answer = json.loads((await client.request(b"{}", biz_type=32)).payload)
    assert answer["nodeStatus"]["status"] == "up"


async def test_a_blacklisted_address_gets_403(start: Start, dial: Dial, connect: object) -> None:
    """By endpoint, compared with the TCP peer's address (spec 3.1)."""
    async with start(ws_blacklist_heartbeat="127.0.0.1") as server:
        wire = await connect(server)  # type: ignore[operator]
        await wire.send(upgrade(HEARTBEAT, "X-Forwarded-For: 9.9.9.9"))
        status, _, body = await wire.answer()
        assert status == 403
        assert b"127.0.0.1" in body
        await dial(server, CHANGES)
        assert server.websocket.events()["refused_blacklisted"] == 1


async def test_more_sessions_than_may_be_get_503(start: Start, dial: Dial, connect: object) -> None:
    """A session that ends makes room."""
    async with start(max_ws_sessions=1) as server:
        first = await dial(server, CHANGES)
        wire = await connect(server)  # type: ignore[operator]
        await wire.send(upgrade(HEARTBEAT))
        assert (await wire.answer())[0] == 503
        first.cut()
        await until(lambda: len(server.websocket.sessions) == 0)
        await dial(server, HEARTBEAT)


async def test_options_take_effect_while_the_node_runs(start: Start, dial: Dial, connect: object) -> None:
    """A new blacklist and a new limit count for the next handshake; open sessions stay."""
    async with start() as server:
        await dial(server, HEARTBEAT)
        config = ServeConfig(
            **{**server.config.model_dump(exclude_unset=True), "ws_blacklist_heartbeat": ["127.0.0.1"]}
        )
        assert server.reconfigure(config).changed == ("ws_blacklist_heartbeat",)
        wire = await connect(server)  # type: ignore[operator]
        await wire.send(upgrade(HEARTBEAT))
        assert (await wire.answer())[0] == 403
        assert server.websocket.sessions.counts()["registry"] == 1


async def test_a_session_that_has_lived_its_time_is_closed(server: NodeServer, dial: Dial) -> None:
    """With 1000 and a reason, whatever it is doing; clients connect again, perhaps elsewhere (spec 3.5)."""
    socket = await dial(server, HEARTBEAT)
    server.websocket.tick()
    assert server.websocket.closes == {}
    server.websocket.sessions.policy = SessionPolicy(ttl=-1000)
    server.websocket.tick()
    assert await socket.closing() == (1000, "the session has lived its time; connect again")
    await socket.raw(frame(TEXT, b"null") + frame(CLOSE, b"\x03\xe8"))
    assert await socket.ended() == b""
    await until(lambda: server.websocket.open_connections == 0)
    assert server.websocket.closes == {"expired": 1}


async def test_a_peer_that_does_not_answer_a_close_frame_is_cut(start: Start, dial: Dial) -> None:
    """It has a little time to do so."""
    async with start(websocket_limits=WebSocketLimits(close_timeout=0.0)) as server:
        socket = await dial(server, "/ws")
        server.websocket.sessions.policy = SessionPolicy(ttl=-1000)
        server.websocket.tick()
        assert (await socket.closing())[0] == 1000
        assert len(server.websocket.sessions) == 0

        def gone() -> bool:
            server.websocket.tick()
            return server.websocket.open_connections == 0

        await until(gone)
        assert await socket.ended() == b""


@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"", b""), (b"\x03\xe8", b"\x03\xe8"), (b"\x03\xe9bye", b"\x03\xe9"), (b"\x0f\xa0", b"\x0f\xa0")],
)
async def test_a_close_frame_is_answered_with_its_code(
    server: NodeServer, dial: Dial, sent: bytes, answered: bytes
) -> None:
    """Then the connection ends; messages before it are answered, those behind it are not."""
    socket = await dial(server, "/ws")
    ping = frame(TEXT, b'{"type":"ping"}')
    await socket.raw(ping + frame(CLOSE, sent) + ping)
    assert await socket.json() == {"type": "pong"}
    assert await socket.frame() == (CLOSE, answered)
    assert await socket.ended() == b""
    await until(lambda: server.websocket.open_connections == 0)
    assert server.websocket.closes == {"peer": 1}


async def test_many_goodbyes_are_answered_over_several_turns(
    server: NodeServer, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands that leave at once stall nobody; each is answered, also one that sends no more behind its goodbye."""
    monkeypatch.setattr("artemis.server.websocket.door._LEAVING", -1.0)  # one per turn
    sockets = [await dial(server, path) for path in (HEARTBEAT, CHANGES, ALL_CHANGES, "/ws") * 8]
    for socket in sockets:
        await socket.raw(frame(CLOSE, b"\x03\xe9"))
    answered = [0]
    while answered[-1] < len(sockets):
        await asyncio.sleep(0)
        answered.append(server.websocket.closes["peer"])
    assert max(after - before for before, after in itertools.pairwise(answered)) == 1
    last = await dial(server, "/ws")
    last.writer.write(frame(CLOSE, b"\x03\xe8"))
    last.writer.write_eof()
    assert await last.frame() == (CLOSE, b"\x03\xe8")
    assert [await socket.frame() for socket in sockets] == [(CLOSE, b"\x03\xe9")] * len(sockets)
    await until(lambda: server.websocket.open_connections == 0)
    assert server.websocket.closes == {"peer": len(sockets) + 1}


async def test_a_large_message_before_a_close_frame_is_answered_first(server: NodeServer, dial: Dial) -> None:
    """Work that takes several turns is finished before goodbye."""
    socket = await dial(server, HEARTBEAT)
    many = json.dumps({"instances": [instance(number) for number in range(2000)]}).encode()
    await socket.raw(frame(TEXT, many) + frame(CLOSE, b"\x03\xe8"))
    failed = 0
    while (received := await socket.frame())[0] == TEXT:
        failed += len(json.loads(received[1])["failedInstances"])
    assert received == (CLOSE, b"\x03\xe8")
    assert failed == 2000


@pytest.mark.parametrize("path", [HEARTBEAT, CHANGES, ALL_CHANGES, "/ws"])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(2, b"binary"), 1003),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(0, b"x"), 1002),
        (frame(TEXT, b"x", mask=b""), 1002),
        (b"\xff" * 20, 1002),
        (frame(CLOSE, (1006).to_bytes(2)), 1002),
        (frame(CLOSE, (5000).to_bytes(2)), 1002),
    ],
)
async def test_what_breaks_the_rules_is_closed_with_its_code(
    server: NodeServer, dial: Dial, path: str, data: bytes, code: int
) -> None:
    """The peer gets to read why, also when it goes on sending (spec 3.5)."""
    socket = await dial(server, path)
    await socket.raw(data + frame(TEXT, b"x" * 50_000))
    received, reason = await socket.closing()
    assert received == code
    assert reason
    assert await socket.ended() == b""
    socket.writer.close()
    await until(lambda: server.websocket.open_connections == 0)
    assert server.websocket.closes == {f"violation_{code}": 1}


@pytest.mark.parametrize("path", [CHANGES, ALL_CHANGES, "/ws"])
async def test_a_giant_message_to_an_endpoint_of_small_ones_is_closed_with_1009(
    server: NodeServer, dial: Dial, path: str
) -> None:
    """Only heartbeats are large."""
    socket = await dial(server, path)
    await socket.raw(frame(TEXT, b" " * (server.websocket.limits.subscription_size + 1)))
    assert (await socket.closing())[0] == 1009


async def test_only_the_last_of_many_pings_is_answered_to_a_peer_that_does_not_read(start: Start, dial: Dial) -> None:
    """Pongs do not pile up."""
    async with start(websocket_limits=WebSocketLimits(write_buffer=4096)) as server:
        socket = await dial(server, HEARTBEAT)
        socket.stop_reading()
        large = frame(TEXT, json.dumps({"instances": [instance(number) for number in range(200)]}).encode())

        def flooded() -> bool:
            # Not `raw`: it would wait until the node reads, which waits until we do.
            socket.writer.write(large)
            return bool(server.websocket.blocked)

        await until(flooded)
        socket.writer.write(b"".join(frame(PING, str(number).encode()) for number in range(1000)))
        socket.read_on()
        pongs = []
        while b"999" not in pongs:
            opcode, payload = await socket.frame()
            if opcode == PONG:
                pongs.append(payload)
        assert len(pongs) < 1000


async def test_a_silent_peer_is_pinged_and_given_up(start: Start, dial: Dial) -> None:
    """Whoever answers stays; whoever is gone without a word does not stay for ever."""
    limits = WebSocketLimits(ping_interval=0.05, pong_timeout=0.05)
    async with start(websocket_limits=limits) as server:
        dead, alive = await dial(server, CHANGES), await dial(server, CHANGES)
        pings = 0
        while len(server.websocket.sessions) == 2 or pings < 4:
            assert await alive.frame() == (PING, b"")
            await alive.raw(frame(PONG, b""))
            pings += 1
        assert server.websocket.closes == {"silent": 1}
        assert len(server.websocket.sessions) == 1
        assert b"\x89\x00" in await dead.ended()


async def test_half_a_message_has_a_deadline(start: Start, dial: Dial) -> None:
    """Fragments do not stay for ever, even if pings are sent between them."""
    async with start(websocket_limits=WebSocketLimits(message_deadline=0.0, close_timeout=0.2)) as server:
        socket = await dial(server, HEARTBEAT)
        await socket.raw(frame(TEXT, b"x", final=False) + frame(PING, b""))
        assert await socket.frame() == (PONG, b"")
        assert server.websocket.kept > 0
        await until(lambda: server.websocket.tick() or bool(server.websocket.closes))  # type: ignore[func-returns-value]
        assert await socket.closing() == (1008, "a message took too long to arrive")
        assert server.websocket.kept == 0


async def test_half_messages_of_all_connections_together_are_bounded(start: Start, dial: Dial) -> None:
    """The one that would go beyond is told to come later; the others stay."""
    async with start(websocket_limits=WebSocketLimits(kept=100_000, close_timeout=0.2)) as server:
        first, second = await dial(server, HEARTBEAT), await dial(server, HEARTBEAT)
        half = frame(TEXT, b"x" * 60_000, final=False)
        await first.raw(half)
        await until(lambda: server.websocket.kept > 60_000)
        await second.raw(half)
        assert (await second.closing())[0] == 1013
        await first.raw(frame(0, b"x"))
        assert b"bad-request" in await first.text()
        assert server.websocket.kept == 0


async def test_a_shutdown_says_goodbye_to_every_session(start: Start, dial: Dial) -> None:
    """With 1001, spread over a while, and new ones are refused."""
    limits = WebSocketLimits(drain=0.5, close_timeout=0.2)
    async with start(websocket_limits=limits) as server:
        sockets = [await dial(server, CHANGES) for _ in range(120)]
    codes = {await socket.closing() for socket in sockets}
    assert codes == {(1001, "this node is stopping; connect to another")}
    assert server.websocket.closes == {"drain": 120}
    assert server.websocket.open_connections == 0


async def test_numbers_are_in_metrics(server: NodeServer, dial: Dial, wire: Wire) -> None:
    """Sessions by endpoint, messages, and why sessions ended."""
    first = await dial(server, HEARTBEAT)
    await dial(server, CHANGES)
    await first.send(b"null")
    await first.text()
    await first.raw(frame(CLOSE, b""))
    await first.ended()
    await wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    lines = (await wire.answer())[2].decode().splitlines()
    assert 'artemis_websocket_sessions{endpoint="discovery"} 1.0' in lines
    assert 'artemis_websocket_sessions{endpoint="registry"} 0.0' in lines
    assert 'artemis_websocket_events_total{event="messages_in"} 1.0' in lines
    assert 'artemis_websocket_events_total{event="closed_peer"} 1.0' in lines
    assert 'artemis_requests_total{door="websocket",operation="registry.heartbeat"} 1.0' in lines
    assert 'artemis_open_connections{door="websocket"} 1.0' in lines
    assert "artemis_push_subscribers 1.0" in lines
    assert 'artemis_push_events_total{event="delivered"} 0.0' in lines


async def test_a_foreign_client_keeps_its_lease(server: NodeServer) -> None:
    """aiohttp knows nothing of us; it heartbeats, pings and closes."""
    url = f"{server.url.replace('http', 'ws')}{HEARTBEAT}"
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, heartbeat=5) as foreign:
            await foreign.send_json({"instances": [instance()]})
            failed = (await foreign.receive_json())["failedInstances"]
            again = {"instances": [each["instance"] for each in failed]}
            async with session.post(f"{server.url}/api/registry/register.json", json=again) as answer:
                assert (await answer.json())["responseStatus"]["status"] == "success"
            await foreign.ping(b"x")
            await foreign.send_json({"instances": [instance()]})
            assert (await foreign.receive_json())["responseStatus"]["status"] == "success"
        assert foreign.close_code == 1000


def test_masks_are_undone() -> None:
    """Of the helper: applying a mask twice changes nothing."""
    assert masked(masked(b"hello", b"abcd"), b"abcd") == b"hello"


async def test_the_work_of_many_connections_is_spread_over_turns(
    server: NodeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time in a turn of the loop is over, the others go on in the next one, each once in its turn."""
    monkeypatch.setattr("artemis.server.websocket.door._WORKING", -1.0)
    done: list[str] = []

    class Busy:
        def __init__(self, name: str, times: int) -> None:
            self.name, self.times = name, times

        def turn(self) -> None:
            done.append(self.name)
            self.times -= 1
            if self.times:
                server.websocket.work(self)  # type: ignore[arg-type]

    server.websocket.work(Busy("a", 2))  # type: ignore[arg-type]
    server.websocket.work(Busy("b", 1))  # type: ignore[arg-type]
    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append("".join(done))
    assert ["a", "ab", "aba", "aba"] == seen
