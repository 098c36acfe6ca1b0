"""What stands between a client and a node in tests: a connection that can be cut or held, and a node that is Java's."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

V1 = ("/api/registry/", "/api/discovery/", "/api/cluster/", "/api/status/", "/ws/discovery/instance-change")
V2 = (
    "/artemis/api/registry/",
    "/artemis/api/discovery/",
    "/artemis/api/cluster/",
    "/artemis/api/status/",
    "/artemis/websocket/discovery/instance-change",
)
HTTP_ALONE = ("/api/",)
JAVA_HTTP_ALONE = V1[:-1]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is a state
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def listening(
    handle: Handle, context: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", at: int = 0
) -> AsyncIterator[str]:
    """Serve with ``handle`` at a port, 0: a free one; the value is host:port. Open connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError, ssl.SSLError):
                await handle(reader, writer)
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(run, host, at, ssl=context)
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for _ in range(3):
            await asyncio.sleep(0)  # those that were accepted begin
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class Wire:
    """Connections to a node that can be cut, and held so that nothing passes."""

    def __init__(self, port: int) -> None:
        self.url = ""
        self.accepted = 0
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open) // 2

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._open:
            writer.transport.abort()

    def hold(self) -> None:
        """Let nothing pass, in either direction, until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Let what was held pass."""
        self._flowing.set()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, back}
        self._open |= ends
        pumps = [asyncio.ensure_future(self._pump(reader, back)), asyncio.ensure_future(self._pump(there, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.transport.abort()
            self._open -= ends
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def wired(
    port: int, context: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", at: int = 0
) -> AsyncIterator[Wire]:
    """Stand before the node at ``port``, inside TLS with ``context``; at the port ``at``, or a free one."""
    wire = Wire(port)
    async with listening(wire.pass_on, context, host=host, at=at) as address:
        wire.url = f"{'https' if context else 'http'}://{address}"
        yield wire


class Shaped:
    """A node of which only some paths are there, as of a Java node: no MsgTrans, and HTTP 404 for the rest."""

    def __init__(self, url: str, paths: tuple[str, ...]) -> None:
        self.url = ""
        self.paths = paths
        self.asked: list[str] = []
        self.websockets: set[web.WebSocketResponse] = set()
        self._url = url

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, or have nothing there."""
        self.asked.append(request.path)
        if not request.path.startswith(self.paths):
            return web.Response(status=404)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._bridge(request)
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, f"{self._url}{request.raw_path}", data=await request.read(), headers=request.headers
            ) as answer,
        ):
            fields = {
                name: value for name, value in answer.headers.items() if name.startswith(("Artemis", "Content-T"))
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=fields)

    async def _bridge(self, request: web.Request) -> web.StreamResponse:
        near = web.WebSocketResponse(autoping=False)
        await near.prepare(request)
        self.websockets.add(near)
        target = f"{self._url}{request.path}"
        async with ClientSession() as session, session.ws_connect(target, autoping=False) as far:
            pump = asyncio.ensure_future(_relay(far, near))
            try:
                await _relay(near, far)
            finally:
                self.websockets.discard(near)
                pump.cancel()
                await asyncio.wait([pump])
        return near


async def _relay(
    origin: web.WebSocketResponse | ClientWebSocketResponse, target: web.WebSocketResponse | ClientWebSocketResponse
) -> None:
    """Pass messages, pings and pongs on, in their order."""
    async for message in origin:
        match message.type:
            case WSMsgType.TEXT:
                await target.send_str(message.data)
            case WSMsgType.BINARY:
                await target.send_bytes(message.data)
            case WSMsgType.PING:
                await target.ping(message.data)
            case WSMsgType.PONG:
                await target.pong(message.data)


@contextlib.asynccontextmanager
async def shaped(url: str, paths: tuple[str, ...]) -> AsyncIterator[Shaped]:
    """Stand before the node at ``url`` and let ``paths`` through."""
    one = Shaped(url, paths)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        await runner.cleanup()
