"""Requests per second and latency over WebSocket, client and server in a process each, beside a bare picows echo.

Both sides of msgtrans use its public API. The bare echo sends every message back from the callback of picows; its
client keeps a future per request, answered in order. Rounds alternate between the two; medians of the rounds are
printed.

    python benchmarks/msgtrans_websocket.py [--rounds 5] [--seconds 0.7] [--size 32] [--json]
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from peers.bare_picows import BareClient, BareServer
from picows import ws_connect, ws_create_server
from rounds import Contest, main

from msgtrans import Context, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KINDS = ("bare picows", "msgtrans")


async def serve(kind: str) -> None:
    """Serve until killed."""
    if kind == KINDS[0]:
        listener = await ws_create_server(lambda _: BareServer(), "127.0.0.1", 0)
        print(listener.sockets[0].getsockname()[1], flush=True)
        await listener.serve_forever()
    server = TransportServer(ws="127.0.0.1:0")

    @server.on_request
    def echo(context: Context) -> bytes:
        return context.payload

    await server.start()
    print(server.ws_address.port, flush=True)
    await server.serve_forever()


@asynccontextmanager
async def connect(ports: dict[str, int]) -> AsyncIterator[dict[str, Callable[[bytes], Awaitable[object]]]]:
    """A connection to each."""
    transport, bare = await ws_connect(BareClient, f"ws://127.0.0.1:{ports[KINDS[0]]}/")
    assert isinstance(bare, BareClient)
    async with TransportClient(f"ws://127.0.0.1:{ports[KINDS[1]]}/") as client:
        yield {KINDS[0]: bare.request, KINDS[1]: client.request}
    transport.disconnect()


if __name__ == "__main__":
    main(Contest("requests over WebSocket", __file__, KINDS, serve, connect), __doc__.partition("\n")[0])
