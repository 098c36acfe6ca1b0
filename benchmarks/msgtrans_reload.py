"""What clients notice of a rolling reload: connections that fail (none may), how long connecting takes, who moves.

Some clients stay and take a new connection when they lose theirs; others connect, ask and leave, without end. They do
that for a while in which nothing happens, then through some reloads. Exit code 1 when a connection is refused or reset,
or a client moves more than once in a reload.

    python benchmarks/msgtrans_reload.py [--reloads 5] [--workers 2] [--staying 200] [--coming 8] [--shared]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import subprocess
import sys
import time
from contextlib import suppress
from statistics import median
from typing import NamedTuple

import uvloop

from msgtrans import ConnectError, SessionClosedError, TcpClientConfig, TransportClient, TransportServer, WorkersConfig
from msgtrans.config import NO_RETRY
from msgtrans.events import CloseReason

DONE = "the rolling reload is done"


class Found(NamedTuple):
    """What clients saw in one phase. took: seconds from before connecting until the first answer, sorted."""

    name: str
    seconds: float
    took: list[float]
    cut: int  # connections that an old worker accepted and closed before it answered
    failed: int

    def told(self) -> dict[str, float | str]:
        """As figures."""
        return {
            "phase": self.name,
            "connects": len(self.took),
            "per_second": len(self.took) / self.seconds,
            "median_ms": median(self.took) * 1000,
            "p99_ms": self.took[int(len(self.took) * 0.99)] * 1000,
            "most_ms": self.took[-1] * 1000,
            "cut": self.cut,
            "failed": self.failed,
        }


class Visitors:
    """All clients of one server."""

    def __init__(self, uri: str) -> None:
        self._config = TcpClientConfig(target_address=uri, retry_config=NO_RETRY)
        self._took: list[float] = []
        self._cut = self._failed = 0
        self.connections: list[int] = []  # of each client that stays
        self._held = 0  # by these, now
        self._changed = asyncio.Event()

    async def stay(self) -> None:
        """Keep a connection, whatever it takes."""
        number = len(self.connections)
        self.connections.append(0)
        while True:
            await self._visit(number)

    async def come_and_go(self) -> None:
        """Connect, ask, leave, again and again."""
        while True:
            await self._visit(None)

    async def _visit(self, staying: int | None) -> None:
        reasons: list[CloseReason] = []
        client = TransportClient(self._config)
        client.on_disconnect(lambda _, reason: reasons.append(reason))
        began = time.perf_counter()
        try:
            await client.connect()
            if staying is not None:
                self.connections[staying] += 1
            await client.request(b"")
            self._took.append(time.perf_counter() - began)
            if staying is not None:
                self._held += 1
                self._changed.set()
                await client.session.wait_closed()
                self._held -= 1
        except ConnectError:
            self._failed += 1
        except SessionClosedError:
            self._cut += 1
        finally:
            with suppress(SessionClosedError):
                await client.close()
        self._failed += any(reason is not CloseReason.NORMAL for reason in reasons)

    async def settled(self) -> None:
        """Wait until all that stay have a connection."""
        while self._held < len(self.connections) or not self.connections:
            self._changed.clear()
            await self._changed.wait()

    def take(self, name: str, seconds: float) -> Found:
        """What was seen since the last time."""
        found = Found(name, seconds, sorted(self._took), self._cut, self._failed)
        self._took, self._cut, self._failed = [], 0, 0
        return found


def serve(workers: int, *, shared: bool) -> None:
    """Serve until told to stop, and tell of reloads on stdout."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    server = TransportServer(tcp="127.0.0.1:0", workers=WorkersConfig(count=workers, reuse_port=not shared))
    server.on_request(lambda context: context.payload)
    server.run(ready=lambda uris: print("listening", uris[0], flush=True))


def until(server: subprocess.Popen[str], word: str) -> str:
    """The next line of the server that has this in it."""
    assert server.stdout is not None
    for line in server.stdout:
        if word in line:
            return line.rpartition(" ")[2].strip()
    raise RuntimeError(f"the server ended before it said {word!r}")


async def measure(server: subprocess.Popen[str], uri: str, arguments: argparse.Namespace) -> tuple[list[Found], int]:
    """What was seen without and during reloads, and the most moves of one client in one reload."""
    visitors = Visitors(uri)
    tasks = [asyncio.ensure_future(visitors.stay()) for _ in range(arguments.staying)]
    async with asyncio.timeout(30):
        await visitors.settled()
    tasks += [asyncio.ensure_future(visitors.come_and_go()) for _ in range(arguments.coming)]
    visitors.take("before", 1.0)
    await asyncio.sleep(arguments.seconds)
    found = [visitors.take("nothing happens", arguments.seconds)]
    began, most = time.perf_counter(), 0
    for _ in range(arguments.reloads):
        before = list(visitors.connections)
        server.send_signal(signal.SIGHUP)
        await asyncio.to_thread(until, server, DONE)
        await visitors.settled()
        moved = [now - then for now, then in zip(visitors.connections, before, strict=True)]
        most = max(most, *moved)
    found.append(visitors.take("reloads", time.perf_counter() - began))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return found, most


def main() -> int:
    """Measure and print; 1 when a client was let down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reloads", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--staying", type=int, default=200, help="clients that keep a connection")
    parser.add_argument("--coming", type=int, default=8, help="clients that come and go")
    parser.add_argument("--seconds", type=float, default=2.0, help="without a reload, to compare with")
    parser.add_argument("--shared", action="store_true", help="one listening socket for all workers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.workers, shared=arguments.shared)
        return 0
    command = [sys.executable, __file__, "--serve", "--workers", str(arguments.workers)]
    if arguments.shared:
        command.append("--shared")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        found, most = uvloop.run(measure(server, until(server, "listening"), arguments))
    finally:
        server.terminate()
        server.communicate()
    figures = [phase.told() for phase in found]
    seconds = found[1].seconds / arguments.reloads
    if arguments.json:
        print(json.dumps({"phases": figures, "seconds_of_a_reload": seconds, "most_moves_in_a_reload": most}))
    else:
        show(arguments, figures, seconds, most)
    return int(any(phase.failed for phase in found) or most > 1)


def show(arguments: argparse.Namespace, figures: list[dict[str, float | str]], seconds: float, most: int) -> None:
    """A table."""
    print(f"{arguments.workers} workers, {arguments.staying} clients that stay, {arguments.coming} that come and go")
    print(f"{'':16}  connects      /s  median ms   p99 ms   most ms      cut   failed")
    for row in figures:
        print(
            f"{row['phase']:16} {row['connects']:9,} {row['per_second']:7,.0f} {row['median_ms']:10.2f} "
            f"{row['p99_ms']:8.2f} {row['most_ms']:9.2f} {row['cut']:8} {row['failed']:8}"
        )
    print(f"a reload takes {seconds:.2f} s; a client moves {most} times at most in one")


if __name__ == "__main__":
    raise SystemExit(main())
