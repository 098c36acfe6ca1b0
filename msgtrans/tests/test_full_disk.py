"""Logs, output and errors on a full disk: whoever serves, serves on (case 31)."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT, LOOPS

from msgtrans import ReconnectingClient, RetryConfig, TransportClient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
PROGRAM = str(Path(__file__).with_name("full_disk_program.py"))
LISTENING = "0A"  # of /proc/net/tcp
QUICK = RetryConfig(max_retries=None, retry_interval=0.001, max_retry_interval=0.05)


@contextmanager
def with_full_disk(*command: str, err: bool = True, keep: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """A program that can write to nothing but `keep`; in the end it is asked to stop, and has to, with exit code 0."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=full, stderr=full if err else None, env=buffered, pass_fds=keep
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(LIMIT)
    finally:
        process.kill()
        process.wait()


@contextmanager
def program(loop: str, workers: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The program, and where it listens."""
    told, tell = os.pipe()
    with with_full_disk(PROGRAM, loop, str(workers), str(tell), keep=(tell,)) as process, os.fdopen(told) as lines:
        os.close(tell)
        yield process, lines.readline().strip()


async def uri_of(process: subprocess.Popen[bytes]) -> str:
    """Where it listens, which it cannot tell: as the system knows it."""
    async with asyncio.timeout(3 * LIMIT):
        while (port := _port_of(process.pid)) is None:
            assert process.poll() is None, "it has ended"
            await asyncio.sleep(0.1)  # nothing tells when
    return f"tcp://127.0.0.1:{port}"


def _port_of(pid: int) -> int | None:
    sockets = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            sockets |= set(re.findall(r"socket:\[(\d+)\]", str(file.readlink())))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if sockets else ():
        fields = line.split()
        if fields[3] == LISTENING and fields[9] in sockets:
            return int(fields[1].partition(":")[2], 16)
    return None


async def nonsense(uri: str) -> None:
    """What is no packet, for the log."""
    host, _, port = uri.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT) as peer:
        peer.sendall(b"\xff" * 64)
        with suppress(ConnectionResetError):
            assert b"" == await asyncio.to_thread(peer.recv, 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_serves_on_while_its_log_has_no_room(loop: str) -> None:
    """Sessions, failing handlers, bad peers: what is logged of them is lost, and nothing else."""

    async def visit(uri: str) -> None:
        async with TransportClient(uri) as client:
            for _ in range(3):
                assert b"failed" == (await client.request(b"fail", timeout=LIMIT)).payload
                await nonsense(uri)
                assert b"hello" == (await client.request(b"hello", timeout=LIMIT)).payload

    with program(loop, 1) as (_, uri):
        asyncio.run(visit(uri))


def test_workers_and_their_supervisor_serve_on_while_their_logs_have_no_room() -> None:
    """A killed worker is replaced, and a reload is done, although none of it can be told."""

    async def visit(process: subprocess.Popen[bytes], uri: str) -> None:
        async with ReconnectingClient(uri, retry=QUICK) as client:

            async def pid() -> int:
                return int((await client.request(b"pid", timeout=LIMIT, idempotent=True)).payload)

            assert b"failed" == (await client.request(b"fail", timeout=LIMIT, idempotent=True)).payload
            killed = await pid()
            os.kill(killed, signal.SIGKILL)
            before = await pid()
            assert killed != before
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(LIMIT):
                while await pid() == before:
                    pass

    with program(LOOPS[-1], 2) as (process, uri):
        asyncio.run(visit(process, uri))


@pytest.mark.parametrize(("workers", "err"), [("1", True), ("2", False)])
def test_serve_echo_serves_although_it_cannot_say_where(workers: str, err: bool) -> None:
    """`msgtrans serve-echo` with its output, and its errors too, on a full disk."""

    async def visit(process: subprocess.Popen[bytes]) -> None:
        async with ReconnectingClient(await uri_of(process), retry=QUICK) as client:
            assert b"hello" == (await client.request(b"hello", timeout=LIMIT)).payload

    command = ("-m", "msgtrans", "serve-echo", "--tcp", "127.0.0.1:0", "--workers", workers)
    with with_full_disk(*command, err=err) as process:
        asyncio.run(visit(process))
