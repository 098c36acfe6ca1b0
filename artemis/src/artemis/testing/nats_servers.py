"""Real nats-servers for tests and measures: one, or a cluster of several, each a process that can be killed and halted.

Needs the program `nats-server` in the PATH or beside this Python. Not here: what nodes do with them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

_START = 20.0


def nats_server() -> str | None:
    """Return the path of the program, None where there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else shutil.which("nats-server")


class NatsServer:
    """One server on 127.0.0.1 with JetStream, whose data are in `folder`; the caller ends it.

    `config` is added to its configuration, `limits` to that of JetStream; `jetstream` False leaves that out. One that
    is `watched` tells what it has itself, whatever those say that it is together with.
    """

    def __init__(
        self, folder: Path, *, config: str = "", limits: str = "", jetstream: bool = True, watched: bool = False
    ) -> None:
        self.port = free_port()
        self._watched = free_port() if watched else 0
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "server.conf"
        stored = f'jetstream {{\nstore_dir: "{folder}"\n{limits}\n}}\n' if jetstream else ""
        watch = f"http: 127.0.0.1:{self._watched}\n" if watched else ""
        self._head = f"server_name: {folder.name}\nlisten: 127.0.0.1:{self.port}\n{watch}{stored}"
        self._file.write_text(f"{self._head}{config}\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where it is reached."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Return what it has said since it was made."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it, again after it was ended, and wait until it listens. Raises RuntimeError when it does not."""
        program = nats_server()
        if program is None:
            raise RuntimeError("there is no nats-server; install it")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the program that was looked for
                [program, "-c", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _START
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise RuntimeError(f"the server did not start: {self.log[-1000:]}")

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Have it write what it has and end; nothing if it does not run."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_START)
            self._process = None

    def configure(self, config: str) -> None:
        """Have what was added to its configuration replaced, which it reads at once if it runs."""
        self._file.write_text(f"{self._head}{config}\n")
        self._signal(signal.SIGHUP)

    def halt(self) -> None:
        """Let it stand still."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def reached(self, stream: str) -> tuple[int, str] | None:
        """Return the last number that this server itself has of a stream, and who leads that for all it knows; None
        where it does not run, has no such stream or knows of no leader."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._watched}/jsz?streams=1", timeout=2) as answer:
                accounts = json.load(answer).get("account_details") or ()
        except (OSError, ValueError):
            return None
        for each in (found for account in accounts for found in account.get("stream_detail") or ()):
            leader = each.get("cluster", {}).get("leader")
            if each["name"] == stream and leader:
                return int(each["state"]["last_seq"]), str(leader)
        return None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)


def nats_cluster(folder: Path, count: int = 3, *, watched: bool = False) -> list[NatsServer]:
    """Return servers, not started, that form one cluster; see `NatsServer` for `watched`."""
    ports = [free_port() for _ in range(count)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        NatsServer(
            folder / f"server{n}",
            config=f"cluster {{\nname: tests\nlisten: 127.0.0.1:{port}\nroutes: [{routes}]\n}}",
            watched=watched,
        )
        for n, port in enumerate(ports)
    ]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
