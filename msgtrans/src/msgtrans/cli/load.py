"""Loading a server and measuring it: what `msgtrans ping` and `msgtrans bench` do.

Not here: printing, except for the progress bar.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from msgtrans.client import TransportClient
from msgtrans.config import SessionConfig
from msgtrans.errors import RemoteProtocolError, SessionClosedError, TransportConnectionError, TransportTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class PingResult(msgspec.Struct, frozen=True):
    """What `ping` saw; milliseconds, 0 when nothing was answered."""

    sent: int
    answered: int
    min_ms: float
    median_ms: float
    max_ms: float


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench` does: seconds, bytes, and requests under way per connection."""

    in_flight: int = 64
    size: int = 32
    duration: float = 5.0
    connections: int = 1
    one_way: bool = False


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench` saw. Latencies in milliseconds, one microsecond fine; 0 for one-way messages."""

    count: int
    seconds: float
    per_second: float
    errors: int
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0


async def ping(
    uri: str,
    *,
    count: int,
    interval: float,
    size: int,
    timeout: float,  # noqa: ASYNC109 - of each request
    seen: Callable[[int, float | None], None],
) -> PingResult:
    """Send `count` requests one after another; `seen` is called with number and milliseconds (None: no answer)."""
    spent: list[float] = []
    async with TransportClient(uri) as client:
        with told_plainly(client, uri):
            await _ping(client, count, interval, b"x" * size, timeout, spent, seen)
    return PingResult(
        count, len(spent), min(spent, default=0.0), median(spent) if spent else 0.0, max(spent, default=0.0)
    )


async def _ping(
    client: TransportClient,
    count: int,
    interval: float,
    payload: bytes,
    timeout: float,  # noqa: ASYNC109 - of each request
    spent: list[float],
    seen: Callable[[int, float | None], None],
) -> None:
    for sequence in range(1, count + 1):
        start = time.perf_counter()
        try:
            await client.request(payload, timeout=timeout)
        except TransportTimeoutError:
            seen(sequence, None)
        else:
            spent.append((time.perf_counter() - start) * 1e3)
            seen(sequence, spent[-1])
        if sequence < count:
            await asyncio.sleep(interval)


@contextmanager
def told_plainly(client: TransportClient, uri: str) -> Iterator[None]:
    """Turn the end of the session into a sentence for who typed the command."""
    try:
        yield
    except SessionClosedError as error:
        session = client.session
        if isinstance(session.close_error, RemoteProtocolError):
            told = f"what {uri} sent is no MsgTrans packet ({session.close_error}); is it a MsgTrans server?"
        elif session.packets_received:
            told = f"{uri} closed the connection after {session.packets_received} answers ({session.close_reason})"
        else:
            told = f"{uri} closed the connection without an answer; is it a MsgTrans server?"
        raise TransportConnectionError(told) from error


async def bench(uri: str, plan: BenchPlan, *, progress: bool = False) -> BenchResult:
    """Carry out `plan`. One-way messages are counted once a last request behind them is answered.

    Raises TransportTimeoutError when nothing was answered: there is nothing to report then.
    """
    load = _Load(plan)
    config = SessionConfig()
    config = config.replace(max_pending_requests=max(config.max_pending_requests, plan.in_flight))
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(TransportClient(uri, session=config)) for _ in range(plan.connections)
        ]
        bar = asyncio.create_task(_show(load)) if progress else None
        if plan.one_way:
            loading = asyncio.gather(*(load.send(client, uri) for client in clients))
        else:
            loading = asyncio.gather(*(load.ask(client, uri) for client in clients for _ in range(plan.in_flight)))
        start = time.perf_counter()  # making many tasks takes time, and none of them has begun
        load.stop = start + plan.duration
        await loading
        seconds = time.perf_counter() - start
        if bar is not None:
            await bar
    if load.errors and not load.spent:
        raise TransportTimeoutError(f"each of {load.errors:,} requests", config.request_timeout)
    return load.result(seconds)


class _Load:
    def __init__(self, plan: BenchPlan) -> None:
        self.payload = b"x" * plan.size
        self.duration = plan.duration
        self.stop = 0.0
        self.sent = 0
        self.errors = 0
        self.spent: Counter[int] = Counter()  # microseconds -> requests

    async def ask(self, client: TransportClient, uri: str) -> None:
        payload, spent, clock = self.payload, self.spent, time.perf_counter
        now = clock()
        with told_plainly(client, uri):
            while True:  # once at least, so that in_flight is what it says however short the run
                start = now
                try:
                    await client.request(payload)
                except TransportTimeoutError:
                    self.errors += 1
                    now = clock()
                else:
                    now = clock()
                    spent[int((now - start) * 1e6)] += 1
                if now >= self.stop:
                    break

    async def send(self, client: TransportClient, uri: str) -> None:
        payload, batch = self.payload, range(100)
        with told_plainly(client, uri):
            while time.perf_counter() < self.stop:
                for _ in batch:
                    await client.send(payload)
                self.sent += len(batch)
            await client.request(b"", timeout=60.0)

    def result(self, seconds: float) -> BenchResult:
        answered = self.spent.total()
        count = answered or self.sent
        at = percentiles(self.spent, (0.5, 0.9, 0.99, 0.999, 1.0))
        return BenchResult(
            count=count,
            seconds=seconds,
            per_second=count / seconds,
            errors=self.errors,
            p50_ms=at[0],
            p90_ms=at[1],
            p99_ms=at[2],
            p999_ms=at[3],
            max_ms=at[4],
        )


def percentiles(spent: Counter[int], shares: tuple[float, ...]) -> list[float]:
    """For each ascending share, the milliseconds within which that share of the requests was answered; 0 for none."""
    wanted = [share * spent.total() for share in shares]
    found: list[float] = []
    seen = 0
    for microseconds in sorted(spent):
        seen += spent[microseconds]
        while len(found) < len(wanted) and seen >= wanted[len(found)]:
            found.append(microseconds / 1e3)
    return found + [0.0] * (len(shares) - len(found))


async def _show(load: _Load) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task("loading", total=load.duration, rate="")
        before = 0
        while (left := load.stop - time.perf_counter()) > 0:
            count = load.spent.total() or load.sent
            progress.update(task, completed=load.duration - left, rate=f"{(count - before) * 4:,}/s")
            progress.refresh()
            before = count
            await asyncio.sleep(min(0.25, left))
