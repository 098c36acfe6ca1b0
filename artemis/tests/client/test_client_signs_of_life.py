"""What counts as a word of the registry for a caller that is told everything without asking."""

import asyncio

from artemis import ArtemisClient, ClientOptions, ConnectionState, LinkChanged


async def test_a_confirmation_over_a_link_is_a_sign_of_life(node_url: str, service_id: str) -> None:
    """A caller that is pushed everything makes no calls; silence counts from the last confirmation."""
    options = ClientOptions(confirm_interval=0.05, address_interval=0)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        events = client.events()
        await client.service(service_id)
        async for event in events:
            if isinstance(event, LinkChanged):
                break
        confirmed = asyncio.Event()
        client._contact.on_heard(confirmed.set)
        async with asyncio.timeout(30):
            for _ in range(3):  # the first may be the answer to what was asked before
                confirmed.clear()
                await confirmed.wait()
        assert client.state is ConnectionState.CONNECTED
