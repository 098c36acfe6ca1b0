"""Runs the demonstration: starts the node and the fleet, kills and restarts members on a schedule, ends everything.

What it learns goes to the board. It shows nothing itself.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from artemis import ArtemisClient, ArtemisError, ClientOptions
from artemis.demo.children import Child
from artemis.demo.fleet import ENTRANCE, MEMBERS, REGION, SERVICES, VICTIMS, ZONE
from artemis.demo.member import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.demo.board import Board
    from artemis.demo.fleet import MemberPlan

START_TIMEOUT = 30.0
MEMBER_STOP = 4.0
NODE_STOP = 5.0
LOAD = 4.0
"""Calls a second that each instance of the entrance makes."""
AWAY = 3.0
"""Seconds between the end of a killed member's lease and its restart."""


class DemoError(Exception):
    """The demonstration cannot run; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """Where the node listens, the lease time and the time between two outages, both in seconds."""

    host: str
    port: int
    lease_ttl: float
    kill_every: float


class Supervisor:
    """Owns the processes of one demonstration; `run` ends them all when it is cancelled or fails."""

    def __init__(self, settings: DemoSettings, board: Board) -> None:
        self.url = ""
        """The node's address once it is up."""
        self._settings = settings
        self._board = board
        self._begun = time.monotonic()
        self._members: dict[str, Child] = {}
        self._changed = asyncio.Event()

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    async def run(self) -> None:
        """Run until cancelled; ``DemoError`` if the node does not start or ends by itself."""
        settings = self._settings
        _check_port(settings.host, settings.port)
        node = await Child.start(
            "the node",
            *("-m", "artemis.demo.tethered", "serve", "--log-level", "warning"),
            *("--host", settings.host, "--port", str(settings.port)),
            *("--region", REGION, "--zone", ZONE, "--lease-ttl", f"{settings.lease_ttl:g}"),
        )
        try:
            self.url = await _listening(node)
            self._tell(f"the registry listens at {self.url}")
            try:
                await self._run_fleet(node)
            except* (DemoError, ArtemisError) as failures:
                # One sentence is all that a person can use, and the first failure is the cause of the others.
                raise DemoError(str(failures.exceptions[0])) from failures
            finally:
                await self._stop_members()
        finally:
            await node.stop(NODE_STOP)

    async def _run_fleet(self, node: Child) -> None:
        options = ClientOptions(poll_interval=0.5)
        async with (
            ArtemisClient(servers=[self.url], region_id=REGION, zone_id=ZONE, options=options) as client,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(_until_it_ends(node))
            for service in SERVICES:
                tasks.create_task(self._follow(client, service.service_id))
            tasks.create_task(self._run_members(tasks))

    async def _run_members(self, tasks: asyncio.TaskGroup) -> None:
        """Start the fleet; then have one outage after another."""
        plans = {plan.instance_id: plan for plan in MEMBERS}
        for plan in MEMBERS:
            await self._start(plan, tasks)
        await self._until(lambda: self._board.complete)
        self._tell(f"all {len(MEMBERS)} instances are registered and call each other")
        pause = self._settings.kill_every * 0.4
        for instance_id in itertools.cycle(VICTIMS):
            await asyncio.sleep(pause)
            killed = self.elapsed()
            await self._outage(plans[instance_id], tasks)
            pause = max(1.0, self._settings.kill_every - (self.elapsed() - killed))

    async def _outage(self, plan: MemberPlan, tasks: asyncio.TaskGroup) -> None:
        row = self._board.rows[plan.instance_id]
        repeated = self._board.repeated
        if row.running:
            self._members[plan.instance_id].kill()
            self._tell(f"{plan.instance_id} killed (SIGKILL) without goodbye; its lease lives on")
        await self._until(lambda: not row.running and not row.listed)
        await asyncio.sleep(AWAY)
        await self._start(plan, tasks)
        self._tell(f"{plan.instance_id} started again")
        await self._until(lambda: row.listed)
        self._tell(f"meanwhile callers repeated {self._board.repeated - repeated} calls on other instances")

    async def _start(self, plan: MemberPlan, tasks: asyncio.TaskGroup) -> None:
        load = LOAD if plan.service_id == ENTRANCE else 0.0
        child = await Child.start(
            plan.instance_id,
            *("-m", "artemis.demo.member", "--server", self.url, "--service", plan.service_id),
            *("--instance", plan.instance_id, "--load", f"{load:g}"),
            *("--heartbeat", f"{self._settings.lease_ttl / 4:g}", "--calls", *plan.calls),
        )
        self._members[plan.instance_id] = child
        self._board.started(plan.instance_id)
        tasks.create_task(self._listen(plan.instance_id, child))

    async def _listen(self, instance_id: str, child: Child) -> None:
        """Take in a member's reports until it ends; one that ends by itself is a happening, with its last words."""
        async for line in child.lines():
            try:
                report = msgspec.json.decode(line, type=Report)
            except msgspec.MsgspecError:
                continue  # a traceback, say: it is among the last lines
            self._board.report(report, self.elapsed())
        code = await child.wait()
        self._board.ended(instance_id)
        if code >= 0:
            self._tell(f"{instance_id} ended by itself with code {code}: {child.last_lines[-500:]}")
        self._changed.set()

    async def _follow(self, client: ArtemisClient, service_id: str) -> None:
        """Tell the board what the registry shows of one service."""
        gone: set[str] = set()
        async for change in client.watch(service_id):
            instance_id, url = change.instance.instance_id or "", change.instance.url or ""
            row = self._board.rows.get(instance_id)
            if row is None:
                continue  # somebody registered something else by hand
            if change.change_type == "delete":
                gone.add(instance_id)
                self._board.delisted(instance_id)
                self._tell(f"lease of {instance_id} expired; callers do not see it any more")
            else:
                self._board.listed(instance_id, url)
                if change.change_type == "new":
                    self._tell(f"{instance_id} {'is back' if instance_id in gone else 'registered'} at {url}")
            self._changed.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def _stop_members(self) -> None:
        await asyncio.gather(*(child.stop(MEMBER_STOP) for child in self._members.values()))

    def _tell(self, text: str) -> None:
        self._board.tell(self.elapsed(), text)


async def _listening(node: Child) -> str:
    """Wait until the node serves and return its address."""
    try:
        async with asyncio.timeout(START_TIMEOUT):
            async for line in node.lines():
                if line.startswith("listening "):
                    return line.split()[1]
    except TimeoutError:
        raise DemoError(f"the node did not start within {START_TIMEOUT:g} s:\n{node.last_lines}") from None
    raise DemoError(f"the node ended instead of starting:\n{node.last_lines}")


async def _until_it_ends(node: Child) -> None:
    async for _ in node.lines():
        pass
    raise DemoError(f"the node ended by itself with code {await node.wait()}:\n{node.last_lines}")


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise DemoError(f"cannot listen at {host}:{port}: {error.strerror}") from error
            raise DemoError(
                f"port {port} of {host} is in use. End what listens there, or choose another one: "
                f"artemis demo --port {port + 1} (--port 0 takes any that is free)"
            ) from error
