"""SIGHUP, and what `serve-echo` says of signals and of a start that fails: with one process and with several."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import socket
import sys
import termios
from typing import TYPE_CHECKING

import pytest
from worker_program import Workers

from msgtrans import ConnectError, TransportClient
from msgtrans.monitor import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ECHO = (sys.executable, "-m", "msgtrans", "serve-echo")
OWN = """
import logging
from msgtrans import TransportServer

logging.basicConfig(level=logging.INFO, format="%(message)s")
server = TransportServer(tcp="127.0.0.1:0")
server.on_request(lambda context: context.payload)
server.run(ready=lambda uris: print("listening", *uris))
print("ended well")
"""


def asked(uri: str) -> bytes:
    """What a server answers."""

    async def ask() -> bytes:
        async with TransportClient(uri) as client:
            return (await client.request(b"hello")).payload

    return asyncio.run(ask())


@pytest.fixture
def port() -> Iterator[int]:
    """One that workers can share, and nobody else can take."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("command", [(*ECHO, "--tcp", "127.0.0.1:0"), (sys.executable, "-c", OWN)], ids=["echo", "own"])
def test_a_server_of_one_process_goes_on(command: tuple[str, ...]) -> None:
    """Without certificates and workers SIGHUP finds nothing to do, says so, and ends nothing."""
    with Workers(*command) as server:
        uri = server.uri()
        server.send(signal.SIGHUP)
        server.until("SIGHUP: there are no certificates to read again, and no workers to replace")
        assert b"hello" == asked(uri)
        assert 0 == server.end()
        assert ("-c" in command) == (server.said("ended well") == ["ended well"])


def terminal() -> tuple[int, Callable[[], None], int]:
    """A terminal: our end, what a process calls to be controlled by it, and the end to close then."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    return ours, take_terminal, theirs


def test_closing_the_terminal_ends_a_server() -> None:
    """SIGHUP of a terminal that is closed ends a server of one process gracefully."""
    ours, take_terminal, theirs = terminal()
    with Workers(sys.executable, "-c", OWN, preexec_fn=take_terminal) as server:
        os.close(theirs)
        server.uri()
        server.send(signal.SIGHUP)
        server.until("SIGHUP: ")
        os.close(ours)
        assert 0 == server.end(None)
        assert server.said("ended well")


def test_serve_echo_says_what_workers_do(port: int) -> None:
    """With workers it prints where metrics are, too, and a line for what comes of a signal."""
    metrics = f"127.0.0.1:{port}"
    with Workers(*ECHO, "--tcp", "127.0.0.1:0", "--workers", "2", "--metrics", metrics) as server:
        server.uri()
        assert f"metrics http://{metrics}/metrics" == server.until("metrics ")
        server.send(signal.SIGHUP)
        server.until("a rolling reload begins")
        server.until("the rolling reload is done")
        server.send(signal.SIGTTOU)
        server.until("1 workers instead of 2", "1 worker instead of 2")
        assert 0 == server.end()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("what", ["--tcp", "--metrics"])
def test_a_start_that_fails_is_told_once(workers: str, what: str, taken: int) -> None:
    """A port that is taken is named in one sentence that says what to do, whoever needs it."""
    where = {"--tcp": "127.0.0.1:0"} | {what: f"127.0.0.1:{taken}"}
    words = [word for pair in where.items() for word in pair]
    with Workers(*ECHO, *words, "--workers", workers) as server:
        assert 1 == server.end(None)
    (told,) = server.said(f"cannot listen on 127.0.0.1:{taken}")
    assert told.endswith("the port is in use; choose another, or port 0 for any")
    assert not server.said("Errno")
    assert not server.said("Traceback")


async def test_where_metrics_are(taken: int) -> None:
    """The URI is known before it listens, and is the real one after; a port in use is told as that of a listener."""
    assert "http://127.0.0.1:9464/metrics" == MetricsServer(str).uri
    async with MetricsServer(str, "127.0.0.1:0") as metrics:
        assert f"http://{metrics.address}/metrics" == metrics.uri
    with pytest.raises(ConnectError, match=r"for metrics: the port is in use; choose another, or port 0 for any$"):
        await MetricsServer(str, f"127.0.0.1:{taken}").start()
