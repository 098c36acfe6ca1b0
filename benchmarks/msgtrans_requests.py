"""Requests per second and latency over TCP, client and server in a process each, beside a bare uvloop echo.

Both sides of msgtrans use its public API. The bare echo frames with a 4-byte length, keeps a future per request and
writes once per turn of the loop: the least that Python can do with the same promise. Rounds alternate between the two;
medians of the rounds are printed.

    python benchmarks/msgtrans_requests.py [--rounds 5] [--seconds 0.7] [--size 32] [--json]
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from rounds import Contest, main

from msgtrans import Context, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KINDS = ("bare echo", "msgtrans")


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


async def serve(kind: str) -> None:
    """Serve until killed."""
    if kind == KINDS[0]:
        listener = await asyncio.get_running_loop().create_server(BareServer, "127.0.0.1", 0)
        print(listener.sockets[0].getsockname()[1], flush=True)
        await listener.serve_forever()
    server = TransportServer(tcp="127.0.0.1:0")

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    await server.start()
    print(server.tcp_address.port, flush=True)
    await server.serve_forever()


@asynccontextmanager
async def connect(ports: dict[str, int]) -> AsyncIterator[dict[str, Callable[[bytes], Awaitable[object]]]]:
    """A connection to each."""
    _, bare = await asyncio.get_running_loop().create_connection(BareClient, "127.0.0.1", ports[KINDS[0]])
    async with TransportClient(f"tcp://127.0.0.1:{ports[KINDS[1]]}") as client:
        yield {KINDS[0]: bare.request, KINDS[1]: client.request}
    bare.transport.close()


if __name__ == "__main__":
    main(Contest("requests over TCP", __file__, KINDS, serve, connect), __doc__.partition("\n")[0])
