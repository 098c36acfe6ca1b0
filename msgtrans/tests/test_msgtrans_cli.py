"""The commands: as processes where that matters, else in this one."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from msgtrans.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

V2 = bytes.fromhex("01 00 01 00 00000001 0000 00000002 0000 6869")
V3 = bytes.fromhex("01 00 02 00 00000001 0000 00000002 0000 6869")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "msgtrans", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, in this process, because starting one takes longer than most of them."""
    done = CliRunner().invoke(app, words)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The URI of a running serve-echo, which must end well."""
    with subprocess.Popen(command("serve-echo", "--tcp", "127.0.0.1:0"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, _, uri = process.stdout.readline().strip().partition(" ")
        assert first == "listening"
        yield uri
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_serve_echo_answers_and_sends_back(echo: str) -> None:
    """A request is answered with its payload; a one-way message comes back one-way."""
    host, _, port = echo.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as peer:
        one_way = bytes.fromhex("01 00 00 07 00000005 0000 00000003 0000 616263")
        peer.sendall(V2 + one_way)
        peer.shutdown(socket.SHUT_WR)
        got = b""
        while part := peer.recv(1000):
            got += part
    assert got == V3 + one_way[:4] + (20_000).to_bytes(4, "big") + one_way[8:]


def test_sigint_stops_with_an_open_connection() -> None:
    """SIGINT stops the server with exit code 0, although a peer is still connected."""
    with subprocess.Popen(command("serve-echo", "--tcp", "localhost:0"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("localhost", port), timeout=10) as peer:
            peer.sendall(V2)
            assert peer.recv(100) == V3
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0


def test_ping(echo: str) -> None:
    """Ping prints a line for each request and a summary."""
    done = run("ping", echo, "--count", "2", "--interval", "0")
    assert done.returncode == 0
    assert "32 bytes, request 2: " in done.stdout
    assert "2 requests, 2 answers" in done.stdout


def test_ping_for_machines(echo: str) -> None:
    """With --json ping prints one object."""
    done = run("ping", echo, "--count", "2", "--interval", "0", "--json")
    result = json.loads(done.stdout)
    assert (result["sent"], result["answered"]) == (2, 2)
    assert 0 < result["min_ms"] <= result["median_ms"] <= result["max_ms"]


def test_ping_interrupted(echo: str) -> None:
    """Ctrl-C ends ping with the summary of what was seen until then, and exit code 130."""
    words = command("ping", echo, "--count", "1000", "--interval", "0.1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "request 1: " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        shown, told = process.communicate(timeout=15)
    assert (process.returncode, told) == (130, "interrupted\n")
    assert re.search(r"^\d+ requests?, \d+ answers?; ms: min", shown.splitlines()[-1])


@pytest.mark.parametrize("options", [[], ["--one-way"], ["--connections", "3", "--in-flight", "5", "--size", "1000"]])
def test_bench(echo: str, options: list[str]) -> None:
    """Bench loads the server and reports, for people and for machines."""
    done = run("bench", echo, "--duration", "0.3", "--warm-up", "0.1", "--json", *options)
    result = json.loads(done.stdout)
    assert result["count"] > 0
    assert result["errors"] == 0
    latencies = [result[name] for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")]
    if "--one-way" in options:
        assert latencies == [None] * 6
    else:
        assert latencies == sorted(latencies)
    shown = run("bench", echo, "--duration", "0.1", "--warm-up", "0", *options)
    assert "per second" in shown.stdout
    assert ("p99.9" in shown.stdout) == ("--one-way" not in options)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["ping", "tcp://127.0.0.1:1"], 1, "nothing listens there"),
        (["bench", "tcp://name.invalid:1"], 1, "does not resolve"),
        (["ping", "pigeon://127.0.0.1:1"], 2, "scheme 'pigeon' is not known"),
        (["ping", "here"], 2, "write tcp://HOST:PORT"),
        (["serve-echo", "--tcp", "here"], 2, "bind_address"),
        (["bench", "tcp://127.0.0.1:1", "--in-flight", "0"], 2, "--in-flight"),
        (["ping", "tcp://127.0.0.1:1", "--size", "100000000000000"], 2, "--size"),
    ],
)
def test_errors_say_what_to_do(words: list[str], code: int, told: str) -> None:
    """Wrong command lines exit with 2, failures with 1, both with a sentence on stderr."""
    done = run(*words)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", ["inf", "nan"])
@pytest.mark.parametrize(
    "option",
    ["ping --interval", "ping --timeout", "bench --duration", "bench --warm-up", "bench --timeout", "top --interval"],
)
def test_numbers_are_finite(option: str, number: str) -> None:
    """An option that is a number takes none that is infinite or no number."""
    name, option = option.split()
    done = run(name, "tcp://127.0.0.1:1", option, number)
    assert (done.returncode, f"Invalid value for '{option}'" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("ping", "--count", "x"), "'--count': must be a whole number of at least 1, not 'x'"),
        (("ping", "--count", "0"), "'--count': must be a whole number of at least 1, not '0'"),
        (("ping", "--timeout", "0"), "'--timeout': must be a number of at least 0.001, not '0'"),
        (("top", "--biz-type", "256"), "'--biz-type': must be a whole number from 0 to 255, not '256'"),
    ],
)
def test_a_number_that_an_option_does_not_take_is_answered_by_what_it_takes(
    words: tuple[str, str, str], complaint: str
) -> None:
    """And by what there is instead."""
    name, *option = words
    done = run(name, "tcp://127.0.0.1:1", *option)
    assert (2, True) == (done.returncode, complaint in " ".join(done.stderr.replace("│", " ").split())), done.stderr


def test_bench_shows_progress_on_a_terminal(echo: str) -> None:
    """Where stderr is a terminal, a progress bar runs there, and stdout has only the result."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command("bench", echo, "--duration", "0.6"), stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        result = process.stdout.read()
        assert process.wait(15) == 0
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert ("warming up" in shown, "loading" in shown) == (True, True)
    assert "loading" not in result
    assert "per second" in result


def test_a_taken_port(echo: str) -> None:
    """serve-echo on a port in use exits with 1 and says so."""
    done = run("serve-echo", "--tcp", echo.removeprefix("tcp://"))
    assert (done.returncode, "port is in use" in done.stderr) == (1, True)


def test_ping_without_answers() -> None:
    """Ping a port that accepts but never answers: exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run("ping", f"tcp://127.0.0.1:{silent.getsockname()[1]}", "--count", "1", "--timeout", "0.1")
        exact = run("ping", f"tcp://127.0.0.1:{silent.getsockname()[1]}", "--count", "1", "--timeout", "0.1", "--json")
    assert (done.returncode, exact.returncode) == (1, 1)
    assert "1 request, 0 answers\n" in done.stdout
    assert json.loads(exact.stdout) == {"sent": 1, "answered": 0, "min_ms": None, "median_ms": None, "max_ms": None}
    assert "no request was answered" in done.stderr


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (b"", "If it wants TLS, write tls://127.0.0.1:"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no MsgTrans packet"),
        (V3, "closed the connection after "),
    ],
    ids=["closes", "greets", "leaves"],
)
@pytest.mark.parametrize("words", [["ping"], ["bench"], ["bench", "--one-way"]])
def test_servers_of_another_kind(words: list[str], says: bytes, told: str) -> None:
    """A server that closes, or speaks something else, is told apart from one of ours, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as threads:

        def serve() -> None:
            with other.accept()[0] as peer:
                if peer.recv(1):
                    peer.sendall(says)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(1 << 16):
                        pass

        serving = threads.submit(serve)
        done = run(words[0], f"tcp://127.0.0.1:{other.getsockname()[1]}", *words[1:])
        serving.result(15)
    assert done.returncode == 1
    assert told in done.stderr
    if says != V3:
        assert "is it a MsgTrans server?" in done.stderr
    elif "--one-way" in words:
        assert re.search(r"after it was sent [\d,]+ packets ", done.stderr)
    else:
        assert "after 1 answer (" in done.stderr
    assert "per second" not in done.stdout
    if words == ["ping"]:  # which says what it saw until then
        assert ("requests, 1 answer; ms: " if says == V3 else "1 request, 0 answers\n") in done.stdout


def test_bench_beyond_the_usual_limit(echo: str) -> None:
    """Bench keeps as many requests under way as it is told, also above the default of max_pending_requests."""
    done = run("bench", echo, "--in-flight", "70000", "--duration", "0.1", "--warm-up", "0", "--json")
    result = json.loads(done.stdout)
    assert result["count"] + result["errors"] >= 70_000


def test_bench_without_answers() -> None:
    """A run in which no request was answered prints no figures, and exits with 1."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        done = run("bench", uri, "--duration", "0.1", "--warm-up", "0", "--timeout", "0.2", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "each of 64 requests took longer than 0.2 s" in done.stderr


def test_bench_opens_many_connections(echo: str) -> None:
    """Hundreds of connections are opened, a bounded number at a time, and each of them is used."""
    done = run(
        "bench", echo, "--connections", "300", "--in-flight", "1", "--warm-up", "0", "--duration", "0.1", "--json"
    )
    result = json.loads(done.stdout)
    assert (result["uri"], result["connections"], result["in_flight"]) == (echo, 300, 1)
    assert result["count"] >= 300


def test_bench_runs_out_of_files(echo: str) -> None:
    """When no more files can be opened, bench says how many connections there are and what to raise."""
    words = command("bench", echo, "--connections", "300")
    limited = ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *words]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert re.search(r"only \d+ of 300 connections to tcp://\S+ could be opened", done.stderr)
    assert "ulimit -n NUMBER" in done.stderr


def test_transports() -> None:
    """The transports are listed with name, schemes, port and a sentence, for people and for machines."""
    shown = run("transports").stdout
    assert all(word in shown for word in ("tcp", "tls", "usual port", "8001"))
    (tcp,) = [info for info in json.loads(run("transports", "--json").stdout) if info["name"] == "tcp"]
    assert (tcp["schemes"], tcp["default_port"]) == (["tcp", "tls"], 8001)


def test_version() -> None:
    """--version prints the version."""
    assert run("--version").stdout.startswith("msgtrans ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Move messages over TCP, WebSocket and QUIC, and see how fast."),
        (["serve-echo"], "--certificate"),
        (["ping"], "ws://HOST:PORT/PATH"),
        (["bench"], "--warm-up"),
        (["top"], "StatisticsMiddleware"),
        (["transports"], "plug-ins included"),
        (["transports"], "Print one JSON array"),
    ],
)
def test_help(words: list[str], told: str) -> None:
    """Every command has a help text."""
    done = run(*words, "--help")
    assert (done.returncode, told in done.stdout) == (0, True), done.stderr


def test_missing_extra_is_explained() -> None:
    """Without typer the command says what to install."""
    script = (
        "import sys; sys.modules['typer'] = None; sys.argv = ['msgtrans']; from msgtrans.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "pip install 'msgtrans[cli]'" in done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_echo_serves_metrics(workers: int) -> None:
    """A scrape of --metrics is answered with the numbers of the server, of all workers together."""
    with socket.socket() as kept, ExitStack() as running:
        port = 0
        if workers > 1:  # they share a port, which nobody else can take while it is bound here
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            kept.bind(("127.0.0.1", 0))
            port = kept.getsockname()[1]
        words = ("serve-echo", "--tcp", "127.0.0.1:0", "--metrics", f"127.0.0.1:{port}", "--workers", str(workers))
        process = running.enter_context(subprocess.Popen(command(*words), stdout=subprocess.PIPE, text=True))
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening ")
        if workers == 1:
            port = int(process.stdout.readline().removesuffix("/metrics\n").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            peer.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            got = b""
            while part := peer.recv(65536):
                got += part
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"\nmsgtrans_connections_open 0\n" in got
    assert (b"\nmsgtrans_workers 2\n" in got) == (workers == 2)
    assert (b'msgtrans_health_score{worker="1"} ' in got) == (workers == 2)
    assert b"\nmsgtrans_request_duration_seconds_count 0\n" in got


def test_workers_need_a_port_for_metrics() -> None:
    """Port 0 would be another one in each worker, so it is refused."""
    done = run("serve-echo", "--tcp", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--workers", "2")
    assert (2, True) == (done.returncode, "--metrics: needs a fixed port with --workers" in done.stderr)
