"""The processes that `artemis run` starts: begun as a shell would, ended by signal, and every one of them reaped.

It reaps whatever child this process has, as the first process of a container must: orphans are handed to that one.
Not here: when a process is to end, and what its end means; see `artemis.cli.run_supervision`. POSIX alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_PR_SET_PDEATHSIG = 1


class CannotStartError(Exception):
    """A command cannot be started; ``code`` is what a shell would end with: 127 not found, 126 not executable."""

    def __init__(self, command: str, error: OSError) -> None:
        why = "command not found" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        super().__init__(f"{command}: {why}")
        self.code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


class Child:
    """One started process. ``ended`` is done when it has been reaped: its exit code, or minus the signal's number."""

    def __init__(self, process: subprocess.Popen[bytes], *, leads: bool, ended: asyncio.Future[int]) -> None:
        self.pid = process.pid
        self.leads = leads
        """Whether it has a process group of its own."""
        self.ended = ended
        self._process = process
        self._group = leads

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        # It is reaped in the same thread: until then the number is its own, even if it has just ended.
        if not self.ended.done():
            os.kill(self.pid, number)

    def send_group(self, number: int) -> None:
        """Send a signal to everything in its process group, what outlives it included; nothing if the group is ours."""
        if not self._group:
            return
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # Nobody is left, or (macOS) nobody but zombies. The number may be somebody else's from now on.
            self._group = False

    def has_group(self) -> bool:
        """Say whether anything is left of its process group; no if the group is ours."""
        self.send_group(0)
        return self._group

    def kill(self) -> None:
        """End it at once, and its process group if that is its own."""
        self.send(signal.SIGKILL)
        self.send_group(signal.SIGKILL)

    def abandon(self) -> None:
        """End it at once, and do not wait until that has happened."""
        self.kill()
        self._process.returncode = -signal.SIGKILL  # or its end would be waited for, with a warning

    def reaped(self, status: int) -> None:
        """Take in what `waitpid` said."""
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if not self.ended.done():
            self.ended.set_result(self._process.returncode)


class Children:
    """Starts processes and reaps them, inside ``with`` in the main thread of a running loop; owns SIGCHLD meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, Child] = {}

    def __enter__(self) -> Self:
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self._reap()
        for child in self._running.values():
            child.abandon()

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], leads: bool, tied: bool = False, silent: bool = False
    ) -> Child:
        """Start a process; ``CannotStartError`` if the system cannot.

        ``leads``: in a process group of its own. ``tied``: on Linux it gets SIGTERM when this process ends in any way.
        ``silent``: its input, output and errors are nothing, not those of this process.
        """
        streams = subprocess.DEVNULL if silent else None
        try:
            process = subprocess.Popen(  # noqa: S603 - what the user asked for
                list(command),
                env=dict(env),
                stdin=streams,
                stdout=streams,
                stderr=streams,
                process_group=0 if leads else None,
                preexec_fn=_tie() if tied else None,  # noqa: PLW1509 - no other thread exists when the command starts
            )
        except OSError as error:
            raise CannotStartError(command[0], error) from None
        child = Child(process, leads=leads, ended=self._loop.create_future())
        self._running[child.pid] = child
        return child

    def _reap(self) -> None:
        # One signal may stand for many ends.
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._running.pop(pid, None)
            if child is not None:
                child.reaped(status)


def _tie() -> Callable[[], None] | None:
    """Return what the child does before it becomes the command, so that it is told of the death of this process."""
    if sys.platform != "linux":
        return None
    try:
        prctl = ctypes.CDLL(None).prctl  # looked up now: after a fork there should be as little to do as can be
    except (OSError, AttributeError):
        return None
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGTERM)

    return tie
