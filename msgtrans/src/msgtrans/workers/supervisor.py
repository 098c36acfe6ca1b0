"""Keeps worker processes running, from a process that does nothing else: no event loop and no thread runs here.

    supervisor = Supervisor(work, WorkersConfig(count=4))
    supervisor.run()

`work` is a function, called in forked children, or an `Entry`, called in new interpreters; either gets a `WorkerLink`.
SIGTERM and SIGINT end the workers gracefully, again or SIGQUIT at once; SIGHUP replaces them by new ones, or ends them
when the terminal was closed; SIGTTIN and SIGTTOU add and remove one. Knows nothing of what the workers serve.
Not here: what to do when (`plan`), and what all workers count together (`group`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from msgtrans.errors import ConfigurationError, WorkerError
from msgtrans.workers import actions, processes
from msgtrans.workers.children import Child
from msgtrans.workers.group import Together
from msgtrans.workers.messages import (
    AskGroup,
    AskReport,
    Begin,
    Bound,
    End,
    Enough,
    Failing,
    Grouped,
    Listen,
    Ready,
    Report,
    Rest,
    Rested,
    frame,
    from_worker,
)
from msgtrans.workers.plan import Phase, Plan
from msgtrans.workers.processes import Entry
from msgtrans.workers.sockets import Listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msgtrans.config.workers import WorkersConfig
    from msgtrans.workers.link import WorkerLink
    from msgtrans.workers.messages import FromWorker, ToWorker

READ: Final = 64 * 1024  # bytes
STUCK: Final = 1.0  # seconds a worker may leave its channel full before it counts as hanging
logger = logging.getLogger("msgtrans.workers")


class Supervisor:
    """Starts, watches and replaces worker processes. Made and run in the main thread of a process of its own.

    work: what each worker does. gauges: counters of a worker that mean nothing once it has ended.
    ready: called with the URIs of the first workers once all of them serve, once.
    """

    def __init__(
        self,
        work: Callable[[WorkerLink], None] | Entry,
        config: WorkersConfig,
        *,
        gauges: Iterable[str] = (),
        ready: Callable[[list[str]], object] | None = None,
    ) -> None:
        self.config = config
        self._work = work
        self._ready = ready
        self._gauges = frozenset(gauges)
        self._children: dict[int, Child] = {}
        self._failure: str | None = None  # set at the end, empty when it was asked for

    def run(self) -> None:
        """Supervise until told to end by a signal. Raises WorkerError when the workers cannot be kept running,
        ConfigurationError when this process cannot supervise.
        """
        self._check()
        self._selector = selectors.DefaultSelector()
        self._listening = Listening(reuse_port=self.config.reuse_port)
        began = time.monotonic()
        self._together = Together(self._gauges, began, time.time())
        self._plan = Plan(self.config, began)
        self._has_terminal = processes.has_terminal()
        self._wake, self._waker = socket.socketpair()
        before = self._take_signals()
        try:
            self._selector.register(self._wake, selectors.EVENT_READ)
            self._do(self._plan.begin(time.monotonic()))
            while self._failure is None:
                self._turn()
        except BaseException:
            for child in self._children.values():
                self._kill(child, signal.SIGKILL)
            raise
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            for child in list(self._children.values()):
                self._reap(child, wait=True)
            self._close()
        if self._failure:
            raise WorkerError(self._failure)

    def _check(self) -> None:
        if sys.platform == "win32":
            raise ConfigurationError("workers", "need a POSIX system; serve with one process here")
        if threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("workers", "are supervised in the main thread only, which gets the signals")
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            raise ConfigurationError("workers", "cannot be started while an event loop runs; call run() outside of it")
        if not isinstance(self._work, Entry) and (names := processes.other_threads()):
            logger.warning(
                "workers are forked while other threads run (%s): what they hold stays locked there; "
                "begin them in workers, or name a factory by its import path",
                ", ".join(names),
            )

    # Its loop

    def _turn(self) -> None:
        now = time.monotonic()
        wait = self._plan.next(now)
        if (answer_in := self._together.wait(now)) is not None:
            wait = min(wait, answer_in)
        numbers = b""
        events = self._selector.select(wait)
        for key, _ in events:
            if key.fileobj is self._wake:
                numbers = self._wake.recv(4096)
            elif (child := self._children.get(key.data)) is not None:
                self._read(child)
        for number in numbers:
            self._signalled(number)
        if signal.SIGCHLD in numbers or not events:  # not for each report of each worker
            for child in list(self._children.values()):
                self._reap(child)
        self._do(self._plan.tick(time.monotonic()))
        self._answer()
        self._steer()
        if self._ready is not None and self._plan.all_ready:
            tell, self._ready = self._ready, None
            tell(next(child.uris for child in self._children.values() if child.uris))

    def _take_signals(self) -> dict[int, signal.Handlers | Callable[..., object] | int | None]:
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        return {number: signal.signal(number, lambda *_: None) for number in processes.HELD}

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        match number:
            case signal.SIGHUP if self._has_terminal and not processes.has_terminal():
                self._has_terminal = False
                self._do(self._plan.stop(now))
            case signal.SIGTERM | signal.SIGINT:
                self._do(self._plan.stop(now))
            case signal.SIGQUIT:
                self._do(self._plan.stop_at_once(now))
            case signal.SIGHUP:
                self._do(self._plan.reload(now))
            case signal.SIGTTIN:
                self._do(self._plan.resize(1, now))
            case signal.SIGTTOU:
                self._do(self._plan.resize(-1, now))

    def _do(self, decided: Iterable[actions.Action]) -> None:
        for action in decided:
            match action:
                case actions.Start(life, place):
                    self._start(life, place)
                case actions.Rest(life):
                    self._send(life, Rest())
                case actions.Stop(life):
                    self._send(life, End(self._plan.word))
                case actions.Kill(life, hung):
                    if (child := self._children.get(life)) is not None:
                        self._kill(child, signal.SIGABRT if hung else signal.SIGKILL)
                case actions.Tell(text, bad):
                    logger.log(logging.WARNING if bad else logging.INFO, "%s", text)
                case actions.Settled():
                    self._listening.keep_only(self._plan.lives)
                case actions.Closing():
                    self._listening.close()  # connect from now on, and be refused at once
                case actions.End(failure):
                    self._failure = failure

    # Processes

    def _start(self, life: int, place: int) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._do(self._plan.exited(life, f"it could not be started: {error}", time.monotonic(), started=False))
            return
        child = Child(life, place, ours, time.monotonic())
        entry = self._work if isinstance(self._work, Entry) else None
        begin = Begin(
            index=place,
            count=self._plan.count,
            life=life,
            report_interval=self.config.report_interval,
            graceful_timeout=self.config.graceful_timeout,
            entry=entry.call if entry is not None else "",
            arguments=entry.arguments if entry is not None else (),
        )
        self._children[life] = child
        ours.settimeout(STUCK)
        self._selector.register(ours, selectors.EVENT_READ, life)
        try:
            if isinstance(self._work, Entry):
                child.process = processes.spawn(theirs)
                ours.sendall(frame(begin))
            else:
                child.process = processes.fork(self._work, begin, theirs, self._forget)
        except OSError as error:
            self._lost(child, f"it could not be started: {error}")
        finally:
            theirs.close()

    def _forget(self) -> None:
        """In a forked worker: close what belongs to the supervisor."""
        signal.set_wakeup_fd(-1)
        self._close()

    def _close(self) -> None:
        for child in self._children.values():
            child.channel.close()
        self._listening.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()

    def _kill(self, child: Child, number: int) -> None:
        if child.process is not None and child.process.poll() is None:
            os.kill(child.process.pid, number)

    def _reap(self, child: Child, *, wait: bool = False) -> None:
        """See whether a process has ended."""
        code = child.process.poll() if child.process is not None else processes.FAILED
        while wait and code is None and child.process is not None:
            time.sleep(0.01)
            code = child.process.poll()
        if code is None:
            return
        while self._read(child):
            pass  # what it has said last
        self._lost(child, processes.words(code))

    def _lost(self, child: Child, how: str) -> None:
        del self._children[child.life]
        with suppress(KeyError):
            self._selector.unregister(child.channel)
        child.channel.close()
        self._together.ended(child)
        decided = self._plan.exited(child.life, how, time.monotonic(), started=child.process is not None)
        self._steer()  # first of all: until then connections queue at the empty place
        self._do(decided)
        if child.place >= self._plan.count and all(other.place != child.place for other in self._children.values()):
            self._listening.leave(child.place)

    # Channels

    def _send(self, life: int, message: ToWorker, files: Iterable[socket.socket] = ()) -> None:
        child = self._children.get(life)
        if child is None:
            return
        data, numbers = frame(message), [file.fileno() for file in files]
        try:
            if numbers:
                data = data[socket.send_fds(child.channel, [data], numbers) :]
            child.channel.sendall(data)
        except TimeoutError:
            logger.warning("worker %d does not read what it is told and is killed", child.place)
            self._kill(child, signal.SIGKILL)
        except OSError:  # it has ended, or is about to: its end says more
            return

    def _read(self, child: Child) -> bool:
        """Take what a worker says; whether there was anything."""
        try:
            data = child.channel.recv(READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            with suppress(KeyError):
                self._selector.unregister(child.channel)
            return False
        try:
            messages = [from_worker.decode(body) for body in child.frames.feed(data)]
        except (ValueError, msgspec.MsgspecError) as error:
            logger.error("worker %d says what no worker says, and is killed: %s", child.place, error)  # noqa: TRY400
            self._selector.unregister(child.channel)
            self._kill(child, signal.SIGKILL)
            return False
        for message in messages:
            self._take(child, message)
        return True

    def _take(self, child: Child, message: FromWorker) -> None:
        now = time.monotonic()
        self._plan.heard(child.life, now)
        match message:
            case Report():
                self._together.reported(child, message, now)
            case Ready(uris, rests):
                child.uris = uris
                logger.info("worker %d is ready, process %d", child.place, child.pid)
                self._do(self._plan.ready(child.life, now, rests=rests))
            case Rested():
                self._do(self._plan.rested(child.life, now))
            case Failing(why, hopeless):
                self._do(self._plan.failing(child.life, why, now, hopeless=hopeless))
            case Enough(word, failure, together):
                self._do(self._plan.enough(child.life, now, word=word, failure=failure, together=together))
            case Listen():
                self._bind(child, message)
            case AskGroup(request):
                for other in self._together.ask(child, request, self._children.values(), now):
                    self._send(other.life, AskReport())

    def _bind(self, child: Child, message: Listen) -> None:
        if self._plan.stopping:
            self._send(child.life, Bound(message.request, error="the workers are about to end"))
            return
        try:
            sockets = self._listening.get(message, child.place, child.life)
        except OSError as error:
            self._send(child.life, Bound(message.request, error=error.strerror or str(error), number=error.errno))
            return
        self._send(child.life, Bound(message.request, files=len(sockets)), sockets)

    def _steer(self) -> None:
        """Have new connections go to the workers that serve."""
        self._listening.steer({life.place for life in self._plan.lives.values() if life.phase is Phase.READY})

    def _answer(self) -> None:
        now = time.monotonic()
        due = self._together.due(now)
        if due:
            group = self._together.group(self._children.values(), self._plan.restarts, now)
            for question in due:
                self._send(question.child.life, Grouped(question.request, group))
