"""A node that behaves as one of the Java product (spec 6, 7), in the process of a test: for mixed clusters.

::

    async with JavaNode(region_id="local", zone_id="zone1", force_up=True) as node:
        node.urls = [node.url, python_node.url]

It has the defects that others have to live with: 1, 6, 8, 11 and 13 to 15 of section 13. It is real HTTP and WebSocket,
so Java-shaped clients can use it. Nothing here uses the server's code or its model. Not here: management, rate limits.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

from aiohttp import web

from artemis.testing.java.beans import Bean, Json, child, children
from artemis.testing.java.deadlines import Deadlines, Kind
from artemis.testing.java.http import HttpClient, HttpFailedError
from artemis.testing.java.node_doors import JavaDoors, Lenient
from artemis.testing.java.node_leases import JavaLeases
from artemis.testing.java.node_replication import Dispatcher, Task
from artemis.testing.java.settings import JavaSettings

_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class JavaNodeSettings:
    """How a node behaves, with the defaults of spec 10.2 in seconds. A test may shorten what Java bounds."""

    generation: int = 1
    lease_ttl: float = 20.0
    clean_interval: float = 0.1
    status_interval: float = 5.0
    init_interval: float = 1.0
    task_ttl: float = 5.0
    batch_delay: float = 2.0
    batch_size: int = 250
    connect_timeout: float = 0.05
    socket_timeout: float = 0.2
    status_timeout: float = 0.1
    copy_timeout: float = 2.0
    client: JavaSettings = field(default_factory=JavaSettings)


class JavaNode:
    """One node on a free port of 127.0.0.1; `async with` it, or `start` and `stop` it.

    `urls` are the nodes of the cluster as its configuration has them, its own among them. `status` is its own, `seen`
    what it knows of the others. `arrived` counts instances that came by replication, by kind. `misbehave` says how it
    answers replication: `late`, `twice`, `nonsense`, `error`, or with empty text as it should.
    """

    def __init__(
        self, *, region_id: str, zone_id: str, force_up: bool = False, settings: JavaNodeSettings | None = None
    ) -> None:
        self.settings = settings or JavaNodeSettings()
        self.region_id, self.zone_id = region_id, zone_id
        self.status = "up" if force_up else "starting"
        self.can_registry: bool | None = force_up or None
        self.can_discovery: bool | None = force_up or None
        self.url = ""
        self.urls: list[str] = []
        self.seen: dict[str, Bean] = {}
        self.arrived: Counter[str] = Counter()
        self.misbehave = ""
        self.deadlines = Deadlines()
        self.doors = JavaDoors(self)
        self.leases = JavaLeases(region_id, self.settings.lease_ttl, self.doors.publish)
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._loops: list[asyncio.Task[None]] = []
        known = self.settings
        self._replication = self._client(known.connect_timeout, known.socket_timeout)
        self._copying = self._client(known.connect_timeout, known.copy_timeout)
        self._asking = self._client(known.status_timeout, known.status_timeout)
        self.at_once = Dispatcher(self._replication, self.api, self.targets)
        self.batched = Dispatcher(
            self._replication, self.api, self.targets, batch_delay=known.batch_delay, batch_size=known.batch_size
        )

    @property
    def api(self) -> str:
        """Where its HTTP operations are."""
        return "/api" if self.settings.generation == 1 else "/artemis/api"

    @property
    def others(self) -> list[str]:
        """The other nodes of its configuration."""
        return [url for url in self.urls if url.rstrip("/") != self.url]

    def targets(self) -> list[str]:
        """The others whose last known status can serve registry."""
        return [url for url in self.others if serves(self.seen.get(url), "Registry")]

    async def __aenter__(self) -> JavaNode:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, ask the others, copy from one unless it is forced up."""
        self._runner = web.AppRunner(self.doors.application(), access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        connections = self._runner.server
        if connections is None:
            raise RuntimeError("the runner has no server")
        self._listening = await asyncio.get_running_loop().create_server(lambda: Lenient(connections()), "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.urls = self.urls or [self.url]
        self.at_once.start()
        self.batched.start()
        self._loops = [asyncio.create_task(loop()) for loop in (self._clean, self._ask, self._initialise)]

    async def stop(self) -> None:
        """End without a word, as a Java process that is killed does; what waited is lost."""
        if self._runner is None or self._listening is None:
            return
        self._listening.close()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.at_once.stop()
        await self.batched.stop()
        await self.doors.close()
        await self._runner.cleanup()
        self._runner = None
        for client in (self._replication, self._copying, self._asking):
            client.close()

    def replicate(self, kind: str, bean: Bean) -> None:
        """A client asked this of this node: a task for all others (spec 7.1)."""
        now = time.monotonic()
        task = Task(kind, bean, "", now, now + self.settings.task_ttl)
        (self.batched if kind == "heartbeat" else self.at_once).put(task)

    def node_status(self) -> Bean:
        """Its own status (spec 1.4)."""
        zone: Bean = {"metadata": None, "regionId": self.region_id, "zoneId": self.zone_id}
        return {
            "allowDiscoveryFromOtherZone": True,
            "allowRegistryFromOtherZone": True,
            "canServiceDiscovery": self.can_discovery,
            "canServiceRegistry": self.can_registry,
            "node": {"url": f"{self.url}/", "zone": zone},
            "status": self.status,
        }

    def _client(self, connect: float, socket: float) -> HttpClient:
        settings = JavaSettings(
            generation=self.settings.generation, connections_per_route=200, connection_request_timeout=0.02
        )
        return HttpClient(settings, self.deadlines, connect_timeout=connect, socket_timeout=socket)

    async def _clean(self) -> None:
        while True:
            await asyncio.sleep(self.settings.clean_interval)
            self.leases.clean()

    async def _ask(self) -> None:
        """Ask the others for their status, one after the other (spec 6.2)."""
        while True:
            for url in self.others:
                self.seen[url] = await self._status_of(url)
            await asyncio.sleep(self.settings.status_interval)

    async def _status_of(self, url: str) -> Bean:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(0.01)
            try:
                answer = await self._asking.post(f"{url.rstrip('/')}{self.api}/status/node.json", {}, Kind.STATUS)
            except HttpFailedError:
                continue
            if child(answer, "responseStatus").get("status") == "success":
                return child(answer, "nodeStatus")
        return {"status": "unknown"}

    async def _initialise(self) -> None:
        """Copy from the first other that is up and not empty, until one is (spec 6.4, 7.5; defect 11)."""
        while self.status != "up":
            for url in self.others:
                if self.seen.get(url, {}).get("status") == "up" and await self._copy(url):
                    self.status, self.can_registry, self.can_discovery = "up", True, True
                    break
            else:
                await asyncio.sleep(self.settings.init_interval)

    async def _copy(self, url: str) -> bool:
        request: Bean = {"regionId": self.region_id, "zoneId": self.zone_id}
        try:
            answer = await self._copying.post(
                f"{url.rstrip('/')}{self.api}/replication/registry/services.json", request, Kind.LOOKUP
            )
        except HttpFailedError:
            return False
        if child(answer, "responseStatus").get("status") != "success":
            return False
        found: list[Json] = [
            bean for service in children(answer, "services") for bean in children(service, "instances")
        ]
        for bean in found:
            if isinstance(bean, dict):
                self.leases.register(bean)
        return bool(found)


def serves(status: Bean | None, what: str) -> bool:
    """Whether a node of this status serves `Registry` or `Discovery` (spec 6.3)."""
    if status is None:
        return False
    word = status.get("status")
    return word == "up" or (word != "down" and status.get(f"canService{what}") is True)
