"""Loading a server and measuring it: what `msgtrans ping` and `msgtrans bench` do.

Not here: printing, except for the progress bar.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from msgtrans.client import TransportClient
from msgtrans.errors import TransportTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable


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
        for sequence in range(1, count + 1):
            start = time.perf_counter()
            try:
                await client.request(b"x" * size, timeout=timeout)
            except TransportTimeoutError:
                seen(sequence, None)
            else:
                spent.append((time.perf_counter() - start) * 1e3)
                seen(sequence, spent[-1])
            if sequence < count:
                await asyncio.sleep(interval)
    return PingResult(
        count, len(spent), min(spent, default=0.0), median(spent) if spent else 0.0, max(spent, default=0.0)
    )


async def bench(uri: str, plan: BenchPlan, *, progress: bool = False) -> BenchResult:
    """Carry out `plan`. One-way messages are counted once a last request behind them is answered."""
    load = _Load(plan)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(TransportClient(uri)) for _ in range(plan.connections)]
        bar = asyncio.create_task(_show(load)) if progress else None
        start = time.perf_counter()
        load.stop = start + plan.duration
        if plan.one_way:
            await asyncio.gather(*(load.send(client) for client in clients))
        else:
            await asyncio.gather(*(load.ask(client) for client in clients for _ in range(plan.in_flight)))
        seconds = time.perf_counter() - start
        if bar is not None:
            await bar
    return load.result(seconds)


class _Load:
    def __init__(self, plan: BenchPlan) -> None:
        self.payload = b"x" * plan.size
        self.duration = plan.duration
        self.stop = 0.0
        self.sent = 0
        self.errors = 0
        self.spent: Counter[int] = Counter()  # microseconds -> requests

    async def ask(self, client: TransportClient) -> None:
        payload, spent, clock = self.payload, self.spent, time.perf_counter
        now = clock()
        while now < self.stop:
            try:
                await client.request(payload)
            except TransportTimeoutError:
                self.errors += 1
                now = clock()
                continue
            start, now = now, clock()
            spent[int((now - start) * 1e6)] += 1

    async def send(self, client: TransportClient) -> None:
        payload, batch = self.payload, range(100)
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
