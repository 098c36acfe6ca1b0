"""The five-minute guide is true: its programs run as they stand, and what is killed shows as it says."""

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from artemis.testing import running_node

GUIDE = (Path(__file__).parents[3] / "docs" / "getting-started.md").read_text(encoding="utf-8")
SERVICE, CALLER, CONFTEST = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
PATIENCE = 40.0


class Caller:
    """The guide's caller, and what it prints."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def until(self, said: Callable[[str], bool]) -> list[str]:
        """Return the lines up to one that says it, with that one."""
        assert self._process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self._process.stdout.readline()).decode().rstrip()
                assert line, lines
                lines.append(line)
                if said(line):
                    return lines


@asynccontextmanager
async def program(source: str, url: str, *arguments: str) -> AsyncIterator[Process]:
    """Run a program of the guide against a node."""
    assert "http://127.0.0.1:8080" in source
    source = source.replace("http://127.0.0.1:8080", url)
    process = await create_subprocess_exec(sys.executable, "-c", source, *arguments, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def free_port() -> str:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


async def test_kill_things() -> None:
    """A service that ends costs no call, nor does a node that is killed; both come back by themselves."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(running_node())
        ports = [free_port(), free_port()]
        services = [await stack.enter_async_context(program(SERVICE, node.url, port)) for port in ports]
        caller = Caller(await stack.enter_async_context(program(CALLER, node.url)))
        await caller.until(lambda line: "connected, 2 known" in line and line.startswith("hello"))
        lines = await caller.until(lambda line: f"hello from {ports[0]}" in line)
        lines += await caller.until(lambda line: f"hello from {ports[1]}" in line)
        services[0].terminate()
        lines += await caller.until(lambda line: "1 known" in line)
        assert 0 == await services[0].wait()
        node.kill()
        lines += await caller.until(lambda line: "suspended, 1 known" in line)
        await asyncio.to_thread(node.restart)
        lines += await caller.until(lambda line: "connected, 1 known" in line)
        assert [] == [line for line in lines if not line.startswith("hello from ")]


async def test_a_process_in_another_language() -> None:
    """The line with `artemis run` registers the server that it starts."""
    [line] = re.findall(r"^five/bin/artemis run .*$", GUIDE, re.MULTILINE)
    line = line.replace("five/bin/artemis", f"exec {sys.executable} -m artemis").replace("python3", sys.executable)
    async with running_node() as node:
        environment = {**os.environ, "ARTEMIS_SERVER": node.url}
        process = await create_subprocess_exec("sh", "-c", line, env=environment, stdout=PIPE, stderr=PIPE)
        assert process.stderr is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while (told := await process.stderr.readline()) and b"artemis run: Registered greetings/" not in told:
                    pass
                assert told
                process.terminate()
                await process.communicate()
            assert 128 + signal.SIGTERM == process.returncode
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


def test_every_command_is_one_of_ours() -> None:
    """What is typed is in the guide's environment, and its options exist."""
    for line in re.findall(r"^five/bin/\S+.*$", GUIDE, re.MULTILINE):
        assert line.split()[0] in {"five/bin/artemis", "five/bin/python", "five/bin/pip"}
    assert 'pytest_plugins = ["artemis.testing.fixtures"]' in CONFTEST
