"""Real nodes in namespaces of their own: lost packets, routes that lead nowhere, pulled plugs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from artemis.testing import running_cluster
from artemis.testing.clusters import nodes_known_to
from artemis.testing.histories_observed import ObservedCluster, observed, until
from artemis.testing.namespaces import Machine, Network

TTL, SETTLE = 2.0, 6.0
LAWS = ("visible", "kept", "removed", "converged")


@asynccontextmanager
async def machines(network: Network, path: Path, secret: str) -> AsyncIterator[tuple[ObservedCluster, list[Machine]]]:
    """Three nodes on machines of their own, an instance that is kept at each, and looks at all."""
    three = [network.machine() for _ in range(3)]
    async with (
        running_cluster(3, machines=three, cluster_secret_file=secret, lease_ttl=TTL, self_preservation=False) as nodes,
        observed(nodes, path / "history.jsonl", *LAWS, ttl=TTL, settle=SETTLE) as one,
    ):
        for n in range(3):
            one.look(n)
            one.keep(f"at-{n}", n)
        await one.direct[0].register("orders", "gone", "x")
        for n in range(3):
            await one.shows(n, "at-0", "at-1", "at-2", "gone")
        yield one, three
        for machine in three:
            machine.heal()
        for n in range(3):
            await one.shows(n, "at-0", "at-1", "at-2")
        await one.settle()


async def apart(one: ObservedCluster, *counts: int) -> None:
    """Wait until each node counts on so many, itself included."""
    await until(lambda: list(counts) == [len(nodes_known_to(node.url)) for node in one.cluster.nodes])


async def test_a_symmetric_partition(network: Network, tmp_path: Path, secret: str) -> None:
    """Both sides go on, and are one again afterwards."""
    async with machines(network, tmp_path, secret) as (one, (a, b, c)):
        with one.history.fault("partition"):
            for other in (b, c):
                a.blackhole(other.address)
                other.blackhole(a.address)
            await one.direct[1].unregister("orders", "gone")
            await apart(one, 1, 2, 2)
            await one.shows(0, "at-0")
            await one.shows(1, "at-1", "at-2")
            for machine in (a, b, c):
                machine.heal()


async def test_a_partition_in_one_direction(network: Network, tmp_path: Path, secret: str) -> None:
    """What one sends to the others gets lost, and what they send arrives; so not even TCP works."""
    async with machines(network, tmp_path, secret) as (one, (a, b, c)):
        with one.history.fault("one-way partition"):
            for other in (b, c):
                other.drop(1, a.address)
            await one.direct[1].unregister("orders", "gone")
            await one.shows(1, "at-1", "at-2")
            await one.direct[0].lookup("orders")
            for machine in (b, c):
                machine.heal()


async def test_a_partition_that_is_none_for_a_third(network: Network, tmp_path: Path, secret: str) -> None:
    """Two nodes do not reach each other and both reach the third; what one hears the other learns from it."""
    async with machines(network, tmp_path, secret) as (one, (a, b, _)):
        with one.history.fault("partition of two"):
            a.blackhole(b.address)
            b.blackhole(a.address)
            await apart(one, 2, 2, 3)
            await one.direct[0].unregister("orders", "gone")
            await one.shows(2, "at-0", "at-1", "at-2")
            for machine in (a, b):
                machine.heal()


async def test_a_third_of_all_packets_lost(network: Network, tmp_path: Path, secret: str) -> None:
    """It is slow, and nothing else."""
    async with machines(network, tmp_path, secret) as (one, (a, b, c)):
        with one.history.fault("loss"):
            for machine in (a, b, c):
                machine.drop(0.3, *({a.address, b.address, c.address} - {machine.address}))
            await one.direct[1].unregister("orders", "gone")
            await asyncio.sleep(3 * TTL)
            for machine in (a, b, c):
                machine.heal()


async def test_a_link_that_flaps(network: Network, tmp_path: Path, secret: str) -> None:
    """One node comes and goes faster than anybody's patience ends."""
    async with machines(network, tmp_path, secret) as (one, (a, b, c)):
        with one.history.fault("flapping"):
            for _ in range(4):
                a.blackhole(b.address, c.address)
                await asyncio.sleep(0.8)
                a.heal()
                await asyncio.sleep(0.6)
            await one.direct[1].unregister("orders", "gone")


async def test_a_pulled_plug(network: Network, tmp_path: Path, secret: str) -> None:
    """Neither its peers nor its clients reach a node, until the plug is back."""
    async with machines(network, tmp_path, secret) as (one, (a, _, _)):
        with one.history.fault("paused", one.cluster.nodes[0].url):
            a.unplug()
            await one.direct[1].unregister("orders", "gone")
            await until(lambda: 2 == len(nodes_known_to(one.cluster.nodes[1].url)))
            await one.shows(1, "at-1", "at-2")
            a.heal()
