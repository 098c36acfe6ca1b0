"""A seeded row of faults on real nodes around a real cluster of NATS servers, judged by all laws.

ARTEMIS_CAMPAIGN_SEED=17 chooses another row, ARTEMIS_CAMPAIGN_FAULTS=100 a longer one.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import nats
import nats.errors
import pytest
from campaign_faults import TTL, at_work, killed, paused, stopped
from engine_clusters import ask, shown

from artemis.testing import running_cluster
from artemis.testing.histories_observed import PATIENCE, ObservedCluster, observed, sdk_callers, until
from artemis.testing.links import LinkProxy, Passes, Weather
from artemis.testing.nats_servers import NatsServer, nats_cluster, nats_server

SEED = int(os.environ.get("ARTEMIS_CAMPAIGN_SEED", "1"))
FAULTS = int(os.environ.get("ARTEMIS_CAMPAIGN_FAULTS", "3"))
SETTLE = 12.0
NODES = 3
BUCKET = "KV_artemis_artemis"
ASKED, ALIKE, PAUSE = 60, 4, 0.1
"""How often servers are asked how much they have, how often in a row it is to be the same, and seconds in between."""
SAID = 120.0
"""Seconds within which nodes say that their servers do not keep the same: they ask several before."""

pytestmark = [
    pytest.mark.skipif(nats_server() is None, reason="there is no nats-server"),
    pytest.mark.timeout(120 + 40 * FAULTS),
]


class Engine:
    """Three servers, and for each node a proxy in front of each of them."""

    def __init__(self, servers: list[NatsServer], proxies: list[list[LinkProxy]]) -> None:
        self.servers, self.proxies = servers, proxies

    def of(self, node: int) -> str:
        """The servers as a node is told of them."""
        return "nats://" + ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies[node])

    async def leader(self) -> NatsServer:
        """The server that leads those that keep the bucket; the first one when nobody knows."""
        for server in self.servers:
            try:
                connection = await nats.connect(server.url, connect_timeout=1, allow_reconnect=False)
                try:
                    found = await connection.jetstream(timeout=1).stream_info(BUCKET)
                finally:
                    await connection.close()
            except (TimeoutError, OSError, nats.errors.Error):
                continue
            name = None if found.cluster is None else found.cluster.leader
            return next((each for each in self.servers if each.folder.name == name), server)
        return self.servers[0]

    async def agree(self) -> bool:
        """Tell whether all servers keep the same: asked at once, they have the same number, and that several times in a
        row, as one that has others may come to a number a moment later.

        Servers of nats-server 2.9.10 may not, once one of them was killed or stood still, and each says that it is
        current.
        """
        asked = alike = 0
        async with asyncio.timeout(PATIENCE):
            while asked < ASKED:
                found = await asyncio.gather(*(asyncio.to_thread(each.reached, BUCKET) for each in self.servers))
                known = {it for it in found if it is not None}
                if None not in found and len({leader for _, leader in known}) == 1:
                    asked += 1
                    alike = alike + 1 if len(known) == 1 else 0
                    if alike == ALIKE:
                        return True
                await asyncio.sleep(PAUSE)
        return False

    async def delete(self) -> None:
        """Delete the bucket, as an operator does whom nodes tell to."""
        connection = await nats.connect([server.url for server in self.servers])
        try:
            await connection.jetstream(timeout=10).delete_stream(BUCKET)
        finally:
            await connection.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give servers, and what is between them and the nodes; all end with the test."""
    with ExitStack() as stack:
        servers = nats_cluster(tmp_path / "nats", watched=True)
        for server in servers:
            server.start()
            stack.callback(server.kill)
        proxies = [[stack.enter_context(LinkProxy(server.port)) for server in servers] for _ in range(NODES)]
        yield Engine(servers, proxies)


def standings(one: ObservedCluster) -> list[dict[str, object]]:
    """Return how each node stands with the engine."""
    views = [ask(node.url, "/api/v1/cluster").get("engine") for node in one.cluster.nodes]
    return [each for each in views if isinstance(each, dict)]


def settled(one: ObservedCluster) -> bool:
    """Tell whether every node has put all that it knows: until then who moves from one to another may go back."""
    return all((each["state"], each["waiting"]) == ("ready", 0) for each in standings(one))


async def agreed(one: ObservedCluster, engine: Engine) -> None:
    """Where servers do not keep the same, wait until nodes say that the bucket is to be deleted, or all have found the
    one that leads, and delete it."""
    if not await engine.agree():
        with one.history.fault("servers that do not keep the same"):
            await until(lambda: settled(one) or any("delete it" in str(each["why"]) for each in standings(one)), SAID)
            before = [each["remade"] for each in standings(one)]
            await engine.delete()
            await until(lambda: all(was != each["remade"] for was, each in zip(before, standings(one), strict=True)))
            await until(lambda: settled(one))


async def leader_killed(one: ObservedCluster, chance: Random, engine: Engine) -> None:
    """The server that leads is killed, and comes back."""
    leader = await engine.leader()
    with one.history.fault("leader killed"):
        await asyncio.to_thread(leader.kill)
        await asyncio.sleep(chance.uniform(0, 2 * TTL))
        await asyncio.to_thread(leader.start)


async def leader_halted(one: ObservedCluster, chance: Random, engine: Engine) -> None:
    """The server that leads stands still for a while."""
    leader = await engine.leader()
    with one.history.fault("leader halted"):
        leader.halt()
        await asyncio.sleep(chance.uniform(0.5, 3 * TTL))
        leader.go_on()


async def all_ended(one: ObservedCluster, chance: Random, engine: Engine) -> None:
    """No server is there for a while; all come back with what they had. Killed at once they may come back with
    different things, and each call itself current (nats-server 2.9.10)."""
    with one.history.fault("engine down"):
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in engine.servers))
        await asyncio.sleep(chance.uniform(0, TTL))
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in engine.servers))


async def cut(one: ObservedCluster, chance: Random, engine: Engine) -> None:
    """A node reaches no server, in one of the ways that there are."""
    node = chance.randrange(NODES)
    weather = Weather(passes=chance.choice([Passes.NOTHING, Passes.LOST, Passes.RESET]))
    with one.history.fault("cut off"):
        for proxy in engine.proxies[node]:
            if chance.random() < 0.3:
                proxy.line.flap(weather, bad=chance.uniform(0.1, 1), fine=chance.uniform(0.1, 1))
            else:
                proxy.line.worsen(weather)
        await asyncio.sleep(chance.uniform(0.2, 2 * TTL))
        for proxy in engine.proxies[node]:
            proxy.line.clear()


async def slow(one: ObservedCluster, chance: Random, engine: Engine) -> None:
    """The ways to the servers are bad."""
    with one.history.fault("bad links"):
        for proxies in engine.proxies:
            weather = Weather(delay=chance.uniform(0, 0.2), jitter=chance.uniform(0, 0.4))
            for proxy in proxies:
                proxy.line.worsen(weather)
        await asyncio.sleep(chance.uniform(0.2, 2 * TTL))
        for proxies in engine.proxies:
            for proxy in proxies:
                proxy.line.clear()


OF_NODES: list[Callable[[ObservedCluster, Random], Awaitable[None]]] = [killed, stopped, paused]
OF_ENGINES: list[Callable[[ObservedCluster, Random, Engine], Awaitable[None]]] = [
    leader_killed,
    leader_halted,
    all_ended,
    cut,
    cut,
    slow,
]


async def test_a_row_of_faults_around_an_engine_breaks_no_law(tmp_path: Path, engine: Engine) -> None:
    """Nodes end, hang and are cut off, and servers do, while plain clients and those of the SDK go on; each fault comes
    when the engine has what was accepted during the one before, and keeps it at all servers."""
    chance = Random(SEED)  # noqa: S311 - a campaign is to be repeated
    laws = ("kept", "visible", "removed", "converged", "watch", "cursor")
    each = {node: {"cluster": engine.of(node)} for node in range(NODES)}
    options = {"data_dir": tmp_path, "lease_ttl": TTL, "self_preservation": False}
    async with (
        running_cluster(NODES, engine=engine.of(0), each=each, **options) as cluster,
        observed(cluster, tmp_path / "history.jsonl", *laws, ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 2, urls=[node.url for node in cluster.nodes]),
    ):
        async with at_work(one, SEED):
            for _ in range(FAULTS):
                if chance.random() < 0.3:
                    await chance.choice(OF_NODES)(one, chance)
                else:
                    await chance.choice(OF_ENGINES)(one, chance, engine)
                    await agreed(one, engine)
                await until(lambda: settled(one))
        await asyncio.to_thread(cluster.wait_linked)
        one.keep("late", 0)  # what is there to see when all has been calm for long
        await until(lambda: all("late" in shown(node.url) for node in cluster.nodes))
        for running in cluster.nodes:
            assert running.process.poll() is None
        await one.settle()
