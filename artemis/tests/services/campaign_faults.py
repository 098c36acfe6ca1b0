"""What befalls the nodes of any cluster in a campaign, and clients that write meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from artemis.testing.histories_observed import ObservedCluster

TTL = 2.0


async def killed(one: ObservedCluster, chance: Random) -> None:
    """A node is killed, and comes back a while later."""
    node = chance.choice(one.cluster.nodes)
    with one.history.fault("killed", node.url):
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(chance.uniform(0, 1.5 * TTL))
        await asyncio.to_thread(node.restart)


async def stopped(one: ObservedCluster, chance: Random) -> None:
    """A node is asked to end, and comes back."""
    node = chance.choice(one.cluster.nodes)
    with one.history.fault("stopped", node.url):
        assert 0 == await asyncio.to_thread(node.stop), node.output
        await asyncio.sleep(chance.uniform(0, 1.5 * TTL))
        await asyncio.to_thread(node.restart)


async def paused(one: ObservedCluster, chance: Random) -> None:
    """A node hangs for a while."""
    node = chance.choice(one.cluster.nodes)
    with one.history.fault("paused", node.url):
        node.pause()
        await asyncio.sleep(chance.uniform(0.1, 2 * TTL))
        node.resume()


async def writes(one: ObservedCluster, chance: Random, over: asyncio.Event) -> None:
    """Instances that are registered at one node, renewed at another, and unregistered at a third."""
    number = 0
    while not over.is_set():
        number += 1
        name = f"passing-{number % 10}"
        for act in (chance.choice(one.direct).register, chance.choice(one.direct).heartbeat):
            await act("orders", name, f"content-{number}")
            await asyncio.sleep(chance.uniform(0, 0.5))
        await chance.choice(one.direct).unregister("orders", name)


@asynccontextmanager
async def at_work(one: ObservedCluster, seed: int) -> AsyncIterator[None]:
    """Look and watch at all nodes, keep an instance at each, and write, for the length of the block."""
    for node, _ in enumerate(one.cluster.nodes):
        one.look(node, 0.2)
        one.watch(node)
        one.keep(f"at-{node}", node)
    over = asyncio.Event()
    passing = asyncio.create_task(writes(one, Random(seed), over))  # noqa: S311 - a campaign is to be repeated
    try:
        yield
    finally:
        over.set()
        await passing
