"""The nodes of a cluster are replaced one after the other while callers look services up."""

import asyncio
from contextlib import AsyncExitStack

from awaited import first
from test_sdk_failover import ORDERS, asking, client_of, until_shown

from artemis import ArtemisClient
from artemis.client import Registered
from artemis.testing import running_node


async def test_replacing_every_node_costs_no_lookup() -> None:
    """Each node ends, asked to or killed, and returns empty; the next follows when the leases are back.

    The nodes know nothing of each other: for each there is a service that keeps the same instance registered there.
    """
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(running_node(self_preservation=False)) for _ in range(3)]
        nodes = await asyncio.gather(*starting)
        keepers = [await stack.enter_async_context(client_of(node)) for node in nodes]
        for keeper in keepers:
            await stack.enter_async_context(keeper.registered(ORDERS))
        callers: list[ArtemisClient] = []
        for seed in range(4):
            caller = await stack.enter_async_context(client_of(*nodes, seed=seed))
            await until_shown(caller, "orders")
            await stack.enter_async_context(asking(caller, "orders"))
            callers.append(caller)
        for node, keeper, end in zip(nodes, keepers, ("stop", "kill", "stop"), strict=True):
            changes = keeper.events()
            await asyncio.to_thread(node.kill if end == "kill" else node.stop)
            await asyncio.to_thread(node.restart)
            assert (await first(changes, Registered)).again
        for caller in callers:
            [service] = await caller.api.lookup(["orders"])
            assert len(service.instances or ()) == 1
