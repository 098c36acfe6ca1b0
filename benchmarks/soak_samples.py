"""What a process has at a moment: objects, memory, descriptors, tasks; and the socket through which it is commanded.

A process of the soak or churn program serves commands, a line each with an answer of one line of JSON, on a Unix
socket. When the one who commands goes away, it ends.
Not here: what samples must look like (`soak_verdict.py`).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from msgtrans.endpoint import Endpoint

Command: TypeAlias = Callable[[], Awaitable[dict[str, object]]]
NOTED = 40  # faults of which the words are kept
KEPT = 12  # types of which a sample tells, beside our own
PAGE = os.sysconf("SC_PAGE_SIZE")


def memory(pid: int | str = "self") -> dict[str, int]:
    """Bytes of memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return {"rss": int(fields[1]) * PAGE, "shared": int(fields[2]) * PAGE}


def descriptors(pid: int | str = "self") -> dict[str, int]:
    """Open descriptors of a process by kind."""
    kinds: Counter[str] = Counter()
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            kinds[os.readlink(f"{folder}/{name}").partition(":")[0]] += 1
        except FileNotFoundError:  # that of the listing itself
            continue
    return dict(kinds)


def threads() -> int:
    """Threads, without those that the loop's executor may have: these come when they are first needed, and stay."""
    several = [thread.name for thread in threading.enumerate()]
    pooled = sum(name.startswith(("asyncio_", "ThreadPoolExecutor-")) for name in several)
    return len(several) - min(pooled, 32, (os.cpu_count() or 1) + 4)


def trim() -> None:
    """Give the system back what the allocator keeps, so that memory is what is in use."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def objects(*, whole: bool) -> dict[str, object]:
    """How many objects there are, ours by type, and the others; only the types with most of them unless `whole`."""
    ours: Counter[str] = Counter()
    others: Counter[str] = Counter()
    everything = gc.get_objects()
    for kind, number in Counter(map(type, everything)).items():
        name = f"{kind.__module__}.{kind.__qualname__}"  # a few of C give no text as their module
        (ours if name.startswith("msgtrans.") else others)[name] += number
    total = len(everything)
    handles = sum(number for name, number in others.items() if name.endswith("TimerHandle"))
    return {
        "objects": total,
        "ours": dict(ours),
        "others": dict(others.most_common(None if whole else KEPT)),
        "timers": handles,
    }


def handshakes() -> int:
    """TLS connections that uvloop keeps: some whose handshake was cancelled, until it would have been too late."""
    gc.collect()
    return sum(type(one).__name__ == "SSLProtocol" for one in gc.get_objects())


def sample(endpoints: Iterable[Endpoint], *, whole: bool) -> dict[str, object]:
    """What this process has now. whole: after a collection, and with nothing kept by the allocator."""
    before = memory()["rss"]
    if whole:
        gc.collect()
        gc.collect()
        trim()
    open_descriptors = descriptors()
    several = list(endpoints)
    sessions = [session for endpoint in several for session in endpoint.sessions.values()]
    return {
        **objects(whole=whole),
        "rss": memory()["rss"],
        "rss_before": before,
        "descriptors": sum(open_descriptors.values()),
        "kinds": open_descriptors,
        "tasks": len(asyncio.all_tasks()) - 1,  # without the one that asks
        "modules": list(sys.modules) if whole else [],
        "threads": threads(),
        "sessions": len(sessions),
        "pending": sum(session.pending_requests for session in sessions),
        "kept": sum(endpoint.kept for endpoint in several),
        "processor": time.process_time(),
    }


class Faults(logging.Handler):
    """What must not happen: what the programs note themselves, errors in the log, and warnings of lost resources.

    number: of all; words: of the first. Installed once per process.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.number = 0
        self.words: list[str] = []
        self.warnings: Counter[str] = Counter()

    def install(self) -> None:
        """Hear what is logged, and what Python warns of."""
        logging.captureWarnings(True)
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Note an error; count a warning."""
        if record.levelno >= logging.ERROR or record.name == "py.warnings":
            self.note(f"{record.name}: {self.format(record)}")
        else:
            self.warnings[f"{record.name}: {record.msg}"] += 1

    def note(self, words: str) -> None:
        """Something went wrong."""
        self.number += 1
        if len(self.words) < NOTED:
            self.words.append(words[-2000:])
            print(words, file=sys.stderr, flush=True)

    def told(self) -> dict[str, object]:
        """For a sample."""
        return {"faults": self.number, "fault_words": self.words, "warnings": dict(self.warnings)}


async def obey(path: str, commands: Mapping[str, Command], gone: Callable[[], object]) -> asyncio.Server:
    """Serve `commands` at a Unix socket; `gone` is called when whoever commanded has gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                told = await commands[line.decode().strip()]()
                writer.write(json.dumps(told).encode() + b"\n")
                await writer.drain()
        except (
            asyncio.CancelledError
        ):  # this process ends; asyncio would call it an error that its own task is cancelled
            return
        finally:
            writer.close()
            gone()

    return await asyncio.start_unix_server(serve, path, limit=1 << 22)


class Commanded:
    """The other side of `obey`: a process that is told what to do."""

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self._reader = reader
        self._writer = writer

    @classmethod
    async def reach(cls, name: str, path: str, *, patience: float = 30.0) -> Commanded:
        """Connect, as soon as the process listens."""
        ends = time.monotonic() + patience
        while True:
            try:
                return cls(name, *await asyncio.open_unix_connection(path, limit=1 << 22))
            except OSError:
                if time.monotonic() > ends:
                    raise
                await asyncio.sleep(0.05)

    async def tell(self, command: str, *, patience: float = 120.0) -> dict[str, object]:
        """Have it do something, and what it says. Raises OSError when it has ended, TimeoutError when it hangs."""
        self._writer.write(command.encode() + b"\n")
        async with asyncio.timeout(patience):
            line = await self._reader.readline()
        if not line:
            raise ConnectionError(f"{self.name} has ended")
        told: dict[str, object] = json.loads(line)
        return told

    async def leave(self) -> None:
        """Go away: it ends."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
