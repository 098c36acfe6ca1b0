"""Load generators and processes that the benchmarks share: raw protocols, so that the server is what is measured."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Result:
    """Answers counted, seconds taken, and the latency of each request in seconds."""

    answers: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in milliseconds that this share of the requests stayed below."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class HttpLoad(asyncio.Protocol):
    """Keeps one HTTP request in flight on a connection; requests come from an endless iterator of bytes."""

    def __init__(self, requests: Iterator[bytes], result: Result) -> None:
        self.requests, self.result = requests, result
        self.rest, self.running = b"", False
        self.size = 0  # of an answer, once one was parsed; all answers of a case are of one size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def begin(self) -> None:
        """Send the first request."""
        self.running = True
        self.sent = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        if len(data) != self.size or not data.startswith(b"HTTP/1.1 200"):
            data = self.rest + data
            if not self.whole(data):
                self.rest = data
                return
            self.rest = b""
        now = time.perf_counter()
        self.result.latencies.append(now - self.sent)
        self.result.answers += 1
        if self.running:
            self.sent = now
            self.transport.write(next(self.requests))

    def whole(self, data: bytes) -> bool:
        """Whether this is one whole answer; anything but a 200 ends the benchmark."""
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            return False
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {data[:200]!r}")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(fields[b"content-length"]):
            return False
        self.size = len(data)
        return True


class PacketLoad(asyncio.Protocol):
    """Keeps `in_flight` MsgTrans requests in flight on a connection; answers are counted by their headers only."""

    def __init__(self, requests: Iterator[bytes], result: Result, in_flight: int) -> None:
        self.requests, self.result, self.in_flight = requests, result, in_flight
        self.rest, self.running, self.sent = b"", False, []  # type: ignore[var-annotated]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def begin(self) -> None:
        """Send the first requests."""
        self.running = True
        self.sent = [time.perf_counter()] * self.in_flight
        self.transport.write(b"".join(next(self.requests) for _ in range(self.in_flight)))

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        at, end, count = 0, len(data), 0
        from_bytes = int.from_bytes
        while end - at >= 16:
            stop = at + 16 + from_bytes(data[at + 8 : at + 10], "big") + from_bytes(data[at + 10 : at + 14], "big")
            if stop > end:
                break
            at = stop
            count += 1
        self.rest = data[at:]
        if not count:
            return
        now = time.perf_counter()
        self.result.answers += count
        self.result.latencies += [now - sent for sent in self.sent[:count]]
        del self.sent[:count]
        if self.running:
            self.sent += [now] * count
            self.transport.write(b"".join([next(self.requests) for _ in range(count)]))


async def run_load(
    address: tuple[str, int], make: Callable[[int, Result], HttpLoad | PacketLoad], connections: int, seconds: float
) -> Result:
    """Open `connections`, load them for `seconds` after a short warm-up, close them."""
    loop = asyncio.get_running_loop()
    result = Result()
    protocols = [(await loop.create_connection(lambda n=n: make(n, result), *address))[1] for n in range(connections)]
    for protocol in protocols:
        protocol.begin()
    await asyncio.sleep(0.3)
    result.answers, result.latencies[:] = 0, []
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    result.seconds = time.perf_counter() - start
    for protocol in protocols:
        protocol.running = False
    await asyncio.sleep(0.1)
    for protocol in protocols:
        protocol.transport.close()
    return result


@contextmanager
def server(*command: str, core: int | None) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """A server process, pinned to a core where the system can, that prints `listening SCHEME://HOST:PORT` first."""

    def pin() -> None:
        if core is not None and hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
            os.sched_setaffinity(0, {core})

    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=pin,  # noqa: PLW1509 - no threads here
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline().split()
        if not first or first[0] != "listening":
            raise SystemExit(f"the server did not start: {' '.join(command)}")
        host, _, port = first[1].partition("://")[2].rpartition(":")
        yield process, (host, int(port))
    finally:
        process.terminate()
        process.wait(15)


def resident(process: subprocess.Popen[str]) -> int:
    """Resident memory of a process in bytes (Linux)."""
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pin_self(core: int) -> None:
    """Keep this process, the load generator, off the server's core where the system can."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})
