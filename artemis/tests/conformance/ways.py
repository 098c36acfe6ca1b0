"""The ways an operation can be called: HTTP plain and as a Java client does it, WebSocket, MsgTrans in both formats."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from machines import Machine

from artemis.server.app import NodeServer
from artemis.server.operations import OPERATIONS
from artemis.testing.java import Deadlines, JavaSettings, WebSocket, jackson, open_websocket
from artemis.testing.java.http import chunked, post_head, read_answer
from msgtrans import TransportClient

WayT = TypeVar("WayT", bound="Way")


class Raw(NamedTuple):
    """A request that is no object: its JSON text, and the same value for MessagePack."""

    json: bytes
    value: object = None


class Answer(NamedTuple):
    """An HTTP answer: status, header fields in lower case, body unpacked."""

    status: int
    fields: dict[str, str]
    body: bytes

    def json(self) -> object:
        """The body, decoded."""
        return json.loads(self.body)


class Way(Protocol):
    """Calls operations, named by their path below the API prefix."""

    async def call(self, path: str, request: object) -> dict[str, object]:
        """The answer, decoded."""

    async def close(self) -> None:
        """End the connection."""


class Http:
    """A raw keep-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, api: str = "/api") -> None:
        self._reader, self._writer, self._api = reader, writer, api

    async def exchange(self, request: bytes) -> Answer:
        """Send a request, read its answer."""
        self._writer.write(request)
        buffer = bytearray()
        while (found := read_answer(buffer)) is None:
            data = await asyncio.wait_for(self._reader.read(65536), 30)
            assert data, f"closed after {bytes(buffer)!r}"
            buffer += data
        status, body, used, _ = found
        assert used == len(buffer)
        lines = bytes(buffer).partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return Answer(status, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body)

    async def call(self, path: str, request: object) -> dict[str, object]:
        """POST with a Content-Length."""
        body = _json(request)
        fields = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        answer = await self.exchange(f"POST {self._api}/{path} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body)
        return _object(answer)

    async def get(self, target: str, *fields: str, method: str = "GET") -> Answer:
        """A request without a body; `target` with its prefix."""
        return await self.exchange("\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *fields, "", ""]).encode())

    def same(self) -> "Http":
        """What answers from one process alone."""
        return self

    async def close(self) -> None:
        """Close and wait for it."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return


class Alternating:
    """Several ways to one machine, each to another worker: every call goes to the next."""

    PINNED = ("discovery/services.json", "discovery/services-delta.json", "leases.json")
    """Asked of the same worker each time: each has versions of its own, as nodes have, and hears of a heartbeat in its
    own millisecond."""

    def __init__(self, ways: list[Http]) -> None:
        self._ways = ways
        self._turn = 0

    def _next(self) -> Http:
        self._turn += 1
        return self._ways[self._turn % len(self._ways)]

    def same(self) -> Http:
        """What answers from one worker alone."""
        return self._ways[0]

    def _way(self, path: str) -> Http:
        return self._ways[0] if any(each in path for each in self.PINNED) else self._next()

    async def exchange(self, request: bytes) -> Answer:
        """As `Http.exchange`."""
        return await self._next().exchange(request)

    async def call(self, path: str, request: object) -> dict[str, object]:
        """As `Way.call`."""
        return await self._way(path).call(path, request)

    async def get(self, target: str, *fields: str, method: str = "GET") -> Answer:
        """As `Http.get`."""
        return await self._way(target).get(target, *fields, method=method)

    async def close(self) -> None:
        """Close all."""
        for way in self._ways:
            await way.close()


class JavaHttp(Http):
    """POSTs as the SDK sends them: packed, in chunks, headers twice."""

    async def call(self, path: str, request: object) -> dict[str, object]:
        """POST as Java does."""
        generation = 1 if self._api == "/api" else 2
        head = post_head(f"{self._api}/{path}", "x", generation=generation)
        return _object(await self.exchange(head + chunked(gzip.compress(_json(request), mtime=0))))


class Binary:
    """The operations over MsgTrans, in one format."""

    def __init__(self, client: TransportClient, name: str) -> None:
        self._client, self._name = client, name

    async def call(self, path: str, request: object) -> dict[str, object]:
        """Call the operation that has this path."""
        code = next((operation.code for operation in OPERATIONS if path in {operation.path, *operation.aliases}), None)
        if self._name == "json":
            payload = _json(request)
        else:
            payload = msgspec.msgpack.encode(request.value if isinstance(request, Raw) else request)
        header = f"format={self._name}".encode()
        assert code, path
        answer = await self._client.request(payload, biz_type=code, ext_header=header)
        packed = b"format=msgpack" in answer.ext_header.split(b";")
        decoded: dict[str, object] = (msgspec.msgpack.decode if packed else json.loads)(answer.payload)
        return decoded

    async def close(self) -> None:
        """Close the session."""
        await self._client.close()


class WebSocketHeartbeat:
    """Heartbeats over WebSocket, everything else over HTTP, as in Java."""

    PATH = "registry/heartbeat.json"

    def __init__(self, http: Http) -> None:
        self._http = http
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()
        self.websocket: WebSocket | None = None

    async def open(self, server: NodeServer | Machine, path: str) -> None:
        """Connect."""
        url = "ws" + server.url.removeprefix("http") + path
        settings = JavaSettings(handshake_timeout=20)
        self.websocket = await open_websocket(url, settings, Deadlines(), self._replies.put_nowait)

    async def call(self, path: str, request: object) -> dict[str, object]:
        """Send one message and read the one reply."""
        if path != self.PATH:
            return await self._http.call(path, request)
        assert self.websocket is not None
        self.websocket.send_text(_json(request))
        decoded: dict[str, object] = json.loads(await asyncio.wait_for(self._replies.get(), 30))
        return decoded

    async def close(self) -> None:
        """Close both."""
        if self.websocket is not None:
            self.websocket.close()
        await self._http.close()


async def http(server: NodeServer | Machine, *, api: str = "/api", kind: type[Http] = Http) -> Http:
    """A plain connection; with a machine one to each worker, which are used in turn."""
    if isinstance(server, Machine):
        return Alternating(await _to_each(server, lambda: _opened(server, api, kind)))  # type: ignore[return-value]
    return await _opened(server, api, kind)


async def _opened(server: NodeServer | Machine, api: str, kind: type[Http]) -> Http:
    return kind(*await asyncio.open_connection(*server.address), api=api)


async def _to_each(machine: Machine, connect: Callable[[], Awaitable[WayT]]) -> list[WayT]:
    async def named() -> tuple[str, WayT]:
        way = await connect()
        if isinstance(way, Binary):
            return str((await way.call("v1/status", {}))["nodeId"]), way
        answer = await way.get(f"{machine.prefix}/api/v1/status")  # type: ignore[attr-defined]
        return answer.json()["nodeId"], way

    return await machine.at_each(named, lambda way: way.close())


async def open_way(name: str, server: NodeServer | Machine) -> Way:
    """The way of this name, connected to a node; with a machine to each worker."""
    if name.startswith("msgtrans "):

        async def connect() -> Binary:
            host, port = server.address
            client = TransportClient(f"tcp://{host}:{port}")
            await client.connect()
            return Binary(client, name.removeprefix("msgtrans "))

        if isinstance(server, Machine):
            return Alternating(await _to_each(server, connect))  # type: ignore[arg-type]
        return await connect()
    if name == "http":
        return await http(server)
    if name.startswith("http java"):
        return await http(server, api="/api" if name == "http java 1" else "/artemis/api", kind=JavaHttp)
    way = WebSocketHeartbeat(await http(server))
    generation = JavaSettings(generation=1 if name == "websocket 1" else 2)
    try:
        await way.open(server, generation.websockets + "/registry/heartbeat")
    except BaseException:
        await way.close()
        raise
    return way


DOORS = ("http", "http java 1", "http java 2", "msgtrans json", "msgtrans msgpack")
WEBSOCKETS = ("websocket 1", "websocket 2")


def _json(request: object) -> bytes:
    return request.json if isinstance(request, Raw) else jackson(request)  # type: ignore[arg-type]


def _object(answer: Answer) -> dict[str, object]:
    assert 200 == answer.status, answer
    decoded = answer.json()
    assert isinstance(decoded, dict)
    return decoded
