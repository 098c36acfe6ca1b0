"""WebSocket on a connection that has carried HTTP before, as clients with a pool and proxies ask for it."""

import json
from collections.abc import Callable

import aiohttp
import pytest
from doors import Wire, get, instance, post

from artemis.server.app import NodeServer

_UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


def masked(text: str) -> bytes:
    """A text frame of a client, its mask being zero."""
    data = text.encode()
    assert len(data) < 126
    return bytes([0x81, 0x80 | len(data)]) + bytes(4) + data


async def switched(wire: Wire) -> None:
    """Expect the answer to an upgrade."""
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")


async def frame(wire: Wire) -> dict[str, object]:
    """The next short frame of the server, as JSON."""
    first, size = await wire.reader.readexactly(2)
    assert first == 0x81
    if size == 126:
        size = int.from_bytes(await wire.reader.readexactly(2), "big")
    decoded: dict[str, object] = json.loads(await wire.reader.readexactly(size))
    return decoded


@pytest.mark.parametrize("target", ["/api/status/node.json", "/health/ready", "/nowhere"])
async def test_a_kept_connection_becomes_a_websocket(server: NodeServer, wire: Wire, target: str) -> None:
    """Behind a request of the hot path, of the other one, and behind a 404; it counts as a WebSocket from then on."""
    await wire.send(get(target))
    await wire.answer()
    await wire.send(get("/ws", *_UPGRADE))
    await switched(wire)
    await wire.send(masked('{"type":"ping"}'))
    assert await frame(wire) == {"type": "pong"}
    assert (server.node.about.doors()["http"], server.node.about.doors()["websocket"]) == (0, 1)


async def test_what_is_pipelined_keeps_its_order(wire: Wire) -> None:
    """A registration, the upgrade and the first messages in one read: answers in that order."""
    body = json.dumps({"instances": [instance()]}).encode()
    subscribe = masked('{"type":"subscribe","service_id":"demo.orders","cursor":""}')
    await wire.send(post("/api/registry/register.json", body) + get("/ws", *_UPGRADE) + subscribe)
    assert (await wire.answer())[0] == 200
    await switched(wire)
    assert (await frame(wire))["type"] == "subscribed"
    pushed = await frame(wire)
    assert (pushed["type"], pushed["fullSync"]) == ("service_change", True)


async def test_an_unknown_endpoint_or_protocol_is_refused_as_on_a_new_connection(
    server: NodeServer, connect: Callable[..., object]
) -> None:
    """404 for a path without an endpoint; other protocols are not switched to."""
    wire: Wire = await connect(server)  # type: ignore[misc]
    await wire.send(get("/health/ready"))
    await wire.answer()
    await wire.send(get("/ws/nothing", *_UPGRADE))
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    assert b"and MsgTrans at /msgtrans." in await wire.reader.readexactly(length)
    other: Wire = await connect(server)  # type: ignore[misc]
    await other.send(get("/health/ready"))
    await other.answer()
    await other.send(get("/health/ready", "Connection: Upgrade", "Upgrade: h2c"))
    assert (await other.answer())[0] == 200


async def test_a_client_with_a_pool_can_use_one_session_for_both(server: NodeServer) -> None:
    """As aiohttp does, whose sockets come from the same pool as its requests."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/api/status/node.json") as answer:
            assert answer.status == 200
        async with session.ws_connect(f"{server.url}/ws") as socket:
            await socket.send_json({"type": "ping"})
            assert await socket.receive_json() == {"type": "pong"}
