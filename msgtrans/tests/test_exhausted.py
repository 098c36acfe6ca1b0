"""Processes without a descriptor to spare: what they have goes on, and what they could not do works again (case 31)."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from carriers import LIMIT, LOOPS
from exhausted_program import QUICK

from msgtrans import ReconnectingClient, TransportClient, TransportServer
from msgtrans.config import parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carriers import Certificates

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
PROGRAM = str(Path(__file__).with_name("exhausted_program.py"))
on_loops = pytest.mark.parametrize("loop", LOOPS)
MANY = 64  # connections, more than the server has descriptors for
LOOK = 1.5  # seconds for which it is watched


@contextmanager
def exhausted_server(loop: str) -> Iterator[tuple[str, list[str]]]:
    """Its URI, and a list that gets the lines of its log when it has ended."""
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "server", loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("listening ").strip(), log
        _, told = process.communicate("", timeout=LIMIT)
        log += told.splitlines()
        assert 0 == process.returncode, told
    finally:
        process.kill()
        process.communicate()


@on_loops
def test_a_server_without_descriptors_serves_those_it_has_and_rests(loop: str) -> None:
    """Open sessions are answered, the listener does not spin nor flood the log, and accepts when there is room."""

    async def visit(uri: str) -> None:
        host, port = parse_address(uri)
        async with TransportClient(uri) as client:

            async def ask(what: bytes) -> float:
                return float((await client.request(what, timeout=LIMIT)).payload)

            with ExitStack() as many:
                for _ in range(MANY):
                    many.enter_context(socket.create_connection((host, port), timeout=LIMIT))
                while not 1 < await ask(b"sessions") < MANY:
                    pass
                now, before = asyncio.get_running_loop().time, await ask(b"processor time")
                until = now() + LOOK
                while now() < until:  # with others that try, all the time
                    with socket.create_connection((host, port), timeout=LIMIT):
                        await ask(b"sessions")
                        await asyncio.sleep(0.1)
                assert await ask(b"processor time") - before < 0.6 * LOOK
                assert 1 < await ask(b"sessions") < MANY
            async with ReconnectingClient(uri, retry=QUICK) as other:
                assert b"room" == (await other.request(b"room", timeout=LIMIT, idempotent=True)).payload

    with exhausted_server(loop) as (uri, log):
        asyncio.run(visit(uri))
    assert len([line for line in log if "Too many open files" in line]) < 10, log


@on_loops
def test_clients_without_descriptors_say_so_and_come_back(loop: str) -> None:
    """TransportClient and pool raise a ConnectError that says what to do; with descriptors all of them connect."""

    async def visit() -> tuple[str, bytes, bytes]:
        server = TransportServer(tcp="127.0.0.1:0")
        server.on_request(lambda context: context.payload)
        async with server:
            command = (sys.executable, PROGRAM, "clients", loop, server.uris[0])
            clients = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            return server.uris[0], *await asyncio.wait_for(clients.communicate(), 2 * LIMIT)

    uri, said, log = asyncio.run(visit())
    why = f"cannot connect to {uri}: Too many open files; allow this process more open files (ulimit -n), "
    why += "or close connections"
    assert [
        f"ConnectError: {why}",
        f"ConnectError: the pool has no connection and can make none: {why}",
        f"ConnectError: {why}",
        "done",
        "done",
        "done",
    ] == said.decode().splitlines(), log.decode()


def test_certificates_are_read_once_there_is_a_descriptor(certificates: Certificates) -> None:
    """Certificates that changed meanwhile come into use then; a client may try again: its file is not to blame."""
    done = subprocess.run(
        [sys.executable, PROGRAM, "certificates", "asyncio", certificates.server_file],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    error, again = done.stdout.splitlines()
    assert error.startswith("ConnectError: the certificates cannot be read now: ca_file: ")
    assert error.endswith("Too many open files")
    assert "done" == again
