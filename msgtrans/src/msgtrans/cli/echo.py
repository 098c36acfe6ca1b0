"""The echo server behind `msgtrans serve-echo`, also used by tests and benchmarks as a peer.

Not here: options of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from msgtrans.server import TransportServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgtrans.handlers import Context


def echo_server(tcp: str) -> TransportServer:
    """A server that answers a request with its payload, and sends a one-way message back one-way."""
    server = TransportServer(tcp=tcp)

    @server.on_request
    def answer(context: Context) -> bytes:
        return context.payload

    @server.on_message
    def send_back(context: Context) -> Awaitable[int] | None:
        session = context.session
        if session.congested:
            return session.send(context.payload, biz_type=context.biz_type)
        session.send_nowait(context.payload, biz_type=context.biz_type)
        return None

    return server


async def serve_echo(tcp: str, ready: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully. `ready` is told "listening tcp://HOST:PORT" first."""
    server = echo_server(tcp)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: the default handlers interrupt
            loop.add_signal_handler(number, stop.set)
    async with server:
        ready(f"listening tcp://{server.tcp_address}")
        await stop.wait()
