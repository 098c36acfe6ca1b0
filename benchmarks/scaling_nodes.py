"""Real nodes for the figures of clusters: started in either mode, loaded by another process, seen from outside.

Not here: the load itself (`scaling_load`), and what the figures mean.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from scaling_load import Flow, Load, Told
from scaling_terms import Mode

from artemis.testing import RunningCluster, running_cluster
from artemis.testing.links import BACK, FORTH
from artemis.testing.nats_servers import NatsServer, free_port

OPTIONS = {"lease_ttl": 3_600, "peer_beat": 1, "rate_limits": False}
"""Of nodes that are measured: no lease expires meanwhile."""

HERE = Path(__file__).parent


class LoadError(RuntimeError):
    """There are no figures, as what was asked for was not done; the text says why."""


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's server has sent and received, in bytes or messages."""

    sent: float = 0.0
    received: float = 0.0

    def since(self, before: Traffic, seconds: float) -> Traffic:
        """Return what came a second since then."""
        return Traffic(sent=(self.sent - before.sent) / seconds, received=(self.received - before.received) / seconds)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen from outside for some seconds, a second: `processor` of each node, which has `memory` at the end,
    `server` of the engine's server, which did `traffic` in bytes and `messages`, `links` bytes on both connections
    between the first node and each other one, where they are counted. `told` is what the load says of itself."""

    processor: list[float]
    memory: list[float] = []
    server: float = 0.0
    traffic: Traffic = Traffic()
    messages: Traffic = Traffic()
    links: list[float] = []
    told: list[Told] = []


class Nodes:
    """A cluster in one of both modes, with the engine's server if there is one."""

    def __init__(
        self, mode: Mode, cluster: RunningCluster, servers: Sequence[EngineServer], services: int, *, counted: bool
    ) -> None:
        self.mode, self.cluster, self.servers, self.services = mode, cluster, tuple(servers), services
        self.counted = counted

    @property
    def addresses(self) -> list[str]:
        """Host and port of each node."""
        return [f"127.0.0.1:{node.port}" for node in self.cluster.nodes]

    def cpu(self) -> list[float]:
        """Seconds of a processor that each node has used, with its workers."""
        return [cpu(node.process.pid) for node in self.cluster.nodes]

    def memory(self) -> list[float]:
        """Bytes resident of each node, with its workers."""
        return [memory(node.process.pid) for node in self.cluster.nodes]

    async def rest(self, seconds: float) -> Window:
        """See what is used while nobody asks for anything."""
        return await self._see(seconds)

    async def load(self, *flows: Flow, seconds: float = 1.0) -> Window:
        """Put this load on the nodes, from another process, and see what they use in the middle of it."""
        # Until every connection has said everything once: what is said again may cost less.
        rounds = [len(self.addresses) * flow.connections / flow.rate for flow in flows if flow.rate]
        warm = 0.3 + max(rounds, default=0.0)
        load = Load(addresses=self.addresses, services=self.services, flows=[*flows], seconds=seconds, warm=warm)
        async with loading(load) as telling:
            await asyncio.sleep(load.warm)
            window = await self._see(seconds * 0.95)
            return msgspec.structs.replace(window, told=await telling)

    async def _see(self, seconds: float) -> Window:
        before, began = self._seen(), time.perf_counter()
        await asyncio.sleep(seconds)
        after, took = self._seen(), time.perf_counter() - began
        return Window(
            processor=[(more - less) / took for more, less in zip(after.processor, before.processor, strict=True)],
            memory=after.memory,
            server=(after.server - before.server) / took,
            traffic=after.traffic.since(before.traffic, took),
            messages=after.messages.since(before.messages, took),
            links=[(more - less) / took for more, less in zip(after.links, before.links, strict=True)],
        )

    def _seen(self) -> Window:
        counted = range(1, len(self.cluster.nodes)) if self.counted else ()
        server = self.servers[0] if self.servers else None
        return Window(
            processor=self.cpu(),
            memory=self.memory(),
            server=sum(cpu(each.pid) for each in self.servers),
            traffic=Traffic() if server is None else server.traffic(),
            messages=Traffic() if server is None else server.messages(),
            links=[carried(self.cluster, 0, other) for other in counted],
        )

    async def fill(self, instances: int) -> None:
        """Register so many instances, each node its share, and wait until all nodes show them."""
        everything = Flow(kind="register", count=instances, per_message=200, connections=2, once=True)
        load = Load(addresses=self.addresses, services=self.services, flows=[everything], seconds=0)
        async with loading(load) as telling:
            await telling
        await self.shown(instances)

    async def shown(self, instances: int) -> None:
        """Wait until all nodes show so many."""
        async with asyncio.timeout(300):
            for node in self.cluster.nodes:
                while await asyncio.to_thread(live, node.url) != instances:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)


@asynccontextmanager
async def loading(load: Load) -> AsyncIterator[Awaitable[list[Told]]]:
    """Run a load in a process of its own, which has begun; what it tells can be awaited.

    Raises LoadError when it or any of its requests failed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "scaling_load.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(load))
        process.stdin.close()
        if await process.stdout.readline() != b"ready\n":
            raise LoadError("the load did not begin")
        yield asyncio.ensure_future(_told(process))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _told(process: asyncio.subprocess.Process) -> list[Told]:
    said, _ = await process.communicate()
    if process.returncode:
        raise LoadError("the load failed")
    told = msgspec.json.decode(said, type=list[Told])
    failed = sum(each.failed for each in told)
    if failed:
        raise LoadError(f"{failed} of the load's requests failed")
    return told


class EngineServer:
    """A nats-server whose counters can be asked for."""

    def __init__(self, folder: Path) -> None:
        self._monitor = free_port()
        self.server = NatsServer(folder, config=f"http: 127.0.0.1:{self._monitor}\n")

    def traffic(self) -> Traffic:
        """Return bytes so far."""
        found = self._ask("varz")
        return Traffic(sent=found["out_bytes"], received=found["in_bytes"])

    def messages(self) -> Traffic:
        """Return messages so far."""
        found = self._ask("varz")
        return Traffic(sent=found["out_msgs"], received=found["in_msgs"])

    def stored(self) -> float:
        """Return bytes on disk."""
        return self._ask("jsz")["storage"]

    @property
    def pid(self) -> int:
        """The process."""
        process = self.server._process  # noqa: SLF001 - tests do not need it
        assert process is not None
        return process.pid

    def _ask(self, page: str) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/{page}", timeout=5) as answer:
            found: dict[str, float] = msgspec.json.decode(answer.read())
        return found


@asynccontextmanager
async def engine_server() -> AsyncIterator[EngineServer]:
    """A nats-server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = EngineServer(Path(folder) / "server")
        await asyncio.to_thread(server.server.start)
        try:
            yield server
        finally:
            server.server.kill()


@asynccontextmanager
async def nodes_of(
    mode: Mode, count: int, *, services: int = 2_000, counted: bool = False, **options: str | float | bool
) -> AsyncIterator[Nodes]:
    """Run so many nodes; `counted`: the links of a mesh lead through proxies, which count bytes."""
    if mode == "engine":
        async with (
            engine_server() as server,
            running_cluster(count, engine=server.server.url, **{**OPTIONS, **options}) as cluster,
        ):
            yield Nodes(mode, cluster, [server], services, counted=False)
    else:
        async with running_cluster(count, linked=counted and count > 1, **{**OPTIONS, **options}) as cluster:
            yield Nodes(mode, cluster, [], services, counted=counted and count > 1)


def carried(cluster: RunningCluster, a: int, b: int) -> float:
    """Bytes on both connections between two nodes of a mesh, both ways."""
    lines = cluster.line(a, b), cluster.line(b, a)
    return sum(line.carried[FORTH] + line.carried[BACK] for line in lines)


def live(url: str) -> int:
    """How many instances a node shows."""
    with urllib.request.urlopen(f"{url}/api/v1/status", timeout=30) as answer:
        found = msgspec.json.decode(answer.read())
    return int(found["leases"]["live"])


def group(pid: int) -> list[int]:
    """Return a process and all that it has started."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def cpu(pid: int) -> float:
    """Seconds of a processor that a process and its children have used, as exact as Linux knows it of each thread."""
    threads = (thread for each in group(pid) for thread in Path(f"/proc/{each}/task").glob("*/schedstat"))
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def memory(pid: int) -> float:
    """Bytes resident of a process and its children; pages that they share are counted for each."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in group(pid))
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
