"""A proxy on this machine that cuts the connections it carries, at random moments, in one of several ways.

Not here: who connects through it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter

RESET = struct.pack("ii", 1, 0)
READ = 1 << 16


class CuttingLink:
    """Passes connections on to `port`, and cuts each after a time drawn around `lifetime` seconds.

    port: where it listens. cuts: how many, by the way. A cut closes both sides in an orderly way, resets both, goes
    silent for a second before that, or ends in the middle of what the server or the client was sending.
    Belongs to the loop it was started on.
    """

    def __init__(self, target: int, lifetime: float, chance: random.Random) -> None:
        self.target = target
        self.port = 0
        self.cuts: Counter[str] = Counter()
        self._lifetime = lifetime
        self._chance = chance
        self._server: asyncio.Server | None = None
        self._carried: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Begin."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End, with all connections."""
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)
        for task in list(self._carried):
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carried.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._carried.discard(task)
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        try:
            await self._carry((reader, writer), (far_reader, far_writer))
        except asyncio.CancelledError:  # by `close`; nobody awaits what asyncio has started
            self.cuts["closed"] += 1
        finally:
            self._carried.discard(task)
            writer.transport.abort()
            far_writer.transport.abort()

    async def _carry(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        pipes = [
            asyncio.ensure_future(_pipe(near[0], far[1])),
            asyncio.ensure_future(_pipe(far[0], near[1])),
        ]
        try:
            await asyncio.wait(pipes, timeout=self._chance.expovariate(1 / self._lifetime))
            if all(pipe.done() for pipe in pipes):
                self.cuts["ended by its peers"] += 1
                return
            how = self._chance.choice(("close", "reset", "silent", "half"))
            self.cuts[how] += 1
            if how == "silent":
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.sleep(1.0)
            elif how == "half":
                pipes[self._chance.randrange(2)].cancel()
                await asyncio.sleep(0.3)
            if how != "close":
                _reset(near[1])
                _reset(far[1])
            else:
                near[1].close()
                far[1].close()
        finally:
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(READ):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except OSError:
        target.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
