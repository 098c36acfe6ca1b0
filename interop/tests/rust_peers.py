"""Programs made of the Rust crate, as servers and as clients, and configs of ours that suit them.

Not here: what is tested; what the programs do (`interop/peers/common/peer.rs`).
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgtrans import TransportClient, TransportServer
from msgtrans.config import (
    Pacing,
    QuicClientConfig,
    QuicServerConfig,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    WebSocketClientConfig,
    WebSocketServerConfig,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgtrans import CloseReason
    from msgtrans.config import PeerProfile

BUILT = Path(__file__).resolve().parents[2] / "build" / "interop"
LIMIT = 40.0  # seconds after which a wait has failed; the machine may be busy


class Peer(NamedTuple):
    """One build of the crate."""

    version: str
    transport: str
    compresses: bool = False

    @property
    def program(self) -> Path:
        return BUILT / f"peer-{self.version}{'-compression' if self.compresses else ''}"

    @property
    def legacy(self) -> bool:
        return self.version in ("1.0.0", "1.0.3")

    @property
    def largest(self) -> int:
        """Bytes of payload that this version takes on this transport (specification 1.5, 2.1, 8.1)."""
        if self.legacy:
            return {"tcp": 8192, "quic": 1 << 20, "ws": 4 << 20}[self.transport] - 16
        return 1 << 20 if self.version == "1.0.10" and self.transport == "tcp" else 4 << 20

    @property
    def window(self) -> int:
        """Requests that it may have in flight at once (specification 8.2)."""
        return 4 if self.legacy else 32

    @property
    def burst(self) -> int:
        """Messages that it may send without a pause (specification 8.2)."""
        return 8 if self.legacy and self.transport == "tcp" else 200

    @property
    def profile(self) -> PeerProfile:
        return "rust-1.0-legacy" if self.legacy else {"1.0.10": "rust-1.0", "2.0": "modern"}[self.version]

    def many(self, count: int) -> int:
        """`count`, or fewer where each takes a pause."""
        return min(count, 16) if self.pacing else count

    @property
    def pacing(self) -> dict[str, Pacing]:
        """Where two packets in one read lose the second: a pause in which even a busy machine lets it read."""
        return {"pacing": Pacing(min_gap=0.1)} if self.legacy and self.transport == "tcp" else {}

    def listener(self, **options: object) -> TcpServerConfig | WebSocketServerConfig | QuicServerConfig:
        """A listener of ours that such a client can talk to."""
        kinds = {"tcp": TcpServerConfig, "ws": WebSocketServerConfig, "quic": QuicServerConfig}
        options = {"bind_address": "127.0.0.1:0", "peer_profile": self.profile} | self.pacing | options
        return kinds[self.transport](**options)

    def target(self, port: int, **options: object) -> TcpClientConfig | WebSocketClientConfig | QuicClientConfig:
        """A connection of ours to such a server."""
        options = {"peer_profile": self.profile} | self.pacing | options
        if self.version == "1.0.3" and self.transport == "quic":  # the only legacy one with all packets on one stream
            options["mapping"] = "stream"
        if self.transport == "tcp":
            return TcpClientConfig(target_address=f"127.0.0.1:{port}", **options)
        if self.transport == "ws":
            return WebSocketClientConfig(target_url=f"ws://127.0.0.1:{port}/", **options)
        return QuicClientConfig(target_address=f"127.0.0.1:{port}", tls=TlsClientConfig(verify=False), **options)

    def server(self) -> TransportServer:
        """A server of ours that answers requests and sends messages back."""
        server = TransportServer(listen=[self.listener()])
        server.on_request(lambda context: context.payload)

        @server.on_message
        def echo(context):
            context.session.send_nowait(context.payload)

        return server


class Program:
    """A peer that runs, and the lines it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []

    async def line(self, event: str) -> dict[str, object]:
        """The next line about `event`; all others before it are kept in `lines`."""
        while True:
            try:
                said = await asyncio.wait_for(self.process.stdout.readline(), LIMIT)
            except TimeoutError:
                raise AssertionError(f"the peer does not say {event!r}: {self.lines}") from None
            assert said, f"the peer ended before it said {event!r}: {self.lines}"
            self.lines.append(json.loads(said))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]


@asynccontextmanager
async def running(peer: Peer, *arguments: str) -> AsyncIterator[Program]:
    """The program with these arguments; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(str(peer.program), *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def free_port(transport: str) -> int:
    """A port that nobody uses; the crate cannot say which one the system chose."""
    kind = socket.SOCK_DGRAM if transport == "quic" else socket.SOCK_STREAM
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def serving(peer: Peer) -> AsyncIterator[tuple[Program, int]]:
    """The program as a server; it listens a moment after it says so, so connecting is tried again."""
    port = free_port(peer.transport)
    async with running(peer, "serve", f"--{peer.transport}", f"127.0.0.1:{port}") as program:
        await program.line("serving")
        yield program, port


@asynccontextmanager
async def connected(peer: Peer, **options: object) -> AsyncIterator[tuple[Program, TransportClient]]:
    """The program as a server, and a client of ours that it has said it serves."""
    async with serving(peer) as (program, port):
        for _ in range(5):
            async with TransportClient(peer.target(port, **options)) as client:
                if await _taken(program, client):
                    yield program, client
                    return
        raise AssertionError("the peer drops each connection before it says that it has one")


async def _taken(program: Program, client: TransportClient) -> bool:
    """Whether it is a session there: 1.0.10 drops a handshake that is under way when it looks whether to stop."""
    opened = asyncio.ensure_future(program.line("opened"))
    ended = asyncio.ensure_future(client.session.wait_closed())
    await asyncio.wait((opened, ended), return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        await asyncio.wait((opened,), timeout=0.5)  # a session that has ended already may still be spoken of
    ended.cancel()
    if not opened.done():
        opened.cancel()
        return False
    await opened
    return True


async def drive(peer: Peer, server: TransportServer, scenario: str, **options: object) -> list[dict[str, object]]:
    """The program as a client that goes through a scenario; all lines it printed."""
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    uri = f"{peer.transport}://{server.addresses[0]}" + ("/" if peer.transport == "ws" else "")
    async with running(peer, "drive", uri, scenario, *flags) as program:
        await program.line("done")
        return program.lines


def told(lines: list[dict[str, object]], event: str) -> dict[str, object]:
    """The last line about `event`."""
    return next(line for line in reversed(lines) if line["event"] == event)


def ends(endpoint: TransportServer | TransportClient) -> asyncio.Queue[CloseReason]:
    """Why its sessions end, one after the other."""
    reasons: asyncio.Queue[CloseReason] = asyncio.Queue()

    @endpoint.on_disconnect
    def keep(session, reason):
        reasons.put_nowait(reason)

    return reasons
