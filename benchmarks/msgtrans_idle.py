"""Memory of idle connections: what one session costs a server, and what a bare asyncio protocol costs.

Opens CONNECTIONS connections from this process to a server in another, waits until all are accepted (over WebSocket:
upgraded), and divides the growth of the server's resident memory. Once with a bare protocol on TCP, and once for each
transport with a TransportServer.

    python benchmarks/msgtrans_idle.py [--connections 10000] [--transport tcp|ws] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from msgtrans import TransportServer
from msgtrans.config import TcpServerConfig, WebSocketServerConfig

BARE = "bare protocol"
KINDS = {"tcp": "msgtrans session", "ws": "msgtrans session, WebSocket"}
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Bare(asyncio.Protocol):
    """The least a server can keep of a connection."""

    __slots__ = ("transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, as every protocol that answers must."""
        self.transport = transport
        connected.append(self)


connected: list[Bare] = []


async def serve(kind: str, connections: int) -> None:
    """Tell the port; when all are connected, tell bytes per connection."""
    config = WebSocketServerConfig if kind == KINDS["ws"] else TcpServerConfig
    own = config(bind_address="127.0.0.1:0", max_connections=connections)
    server = TransportServer(listen=[own], max_connections=connections)
    if kind == BARE:
        listener = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0, backlog=1024)
        port = listener.sockets[0].getsockname()[1]
    else:
        await server.start()
        port = server.addresses[0].port
    gc.collect()
    before = resident()
    print(port, flush=True)
    while len(connected) + len(server.sessions) < connections:  # noqa: ASYNC110 - of two kinds of servers
        await asyncio.sleep(0.05)
    gc.collect()
    print((resident() - before) / connections, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


def measure(kind: str, connections: int) -> float:
    """Bytes of server memory for each of `connections`."""
    command = [sys.executable, __file__, "--serve", kind, "--connections", str(connections)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        ExitStack() as all_of,
    ):
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for _ in range(connections):
            connection = all_of.enter_context(socket.create_connection(("127.0.0.1", port)))
            if kind == KINDS["ws"]:
                connection.sendall(UPGRADE)
        return float(process.stdout.readline())


def main() -> None:
    """Measure both kinds, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--transport", choices=KINDS, help="only this one")
    parser.add_argument("--serve", choices=[BARE, *KINDS.values()], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if arguments.serve:
        import uvloop

        uvloop.run(serve(arguments.serve, arguments.connections))
        return
    kinds = [KINDS[arguments.transport]] if arguments.transport else list(KINDS.values())
    found = {kind: measure(kind, arguments.connections) for kind in (BARE, *kinds)}
    if arguments.json:
        print(json.dumps({"connections": arguments.connections, "bytes_per_connection": found}))
        return
    print(f"{arguments.connections:,} idle connections, uvloop")
    for kind, size in found.items():
        print(f"{kind:27} {size / 1024:6.2f} KiB each")


if __name__ == "__main__":
    main()
