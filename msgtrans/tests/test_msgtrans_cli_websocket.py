"""The commands over WebSocket, plain and inside TLS, and the echo server on both transports at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trustme
from typer.testing import CliRunner

from msgtrans.cli import app
from msgtrans.cli.target import TargetOptions, client_config
from msgtrans.config import NO_RETRY, WebSocketClientConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    done = CliRunner().invoke(app, words)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@contextmanager
def serving(*options: str, listeners: int) -> Iterator[list[str]]:
    """What a serve-echo prints while it starts."""
    words = [sys.executable, "-m", "msgtrans", "serve-echo", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield [process.stdout.readline().rstrip() for _ in range(listeners)]
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait(15) == 0


@pytest.fixture(scope="module")
def uris() -> Iterator[list[str]]:
    """Where a serve-echo listens that was told both."""
    with serving("--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0", listeners=2) as lines:
        yield [line.removeprefix("listening ") for line in lines]


def test_one_line_for_each_listener(uris: list[str]) -> None:
    """serve-echo prints where it listens, TCP first."""
    assert [uri.partition("://")[0] for uri in uris] == ["tcp", "ws"]


def test_only_what_is_asked_for() -> None:
    """With --ws alone there is no TCP listener; nothing more is printed."""
    with serving("--ws", "localhost:0", listeners=1) as lines:
        assert lines[0].startswith("listening ws://")


def test_ping_and_bench(uris: list[str]) -> None:
    """Ping and bench work over WebSocket as over TCP; one server sees both."""
    for uri in uris:
        assert "1 request, 1 answer" in run("ping", uri, "--count", "1").stdout
        done = run("bench", uri, "--warm-up", "0", "--duration", "0.1", "--connections", "2", "--json")
        result = json.loads(done.stdout)
        assert (result["uri"], result["errors"]) == (uri, 0)
        assert result["count"] >= 128
    look = json.loads(run("top", uris[1], "--interval", "0.5", "--json").stdout)
    assert look["statistics"]["listeners"] == uris
    assert [session["protocol"] for session in look["statistics"]["sessions"]] == ["ws"]


def test_any_path(uris: list[str]) -> None:
    """The path of the URI is sent, and the echo server takes any."""
    assert run("ping", f"{uris[1]}/some/where?who=me", "--count", "1").returncode == 0


def test_secure(tmp_path: Path) -> None:
    """With a certificate both listeners are inside TLS."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    options = ["--tcp", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--certificate", str(tmp_path / "server.pem")]
    with serving(*options, listeners=2) as lines:
        uris = [line.removeprefix("listening ") for line in lines]
        assert [uri.partition("://")[0] for uri in uris] == ["tls", "wss"]
        for uri in uris:
            assert run("ping", uri, "--count", "1", "--ca", str(tmp_path / "ca.pem")).returncode == 0
            assert "--ca FILE" in run("ping", uri, "--count", "1").stderr


def test_headers() -> None:
    """--header goes into the upgrade, names and values trimmed; commands try once."""
    config = client_config("ws://host/path", TargetOptions(headers=("Authorization: Bearer a:b", "X-Who:me")))
    assert isinstance(config, WebSocketClientConfig)
    assert config.headers == {"Authorization": "Bearer a:b", "X-Who": "me"}
    assert config.retry_config == NO_RETRY


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["ping", "ws://127.0.0.1:1"], 1, "nothing listens there"),
        (["ping", "ws://127.0.0.1:1", "--header", "no colon"], 2, "write 'Name: value'"),
        (["ping", "ws://127.0.0.1:1", "--insecure"], 2, "write tls:// or wss://"),
        (["ping", "ws://"], 2, "write ws://HOST"),
    ],
)
def test_errors_say_what_to_do(words: list[str], code: int, told: str) -> None:
    """Wrong command lines exit with 2, failures with 1, both with a sentence on stderr."""
    done = run(*words)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr


def test_a_port_of_the_other_transport(uris: list[str]) -> None:
    """Speaking WebSocket to a TCP port, or TCP to a WebSocket port, ends with a sentence and exit code 1."""
    tcp, ws = (uri.partition("://")[2] for uri in uris)
    for wrong in (f"ws://{tcp}", f"tcp://{ws}"):
        done = run("ping", wrong, "--count", "1")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
