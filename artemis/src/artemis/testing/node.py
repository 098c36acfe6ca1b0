"""A real node for tests: started on a free port, waited for, stopped. Users of the SDK may use it as well.

::

    async def test_orders_are_found() -> None:
        async with (
            running_node() as node,
            ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1") as client,
        ):
            ...

Needs ``artemis-registry[server]``. It is for tests: nothing restarts a node that ends by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

OptionValue = str | int | float | bool
START_TIMEOUT = 60.0
"""Seconds that a node may take from its start until it is ready."""
STOP_TIMEOUT = 12.0
"""Seconds that a node may take from SIGTERM to its end (it promises 10) before it is killed."""
_KEPT = 1_000
"""Lines that are kept of what a node prints: all of them, but for a node that is used for long."""


class NodeFailedError(RuntimeError):
    """The node ended or stayed silent instead of becoming ready; the text holds the last lines that it printed."""


class RunningNode:
    """One node in a process of its own; made by `running_node` and `running_node_sync`. Blocking, thread-safe.

    ``within`` are words before the command, as ``("ip", "netns", "exec", NAME)``, which must end in the same process;
    ``environment`` is set for the node beside what this process has.
    """

    def __init__(
        self, arguments: list[str], *, within: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._arguments = arguments
        self._within = tuple(within)
        self._environment = dict(environment or {})
        self._paused = False
        self._listening = threading.Event()
        self._also: dict[str, str] = {}
        self._output: deque[str] = deque(maxlen=_KEPT)
        self.url = ""
        """The node's address, ``http://HOST:PORT``, or ``https://HOST:PORT`` if it has a certificate."""
        self.process = self._start()
        """The node's process; a new one after `restart`."""

    @property
    def output(self) -> str:
        """The last 1 000 lines that the node printed."""
        return "\n".join(self._output)

    @property
    def port(self) -> int:
        """The port of ``url``."""
        return int(self.url.rpartition(":")[2])

    @property
    def plain_url(self) -> str:
        """Where a node with a certificate can be reached without TLS, empty where it cannot."""
        return self._also.get("http", "")

    @property
    def quic_url(self) -> str:
        """Where MsgTrans over QUIC is served, ``quic://HOST:PORT``, empty for nowhere."""
        return self._also.get("quic", "")

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until the node serves; ``NodeFailedError`` after ``timeout`` seconds or when it ended."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self._reader.join()
                raise NodeFailedError(f"the node ended with code {self.process.returncode}:\n{self.output}")
            if self._listening.wait(0.05) and self._answers():
                return
            time.sleep(0.02)
        raise NodeFailedError(f"the node was not ready after {timeout:g} s:\n{self.output}")

    def kill(self) -> None:
        """End the node at once and without a word, as a crash would (SIGKILL)."""
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        """Ask the node to end (SIGTERM) and return its exit code; one that does not end in time is killed."""
        if self.process.poll() is None:
            self.process.terminate()
            self.resume()  # one that is paused hears nothing
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self._reap()

    def pause(self) -> None:
        """Let the node do nothing, as a machine that hangs (SIGSTOP); its connections stay open."""
        self._paused = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the node go on after `pause` (SIGCONT)."""
        if self._paused:
            self._paused = False
            self.process.send_signal(signal.SIGCONT)

    def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """Start an ended node again on the port that it had, and wait until it is ready; with other variables of its
        own from now on, if there are any."""
        if self.process.poll() is None:
            raise RuntimeError("the node is running; kill() or stop() it first")
        if environment is not None:
            self._environment = dict(environment)
        self._arguments[self._arguments.index("--port") + 1] = str(self.port)
        if "--plain-port" in self._arguments:
            self._arguments[self._arguments.index("--plain-port") + 1] = self.plain_url.rpartition(":")[2]
        self._listening.clear()
        self.process = self._start()
        self.wait_ready()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*self._within, sys.executable, "-m", "artemis", "serve", *self._arguments],
            stdin=subprocess.DEVNULL,
            env=os.environ | self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # A node that nobody listens to would stop at a full pipe; so its lines are read to the end.
        self._reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            raise RuntimeError("the node's output is not a pipe")
        with process.stdout as lines:
            for line in lines:
                self._output.append(line.rstrip())
                if line.startswith("listening "):
                    _, self.url, *further = line.split()
                    self._also = {url.partition("://")[0]: url for url in further}
                    self._listening.set()

    def _answers(self) -> bool:
        try:
            url = f"{self.url}/health/ready"
            with urllib.request.urlopen(url, timeout=2.0, context=unverified()) as response:  # noqa: S310 - http(s)
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _reap(self) -> int:
        code = self.process.wait()
        self._reader.join()
        return code


def unverified() -> ssl.SSLContext:
    """Return what reaches a node that was started here, whatever its certificate: whether it serves is the question."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def arguments_of(options: Mapping[str, OptionValue]) -> list[str]:
    """Return options of ``artemis serve`` as its arguments; a free port of 127.0.0.1 unless they say otherwise."""
    values: dict[str, OptionValue] = {"host": "127.0.0.1", "port": 0, **options}
    arguments: list[str] = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{option}" if value else f"--no-{option}")
        else:
            arguments += (f"--{option}", str(value))
    return arguments


@contextmanager
def running_node_sync(**options: OptionValue) -> Iterator[RunningNode]:
    """Run a node on a free port of 127.0.0.1 for the length of the block; it is ready when the block starts.

    ``options`` become the options of ``artemis serve``: ``lease_ttl=2`` is ``--lease-ttl 2`` and
    ``self_preservation=False`` is ``--no-self-preservation``. What is not given is the node's own default, as region
    ``local`` and zone ``zone1``. Raises ``NodeFailedError`` with the node's last lines if it does not become ready.
    """
    node = RunningNode(arguments_of(options))
    try:
        node.wait_ready()
        yield node
    finally:
        node.stop()


@asynccontextmanager
async def running_node(**options: OptionValue) -> AsyncIterator[RunningNode]:
    """Run a node like `running_node_sync`, without holding up the event loop while it starts and stops."""
    node = RunningNode(arguments_of(options))
    try:
        await asyncio.to_thread(node.wait_ready)
        yield node
    finally:
        await asyncio.shield(asyncio.to_thread(node.stop))
