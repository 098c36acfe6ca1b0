"""The demonstration as a whole, with all its processes."""

import asyncio
import os
import re
import select
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

PATIENCE = 90.0
DEMO = (sys.executable, "-m", "artemis", "demo", "--plain")
needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at the children in /proc")


@asynccontextmanager
async def demo(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``artemis demo --plain ARGUMENTS``; kill it in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        *DEMO, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(process: asyncio.subprocess.Process, pattern: str) -> list[str]:
    """Read lines of the demonstration up to the first one that matches."""
    assert process.stdout is not None
    lines: list[str] = []
    async for raw in process.stdout:
        lines.append(raw.decode().rstrip())
        if re.search(pattern, lines[-1]):
            return lines
    assert process.stderr is not None
    raise AssertionError(f"no line matches {pattern!r} in {lines} {(await process.stderr.read()).decode()}")


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_end(pids: list[int]) -> None:
    """Wait until processes that are not ours have ended."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ready, _, _ = select.select([handle], [], [], 20.0)
            assert ready, f"process {pid} is left"
        finally:
            os.close(handle)


@needs_proc
async def test_services_call_each_other_one_is_killed_expires_and_comes_back() -> None:
    """All told in plain lines; SIGTERM ends everything, with code 0 and nothing left behind."""
    async with demo("--port", "0", "--kill-every", "15", "--lease-ttl", "4") as process:
        lines = await until(process, "meanwhile callers repeated")
        started = children(process.pid)
        process.send_signal(signal.SIGTERM)
        lines += await until(process, "no process is left")
        assert await process.wait() == 0
        await asyncio.to_thread(wait_for_end, started)
    assert len(started) == 10
    story = [
        r"the registry listens at http://127\.0\.0\.1:\d+",
        r"all 9 instances are registered",
        r"orders-2 killed",
        r"storefront-\d got no answer from orders and asked another instance",
        r"lease of orders-2 expired",
        r"orders-2 started again",
        r"orders-2 is back",
        r"meanwhile callers repeated [1-9]\d* calls",
        r"9 of 9 instances up; .*orders -> inventory \d.*orders -> prices \d.*storefront -> orders [1-9]",
    ]
    places = [next((at for at, line in enumerate(lines) if re.search(part, line)), None) for part in story]
    assert None not in places, list(zip(story, places, strict=True))
    happened = [places[at] for at in (0, 1, 2, 4, 5, 6, 7)]
    assert happened == sorted(happened, key=lambda at: at or 0)


async def test_it_ends_by_itself_after_the_time_that_was_asked_for() -> None:
    """With code 0, even before the fleet is complete."""
    async with demo("--port", "0", "--seconds", "1") as process:
        await until(process, "no process is left")
        assert await process.wait() == 0


@needs_proc
async def test_nothing_is_left_when_it_is_killed() -> None:
    """The node and the fleet notice that nobody holds their pipes any more."""
    async with demo("--port", "0") as process:
        await until(process, "all 9 instances are registered")
        started = children(process.pid)
        process.kill()
        await asyncio.to_thread(wait_for_end, started)
    assert len(started) == 10


async def test_a_port_in_use_is_said_clearly() -> None:
    """With the way out, and code 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with demo("--port", str(port)) as process:
            output, errors = await process.communicate()
            assert process.returncode == 1
    assert output == b""
    assert f"port {port} of 127.0.0.1 is in use" in " ".join(errors.decode().split())
    assert "--port" in errors.decode()


@needs_proc
async def test_it_ends_when_its_node_ends() -> None:
    """With code 1 and a sentence; the fleet goes as well."""
    async with demo("--port", "0") as process:
        await until(process, "all 9 instances are registered")
        started = children(process.pid)
        os.kill(started[0], signal.SIGKILL)  # the node is the first one that it starts
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert b"the node ended by itself with code -9" in errors
        await asyncio.to_thread(wait_for_end, started)


async def test_a_terminal_gets_a_live_screen() -> None:
    """A table that is drawn again and again; Ctrl-C ends it with code 0."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *DEMO[:-1], "--port", "0", stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    )
    os.close(theirs)
    screen = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while b"what happens" not in screen or b"storefront-2" not in screen:
                screen += await asyncio.to_thread(os.read, ours, 65536)
            process.send_signal(signal.SIGINT)
            while b"no process is left" not in screen:
                screen += await asyncio.to_thread(os.read, ours, 65536)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
