"""Requests per second and latency over TCP, client and server in a process each, beside a bare uvloop echo.

Both sides of msgtrans use its public API. The bare echo frames with a 4-byte length, keeps a future per request and
writes once per turn of the loop: the least that Python can do with the same promise. Rounds alternate between the two;
medians of the rounds are printed.

    python benchmarks/msgtrans_requests.py [--rounds 5] [--seconds 0.7] [--size 32] [--json]
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from peers.bare_echo import BareClient, BareServer
from rounds import Contest, main

from msgtrans import Context, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KINDS = ("bare echo", "msgtrans")


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
