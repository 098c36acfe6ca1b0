"""Worker processes: forked with all that this process has, or new interpreters that import what they need.

Fork: handlers are functions of this process, closures too, and need no import path; only before anything that does not
survive a fork runs here, as an event loop or threads. A new interpreter: reads the code again, so that a reload brings
new code. What the best in the field do: gunicorn forks and imports after that, uvicorn, hypercorn and granian spawn.
Not here: when to start one (`plan`).
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from msgtrans.workers.messages import Begin

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from msgtrans.workers.link import WorkerLink

FAILED: Final = 1  # exit code of a worker that raised
ORPHANED: Final = 70  # exit code of a worker whose supervisor is gone
IGNORED: Final = ("SIGINT", "SIGHUP")  # what a terminal sends to all; the supervisor says what to do
CHILD: Final = (  # not -m, which would look for modules in the current directory first
    "import sys; sys.path[:] = sys.argv[2:]; from msgtrans.workers.child import main; raise SystemExit(main())"
)
HELD: Final = tuple(  # signals that wait until a new worker knows that it is one; by name, as not every system has all
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGCHLD")
    if hasattr(signal, name)
)


class Process(Protocol):
    """A child process."""

    @property
    def pid(self) -> int:
        """Its number."""
        ...

    def poll(self) -> int | None:
        """Its exit code, negative the signal that ended it; None while it runs."""
        ...


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a new interpreter calls: `call`, "package.module:function", with a `WorkerLink` and `arguments`."""

    call: str
    arguments: tuple[str, ...] = ()


class Forked:
    """A child made by fork."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """As `Process.poll`."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # something else in this program waits for all children
                self._code = FAILED
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def fork(
    work: Callable[[WorkerLink], None], begin: Begin, channel: socket.socket, forget: Callable[[], None]
) -> Forked:
    """A process that does `work`. forget: closes there what belongs to the supervisor alone."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):  # its disk is full
                stream.flush()  # or both processes would write what waits there
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Forked(pid)
    code = FAILED
    try:
        forget()
        code = _live(work, begin, channel)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it is; nothing of the parent may run
        traceback.print_exc()
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        finally:
            os._exit(code)


def _exit_code(error: SystemExit) -> int:
    """What Python makes of it: a number is one, words are printed."""
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return FAILED


def spawn(channel: socket.socket) -> subprocess.Popen[bytes]:
    """A new interpreter that reads from `channel` what to do."""
    command = [sys.executable, "-P", "-c", CHILD, str(channel.fileno()), *sys.path]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        return subprocess.Popen(command, pass_fds=[channel.fileno()])  # noqa: S603 - ourselves
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare() -> None:
    """In a worker: leave to the supervisor what a terminal says to all, and have the other signals end it."""
    for number in HELD:
        signal.signal(number, signal.SIG_IGN if number.name in IGNORED else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _live(work: Callable[[WorkerLink], None], begin: Begin, channel: socket.socket) -> int:
    from msgtrans.workers.link import WorkerLink

    prepare()
    with WorkerLink(channel, begin) as link:
        return link.run(work)


def other_threads() -> list[str]:
    """Names of the threads that a fork would leave behind, with whatever locks they hold."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]


def has_terminal() -> bool:
    """Whether a terminal controls this process, whose end it should not outlive."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False  # it should: nohup
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE}  # that does not tell: it is there still
    return True


def words(code: int) -> str:
    """An exit code as people say it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
