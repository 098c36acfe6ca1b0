"""The two sides of `scale_connections.py`, as programs.

    python benchmarks/scale_connections_sides.py serve WORKERS MOST
    python benchmarks/scale_connections_sides.py ask NUMBER COUNT PERIOD URI

A server of some workers, each for MOST connections, which tells its processes and its address as lines of JSON. Each
worker has a second server, its desk, whose requests are commands: nothing of what is measured goes through it.
One of several client processes, the NUMBERth, with COUNT connections on each of which it asks once per PERIOD seconds;
it does what the lines of its input say, and answers each with a line.
Times of different processes are compared: both sides use the clock that counts since the machine started.
Not here: what is measured when, and what it means.
"""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import gc
import io
import json
import math
import os
import pstats
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable

import uvloop
from scale_connections_system import PER_ADDRESS, raise_limit

from msgtrans import (
    CloseReason,
    Context,
    RetryConfig,
    Session,
    TcpClientConfig,
    TcpServerConfig,
    TransportClient,
    TransportServer,
    Worker,
    WorkersConfig,
)
from msgtrans.errors import TransportError

BEAT = 0.02  # seconds between two looks at how late the loop is
PACE = 0.005  # between two looks at whose turn it is to ask
CONNECTING = 32  # connections of a process that are being made at once
CLOSING = 200
AT_ONCE = 100  # questions
PAYLOAD = 64  # bytes
TIMEOUT = 20.0  # of a request
STAMP = struct.Struct("!dI")  # of a broadcast: when it was sent, by which worker
QUESTION = struct.Struct("!III")  # process, connection, how often it has asked
FILLING = bytes(range(PAYLOAD - QUESTION.size))


def bucket(seconds: float) -> int:
    """Where a time belongs in a histogram whose steps are 2 %; 0 is a microsecond."""
    return round(math.log(max(seconds, 1e-6) * 1e6) * 50)


def quantile(histogram: Counter[int], share: float) -> float:
    """The time in seconds below which that share of them lies; 0 of none."""
    left = math.ceil(sum(histogram.values()) * share)
    for step in sorted(histogram):
        left -= histogram[step]
        if left <= 0:
            return math.exp(step / 50) / 1e6
    return 0.0


class Watch:
    """How late the loop of this process is, what it computes without a break, and how long the garbage collector takes.

    longest_*: seconds since `begin`. late: times that the loop was late. Its own looks cost a few microseconds each.
    """

    def __init__(self) -> None:
        gc.callbacks.append(self._collecting)
        self.begin()

    def begin(self) -> None:
        """Forget what was."""
        self.late: Counter[int] = Counter()
        self.longest_late = self.longest_turn = self.longest_collection = self._collecting_since = 0.0
        self.collections = 0
        self._due = time.monotonic() + BEAT
        self._computed = time.process_time()

    def start(self) -> None:
        """Look, in the loop that runs, until that ends."""
        self.begin()
        asyncio.get_running_loop().call_later(BEAT, self._look)

    def told(self) -> dict[str, object]:
        """As JSON has it; times in seconds."""
        return {
            "late_p50": quantile(self.late, 0.5),
            "late_p99": quantile(self.late, 0.99),
            "late_max": self.longest_late,
            "turn_max": self.longest_turn,
            "collection_max": self.longest_collection,
            "full_collections": self.collections,
        }

    def _look(self) -> None:
        now, computed = time.monotonic(), time.process_time()
        late = max(now - self._due, 0.0)
        self.late[bucket(late)] += 1
        self.longest_late = max(self.longest_late, late)
        if late > 0:  # else it may have computed in many turns
            self.longest_turn = max(self.longest_turn, min(late, computed - self._computed))
        self._due, self._computed = now + BEAT, computed
        asyncio.get_running_loop().call_later(BEAT, self._look)

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self.longest_collection = max(self.longest_collection, time.perf_counter() - self._collecting_since)
            self.collections += info["generation"] == 2


class Profiler:
    """Where this process computes, between one call of `turn` and the next."""

    def __init__(self) -> None:
        self._profile: cProfile.Profile | None = None

    def turn(self) -> str:
        """Begin; or end, and tell."""
        profile, self._profile = self._profile, None
        if profile is None:
            self._profile = cProfile.Profile()
            self._profile.enable()
            return ""
        profile.disable()
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(25)
        return text.getvalue()


def tidy() -> dict[str, int]:
    """Collect garbage, give the system back what the allocator keeps, and tell how many objects there are."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return {"objects": len(gc.get_objects()) + gc.get_freeze_count()}


# The server


class Desk:
    """In each worker: a second server, whose requests say what the worker is to do or tell."""

    def __init__(self, server: TransportServer) -> None:
        self._server = server
        self._index = 0
        self._own = TransportServer(tcp="127.0.0.1:0")
        self._own.on_request(self._do)
        self._profiler = Profiler()

    async def open(self, worker: Worker) -> None:
        """Tell where it is."""
        self._index = worker.index
        self._watch = Watch()
        self._watch.start()
        await self._own.start()
        told = {"worker": worker.index, "pid": os.getpid(), "desk": self._own.uris[0]}
        os.write(1, json.dumps(told).encode() + b"\n")  # in one piece: all workers write there

    async def close(self, _: Worker) -> None:
        """The worker ends."""
        await self._own.stop()

    def _do(self, ctx: Context) -> bytes:
        told = json.loads(ctx.payload)
        match told["do"]:
            case "look":
                answer = self._look(begin=told.get("begin", False))
            case "broadcast":
                start, computed = time.monotonic(), time.process_time()
                count = self._server.broadcast(STAMP.pack(start, self._index).ljust(PAYLOAD, b"."))
                answer = {"to": count, "took": time.monotonic() - start, "computed": time.process_time() - computed}
            case "cut":
                cut = list(self._server.sessions.values())[: told["count"]]
                for session in cut:
                    session.abort()
                answer = {"cut": len(cut)}
            case "tidy":
                answer = tidy()
            case _:
                answer = {"profile": self._profiler.turn()}
        return json.dumps(answer).encode()

    def _look(self, *, begin: bool) -> dict[str, object]:
        computed = time.thread_time()
        stats = self._server.stats()
        computed = time.thread_time() - computed
        told = {
            "open": stats.connections_open,
            "refused": stats.connections_refused,
            "errors": stats.errors().total,
            "stats_computed": computed,
            **self._watch.told(),
        }
        if begin:
            self._watch.begin()
        return told


def serve(workers: int, most: int) -> None:
    """Serve until told to stop."""
    server = TransportServer(
        tcp=TcpServerConfig(bind_address="127.0.0.1:0", max_connections=most),
        max_connections=most,
        workers=WorkersConfig(count=workers),
    )

    @server.on_request
    def answer(ctx: Context) -> bytes:
        return ctx.payload[::-1]

    desk = Desk(server)
    server.on_worker_start(desk.open)
    server.on_worker_stop(desk.close)
    server.run(ready=lambda uris: print(json.dumps({"uri": uris[0]}), flush=True))


# The clients


class Crowd:
    """Many clients in one process. number: of the process. What an instruction asks for is a method of its name."""

    def __init__(self, number: int, count: int, period: float, uri: str) -> None:
        self._number, self._period, self._uri = number, period, uri
        self._clients: list[TransportClient] = []
        self._count = count
        self._asked = array("L", bytes(array("L").itemsize * count))
        self._heard = bytearray(count)
        self._deaf = count
        self._watch = Watch()
        self._asking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._closing = self._mending = self._times_answers = False
        self._all_heard = asyncio.Event()
        self._problems: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._times: Counter[int] = Counter()
        self._longest = 0.0
        self._last = 0.0
        self._answered = 0
        self._again = self._interrupted = 0

    async def obey(self) -> None:
        """Do what each line says, until there are no more."""
        self._watch.start()
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            work: Callable[..., Awaitable[None]] = getattr(self, told.pop("do"))
            await work(**told)
            print(json.dumps(self._told()), flush=True)
            self._problems.clear()

    def _told(self) -> dict[str, object]:
        return {
            "open": sum(client.is_connected for client in self._clients),
            "times": self._times,
            "longest": self._longest,
            "last": self._last,
            "answered": self._answered,
            "again": self._again,
            "interrupted": self._interrupted,
            "heard": self._count - self._deaf,
            "heard_twice": self._count - self._heard.count(0) - self._heard.count(1),
            "problems": self._problems,
            **self._watch.told(),
        }

    # Instructions

    async def look(self, *, begin: bool = False) -> None:
        """Nothing but to tell; begin: and count anew, before."""
        if begin:
            self._begin()
            self._watch.begin()

    async def tidy(self) -> None:
        """Give back what is not needed."""
        gc.unfreeze()
        tidy()

    async def open(self, to: int) -> None:
        """Have so many connections, and have asked on each."""
        self._begin()
        first = len(self._clients)
        for index in range(first, to):
            self._clients.append(self._client(index))
        await self._each(range(first, to), self._open_one, CONNECTING)

    async def ask(self) -> None:
        """Ask on each connection once per period, evenly, from now on."""
        gc.collect()
        self._times_answers = True
        gc.freeze()  # as a program with so many clients should: looking at all they are made of takes half a second
        self._begin()
        self._watch.begin()
        self._asking = asyncio.create_task(self._ask_all())

    async def rest(self) -> None:
        """Ask no more, and wait for what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
            self._asking = None
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def listen(self) -> None:
        """A broadcast comes; from now on, times are of that and no longer of answers."""
        self._begin()
        self._times_answers = False
        self._heard[:] = bytes(self._count)
        self._deaf = self._count
        self._all_heard.clear()

    async def hear(self, within: float) -> None:
        """Wait until all have it."""
        try:
            async with asyncio.timeout(within):
                await self._all_heard.wait()
        except TimeoutError:
            self._problems["broadcasts that did not come"] += self._deaf

    async def mend(self, *, begin: bool) -> None:
        """Connect again where connections are cut, from now on or no more."""
        self._mending = begin
        if begin:
            self._begin()
            self._times_answers = False

    async def close(self) -> None:
        """Close all."""
        self._closing = True
        self._begin()
        await self._each(range(len(self._clients)), self._close_one, CLOSING)

    # One connection

    def _client(self, index: int) -> TransportClient:
        """Each PER_ADDRESS of them connect from another address."""
        block = index // PER_ADDRESS
        client = TransportClient(
            TcpClientConfig(
                target_address=self._uri,
                local_bind_address=f"127.{10 + self._number}.{block // 250}.{1 + block % 250}:0",
                connect_timeout=60.0,
                retry_config=RetryConfig(max_retries=0),
            )
        )
        client.on_message(self._hear)
        client.on_disconnect(self._lost)
        return client

    async def _open_one(self, index: int) -> None:
        start = time.monotonic()
        try:
            await self._clients[index].connect()
        except TransportError as error:
            self._problem(error)
            return
        self._took(time.monotonic() - start)
        self._clients[index].session.data = index
        await self._ask_one(index)

    async def _close_one(self, index: int) -> None:
        await self._clients[index].close()

    async def _ask_one(self, index: int, due: float | None = None) -> bool:
        self._asked[index] += 1
        question = QUESTION.pack(self._number, index, self._asked[index] & 0xFFFFFFFF) + FILLING
        try:
            answer = await self._clients[index].request(question, timeout=TIMEOUT)
        except TransportError as error:
            if self._mending and self._clients[index].session.close_reason is not None:
                self._interrupted += 1
            else:
                self._problem(error)
            return False
        if answer.payload != question[::-1]:
            self._problems["wrong answers"] += 1
            return False
        self._answered += 1
        if due is not None and self._times_answers:
            self._took(time.monotonic() - due)
        return True

    async def _ask_all(self) -> None:
        """Those whose turn it is are asked however late that is, and the time counts from when it was their turn."""
        begin, pause, done = time.monotonic(), self._period / len(self._clients), 0
        while True:
            due = begin + done * pause
            now = time.monotonic()
            most = done + AT_ONCE  # so that a process that is behind still hears its answers
            while due <= now and done < most:
                index = done % len(self._clients)
                if self._clients[index].is_connected or not self._mending:
                    self._spawn(self._ask_one(index, due))
                done += 1
                due = begin + done * pause
            await asyncio.sleep(max(PACE, due - now) if due > now else 0)

    def _hear(self, ctx: Context) -> None:
        index = ctx.session.data
        assert isinstance(index, int)
        now = time.monotonic()
        self._heard[index] = min(self._heard[index] + 1, 255)
        sent, _ = STAMP.unpack_from(ctx.payload)
        if len(ctx.payload) != PAYLOAD:
            self._problems["wrong broadcasts"] += 1
        self._took(now - sent)
        self._last = max(self._last, now)
        if self._heard[index] == 1:
            self._deaf -= 1
            if not self._deaf:
                self._all_heard.set()

    def _lost(self, session: Session, reason: CloseReason) -> None:
        if self._closing:
            return
        if not self._mending or not isinstance(session.data, int):
            self._problems[f"connections lost: {reason.value}, {session.close_error}"] += 1
            return
        self._spawn(self._open_again(session.data, time.monotonic()))

    async def _open_again(self, index: int, cut: float) -> None:
        client = self._clients[index]
        try:
            await client.connect()
        except TransportError as error:
            self._problem(error)
            return
        client.session.data = index
        if await self._ask_one(index):
            now = time.monotonic()
            self._took(now - cut)
            self._again += 1
            self._last = max(self._last, now)

    # Counting

    def _took(self, seconds: float) -> None:
        self._times[bucket(seconds)] += 1
        self._longest = max(self._longest, seconds)

    def _problem(self, error: Exception) -> None:
        self._problems[f"{type(error).__name__}: {str(error)[:80]}"] += 1

    def _spawn(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _each(self, indices: Iterable[int], work: Callable[[int], Awaitable[None]], at_once: int) -> None:
        left = iter(indices)

        async def some() -> None:
            for index in left:
                await work(index)

        await asyncio.gather(*(some() for _ in range(at_once)))


def main() -> None:
    """Be the side that the command line says."""
    raise_limit()
    match sys.argv[1:]:
        case ["serve", workers, most]:
            serve(int(workers), int(most))
        case ["ask", number, count, period, uri]:
            uvloop.run(Crowd(int(number), int(count), float(period), uri).obey())
        case _:
            raise SystemExit(f"{sys.argv[0]} serve WORKERS MOST | ask NUMBER COUNT PERIOD URI")


if __name__ == "__main__":
    main()
