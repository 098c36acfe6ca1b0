"""A WebSocket to a node that reads message by message, as the SDK's connection delivers them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from artemis.server.app import NodeServer
from artemis.testing.java import Deadlines, JavaSettings, WebSocket, jackson, open_websocket


class Listener:
    """One connection; messages wait until they are read."""

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.websocket: WebSocket
        self.lost = asyncio.Event()

    def send(self, value: object) -> None:
        """Send an object as Jackson writes it, bytes as they are."""
        self.websocket.send_text(value if isinstance(value, bytes) else jackson(value))  # type: ignore[arg-type]

    async def message(self) -> bytes:
        """The next message."""
        return await asyncio.wait_for(self.messages.get(), 30)

    async def ping(self) -> None:
        """Ping and wait for the pong: what was sent before has been read by then."""
        answered = asyncio.Event()
        self.websocket.on_pong = answered.set
        self.websocket.ping(lambda: None)
        await asyncio.wait_for(answered.wait(), 30)


@asynccontextmanager
async def listen(server: NodeServer, path: str, generation: int = 1) -> AsyncIterator[Listener]:
    """Connect to an endpoint; `path` below ``/ws`` or ``/artemis/websocket``."""
    settings = JavaSettings(generation=generation, handshake_timeout=20, ping_timeout=20)
    listener = Listener()
    url = "ws" + server.url.removeprefix("http") + settings.websockets + path
    listener.websocket = await open_websocket(url, settings, listener.deadlines, listener.messages.put_nowait)
    listener.websocket.on_lost = listener.lost.set
    try:
        yield listener
    finally:
        listener.websocket.close()
