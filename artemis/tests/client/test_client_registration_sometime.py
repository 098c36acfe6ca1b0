"""Registrations of services that do without the registry for a while."""

import asyncio

from artemis import ArtemisClient, ClientOptions, HeartbeatFailed, Instance, LeaseState
from artemis.testing import running_node

PATIENCE = 20.0


async def test_one_that_is_not_required_begins_without_the_registry(quick: ClientOptions) -> None:
    """It tells of it by state and event, and registers by itself when the registry is there."""
    async with running_node() as node:
        node.kill()
        async with (
            asyncio.timeout(PATIENCE),
            ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
        ):
            events = client.events()
            me = Instance(service_id="orders", ip="127.0.0.1", port=9000)
            async with client.registered(me, required=False) as registration:
                assert registration.state is LeaseState.UNCERTAIN
                assert registration.error != ""
                assert isinstance(await anext(events), HeartbeatFailed)
                await asyncio.to_thread(node.restart)
                change = await anext(client.watch("orders"))
                assert change.instance == registration.instance
            [left] = await client.api.lookup(["orders"])
            assert left.instances == []


async def test_one_that_is_not_required_begins_at_once_where_the_registry_is(
    client: ArtemisClient, service_id: str
) -> None:
    """Entering registers, as it does for those that are."""
    me = Instance(service_id=service_id, ip="127.0.0.1", port=9000)
    async with client.registered(me, required=False) as registration:
        assert registration.state is LeaseState.HELD
        assert (await client.service(service_id)).instances == (registration.instance,)
