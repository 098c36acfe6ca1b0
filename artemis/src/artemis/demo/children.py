"""A child process of the demonstration: started on a tether, listened to, ended in time."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LAST_LINES = 12


class Child:
    """One Python process that ends with this one (see `artemis.demo.tethered`)."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    @classmethod
    async def start(cls, name: str, *arguments: str) -> Child:
        """Start ``python ARGUMENTS`` in a session of its own, so that a Ctrl-C reaches this process alone."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(name, process)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def last_lines(self) -> str:
        """The end of what it printed."""
        return "\n".join(self._last)

    async def lines(self) -> AsyncIterator[str]:
        """Read what it prints, line by line, until it ends; lines beyond the reader's limit are left out."""
        output = self._process.stdout
        while output is not None:
            try:
                raw = await output.readline()
            except ValueError:
                continue
            if not raw:
                return
            line = raw.decode(errors="replace").rstrip()
            self._last.append(line)
            yield line

    async def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return await self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self.running:
            self._process.kill()

    async def stop(self, seconds: float) -> None:
        """Ask it to end (SIGTERM); kill it when it has not after ``seconds``."""
        if self.running:
            self._process.terminate()
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
