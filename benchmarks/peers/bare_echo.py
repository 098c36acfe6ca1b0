"""Nothing but uvloop: a 4-byte length, a future for each request, one write for each turn of the loop.

The least that Python can do with the promise that a request gets its answer; answers come in the order of requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from peers.program import MOST_IN_FLIGHT, Listening, Program, Request, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class BareServer(asyncio.Protocol):
    """Sends every frame back, one write per read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing read."""
        self.transport = cast("asyncio.Transport", transport)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer the whole frames."""
        data = self.rest + data
        at, answers = 0, []
        while (stop := at + 4 + int.from_bytes(data[at : at + 4], "big")) <= len(data) and len(data) - at >= 4:
            answers.append(data[at:stop])
            at = stop
        self.rest = data[at:]
        self.transport.write(b"".join(answers))


class BareClient(asyncio.Protocol):
    """A future for each request, answered in order."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing asked."""
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()
        self.rest = b""
        self.out: list[bytes] = []
        self.asked: deque[asyncio.Future[bytes]] = deque()

    def data_received(self, data: bytes) -> None:
        """Hand each whole frame to the one who asked."""
        data = self.rest + data
        at = 0
        while (stop := at + 4 + int.from_bytes(data[at : at + 4], "big")) <= len(data) and len(data) - at >= 4:
            self.asked.popleft().set_result(data[at + 4 : stop])
            at = stop
        self.rest = data[at:]

    def flush(self) -> None:
        """Write what this turn asked."""
        self.transport.write(b"".join(self.out))
        self.out.clear()

    def request(self, payload: bytes) -> asyncio.Future[bytes]:
        """Ask."""
        if not self.out:
            self.loop.call_soon(self.flush)
        self.out.append(len(payload).to_bytes(4, "big") + payload)
        future: asyncio.Future[bytes] = self.loop.create_future()
        self.asked.append(future)
        return future


@asynccontextmanager
async def serve() -> AsyncIterator[Listening]:
    """Echo."""
    listener = await asyncio.get_running_loop().create_server(BareServer, "127.0.0.1", 0)
    yield Listening(listener.sockets[0].getsockname()[1])
    listener.close()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[list[Request]]:
    """One connection."""
    _, bare = await asyncio.get_running_loop().create_connection(BareClient, "127.0.0.1", port)
    yield [bare.request] * MOST_IN_FLIGHT
    bare.transport.close()


if __name__ == "__main__":
    run(Program(serve, connect))
