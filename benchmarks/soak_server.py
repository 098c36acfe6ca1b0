"""The servers of the soak program: one process for all transports, or several workers for TCP.

    python benchmarks/soak_server.py DIRECTORY server|workers [--asyncio] [--leak WHAT]

Everything that comes in is checked, and noted by its number, so that a client can ask what of its stream came, and how
often. Commands come through a Unix socket in DIRECTORY, named after the process.
Not here: what clients do (`soak_loads.py`), and when (`soak.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvloop
from soak_payloads import ANSWER, DamagedError, answer, check, check_answer, make, numbered
from soak_samples import Faults, handshakes, obey, sample

from msgtrans import (
    Compression,
    Context,
    QuicServerConfig,
    RateLimit,
    SessionClosedError,
    SessionConfig,
    TcpServerConfig,
    TlsServerConfig,
    TransportError,
    TransportServer,
    WebSocketServerConfig,
    WorkersConfig,
)
from msgtrans.compression import deflate
from msgtrans.endpoint import Endpoint
from msgtrans.middleware import ConnectionLimit, StatisticsMiddleware
from msgtrans.workers.link import Worker

ECHO, LATE, SILENT, BACK, TALLY, MANY = range(1, 7)  # biz types of requests
NUMBERS = 7  # biz type of broadcasts
RUDE = 120  # biz type of what comes from peers that damage packets; one bit away is none of the others
LATE_BY = 0.4  # seconds
MANY_SIZE = struct.Struct(">I")  # how many bytes a request for many asks for
SERVED = SessionConfig(packet_timeout=8.0, write_timeout=8.0, graceful_timeout=3.0, idle_timeout=120.0)
LIMIT = RateLimit(requests_per_second=200.0, burst_size=20)
WORKERS = 2


class Stream:
    """What came of one stream of a client."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.last = -1
        self.messages = self.requests = self.doubled = self.disordered = 0

    def note(self, place: int, *, request: bool) -> None:
        """A message or request came."""
        self.doubled += place in self.seen
        self.seen.add(place)
        if request:
            self.requests += 1
        else:
            self.messages += 1
            self.disordered += place <= self.last
            self.last = place

    def told(self) -> dict[str, int]:
        """For the client."""
        return {
            "messages": self.messages,
            "requests": self.requests,
            "doubled": self.doubled,
            "disordered": self.disordered,
        }


class Leak:
    """What grows with each request, on purpose: the tests of the verdict need a server that leaks."""

    def __init__(self, what: str) -> None:
        self.kept: list[object] = []
        self.grow: Callable[[], None] = {
            "objects": lambda: self.kept.extend([index] for index in range(20)),
            "descriptors": lambda: self.kept.append(os.open(os.devnull, os.O_RDONLY)),
            "memory": lambda: self.kept.append(os.urandom(200_000)),
            "tasks": lambda: self.kept.append(asyncio.ensure_future(asyncio.Event().wait())),
            "": lambda: None,
        }[what]


class Service:
    """The handlers, and what they note."""

    def __init__(self, faults: Faults, leak: str) -> None:
        self.faults = faults
        self.leak = Leak(leak)
        self.streams: dict[int, Stream] = {}
        self.asking: set[asyncio.Task[None]] = set()
        self.done = 0

    def on_request(self, context: Context) -> bytes | None:
        """Answer, at once or later or never."""
        self.done += 1
        self.leak.grow()
        kind = context.biz_type
        if kind == TALLY:
            return self._tally(context)
        if kind == MANY:
            return bytes(MANY_SIZE.unpack(context.payload)[0])
        if kind > NUMBERS:
            return b""
        if not self._note(context, request=True) or kind == SILENT:
            return None
        if kind == LATE:
            asyncio.get_running_loop().call_later(LATE_BY, self._answer_late, context)
        elif kind == BACK:
            asking = asyncio.ensure_future(self._ask_back(context))
            self.asking.add(asking)
            asking.add_done_callback(self.asking.discard)
        else:
            return answer(context.payload)
        return None

    def on_message(self, context: Context) -> None:
        """Note a one-way message."""
        self.done += 1
        if context.biz_type <= NUMBERS:
            self._note(context, request=False)

    def forget(self) -> None:
        """Let go of what was noted."""
        self.streams.clear()

    def _note(self, context: Context, *, request: bool) -> bool:
        try:
            number = check(context.payload)
        except DamagedError as error:
            self.faults.note(f"came to the server damaged on {context.session}: {error}")
            return False
        stream, place = divmod(number, numbered(1, 0))
        self.streams.setdefault(stream, Stream()).note(place, request=request)
        return True

    def _tally(self, context: Context) -> bytes:
        stream = self.streams.pop(int(context.payload), None) or Stream()
        return json.dumps({**stream.told(), "packets": context.session.packets_received}).encode()

    def _answer_late(self, context: Context) -> None:
        with suppress(SessionClosedError):
            context.respond(answer(context.payload))

    async def _ask_back(self, context: Context) -> None:
        """Ask the client something of our own before it gets its answer."""
        question = make(check(context.payload) ^ 1, 100)
        try:
            check_answer(question, (await context.session.request(question)).payload)
            context.respond(answer(context.payload))
        except DamagedError as error:
            self.faults.note(f"an answer came back damaged: {error}")
        except TransportError:
            self.done += 0  # the client has gone, or takes too long; it will say so if it did not mean to


def main() -> None:
    """Serve until whoever commands has gone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("role", choices=("server", "workers"))
    parser.add_argument("--asyncio", action="store_true", help="the server on asyncio's own loop")
    parser.add_argument("--leak", default="")
    arguments = parser.parse_args()
    faults = Faults()
    faults.install()
    deflate(Compression.ZSTD, b"")  # loads its module now, and not when a damaged packet says so
    service = Service(faults, arguments.leak)
    if arguments.role == "server":
        with suppress(asyncio.CancelledError):
            (asyncio if arguments.asyncio else uvloop).run(serve(service, arguments.directory))
    else:
        serve_workers(service, arguments.directory)


async def serve(service: Service, directory: Path) -> None:
    """One process, all transports, and a server with a rate limit."""
    tls = TlsServerConfig(certificate_file=str(directory / "server.pem"))
    server = TransportServer(
        listen=[
            TcpServerConfig(bind_address="127.0.0.1:0"),
            TcpServerConfig(bind_address="127.0.0.1:0", tls=tls, accept_timeout=15.0),
            WebSocketServerConfig(bind_address="127.0.0.1:0", ping_interval=5.0, pong_timeout=20.0),
            WebSocketServerConfig(
                bind_address="127.0.0.1:0", tls=tls, ping_interval=5.0, pong_timeout=20.0, accept_timeout=15.0
            ),
            QuicServerConfig(bind_address="127.0.0.1:0", tls=tls),
        ],
        session=SERVED,
        middleware=[StatisticsMiddleware(), ConnectionLimit(per_address=500)],
    )
    limited = TransportServer(tcp="127.0.0.1:0", session=SERVED.replace(rate_limit=LIMIT))
    ended = asyncio.Event()
    for endpoint in (server, limited):
        endpoint.on_request(service.on_request)
        endpoint.on_message(service.on_message)
    async with server, limited:
        say(
            directory / "server.json",
            {**{uri.partition(":")[0]: uri for uri in server.uris}, "limited": limited.uris[0]},
        )
        commanded = await command(service, str(directory / "server.sock"), [server, limited], ended.set)
        number = 0
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await ended.wait()
            number += 1
            server.broadcast(make(number | ANSWER, 200), biz_type=NUMBERS)
        commanded.close()


def serve_workers(service: Service, directory: Path) -> None:
    """Several processes on one port."""
    server = TransportServer(
        tcp="127.0.0.1:0", session=SERVED, workers=WorkersConfig(count=WORKERS), middleware=[StatisticsMiddleware()]
    )
    server.on_request(service.on_request)
    server.on_message(service.on_message)

    @server.on_worker_start
    async def begin(worker: Worker) -> None:
        path = str(directory / f"worker-{worker.index}.sock")  # that of one that ended is taken over
        parent = os.getppid()
        server.commanded = await command(  # type: ignore[attr-defined]  # kept as long as the server is
            service, path, [server], lambda: os.kill(parent, signal.SIGTERM)
        )

    server.run(ready=lambda uris: say(directory / "workers.json", {"workers": uris[0]}))


async def command(service: Service, path: str, endpoints: list[Endpoint], gone: Callable[[], object]) -> asyncio.Server:
    """Obey at a Unix socket."""

    async def tell(*, whole: bool) -> dict[str, object]:
        errors = sum((endpoint.stats().handler_errors for endpoint in endpoints), 0)
        counters = {
            name: sum(getattr(endpoint.stats(), name) for endpoint in endpoints)
            for name in endpoints[0].stats().__struct_fields__
        }
        more = {"done": service.done, "streams": len(service.streams), "handler_errors": errors}
        told = sample(endpoints, whole=whole)
        return {**told, **more, "counters": counters, **service.faults.told()}

    async def now() -> dict[str, object]:
        return await tell(whole=False)

    async def quiet() -> dict[str, object]:
        service.forget()
        return await tell(whole=True)

    async def open_sessions() -> dict[str, object]:
        return {
            "sessions": sum(len(endpoint.sessions) for endpoint in endpoints),
            "tasks": len(asyncio.all_tasks()) - 1,
            "handshakes": handshakes(),
        }

    return await obey(path, {"sample": now, "quiet": quiet, "sessions": open_sessions}, gone)


def say(path: Path, told: dict[str, str]) -> None:
    """Write what others wait for, as a whole."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(told), encoding="utf-8")
    draft.rename(path)


if __name__ == "__main__":
    main()
