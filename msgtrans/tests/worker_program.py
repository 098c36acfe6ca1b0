"""A server with workers as a process of its own, and what tests do with it.

As a program: python worker_program.py JSON, with keys `workers` (of WorkersConfig), `tcp`, `ws`, or `listen` (of tcp,
tls, ws, wss) with `certificate`, `loop`, `late` (seconds for what has to end and does not), and how to misbehave.
A request is a command: see `answer`. What happens is printed, log records included.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from msgtrans import Context, TransportClient, TransportServer, Worker, WorkersConfig, loops
from msgtrans.config import ExpertConfig, TcpServerConfig, TlsServerConfig, WebSocketServerConfig
from msgtrans.middleware import StatisticsMiddleware
from msgtrans.workers import current_worker, link, plan, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 60.0  # seconds after which a wait has failed


class Workers:
    """The program, running. `with Workers(...) as workers`: killed in the end unless it has ended by itself."""

    def __init__(
        self, *command: str, preexec_fn: Callable[[], None] | None = None, cwd: Path | None = None, **options: object
    ) -> None:
        self.process = subprocess.Popen(
            command or [sys.executable, __file__, json.dumps(options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            preexec_fn=preexec_fn,  # noqa: PLW1509 - it makes system calls only
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)  # no process has it open any more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        self._reading.join(LIMIT)
        assert not self._reading.is_alive(), "a worker is left"
        assert self.process.stdout is not None
        self.process.stdout.close()

    def until(self, *words: str) -> str:
        """The next line that contains one of these."""
        while (line := self._queue.get(timeout=LIMIT)) is not None:
            self.lines.append(line)
            if any(word in line for word in words):
                return line
        raise AssertionError(f"it ended before it said {words}:\n" + "\n".join(self.lines))

    def uri(self) -> str:
        """Where it listens, once it does."""
        return self.until("listening ").removeprefix("listening ")

    def send(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = signal.SIGTERM) -> int:
        """Its exit code, once all of its processes have ended."""
        if number is not None:
            self.send(number)
        while (line := self._queue.get(timeout=LIMIT)) is not None:
            self.lines.append(line)
        return self.process.wait(LIMIT)

    def said(self, word: str) -> list[str]:
        """The lines so far that contain this."""
        return [line for line in self.lines if word in line]


async def open_on(uri: str, indexes: set[int]) -> dict[int, TransportClient]:
    """A client of each of these workers."""
    found: dict[int, TransportClient] = {}
    async with asyncio.timeout(LIMIT):
        while set(found) != indexes:
            client = TransportClient(uri)
            await client.connect()
            index = int((await client.request(b"index")).payload)
            if index in found or index not in indexes:
                await client.close()
            else:
                found[index] = client
    return found


def answer(context: Context) -> bytes | Awaitable[bytes]:
    """Do what a request says."""
    worker = current_worker()
    assert worker is not None
    word, _, rest = context.payload.decode().partition(" ")
    match word:
        case "index":
            return b"%d" % worker.index
        case "pid":
            return b"%d" % os.getpid()
        case "note":  # that this request was handled, in a file of all workers
            path, _, number = rest.partition(" ")
            with Path(path).open("a") as notes:
                notes.write(f"{number}\n")
        case "level":  # of the latency that its monitor warns of
            monitor = context.session.endpoint.monitor
            return b"%g" % monitor.levels.p99_latency if monitor is not None else b"none"
        case "wait":
            return wait()
        case "garble":  # tell the supervisor nonsense
            context.session.endpoint.worker_link._channel.send(bytes.fromhex(rest))
        case "hang":
            time.sleep(600)
        case "exit":
            os._exit(int(rest))
    return context.payload


def say(*lines: str) -> None:
    """Write whole lines at once: others write there, too."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


async def wait() -> bytes:
    """Longer than anybody has time."""
    await asyncio.sleep(600)
    return b""


def listener(name: str, options: dict[str, object]) -> TcpServerConfig | WebSocketServerConfig:
    """Any port, for one of the four."""
    tls = TlsServerConfig(certificate_file=options["certificate"]) if name in {"tls", "wss"} else None
    if name in {"tcp", "tls"}:
        return TcpServerConfig(bind_address="127.0.0.1:0", tls=tls)
    return WebSocketServerConfig(bind_address="127.0.0.1:0", tls=tls)


def make_server(options: dict[str, object]) -> TransportServer:
    """The server of the program."""
    names = options.get("listen", [])
    server = TransportServer(
        tcp=None if names else options.get("tcp", "127.0.0.1:0"),
        ws=options.get("ws"),
        listen=[listener(name, options) for name in names],
        workers=WorkersConfig(**{"count": 2, **options.get("workers", {})}),
        middleware=[StatisticsMiddleware()],
        expert=msgspec.convert(options["expert"], ExpertConfig) if "expert" in options else None,
    )
    server.on_request(answer)

    @server.on_worker_start
    async def started(worker: Worker) -> None:
        await asyncio.sleep(0)
        if options.get("fails"):
            raise RuntimeError("no database")
        say(f"begins {worker.index} {os.getpid()}")
        if options.get("waits"):
            await asyncio.Event().wait()

    @server.on_worker_stop
    def stopped(worker: Worker) -> None:
        assert server.worker == worker == current_worker()
        say(f"stops {worker.index}")

    if "exits" in options:
        server.on_worker_start(lambda _: sys.exit(options["exits"]))
    if options.get("crashes"):
        server.on_worker_start(lambda _: asyncio.get_running_loop().call_later(0.05, os._exit, 7))
    return server


def main() -> None:
    """Serve as the argument says."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="log %(levelname)s %(message)s")
    options = json.loads(sys.argv[1])
    if options.get("loop") == "asyncio":
        loops.fastest = lambda: None
    plan.LATE = link.LATE = options.get("late", plan.LATE)

    def ready(uris: list[str]) -> None:
        say(*(f"listening {uri}" for uri in uris))

    if "factory" in options:
        sys.path.insert(0, options["folder"])
        run(options["factory"], WorkersConfig(**options["workers"]), ready=ready)
    else:
        make_server(options).run(ready=ready)


if __name__ == "__main__":
    main()
