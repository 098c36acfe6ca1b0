"""Clients of a real cluster that go on while things befall it, and the judgement of what they saw.

::

    async with running_cluster(3, lease_ttl=2) as cluster, observed(cluster, path, ttl=2, settle=4) as clients:
        clients.keep("i", 0, 1)
        clients.look(2)
        with clients.history.fault("killed", cluster.nodes[0].url):
            ...

The history stays where it was written, for another judgement. Not here: single clients
(`artemis.testing.histories_clients`), and the laws (`artemis.testing.checker`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from artemis.client import ArtemisClient, ClientOptions
from artemis.testing.checker import judge
from artemis.testing.clusters import RunningCluster
from artemis.testing.histories import History, Setting, read_history
from artemis.testing.histories_clients import (
    NodeClient,
    RegistrationRecord,
    SdkClient,
    instance_of,
    node_clients,
)

SERVICE = "orders"
PATIENCE = 40.0
"""Seconds after which waiting ends in an error; far more than anything takes."""

SDK = ClientOptions(
    heartbeat_interval=0.5,
    poll_interval=0.2,
    confirm_interval=0.5,
    attempt_timeout=1.0,
    backoff=0.02,
    backoff_limit=0.2,
    link_backoff=0.05,
    link_backoff_limit=0.3,
    node_rest=0.5,
    address_interval=1.0,
)
"""Everything happens several times a second."""


class LawBrokenError(AssertionError):
    """A history breaks a law, or has not put one to the test that it was to; the text says which, and where it is."""


async def until(holds: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until something holds of which nobody tells, asked in a thread; TimeoutError if it never does."""
    async with asyncio.timeout(patience):
        await _poll(lambda: asyncio.to_thread(holds))


async def _poll(holds: Callable[[], Awaitable[object]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(0.02)


class ObservedCluster:
    """A cluster under clients; made by `observed`, one event loop.

    ``direct`` has a plain client of each node. What `keep`, `look` and `watch` begin goes on until the end.
    """

    def __init__(self, history: History, cluster: RunningCluster, direct: list[NodeClient]) -> None:
        self.history, self.cluster, self.direct = history, cluster, direct
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self, instance: str, *nodes: int, content: str = "x") -> None:
        """Register an instance and renew it every quarter of its TTL, at these nodes in turn."""
        self._tasks.append(asyncio.create_task(self._keep(instance, nodes, content)))

    async def _keep(self, instance: str, nodes: Sequence[int], content: str) -> None:
        turn, outcome = 0, "unknown"
        while True:
            node = self.direct[nodes[turn % len(nodes)]]
            act = node.register if outcome == "unknown" else node.heartbeat
            outcome = await act(SERVICE, instance, content)
            turn += 1
            await asyncio.sleep(0 if outcome == "unknown" else self.history.setting.ttl / 4000)

    def look(self, node: int, pause: float = 0.1) -> None:
        """Look the service up at this node all the time."""
        self._tasks.append(asyncio.create_task(self._look(node, pause)))

    async def _look(self, node: int, pause: float) -> None:
        while True:
            await self.direct[node].lookup(SERVICE)
            await asyncio.sleep(pause)

    def watch(self, node: int) -> None:
        """Follow the service at this node."""
        self._tasks.append(asyncio.create_task(self.direct[node].watch(SERVICE, f"watch-{node}")))

    async def shows(self, node: int, *instances: str) -> None:
        """Wait until a node shows exactly these; TimeoutError if it never does."""

        async def holds() -> bool:
            return set(await self.direct[node].lookup(SERVICE) or ()) == set(instances)

        async with asyncio.timeout(PATIENCE):
            await _poll(holds)

    async def settle(self) -> None:
        """Wait for as long as the laws give the cluster, and a little longer, so that they are put to the test."""
        await asyncio.sleep(self.history.setting.settle / 1000 + 1.0)

    async def end(self) -> None:
        """End all clients."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@asynccontextmanager
async def observed(
    cluster: RunningCluster,
    path: Path,
    *laws: str,
    ttl: float,
    settle: float,
    expiry: float = 0,
    several: bool = False,
) -> AsyncIterator[ObservedCluster]:
    """Write down in a file what clients of a cluster do during the block, then judge it.

    ``ttl``, ``settle`` and ``expiry`` are those of `artemis.testing.histories.Setting` in seconds, ``laws`` those that
    must have been put to the test; ``several`` as it has it. Raises `LawBrokenError`.
    """
    urls = [node.url for node in cluster.nodes]
    setting = Setting(
        nodes=urls, ttl=int(ttl * 1000), settle=int(settle * 1000), expiry=int(expiry * 1000), several=several
    )
    with History(path, setting) as history:
        async with node_clients(history, *urls) as direct:
            one = ObservedCluster(history, cluster, direct)
            try:
                yield one
            finally:
                await one.end()
    verdict = await asyncio.to_thread(lambda: judge(read_history(path)))
    if verdict.violations:
        broken = "\n".join(f"{each.law}: {each.text}" for each in verdict.violations[:20])
        raise LawBrokenError(f"{path}: {len(verdict.violations)} violations\n{broken}")
    untested = [law for law in laws if not verdict.judged[law]]
    if untested:
        raise LawBrokenError(f"{path}: {', '.join(untested)} not put to the test: {verdict.judged}")


@asynccontextmanager
async def sdk_callers(one: ObservedCluster, count: int, *, urls: Sequence[str] = ()) -> AsyncIterator[list[SdkClient]]:
    """Give clients of the SDK that look the service up all the time; client ``n`` keeps the instance ``sdk-<n>``.

    ``urls`` are their servers; those that the nodes announce unless given.
    """
    async with AsyncExitStack() as stack:
        callers: list[SdkClient] = []
        for n in range(count):
            name = f"sdk-{n}"
            instance = instance_of(SERVICE, name, "x")
            client = await stack.enter_async_context(
                ArtemisClient(
                    servers=list(urls or one.cluster.urls),
                    region_id="local",
                    zone_id="zone1",
                    options=SDK,
                    telemetry=RegistrationRecord(one.history, name, instance),
                )
            )
            await stack.enter_async_context(client.registered(instance))
            caller = SdkClient(one.history, client, name)
            await caller.lookup(SERVICE)
            callers.append(caller)
        asking = [asyncio.create_task(_ask(caller)) for caller in callers]
        try:
            yield callers
        finally:
            for task in asking:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*asking)


async def _ask(caller: SdkClient) -> None:
    while True:
        await caller.lookup(SERVICE)
        await asyncio.sleep(0.02)
