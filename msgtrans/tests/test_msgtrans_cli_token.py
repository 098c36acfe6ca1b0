"""The commands with a token, at a server that asks for one."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from msgtrans.cli import app
from msgtrans.cli.target import TargetOptions, target
from msgtrans.config import WebSocketClientConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = """
import asyncio, signal
from msgtrans import TransportServer
from msgtrans.middleware import AuthenticationMiddleware, StatisticsMiddleware, fixed_tokens

async def main():
    asks = AuthenticationMiddleware(fixed_tokens({"let-me-in": "a friend"}))
    server = TransportServer(tcp="127.0.0.1:0", ws="127.0.0.1:0", middleware=[asks, StatisticsMiddleware()])
    server.on_request(lambda context: context.payload)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server:
        print(*server.uris, flush=True)
        await stop.wait()

asyncio.run(main())
"""
ME = "me"
QUICK = {
    "ping": ["--count", "1"],
    "bench": ["--duration", "0.1", "--warm-up", "0"],
    "top": ["--once", "--interval", "0.5"],
}


def run(*words: str, variable: str | None = None) -> subprocess.CompletedProcess[str]:
    done = CliRunner(env={"MSGTRANS_TOKEN": variable}).invoke(app, words)
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def uris() -> Iterator[list[str]]:
    """The URIs, TCP and WebSocket, of a server that serves only who shows its token."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


@pytest.mark.parametrize("command", list(QUICK))
def test_the_token_lets_in(uris: list[str], command: str) -> None:
    """With --token, or with the variable, each command is served over each transport."""
    for uri in uris:
        done = run(command, uri, *QUICK[command], "--token", "let-me-in")
        assert (done.returncode, done.stderr) == (0, "")
    assert run(command, uris[0], *QUICK[command], variable="let-me-in").returncode == 0


@pytest.mark.parametrize("token", [[], ["--token", "guessed"]])
def test_without_the_right_token(uris: list[str], token: list[str]) -> None:
    """Without a token, and with a wrong one, the sentence speaks of tokens."""
    for uri in uris:
        done = run("ping", uri, *token)
        assert (done.returncode, "token" in done.stderr) == (1, True), done.stderr
        assert "guessed" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tcp://127.0.0.1:1", "--token", " "], "--token: is empty"),
        (["ws://127.0.0.1:1", "--token", "se\ncret"], "--token: has letters in it that cannot be sent"),
        (["ws://127.0.0.1:1", "--token", "secret", "--header", "authorization: x"], "and so is a header"),
    ],
)
def test_tokens_that_cannot_be_sent(words: list[str], told: str) -> None:
    """A token that is empty, is given twice or fits no header is a wrong command line, and is not repeated."""
    done = run("ping", *words)
    assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    assert "cret" not in done.stderr


def test_where_the_token_goes() -> None:
    """A WebSocket upgrade carries the token as a header beside those given; any other transport as a message."""
    upgrade = target("ws://host/path", TargetOptions(token=ME, headers=("X-Who: me",)))
    assert isinstance(upgrade.config, WebSocketClientConfig)
    assert upgrade.config.headers == {"X-Who": "me", "Authorization": "Bearer me"}
    assert upgrade.token is None
    assert target("tcp://host:1", TargetOptions(token=f" {ME}\n")).token == ME


def test_the_help_names_the_variable_only() -> None:
    """The help says which variable is read, not what is in it."""
    done = run("ping", "--help", variable="secret")
    assert ("MSGTRANS_TOKEN" in done.stdout, "secret" in done.stdout) == (True, False)
