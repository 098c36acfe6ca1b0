"""What `msgtrans bench` does: loading a server and measuring it.

Not here: printing, and the progress bar (`progress`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import msgspec

from msgtrans.cli.files import out_of_files
from msgtrans.cli.target import told_plainly
from msgtrans.config import SessionConfig
from msgtrans.errors import TransportConnectionError, TransportError, TransportTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from msgtrans.cli.target import Target
    from msgtrans.client import TransportClient

OPENING: Final = 64  # connections that are being opened at once
BATCH: Final = 100  # one-way messages between two looks at the clock
BARRIER: Final = 60.0  # seconds for the server to work off the one-way messages it was sent


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench` does: requests under way per connection, bytes, and seconds.

    warm_up: seconds of the same load before anything is counted. timeout: seconds each request may take.
    """

    in_flight: int = 64
    size: int = 32
    duration: float = 5.0
    warm_up: float = 0.5
    connections: int = 1
    one_way: bool = False
    timeout: float = 10.0


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench` saw. Latencies in milliseconds, one microsecond fine; None for one-way messages.

    count: requests answered, or one-way messages sent, in `seconds`. errors: requests not answered in time.
    connections, in_flight, size, one_way: of the plan, so that a result tells what it is of.
    """

    uri: str
    connections: int
    in_flight: int
    size: int
    one_way: bool
    count: int
    seconds: float
    per_second: float
    errors: int
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None


async def bench(
    target: Target,
    plan: BenchPlan,
    watch: Callable[[Load], AbstractAsyncContextManager[None]] = lambda load: nullcontext(),  # noqa: ARG005
) -> BenchResult:
    """Carry out `plan`. One-way messages are counted once a last request behind them is answered.

    watch: something that looks at the load while it runs. Raises TransportConnectionError when a connection cannot be
    opened or is closed, TransportTimeoutError when nothing was answered: there is nothing to report then.
    """
    load = Load(target, plan)
    async with watch(load), load.connections():
        if plan.warm_up:
            await load.run("warming up", plan.warm_up)
        seconds = await load.run("loading", plan.duration)
    return load.result(seconds)


class Load:
    """The connections of one bench, and what was seen on them.

    stage: what it is doing, in a word or two. done: connections opened, or messages and answers seen in this stage.
    """

    def __init__(self, target: Target, plan: BenchPlan) -> None:
        self.target = target
        self.plan = plan
        self.stage = "connecting"
        self.sent = 0
        self.errors = 0
        self.spent: Counter[int] = Counter()  # microseconds -> requests
        self._payload = b"x" * plan.size
        self._clients: list[TransportClient] = []
        self._seconds = 1.0
        self._stop = 0.0

    @property
    def done(self) -> int:
        """How many."""
        return self._opened if self.stage == "connecting" else self.spent.total() or self.sent

    @property
    def _opened(self) -> int:
        return len(self._clients)

    def share(self, now: float) -> float:
        """How far it is in its stage, from 0 to 1."""
        if self.stage == "connecting":
            return self._opened / self.plan.connections
        return min(max(1 - (self._stop - now) / self._seconds, 0.0), 1.0)

    @asynccontextmanager
    async def connections(self) -> AsyncIterator[None]:
        """Open all connections of the plan, and close them in the end."""
        session = SessionConfig(request_timeout=self.plan.timeout)
        session = session.replace(max_pending_requests=max(session.max_pending_requests, self.plan.in_flight))
        waiting = iter([self.target.client(session) for _ in range(self.plan.connections)])
        try:
            try:
                workers = range(min(OPENING, self.plan.connections))
                await together([asyncio.create_task(self._open(waiting)) for _ in workers])
            except TransportError as error:
                told = self._not_opened(error)
                if told is None:
                    raise
                raise TransportConnectionError(told) from error
            yield
        finally:
            await asyncio.gather(*(client.close() for client in self._clients))

    async def _open(self, clients: Iterable[TransportClient]) -> None:
        for client in clients:
            await client.connect()
            self._clients.append(client)

    def _not_opened(self, error: TransportError) -> str | None:
        files = out_of_files(error)
        if files is None and not self._opened:
            return None  # the error itself says it all
        wanted = self.plan.connections
        return f"only {self._opened:,} of {wanted:,} connections to {self.target.uri} could be opened: {files or error}"

    async def run(self, stage: str, seconds: float) -> float:
        """Load for `seconds`, counted anew; returns the seconds until the last answer was there.

        Raises TransportTimeoutError when there was none.
        """
        plan = self.plan
        self.sent = self.errors = 0
        self.spent.clear()
        one = self._send if plan.one_way else self._ask
        each = range(1 if plan.one_way else plan.in_flight)
        tasks = [asyncio.create_task(one(client)) for client in self._clients for _ in each]
        self.stage, self._seconds = stage, seconds
        start = time.perf_counter()  # making many tasks takes time, and none of them has begun
        self._stop = start + seconds
        await together(tasks)
        if self.errors and not self.spent:
            raise TransportTimeoutError(f"each of {self.errors:,} requests", plan.timeout)
        return time.perf_counter() - start

    async def _ask(self, client: TransportClient) -> None:
        payload, spent, clock, stop = self._payload, self.spent, time.perf_counter, self._stop
        now = clock()
        with told_plainly(client):
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
                if now >= stop:
                    break

    async def _send(self, client: TransportClient) -> None:
        payload, batch, stop = self._payload, range(BATCH), self._stop
        with told_plainly(client, one_way=True):
            while time.perf_counter() < stop:
                for _ in batch:
                    await client.send(payload)
                self.sent += BATCH
            await client.request(b"", timeout=BARRIER)

    def result(self, seconds: float) -> BenchResult:
        """What was seen in the last stage, which took `seconds`."""
        plan = self.plan
        count = self.sent if plan.one_way else self.spent.total()
        at = percentiles(self.spent, (0.5, 0.9, 0.95, 0.99, 0.999, 1.0))
        return BenchResult(
            uri=self.target.uri,
            connections=plan.connections,
            in_flight=plan.in_flight,
            size=plan.size,
            one_way=plan.one_way,
            count=count,
            seconds=seconds,
            per_second=count / seconds,
            errors=self.errors,
            p50_ms=at[0],
            p90_ms=at[1],
            p95_ms=at[2],
            p99_ms=at[3],
            p999_ms=at[4],
            max_ms=at[5],
        )


async def together(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for all of them; the first error ends the rest, and is raised."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def percentiles(spent: Counter[int], shares: tuple[float, ...]) -> list[float | None]:
    """For each ascending share, the milliseconds within which that share of the answers came; None without any."""
    wanted = [share * spent.total() for share in shares]
    found: list[float | None] = []
    seen = 0
    for microseconds in sorted(spent):
        seen += spent[microseconds]
        while len(found) < len(wanted) and seen >= wanted[len(found)]:
            found.append(microseconds / 1e3)
    return found + [None] * (len(shares) - len(found))
