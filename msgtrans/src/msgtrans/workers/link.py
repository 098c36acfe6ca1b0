"""A worker's side: what it hears from its supervisor, and tells it.

In the loop of the worker, once attached: `listen` gets sockets, `ready` says that it serves and how it stops accepting
when others take over, `stopping` is set when it is to end, and a report goes out every now and then, as long as the
loop turns. A supervisor that is gone, killed even, ends its workers: `stopping` is set, and one that does not end after
that ends by force.
Not here: what a worker serves, and anything about other workers but `group`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final, Self, TypeVar

import msgspec

from msgtrans.errors import TransportError
from msgtrans.workers.messages import (
    MAX_FILES,
    AskGroup,
    AskReport,
    Begin,
    Bound,
    End,
    Enough,
    Failing,
    Frames,
    Group,
    Grouped,
    Listen,
    Ready,
    Report,
    Rest,
    Rested,
    frame,
    to_worker,
)
from msgtrans.workers.processes import FAILED, ORPHANED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from msgtrans.workers.messages import FromWorker

T = TypeVar("T")
READ: Final = 64 * 1024  # bytes
FIGURES: Final = 1000  # of each kind in a report
LATE: Final = 2.0  # seconds beyond graceful_timeout that a worker without supervisor may live
PATIENCE: Final = 5.0  # seconds to wait for an answer of the supervisor, which never does anything long
logger = logging.getLogger("msgtrans.workers")
_here: WorkerLink | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """Who a worker process is. index: its place, 0 to count - 1, kept over restarts and reloads; count: of workers when
    it was started; life: the number of this process, of all that the supervisor has started.
    """

    index: int
    count: int
    life: int


def current_worker() -> Worker | None:
    """Who this process is; None when it is no worker. For factories and for whatever knows no server."""
    return _here.worker if _here is not None else None


class WorkerLink:
    """The connection of a worker with its supervisor. Owned by the worker; all but `run` belongs to its loop.

    counters: what reports tell; set it before `attach`. figures: what else they tell: numbers that add up over workers,
    and numbers of this one; a monitor sets it, and at most 1000 of each are told. graceful_timeout: seconds the worker
    has to end. word: once `stopping` is set, what the worker said that wanted all to end (`end_all`), if it was one.
    """

    def __init__(self, channel: socket.socket, begin: Begin) -> None:
        self.worker = Worker(index=begin.index, count=begin.count, life=begin.life)
        self.graceful_timeout = begin.graceful_timeout
        self.counters: Callable[[], dict[str, int]] = dict
        self.figures: Callable[[], tuple[dict[str, float], dict[str, float]]] = lambda: ({}, {})
        self.stopping = asyncio.Event()
        self.word = ""
        self._channel = channel
        self._interval = begin.report_interval
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._frames = Frames()
        self._files: deque[int] = deque()
        self._out = bytearray()
        self._asked: dict[int, asyncio.Future[Bound | Grouped]] = {}
        self._requests = 0
        self._listeners = 0
        self._was_ready = False
        self._rest: Callable[[], Awaitable[None]] | None = None
        self._resting: asyncio.Task[None] | None = None

    # In the process

    def __enter__(self) -> Self:
        global _here  # noqa: PLW0603 - a process is one worker
        _here = self
        os.set_inheritable(self._channel.fileno(), False)
        self._channel.setblocking(False)
        if not faulthandler.is_enabled() and sys.__stderr__ is not None:
            faulthandler.enable(file=sys.__stderr__)  # so that a worker killed because it hangs says where
        threading.Thread(target=self._end_with_supervisor, daemon=True, name="msgtrans-orphan").start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._channel.close()

    def run(self, work: Callable[[WorkerLink], None]) -> int:
        """Do the work of this process; its exit code. The supervisor is told what it raises; bugs are logged."""
        try:
            work(self)
        except TransportError as error:
            self._last_words(Failing(f"could not serve: {error}", hopeless=not self._was_ready))
            return FAILED
        except Exception as error:
            logger.exception("worker %d failed", self.worker.index)
            self._last_words(Failing(f"raised {type(error).__name__}: {error}", hopeless=not self._was_ready))
            return FAILED
        self._last_words(self._told())
        return 0

    def _last_words(self, message: FromWorker) -> None:
        """Send what is left and this, without a loop."""
        with suppress(OSError):
            self._channel.settimeout(1.0)
            self._channel.sendall(bytes(self._out) + frame(message))

    def _end_with_supervisor(self) -> None:
        """In a thread, as the loop may hang: end this process some time after the supervisor has."""
        watched = os.dup(self._channel.fileno())
        poll = select.poll()
        poll.register(watched, 0)  # nothing but its end
        poll.poll()
        time.sleep(self.graceful_timeout + LATE)
        os._exit(ORPHANED)

    # In its loop

    def attach(self) -> None:
        """From now on hear the supervisor in the running loop, and report to it. SIGTERM sets `stopping`, too."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._channel.fileno(), self._read)
        self._loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        self._report_regularly()

    def detach(self) -> None:
        """Hear and report no more."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        self._loop.remove_signal_handler(signal.SIGTERM)
        if self._timer is not None:
            self._timer.cancel()
        if self._resting is not None:
            self._resting.cancel()
        self._loop = None

    async def listen(
        self, hosts: Sequence[str], port: int, *, backlog: int = 1024, reuse_address: bool = True
    ) -> list[socket.socket]:
        """Sockets that listen on one port of these numeric addresses; those that this machine does not have are left
        out while one is there. The supervisor binds and keeps them, so port 0 is the same port for all workers.

        Raises OSError when they cannot be bound.
        """
        self._listeners += 1
        self._requests += 1
        message = Listen(self._requests, self._listeners, tuple(hosts), port, backlog, reuse_address)
        answer = await self._ask(self._requests, message, Bound)
        if answer.error:
            raise OSError(answer.number, answer.error)
        return [socket.socket(fileno=self._files.popleft()) for _ in range(answer.files)]

    def ready(self, uris: Sequence[str], rest: Callable[[], Awaitable[None]] | None = None) -> None:
        """This worker serves, there.

        rest: accepts no more, and returns when whatever was accepted can be served. It is called once, when others have
        taken over in a reload, some time before `stopping` is set: whoever leaves this worker then comes to a new one.
        Without it, and where it takes longer than graceful_timeout, clients may come to another old one first.
        """
        self._was_ready = True
        self._rest = rest
        self._send(Ready(list(uris), rests=rest is not None))

    def end_all(self, word: str = "", *, failure: str = "", together: bool = False) -> None:
        """Have all workers end gracefully, and the supervisor after them.

        word: what they are told (`word`). failure: why none may go on, which the supervisor raises as WorkerError,
        behind the name of this worker; empty where it is meant so. together: only when a worker of every place has
        asked for it with the same word.
        """
        self._send(Enough(word, failure, together))

    async def group(self) -> Group:
        """All workers and the sums of their counters, as of now; of one that does not answer soon, as of its last
        report. Raises TimeoutError when the supervisor does not answer.
        """
        self._requests += 1
        return (await self._ask(self._requests, AskGroup(self._requests), Grouped)).group

    async def _ask(self, number: int, message: FromWorker, kind: type[T]) -> T:
        future: asyncio.Future[Bound | Grouped] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            self._send(message)
            async with asyncio.timeout(PATIENCE):
                answer = await future
        finally:
            self._asked.pop(number, None)
        if not isinstance(answer, kind):
            raise TypeError(f"the supervisor answered with {type(answer).__name__}")
        return answer

    def _report_regularly(self) -> None:
        if self._loop is not None:
            self._timer = self._loop.call_later(self._interval, self._report_regularly)
            self._report()

    def _report(self) -> None:
        if not self._out:  # else the supervisor does not read, and the next report will say more
            self._send(self._told())

    def _told(self) -> Report:
        sums, states = self.figures()
        return Report(self.counters(), dict(islice(sums.items(), FIGURES)), dict(islice(states.items(), FIGURES)))

    def _read(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._channel, READ, MAX_FILES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, files = b"", []
        self._files += files
        if not data:
            self._orphaned()
            return
        for body in self._frames.feed(data):
            self._take(body)

    def _take(self, body: bytes) -> None:
        match to_worker.decode(body):
            case End(word):
                self.word = word
                self.stopping.set()
            case Rest() if self._resting is None:
                self._resting = asyncio.ensure_future(self._take_rest())
            case AskReport():
                self._report()
            case (Bound(request=number) | Grouped(request=number)) as answer:
                asked = self._asked.get(number)
                if asked is not None and not asked.done():
                    asked.set_result(answer)
                elif isinstance(answer, Bound):
                    for _ in range(answer.files):  # nobody waits for them any more
                        os.close(self._files.popleft())
            case Begin() | Rest():
                logger.error("a worker was told twice who it is, or to rest")

    async def _take_rest(self) -> None:
        try:
            if self._rest is not None:
                await self._rest()
        except Exception:
            logger.exception("worker %d could not stop accepting", self.worker.index)
        self._send(Rested())

    def _send(self, message: FromWorker) -> None:
        waits = bool(self._out)
        self._out += frame(message)
        if not waits:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._channel.send(self._out)]
        except (BlockingIOError, InterruptedError):
            if self._loop is not None:
                self._loop.add_writer(self._channel.fileno(), self._flush)
            return
        except OSError:
            self._out.clear()
            self._orphaned()
        if self._loop is not None:
            self._loop.remove_writer(self._channel.fileno())

    def _orphaned(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._channel.fileno())
        if not self.stopping.is_set():
            logger.error("worker %d ends: its supervisor is gone", self.worker.index)
            self.stopping.set()
