"""A TCP proxy on this machine that can cut, delay and swallow what passes, for tests of clients."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class LinkProxy:
    """Passes connections on to `port`. uri: where it listens. accepted: connections so far.

    delay: seconds by which each piece is held up. swallowing: pieces vanish, in both directions, and nobody is told.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.uri = ""
        self.accepted = 0
        self.delay = 0.0
        self.swallowing = False
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> None:
        """Begin."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.uri = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def refuse(self) -> None:
        """Cut what is open, and what comes until `welcome`."""
        self._refusing = True  # closing the listener instead would leave hanging what asyncio is accepting just then
        self.cut()

    def welcome(self) -> None:
        """Pass connections on again."""
        self._refusing = False

    def cut(self) -> None:
        """Reset all connections, on both sides."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        """End, with all connections."""
        self.refuse()
        for _ in range(3):  # what asyncio is accepting just now arrives
            await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        self.cut()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        if self._refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        for source, target in ((reader, far_writer), (far_reader, writer)):
            pipe = asyncio.create_task(self._pipe(source, target))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not self.swallowing:
                    target.write(data)
            if target.can_write_eof() and not self.swallowing:
                target.write_eof()
        except OSError:
            target.transport.abort()


@asynccontextmanager
async def link_proxy(port: int) -> AsyncIterator[LinkProxy]:
    """A proxy that listens, as long as the block runs."""
    proxy = LinkProxy(port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
