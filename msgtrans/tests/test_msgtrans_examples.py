"""Each example runs as a program of its own, and prints what it says it shows."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[2] / "examples" / "msgtrans"
LIMIT = 30.0  # seconds after which a wait has failed


def program(name: str, *words: str) -> list[str]:
    return [sys.executable, str(FOLDER / name), *words]


def output(name: str, *words: str) -> list[str]:
    """The lines that an example prints, which must end well by itself."""
    done = subprocess.run(program(name, *words), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


class Running:
    """An example that runs until it is stopped."""

    def __init__(self, name: str, *words: str) -> None:
        self._process = subprocess.Popen(
            program(name, *words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        """The next line it prints."""
        return self._lines.get(timeout=LIMIT)

    def say(self, text: str) -> None:
        """Type a line."""
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def end_input(self) -> None:
        """Type no more."""
        self._process.stdin.close()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def rest(self) -> list[str]:
        """Wait for its end, and get what it printed before that."""
        self._process.wait(LIMIT)
        self._reading.join()
        return [self._lines.get_nowait() for _ in range(self._lines.qsize())]

    def stop(self) -> None:
        """End it with SIGTERM unless it has ended; either way it must end well and say nothing on stderr."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reading.join()
        errors = self._process.stderr.read()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()
        assert (code, errors) == (0, "")


@contextmanager
def running(name: str, *words: str) -> Iterator[Running]:
    """A running example, stopped in the end."""
    example = Running(name, *words)
    try:
        yield example
    finally:
        example.stop()


def test_packets() -> None:
    """packets.py takes packets to bytes and back, whole and cut, and shows a refusal."""
    lines = output("packets.py")
    assert ["one_way", "request", "response", "one_way", "one_way"] == [line.split()[0] for line in lines[:5]]
    assert all(line.endswith("decoded the same") for line in lines[:5])
    assert lines[5].endswith("in pieces of 7: 5 packets, True")
    assert lines[6].startswith("refused: ")


def test_transport_events() -> None:
    """transport_events.py traces both sides, from Established to Closed, with messages and requests both ways."""
    lines = output("transport_events.py")
    server = [line.removeprefix("server: ") for line in lines if line.startswith("server: ")]
    client = [line.removeprefix("client: ") for line in lines if line.startswith("client: ")]
    assert server == [
        "session 1 is open on tcp",
        "message 1 says 'good morning'",
        "request 2 asks 'is anybody there?'",
        "session 1 is closed (normal), 3 packets came",
    ]
    assert client == [
        "session 1 is open on tcp",
        "message 20000 says 'news'",
        "request 20001 asks 'and are you there?'",
        "session 1 is closed (normal), 3 packets came",
    ]
    assert "the client got 'yes, is anybody there?'" in lines
    assert "the server got 'yes, and are you there?'" in lines


def test_rate_limited_server() -> None:
    """rate_limited_server.py answers a burst as far as its limit goes, tells the rest so, and counts them."""
    lines = output("rate_limited_server.py")
    done, refused = (int(line.split()[0]) for line in lines[:2])
    assert lines[:2] == [f"{done} of 12: done", f"{refused} of 12: too fast"]
    assert (done + refused, done >= 5) == (12, True)
    assert lines[2:] == ["a moment later: done", f"the server has refused {refused}"]


def test_pool() -> None:
    """pool.py borrows from two servers, grows, has callers wait, and goes on when one of the servers goes."""
    assert output("pool.py") == [
        "north, south",
        "22 times a connection, of 4",
        "some waited: True",
        "{'south did the rest'}",
        "it has grown from 2 to 4",
    ]


def test_workers() -> None:
    """workers.py answers from two processes, each of which tells about both, and ends well."""
    with running("workers.py", "serve", "127.0.0.1:0") as server:
        lines = output("workers.py", "ask", server.line().removeprefix("serving "))
    assert [f"hello Ada, this is worker {index}" for index in (0, 1)] == [
        line.split(", process ")[0] for line in lines[:2]
    ]
    processes = " and ".join(line.split(", process ")[1] for line in lines[:2])
    assert [f"21 connections so far, to the processes {processes}"] == lines[2:]


def test_middleware() -> None:
    """middleware.py logs sessions, knows who asks, measures requests, and refuses unknown operations and peers."""
    lines = output("middleware.py")
    logged = [line.removeprefix("log: ") for line in lines if line.startswith("log: ")]
    assert logged[0].startswith("session 1: tcp from 127.0.0.1:")
    assert logged[1].endswith(", normal")
    assert "is not known here" in logged[-1]
    told = [line for line in lines if not line.startswith(("log: ", "session ")) and "took" not in line]
    assert told[:4] == [
        "operation 1: done, Ada",
        "operation 2: done, Ada",
        "operation 3: operation 3 does not exist; there are (1, 2)",
        "5 packets came, 1 was refused",
    ]
    assert told[4].startswith("a stranger is told: ")
    assert "Ada" not in told[4]
    assert [line.split()[1] for line in lines if "took" in line] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "words",
    [
        ["echo_client.py", "tcp://127.0.0.1:1"],
        ["chat_room.py", "client", "Ada", "ws://127.0.0.1:1/lobby"],
        ["echo_server.py", "here"],
        ["workers.py", "serve", "here"],
        ["transport_events.py", "tcp://here"],
        ["chat_room.py", "server", "here"],
    ],
)
def test_what_goes_wrong_is_one_sentence(words: list[str]) -> None:
    """Without a server, or where nothing can listen, an example ends with a sentence instead of a traceback."""
    done = subprocess.run(program(*words), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_echo_server_and_client() -> None:
    """echo_client.py sends, asks and answers over whichever transport its URI names, against one echo_server.py."""
    with running("echo_server.py", "127.0.0.1:0", "127.0.0.1:0") as server:
        uris = [server.line().removeprefix("listening ") for _ in range(2)]
        assert ["tcp", "ws"] == [uri.partition(":")[0] for uri in uris]
        for uri in uris:
            lines = output("echo_client.py", uri)
            assert lines[0].startswith(f"connected over {uri.partition(':')[0]} to 127.0.0.1:")
            assert lines[-1] == "disconnected (normal)"
            assert set(lines[1:-1]) == {
                "the server says 'Welcome!'",
                "the server says 'Echo: Hello from Python!'",
                "the server says 'Echo: ABCDEFGHIJKLMNOPQRSTUVWXYZ'",
                "answered 'Echo: What time is it?'",
                "answered 'Echo: Binary request'",
                "the server asks 'Who are you?'",
            }
    told = server.rest()
    assert "session 1: is a Python client" in told
    assert "session 2: gone (normal)" in told


def test_chat_room() -> None:
    """Members of a room of chat_room.py see who comes, what is said and who leaves; other rooms see nothing of it."""
    with running("chat_room.py", "server", "127.0.0.1:0") as server:
        _, page, _, uri = server.line().split()
        with (
            running("chat_room.py", "client", "Ada", uri) as ada,
            running("chat_room.py", "client", "Eve", uri.replace("lobby", "cellar")) as eve,
        ):
            assert ada.line() == "* Ada is here"
            assert eve.line() == "* Eve is here"
            with running("chat_room.py", "client", "Böb", uri) as bob:
                assert (ada.line(), bob.line()) == ("* Böb is here", "* Böb is here")
                bob.say("hello")
                assert (ada.line(), bob.line()) == ("Böb: hello", "Böb: hello")
                bob.end_input()
                assert bob.rest() == ["* the chat is over (normal)"]
            assert ada.line() == "* Böb has left"
            for member in (ada, eve):
                member.end_input()
                assert member.rest() == ["* the chat is over (normal)"]
        url = urlsplit(page)
        http = HTTPConnection(url.hostname or "", url.port, timeout=LIMIT)
        with closing(http):
            http.request("GET", url.path)
            answer = http.getresponse()
            assert (answer.status, b'"msgtrans.v1"' in answer.read()) == (200, True)


def test_chat_room_is_left_with_ctrl_c() -> None:
    """Ctrl-C ends the client of chat_room.py as the end of what is typed does."""
    with running("chat_room.py", "server", "127.0.0.1:0") as server:
        uri = server.line().split()[-1]
        with running("chat_room.py", "client", "Ada", uri) as ada:
            assert ada.line() == "* Ada is here"
            ada.interrupt()
            assert ada.rest() == ["* the chat is over (normal)"]


def test_reconnecting_client() -> None:
    """reconnecting_client.py loses its server, keeps a request meanwhile, and gets its answer from the next one."""
    assert output("reconnecting_client.py") == [
        "the client is connected",
        "Echo: hello",
        "the client is suspended",
        "waiting: True",
        "the client is connected",
        "Echo: are you back?",
        "the client is closed",
    ]
