"""Nothing but picows: every message is sent back from its callback, and a future waits for each request, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class BareServer(WSListener):
    """Sends every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer."""
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())


class BareClient(WSListener):
    """A future for each request, answered in order."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin with nothing asked."""
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.asked: deque[asyncio.Future[bytes]] = deque()

    def on_ws_frame(self, _: WSTransport, frame: WSFrame) -> None:
        """Hand the answer to the one who asked."""
        self.asked.popleft().set_result(frame.get_payload_as_bytes())

    def request(self, payload: bytes) -> asyncio.Future[bytes]:
        """Ask."""
        future: asyncio.Future[bytes] = self.loop.create_future()
        self.asked.append(future)
        self.transport.send(WSMsgType.BINARY, payload)
        return future


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    listener = await ws_create_server(lambda _: BareServer(), "127.0.0.1", 0)
    yield Listening(listener.sockets[0].getsockname()[1])
    listener.close()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """One connection."""
    transport, bare = await ws_connect(BareClient, f"ws://127.0.0.1:{port}/")
    assert isinstance(bare, BareClient)
    yield [bare.request] * MOST_IN_FLIGHT
    transport.disconnect()


if __name__ == "__main__":
    run(Program(serve, connect))
