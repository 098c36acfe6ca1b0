"""The life of `artemis run`: start the command, register it while it is healthy, end it in order, return its code.

The order of an end that was asked for: unregister, wait until callers were told, pass the signal on, wait, kill.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from artemis.cli.run_checks import CommandCheck, HttpCheck, TcpCheck, said_by
from artemis.cli.run_children import Children
from artemis.cli.run_health import Health
from artemis.cli.run_keeping import Keeper
from artemis.cli.session import report
from artemis.cli.trust import trusted
from artemis.client import ArtemisClient, ClientOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from artemis.cli.run_checks import Check
    from artemis.cli.run_children import Child
    from artemis.model import Instance

logger = logging.getLogger("artemis.cli")

NEVER_HEALTHY: Final = 124
"""The exit code when the command was not healthy within ``start_timeout``, as that of timeout(1)."""

_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PASSED: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_STARTING: Final = 0.1
"""Seconds between two checks at most while the command starts: it is wanted as soon as it can serve."""
_LOOKING: Final = 0.02
"""Seconds between two looks whether the command's process group is empty."""
_PATIENCE: Final = 10.0
"""Seconds of starting after which it is said what is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPlan:
    """How health is checked: at ``target`` by ``way``; times in seconds, thresholds in checks in a row."""

    way: str
    """``http`` (target: a URL), ``tcp`` (HOST:PORT), ``command`` (for the shell) or ``none``."""
    target: str
    interval: float
    timeout: float
    healthy: int
    unhealthy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `artemis run` was asked to do; times in seconds."""

    command: tuple[str, ...]
    server: str
    instance: Instance
    port_variable: str
    health: HealthPlan
    start_timeout: float | None
    """None: it may take for ever."""
    stop_timeout: float
    options: ClientOptions


class _Requests:
    """What signals asked for: the first ending one begins the end, a second one means that there is no time."""

    def __init__(self) -> None:
        self.number = 0
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.command: Child | None = None

    def end(self, number: int) -> None:
        if not self.first.is_set():
            self.number = number
            self.first.set()
        elif self.second.is_set():
            self.pass_on(number)
        else:
            self.second.set()

    def pass_on(self, number: int) -> None:
        if self.command is None:
            return
        if self.command.ended.done():
            self.command.send_group(number)
        else:
            self.command.send(number)


class Supervision:
    """Runs one `Plan`, in the main thread. ``tell`` gets sentences for people."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self._plan = plan
        self._tell = tell
        self._requests = _Requests()
        health = plan.health
        self._health = Health(healthy=health.healthy, unhealthy=health.unhealthy)
        self._environment = {**os.environ, plan.port_variable: str(plan.instance.port)}
        # On a terminal the command shares this process's group, or it could not read from it, and Ctrl-C and Ctrl-Z
        # would not be for both. Elsewhere it leads its own, which can be ended as a whole.
        self._terminal = sys.stdin is not None and sys.stdin.isatty()
        self._deadline: float | None = None
        """When what was told to end is killed."""

    async def run(self) -> int:
        """Run the command to its end and return the exit code: its own, 128 + the signal that ended it, or 124.

        Raises ``CannotStartError`` if it cannot be started, ``ValueError`` for a server that is no URL.
        """
        client = ArtemisClient(servers=[self._plan.server], options=self._plan.options, tls=trusted())
        with Children() as children, self._signals():
            command = children.start(self._plan.command, env=self._environment, leads=not self._terminal, tied=True)
            self._requests.command = command
            try:
                async with client:
                    timely = await self._accompany(client, command, children)
            finally:
                command.kill()
        if not timely:
            return NEVER_HEALTHY
        code = command.ended.result()
        return 128 - code if code < 0 else code

    async def _accompany(self, client: ArtemisClient, command: Child, children: Children) -> bool:
        """Keep the command registered until it has ended; return whether it became healthy in time."""
        keeper = Keeper(client, self._plan.instance, self._tell, Random())  # noqa: S311 - spreads load
        check = self._check(children)
        watch = self._watch(check, keeper) if check is not None else self._trust(keeper)
        keeping = asyncio.create_task(keeper.keep())
        async with _beside(report(client, self._tell), watch):
            timely = await self._until_end(command)
            if not command.ended.done():
                await self._stop(command, keeper, keeping)
            keeper.end()
            await self._leave([keeping])
            await self._end_group(command)
        if not keeping.done():
            keeping.cancel()  # the registry is silent: leases end by themselves
            await asyncio.wait([keeping])
        if not keeping.cancelled():
            keeping.result()
        return timely

    async def _until_end(self, command: Child) -> bool:
        """Wait until the command has ended or is to end; False if that is for never having been healthy."""
        limit = self._plan.start_timeout
        asked = asyncio.ensure_future(self._requests.first.wait())
        waiting: list[asyncio.Future[Any]] = [asked, command.ended]
        try:
            await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if command.ended.done() or self._requests.first.is_set():
                return True
            if self._health.ever:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                return True
        finally:
            asked.cancel()
        self._tell(f"The command is not healthy after {limit:g} s: {self._health.reason}. It is ended.")
        self._requests.end(signal.SIGTERM)
        return False

    async def _stop(self, command: Child, keeper: Keeper, keeping: asyncio.Task[None]) -> None:
        """Take the instance out, and only then tell the command; kill it when it does not end in time."""
        number = self._requests.number
        keeper.end()
        hurry = asyncio.ensure_future(self._requests.second.wait())
        await self._leave([keeping, command.ended, hurry])
        hurry.cancel()
        self._requests.second.set()  # from here on there is nothing to hurry: further signals are the command's
        if not self._told_by_terminal(number):
            command.send(number)
        self._deadline = asyncio.get_running_loop().time() + self._plan.stop_timeout
        done, _ = await asyncio.wait([command.ended], timeout=self._plan.stop_timeout)
        if not done:
            name = signal.Signals(number).name
            self._tell(f"The command goes on {self._plan.stop_timeout:g} s after {name}; it is killed.")
            command.kill()
            await command.ended
        # A shell that was told to end may have left what it was running.
        command.send_group(signal.SIGTERM)

    async def _end_group(self, command: Child) -> None:
        """Wait until what the command left running has ended, or may not take longer; it is killed afterwards."""
        loop = asyncio.get_running_loop()
        if self._deadline is None:  # it ended by itself, and so nobody has told them yet
            self._deadline = loop.time() + self._plan.stop_timeout
            command.send_group(signal.SIGTERM)
            self._requests.first.set()
            self._requests.second.set()  # signals are theirs from here on
        while command.has_group():
            if loop.time() >= self._deadline:
                self._tell("What the command left running does not end; it is killed.")
                return
            await asyncio.sleep(_LOOKING)  # the system tells nobody of the end of a group

    async def _leave(self, until: list[asyncio.Future[Any]]) -> None:
        """Wait for one of these, for no longer than unregistering may take."""
        options = self._plan.options
        limit = options.close_timeout + options.drain_timeout + _STARTING
        await asyncio.wait(until, timeout=limit, return_when=asyncio.FIRST_COMPLETED)

    def _told_by_terminal(self, number: int) -> bool:
        """Say whether a signal came from the keys of the terminal, which tells every process of the group itself."""
        if number not in {signal.SIGINT, signal.SIGQUIT} or not self._terminal:
            return False
        try:
            return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except OSError:
            return False

    def _check(self, children: Children) -> Check | None:
        plan = self._plan.health
        match plan.way:
            case "http":
                return HttpCheck(plan.target, plan.timeout)
            case "tcp":
                host, _, port = plan.target.rpartition(":")
                return TcpCheck(host.strip("[]"), int(port), plan.timeout)
            case "command":
                return CommandCheck(plan.target, children, self._environment, plan.timeout)
            case _:
                return None

    async def _trust(self, keeper: Keeper) -> None:
        self._health.ever = True
        keeper.want(True)

    async def _watch(self, check: Check, keeper: Keeper) -> None:
        """Check for ever, and let the instance be registered while all is well."""
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + _PATIENCE
        while True:
            before = self._health.ever
            if self._health.heard(await said_by(check)):
                keeper.want(self._health.good)
                if not self._health.good:
                    self._tell(f"Unhealthy: {self._health.reason}.")
                elif before:
                    self._tell("Healthy again.")
            if not self._health.ever and loop.time() >= patient_until:
                patient_until = float("inf")
                self._tell(f"Not healthy yet, so not registered: {self._health.reason}.")
            pause = self._plan.health.interval
            await asyncio.sleep(pause if self._health.ever else min(pause, _STARTING))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Answer signals, from before the command is there.

        Those that this process was started to ignore, as with nohup, stay ignored, by the command too.
        """
        loop = asyncio.get_running_loop()
        handled = [number for number in (*_ENDING, *_PASSED) if signal.getsignal(number) is not signal.SIG_IGN]
        for number in handled:
            loop.add_signal_handler(number, self._requests.end if number in _ENDING else self._requests.pass_on, number)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)


@asynccontextmanager
async def _beside(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run works for the length of the block."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                logger.error("a part of artemis run failed", exc_info=ended)
